/* The first look at a data set: every file is decoded once, to learn what its header only claims,
   and to keep what later clips need. */
#include "audio/dataset_impl.h"

#include "audio/reader.h"
#include "base/error.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Recordings up to this length are decoded once, longer ones twice: the peak must be known before
   the first code is, and a thread's memory must not grow with the file. */
enum { HELD_SAMPLES = 1 << 23, BLOCK = 1 << 14 };

struct scan {
    struct dataset *d;
    int64_t *files; /* (n) those to decode */
    int64_t n;
    float **held; /* a thread each: (HELD_SAMPLES) */
    pthread_mutex_t lock;
    int64_t n_done;
    bool stopped;
    char error[ERROR_TEXT_MAX]; /* of the first failure that is not a file's own */
};

static bool is_stopped(struct scan *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopped = s->stopped;
    pthread_mutex_unlock(&s->lock);
    return stopped;
}

/* Keeps the calling thread's error for dataset_scan's caller. */
static void stop(struct scan *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->stopped)
        snprintf(s->error, sizeof s->error, "%s", error_text());
    s->stopped = true;
    pthread_mutex_unlock(&s->lock);
}

static void add_why(struct scanned *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_why(struct scanned *f, const char *format, ...)
{
    va_list args;
    size_t used = strlen(f->why);
    if (used && used + 2 < sizeof f->why)
        used += (size_t)snprintf(f->why + used, sizeof f->why - used, "; ");
    va_start(args, format);
    vsnprintf(f->why + used, sizeof f->why - used, format, args);
    va_end(args);
}

/* 64-bit FNV-1a, then the end of splitmix64, whose high bits depend on all of it. */
static bool hash_file(uint64_t *hash, const char *path)
{
    uint8_t block[BLOCK];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint64_t h = 0xcbf29ce484222325u;
    if (fd < 0)
        return false;
    while ((n = read(fd, block, sizeof block)) > 0 || (n < 0 && errno == EINTR))
        for (ssize_t i = 0; i < n; i++)
            h = (h ^ block[i]) * 0x100000001b3u;
    close(fd);
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    *hash = h ^ h >> 31;
    return n == 0;
}

/* Puts n samples, as they were read, at sample `at` of a file's place in the store. */
static bool keep(struct dataset *d, struct scanned *f, float *x, int64_t at, int64_t n)
{
    uint8_t codes[BLOCK];
    float divisor = d->options.normalize == NORMALIZE_PEAK ? normalize_divisor(f->peak) : 1;
    if (d->floats)
        return store_write(&d->store, f->offset + (int64_t)sizeof *x * at, x,
                           (int64_t)sizeof *x * n);
    for (int64_t done = 0; done < n; done += BLOCK) {
        int64_t part = n - done < BLOCK ? n - done : BLOCK;
        for (int64_t i = 0; i < part; i++)
            x[done + i] /= divisor;
        encoder_encode(&d->encoder, codes, x + done, part);
        if (!store_write(&d->store, f->offset + at + done, codes, part))
            return false;
    }
    return true;
}

/* The second decoding of a long file. If it changed meanwhile and is shorter, silence fills. */
static bool keep_again(struct scan *s, struct scanned *f, const char *path)
{
    float x[BLOCK];
    int64_t at = 0, got = 1;
    struct reader *r = reader_open(path, s->d->options.rate);
    bool ok = true;
    while (ok && at < f->n_samples && !is_stopped(s)) {
        int64_t part = f->n_samples - at < BLOCK ? f->n_samples - at : BLOCK;
        got = r && got > 0 ? reader_read(r, x, part) : 0;
        memset(x + got, 0, sizeof *x * (size_t)(part - got));
        ok = keep(s->d, f, x, at, part);
        at += part;
    }
    reader_close(r);
    return ok;
}

/* Why a file could not be opened, without the path in front. */
static void add_open_error(struct scanned *f, const char *path)
{
    const char *text = error_text();
    size_t length = strlen(path) + 2;
    add_why(f, "%s", strlen(text) > length ? text + length : text);
}

static void describe(struct scanned *f, struct reader *r, enum normalize rule)
{
    if (reader_trouble(r))
        add_why(f, "%s", reader_trouble(r));
    if (reader_n_bad(r) > 0)
        add_why(f, "%lld samples were not numbers, and are 0", (long long)reader_n_bad(r));
    if (f->n_samples == 0)
        add_why(f, "holds no samples");
    else if (rule == NORMALIZE_PEAK && f->peak < NORMALIZE_PEAK_MIN)
        add_why(f, "too quiet to normalise (peak %.2g): left as it is", (double)f->peak);
}

/* Decodes one file; false only for what is not the file's fault. */
static bool scan_file(struct scan *s, struct scanned *f, const char *path, float *held)
{
    struct dataset *d = s->d;
    struct reader *r = reader_open(path, d->options.rate);
    float more[BLOCK];
    bool ok = true;
    int64_t got;
    if (!r) {
        add_open_error(f, path);
        return true;
    }
    f->rate = reader_info(r)->rate;
    f->channels = reader_info(r)->channels;
    if (d->options.rate / f->rate >= READER_RATE_RATIO_MAX) {
        add_why(f, "its rate of %d Hz is too far below %d Hz", f->rate, d->options.rate);
        goto out;
    }
    int64_t n_held = reader_read(r, held, HELD_SAMPLES);
    f->n_samples = n_held;
    f->peak = normalize_peak(held, n_held);
    while (n_held == HELD_SAMPLES && (got = reader_read(r, more, BLOCK)) > 0 && !is_stopped(s)) {
        float peak = normalize_peak(more, got);
        f->peak = peak > f->peak ? peak : f->peak;
        f->n_samples += got;
    }
    describe(f, r, d->options.normalize);
    if (f->n_samples == 0)
        goto out;
    if (d->valid_from_train && f->folder == SPLIT_TRAIN && !hash_file(&f->hash, path)) {
        add_why(f, "cannot read it to the end: %s", strerror(errno));
        goto out;
    }
    if ((ok = store_reserve(&d->store, &f->offset,
                            f->n_samples * (d->floats ? (int)sizeof(float) : 1))))
        ok = f->n_samples > HELD_SAMPLES ? keep_again(s, f, path)
                                         : keep(d, f, held, 0, f->n_samples);
    f->usable = ok;
out:
    reader_close(r);
    return ok;
}

static void report(struct scan *s)
{
    const struct dataset_options *o = &s->d->options;
    pthread_mutex_lock(&s->lock);
    s->n_done++;
    if (!s->stopped && o->progress && !o->progress(o->progress_arg, s->n_done, s->n)) {
        s->stopped = true;
        snprintf(s->error, sizeof s->error, "interrupted");
    }
    pthread_mutex_unlock(&s->lock);
}

static void scan_round(void *arg, int64_t i, int thread)
{
    struct scan *s = arg;
    int64_t file = s->files[i];
    if (is_stopped(s))
        return;
    if (!scan_file(s, &s->d->scanned[file], s->d->walk.files[file].path, s->held[thread]))
        stop(s);
    report(s);
}

bool dataset_scan(struct dataset *d)
{
    struct scan s = {.d = d};
    struct pool *pool = NULL;
    bool ok = false;
    int n_threads = d->options.n_threads > 0 ? d->options.n_threads : 1;
    pthread_mutex_init(&s.lock, NULL);
    s.files = calloc((size_t)d->walk.n + 1, sizeof *s.files);
    for (int64_t i = 0; s.files && i < d->walk.n; i++)
        if (d->scanned[i].wanted)
            s.files[s.n++] = i;
    n_threads = s.n < n_threads ? (int)(s.n > 0 ? s.n : 1) : n_threads;
    s.held = calloc((size_t)n_threads, sizeof *s.held);
    for (int i = 0; s.held && i < n_threads; i++)
        if (!(s.held[i] = malloc(sizeof(float) * HELD_SAMPLES)))
            goto out_of_memory;
    if (!s.files || !s.held)
        goto out_of_memory;
    if (!(pool = pool_open(n_threads)))
        goto out;
    pool_run(pool, scan_round, &s, s.n);
    ok = !s.stopped;
    if (!ok)
        error_set("%s", s.error);
    goto out;
out_of_memory:
    error_set("out of memory for decoding %lld files", (long long)s.n);
out:
    pool_close(pool);
    for (int i = 0; s.held && i < n_threads; i++)
        free(s.held[i]);
    free(s.held);
    free(s.files);
    pthread_mutex_destroy(&s.lock);
    return ok;
}
