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

CUDA_DEV float scan_softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x));
}

CUDA_DEV float scan_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Entries of a tile that a thread stages, all of one channel. */
template <class K> struct scan_share {
    static constexpr int size = K::tile / SCAN_THREADS;
};

/* What the marches need of n ticks from row `row` on. Ticks after the last are left as they are:
   no march looks at them. Tiles that are NULL are not wanted. */
template <class K>
CUDA_DEV void scan_stage(float *u, float *dt, float *q, float *bc, const struct scan_args &a,
                         const float *dy, int64_t row, int n)
{
    const int channel = (int)threadIdx.x % K::channels;
    const int e = (int)blockIdx.x * K::channels + channel;
    const bool live = e < a.inner;
    const float bias = K::selective && live ? a.dt_bias[e] : 0.0f;
#pragma unroll
    for (int j = 0; j < scan_share<K>::size; j++) {
        const int i = (int)threadIdx.x + j * SCAN_THREADS, t = i / K::channels;
        const bool here = live && t < n;
        const int64_t at = (row + t) * a.inner + e;
        if (u)
            u[i] = here ? a.u[at] : 0.0f;
        if (K::selective)
            dt[i] = here ? scan_softplus(a.dt_raw[at] + bias) : 0.0f;
        if (q) { /* the gradient before the gate */
            float g = here ? dy[at] : 0.0f;
            if (a.z && here) {
                const float z = a.z[(row + t) * a.ld_z + e];
                g *= z * scan_sigmoid(z);
            }
            q[i] = g;
        }
    }
    if constexpr (K::staged) {
        for (int i = (int)threadIdx.x; i < n * K::bc; i += SCAN_THREADS) {
            const int t = i / K::bc, which = i % K::bc / K::width, state = i % K::width;
            bc[i] =
                state < a.n_state ? a.bc[(row + t) * a.ld_bc + which * a.n_state + state] : 0.0f;
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
