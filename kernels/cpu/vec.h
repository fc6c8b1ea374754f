/*
 * Eight floats at a time, and the few functions of them that the operations need. GCC's and clang's
 * vector extensions, which the compiler lowers to what the machine has: two SSE2 or NEON registers,
 * one AVX2 register. Included by body.c only, once an instruction set.
 *
 * Errors are stated in ulp against the exact value; tests/kernels/test_vec.c sweeps them. NaN
 * stays NaN everywhere.
 */
#ifndef HISS_KERNELS_CPU_VEC_H
#define HISS_KERNELS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

enum { V_LANES = 8 };

typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));
typedef uint32_t vu __attribute__((vector_size(32)));

#define V_INLINE static inline __attribute__((always_inline))

V_INLINE vf vload(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

V_INLINE void vstore(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n floats (0 <= n <= 8); the other lanes are 0. */
V_INLINE vf vload_n(const float *p, int n)
{
#if defined(__AVX512VL__)
    return (vf)_mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p);
#else
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
#endif
}

V_INLINE void vstore_n(float *p, vf v, int n)
{
#if defined(__AVX512VL__)
    _mm256_mask_storeu_ps(p, (__mmask8)((1u << n) - 1), (__m256)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(float));
#endif
}

V_INLINE vf vset(float x)
{
    return (vf){x, x, x, x, x, x, x, x};
}

/* v, through memory: what made it is rounded and done, and not merged into a sum with what follows.
   For results that must not depend on which code is beside them. */
V_INLINE vf vkeep(vf v)
{
    __asm__("" : "+m"(v));
    return v;
}

/* mask ? a : b, where each lane of mask is all ones or all zeros: the result of a comparison. */
V_INLINE vf vselect(vi mask, vf a, vf b)
{
#if defined(__AVX2__)
    return (vf)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)mask);
#else
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
#endif
}

/* a < b ? a : b, so a NaN in b stays; vmax alike. */
V_INLINE vf vmin(vf a, vf b)
{
#if defined(__AVX2__)
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return vselect(a < b, a, b);
#endif
}

V_INLINE vf vmax(vf a, vf b)
{
#if defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return vselect(a > b, a, b);
#endif
}

/* Always in this order: ((0+4)+(2+6)) + ((1+5)+(3+7)). */
V_INLINE float vsum(vf v)
{
    float s0 = (v[0] + v[4]) + (v[2] + v[6]);
    float s1 = (v[1] + v[5]) + (v[3] + v[7]);
    return s0 + s1;
}

