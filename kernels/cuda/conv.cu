/*
 * The causal depthwise convolution in front of the scan, with SiLU after it. A thread is one
 * channel of one stream over a run of ticks; inputs slide through registers, and those of several
 * ticks are on their way at once: what is stored keeps the compiler from reading ahead by itself.
 * Up to four taps are four, up to 32 are 32, the ones too many, the oldest, being 0.
 */
#include "kernels/cuda/cuda.h"

enum {
    CONV_TAPS_MAX = 32,
    CONV_RUN = 16,      /* ticks of a thread */
    CONV_AHEAD = 8,     /* of them that are read at once */
    CONV_BACK_RUN = 32, /* in the backward, where a run does its first K-1 ticks' dc for another */
    CONV_BACK_RUNS = 8, /* of a block, summed there */
};

/* Input t of a stream, from before the chunk if t < 0; 0 before the state. */
CUDA_DEV float conv_input(const float *x, int64_t ld_x, const float *state, int keep, int64_t t,
                          int e)
{
    if (t >= 0)
        return x[t * ld_x + e];
    return t >= -keep ? state[(int64_t)e * keep + keep + t] : 0.0f;
}

/* The weights of channel e, last tap last. */
template <int K> CUDA_DEV void conv_taps(float (&taps)[K], const float *w, int n_taps, int e)
{
#pragma unroll
    for (int k = 0; k < K; k++)
        taps[k] = k >= K - n_taps ? w[(int64_t)e * n_taps + k - (K - n_taps)] : 0.0f;
}

/* Moves a window of the last K values on. */
template <int K> CUDA_DEV void conv_push(float (&window)[K], float value)
{
#pragma unroll
    for (int k = 0; k + 1 < K; k++)
        window[k] = window[k + 1];
    window[K - 1] = value;
}

/* The sum c of the tick whose input is the last of the window. */
template <int K>
CUDA_DEV float conv_sum(const float (&taps)[K], const float (&window)[K], float bias)
{
    float c = bias;
#pragma unroll
    for (int k = 0; k < K; k++)
        c += taps[k] * window[k];
    return c;
}

/* A window ready for the input of tick t. */
template <int K>
CUDA_DEV void conv_window(float (&window)[K], const float *x, int64_t ld_x, const float *state,
                          int keep, int64_t t, int e)
{
    window[0] = 0.0f;
#pragma unroll
    for (int k = 1; k < K; k++)
        window[k] = conv_input(x, ld_x, state, keep, t - K + k, e);
}

template <int K>
static __global__ void __launch_bounds__(ENTRY_THREADS, K <= 4 ? 4 : 1)
    conv_kernel(struct conv_args a)
{
    const int keep = a.n_taps - 1;
    const int64_t runs = (a.n_time + CONV_RUN - 1) / CONV_RUN;
    for (int64_t i = first_entry(); i < a.n_batch * runs * a.inner; i += entry_stride()) {
        const int e = (int)(i % a.inner);
        const int64_t b = i / a.inner / runs, t0 = i / a.inner % runs * CONV_RUN;
        const int n = a.n_time - t0 < CONV_RUN ? (int)(a.n_time - t0) : CONV_RUN;
        const float *x = a.x + b * a.n_time * a.ld_x, *state = a.state + b * a.ld_state;
        const float *from = x + t0 * a.ld_x + e;
        float *to = a.u + (b * a.n_time + t0) * a.inner + e;
        const float bias = a.bias[e];
        float taps[K], window[K];
        conv_taps<K>(taps, a.w, a.n_taps, e);
        conv_window<K>(window, x, a.ld_x, state, keep, t0, e);
        for (int some = 0; some < n; some += CONV_AHEAD) {
            float next[CONV_AHEAD];
#pragma unroll
            for (int i = 0; i < CONV_AHEAD; i++, from += a.ld_x)
                next[i] = some + i < n ? *from : 0.0f;
#pragma unroll
            for (int i = 0; i < CONV_AHEAD; i++, to += a.inner) {
                conv_push<K>(window, next[i]);
                const float c = conv_sum<K>(taps, window, bias);
                if (some + i < n)
                    *to = c * cuda_sigmoid(c);
            }
        }
    }
}

/* The state moves on by n_time inputs. */
static __global__ void __launch_bounds__(ENTRY_THREADS) conv_state_kernel(struct conv_args a)
{
    const int keep = a.n_taps - 1;
    for (int64_t i = first_entry(); i < (int64_t)a.n_batch * a.inner; i += entry_stride()) {
        const int64_t b = i / a.inner;
        const int e = (int)(i % a.inner);
        const float *x = a.x + b * a.n_time * a.ld_x;
        float *state = a.state + b * a.ld_state;
        for (int j = 0; j < keep; j++) /* each slot reads one further on, or x */
            state[(int64_t)e * keep + j] =
                conv_input(x, a.ld_x, state, keep, a.n_time - keep + j, e);
    }
}

