/* Half precision as a storage type: conversions, rounding to the nearest even. */
#ifndef SHIM_CUDA_FP16_H
#define SHIM_CUDA_FP16_H

#include "shim/math.h"

struct alignas(2) __half {
    uint16_t bits;
};

struct alignas(4) __half2 {
    __half x, y;
};

typedef __half half;
typedef __half2 half2;

static inline float __half2float(__half v)
{
    const unsigned sign = (v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31;
    const unsigned mantissa = v.bits & 1023u;
    if (exponent == 31)
        return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        const float small = (float)mantissa * 0x1p-24f;
        return sign ? -small : small;
    }
    return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline __half __float2half(float v)
{
    const unsigned bits = __float_as_uint(v), sign = bits >> 16 & 0x8000u;
    unsigned size = bits & 0x7fffffffu;
    if (v != v)
        return {0x7fff};
    if (size >= 0x477ff000u) /* 65520: rounds to infinity */
        return {(uint16_t)(sign | 0x7c00u)};
    if (size < 0x38800000u) /* 2^-14: a subnormal, in units of 2^-24 */
        return {(uint16_t)(sign | (unsigned)rintf(fabsf(v) * 0x1p24f))};
    size += 0xfffu + (size >> 13 & 1);
    return {(uint16_t)(sign | ((size >> 13) - (112u << 10)))};
}

static inline __half __float2half_rn(float v)
{
    return __float2half(v);
}

static inline __half2 __floats2half2_rn(float x, float y)
{
    return {__float2half(x), __float2half(y)};
}

static inline __half2 __halves2half2(__half x, __half y)
{
    return {x, y};
}

static inline float2 __half22float2(__half2 v)
{
    return {__half2float(v.x), __half2float(v.y)};
}

static inline float __low2float(__half2 v)
{
    return __half2float(v.x);
}

static inline float __high2float(__half2 v)
{
    return __half2float(v.y);
}

static inline unsigned short __half_as_ushort(__half v)
{
    return v.bits;
}

static inline __half __ushort_as_half(unsigned short v)
{
    return {v};
}

#endif
