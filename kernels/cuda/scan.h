/*
 * What the scan and its backward share: the recurrence of a block's channels, tick by tick.
 *
 * A block is 128 threads: L lanes, each with R states of the same W channels in registers, so
 * 128 W/L channels and at most R L states. Activations of SCAN_TICKS ticks are staged in shared
 * memory, as rows of channels; what a channel's lanes find is added by shuffles.
 *
 * Time is cut into segments, which different blocks march through, or a small batch would leave
 * most of the device idle. A segment is marched through from zero first, for the state it leaves
 * and the product of its decays; a recurrence over the segments then gives the state that enters
 * each, and every segment is marched through again.
 *
 * Selective scans of few real states have kernels of their own, but for the backward's march: see
 * scan_pair.h.
 *
 * Coefficients of a state, (E, N, step):
 *   selective   A log2(e)                       complex: Re A log2(e), Im A 2/pi (quarter turns)
 *   static      decay, input, output            complex: re, im of each
 */
#ifndef HISS_KERNELS_CUDA_SCAN_H
#define HISS_KERNELS_CUDA_SCAN_H

#include "kernels/cuda/cuda.h"

enum {
    SCAN_THREADS = 128,
    SCAN_WARPS = 4,
    SCAN_TICKS = CUDA_SCAN_CHUNK, /* staged at once */
    SCAN_STATES_MAX = 256,
    SCAN_BLOCKS = 768, /* wanted in a launch: constant, or a result would depend on the device */
    SCAN_SEGMENTS_MAX = 512,
};

/* The numbers of one compiled scan. */
template <bool Selective, bool Complex, int R, int L, int W> struct scan_kind {
    static constexpr bool selective = Selective, is_complex = Complex;
    static constexpr int states = R, lanes = L;      /* a lane's of a channel, a channel's */
    static constexpr int many = W;                   /* channels of a lane */
    static constexpr int shared = Selective ? 1 : W; /* how often a lane has B and C */
    static constexpr int parts = Complex ? 2 : 1;
    static constexpr int step = (Selective ? 1 : 3) * parts; /* coefficients of a state */
    static constexpr int width = R * L;                      /* states with the idle ones */
    static constexpr int channels = SCAN_THREADS / L * W;    /* of a block */
    static constexpr int tile = SCAN_TICKS * channels;       /* floats of staged activations */
    /* B and C of the widest do not fit beside the rest: read where they are */
    static constexpr bool staged = Selective && L < 32;
    static constexpr int bc = 2 * parts * width; /* floats of a staged row of B and C */
    static constexpr int bc_size = staged ? SCAN_TICKS * bc : 0;
    static constexpr int sub =
        32 / (R * parts * W);                 /* ticks whose states the backward has at once */
    static constexpr int own = R * parts * W; /* floats of a lane's state */
    typedef float state[W][R][parts];
    typedef float sums[W][R][step];
};

static inline int scan_step_of(bool selective, bool is_complex)
{
    return (selective ? 1 : 3) * (is_complex ? 2 : 1);
}

static inline int scan_lanes_of(int n_state)
{
    return n_state <= 16 ? 4 : n_state <= 64 ? 16 : 32;
}

struct scan_segments {
    int n;
    int64_t ticks; /* of each but the last; whole chunks */
    float *ends;   /* (B, n, E, N[,2]): state left from zero, then the state that enters */
    float *decays; /* (B, n, E, N[,2]): product of the decays */
};

/* Channels of a lane: two where the state is real and small, for they share B, C and shuffles. */
static constexpr int scan_many_of(int lanes, bool is_complex)
{
    return lanes == 4 && !is_complex ? 2 : 1;
}

static inline int64_t scan_groups(int inner, int n_state, bool is_complex)
{
    const int lanes = scan_lanes_of(n_state);
    return cuda_blocks(inner, SCAN_THREADS / lanes * scan_many_of(lanes, is_complex));
}

/* Segments of `length` chunks. */
static inline struct scan_segments scan_segments_of(int64_t n_time, int64_t length)
{
    const int64_t chunks = cuda_blocks(n_time, CUDA_SCAN_CHUNK);
    struct scan_segments seg = {(int)cuda_blocks(chunks, length), length * CUDA_SCAN_CHUNK, NULL,
                                NULL};
    return seg;
}

