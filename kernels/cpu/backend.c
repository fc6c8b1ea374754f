/* Opening the CPU backend, and its memory. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "kernels/backend_impl.h"
#include "kernels/cpu/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* From here on a block is worth huge pages: fewer misses in the TLB. */
enum { HUGE_PAGE = 2 << 20, HUGE_BLOCK = 4 << 20 };

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
    /* clang 14 has no name for F16C */
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_F16C))
        return false;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#endif

static const struct isa {
    const char *name;
    const struct ops *ops;
    bool (*runs)(void);
} isas[] = {
    {"base", &cpu_ops_base, always},
#if defined(__x86_64__)
    {"avx2", &cpu_ops_avx2, has_avx2},
    {"avx512", &cpu_ops_avx512, has_avx512},
#endif
};

int cpu_tables(const struct ops *tables[CPU_TABLES_MAX])
{
    const char *wanted = getenv("HISS_ISA");
    int n = 0;
    for (size_t i = 0; i < sizeof isas / sizeof *isas && isas[i].runs(); i++) {
        tables[n++] = isas[i].ops;
        if (wanted && strcmp(wanted, isas[i].name) == 0)
            return n;
    }
    if (wanted && *wanted) {
        error_set("HISS_ISA=%s is nothing this processor knows: leave it unset, or set it to base, "
                  "avx2 or avx512",
                  wanted);
        return 0;
    }
    return n;
}

static void cpu_close(struct backend *be)
{
    pool_close(cpu_of(be)->pool);
    free(cpu_of(be)->scratch);
    free(be);
}

/* Bytes the machine can still give; SIZE_MAX if it does not say. Linux hands out more than it has
   and kills who uses it, so a large block is compared with this before it is asked for. */
static size_t memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "r");
    size_t available = SIZE_MAX;
    char line[128];
    unsigned long long kib;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            available = (size_t)kib * 1024;
    if (file)
        fclose(file);
    return available;
}

static void *cpu_alloc(struct backend *be, size_t bytes)
{
    size_t align = bytes >= HUGE_BLOCK ? HUGE_PAGE : ARENA_ALIGN;
    void *memory = NULL;
    if (bytes <= SIZE_MAX - align && (bytes < HUGE_BLOCK || bytes < memory_available())) {
        size_t size = bytes ? (bytes + align - 1) / align * align : align;
        memory = aligned_alloc(align, size);
        if (memory && align == HUGE_PAGE)
            madvise(memory, size, MADV_HUGEPAGE);
        if (memory)
            memset(memory, 0, size);
    }
    if (!memory)
        error_set("out of memory: %.1f MiB were asked for", (double)bytes / (1 << 20));
    return memory;
}

static void cpu_free(struct backend *be, void *memory)
{
    free(memory);
}

static void cpu_transfer(struct backend *be, void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

static void cpu_zero(struct backend *be, void *memory, size_t bytes)
{
    memset(memory, 0, bytes);
}

static bool cpu_reserve(struct backend *be, size_t bytes)
{
    struct cpu_backend *cpu = cpu_of(be);
    if (bytes <= cpu->scratch_size)
        return true;
    char *scratch = cpu_alloc(be, bytes);
    if (!scratch)
        return error_prefix("scratch memory");
    free(cpu->scratch);
    cpu->scratch = scratch;
    cpu->scratch_size = bytes;
    return true;
}

static bool cpu_sync(struct backend *be)
{
    return true;
}

static void cpu_timer_begin(struct backend *be)
{
    cpu_of(be)->timer_start = clock_s();
}

static double cpu_timer_end(struct backend *be)
{
    return clock_s() - cpu_of(be)->timer_start;
}

/* Nothing runs beside the work. */
struct backend_inlet {
    size_t bytes;
    _Alignas(ARENA_ALIGN) char room[];
};

static struct backend_inlet *cpu_inlet_open(struct backend *be, size_t bytes)
{
    struct backend_inlet *inlet = cpu_alloc(be, sizeof *inlet + bytes);
    if (inlet)
        inlet->bytes = bytes;
    return inlet;
}

static void cpu_inlet_close(struct backend *be, struct backend_inlet *inlet)
{
    cpu_free(be, inlet);
}

static void *cpu_inlet_room(struct backend *be, struct backend_inlet *inlet)
{
    return inlet->room;
}

static void cpu_inlet_post(struct backend *be, struct backend_inlet *inlet)
{
}

static void cpu_inlet_take(struct backend *be, struct backend_inlet *inlet, void *to)
{
    memcpy(to, inlet->room, inlet->bytes);
}

static const struct backend_functions functions = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_transfer,
    .download = cpu_transfer,
    .copy = cpu_transfer,
    .zero = cpu_zero,
    .reserve = cpu_reserve,
    .sync = cpu_sync,
    .timer_begin = cpu_timer_begin,
    .timer_end = cpu_timer_end,
    .inlet_open = cpu_inlet_open,
    .inlet_close = cpu_inlet_close,
    .inlet_room = cpu_inlet_room,
    .inlet_post = cpu_inlet_post,
    .inlet_take = cpu_inlet_take,
};

struct backend *cpu_backend_open(int n_threads)
{
    if (n_threads < 0) {
        error_set("%d threads: ask for 1 or more, or 0 for all there are", n_threads);
        return NULL;
    }
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = cpu_tables(tables);
    if (n_tables == 0)
        return NULL;
    struct cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (!cpu) {
        error_set("out of memory for a backend");
        return NULL;
    }
    cpu->base = (struct backend){.ops = tables[n_tables - 1], .functions = &functions};
    cpu->pool = pool_open(n_threads ? n_threads : thread_count_available());
    if (!cpu->pool) {
        free(cpu);
        return NULL;
    }
    return &cpu->base;
}
