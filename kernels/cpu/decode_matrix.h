/*
 * Matrices of the decode engine, packed once (decode_product.h multiplies them).
 *
 * A matrix is cut into panels of up to PANEL_VECTORS vectors of outputs; inside a panel the weights
 * of one input (int8: of four) lie side by side, so that they are one stream read forwards, an
 * output is a lane, and nothing is summed across lanes.
 *
 * fp16: weights are halves, sums fp32. int8: weights are w/scale of an output, activations x/scale
 * of a vector, in [-127, 127]; sums are exact in 32 bits.
 */
#ifndef HISS_KERNELS_CPU_DECODE_MATRIX_H
#define HISS_KERNELS_CPU_DECODE_MATRIX_H

#include "base/arena.h"
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

#include <math.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

enum {
    PANEL_VECTORS = 8, /* with one row as many sums, enough to keep the multipliers busy */
    DOT_INPUTS = 4,    /* inputs whose int8 weights of an output lie side by side */
};

/* y = W x. */
struct matrix {
    enum precision precision;
    int n_in;
    int n_out;            /* a multiple of V_LANES; added outputs have weights 0 */
    const char *weights;  /* panels */
    const float *scale;   /* int8: (n_out) */
    const int32_t *start; /* int8: (n_out) where sums begin, see DOT_OFFSET */
};

/* Activations as the matrices of a precision want them. */
struct operand {
    const float *x; /* (rows, n_in), ld */
    int64_t ld;
    const int8_t *q; /* int8: (rows, ld_q), 0 beyond n_in */
    int64_t ld_q;
    const float *scale; /* int8: (rows) */
};

static inline int lanes_up(int n)
{
    return (n + V_LANES - 1) / V_LANES * V_LANES;
}

/* --- half precision -------------------------------------------------------------------------- */

enum { HALF_MAX = 65504 };

/* The nearest half, ties to even; |x| <= HALF_MAX. */
static inline uint16_t half_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits < 0x38800000u) { /* below 2^-14 halves are 2^-24 apart, as floats are from 1/2 on */
        float shifted = fabsf(x) + 0.5f;
        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

V_INLINE vf vload_half(const char *p)
{
#if defined(__F16C__)
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(__aarch64__)
    float16x8_t h = vreinterpretq_f16_u8(vld1q_u8((const uint8_t *)p));
    float32x4_t low = vcvt_f32_f16(vget_low_f16(h)), high = vcvt_f32_f16(vget_high_f16(h));
    vf v;
    memcpy(&v, &low, sizeof low);
    memcpy((char *)&v + sizeof low, &high, sizeof high);
    return v;
#else
    typedef uint16_t vh __attribute__((vector_size(16)));
    vh h;
    memcpy(&h, p, sizeof h);
    vu bits = __builtin_convertvector(h, vu);
    vf size = (vf)((bits & 0x7fffu) << 13) * 0x1p112f; /* the exponent's bias, for subnormals too */
    return (vf)((vu)size | (bits & 0x8000u) << 16);
#endif
}

/* --- int8 ------------------------------------------------------------------------------------ */

/* VNNI multiplies unsigned activations with signed weights: they are stored with this added, and a
   sum begins at -DOT_OFFSET times the sum of its weights. */
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
#define DOT_OFFSET 128
#else
#define DOT_OFFSET 0
#endif

/* sum[o] += w[o][0] x[0] + .. + w[o][3] x[3] for eight outputs. */
V_INLINE vi vdot(vi sum, const char *w, const int8_t *x)
{
#if defined(__AVX2__)
    int32_t four;
    memcpy(&four, x, sizeof four);
    __m256i xs = _mm256_set1_epi32(four), ws = _mm256_loadu_si256((const __m256i *)(const void *)w);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return (vi)_mm256_dpbusd_epi32((__m256i)sum, xs, ws);
#else
    /* |x| times w with x's sign: a pair's sum fits in 16 bits as no number is -128 */
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(xs), _mm256_sign_epi8(ws, xs));
    return sum + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
#elif defined(__aarch64__)
    int32_t four;
    memcpy(&four, x, sizeof four);
    int8x8_t xs = vreinterpret_s8_s32(vdup_n_s32(four));
    int8x16_t w0 = vld1q_s8((const int8_t *)w), w1 = vld1q_s8((const int8_t *)w + 16);
    int32x4_t a = vpaddlq_s16(vmull_s8(vget_low_s8(w0), xs));
    int32x4_t b = vpaddlq_s16(vmull_s8(vget_high_s8(w0), xs));
    int32x4_t c = vpaddlq_s16(vmull_s8(vget_low_s8(w1), xs));
    int32x4_t d = vpaddlq_s16(vmull_s8(vget_high_s8(w1), xs));
    int32x4_t low = vpaddq_s32(a, b), high = vpaddq_s32(c, d);
    vi dot;
    memcpy(&dot, &low, sizeof low);
    memcpy((char *)&dot + sizeof low, &high, sizeof high);
    return sum + dot;
#else
    for (int o = 0; o < V_LANES; o++)
        for (int k = 0; k < DOT_INPUTS; k++)
            sum[o] += (int8_t)w[o * DOT_INPUTS + k] * x[k];
    return sum;
#endif
}