static inline struct scan_segments scan_cut(const struct scan_args *a)
{
    const int64_t blocks = a->n_batch * scan_groups(a->inner, a->n_state, a->complex_state);
    const int64_t chunks = cuda_blocks(a->n_time, CUDA_SCAN_CHUNK);
    int64_t n = cuda_min(cuda_blocks(SCAN_BLOCKS, blocks), SCAN_SEGMENTS_MAX);
    n = cuda_max(cuda_min(n, chunks / 2), 1); /* one chunk is too little to be marched twice */
    return scan_segments_of(a->n_time, cuda_blocks(chunks, n));
}

/* --- the scans of scan_pair.h ----------------------------------------------------------------- */

enum {
    PAIR_STATES = 16,
    PAIR_CHANNELS = 64, /* of a block */
    /* Blocks wanted in a launch, one wave of 16 and 3 on each of 132 multiprocessors: constant, or
       a result would depend on the device. */
    PAIR_BLOCKS = 2112,
    PAIR_BACK_BLOCKS = 396,
};

static inline bool scan_in_pairs(enum mixer_kind mixer, bool is_complex, int n_state)
{
    return mixer == MIXER_SELECTIVE && !is_complex && n_state <= PAIR_STATES;
}

static inline int64_t pair_groups(int inner)
{
    return cuda_blocks(inner, PAIR_CHANNELS);
}

/* Of a forward. */
static inline struct scan_segments pair_cut(const struct scan_args *a)
{
    const int64_t chunks = cuda_blocks(a->n_time, CUDA_SCAN_CHUNK);
    const int64_t n = cuda_max(PAIR_BLOCKS / (a->n_batch * pair_groups(a->inner)), 1);
    return scan_segments_of(a->n_time, cuda_max(cuda_blocks(chunks, n), 1));
}

/* Of a backward, whose march is cut coarser than the ends: *every of these to one of those. */
static inline struct scan_segments pair_back_cut(const struct scan_args *a, int *every)
{
    const int64_t chunks = cuda_blocks(a->n_time, CUDA_SCAN_CHUNK);
    const int64_t streams = a->n_batch * pair_groups(a->inner);
    const int64_t n = cuda_max(PAIR_BACK_BLOCKS / streams, 1);
    const int64_t length = cuda_max(cuda_blocks(chunks, n), 1);
    const int64_t most = cuda_min(cuda_max(PAIR_BLOCKS / (streams * n), 1), length);
    const int64_t fine = cuda_blocks(length, most);
    *every = (int)cuda_blocks(length, fine);
    return scan_segments_of(a->n_time, fine);
}

/* Segments of all streams at most, of this batch or a smaller one. */
static inline int64_t scan_segments_most(const struct layer *layer, int n_batch, int64_t n_time)
{
    const int64_t chunks = cuda_blocks(n_time, CUDA_SCAN_CHUNK);
    if (scan_in_pairs(layer->mixer, layer->complex_state, layer->n_state))
        return cuda_min(n_batch * chunks, PAIR_BLOCKS / pair_groups(layer->inner) + 2 * n_batch);
    return cuda_min(n_batch * chunks,
                    SCAN_BLOCKS / scan_groups(layer->inner, layer->n_state, layer->complex_state) +
                        n_batch + 1);
}

/* --- a lane ----------------------------------------------------------------------------------- */

struct scan_lane {
    int state;   /* its place among the channels' lanes */
    int channel; /* its first, of the block */
    int e;       /* of all; may be beyond the last: such lanes work on zeros */
    int n0;      /* its first state; may be beyond the last too */
};

template <class K> CUDA_DEV struct scan_lane scan_lane_of(void)
{
    struct scan_lane lane;
    lane.state = (int)threadIdx.x % K::lanes;
    lane.channel = (int)threadIdx.x / K::lanes * K::many;
    lane.e = (int)blockIdx.x * K::channels + lane.channel;
    lane.n0 = lane.state * K::states;
    return lane;
}

/* The place of (b, segment)'s states among those of all segments. */
CUDA_DEV int64_t scan_segment_at(const struct scan_args &a, const struct scan_segments &seg,
                                 int64_t b, int64_t segment)
{
    return (b * seg.n + segment) * a.inner * a.n_state * (a.complex_state ? 2 : 1);
}

