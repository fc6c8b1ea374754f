/*
 * The causal depthwise convolution in front of the scan, with SiLU after it. A thread is one
 * channel of one stream, or two next to each other, over a run of ticks; inputs slide through
 * registers, and those of several ticks are on their way at once: what is stored keeps the compiler
 * from reading ahead by itself.
 * Up to four taps are four, up to 32 are 32, the ones too many, the oldest, being 0.
 */
#include "kernels/cuda/cuda.h"

enum {
    CONV_TAPS_MAX = 32,
    CONV_RUN = 16,      /* ticks of a thread */
    CONV_BACK_RUN = 32, /* in the backward, where a run does its first K-1 ticks' dc for another */
    CONV_BACK_RUNS = 8, /* of a block, summed there */
};

/* The inputs of a stream. */
struct conv_inputs {
    const float *x;
    int64_t first, ld; /* of entries */
    bool rounded;
};

CUDA_DEV float conv_read(const struct conv_inputs &x, int64_t t, int e)
{
    return rounded_read(x.x, x.first + t * x.ld + e, x.rounded);
}

/* Input t of a stream, from before the chunk if t < 0; 0 before the state. */
CUDA_DEV float conv_input(const struct conv_inputs &x, const float *state, int keep, int64_t t,
                          int e)
{
    if (t >= 0)
        return conv_read(x, t, e);
    return t >= -keep ? state[(int64_t)e * keep + keep + t] : 0.0f;
}

/* How a thread reads and writes entries of its channels: one; two next to each other, of floats
   alone or of bf16 alone, aligned as two. `raw`: as they are read. */
enum conv_kind { CONV_ONE, CONV_FLOATS, CONV_ROUNDED };

template <int Kind> struct conv_entries {
    static constexpr int wide = 1;
    typedef float raw;
    CUDA_DEV raw read(const char *x, bool rounded)
    {
        return rounded_read(reinterpret_cast<const float *>(x), 0, rounded);
    }
    CUDA_DEV void open(float (&v)[1], raw x)
    {
        v[0] = x;
    }
    CUDA_DEV void write(char *x, bool rounded, const float (&v)[1])
    {
        rounded_write(reinterpret_cast<float *>(x), 0, rounded, v[0]);
    }
};

template <> struct conv_entries<CONV_FLOATS> {
    static constexpr int wide = 2;
    typedef float2 raw;
    CUDA_DEV raw read(const char *x, bool)
    {
        return *reinterpret_cast<const float2 *>(x);
    }
    CUDA_DEV void open(float (&v)[2], raw x)
    {
        v[0] = x.x, v[1] = x.y;
    }
    CUDA_DEV void write(char *x, bool, const float (&v)[2])
    {
        *reinterpret_cast<float2 *>(x) = make_float2(v[0], v[1]);
    }
};

template <> struct conv_entries<CONV_ROUNDED> {
    static constexpr int wide = 2;
    typedef uint32_t raw;
    CUDA_DEV raw read(const char *x, bool)
    {
        return *reinterpret_cast<const uint32_t *>(x);
    }
    CUDA_DEV void open(float (&v)[2], raw x)
    {
        v[0] = rounded_low(x), v[1] = rounded_high(x);
    }
    CUDA_DEV void write(char *x, bool, const float (&v)[2])
    {
        *reinterpret_cast<uint32_t *>(x) = gpu_bf16x2(v[0], v[1]);
    }
};

/* Entries of the same channels in a tensor of floats. */
template <int Kind> struct conv_floats {
    typedef conv_entries<Kind == CONV_ONE ? CONV_ONE : CONV_FLOATS> type;
};

