/*
 * Asynchronous copies and stores: they arrive at once (seed 0), when there is no way round it
 * (seed 1), or any time between. Barriers in shared memory count what arrives.
 *
 * The sanitizers are told where a copy's target is nobody's: the address sanitizer refuses it until
 * its thread has waited; the thread sanitizer sees a write when the copy begins and another when
 * it has been waited for.
 */
#include "tests/cuda_on_cpu/gang.h"
#include "tests/cuda_on_cpu/include/kernels/cuda/gpu.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

#include <stdlib.h>

/* --- barriers in shared memory
 * -------------------------------------------------------------------- */

/* A barrier's word. Memory that was never written does not have this mark. */
struct mbar {
    uint16_t expected, missing; /* arrivals */
    uint8_t phase, mark;
    int16_t bytes; /* that are still to come, in units of 4; below 0: came before they were told */
};
static_assert(sizeof(struct mbar) == sizeof(uint64_t), "a barrier is one word");

enum { MBAR_MARK = 0x5b };

/* Volatile: not seen by the sanitizers' memcpy. */
static struct mbar mbar_read(const uint64_t *bar, const struct shim_site *site)
{
    const uint64_t word = *static_cast<const volatile uint64_t *>(bar);
    const struct mbar m = shim_bits<struct mbar>(word);
    if (m.mark != MBAR_MARK)
        shim_fail("%s:%d: gpu_mbar_init has not been called for this barrier",
                  site ? site->file : "?", site ? site->line : 0);
    return m;
}

static void mbar_write(uint64_t *bar, struct mbar m)
{
    if (m.missing == 0 && m.bytes == 0) {
        m.missing = m.expected;
        m.phase ^= 1;
        worker_progress();
    }
    *static_cast<volatile uint64_t *>(bar) = shim_bits<uint64_t>(m);
}

void shim_mbar_init(uint64_t *bar, unsigned n, const struct shim_site *site)
{
    if (n == 0 || n >= 1u << 15)
        shim_fail("%s:%d: a barrier of %u arrivals", site->file, site->line, n);
    const struct mbar m = {(uint16_t)n, (uint16_t)n, 0, MBAR_MARK, 0};
    *static_cast<volatile uint64_t *>(bar) = shim_bits<uint64_t>(m);
}

void shim_mbar_arrive(uint64_t *bar, unsigned bytes, const struct shim_site *site)
{
    struct mbar m = mbar_read(bar, site);
    if (m.missing == 0)
        shim_fail("%s:%d: more arrivals than the barrier expects", site->file, site->line);
    if (bytes % 4 != 0 || bytes / 4 > 8192)
        shim_fail("%s:%d: %u bytes to come: a multiple of 4 up to 32 KiB", site->file, site->line,
                  bytes);
    m.missing--;
    m.bytes = (int16_t)(m.bytes + (int)bytes / 4);
    tsan_give(bar);
    mbar_write(bar, m);
}

void shim_mbar_wait(uint64_t *bar, unsigned parity, const struct shim_site *site)
{
    while (mbar_read(bar, site).phase == (parity & 1))
        shim_yield(site);
    tsan_take(bar);
}

/* --- what is on its way
 * --------------------------------------------------------------------------- */

static void arrive(struct async *a)
{
    const volatile char *from =
        static_cast<const volatile char *>(a->from ? a->from : static_cast<void *>(&a->value));
    volatile char *to = static_cast<volatile char *>(a->to);
    for (size_t i = 0; i < a->size; i++)
        to[i] = from[i];
    a->done = true;
    worker_progress();
}

static void store_arrives(struct thread *t, struct async *a)
{
    const struct gang *gang = shim_worker->gang;
    for (const struct block &b : gang->blocks)
        if (static_cast<char *>(a->to) >= b.shared &&
            static_cast<char *>(a->to) < b.shared + b.shared_size && b.live == 0)
            shim_fail("a store of block %u thread %u arrives in block %u, which has ended",
                      t->block->rank, t->index.x, b.rank);
    arrive(a);
    struct mbar m = mbar_read(a->bar, nullptr);
    m.bytes--;
    mbar_write(a->bar, m);
}

static struct async *async_new(void)
{
    struct worker *w = shim_worker;
    struct async *a = w->spare;
    if (a) {
        w->spare = a->next;
        *a = {};
        return a;
    }
    a = static_cast<struct async *>(calloc(1, sizeof *a));
    if (!a)
        shim_fail("out of memory for asynchronous copies");
    return a;
}