/* Whether a lane's states of a channel lie at `x` as whole quads. */
template <class K> CUDA_DEV bool scan_quads(const float *x, const struct scan_args &a)
{
    return K::states * K::parts % 4 == 0 && a.n_state * K::parts % 4 == 0 &&
           a.n_state == K::width && (uintptr_t)x % 16 == 0;
}

/* Float i of a lane's state. */
template <class K> CUDA_DEV float &scan_float(typename K::state &h, int i)
{
    return h[i / (K::states * K::parts)][i / K::parts % K::states][i % K::parts];
}

template <class K> CUDA_DEV void scan_copy(typename K::state &to, typename K::state &from)
{
#pragma unroll
    for (int i = 0; i < K::own; i++)
        scan_float<K>(to, i) = scan_float<K>(from, i);
}

/* A lane's states from (E, N[,2]) floats, and back. */
template <class K>
CUDA_DEV void scan_read(typename K::state &h, const float *from, struct scan_lane lane,
                        const struct scan_args &a)
{
    const bool quads = scan_quads<K>(from, a);
#pragma unroll
    for (int w = 0; w < K::many; w++) {
        const bool live = lane.e + w < a.inner;
        const float *row = from + ((int64_t)(lane.e + w) * a.n_state + lane.n0) * K::parts;
        if (quads) {
#pragma unroll
            for (int i = 0; i < K::states * K::parts; i += 4) {
                const float4 v = live ? *reinterpret_cast<const float4 *>(row + i)
                                      : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                h[w][i / K::parts][i % K::parts] = v.x;
                h[w][(i + 1) / K::parts][(i + 1) % K::parts] = v.y;
                h[w][(i + 2) / K::parts][(i + 2) % K::parts] = v.z;
                h[w][(i + 3) / K::parts][(i + 3) % K::parts] = v.w;
            }
        } else {
#pragma unroll
            for (int i = 0; i < K::states * K::parts; i++)
                h[w][i / K::parts][i % K::parts] =
                    live && lane.n0 + i / K::parts < a.n_state ? row[i] : 0.0f;
        }
    }
}

template <class K>
CUDA_DEV void scan_write(float *to, const typename K::state &h, struct scan_lane lane,
                         const struct scan_args &a)
{
    const bool quads = scan_quads<K>(to, a);
#pragma unroll
    for (int w = 0; w < K::many; w++) {
        const bool live = lane.e + w < a.inner;
        float *row = to + ((int64_t)(lane.e + w) * a.n_state + lane.n0) * K::parts;
        if (quads) {
#pragma unroll
            for (int i = 0; i < K::states * K::parts; i += 4)
                if (live)
                    *reinterpret_cast<float4 *>(row + i) =
                        make_float4(h[w][i / K::parts][i % K::parts],
                                    h[w][(i + 1) / K::parts][(i + 1) % K::parts],
                                    h[w][(i + 2) / K::parts][(i + 2) % K::parts],
                                    h[w][(i + 3) / K::parts][(i + 3) % K::parts]);
        } else {
#pragma unroll
            for (int i = 0; i < K::states * K::parts; i++)
                if (live && lane.n0 + i / K::parts < a.n_state)
                    row[i] = h[w][i / K::parts][i % K::parts];
        }
    }
}

/* A lane's numbers at a tick. Those of a static mixer never change. */
template <class K> struct scan_numbers {
    typename K::state pole; /* A in units of coef's rows; selective */
    typename K::state a;    /* decay */
    float b[K::shared][K::parts][K::states], c[K::shared][K::parts][K::states];
};

template <class K>
CUDA_DEV void scan_coef_read(struct scan_numbers<K> &k, struct scan_lane lane,
                             const struct scan_args &a)
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++) {
            const bool live = lane.e + w < a.inner && lane.n0 + r < a.n_state;
            const float *row = a.coef + ((int64_t)(lane.e + w) * a.n_state + lane.n0 + r) * K::step;
#pragma unroll
            for (int p = 0; p < K::parts; p++) {
                if constexpr (K::selective) {
                    k.pole[w][r][p] = live ? row[p] : 0.0f;
                } else {
                    k.a[w][r][p] = live ? row[p] : 0.0f;
                    k.b[w][p][r] = live ? row[K::parts + p] : 0.0f;
                    k.c[w][p][r] = live ? row[2 * K::parts + p] : 0.0f;
                }
            }
        }
}

