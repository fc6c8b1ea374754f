/* CUDA's qualifiers, which mean nothing here, and its vector types. */
#ifndef SHIM_TYPES_H
#define SHIM_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
    {
    }
};

/* Aligned as on the device: the sanitizer tells where an address is not. */
#define SHIM_VECTOR2(name, T)                                                                      \
    struct alignas(2 * sizeof(T)) name {                                                           \
        T x, y;                                                                                    \
    };                                                                                             \
    static inline name make_##name(T x, T y)                                                       \
    {                                                                                              \
        return name{x, y};                                                                         \
    }
#define SHIM_VECTOR4(name, T)                                                                      \
    struct alignas(4 * sizeof(T)) name {                                                           \
        T x, y, z, w;                                                                              \
    };                                                                                             \
    static inline name make_##name(T x, T y, T z, T w)                                             \
    {                                                                                              \
        return name{x, y, z, w};                                                                   \
    }

SHIM_VECTOR2(float2, float)
SHIM_VECTOR2(double2, double)
SHIM_VECTOR2(int2, int)
SHIM_VECTOR2(uint2, unsigned)
SHIM_VECTOR2(ushort2, unsigned short)
SHIM_VECTOR4(float4, float)
SHIM_VECTOR4(int4, int)
SHIM_VECTOR4(uint4, unsigned)
SHIM_VECTOR4(ushort4, unsigned short)
SHIM_VECTOR4(uchar4, unsigned char)

#undef SHIM_VECTOR2
#undef SHIM_VECTOR4

#endif