static void op_conv_silu(struct backend *be, const struct conv_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    const int64_t runs = cuda_blocks(a->n_time, CONV_RUN), streams = (int64_t)a->n_batch * a->inner;
    if (streams == 0 || a->n_time == 0)
        return;
    if (a->n_taps > CONV_TAPS_MAX) {
        cuda_keep_error(cuda, cudaErrorInvalidValue, "conv: too many taps");
        return;
    }
    if (a->n_taps <= 4)
        GPU_LAUNCH((conv_kernel<4>), entry_grid(runs * streams), ENTRY_THREADS, 0, cuda->stream,
                   *a);
    else
        GPU_LAUNCH((conv_kernel<CONV_TAPS_MAX>), entry_grid(runs * streams), ENTRY_THREADS, 0,
                   cuda->stream, *a);
    cuda_launched(cuda, "conv");
    GPU_LAUNCH(conv_state_kernel, entry_grid(streams), ENTRY_THREADS, 0, cuda->stream, *a);
    cuda_launched(cuda, "conv_state");
}

/* --- backward --------------------------------------------------------------------------------- */

/* The gradient of the sum c. */
CUDA_DEV float conv_dc(float du, float c)
{
    const float s = cuda_sigmoid(c);
    return du * (s + c * s * (1.0f - s));
}

static inline int64_t conv_parts(int64_t n_time)
{
    return cuda_blocks(n_time, CONV_BACK_RUN * CONV_BACK_RUNS);
}

static size_t conv_backward_workspace(const struct layer *layer, int n_batch, int64_t n_time)
{
    return (size_t)(n_batch * conv_parts(n_time) * layer->inner * (layer->n_taps + 1)) *
           sizeof(float);
}

/* Ticks of the backward that are read at once: a part of a run and the K-1 behind it. */
template <int K> struct conv_ahead {
    static constexpr int n = K <= 4 ? 7 : 1;
    static_assert((CONV_BACK_RUN + K - 1) % n == 0, "");
};

/* dx of a run, and the block's partial sums: (B, parts) rows of dw (E,K), dbias (E). */
template <int K>
static __global__ void __launch_bounds__(WARP *CONV_BACK_RUNS, K <= 4 ? 3 : 1)
    conv_backward_kernel(struct conv_backward_args a, float *parts)
{
    GPU_SMEM(float, sums); /* (runs, K + 1, 32) */
    const int keep = a.n_taps - 1, e = (int)(blockIdx.x * WARP + threadIdx.x);
    const int64_t b = blockIdx.z, part = blockIdx.y;
    const int64_t t0 = (part * CONV_BACK_RUNS + threadIdx.y) * CONV_BACK_RUN;
    const int64_t left = a.n_time - t0; /* ticks of the chunk from the run's first on */
    const int n = left < CONV_BACK_RUN ? (int)left : CONV_BACK_RUN;
    float dw[K] = {}, dbias = 0.0f;
    if (e < a.inner && left > 0) {
        const float *x = a.x + b * a.n_time * a.ld_x, *from = x + t0 * a.ld_x + e;
        const float *du = a.du + (b * a.n_time + t0) * a.inner + e;
        float *dx = a.dx + (b * a.n_time + t0) * a.ld_dx + e;
        float taps[K], window[K], dc[K] = {};
        const float bias = a.bias[e];
        conv_taps<K>(taps, a.w, a.n_taps, e);
        conv_window<K>(window, x, a.ld_x, a.state + b * a.ld_state, keep, t0, e);
        /* dx of a tick needs dc of the K-1 after it, which are 0 after the chunk */
        constexpr int ahead = conv_ahead<K>::n;
        for (int some = 0; some < n + K - 1; some += ahead) {
            float next_x[ahead], next_du[ahead];
#pragma unroll
            for (int i = 0; i < ahead; i++) {
                const bool live = some + i < left;
                next_x[i] = live ? from[(some + i) * a.ld_x] : 0.0f;
                next_du[i] = live ? du[(int64_t)(some + i) * a.inner] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < ahead; i++) {
                const int t = some + i, before = t - (K - 1);
                conv_push<K>(window, next_x[i]);
                const float d = conv_dc(next_du[i], conv_sum<K>(taps, window, bias));
                conv_push<K>(dc, d);
                if (t < n) {
                    dbias += d;
#pragma unroll
                    for (int k = 0; k < K; k++)
                        dw[k] += d * window[k];
                }
                if (before >= 0 && before < n) {
                    float sum = 0.0f;
#pragma unroll
                    for (int k = 0; k < K; k++)
                        sum += taps[k] * dc[K - 1 - k];
                    dx[before * a.ld_dx] = sum;
                }
            }
        }
    }
#pragma unroll
    for (int k = 0; k < K; k++)
        sums[(threadIdx.y * (K + 1) + k) * WARP + threadIdx.x] = dw[k];
    sums[(threadIdx.y * (K + 1) + K) * WARP + threadIdx.x] = dbias;
    __syncthreads();
    float *row = parts + (b * gridDim.y + part) * a.inner * (a.n_taps + 1);
    for (int k = (int)threadIdx.y; k <= a.n_taps && e < a.inner; k += CONV_BACK_RUNS) {
        const int from = k < a.n_taps ? K - a.n_taps + k : K;
        float sum = 0.0f;
        for (int run = 0; run < CONV_BACK_RUNS; run++)
            sum += sums[(run * (K + 1) + from) * WARP + threadIdx.x];
        row[k < a.n_taps ? (int64_t)e * a.n_taps + k : (int64_t)a.inner * a.n_taps + e] = sum;
    }
}