/* Array `which` of a row of bc, of a lane's states. */
template <class K>
CUDA_DEV void scan_fetch(float (&to)[K::states], const float *row, int which, struct scan_lane lane,
                         int n_state)
{
    if constexpr (K::staged) {
#pragma unroll
        for (int r = 0; r < K::states; r += 4) {
            float4 v = *reinterpret_cast<const float4 *>(row + which * K::width + lane.n0 + r);
            to[r] = v.x;
            to[r + 1] = v.y;
            to[r + 2] = v.z;
            to[r + 3] = v.w;
        }
    } else {
#pragma unroll
        for (int r = 0; r < K::states; r++)
            to[r] = lane.n0 + r < n_state ? row[which * n_state + lane.n0 + r] : 0.0f;
    }
}

template <class K>
CUDA_DEV void scan_fetch_b(struct scan_numbers<K> &k, const float *row, struct scan_lane lane,
                           int n_state)
{
    if constexpr (K::selective)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            scan_fetch<K>(k.b[0][p], row, p, lane, n_state);
}

template <class K>
CUDA_DEV void scan_fetch_c(struct scan_numbers<K> &k, const float *row, struct scan_lane lane,
                           int n_state)
{
    if constexpr (K::selective)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            scan_fetch<K>(k.c[0][p], row, K::parts + p, lane, n_state);
}

/* One float or a pair of them, aligned to as many. */
template <int N> CUDA_DEV void scan_get(float (&to)[N], const float *from)
{
    static_assert(N <= 2, "a pair");
    if constexpr (N == 2) {
        const float2 v = *reinterpret_cast<const float2 *>(from);
        to[0] = v.x;
        to[1] = v.y;
    } else {
        to[0] = *from;
    }
}

template <int N> CUDA_DEV void scan_put(float *to, const float (&from)[N])
{
    static_assert(N <= 2, "a pair");
    if constexpr (N == 2)
        *reinterpret_cast<float2 *>(to) = make_float2(from[0], from[1]);
    else
        *to = from[0];
}

/* A tile's entries of a lane's channels at a tick. */
template <class K> CUDA_DEV void scan_pick(float (&to)[K::many], const float *tile, int at)
{
    scan_get<K::many>(to, tile + at);
}

/* dt at a tick; 1 if it is static. */
template <class K> CUDA_DEV void scan_pick_dt(float (&dt)[K::many], const float *tile, int at)
{
    if constexpr (K::selective) {
        scan_pick<K>(dt, tile, at);
    } else {
#pragma unroll
        for (int w = 0; w < K::many; w++)
            dt[w] = 1.0f;
    }
}

/* Sine and cosine of q quarter turns, |q| < 2^22, 1e-7 absolute: in this unit nothing is lost by
   taking whole turns off. Minimax polynomials over half a quarter turn each way. */
CUDA_DEV void scan_sincos_quarter(float q, float *sine, float *cosine)
{
    const float whole = rintf(q), f = q - whole, z = f * f;
    const int quadrant = (int)whole;
    float s = z * -4.602176996e-03f + 7.968022807e-02f;
    s = s * z - 6.459634786e-01f;
    s = (s * z + 1.570796322f) * f;
    float c = z * 9.040217080e-04f - 2.086028853e-02f;
    c = c * z + 2.536692440e-01f;
    c = c * z - 1.233700543f;
    c = c * z + 1.0f;
    const float x = quadrant & 1 ? c : s, y = quadrant & 1 ? s : c;
    *sine = quadrant & 2 ? -x : x;
    *cosine = (quadrant + 1) & 2 ? -y : y;
}

/* a = exp(dt A). */
template <class K>
CUDA_DEV void scan_power(typename K::state &a, const typename K::state &pole,
                         const float (&dt)[K::many])
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++) {
            const float size = gpu_exp2(dt[w] * pole[w][r][0]);
            if constexpr (K::is_complex) {
                float sine, cosine;
                scan_sincos_quarter(dt[w] * pole[w][r][1], &sine, &cosine);
                a[w][r][0] = size * cosine;
                a[w][r][1] = size * sine;
            } else {
                a[w][r][0] = size;
            }
        }
}

template <class K> CUDA_DEV void scan_decay(struct scan_numbers<K> &k, const float (&dt)[K::many])
{
    if constexpr (K::selective)
        scan_power<K>(k.a, k.pole, dt);
}

