/* The plainest work at the highest rate: what the operations are measured against. */
#include "kernels/cpu/vec.h"

enum {
#if defined(__AVX2__) || defined(__aarch64__)
    LIMIT_CHAINS = 12, /* enough to hide a multiply-add's latency, few enough for the registers */
#else
    LIMIT_CHAINS = 6,
#endif
    LIMIT_LOADS = 8,
    LIMIT_EXPS = 4, /* side by side */
};

static float op_limit_multiply(int64_t n)
{
    vf sums[LIMIT_CHAINS], factor = vset(0.999f), term = vset(1e-3f);
    /* unknown to the compiler, which could foresee the sums */
    __asm__ volatile("" : "+m"(factor), "+m"(term));
#pragma GCC unroll 12
    for (int i = 0; i < LIMIT_CHAINS; i++)
        sums[i] = vset((float)i);
    for (int64_t k = 0; k < n; k += LIMIT_CHAINS * V_LANES) {
#pragma GCC unroll 12
        for (int i = 0; i < LIMIT_CHAINS; i++)
            sums[i] = sums[i] * factor + term;
    }
    for (int i = 1; i < LIMIT_CHAINS; i++)
        sums[0] += sums[i];
    return vsum(sums[0]);
}

/* x = 2^-x goes to 0.641 from wherever it begins. */
static float op_limit_exp(int64_t n)
{
    vf x[LIMIT_EXPS];
    for (int i = 0; i < LIMIT_EXPS; i++)
        x[i] = vset(0.1f * (float)i);
    __asm__ volatile("" : "+m"(x));
    for (int64_t k = 0; k < n; k += LIMIT_EXPS * V_LANES) {
        for (int i = 0; i < LIMIT_EXPS; i++)
            x[i] = -x[i];
        vexp2_decays(x, LIMIT_EXPS);
    }
    return vsum(x[0] + x[1] + x[2] + x[3]);
}

static float op_limit_read(const float *x, int64_t n, int64_t times)
{
    vf sums[LIMIT_LOADS] = {{0}};
    for (int64_t t = 0; t < times; t++) {
        for (int64_t k = 0; k < n; k += LIMIT_LOADS * V_LANES) {
#pragma GCC unroll 8
            for (int i = 0; i < LIMIT_LOADS; i++)
                sums[i] += vload(x + k + i * V_LANES);
        }
        __asm__ volatile("" : : : "memory"); /* each time is read anew */
    }
    for (int i = 1; i < LIMIT_LOADS; i++)
        sums[0] += sums[i];
    return vsum(sums[0]);
}
