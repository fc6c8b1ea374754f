/* Barriers of a block, and the one of a gang: a cluster's or a cooperative grid's. */
#include "tests/cuda_on_cpu/gang.h"
#include "tests/cuda_on_cpu/include/kernels/cuda/gpu.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

/* --- of a block ----------------------------------------------------------------------------------
 */

static int needed(const struct block *block, const struct barrier *b)
{
    return b->needed == SHIM_BLOCK ? block->live : b->needed;
}

static void barrier_open(struct barrier *b)
{
    for (struct thread *t = b->waiting.first; t; t = t->next)
        t->count = b->predicates;
    b->arrived = 0;
    b->predicates = 0;
    b->phase++;
    list_wake(&b->waiting);
}

static void barrier_check(const struct barrier *b, int id, int n, const struct shim_site *site)
{
    if (n != SHIM_BLOCK && (n <= 0 || n % LANES != 0))
        shim_fail("%s:%d: barrier %d of %d threads: not a multiple of 32", site->file, site->line,
                  id, n);
    if (b->arrived && b->needed != n)
        shim_fail("%s:%d: barrier %d of %d threads, and of %d at %s:%d", site->file, site->line, id,
                  n, b->needed, b->site->file, b->site->line);
    if (b->arrived && n == SHIM_BLOCK && b->site != site)
        shim_fail("divergent __syncthreads: at %s:%d, and at %s:%d", site->file, site->line,
                  b->site->file, b->site->line);
}

static void bar(int id, int n, bool wait, bool predicate, const struct shim_site *site)
{
    struct thread *t = self();
    if (!t)
        shim_fail("%s:%d: a barrier outside kernels", site->file, site->line);
    if (id < 0 || id >= BARRIERS)
        shim_fail("%s:%d: there is no barrier %d", site->file, site->line, id);
    struct block *block = block_of(t);
    struct barrier *b = &block->barriers[id];
    barrier_check(b, id, n, site);
    if (n == SHIM_BLOCK && block->live < block->n_threads)
        shim_fail("%s:%d: __syncthreads, and %d threads of the block have ended", site->file,
                  site->line, block->n_threads - block->live);
    b->needed = n;
    b->site = site;
    b->arrived++;
    b->predicates += predicate;
    const char *key = &b->key[b->phase & 1];
    tsan_give(key);
    const bool complete = b->arrived == needed(block, b);
    if (b->arrived > needed(block, b))
        shim_fail("%s:%d: barrier %d: more than %d threads arrived", site->file, site->line, id, n);
    if (complete) {
        t->count = b->predicates;
        barrier_open(b);
        if (wait && shim_settings()->seed > 0)
            thread_step_back();
    } else if (wait) {
        list_add(&b->waiting, t);
        thread_wait("waits at a barrier", site);
    }
    if (wait)
        tsan_take(key);
}

void shim_bar(int id, int n, bool wait, const struct shim_site *site)
{
    bar(id, n, wait, false, site);
}

int shim_bar_count(bool predicate, const struct shim_site *site)
{
    bar(0, SHIM_BLOCK, true, predicate, site);
    return (int)self()->count;
}

int shim_block_threads(void)
{
    return block_of(self())->n_threads;
}

/* --- of a gang -----------------------------------------------------------------------------------
 */

static void gang_open(struct gang *gang)
{
    if (gang->arrived == 0 || gang->arrived < gang->live)
        return;
    gang->arrived = 0;
    gang->phase++;
    list_wake(&gang->waiting);
    worker_progress();
}

static void gang_arrive(const struct shim_site *site)
{
    struct thread *t = self();
    struct gang *gang = shim_worker->gang;
    if (t->arrived)
        shim_fail("%s:%d: arrives twice without a wait", site->file, site->line);
    t->arrived = true;
    t->arrived_phase = gang->phase;
    tsan_give(&gang->key[gang->phase & 1]);
    gang->arrived++;
    gang_open(gang);
}

static void gang_wait(const char *why, const struct shim_site *site)
{
    struct thread *t = self();
    struct gang *gang = shim_worker->gang;
    if (!t->arrived)
        shim_fail("%s:%d: a wait without an arrival", site->file, site->line);
    if (gang->phase == t->arrived_phase) {
        list_add(&gang->waiting, t);
        thread_wait(why, site);
    } else if (shim_settings()->seed > 0) {
        thread_step_back();
    }
    t->arrived = false;
    tsan_take(&gang->key[t->arrived_phase & 1]);
}

void shim_grid_sync(const struct shim_site *site)
{
    if (!shim_worker->gang->launch->config.cooperative)
        shim_fail("%s:%d: gpu_grid_sync in a launch that is not cooperative", site->file,
                  site->line);
    gang_arrive(site);
    gang_wait("waits for the grid", site);
}

void shim_cluster_arrive(const struct shim_site *site)
{
    if (shim_worker->gang->launch->config.cluster <= 1)
        shim_fail("%s:%d: a cluster's barrier in a launch without clusters", site->file,
                  site->line);
    gang_arrive(site);
}

void shim_cluster_wait(const struct shim_site *site)
{
    gang_wait("waits for the cluster", site);
}

void *shim_map_rank(const void *p, unsigned rank, const struct shim_site *site)
{
    struct gang *gang = shim_worker->gang;
    const struct block *own = block_of(self());
    const size_t offset = (size_t)(static_cast<const char *>(p) - own->shared);
    if (offset >= own->shared_size)
        shim_fail("%s:%d: gpu_map_rank of what is not shared memory", site->file, site->line);
    if (gang->launch->config.cluster <= rank)
        shim_fail("%s:%d: gpu_map_rank to block %u of a cluster of %u", site->file, site->line,
                  rank, gang->launch->config.cluster);
    if (gang->blocks[rank].live == 0)
        shim_fail("%s:%d: gpu_map_rank to block %u, which has ended", site->file, site->line, rank);
    return gang->blocks[rank].shared + offset;
}

/* --- ends ----------------------------------------------------------------------------------------
 */

void barrier_thread_done(struct thread *thread)
{
    struct block *block = block_of(thread);
    const struct barrier *b = &block->barriers[0];
    if (b->arrived && b->needed == SHIM_BLOCK)
        shim_fail("the thread ends while others wait at __syncthreads, %s:%d", b->site->file,
                  b->site->line);
    struct gang *gang = shim_worker->gang;
    if (gang->arrived && gang->launch->config.cooperative)
        shim_fail("the thread ends while others wait for the grid");
    gang_open(gang);
    if (block->live == 0 && gang->blocks.size() > 1) {
        /* what others of the cluster read now is nobody's */
        struct tsan_quiet quiet;
        memset(block->shared, 0xff, block->shared_size);
        asan_forbid(block->shared, block->shared_size);
    }
}
