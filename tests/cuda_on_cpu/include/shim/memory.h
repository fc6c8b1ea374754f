/* What a kernel's thread does with memory that others share: atomics, fences, cache hints. */
#ifndef SHIM_MEMORY_H
#define SHIM_MEMORY_H

#include "shim/thread.h"

template <class T> static inline T atomicAdd(T *p, T v)
{
    shim_maybe_yield();
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

template <class T> static inline T atomicSub(T *p, T v)
{
    shim_maybe_yield();
    return __atomic_fetch_sub(p, v, __ATOMIC_RELAXED);
}

template <class T> static inline T atomicOr(T *p, T v)
{
    shim_maybe_yield();
    return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
}

template <class T> static inline T atomicAnd(T *p, T v)
{
    shim_maybe_yield();
    return __atomic_fetch_and(p, v, __ATOMIC_RELAXED);
}

template <class T> static inline T atomicExch(T *p, T v)
{
    shim_maybe_yield();
    T old;
    __atomic_exchange(p, &v, &old, __ATOMIC_RELAXED);
    return old;
}

template <class T> static inline T atomicCAS(T *p, T expected, T v)
{
    shim_maybe_yield();
    __atomic_compare_exchange(p, &expected, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}

/* *p = f(*p); what it was. */
template <class T, class F> static inline T shim_atomic(T *p, F f)
{
    shim_maybe_yield();
    T old, now;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do
        now = f(old);
    while (!__atomic_compare_exchange(p, &old, &now, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}

static inline float atomicAdd(float *p, float v)
{
    return shim_atomic(p, [v](float old) { return old + v; });
}

static inline double atomicAdd(double *p, double v)
{
    return shim_atomic(p, [v](double old) { return old + v; });
}

template <class T> static inline T atomicMax(T *p, T v)
{
    return shim_atomic(p, [v](T old) { return old < v ? v : old; });
}

template <class T> static inline T atomicMin(T *p, T v)
{
    return shim_atomic(p, [v](T old) { return v < old ? v : old; });
}

extern "C" void shim_fence(void);

#define __threadfence_block() shim_fence()
#define __threadfence() shim_fence()
#define __threadfence_system() shim_fence()

template <class T> static inline T __ldg(const T *p)
{
    return *p;
}

template <class T> static inline T __ldcg(const T *p)
{
    return *p;
}

template <class T> static inline T __ldcs(const T *p)
{
    return *p;
}

template <class T> static inline void __stcg(T *p, T v)
{
    *p = v;
}

template <class T> static inline void __stcs(T *p, T v)
{
    *p = v;
}

#endif
