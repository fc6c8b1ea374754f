/*
 * What a sound device's callback may not do: a library to be loaded before a program (LD_PRELOAD).
 *
 * It wraps the callback that the program gives to Pa_OpenStream; whoever allocates, locks, waits,
 * or calls the system for files while in it ends the program with exit status 99 and a line. At
 * the end it writes how many callbacks it has seen to $HISS_AUDIT_LOG.
 * With $HISS_AUDIT_PROVOKE (malloc, free, lock, write, open, sleep) the wrapper itself does that in
 * its tenth callback: the test of the test.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <portaudio.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local int inside __attribute__((tls_model("initial-exec")));
static atomic_long n_callbacks;

static void blame(const char *what)
{
    static const char begin[] = "audit: the callback called ";
    if (!inside)
        return;
    syscall(SYS_write, 2, begin, sizeof(begin) - 1);
    syscall(SYS_write, 2, what, strlen(what));
    syscall(SYS_write, 2, "\n", 1);
    syscall(SYS_exit_group, 99);
}

/* A wrapper that blames, then does what it is for. glibc's own names serve where dlsym would
   allocate. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t n)
{
    blame("malloc");
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    blame("calloc");
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    blame("realloc");
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    blame("aligned_alloc");
    return __libc_memalign(alignment, n);
}

void free(void *p)
{
    blame("free");
    __libc_free(p);
}

#define FORWARD(type, name, parameters, arguments)                                                 \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*real) parameters;                                                             \
        blame(#name);                                                                              \
        if (!real)                                                                                 \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        return real arguments;                                                                     \
    }

FORWARD(int, pthread_mutex_lock, (pthread_mutex_t * m), (m))
FORWARD(int, pthread_mutex_trylock, (pthread_mutex_t * m), (m))
FORWARD(int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
FORWARD(int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
FORWARD(int, pthread_spin_lock, (pthread_spinlock_t * l), (l))
FORWARD(int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m))
FORWARD(int, pthread_cond_signal, (pthread_cond_t * c), (c))
FORWARD(int, pthread_cond_broadcast, (pthread_cond_t * c), (c))
FORWARD(int, sem_wait, (sem_t * s), (s))
FORWARD(int, sem_post, (sem_t * s), (s))
FORWARD(ssize_t, write, (int fd, const void *x, size_t n), (fd, x, n))
FORWARD(ssize_t, read, (int fd, void *x, size_t n), (fd, x, n))
FORWARD(FILE *, fopen, (const char *path, const char *mode), (path, mode))
FORWARD(int, nanosleep, (const struct timespec *t, struct timespec *left), (t, left))
FORWARD(int, clock_nanosleep,
        (clockid_t clock, int flags, const struct timespec *t, struct timespec *left),
        (clock, flags, t, left))
FORWARD(int, usleep, (useconds_t t), (t))
FORWARD(int, sched_yield, (void), ())

int open(const char *path, int flags, ...)
{
    va_list args;
    blame("open");
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return openat(AT_FDCWD, path, flags, mode);
}

/* --- PortAudio
 * ------------------------------------------------------------------------------------ */

enum { STREAMS_MAX = 64 };

static struct wrapped {
    PaStreamCallback *callback;
    void *arg;
} streams[STREAMS_MAX];
static int n_streams;

static void provoke(const char *what)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static void *volatile block;
    if (strcmp(what, "malloc") == 0)
        block = malloc(100);
    else if (strcmp(what, "free") == 0)
        free(block);
    else if (strcmp(what, "lock") == 0)
        pthread_mutex_lock(&mutex);
    else if (strcmp(what, "write") == 0 && write(1, "", 0) == 0)
        return;
    else if (strcmp(what, "open") == 0)
        close(open("/dev/null", O_RDONLY, 0));
    else if (strcmp(what, "sleep") == 0)
        nanosleep(&(struct timespec){.tv_nsec = 1}, NULL);
}

static int audited(const void *in, void *out, unsigned long frames,
                   const PaStreamCallbackTimeInfo *time, PaStreamCallbackFlags flags, void *arg)
{
    const struct wrapped *w = arg;
    const char *what = getenv("HISS_AUDIT_PROVOKE");
    inside = 1;
    if (atomic_fetch_add(&n_callbacks, 1) == 10 && what)
        provoke(what);
    int result = w->callback(in, out, frames, time, flags, w->arg);
    inside = 0;
    return result;
}

PaError Pa_OpenStream(PaStream **stream, const PaStreamParameters *in,
                      const PaStreamParameters *out, double rate, unsigned long frames,
                      PaStreamFlags flags, PaStreamCallback *callback, void *arg)
{
    static PaError (*real)(PaStream **, const PaStreamParameters *, const PaStreamParameters *,
                           double, unsigned long, PaStreamFlags, PaStreamCallback *, void *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "Pa_OpenStream");
    struct wrapped *w = &streams[n_streams++ % STREAMS_MAX];
    *w = (struct wrapped){callback, arg};
    return real(stream, in, out, rate, frames, flags, audited, w);
}

__attribute__((destructor)) static void log_write(void)
{
    const char *path = getenv("HISS_AUDIT_LOG");
    FILE *log = path ? fopen(path, "w") : NULL;
    if (log) {
        fprintf(log, "%ld callbacks\n", atomic_load(&n_callbacks));
        fclose(log);
    }
}
