/* Numbers: bits, and functions that the C library has not. */
#ifndef SHIM_MATH_H
#define SHIM_MATH_H

#include "shim/types.h"

#include <math.h>
#include <string.h>
#include <time.h>

template <class To, class From> static inline To shim_bits(From from)
{
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

static inline unsigned __float_as_uint(float v)
{
    return shim_bits<unsigned>(v);
}

static inline int __float_as_int(float v)
{
    return shim_bits<int>(v);
}

static inline float __uint_as_float(unsigned v)
{
    return shim_bits<float>(v);
}

static inline float __int_as_float(int v)
{
    return shim_bits<float>(v);
}

static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}

static inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}

static inline int __ffs(int v)
{
    return __builtin_ffs(v);
}

static inline int __clz(int v)
{
    return v ? __builtin_clz((unsigned)v) : 32;
}

static inline float __fdividef(float a, float b)
{
    return a / b;
}

static inline float __frcp_rn(float v)
{
    return 1.0f / v;
}

static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static inline float rsqrtf(float v)
{
    return 1.0f / sqrtf(v);
}

template <class T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

/* Nanoseconds. */
static inline long long clock64(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

#endif