/* Gradients of the inputs before the chunk, from dc of its first K-1 ticks, and of the state that
   left: slot j holds input T - (K-1) + j, which may itself be an input before the chunk. */
static __global__ void __launch_bounds__(ENTRY_THREADS)
    conv_backward_state_kernel(struct conv_backward_args a)
{
    const int keep = a.n_taps - 1, n = (int)(a.n_time < keep ? a.n_time : keep);
    for (int64_t i = first_entry(); i < (int64_t)a.n_batch * a.inner; i += entry_stride()) {
        const int64_t b = i / a.inner;
        const int e = (int)(i % a.inner);
        const float *x = a.x + b * a.n_time * a.ld_x, *state = a.state + b * a.ld_state;
        const float *du = a.du + b * a.n_time * a.inner, *w = a.w + (int64_t)e * a.n_taps;
        float *dx = a.dx + b * a.n_time * a.ld_dx + e;
        float *dstate = a.dstate + b * a.ld_state + (int64_t)e * keep;
        for (int j = keep - n; j < keep; j++)
            dx[(a.n_time - keep + j) * a.ld_dx] += dstate[j];
        for (int j = keep - 1; j >= 0; j--) /* from the newest: slot j reads slot j - T */
            dstate[j] = j >= a.n_time ? dstate[j - a.n_time] : 0.0f;
        for (int t = 0; t < n; t++) {
            float c = a.bias[e];
#pragma unroll 1
            for (int k = 0; k < a.n_taps; k++)
                c += w[k] * conv_input(x, a.ld_x, state, keep, t - keep + k, e);
            const float dc = conv_dc(du[(int64_t)t * a.inner + e], c);
#pragma unroll 1
            for (int j = t; j < keep; j++)
                dstate[j] += w[j - t] * dc;
        }
    }
}

template <int K>
static void conv_backward_run(struct cuda_backend *cuda, const struct conv_backward_args *a,
                              float *parts)
{
    const dim3 grid((unsigned)cuda_blocks(a->inner, WARP), (unsigned)conv_parts(a->n_time),
                    (unsigned)a->n_batch);
    GPU_LAUNCH((conv_backward_kernel<K>), grid, dim3(WARP, CONV_BACK_RUNS),
               CONV_BACK_RUNS * (K + 1) * WARP * sizeof(float), cuda->stream, *a, parts);
    cuda_launched(cuda, "conv_backward");
}

static void op_conv_silu_backward(struct backend *be, const struct conv_backward_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    const int64_t streams = (int64_t)a->n_batch * a->inner, size = a->inner * (a->n_taps + 1);
    if (streams == 0 || a->n_time == 0)
        return;
    if (a->n_taps > CONV_TAPS_MAX) {
        cuda_keep_error(cuda, cudaErrorInvalidValue, "conv_backward: too many taps");
        return;
    }
    float *parts = reinterpret_cast<float *>(cuda->scratch);
    const int64_t n_parts = a->n_batch * conv_parts(a->n_time), bias_at = size - a->inner;
    if (a->n_taps <= 4)
        conv_backward_run<4>(cuda, a, parts);
    else
        conv_backward_run<CONV_TAPS_MAX>(cuda, a, parts);
    GPU_LAUNCH(conv_backward_state_kernel, entry_grid(streams), ENTRY_THREADS, 0, cuda->stream, *a);
    cuda_launched(cuda, "conv_backward_state");
    partials_add(cuda, a->dw, parts, size, n_parts, bias_at);
    partials_add(cuda, a->dbias, parts + bias_at, size, n_parts, a->inner);
}