/* h = a h. */
template <class K> CUDA_DEV void scan_multiply(typename K::state &h, const typename K::state &a)
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++)
            if constexpr (K::is_complex) {
                const float re = a[w][r][0] * h[w][r][0] - a[w][r][1] * h[w][r][1];
                h[w][r][1] = a[w][r][0] * h[w][r][1] + a[w][r][1] * h[w][r][0];
                h[w][r][0] = re;
            } else {
                h[w][r][0] *= a[w][r][0];
            }
}

/* h = a h + b dt u. */
template <class K>
CUDA_DEV void scan_advance(typename K::state &h, const struct scan_numbers<K> &k,
                           const float (&dt)[K::many], const float (&u)[K::many])
{
    scan_multiply<K>(h, k.a);
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++)
#pragma unroll
            for (int p = 0; p < K::parts; p++)
                h[w][r][p] += dt[w] * u[w] * k.b[K::selective ? 0 : w][p][r];
}

/* g = conj(a) g. */
template <class K> CUDA_DEV void scan_go_back(typename K::state &g, const typename K::state &a)
{
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++)
            if constexpr (K::is_complex) {
                const float re = a[w][r][0] * g[w][r][0] + a[w][r][1] * g[w][r][1];
                g[w][r][1] = a[w][r][0] * g[w][r][1] - a[w][r][1] * g[w][r][0];
                g[w][r][0] = re;
            } else {
                g[w][r][0] *= a[w][r][0];
            }
}

/* The product of the decays of the ticks marched through: of a selective mixer with real state it
   is the decay of the sum of their dt. */
template <class K> struct scan_product {
    static constexpr bool summed = K::selective && !K::is_complex;
    float dt[K::many];
    typename K::state a;
};

template <class K> CUDA_DEV void scan_product_begin(struct scan_product<K> &product)
{
#pragma unroll
    for (int w = 0; w < K::many; w++) {
        product.dt[w] = 0.0f;
#pragma unroll
        for (int i = 0; i < K::states * K::parts; i++)
            product.a[w][i / K::parts][i % K::parts] = i % K::parts ? 0.0f : 1.0f;
    }
}

template <class K>
CUDA_DEV void scan_product_tick(struct scan_product<K> &product, const struct scan_numbers<K> &k,
                                const float (&dt)[K::many])
{
    if constexpr (scan_product<K>::summed) {
#pragma unroll
        for (int w = 0; w < K::many; w++)
            product.dt[w] += dt[w];
    } else {
        scan_multiply<K>(product.a, k.a);
    }
}

template <class K>
CUDA_DEV void scan_product_end(struct scan_product<K> &product, const struct scan_numbers<K> &k)
{
    if constexpr (scan_product<K>::summed)
        scan_power<K>(product.a, k.pole, product.dt);
}

/* V values of each of the channels' lanes, O, O/2, ... 1 apart, summed over them: lane i is left
   with the sum of value i V / (2 O), in v[0]. All lanes of the warp take part. */
template <int V, int O> CUDA_DEV void scan_sum_lanes(float *v)
{
    if constexpr (O > 0 && V > 1) {
        const bool upper = threadIdx.x & O;
#pragma unroll
        for (int i = 0; i < V / 2; i++) {
            const float mine = upper ? v[i + V / 2] : v[i];
            const float other = upper ? v[i] : v[i + V / 2];
            v[i] = mine + __shfl_xor_sync((unsigned)ALL_LANES, other, O);
        }
        scan_sum_lanes<V / 2, O / 2>(v);
    } else if constexpr (O > 0) {
        v[0] += __shfl_xor_sync((unsigned)ALL_LANES, v[0], O);
        scan_sum_lanes<1, O / 2>(v);
    }
}

/* sum_n C h of a lane's channels, 2 Re of it if complex: lane i of a channel's has that of channel
   i many / lanes. */
template <class K>
CUDA_DEV float scan_output_of(const typename K::state &h, const struct scan_numbers<K> &k)
{
    float s[K::many] = {};
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++) {
            s[w] += k.c[K::selective ? 0 : w][0][r] * h[w][r][0];
            if constexpr (K::is_complex)
                s[w] -= k.c[K::selective ? 0 : w][1][r] * h[w][r][1];
        }
    scan_sum_lanes<K::many, K::lanes / 2>(s);
    return K::parts * s[0];
}

#endif
