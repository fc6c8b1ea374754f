/* A launch: its blocks are made into gangs, which workers take in turn. */
#include "tests/cuda_on_cpu/run.h"

#include "tests/cuda_on_cpu/cuda_on_cpu.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

#include <pthread.h>
#include <stdlib.h>

#include <atomic>
#include <utility>

enum {
    SHARED_ALIGN = 1024,
    RESIDENT_THREADS = 2048, /* on a multiprocessor */
    GRID_MOST = 65535,       /* in y and z */
    CLUSTER_MOST = 8,        /* unasked */
    CLUSTER_LARGEST = 16,
    SHARED_THREADS = 4096, /* launches with fewer are not worth waking others for */
};

/* --- gangs
 * ---------------------------------------------------------------------------------------- */

static size_t shared_room(size_t size)
{
    return (size / SHARED_ALIGN + 2) * SHARED_ALIGN;
}

static void gang_free(struct gang *gang)
{
    const size_t size = gang->launch->config.shared;
    for (struct block &b : gang->blocks) {
        asan_allow(b.shared, shared_room(size));
        free(b.shared);
    }
    delete gang;
}

static void block_init(struct block *b, const struct shim_launch_config *config, uint64_t index)
{
    const struct dim3 grid = config->grid, block = config->block;
    const unsigned n = block.x * block.y * block.z;
    b->index = {(unsigned)(index % grid.x), (unsigned)(index / grid.x % grid.y),
                (unsigned)(index / grid.x / grid.y)};
    b->threads = block;
    b->grid = grid;
    b->rank = config->cluster > 1 ? (unsigned)(index % config->cluster) : 0;
    b->n_threads = b->live = (int)n;
    for (struct barrier &barrier : b->barriers)
        barrier = {};
    b->warps.assign((n + LANES - 1) / LANES, {});
    if (n % LANES != 0)
        b->warps.back().gone = ~0u << n % LANES;
    /* what was never written is NaN, what lies behind is nobody's */
    asan_allow(b->shared, shared_room(b->shared_size));
    memset(b->shared, 0xff, b->shared_size);
    asan_forbid(b->shared + b->shared_size, shared_room(b->shared_size) - b->shared_size);
}

static struct gang *gang_new(const struct launch *launch, size_t n_blocks)
{
    const size_t shared = launch->config.shared;
    struct gang *gang = new struct gang();
    gang->launch = launch;
    gang->blocks.resize(n_blocks);
    for (struct block &b : gang->blocks) {
        b.shared_size = shared;
        b.shared = static_cast<char *>(aligned_alloc(SHARED_ALIGN, shared_room(shared)));
        if (!b.shared)
            shim_fail("out of memory for shared memory");
    }
    return gang;
}

/* From block `first` on, of consecutive blocks. */
static void gang_init(struct gang *gang, uint64_t first)
{
    const struct shim_launch_config *config = &gang->launch->config;
    const struct dim3 block = config->block;
    const unsigned n = block.x * block.y * block.z;
    gang->threads.resize(gang->blocks.size() * n);
    gang->live = (int)gang->threads.size();
    gang->arrived = 0;
    gang->phase = 0;
    struct thread *t = gang->threads.data();
    for (size_t i = 0; i < gang->blocks.size(); i++) {
        struct block *b = &gang->blocks[i];
        block_init(b, config, first + i);
        for (unsigned j = 0; j < n; j++, t++) {
            *t = {};
            t->index = {j % block.x, j / block.x % block.y, j / block.x / block.y};
            t->lane = j % LANES;
            t->warp = j / LANES;
            t->block = b;
        }
    }
}

/* --- workers
 * --------------------------------------------------------------------------------------- */

/* A launch while workers share it. */
struct job {
    struct launch launch;
    uint64_t n_blocks, per_gang, n_gangs;
    const uint32_t *order; /* of gangs; NULL: as numbered */
    std::atomic<uint64_t> next;
    char begin_key, end_key;
};

static uint64_t gang_of_turn(const struct job *job, uint64_t turn)
{
    if (job->order)
        return job->order[turn];
    return shim_settings()->seed == 1 ? job->n_gangs - 1 - turn : turn;
}

static void worker_init(struct worker *w)
{
    pthread_attr_t attributes;
    void *bottom = nullptr;
    if (w->stack_bottom)
        return;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &bottom, &w->stack_size);
    pthread_attr_destroy(&attributes);
    w->stack_bottom = bottom;
}

/* Runs gangs until there are no more. Under the thread sanitizer those that ran are kept to the
   end: memory that two blocks had in turn would look shared. */
static void worker_run(struct job *job)
{
    static thread_local struct worker own;
    struct worker *w = &own;
    std::vector<struct gang *> kept;
    struct gang *gang = nullptr;
    worker_init(w);
    shim_worker = w;
    tsan_take(&job->begin_key);
    if (has_tsan())
        w->tsan = __tsan_get_current_fiber();
    for (uint64_t turn; (turn = job->next++) < job->n_gangs;) {
        const uint64_t index = gang_of_turn(job, turn), first = index * job->per_gang;
        const uint64_t n =
            first + job->per_gang > job->n_blocks ? job->n_blocks - first : job->per_gang;
        if (gang && (has_tsan() || gang->blocks.size() != n)) {
            kept.push_back(gang);
            gang = nullptr;
        }
        if (!gang)
            gang = gang_new(&job->launch, n);
        gang_init(gang, first);
        w->random = shim_mix((uint64_t)shim_settings()->seed << 32 ^ job->launch.number) +
                    shim_mix(index + 1);
        w->random |= 1;
        tsan_give(&w->begin_key);
        gang_run(gang);
    }
    tsan_take(&w->end_key);
    if (gang)
        kept.push_back(gang);
    for (struct gang *g : kept)
        gang_free(g);
    tsan_give(&job->end_key);
    shim_worker = nullptr;
}

