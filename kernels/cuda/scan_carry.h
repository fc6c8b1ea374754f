/*
 * The recurrence over the segments of a scan: see scan.h.
 */
#ifndef HISS_KERNELS_CUDA_SCAN_CARRY_H
#define HISS_KERNELS_CUDA_SCAN_CARRY_H

#include "kernels/cuda/scan.h"

enum {
    CARRY_RUNS = 16, /* in which the segments are taken, each by a warp */
    CARRY_AHEAD = 8, /* segments read at once */
};

/* What a run of segments does to a state: state after = decay state before + end. */
struct carry {
    float decay[2], end[2];
};

CUDA_DEV struct carry carry_then(struct carry x, struct carry y)
{
    struct carry both;
    both.decay[0] = y.decay[0] * x.decay[0] - y.decay[1] * x.decay[1];
    both.decay[1] = y.decay[0] * x.decay[1] + y.decay[1] * x.decay[0];
    both.end[0] = y.decay[0] * x.end[0] - y.decay[1] * x.end[1] + y.end[0];
    both.end[1] = y.decay[0] * x.end[1] + y.decay[1] * x.end[0] + y.end[1];
    return both;
}

/* What the segments from number s on do, in the order of the recurrence. */
CUDA_DEV void carry_read(struct carry (&to)[CARRY_AHEAD], const struct scan_segments &seg,
                         int64_t first, int64_t stride, int s, int end, bool is_complex, bool back)
{
#pragma unroll
    for (int j = 0; j < CARRY_AHEAD; j++) {
        const bool live = s + j < end;
        const int64_t from = first + (back ? seg.n - 1 - s - j : s + j) * stride;
        to[j].decay[0] = live ? seg.decays[from] : 1.0f;
        to[j].end[0] = live ? seg.ends[from] : 0.0f;
        to[j].decay[1] = live && is_complex ? seg.decays[from + 1] : 0.0f;
        to[j].end[1] = live && is_complex ? seg.ends[from + 1] : 0.0f;
        if (back)
            to[j].decay[1] = -to[j].decay[1];
    }
}

/* state after = decay state before + end over the segments, from the last if `back`, then with
   conj(decay); what enters a segment takes the place of its end. What the last one leaves is not
   wanted. A lane a state, a warp a run of segments: what each run does from nothing, what enters
   it, then what enters its segments. */
static __global__ void __launch_bounds__(WARP *CARRY_RUNS)
    scan_carry_kernel(struct scan_segments seg, const float *state, int64_t ld_state, int64_t size,
                      int n_batch, bool is_complex, bool back)
{
    GPU_SMEM(struct carry, runs);
    const int parts = is_complex ? 2 : 1, lane = (int)threadIdx.x, run = (int)threadIdx.y;
    const int length = (seg.n - 1 + CARRY_RUNS - 1) / CARRY_RUNS, begin = run * length;
    const int end = begin + length < seg.n - 1 ? begin + length : seg.n - 1;
    const int64_t i = (int64_t)blockIdx.x * WARP + lane;
    const bool live = i < n_batch * size;
    const int64_t b = live ? i / size : 0, at = live ? i % size * parts : 0;
    const int64_t first = b * seg.n * size * parts + at, stride = size * parts;
    struct carry all = {{1.0f, 0.0f}, {0.0f, 0.0f}}, some[CARRY_AHEAD];
    for (int s = begin; live && s < end; s += CARRY_AHEAD) {
        carry_read(some, seg, first, stride, s, end, is_complex, back);
#pragma unroll
        for (int j = 0; j < CARRY_AHEAD; j++)
            all = carry_then(all, some[j]);
    }
    runs[run * WARP + lane] = all;
    __syncthreads();
    if (!live)
        return;
    struct carry h = {{0.0f, 0.0f}, {state[b * ld_state + at], 0.0f}};
    if (is_complex)
        h.end[1] = state[b * ld_state + at + 1];
    for (int r = 0; r < run; r++)
        h = carry_then(h, runs[r * WARP + lane]);
    /* the last run ends with what enters the last segment */
    const int stop = end == seg.n - 1 && begin < end ? end + 1 : end;
    for (int s = begin; s < stop; s += CARRY_AHEAD) {
        carry_read(some, seg, first, stride, s, end, is_complex, back);
#pragma unroll
        for (int j = 0; j < CARRY_AHEAD; j++) {
            if (s + j >= stop)
                break;
            float *to = seg.ends + first + (back ? seg.n - 1 - s - j : s + j) * stride;
            to[0] = h.end[0];
            if (is_complex)
                to[1] = h.end[1];
            h = carry_then(h, some[j]);
        }
    }
}

static void scan_carry(struct cuda_backend *cuda, const struct scan_args *a,
                       struct scan_segments seg, const float *state, bool back)
{
    const int64_t size = (int64_t)a->inner * a->n_state;
    GPU_LAUNCH(scan_carry_kernel, (unsigned)cuda_blocks(a->n_batch * size, WARP),
               dim3(WARP, CARRY_RUNS), WARP * CARRY_RUNS * sizeof(struct carry), cuda->stream, seg,
               state, a->ld_state, size, a->n_batch, a->complex_state, back);
    cuda_launched(cuda, "scan_carry");
}

#endif
