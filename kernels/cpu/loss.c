/* Cross entropy of the next code, and its gradient. */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

#include <math.h>

enum { LOSS_ROWS = 64 }; /* rows of a round */

/* exp(x - max) of the V entries of a row; their sum is returned. */
V_INLINE float softmax_row(float e[PLAN_CODES], const float *x, float *max)
{
    vf m = vload(x);
    for (int j = V_LANES; j < PLAN_CODES; j += V_LANES)
        m = vmax(m, vload(x + j));
    *max = vmax_lanes(m);
    vf s0 = {0}, s1 = {0};
    for (int j = 0; j < PLAN_CODES; j += 2 * V_LANES) {
        vf e0 = vexp(vload(x + j) - *max), e1 = vexp(vload(x + j + V_LANES) - *max);
        vstore(e + j, e0);
        vstore(e + j + V_LANES, e1);
        s0 += e0;
        s1 += e1;
    }
    return vsum(s0 + s1);
}

static void cross_entropy_round(void *arg, int64_t i, int thread)
{
    const struct cross_entropy_args *a = arg;
    int64_t end = min_of(a->n_rows, (i + 1) * LOSS_ROWS);
    for (int64_t row = i * LOSS_ROWS; row < end; row++) {
        const float *x = a->logits + row * PLAN_CODES;
        float *dx = a->dlogits ? a->dlogits + row * PLAN_CODES : NULL;
        if (a->mask && !a->mask[row]) {
            a->nats[row] = 0.0f;
            if (dx)
                memset(dx, 0, PLAN_CODES * sizeof(float));
            continue;
        }
        float e[PLAN_CODES], max;
        float sum = softmax_row(e, x, &max);
        int target = a->targets[row];
        a->nats[row] = logf(sum) - (x[target] - max);
        if (!dx)
            continue;
        float whole = a->scale_more ? a->scale * *a->scale_more : a->scale;
        float scale = whole / sum;
        for (int j = 0; j < PLAN_CODES; j += V_LANES)
            vstore(dx + j, vload(e + j) * scale);
        dx[target] -= whole;
    }
}

static void op_cross_entropy(struct backend *be, const struct cross_entropy_args *a)
{
    struct cross_entropy_args job = *a;
    run_rounds(be, cross_entropy_round, &job, blocks_of(a->n_rows, LOSS_ROWS),
               a->n_rows * PLAN_CODES);
}
