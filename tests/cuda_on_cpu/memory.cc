/*
 * Device memory: ordinary memory, filled with NaN, with a gap behind each piece that the address
 * sanitizer knows; with CUDA_ON_CPU_PROTECT in pages of its own that the host cannot touch.
 */
#include "tests/cuda_on_cpu/memory.h"

#include "tests/cuda_on_cpu/cuda_on_cpu.h"
#include "tests/cuda_on_cpu/include/shim/thread.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"
#include "tests/cuda_on_cpu/stream.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

enum { ALIGN = 256, GAP = 256, PAGE = 4096 };

struct piece {
    enum memory_side side;
    size_t size;
    char *base;    /* of what was asked of the system */
    size_t mapped; /* 0: by malloc */
};

struct memory {
    std::map<const char *, struct piece> pieces;
    size_t used; /* device memory */
    bool open;
};

/* Never destroyed, as the device. */
static struct memory &memory = *new struct memory();

static size_t device_size(void)
{
    return (size_t)shim_settings()->memory_mib << 20;
}

/* --- protection
 * --------------------------------------------------------------------------------------- */

static void piece_protect(const struct piece *piece, bool open)
{
    if (piece->mapped)
        mprotect(piece->base + PAGE, piece->mapped - 2 * PAGE,
                 open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void memory_open(bool open)
{
    if (!shim_settings()->protect)
        return;
    device_lock();
    memory.open = open;
    for (const auto &entry : memory.pieces)
        piece_protect(&entry.second, open);
    device_unlock();
}

/* Says which side the address is on, without the lock: nothing else runs any more. */
static void on_fault(int, siginfo_t *info, void *)
{
    const char *at = static_cast<const char *>(info->si_addr);
    for (const auto &entry : memory.pieces)
        if (entry.second.mapped && at >= entry.second.base &&
            at < entry.second.base + entry.second.mapped)
            shim_fail("%p is device memory (%zu bytes at %p): not the host's to touch, or past its "
                      "end",
                      info->si_addr, entry.second.size, static_cast<const void *>(entry.first));
    signal(SIGSEGV, SIG_DFL);
}

static void catch_faults(void)
{
    static bool caught;
    struct sigaction action = {};
    if (caught)
        return;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    caught = true;
}

/* --- pieces
 * --------------------------------------------------------------------------------------------- */

static bool piece_new(struct piece *piece, char **p, size_t n, enum memory_side side)
{
    piece->side = side;
    piece->size = n;
    if (side == MEMORY_DEVICE && shim_settings()->protect) {
        const size_t room = (n + ALIGN - 1) / ALIGN * ALIGN;
        piece->mapped = (room + PAGE - 1) / PAGE * PAGE + 2 * PAGE;
        void *base = mmap(nullptr, piece->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
            return false;
        piece->base = static_cast<char *>(base);
        *p = piece->base + piece->mapped - PAGE - room;
        piece_protect(piece, true);
        catch_faults();
    } else {
        piece->base = static_cast<char *>(malloc(n + ALIGN + GAP));
        if (!piece->base)
            return false;
        *p = piece->base + (ALIGN - reinterpret_cast<uintptr_t>(piece->base) % ALIGN) % ALIGN;
        asan_forbid(piece->base, (size_t)(*p - piece->base));
        asan_forbid(*p + n, (size_t)(piece->base + n + ALIGN + GAP - (*p + n)));
    }
    memset(*p, 0xff, n);
    if (!memory.open)
        piece_protect(piece, false);
    return true;
}

static int allocations_until_failure = -1;

void cuda_on_cpu_fail_allocation(int n)
{
    device_lock();
    allocations_until_failure = n;
    device_unlock();
}

bool memory_fails(void)
{
    return allocations_until_failure >= 0 && allocations_until_failure-- == 0;
}

static cudaError_t piece_add(void **p, size_t n, enum memory_side side)
{
    struct piece piece = {};
    char *at = nullptr;
    *p = nullptr;
    if (n == 0)
        return cudaSuccess;
    device_lock();
    cudaError_t error = cudaSuccess;
    if (capture_is_global())
        error = cudaErrorStreamCaptureUnsupported;
    else if (memory_fails() || (side == MEMORY_DEVICE && n > device_size() - memory.used) ||
             !piece_new(&piece, &at, n, side))
        error = cudaErrorMemoryAllocation;
    if (error == cudaSuccess) {
        memory.pieces[at] = piece;
        memory.used += side == MEMORY_DEVICE ? n : 0;
        *p = at;
    }
    device_unlock();
    return told(error);
}

/* As CUDA does, after everything that may still use it. */
static cudaError_t piece_free(void *p, enum memory_side side)
{
    if (!p)
        return cudaSuccess;
    device_lock();
    auto found = memory.pieces.find(static_cast<const char *>(p));
    cudaError_t error = cudaSuccess;
    if (capture_is_global())
        error = cudaErrorStreamCaptureUnsupported;
    else if (found == memory.pieces.end() || found->second.side != side)
        error = cudaErrorInvalidValue;
    if (error == cudaSuccess) {
        wait_for_all();
        const struct piece piece = found->second;
        memory.pieces.erase(static_cast<const char *>(p));
        memory.used -= side == MEMORY_DEVICE ? piece.size : 0;
        if (piece.mapped) {
            munmap(piece.base, piece.mapped);
        } else {
            asan_allow(piece.base, piece.size + ALIGN + GAP);
            free(piece.base);
        }
    }
    device_unlock();
    return told(error);
}

enum memory_side memory_side_of(const void *p, size_t n)
{
    const char *at = static_cast<const char *>(p);
    auto after = memory.pieces.upper_bound(at);
    if (after == memory.pieces.begin())
        return MEMORY_HOST;
    const auto &entry = *--after;
    if (at >= entry.first + entry.second.size)
        return MEMORY_HOST;
    if (at + n > entry.first + entry.second.size)
        return MEMORY_BEYOND;
    return entry.second.side;
}

void memory_use(const char *what, const void *p, size_t n, bool write)
{
    device_lock();
    const enum memory_side side = memory_side_of(p, n);
    device_unlock();
    if (side == MEMORY_BEYOND || side == MEMORY_HOST)
        shim_fail("%s uses %zu bytes at %p: %s", what, n, p,
                  side == MEMORY_HOST ? "no device memory" : "more than were allocated");
    if (has_tsan() && write)
        __tsan_write_range(const_cast<void *>(p), n);
    else if (has_tsan())
        __tsan_read_range(const_cast<void *>(p), n);
}

/* --- the runtime's functions
 * --------------------------------------------------------------------------- */

cudaError_t shim_malloc(void **p, size_t n)
{
    return piece_add(p, n, MEMORY_DEVICE);
}

cudaError_t shim_host_malloc(void **p, size_t n)
{
    return piece_add(p, n, MEMORY_PINNED);
}

cudaError_t cudaFree(void *p)
{
    return piece_free(p, MEMORY_DEVICE);
}

cudaError_t cudaFreeHost(void *p)
{
    return piece_free(p, MEMORY_PINNED);
}

cudaError_t shim_host_device_pointer(void **to, void *host)
{
    device_lock();
    const bool pinned = memory_side_of(host, 1) == MEMORY_PINNED;
    device_unlock();
    *to = pinned ? host : nullptr;
    return told(pinned ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    device_lock();
    *total = device_size();
    *available = *total - memory.used;
    device_unlock();
    return cudaSuccess;
}
