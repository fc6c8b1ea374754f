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

/* ln(1 + e^x), to 1e-7 of itself: of e = e^-|x| <= 1, ln(1 + e)/e is a minimax polynomial. One of
   the slow instructions, of which the decays need so many. */
CUDA_DEV float scan_softplus(float x)
{
    const float e = gpu_exp2(-fabsf(x) * CUDA_LOG2E);
    float s = e * 5.232693904e-03f - 2.950523728e-02f;
    s = s * e + 7.822594934e-02f;
    s = s * e - 1.366324557e-01f;
    s = s * e + 1.910600664e-01f;
    s = s * e - 2.484298218e-01f;
    s = s * e + 3.331909680e-01f;
    s = s * e - 4.999949314e-01f;
    s = s * e + 9.999999699e-01f;
    return fmaxf(x, 0.0f) + s * e;
}

/* Softplus' slope where it is y: 1/(1 + e^-x) = 1 - e^-y, of small y a Taylor polynomial. */
CUDA_DEV float scan_softplus_slope(float y)
{
    float s = y * (1.0f / 5040.0f) - 1.0f / 720.0f;
    s = s * y + 1.0f / 120.0f;
    s = s * y - 1.0f / 24.0f;
    s = s * y + 1.0f / 6.0f;
    s = s * y - 0.5f;
    s = s * y + 1.0f;
    return y < 0.5f ? s * y : 1.0f - gpu_exp2(-y * CUDA_LOG2E);
}

/* The gate's share of an output's gradient *q, in place; in place of z that of z's, without the
   output. */
CUDA_DEV void scan_gate(float *q, float *z)
{
    const float s = cuda_sigmoid(*z), slope = s + *z * s * (1.0f - s), gate = *z * s;
    *z = *q * slope;
    *q *= gate;
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
            q[j] = to.q && here ? rounded_read(dy, at, a.rounded) : 0.0f;
            z[j] =
                to.q && a.z && here ? rounded_read(a.z, (row + t) * a.ld_z + e, a.rounded) : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < batch; j++) {
            const int i = (int)threadIdx.x + (first + j) * SCAN_THREADS;
            if (to.u)
                to.u[i] = u[j];
            if (K::selective)
                to.dt[i] = scan_softplus(dt[j] + bias);
            if (to.q) {
                if (a.z)
                    scan_gate(&q[j], &z[j]);
                to.q[i] = q[j];
                if (to.gate)
                    to.gate[i] = z[j];
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
