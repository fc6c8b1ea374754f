/* Cross entropy of the next code, and its gradient: a warp a row. */
#include "kernels/cuda/cuda.h"

enum { LOSS_LANE_CODES = PLAN_CODES / WARP }; /* lane i has codes i, i + 32, ... */

static __global__ void __launch_bounds__(WARP *ROW_WARPS)
    cross_entropy_kernel(struct cross_entropy_args a)
{
    int64_t row = row_of_warp();
    int lane = (int)threadIdx.x;
    if (row >= a.n_rows)
        return;
    const float *x = a.logits + row * PLAN_CODES;
    float *dx = a.dlogits ? a.dlogits + row * PLAN_CODES : NULL;
    if (a.mask && !a.mask[row]) {
        if (lane == 0)
            a.nats[row] = 0.0f;
        for (int i = 0; dx && i < LOSS_LANE_CODES; i++)
            dx[i * WARP + lane] = 0.0f;
        return;
    }
    int target = a.targets[row];
    float e[LOSS_LANE_CODES], wanted = x[target], max = -INFINITY, sum = 0.0f;
    for (int i = 0; i < LOSS_LANE_CODES; i++) {
        e[i] = x[i * WARP + lane];
        max = fmaxf(max, e[i]);
    }
    max = warp_max(max);
    for (int i = 0; i < LOSS_LANE_CODES; i++) {
        e[i] = expf(e[i] - max);
        sum += e[i];
    }
    sum = warp_sum(sum);
    if (lane == 0)
        a.nats[row] = logf(sum) - (wanted - max);
    if (!dx)
        return;
    /* the gradient may replace the logits: every lane has read the target's by now */
    __syncwarp();
    const float whole = a.scale_more ? a.scale * *a.scale_more : a.scale, scale = whole / sum;
    for (int i = 0; i < LOSS_LANE_CODES; i++) {
        int code = i * WARP + lane;
        dx[code] = e[i] * scale - (code == target ? whole : 0.0f);
    }
}

static void op_cross_entropy(struct backend *be, const struct cross_entropy_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_rows == 0)
        return;
    GPU_LAUNCH(cross_entropy_kernel, row_grid(a->n_rows), row_block(), 0, cuda->stream, *a);
    cuda_launched(cuda, "cross_entropy");
}
