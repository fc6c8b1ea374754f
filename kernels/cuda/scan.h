/*
 * What the scan and its backward share: the recurrence of a block's channels, tick by tick.
 *
 * A block is 128 threads: L lanes a channel, each with R states in registers, so 128/L channels and
 * at most R L states. Activations of SCAN_TICKS ticks are staged in shared memory, as rows of
 * channels; what a channel's lanes find is added by shuffles.
 *
 * Time is cut into segments, which different blocks march through, or a small batch would leave
 * most of the device idle. A segment is marched through from zero first, for the state it leaves
 * and the product of its decays; a recurrence over the segments then gives the state that enters
 * each, and every segment is marched through again.
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
    SCAN_BLOCKS = 1024, /* wanted in a launch: constant, or a result would depend on the device */
    SCAN_SEGMENTS_MAX = 128,
};

/* The numbers of one compiled scan. */
template <bool Selective, bool Complex, int R, int L> struct scan_kind {
    static constexpr bool selective = Selective, is_complex = Complex;
    static constexpr int states = R, lanes = L; /* a lane's, a channel's */
    static constexpr int parts = Complex ? 2 : 1;
    static constexpr int step = (Selective ? 1 : 3) * parts; /* coefficients of a state */
    static constexpr int width = R * L;                      /* states with the idle ones */
    static constexpr int channels = SCAN_THREADS / L;        /* of a block */
    static constexpr int tile = SCAN_TICKS * channels;       /* floats of staged activations */
    /* B and C of the widest do not fit beside the rest: read where they are */
    static constexpr bool staged = Selective && L < 32;
    static constexpr int bc = 2 * parts * width; /* floats of a staged row of B and C */
    static constexpr int bc_size = staged ? SCAN_TICKS * bc : 0;
    static constexpr int sub = 32 / (R * parts); /* ticks whose states the backward has at once */
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

static inline int64_t scan_groups(int inner, int n_state)
{
    return cuda_blocks(inner, SCAN_THREADS / scan_lanes_of(n_state));
}

static inline struct scan_segments scan_cut(int n_batch, int64_t n_time, int inner, int n_state)
{
    const int64_t blocks = n_batch * scan_groups(inner, n_state);
    const int64_t chunks = cuda_blocks(n_time, CUDA_SCAN_CHUNK);
    int64_t n = cuda_min(cuda_blocks(SCAN_BLOCKS, blocks), SCAN_SEGMENTS_MAX);
    n = cuda_max(cuda_min(n, chunks / 2), 1); /* one chunk is too little to be marched twice */
    const int64_t length = cuda_blocks(chunks, n);
    struct scan_segments seg = {(int)cuda_blocks(chunks, length), length * CUDA_SCAN_CHUNK, NULL,
                                NULL};
    return seg;
}

/* Segments of all streams at most, of this batch or a smaller one. */
static inline int64_t scan_segments_most(const struct layer *layer, int n_batch, int64_t n_time)
{
    const int64_t chunks = cuda_blocks(n_time, CUDA_SCAN_CHUNK);
    return cuda_min(n_batch * chunks,
                    SCAN_BLOCKS / scan_groups(layer->inner, layer->n_state) + n_batch + 1);
}

/* --- a lane ----------------------------------------------------------------------------------- */

struct scan_lane {
    int state;   /* its place among the channel's lanes */
    int channel; /* of the block */
    int e;       /* of all; may be beyond the last: such lanes work on zeros */
    int n0;      /* its first state; may be beyond the last too */
};

template <class K> CUDA_DEV struct scan_lane scan_lane_of(void)
{
    struct scan_lane lane;
    lane.state = (int)threadIdx.x % K::lanes;
    lane.channel = (int)threadIdx.x / K::lanes;
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

/* A lane's states from (E, N[,2]) floats, and back. */
template <class K>
CUDA_DEV void scan_read(float (&h)[K::states][K::parts], const float *from, struct scan_lane lane,
                        const struct scan_args &a)
{
#pragma unroll
    for (int r = 0; r < K::states; r++)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            h[r][p] = lane.e < a.inner && lane.n0 + r < a.n_state
                          ? from[((int64_t)lane.e * a.n_state + lane.n0 + r) * K::parts + p]
                          : 0.0f;
}

template <class K>
CUDA_DEV void scan_write(float *to, const float (&h)[K::states][K::parts], struct scan_lane lane,
                         const struct scan_args &a)
{
#pragma unroll
    for (int r = 0; r < K::states; r++)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            if (lane.e < a.inner && lane.n0 + r < a.n_state)
                to[((int64_t)lane.e * a.n_state + lane.n0 + r) * K::parts + p] = h[r][p];
}

/* A lane's numbers at a tick. Those of a static mixer never change. */
template <class K> struct scan_numbers {
    float pole[K::states][K::parts]; /* A in units of coef's rows; selective */
    float a[K::states][K::parts];    /* decay */
    float b[K::parts][K::states], c[K::parts][K::states];
};

template <class K>
CUDA_DEV void scan_coef_read(struct scan_numbers<K> &k, struct scan_lane lane,
                             const struct scan_args &a)
{
#pragma unroll
    for (int r = 0; r < K::states; r++) {
        const bool live = lane.e < a.inner && lane.n0 + r < a.n_state;
        const float *row = a.coef + ((int64_t)lane.e * a.n_state + lane.n0 + r) * K::step;
#pragma unroll
        for (int p = 0; p < K::parts; p++) {
            if constexpr (K::selective) {
                k.pole[r][p] = live ? row[p] : 0.0f;
            } else {
                k.a[r][p] = live ? row[p] : 0.0f;
                k.b[p][r] = live ? row[K::parts + p] : 0.0f;
                k.c[p][r] = live ? row[2 * K::parts + p] : 0.0f;
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
            scan_fetch<K>(k.b[p], row, p, lane, n_state);
}

template <class K>
CUDA_DEV void scan_fetch_c(struct scan_numbers<K> &k, const float *row, struct scan_lane lane,
                           int n_state)
{
    if constexpr (K::selective)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            scan_fetch<K>(k.c[p], row, K::parts + p, lane, n_state);
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

/* k.a = exp(dt A). */
template <class K> CUDA_DEV void scan_decay(struct scan_numbers<K> &k, float dt)
{
    if constexpr (K::selective)
#pragma unroll
        for (int r = 0; r < K::states; r++) {
            const float size = exp2f(dt * k.pole[r][0]);
            if constexpr (K::is_complex) {
                float sine, cosine;
                scan_sincos_quarter(dt * k.pole[r][1], &sine, &cosine);
                k.a[r][0] = size * cosine;
                k.a[r][1] = size * sine;
            } else {
                k.a[r][0] = size;
            }
        }
}

/* h = a h. */
template <class K>
CUDA_DEV void scan_multiply(float (&h)[K::states][K::parts], const float (&a)[K::states][K::parts])
{
#pragma unroll
    for (int r = 0; r < K::states; r++)
        if constexpr (K::is_complex) {
            const float re = a[r][0] * h[r][0] - a[r][1] * h[r][1];
            h[r][1] = a[r][0] * h[r][1] + a[r][1] * h[r][0];
            h[r][0] = re;
        } else {
            h[r][0] *= a[r][0];
        }
}

/* h = a h + b in. */
template <class K>
CUDA_DEV void scan_advance(float (&h)[K::states][K::parts], const struct scan_numbers<K> &k,
                           float in)
{
    scan_multiply<K>(h, k.a);
#pragma unroll
    for (int r = 0; r < K::states; r++)
#pragma unroll
        for (int p = 0; p < K::parts; p++)
            h[r][p] += in * k.b[p][r];
}

/* g = conj(a) g. */
template <class K>
CUDA_DEV void scan_go_back(float (&g)[K::states][K::parts], const float (&a)[K::states][K::parts])
{
#pragma unroll
    for (int r = 0; r < K::states; r++)
        if constexpr (K::is_complex) {
            const float re = a[r][0] * g[r][0] + a[r][1] * g[r][1];
            g[r][1] = a[r][0] * g[r][1] - a[r][1] * g[r][0];
            g[r][0] = re;
        } else {
            g[r][0] *= a[r][0];
        }
}

/* sum_n C h of the channel, 2 Re of it if complex, known to all its lanes. All lanes of the warp
   take part. */
template <class K>
CUDA_DEV float scan_output(const float (&h)[K::states][K::parts], const struct scan_numbers<K> &k)
{
    float s = 0.0f;
#pragma unroll
    for (int r = 0; r < K::states; r++) {
        s += k.c[0][r] * h[r][0];
        if constexpr (K::is_complex)
            s -= k.c[1][r] * h[r][1];
    }
#pragma unroll
    for (int lanes = K::lanes / 2; lanes > 0; lanes /= 2)
        s += __shfl_xor_sync((unsigned)ALL_LANES, s, lanes);
    return K::is_complex ? 2.0f * s : s;
}

#endif