/* Takes *at out of its list. */
static void async_drop(struct async **at)
{
    struct async *a = *at;
    *at = a->next;
    a->next = shim_worker->spare;
    shim_worker->spare = a;
    shim_worker->on_their_way--;
}

/* Lets one of the thread's arrive; a copy stays in the list until it is waited for. */
static bool deliver_of(struct thread *t)
{
    for (struct async **at = &t->pending; *at; at = &(*at)->next) {
        if ((*at)->done)
            continue;
        if ((*at)->bar) {
            store_arrives(t, *at);
            async_drop(at);
        } else {
            arrive(*at);
        }
        return true;
    }
    return false;
}

bool async_deliver_some(struct gang *gang, bool half)
{
    if (shim_worker->on_their_way == 0)
        return false;
    const size_t n = gang->threads.size(), first = worker_random() % n;
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        struct thread *t = &gang->threads[(first + i) % n];
        if (!t->pending || (half && worker_random() % 2 == 0))
            continue;
        any |= deliver_of(t);
        if (any && !half)
            return true;
    }
    return any || (half && async_deliver_some(gang, false));
}

static void async_add(struct async *a)
{
    struct thread *t = self();
    struct async **end = &t->pending;
    while (*end)
        end = &(*end)->next;
    *end = a;
    shim_worker->on_their_way++;
    a->group = t->group;
    if (shim_settings()->seed == 0)
        deliver_of(t);
}

/* --- copies
 * ------------------------------------------------------------------------------------------ */

void shim_cp_async(void *to, const void *from, size_t n, const struct shim_site *site)
{
    const struct shim_block *block = self()->block;
    const size_t offset = (size_t)(static_cast<char *>(to) - block->shared);
    if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % n != 0)
        shim_fail("%s:%d: an asynchronous copy of %zu bytes from %p to %p: not aligned", site->file,
                  site->line, n, from, to);
    if (offset + n > block->shared_size || offset > block->shared_size)
        shim_fail("%s:%d: an asynchronous copy to %p, which is not shared memory", site->file,
                  site->line, to);
    if (has_asan() && __asan_region_is_poisoned(const_cast<void *>(from), n))
        shim_fail("%s:%d: an asynchronous copy from %p, which is nobody's", site->file, site->line,
                  from);
    if (has_tsan()) {
        __tsan_read_range(const_cast<void *>(from), n);
        __tsan_write_range(to, n);
    }
    struct async *a = async_new();
    a->to = to;
    a->from = from;
    a->size = n;
    async_add(a);
    asan_forbid(to, n);
}

void shim_cp_async_commit(void)
{
    self()->group++;
}

void shim_cp_async_wait(int groups)
{
    struct thread *t = self();
    for (struct async **at = &t->pending; *at;) {
        struct async *a = *at;
        if (a->bar || (int)(t->group - a->group) <= groups) {
            at = &a->next;
            continue;
        }
        asan_allow(a->to, a->size);
        if (!a->done)
            arrive(a);
        if (has_tsan())
            __tsan_write_range(a->to, a->size);
        async_drop(at);
    }
}

void shim_st_async(float *to, float v, uint64_t *bar, unsigned rank, const struct shim_site *site)
{
    struct async *a = async_new();
    a->to = shim_map_rank(to, rank, site);
    a->bar = static_cast<uint64_t *>(shim_map_rank(bar, rank, site));
    a->value = v;
    a->size = sizeof v;
    mbar_read(a->bar, site);
    if (has_tsan())
        __tsan_write_range(a->to, a->size);
    tsan_give(a->bar);
    async_add(a);
}

/* --- ends
 * -------------------------------------------------------------------------------------------- */

void async_thread_done(struct thread *thread)
{
    for (const struct async *a = thread->pending; a; a = a->next)
        if (!a->bar)
            shim_fail("the thread ends without waiting for its asynchronous copies");
}

void async_gang_done(struct gang *gang)
{
    for (const struct thread &t : gang->threads)
        if (t.pending)
            shim_fail("block %u thread %u of kernel %s: a gpu_st_async that nobody waited for",
                      t.block->rank, t.index.x, gang->launch->config.name);
}