V_INLINE float vmax_lanes(vf v)
{
    v = vmax(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
    v = vmax(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
    v = vmax(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
    return v[0];
}

/* Adding it leaves x rounded to an integer in the lowest bits: |x| < 2^22. */
#define V_ROUND 12582912.0f

/* p 2^n for the integer n that sits in the lowest bits of `shifted`. */
V_INLINE vf vscale_bits(vf p, vf shifted)
{
    return (vf)((vu)p + ((vu)shifted << 23));
}

/* x[j] = 2^x[j] for x <= 0, 2.3 ulp, better near 0; exactly 1 at 0, 0 below -150 (what lies between
   0 and the smallest normal number is off by less than that number). For the decays of the scan: a
   slow mode is as good as its exponent. Step by step for all of them, up to eight: each waits long
   for its own last step. */
V_INLINE void vexp2_decays(vf *x, int count)
{
    vf n[8], p[8];
    for (int j = 0; j < count; j++) {
#if defined(__AVX512VL__)
        n[j] =
            (vf)_mm256_roundscale_ps((__m256)x[j], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        x[j] -= n[j];
#else
        x[j] = vmax(vset(-127.0f), x[j]);
        n[j] = x[j] + V_ROUND;
        x[j] -= n[j] - V_ROUND;
#endif
    }
    for (int j = 0; j < count; j++)
        p[j] = x[j] * 1.326472729e-03f + 9.671512648e-03f;
    for (int j = 0; j < count; j++)
        p[j] = p[j] * x[j] + 5.550733743e-02f;
    for (int j = 0; j < count; j++)
        p[j] = p[j] * x[j] + 2.402224209e-01f;
    for (int j = 0; j < count; j++)
        p[j] = p[j] * x[j] + 6.931469776e-01f;
    for (int j = 0; j < count; j++)
        p[j] = p[j] * x[j] + 1.0f;
    for (int j = 0; j < count; j++)
#if defined(__AVX512VL__)
        x[j] = (vf)_mm256_scalef_ps((__m256)p[j], (__m256)n[j]);
#else
        x[j] = vscale_bits(p[j], n[j]);
#endif
}

/* e^x, 1 ulp; stays at 1.6e38 above 88, is 0 below -88. */
V_INLINE vf vexp(vf x)
{
    vi below = x < -88.0f;
    x = vmin(vset(88.0f), vmax(vset(-88.0f), x));
    vf shifted = x * 1.442695041f + V_ROUND;
    vf n = shifted - V_ROUND;
    vf f = x - n * 0.693359375f + n * 2.12194440e-4f;
    vf p = f * 1.381314669e-03f + 8.369418775e-03f;
    p = p * f + 4.166845674e-02f;
    p = p * f + 1.666651479e-01f;
    p = p * f + 4.999999305e-01f;
    p = p * f * f + f + 1.0f;
    return vselect(below, vset(0.0f), vscale_bits(p, shifted));
}

/* ln x for x > 0 (smaller counts as the smallest normal number), 1 ulp also near 1. */
V_INLINE vf vlog(vf x)
{
    x = vmax(vset(1.17549435e-38f), x);
    /* x = m 2^n with m in [sqrt 1/2, sqrt 2) */
    vi bits = (vi)((vu)x - 0x3f3504f3u);
    vi n = bits >> 23;
    vf m = (vf)((vu)x - ((vu)n << 23));
    vf nf = __builtin_convertvector(n, vf);
    vf f = m - 1.0f;
    vf p = f * 6.746638870e-02f - 1.167565071e-01f;
    p = p * f + 1.188816238e-01f;
    p = p * f - 1.240558911e-01f;
    p = p * f + 1.421955238e-01f;
    p = p * f - 1.666799584e-01f;
    p = p * f + 2.000211866e-01f;
    p = p * f - 2.500000960e-01f;
    p = p * f + 3.333331260e-01f;
    vf ff = f * f;
    vf small = p * f * ff - nf * 2.12194440e-4f - 0.5f * ff;
    return small + f + nf * 0.693359375f;
}

/* ln(1 + y) for 0 <= y <= 1, 2 ulp: 2 artanh(y/(2 + y)). */
V_INLINE vf vlog1p(vf y)
{
    vf s = y / (2.0f + y), z = s * s;
    vf p = z * 2.801199477e-01f + 2.800180376e-01f;
    p = p * z + 4.002152733e-01f;
    p = p * z + 6.666641628e-01f;
    return p * z * s + (s + s);
}

/* e^-|x| */
V_INLINE vf vexp_minus(vf x)
{
    return vexp((vf)((vu)x | 0x80000000u));
}

/* ln(1 + e^x), 3 ulp; *slope its derivative, 1/(1 + e^-x). As PyTorch's, x above 20, slope 1. */
V_INLINE vf vsoftplus_and_slope(vf x, vf *slope)
{
    vf y = vexp_minus(x);
    *slope = vselect(x < 0.0f, y, vset(1.0f)) / (1.0f + y);
    return vmax(vset(0.0f), x) + vlog1p(y);
}

V_INLINE vf vsoftplus(vf x)
{
    return vmax(vset(0.0f), x) + vlog1p(vexp_minus(x));
}

/* 1/(1 + e^-x), 2.5 ulp. */
V_INLINE vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

V_INLINE vf vsilu(vf x)
{
    return x / (1.0f + vexp(-x));
}

/* d silu(x) / dx, given s = sigmoid(x). */
V_INLINE vf vsilu_slope(vf x, vf s)
{
    return s + x * s * (1.0f - s);
}

/* size e^(i pi q), |q| < 2^22, 1.5e-7 of size: in half turns nothing is lost by taking whole ones
   off, and half a turn over is but a sign. Minimax polynomials over a quarter turn each way. */
V_INLINE void vturn(vf size, vf q, vf *re, vf *im)
{
    vf shifted = q + V_ROUND;
    vf f = q - (shifted - V_ROUND);
    vf z = f * f;
    vf s = z * 7.722012679e-02f - 5.980451730e-01f;
    vf c = z * -2.442069938e-02f + 2.349539253e-01f;
    size = (vf)((vu)size ^ (vu)shifted << 31);
    s = s * z + 2.550031377f;
    c = c * z - 1.335216105f;
    s = s * z - 5.167706879f;
    c = c * z + 4.058709600f;
    s = s * z + 3.141592580f;
    c = c * z - 4.934802156f;
    *im = s * f * size;
    *re = (c * z + 1.0f) * size;
}

#endif
