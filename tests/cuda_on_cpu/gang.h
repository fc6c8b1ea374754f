/*
 * The scheduler's own: a launch, the blocks that run at the same time (a gang), their threads, and
 * the worker whose thread of the processor runs them. Every gang belongs to one worker while it
 * runs: nothing here is shared between workers but the launch, which nobody changes.
 */
#ifndef SHIM_GANG_H
#define SHIM_GANG_H

#include "tests/cuda_on_cpu/fiber.h"
#include "tests/cuda_on_cpu/include/shim/launch.h"
#include "tests/cuda_on_cpu/include/shim/thread.h"

#include <stdint.h>

enum {
    LANES = 32,
    BARRIERS = 16,
    SHIM_EXIT = 70, /* the process's end when something is found */
};

/* A copy that has not been done, or a store that has not arrived. */
struct async {
    struct async *next;
    void *to;
    const void *from; /* NULL: what is to be stored is `value` */
    uint64_t *bar;    /* counts the bytes; NULL: the thread's groups do */
    size_t size;
    unsigned group;
    bool done; /* arrived, and not waited for */
    float value;
};

enum thread_state { THREAD_READY, THREAD_WAITS, THREAD_DONE };

struct thread : shim_thread {
    void *sp;
    struct fiber_stack *stack; /* NULL: has not begun */
    void *fake;                /* the address sanitizer's own */
    enum thread_state state;
    const char *why; /* it waits */
    const struct shim_site *site;
    struct thread *next;   /* in a list of those who wait */
    struct async *pending; /* oldest first */
    unsigned group;        /* that is open, of asynchronous copies */
    unsigned count;        /* what a barrier told */
    bool arrived;          /* at the gang's barrier */
    unsigned arrived_phase;
};

struct thread_list {
    struct thread *first, *last;
};

/* Threads arrive with the key of one phase while those of the phase before still take theirs. */
struct barrier {
    int arrived, needed;
    unsigned predicates, phase;
    const struct shim_site *site;
    struct thread_list waiting;
    char key[2];
};

struct warp_post {
    struct thread *thread;
    const struct shim_site *site;
    unsigned mask, source;
    enum shim_warp_op op;
    uint64_t value, result;
    const void *in;
    void *out;
    void (*gather)(const void *const *, void *const *);
};

struct warp {
    struct warp_post post[LANES];
    unsigned posted, gone; /* lanes */
    bool alike;            /* all that are posted are the same call as the first that came */
    unsigned first;        /* its lane */
    unsigned phase;
    char key[2];
};

struct block : shim_block {
    struct barrier barriers[BARRIERS];
    std::vector<struct warp> warps;
    int n_threads, live;
};

struct launch {
    struct shim_launch_config config;
    void (*run)(const void *box);
    const void *box;
    uint64_t number; /* which launch of the process it is */
};

/* A cluster, all blocks of a cooperative launch, or so many blocks as the settings say. */
struct gang {
    const struct launch *launch;
    std::vector<struct block> blocks;
    std::vector<struct thread> threads;
    int live; /* threads */
    int arrived;
    unsigned phase;
    struct thread_list waiting;
    char key[2];
};

/* A ring of the threads that can go on. */
struct ready {
    std::vector<struct thread *> ring; /* a power of two */
    uint64_t head, tail;
};

struct worker {
    void *sp; /* the worker's own stack, where nothing can go on */
    void *fake;
    void *tsan;
    const void *stack_bottom;
    size_t stack_size;
    struct fiber_pool stacks;
    struct gang *gang;
    struct ready ready;
    struct async *spare;
    size_t on_their_way; /* of the gang's threads */
    uint64_t random;
    uint64_t idle;     /* waits in a row in which nothing happened */
    double idle_since; /* seconds; 0: something happened */
    char begin_key, end_key;
};

/* This worker, while it runs a gang. */
extern __thread struct worker *shim_worker
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

static inline struct thread *self(void)
{
    return static_cast<struct thread *>(shim_self);
}

static inline struct block *block_of(struct thread *thread)
{
    return static_cast<struct block *>(thread->block);
}

/* --- schedule.cc -------------------------------------------------------------------------------
 */

/* Runs all threads of the gang to their end. */
void gang_run(struct gang *gang);

/* Something happened that others may wait for. */
static inline void worker_progress(void)
{
    shim_worker->idle = 0;
    shim_worker->idle_since = 0;
}

uint32_t worker_random(void);

/* This thread goes on when somebody wakes it. */
void thread_wait(const char *why, const struct shim_site *site);
void thread_wake(struct thread *thread);
/* It can go on, after all others that can. */
void thread_step_back(void);

void list_add(struct thread_list *list, struct thread *thread);
void list_wake(struct thread_list *list);

double shim_now(void); /* seconds */

/* --- barrier.cc, warp.cc, async.cc: what a thread's end means
 * ------------------------------------- */

void barrier_thread_done(struct thread *thread);
void warp_thread_done(struct thread *thread);
void async_thread_done(struct thread *thread);
/* Of a gang whose threads are all done. */
void async_gang_done(struct gang *gang);

/* Lets something that is on its way arrive: any one, or half of all. False: there was nothing. */
bool async_deliver_some(struct gang *gang, bool half);

#endif
