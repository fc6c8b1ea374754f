/*
 * The sanitizers' hooks, called where their runtime is in the program. These files themselves are
 * built without any: they say what kernels and copies do to memory, and what orders it.
 */
#ifndef SHIM_SANITIZER_H
#define SHIM_SANITIZER_H

#include <stddef.h>

extern "C" {
#define SHIM_WEAK __attribute__((weak))
SHIM_WEAK void *__tsan_create_fiber(unsigned flags);
SHIM_WEAK void __tsan_destroy_fiber(void *fiber);
SHIM_WEAK void *__tsan_get_current_fiber(void);
SHIM_WEAK void __tsan_switch_to_fiber(void *fiber, unsigned flags);
SHIM_WEAK void __tsan_acquire(void *key);
SHIM_WEAK void __tsan_release(void *key);
SHIM_WEAK void __tsan_read_range(void *p, size_t n);
SHIM_WEAK void __tsan_write_range(void *p, size_t n);
SHIM_WEAK void AnnotateIgnoreReadsBegin(const char *file, int line);
SHIM_WEAK void AnnotateIgnoreReadsEnd(const char *file, int line);
SHIM_WEAK void AnnotateIgnoreWritesBegin(const char *file, int line);
SHIM_WEAK void AnnotateIgnoreWritesEnd(const char *file, int line);
SHIM_WEAK void AnnotateIgnoreSyncBegin(const char *file, int line);
SHIM_WEAK void AnnotateIgnoreSyncEnd(const char *file, int line);
SHIM_WEAK void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
SHIM_WEAK void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size);
SHIM_WEAK void __asan_poison_memory_region(const volatile void *p, size_t n);
SHIM_WEAK void __asan_unpoison_memory_region(const volatile void *p, size_t n);
SHIM_WEAK void *__asan_region_is_poisoned(void *p, size_t n);
#undef SHIM_WEAK
}

static inline bool has_tsan(void)
{
    return __tsan_create_fiber != nullptr;
}

static inline bool has_asan(void)
{
    return __asan_poison_memory_region != nullptr;
}

/* What one thread did before it gave the key, others see after they took it. */
static inline void tsan_give(const void *key)
{
    if (has_tsan())
        __tsan_release(const_cast<void *>(key));
}

static inline void tsan_take(const void *key)
{
    if (has_tsan())
        __tsan_acquire(const_cast<void *>(key));
}

static inline void asan_forbid(const void *p, size_t n)
{
    if (has_asan())
        __asan_poison_memory_region(p, n);
}

static inline void asan_allow(const void *p, size_t n)
{
    if (has_asan())
        __asan_unpoison_memory_region(p, n);
}

/* While one lives, this thread's accesses and locks are the shim's own business. */
struct tsan_quiet {
    tsan_quiet()
    {
        if (has_tsan()) {
            AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
            AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
            AnnotateIgnoreSyncBegin(__FILE__, __LINE__);
        }
    }
    ~tsan_quiet()
    {
        if (has_tsan()) {
            AnnotateIgnoreSyncEnd(__FILE__, __LINE__);
            AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
            AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
        }
    }
    tsan_quiet(const tsan_quiet &) = delete;
    tsan_quiet &operator=(const tsan_quiet &) = delete;
};

#endif
