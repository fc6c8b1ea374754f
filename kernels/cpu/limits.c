/* The plainest work at the highest rate, which the operations are measured against, and the decode
   engine's dearest kernels alone. */
#include "kernels/cpu/decode_product.h"
#include "kernels/cpu/scan.h"

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

/* --- the decode engine's kernels ------------------------------------------------------------- */

/* What lies at the beginning of a product's memory. */
struct limit_product {
    struct matrix matrix;
    _Alignas(32) float x[LIMIT_INPUTS], y[LIMIT_WEIGHTS / LIMIT_INPUTS];
    int8_t q[LIMIT_INPUTS];
    float q_scale;
};

/* Weights and inputs are small multiples of 1/4: sums of fp32 and fp16 are exact. */
static void limit_product_fill(struct limit_product *p, enum precision precision, struct arena *a)
{
    const int n_out = limit_product_outputs(precision);
    float *dense = arena_alloc(a, (size_t)n_out * LIMIT_INPUTS * sizeof *dense);
    for (int o = 0; o < n_out; o++)
        for (int i = 0; i < LIMIT_INPUTS; i++)
            dense[o * LIMIT_INPUTS + i] = 0.25f * (float)((3 * o + i) % 8 - 3);
    for (int i = 0; i < LIMIT_INPUTS; i++)
        p->x[i] = 0.25f * (float)(i % 5);
    matrix_pack(&p->matrix, a, precision, dense, LIMIT_INPUTS, n_out);
    if (precision == PRECISION_INT8)
        p->q_scale = quantise_row(p->q, p->x, LIMIT_INPUTS);
}

/* Returns the sum of the outputs. */
static float op_limit_product(enum precision precision, void *memory, int64_t times)
{
    struct arena arena;
    arena_init(&arena, memory, LIMIT_MEMORY);
    struct limit_product *p = arena_alloc(&arena, sizeof *p);
    if (times == 0)
        limit_product_fill(p, precision, &arena);
    const struct operand x = {.x = p->x, .q = p->q, .scale = &p->q_scale};
    for (int64_t t = 0; t < times; t++) {
        matrix_apply(&p->matrix, p->y, 0, &x, 1);
        __asm__ volatile("" : : : "memory"); /* each is made anew */
    }
    float sum = 0;
    for (int o = 0; times > 0 && o < p->matrix.n_out; o++)
        sum += p->y[o];
    return sum;
}

/* What a tick of the channels reads, and their states. */
struct limit_state {
    _Alignas(32) float u[LIMIT_CHANNELS], dt[LIMIT_CHANNELS], y[LIMIT_CHANNELS];
    float bc[2 * LIMIT_STATES];
    _Alignas(32) float coef[LIMIT_CHANNELS * LIMIT_STATES], h[LIMIT_CHANNELS * LIMIT_STATES];
};

/* From states 0 after a filling; input, step, B and C are 1, A is -(n + 1) ln 2, D is 0, so that
   state n becomes 2^-(n+1) of itself and 1. Returns the sum of the last tick's outputs. */
static float op_limit_state(void *memory, int64_t times)
{
    struct limit_state *s = memory;
    const struct scan_kind kind = {true, false, LIMIT_STATES};
    if (times == 0) {
        *s = (struct limit_state){{0}};
        for (int e = 0; e < LIMIT_CHANNELS; e++)
            s->u[e] = s->dt[e] = 1;
        for (int n = 0; n < 2 * LIMIT_STATES; n++)
            s->bc[n] = 1;
        for (int i = 0; i < LIMIT_CHANNELS * LIMIT_STATES; i++)
            s->coef[i] = -(float)(i / V_LANES % LIMIT_STATES + 1);
    }
    for (int64_t t = 0; t < times; t++) {
        for (int e = 0; e < LIMIT_CHANNELS; e += V_LANES)
            scan_march(kind, false, s->y + e, s->h + e * LIMIT_STATES, NULL, s->u + e, s->dt + e,
                       s->bc, 0, s->coef + e * LIMIT_STATES, vset(0), (struct ahead){NULL, 0}, 1);
        __asm__ volatile("" : : : "memory");
    }
    float sum = 0;
    for (int e = 0; e < LIMIT_CHANNELS; e++)
        sum += s->y[e];
    return sum;
}