/* The workers beside the device's own thread: they wait for a job and share it. */
static struct {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t change = PTHREAD_COND_INITIALIZER;
    struct job *job;
    uint64_t number; /* of the job */
    int n, busy;
} helpers;

static void *helper_main(void *)
{
    uint64_t seen = 0;
    for (;;) {
        struct job *job;
        {
            struct tsan_quiet quiet;
            pthread_mutex_lock(&helpers.lock);
            while (helpers.number == seen || !helpers.job)
                pthread_cond_wait(&helpers.change, &helpers.lock);
            seen = helpers.number;
            job = helpers.job;
            helpers.busy++;
            pthread_mutex_unlock(&helpers.lock);
        }
        worker_run(job);
        struct tsan_quiet quiet;
        pthread_mutex_lock(&helpers.lock);
        helpers.busy--;
        pthread_cond_broadcast(&helpers.change);
        pthread_mutex_unlock(&helpers.lock);
    }
    return nullptr;
}

static void helpers_begin(struct job *job)
{
    struct tsan_quiet quiet;
    pthread_mutex_lock(&helpers.lock);
    for (; helpers.n + 1 < shim_settings()->threads; helpers.n++) {
        pthread_t thread;
        if (pthread_create(&thread, nullptr, helper_main, nullptr) != 0)
            break;
        pthread_detach(thread);
    }
    helpers.job = job;
    helpers.number++;
    pthread_cond_broadcast(&helpers.change);
    pthread_mutex_unlock(&helpers.lock);
}

static void helpers_end(void)
{
    struct tsan_quiet quiet;
    pthread_mutex_lock(&helpers.lock);
    helpers.job = nullptr;
    while (helpers.busy > 0)
        pthread_cond_wait(&helpers.change, &helpers.lock);
    pthread_mutex_unlock(&helpers.lock);
}

/* --- the launch
 * ------------------------------------------------------------------------------------- */

static std::vector<uint32_t> random_order(uint64_t n, uint64_t number)
{
    std::vector<uint32_t> order(n);
    uint64_t random = shim_mix((uint64_t)shim_settings()->seed << 32 ^ ~number);
    for (uint64_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = n; i > 1; i--) {
        random = shim_mix(random + i);
        std::swap(order[i - 1], order[random % i]);
    }
    return order;
}

static std::atomic<uint64_t> launches;

uint64_t cuda_on_cpu_launches(void)
{
    return launches;
}

void launch_run(const struct shim_launch_config *config, void (*run)(const void *), const void *box)
{
    const struct dim3 grid = config->grid, block = config->block;
    struct job job = {};
    std::vector<uint32_t> order;
    job.launch = {*config, run, box, launches++};
    job.n_blocks = (uint64_t)grid.x * grid.y * grid.z;
    job.per_gang = config->cooperative   ? job.n_blocks
                   : config->cluster > 1 ? config->cluster
                                         : (uint64_t)shim_settings()->resident;
    job.n_gangs = (job.n_blocks + job.per_gang - 1) / job.per_gang;
    if (shim_settings()->seed >= 2) {
        order = random_order(job.n_gangs, job.launch.number);
        job.order = order.data();
    }
    const uint64_t threads = job.n_blocks * block.x * block.y * block.z;
    const bool shared = shim_settings()->threads > 1 && job.n_gangs > 1 && threads > SHARED_THREADS;
    tsan_give(&job.begin_key);
    if (shared)
        helpers_begin(&job);
    worker_run(&job);
    if (shared)
        helpers_end();
    tsan_take(&job.end_key);
}

cudaError_t launch_check(const struct shim_launch_config *config, size_t shared_most,
                         bool any_cluster)
{
    const struct dim3 grid = config->grid, block = config->block;
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    const uint64_t threads = (uint64_t)block.x * block.y * block.z;
    if (blocks == 0 || threads == 0 || threads > THREADS_MOST || grid.x > INT32_MAX ||
        grid.y > GRID_MOST || grid.z > GRID_MOST || block.z > 64)
        return cudaErrorInvalidConfiguration;
    if (config->shared > shared_most)
        return cudaErrorInvalidValue;
    const unsigned cluster_most = any_cluster ? CLUSTER_LARGEST : CLUSTER_MOST;
    if (config->cluster < 1 || config->cluster > cluster_most || grid.x % config->cluster != 0)
        return cudaErrorInvalidConfiguration;
    if (config->cooperative && blocks > (uint64_t)launch_occupancy((int)threads, config->shared) *
                                            (uint64_t)shim_settings()->sms)
        return cudaErrorCooperativeLaunchTooLarge;
    return cudaSuccess;
}

int launch_occupancy(int threads, size_t shared)
{
    const int by_threads = RESIDENT_THREADS / (threads > 0 ? threads : 1);
    const int by_shared = (int)((shim_shared_most() + 1024) / (shared + 1024));
    return by_threads < by_shared ? by_threads : by_shared;
}
