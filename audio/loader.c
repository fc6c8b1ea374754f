#include "audio/loader.h"

#include "audio/clip.h"
#include "base/error.h"
#include "base/thread.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A ring of slots. The thread fills slot `n_made % n_slots`, the consumer holds slot
   `n_taken - 1`; one slot more than `ahead`, so that the held one is never written. */
struct loader {
    const struct dataset *d;
    struct loader_options options;
    int n_slots;
    struct batch *slots; /* (n_slots) */
    uint8_t *codes;      /* (n_slots, B, T) */
    uint8_t *mask;       /* (n_slots, B, T) */
    int32_t *labels;     /* (n_slots, B) */
    uint8_t *goes_on;    /* (n_slots, B) */
    struct pool *pool;
    struct clip_maker **makers; /* (n_threads) */
    pthread_t thread;
    bool started;
    atomic_bool stop;
    int filling;            /* slot the helpers work on */
    atomic_bool row_failed; /* its first error is in row_error, under lock */
    char row_error[ERROR_TEXT_MAX];

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    int64_t n_made, n_taken;
    bool failed; /* row_error holds why; no more batches */
};

static void make_row(void *arg, int64_t row, int thread)
{
    struct loader *l = arg;
    const struct batch *b = &l->slots[l->filling];
    int64_t at = (int64_t)l->filling * b->n_rows + row;
    int64_t carry = dataset_options(l->d)->carry > 1 ? dataset_options(l->d)->carry : 1;
    uint64_t stay = (uint64_t)(b->step / carry) * (uint64_t)l->options.batch +
                    (uint64_t)(l->options.first_row + row);
    if (atomic_load(&l->stop) || atomic_load(&l->row_failed))
        return;
    if (clip_make_window(l->makers[thread], stay, b->step % carry, l->codes + at * b->n_samples,
                         l->mask + at * b->n_samples, l->labels + at, l->goes_on + at))
        return;
    pthread_mutex_lock(&l->lock);
    if (!atomic_exchange(&l->row_failed, true))
        snprintf(l->row_error, sizeof l->row_error, "%s", error_text());
    pthread_mutex_unlock(&l->lock);
}

static void fill_slot(struct loader *l, int slot, int64_t step)
{
    struct batch *b = &l->slots[slot];
    l->filling = slot;
    b->step = step;
    pool_run(l->pool, make_row, l, b->n_rows);
    b->n_targets = 0;
    for (int64_t i = 0; i < b->n_rows * b->n_samples; i++)
        b->n_targets += b->mask[i];
}

static void *loader_run(void *arg)
{
    struct loader *l = arg;
    for (;;) {
        pthread_mutex_lock(&l->lock);
        while (!atomic_load(&l->stop) && l->n_made - l->n_taken >= l->options.ahead)
            pthread_cond_wait(&l->changed, &l->lock);
        int64_t n = l->n_made;
        pthread_mutex_unlock(&l->lock);
        if (atomic_load(&l->stop))
            return NULL;
        fill_slot(l, (int)(n % l->n_slots), l->options.first_step + n);
        pthread_mutex_lock(&l->lock);
        l->failed = atomic_load(&l->row_failed);
        l->n_made += !l->failed;
        pthread_cond_broadcast(&l->changed);
        bool failed = l->failed;
        pthread_mutex_unlock(&l->lock);
        if (failed)
            return NULL;
    }
}

static bool allocate(struct loader *l)
{
    struct loader_options *o = &l->options;
    int64_t samples = dataset_options(l->d)->clip_samples;
    size_t rows = (size_t)l->n_slots * (size_t)o->n_rows, size = rows * (size_t)samples;
    l->slots = calloc((size_t)l->n_slots, sizeof *l->slots);
    l->codes = malloc(size);
    l->mask = malloc(size);
    l->labels = malloc(rows * sizeof *l->labels);
    l->goes_on = malloc(rows);
    l->makers = calloc((size_t)o->n_threads, sizeof *l->makers);
    if (!l->slots || !l->codes || !l->mask || !l->labels || !l->goes_on || !l->makers)
        return error_set("out of memory for %d batches of %d clips of %lld samples", l->n_slots,
                         o->n_rows, (long long)samples);
    for (int i = 0; i < l->n_slots; i++) {
        size_t row = (size_t)i * (size_t)o->n_rows;
        l->slots[i] = (struct batch){
            .n_rows = o->n_rows,
            .n_samples = samples,
            .codes = l->codes + row * (size_t)samples,
            .mask = l->mask + row * (size_t)samples,
            .labels = l->labels + row,
            .goes_on = l->goes_on + row,
        };
    }
    for (int i = 0; i < o->n_threads; i++)
        if (!(l->makers[i] = clip_maker_open(l->d)))
            return false;
    return true;
}

struct loader *loader_open(const struct dataset *d, const struct loader_options *o)
{
    assert(o->batch > 0 && o->ahead > 0 && o->n_threads > 0 && o->first_step >= 0);
    assert(o->first_row >= 0 && o->n_rows >= 0 && o->first_row + o->n_rows <= o->batch);
    struct loader *l = calloc(1, sizeof *l);
    if (!l) {
        error_set("out of memory for the loader");
        return NULL;
    }
    l->d = d;
    l->options = *o;
    if (o->n_rows == 0)
        l->options.n_rows = o->batch - o->first_row;
    l->n_slots = o->ahead + 1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    if (!allocate(l) || !(l->pool = pool_open(o->n_threads)))
        goto fail;
    int error = pthread_create(&l->thread, NULL, loader_run, l);
    if (error) {
        error_set("cannot start the loader thread: %s", strerror(error));
        goto fail;
    }
    l->started = true;
    return l;
fail:
    loader_close(l);
    return NULL;
}

void loader_close(struct loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    atomic_store(&l->stop, true);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (l->started)
        pthread_join(l->thread, NULL);
    pool_close(l->pool);
    for (int i = 0; l->makers && i < l->options.n_threads; i++)
        clip_maker_close(l->makers[i]);
    free(l->makers);
    free(l->slots);
    free(l->codes);
    free(l->mask);
    free(l->labels);
    free(l->goes_on);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

const struct batch *loader_next(struct loader *l)
{
    const struct batch *b = NULL;
    pthread_mutex_lock(&l->lock);
    while (l->n_made == l->n_taken && !l->failed)
        pthread_cond_wait(&l->changed, &l->lock);
    if (l->n_made > l->n_taken) {
        b = &l->slots[l->n_taken++ % l->n_slots];
        pthread_cond_broadcast(&l->changed);
    } else {
        error_set("%s", l->row_error);
    }
    pthread_mutex_unlock(&l->lock);
    return b;
}
