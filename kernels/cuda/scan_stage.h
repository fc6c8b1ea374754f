/*
 * Staging of a chunk's activations in shared memory, for the marches of scan.h.
 */
#ifndef HISS_KERNELS_CUDA_SCAN_STAGE_H
#define HISS_KERNELS_CUDA_SCAN_STAGE_H

#include "kernels/cuda/scan.h"

/* Ticks to stage of `left`. */
CUDA_DEV int scan_ticks_of(int64_t left)
{
    return left < (int64_t)SCAN_TICKS ? (int)left : (int)SCAN_TICKS;
}

static constexpr float SCAN_LOG2E = 1.44269504f;

/* ln(1 + e^x), to 1e-7 of itself: with e = e^-|x| and t = e/(2 + e), ln(1 + e) is
   2 atanh(t) = 2t (1 + t^2/3 + t^4/5 + ...), t <= 1/3. */
CUDA_DEV float scan_softplus(float x)
{
    const float e = gpu_exp2(-fabsf(x) * SCAN_LOG2E), t = e * gpu_rcp(2.0f + e), z = t * t;
    float s = z * (1.0f / 13.0f) + 1.0f / 11.0f;
    s = s * z + 1.0f / 9.0f;
    s = s * z + 1.0f / 7.0f;
    s = s * z + 1.0f / 5.0f;
    s = s * z + 1.0f / 3.0f;
    s = s * z + 1.0f;
    return fmaxf(x, 0.0f) + 2.0f * t * s;
}

CUDA_DEV float scan_sigmoid(float x)
{
    return gpu_rcp(1.0f + gpu_exp2(-x * SCAN_LOG2E));
}

/* Entries of a tile that a thread stages, all of one channel. */
template <class K> struct scan_share {
    static constexpr int size = K::tile / SCAN_THREADS;
};

/* Where ticks are staged: tiles (ticks, channels), and rows of bc. NULL: not wanted. */
struct scan_tiles {
    float *u, *dt;
    float *q;    /* gradient before the gate */
    float *gate; /* dy times the gate's slope */
    float *bc;
};

/* What the marches need of n ticks from row `row` on. Ticks after the last are left as they are:
   no march looks at them. Batch: loads of a thread of each tensor on their way at once. */
template <class K, int Batch>
CUDA_DEV void scan_stage(const struct scan_tiles &to, const struct scan_args &a, const float *dy,
                         int64_t row, int n)
{
    const int channel = (int)threadIdx.x % K::channels;
    const int e = (int)blockIdx.x * K::channels + channel;
    const bool live = e < a.inner;
    const float bias = K::selective && live ? a.dt_bias[e] : 0.0f;
    constexpr int batch = scan_share<K>::size < Batch ? scan_share<K>::size : Batch;
    /* all loads of a batch before the first is used, or each would be waited for */
    if constexpr (K::staged) {
        constexpr int share = K::bc_size / SCAN_THREADS, some = share < Batch ? share : Batch;
        for (int first = 0; first < share; first += some) {
            float v[some];
#pragma unroll
            for (int j = 0; j < some; j++) {
                const int i = (int)threadIdx.x + (first + j) * SCAN_THREADS, t = i / K::bc;
                const int which = i % K::bc / K::width, state = i % K::width;
                v[j] = t < n && state < a.n_state
                           ? a.bc[(row + t) * a.ld_bc + which * a.n_state + state]
                           : 0.0f;
            }
#pragma unroll
            for (int j = 0; j < some; j++)
                to.bc[(int)threadIdx.x + (first + j) * SCAN_THREADS] = v[j];
        }
    }
    for (int first = 0; first < scan_share<K>::size; first += batch) {
        float u[batch], dt[batch], q[batch], z[batch];
#pragma unroll
        for (int j = 0; j < batch; j++) {
            const int t = ((int)threadIdx.x + (first + j) * SCAN_THREADS) / K::channels;
            const bool here = live && t < n;
            const int64_t at = (row + t) * a.inner + e;
            u[j] = to.u && here ? a.u[at] : 0.0f;
            dt[j] = K::selective && here ? a.dt_raw[at] : 0.0f;
            q[j] = to.q && here ? dy[at] : 0.0f;
            z[j] = to.q && a.z && here ? a.z[(row + t) * a.ld_z + e] : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < batch; j++) {
            const int i = (int)threadIdx.x + (first + j) * SCAN_THREADS;
            if (to.u)
                to.u[i] = u[j];
            if (K::selective)
                to.dt[i] = scan_softplus(dt[j] + bias);
            if (to.q) {
                float gate = 0.0f;
                if (a.z) {
                    const float s = scan_sigmoid(z[j]);
                    gate = q[j] * (s + z[j] * s * (1.0f - s));
                    q[j] *= z[j] * s;
                }
                to.q[i] = q[j];
                if (to.gate)
                    to.gate[i] = gate;
            }
        }
    }
}

/* The row of bc of tick t of those staged from row `row` on. */
template <class K>
CUDA_DEV const float *scan_bc_row(const float *bc, const struct scan_args &a, int64_t row, int t)
{
    if constexpr (K::staged)
        return bc + t * K::bc;
    else
        return K::selective ? a.bc + (row + t) * a.ld_bc : NULL;
}

#endif