/* The nearest integers of eight numbers in [-127, 127], and DOT_OFFSET, as bytes. */
V_INLINE void vstore_bytes(int8_t *q, vf x)
{
    typedef int8_t vb __attribute__((vector_size(8)));
#if defined(__AVX512VL__)
    __m128i bytes = _mm256_cvtepi32_epi8(_mm256_cvtps_epi32((__m256)x));
    memcpy(q, &bytes, sizeof(vb));
#elif defined(__AVX2__)
    __m256i v = _mm256_cvtps_epi32((__m256)x);
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    __m128i bytes = _mm_packs_epi16(words, words);
    memcpy(q, &bytes, sizeof(vb));
#else
    vb bytes = __builtin_convertvector((vi)(x + V_ROUND), vb); /* the lowest byte of each */
    memcpy(q, &bytes, sizeof bytes);
#endif
#if DOT_OFFSET
    for (int i = 0; i < V_LANES; i++)
        q[i] = (int8_t)(q[i] ^ DOT_OFFSET);
#endif
}

/* q = round(x 127 / max|x|), and DOT_OFFSET; returns the scale. n_in: a multiple of V_LANES. */
static float quantise_row(int8_t *q, const float *x, int n_in)
{
    vf most = {0};
    for (int i = 0; i < n_in; i += V_LANES)
        most = vmax((vf)((vu)vload(x + i) & 0x7fffffffu), most);
    float max = vmax_lanes(most);
    float scale = max > 1e-30f && max < INFINITY ? 127.0f / max : 0.0f;
    for (int i = 0; i < n_in; i += V_LANES)
        vstore_bytes(q + i, vload(x + i) * scale);
    return scale > 0.0f ? 1.0f / scale : 0.0f;
}

/* --- packing --------------------------------------------------------------------------------- */

static int64_t matrix_bytes(enum precision precision, int n_in, int n_out)
{
    int64_t n = (int64_t)lanes_up(n_out);
    switch (precision) {
    case PRECISION_FP16:
        return n * n_in * 2;
    case PRECISION_INT8:
        return n * blocks_of(n_in, DOT_INPUTS) * DOT_INPUTS;
    default:
        return n * n_in * 4;
    }
}

/* Bytes of a vector of outputs' weights for one input (int8: for DOT_INPUTS). */
V_INLINE int vector_bytes(enum precision precision)
{
    return precision == PRECISION_FP16 ? 2 * V_LANES : 4 * V_LANES;
}

/* Weight of (output, input); dense (n_out, n_in). */
static float dense_at(const float *dense, int n_in, int n_out, int o, int i)
{
    return o < n_out && i < n_in ? dense[(int64_t)o * n_in + i] : 0.0f;
}

static int8_t weight_quantise(float w, float scale)
{
    return scale > 0.0f ? (int8_t)lrintf(w / scale) : 0;
}

/* int8: the scale of each output, and where its sum begins. */
static void matrix_scales(struct matrix *m, float *scale, int32_t *start, const float *dense,
                          int n_out)
{
    for (int o = 0; o < m->n_out; o++) {
        float max = 0;
        int32_t sum = 0;
        for (int i = 0; i < m->n_in; i++)
            max = fmaxf(max, fabsf(dense_at(dense, m->n_in, n_out, o, i)));
        scale[o] = max / 127.0f;
        for (int i = 0; i < m->n_in; i++)
            sum += weight_quantise(dense_at(dense, m->n_in, n_out, o, i), scale[o]);
        start[o] = -DOT_OFFSET * sum;
    }
    m->scale = scale;
    m->start = start;
}

static void pack_one(char *to, enum precision precision, float w, float scale)
{
    if (precision == PRECISION_FP16) {
        uint16_t half = half_of(w);
        memcpy(to, &half, sizeof half);
    } else if (precision == PRECISION_INT8) {
        *(int8_t *)to = weight_quantise(w, scale);
    } else {
        memcpy(to, &w, sizeof w);
    }
}

/* Packs dense (n_out, n_in). A matrix with a weight that no half can be stays fp32. */
static void matrix_pack(struct matrix *m, struct arena *a, enum precision precision,
                        const float *dense, int n_in, int n_out)
{
    for (int64_t k = 0; precision != PRECISION_FP32 && k < (int64_t)n_in * n_out; k++)
        if (!(fabsf(dense[k]) <= HALF_MAX))
            precision = PRECISION_FP32;
    *m = (struct matrix){.precision = precision, .n_in = n_in, .n_out = lanes_up(n_out)};
    char *to = arena_alloc(a, (size_t)matrix_bytes(precision, n_in, n_out));
    float *scale = NULL;
    if (precision == PRECISION_INT8) {
        scale = arena_alloc(a, (size_t)m->n_out * sizeof *scale);
        int32_t *start = arena_alloc(a, (size_t)m->n_out * sizeof *start);
        if (to)
            matrix_scales(m, scale, start, dense, n_out);
    }
    m->weights = to;
    if (!to) /* a dry run */
        return;
    const int inputs = precision == PRECISION_INT8 ? DOT_INPUTS : 1;
    const int size = vector_bytes(precision) / (V_LANES * inputs);
    for (int first = 0; first < m->n_out; first += PANEL_VECTORS * V_LANES) {
        int last = (int)min_of(m->n_out, first + PANEL_VECTORS * V_LANES);
        for (int i = 0; i < n_in; i += inputs)
            for (int o = first; o < last; o++)
                for (int k = 0; k < inputs; k++, to += size)
                    pack_one(to, precision, dense_at(dense, n_in, n_out, o, i + k),
                             scale ? scale[o] : 0.0f);
    }
}

#endif
