#define _GNU_SOURCE
#include "app/takes.h"

#include "app/stop.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLL_MS = 100 };

struct work {
    const struct takes_job *job;
    struct take_result *results;
    int threads_a_model;
    int group; /* takes made side by side */
    _Atomic int64_t next, made;
    int n_working;           /* under the lock */
    pthread_cond_t finished; /* a worker */
    atomic_bool failed;
    pthread_mutex_t lock;
    char error[ERROR_TEXT_MAX]; /* of the first failure; under the lock */
};

static void work_fail(struct work *w)
{
    pthread_mutex_lock(&w->lock);
    if (!atomic_exchange(&w->failed, true))
        snprintf(w->error, sizeof(w->error), "%s", error_text());
    pthread_mutex_unlock(&w->lock);
}

static struct writer *take_open(const struct takes_job *job, int64_t i)
{
    char path[FILE_PATH_MAX], *comment = job->comment(job->arg, i);
    job->name(job->arg, i, path, sizeof(path));
    struct writer *writer = writer_open(
        path,
        &(struct writer_options){.rate = job->rate, .software = HISS_VERSION, .comment = comment});
    free(comment);
    return writer;
}

/* Takes [first, first + n). What was made before a failure (a full disk, say) or a signal is kept,
   as far as it goes; a prompt alone is no take. */
static bool group_make(struct work *w, struct hiss_model *m, int64_t first, int n)
{
    const struct takes_job *job = w->job;
    struct take_job take = job->take;
    struct writer *writers[TAKES_AT_ONCE];
    int n_open = 0;
    take.stream = (uint32_t)first;
    while (n_open < n && (writers[n_open] = take_open(job, first + n_open)))
        n_open++;
    bool ok = n_open == n && takes_make(m, &take, n, writers, &w->made, &w->results[first]);
    for (int i = 0; i < n_open; i++)
        if (w->results[first + i].n == 0)
            writer_discard(writers[i]);
        else if (!writer_close(writers[i]) && ok)
            ok = false;
    return ok;
}

static void *worker(void *arg)
{
    struct work *w = arg;
    const struct takes_job *job = w->job;
    struct hiss_model *m = hiss_model_open(job->model_path, job->backend, w->threads_a_model);
    if (!m || !hiss_model_set_decode(m, job->precision, "auto"))
        work_fail(w);
    while (m && !atomic_load(&w->failed) && !stop_requested()) {
        int64_t first = atomic_fetch_add(&w->next, w->group);
        if (first >= job->n_takes)
            break;
        int64_t left = job->n_takes - first;
        if (!group_make(w, m, first, left < w->group ? (int)left : w->group))
            work_fail(w);
    }
    hiss_model_close(m);
    pthread_mutex_lock(&w->lock);
    w->n_working--;
    pthread_cond_signal(&w->finished);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static struct timespec time_after_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + ms * 1000000;
    return (struct timespec){.tv_sec = t.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Waits for a worker to end, but not for long. How many are at work? */
static int work_wait(struct work *w)
{
    struct timespec until = time_after_ms(POLL_MS);
    pthread_mutex_lock(&w->lock);
    if (w->n_working > 0)
        pthread_cond_timedwait(&w->finished, &w->lock, &until);
    int n = w->n_working;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void work_watch(struct work *w)
{
    const struct takes_job *job = w->job;
    double start = clock_s(), rate = job->rate;
    double total = (double)job->take.n_samples * (double)job->n_takes / rate;
    while (work_wait(w) > 0) {
        double made = (double)atomic_load(&w->made) / rate, past = clock_s() - start;
        log_status(false, "%.1f of %.1f s, %.2f x real time", made, total, made / past);
    }
    log_status_end();
}

/* Takes side by side: as many as leave work for every worker. */
static int group_size(const struct takes_job *job, int n_workers)
{
    int64_t share = (job->n_takes + n_workers - 1) / n_workers;
    return share < TAKES_AT_ONCE ? (int)share : TAKES_AT_ONCE;
}

bool takes_run(const struct takes_job *job, struct take_result *results)
{
    int n_workers = job->n_takes < job->n_threads ? (int)job->n_takes : job->n_threads;
    struct work w = {.job = job,
                     .results = results,
                     .group = job->take.guard ? 1 : group_size(job, n_workers),
                     .threads_a_model = job->n_takes == 1 ? job->n_threads : 1,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w.finished, &clock);
    pthread_condattr_destroy(&clock);
    memset(results, 0, (size_t)job->n_takes * sizeof(*results));
    pthread_t *threads = calloc((size_t)n_workers, sizeof(*threads));
    if (!threads) {
        pthread_cond_destroy(&w.finished);
        return error_set("out of memory for %d threads", n_workers);
    }
    int n_started = 0;
    for (; n_started < n_workers; n_started++) {
        pthread_mutex_lock(&w.lock);
        bool started = pthread_create(&threads[n_started], NULL, worker, &w) == 0;
        w.n_working += started;
        pthread_mutex_unlock(&w.lock);
        if (!started)
            break;
    }
    if (n_started == 0) {
        error_set("cannot start a thread");
        work_fail(&w);
    }
    work_watch(&w);
    for (int i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
    free(threads);
    pthread_cond_destroy(&w.finished);
    return !atomic_load(&w.failed) || error_set("%s", w.error);
}
