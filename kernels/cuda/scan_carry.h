/*
 * The recurrence over the segments of a scan: see scan.h.
 */
#ifndef HISS_KERNELS_CUDA_SCAN_CARRY_H
#define HISS_KERNELS_CUDA_SCAN_CARRY_H

#include "kernels/cuda/scan.h"

enum {
    CARRY_RUNS = 16,         /* in which the segments are taken at most, each by a warp */
    CARRY_THREADS = 1 << 17, /* wanted in a launch: constant, as all of a result's sizes */
    CARRY_AHEAD = 8,         /* segments read at once */
};

/* What a run of segments does to a state: state after = decay state before + end. */
struct carry {
    float decay[2], end[2];
};

template <bool Complex> CUDA_DEV struct carry carry_then(struct carry x, struct carry y)
{
    struct carry both = {};
    if constexpr (!Complex) {
        both.decay[0] = y.decay[0] * x.decay[0];
        both.end[0] = y.decay[0] * x.end[0] + y.end[0];
        return both;
    }
    both.decay[0] = y.decay[0] * x.decay[0] - y.decay[1] * x.decay[1];
    both.decay[1] = y.decay[0] * x.decay[1] + y.decay[1] * x.decay[0];
    both.end[0] = y.decay[0] * x.end[0] - y.decay[1] * x.end[1] + y.end[0];
    both.end[1] = y.decay[0] * x.end[1] + y.decay[1] * x.end[0] + y.end[1];
    return both;
}

/* What the segments from number s on do, in the order of the recurrence. */
template <bool Complex>
CUDA_DEV void carry_read(struct carry (&to)[CARRY_AHEAD], const struct scan_segments &seg,
                         int64_t first, int64_t stride, int s, int end, bool back)
{
#pragma unroll
    for (int j = 0; j < CARRY_AHEAD; j++) {
        const bool live = s + j < end;
        const int64_t from = first + (back ? seg.n - 1 - s - j : s + j) * stride;
        to[j].decay[0] = live ? seg.decays[from] : 1.0f;
        to[j].end[0] = live ? seg.ends[from] : 0.0f;
        to[j].decay[1] = live && Complex ? seg.decays[from + 1] : 0.0f;
        to[j].end[1] = live && Complex ? seg.ends[from + 1] : 0.0f;
        if (back)
            to[j].decay[1] = -to[j].decay[1];
    }
}

/* state after = decay state before + end over the segments, from the last if `back`, then with
   conj(decay); what enters a segment takes the place of its end. What the last one leaves is not
   wanted. A lane a state, a warp a run of segments: what each run does from nothing, what enters
   it, then what enters its segments. */
template <bool Complex>
static __global__ void __launch_bounds__(WARP *CARRY_RUNS)
    scan_carry_kernel(struct scan_segments seg, const float *state, int64_t ld_state, int64_t size,
                      int n_batch, bool back)
{
    GPU_SMEM(struct carry, runs);
    constexpr int parts = Complex ? 2 : 1;
    const int lane = (int)threadIdx.x, run = (int)threadIdx.y, n_runs = (int)blockDim.y;
    const int length = (seg.n - 1 + n_runs - 1) / n_runs, begin = run * length;
    const int end = begin + length < seg.n - 1 ? begin + length : seg.n - 1;
    const int64_t i = (int64_t)blockIdx.x * WARP + lane;
    const bool live = i < n_batch * size;
    const int64_t b = live ? i / size : 0, at = live ? i % size * parts : 0;
    const int64_t first = b * seg.n * size * parts + at, stride = size * parts;
    struct carry all = {{1.0f, 0.0f}, {0.0f, 0.0f}}, some[CARRY_AHEAD];
    for (int s = begin; live && run < n_runs - 1 && s < end; s += CARRY_AHEAD) {
        carry_read<Complex>(some, seg, first, stride, s, end, back);
#pragma unroll
        for (int j = 0; j < CARRY_AHEAD; j++)
            all = carry_then<Complex>(all, some[j]);
    }
    runs[run * WARP + lane] = all;
    __syncthreads();
    if (!live)
        return;
    struct carry h = {{0.0f, 0.0f}, {state[b * ld_state + at], 0.0f}};
    if (Complex)
        h.end[1] = state[b * ld_state + at + 1];
    for (int r = 0; r < run; r++)
        h = carry_then<Complex>(h, runs[r * WARP + lane]);
    /* the last run ends with what enters the last segment */
    const int stop = end == seg.n - 1 && begin < end ? end + 1 : end;
    for (int s = begin; s < stop; s += CARRY_AHEAD) {
        carry_read<Complex>(some, seg, first, stride, s, end, back);
#pragma unroll
        for (int j = 0; j < CARRY_AHEAD; j++) {
            if (s + j >= stop)
                break;
            float *to = seg.ends + first + (back ? seg.n - 1 - s - j : s + j) * stride;
            to[0] = h.end[0];
            if (Complex)
                to[1] = h.end[1];
            h = carry_then<Complex>(h, some[j]);
        }
    }
}

static void scan_carry(struct cuda_backend *cuda, const struct scan_args *a,
                       struct scan_segments seg, const float *state, bool back)
{
    const int64_t size = (int64_t)a->inner * a->n_state, states = a->n_batch * size;
    const int64_t runs = cuda_min(cuda_max(CARRY_THREADS / states, 1), CARRY_RUNS);
    GPU_LAUNCH(a->complex_state ? scan_carry_kernel<true> : scan_carry_kernel<false>,
               (unsigned)cuda_blocks(states, WARP), dim3(WARP, (unsigned)runs),
               (size_t)(WARP * runs) * sizeof(struct carry), cuda->stream, seg, state, a->ld_state,
               size, a->n_batch, back);
    cuda_launched(cuda, "scan_carry");
}

#endif