/* `at`: an entry of a tensor. */
CUDA_DEV char *conv_at(const float *x, int64_t at, bool rounded)
{
    return reinterpret_cast<char *>(const_cast<float *>(x)) + at * (rounded ? 2 : 4);
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
CUDA_DEV void conv_window(float (&window)[K], const struct conv_inputs &x, const float *state,
                          int keep, int64_t t, int e)
{
    window[0] = 0.0f;
#pragma unroll
    for (int k = 1; k < K; k++)
        window[k] = conv_input(x, state, keep, t - K + k, e);
}

/* A thread's channels: taps, bias and window. */
template <int K, int Wide> struct conv_channels {
    float taps[Wide][K], window[Wide][K], bias[Wide];
};

template <int K, int Wide>
CUDA_DEV void conv_begin(struct conv_channels<K, Wide> &c, const struct conv_inputs &x,
                         const float *w, const float *bias, const float *state, int n_taps,
                         int64_t t, int e)
{
#pragma unroll
    for (int i = 0; i < Wide; i++) {
        c.bias[i] = bias[e + i];
        conv_taps<K>(c.taps[i], w, n_taps, e + i);
        conv_window<K>(c.window[i], x, state, n_taps - 1, t, e + i);
    }
}

/* Ticks of a run that are read at once. */
template <int Kind> struct conv_ahead {
    static constexpr int n = Kind == CONV_ROUNDED ? 16 : 8;
    static_assert(CONV_RUN % n == 0, "");
};

template <int K, int Kind>
static __global__ void __launch_bounds__(ENTRY_THREADS, K <= 4 ? 4 : 1)
    conv_kernel(struct conv_args a)
{
    typedef conv_entries<Kind> entries;
    typedef typename conv_floats<Kind>::type floats;
    constexpr int wide = entries::wide, ahead = conv_ahead<Kind>::n;
    const bool rounded = Kind == CONV_ROUNDED || (Kind == CONV_ONE && a.x_rounded);
    const int64_t runs = (a.n_time + CONV_RUN - 1) / CONV_RUN, across = a.inner / wide;
    for (int64_t i = first_entry(); i < a.n_batch * runs * across; i += entry_stride()) {
        const int e = (int)(i % across) * wide;
        const int64_t b = i / across / runs, t0 = i / across % runs * CONV_RUN;
        const int n = a.n_time - t0 < CONV_RUN ? (int)(a.n_time - t0) : CONV_RUN;
        const struct conv_inputs x = {a.x, b * a.n_time * a.ld_x, a.ld_x, rounded};
        const char *from = conv_at(a.x, x.first + t0 * a.ld_x + e, rounded);
        const int64_t step = a.ld_x * (rounded ? 2 : 4);
        char *to = conv_at(a.u, (b * a.n_time + t0) * a.inner + e, false);
        struct conv_channels<K, wide> c;
        conv_begin(c, x, a.w, a.bias, a.state + b * a.ld_state, a.n_taps, t0, e);
        for (int some = 0; some < n; some += ahead) {
            typename entries::raw next[ahead] = {};
#pragma unroll
            for (int i = 0; i < ahead; i++, from += step)
                if (some + i < n)
                    next[i] = entries::read(from, rounded);
#pragma unroll
            for (int i = 0; i < ahead; i++, to += a.inner * sizeof(float)) {
                float v[wide], u[wide];
                entries::open(v, next[i]);
#pragma unroll
                for (int j = 0; j < wide; j++) {
                    conv_push<K>(c.window[j], v[j]);
                    const float sum = conv_sum<K>(c.taps[j], c.window[j], c.bias[j]);
                    u[j] = sum * cuda_sigmoid(sum);
                }
                if (some + i < n)
                    floats::write(to, false, u);
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
        const struct conv_inputs x = {a.x, b * a.n_time * a.ld_x, a.ld_x, a.x_rounded};
        float *state = a.state + b * a.ld_state;
        for (int j = 0; j < keep; j++) /* each slot reads one further on, or x */
            state[(int64_t)e * keep + j] = conv_input(x, state, keep, a.n_time - keep + j, e);
    }
}

/* What the entries of a tensor can be read as, beside those of a dense one. */
static int conv_kind_of(int n_taps, int inner, const float *dense, const float *x, int64_t ld,
                        bool rounded)
{
    const bool two = n_taps <= 4 && inner % 2 == 0 && ld % 2 == 0;
    if (!two || reinterpret_cast<uintptr_t>(dense) % 8 != 0 ||
        reinterpret_cast<uintptr_t>(x) % (rounded ? 4 : 8) != 0)
        return CONV_ONE;
    return rounded ? CONV_ROUNDED : CONV_FLOATS;
}

static void op_conv_silu(struct backend *be, const struct conv_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct conv_args resolved = *args, *a = &resolved;
    a->x_rounded = cuda_rounded(cuda, a->x_rounded);
    const int64_t runs = cuda_blocks(a->n_time, CONV_RUN), streams = (int64_t)a->n_batch * a->inner;
    if (streams == 0 || a->n_time == 0)
        return;
    if (a->n_taps > CONV_TAPS_MAX) {
        cuda_keep_error(cuda, cudaErrorInvalidValue, "conv: too many taps");
        return;
    }
    const int kind = conv_kind_of(a->n_taps, a->inner, a->u, a->x, a->ld_x, a->x_rounded);
    void (*const kernel)(struct conv_args) = a->n_taps > 4 ? conv_kernel<CONV_TAPS_MAX, CONV_ONE>
                                             : kind == CONV_ROUNDED ? conv_kernel<4, CONV_ROUNDED>
                                             : kind == CONV_FLOATS  ? conv_kernel<4, CONV_FLOATS>
                                                                    : conv_kernel<4, CONV_ONE>;
    GPU_LAUNCH(kernel, entry_grid(runs * streams / (kind == CONV_ONE ? 1 : 2)), ENTRY_THREADS, 0,
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
template <int K> struct conv_back_ahead {
    static constexpr int n = K <= 4 ? 7 : 1;
    static_assert((CONV_BACK_RUN + K - 1) % n == 0, "");
};

/* dx of a run, and the block's partial sums: (B, parts) rows of dw (E,K), dbias (E). x and dx are
   of the same kind, unless that is CONV_ONE. */
template <int K, int Kind>
static __global__ void __launch_bounds__(WARP *CONV_BACK_RUNS, K > 4              ? 1
                                                               : Kind == CONV_ONE ? 3
                                                                                  : 2)
    conv_backward_kernel(struct conv_backward_args a, float *parts)
{
    typedef conv_entries<Kind> entries;
    typedef typename conv_floats<Kind>::type floats;
    constexpr int wide = entries::wide, across = WARP * wide, ahead = conv_back_ahead<K>::n;
    GPU_SMEM(float, sums); /* (runs, K + 1, across) */
    const bool x_rounded = Kind == CONV_ROUNDED || (Kind == CONV_ONE && a.x_rounded);
    const bool dx_rounded = Kind == CONV_ROUNDED || (Kind == CONV_ONE && a.dx_rounded);
    const int e = (int)(blockIdx.x * across + threadIdx.x * wide);
    const int64_t b = blockIdx.z, part = blockIdx.y;
    const int64_t t0 = (part * CONV_BACK_RUNS + threadIdx.y) * CONV_BACK_RUN;
    const int64_t left = a.n_time - t0; /* ticks of the chunk from the run's first on */
    const int n = left < CONV_BACK_RUN ? (int)left : CONV_BACK_RUN;
    float dw[wide][K] = {}, dbias[wide] = {};
    if (e < a.inner && left > 0) {
        const struct conv_inputs x = {a.x, b * a.n_time * a.ld_x, a.ld_x, x_rounded};
        const char *from = conv_at(a.x, x.first + t0 * a.ld_x + e, x_rounded);
        const char *du = conv_at(a.du, (b * a.n_time + t0) * a.inner + e, false);
        char *dx = conv_at(a.dx, (b * a.n_time + t0 - (K - 1)) * a.ld_dx + e, dx_rounded);
        const int64_t step = a.ld_x * (x_rounded ? 2 : 4), dx_step = a.ld_dx * (dx_rounded ? 2 : 4);
        float dc[wide][K] = {};
        struct conv_channels<K, wide> c;
        conv_begin(c, x, a.w, a.bias, a.state + b * a.ld_state, a.n_taps, t0, e);
        /* dx of a tick needs dc of the K-1 after it, which are 0 after the chunk */
        for (int some = 0; some < n + K - 1; some += ahead) {
            typename entries::raw next_x[ahead] = {};
            typename floats::raw next_du[ahead] = {};
#pragma unroll
            for (int i = 0; i < ahead; i++, from += step, du += a.inner * sizeof(float))
                if (some + i < left) {
                    next_x[i] = entries::read(from, x_rounded);
                    next_du[i] = floats::read(du, false);
                }
#pragma unroll
            for (int i = 0; i < ahead; i++, dx += dx_step) {
                const int t = some + i, before = t - (K - 1);
                float v[wide], d[wide], sum[wide] = {};
                entries::open(v, next_x[i]);
                floats::open(d, next_du[i]);
#pragma unroll
                for (int j = 0; j < wide; j++) {
                    conv_push<K>(c.window[j], v[j]);
                    d[j] = conv_dc(d[j], conv_sum<K>(c.taps[j], c.window[j], c.bias[j]));
                    conv_push<K>(dc[j], d[j]);
                    if (t < n) {
                        dbias[j] += d[j];
#pragma unroll
                        for (int k = 0; k < K; k++)
                            dw[j][k] += d[j] * c.window[j][k];
                    }
#pragma unroll
                    for (int k = 0; k < K; k++)
                        sum[j] += c.taps[j][k] * dc[j][K - 1 - k];
                }
                if (before >= 0 && before < n)
                    entries::write(dx, dx_rounded, sum);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < wide; j++) {
        float *own = sums + threadIdx.y * (K + 1) * across + threadIdx.x * wide + j;
#pragma unroll
        for (int k = 0; k < K; k++)
            own[k * across] = dw[j][k];
        own[K * across] = dbias[j];
    }
    __syncthreads();
    float *row = parts + (b * gridDim.y + part) * a.inner * (a.n_taps + 1);
    const int thread = (int)(threadIdx.y * WARP + threadIdx.x);
    for (int i = thread; i < (a.n_taps + 1) * across; i += WARP * CONV_BACK_RUNS) {
        const int k = i / across, column = i % across, to = (int)blockIdx.x * across + column;
        const float *from = sums + (k < a.n_taps ? K - a.n_taps + k : K) * across + column;
        if (to >= a.inner)
            continue;
        float sum = 0.0f;
        for (int run = 0; run < CONV_BACK_RUNS; run++)
            sum += from[run * (K + 1) * across];
        row[k < a.n_taps ? (int64_t)to * a.n_taps + k : (int64_t)a.inner * a.n_taps + to] = sum;
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
        const struct conv_inputs x = {a.x, b * a.n_time * a.ld_x, a.ld_x, a.x_rounded};
        const float *state = a.state + b * a.ld_state;
        const float *du = a.du + b * a.n_time * a.inner, *w = a.w + (int64_t)e * a.n_taps;
        const int64_t dx = b * a.n_time * a.ld_dx + e;
        float *dstate = a.dstate + b * a.ld_state + (int64_t)e * keep;
        for (int j = keep - n; j < keep; j++) {
            const int64_t at = dx + (a.n_time - keep + j) * a.ld_dx;
            rounded_write(a.dx, at, a.dx_rounded, rounded_read(a.dx, at, a.dx_rounded) + dstate[j]);
        }
        for (int j = keep - 1; j >= 0; j--) /* from the newest: slot j reads slot j - T */
            dstate[j] = j >= a.n_time ? dstate[j - a.n_time] : 0.0f;
        for (int t = 0; t < n; t++) {
            float c = a.bias[e];
#pragma unroll 1
            for (int k = 0; k < a.n_taps; k++)
                c += w[k] * conv_input(x, state, keep, t - keep + k, e);
            const float dc = conv_dc(du[(int64_t)t * a.inner + e], c);
#pragma unroll 1
            for (int j = t; j < keep; j++)
                dstate[j] += w[j - t] * dc;
        }
    }
}

template <int K, int Kind>
static void conv_backward_run(struct cuda_backend *cuda, const struct conv_backward_args *a,
                              float *parts)
{
    constexpr int across = WARP * conv_entries<Kind>::wide;
    const dim3 grid((unsigned)cuda_blocks(a->inner, across), (unsigned)conv_parts(a->n_time),
                    (unsigned)a->n_batch);
    GPU_LAUNCH((conv_backward_kernel<K, Kind>), grid, dim3(WARP, CONV_BACK_RUNS),
               CONV_BACK_RUNS * (K + 1) * across * sizeof(float), cuda->stream, *a, parts);
    cuda_launched(cuda, "conv_backward");
}

static void op_conv_silu_backward(struct backend *be, const struct conv_backward_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct conv_backward_args resolved = *args, *a = &resolved;
    a->x_rounded = cuda_rounded(cuda, a->x_rounded);
    a->dx_rounded = cuda_rounded(cuda, a->dx_rounded);
    const int64_t streams = (int64_t)a->n_batch * a->inner, size = a->inner * (a->n_taps + 1);
    if (streams == 0 || a->n_time == 0)
        return;
    if (a->n_taps > CONV_TAPS_MAX) {
        cuda_keep_error(cuda, cudaErrorInvalidValue, "conv_backward: too many taps");
        return;
    }
    float *parts = reinterpret_cast<float *>(cuda->scratch);
    const int64_t n_parts = a->n_batch * conv_parts(a->n_time), bias_at = size - a->inner;
    const int kind = conv_kind_of(a->n_taps, a->inner, a->du, a->x, a->ld_x, a->x_rounded);
    const int kind_dx = conv_kind_of(a->n_taps, a->inner, a->du, a->dx, a->ld_dx, a->dx_rounded);
    if (a->n_taps > 4)
        conv_backward_run<CONV_TAPS_MAX, CONV_ONE>(cuda, a, parts);
    else if (kind == CONV_ROUNDED && kind_dx == kind)
        conv_backward_run<4, CONV_ROUNDED>(cuda, a, parts);
    else if (kind == CONV_FLOATS && kind_dx == kind)
        conv_backward_run<4, CONV_FLOATS>(cuda, a, parts);
    else
        conv_backward_run<4, CONV_ONE>(cuda, a, parts);
    GPU_LAUNCH(conv_backward_state_kernel, entry_grid(streams), ENTRY_THREADS, 0, cuda->stream, *a);
    cuda_launched(cuda, "conv_backward_state");
    const struct partials sums = {{a->dw, a->dbias, NULL}, {bias_at, size, size}};
    partials_add_to(cuda, &sums, parts, size, n_parts);
}
