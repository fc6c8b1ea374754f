#define _GNU_SOURCE /* mkostemp */
#include "audio/store.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *store_folder(const struct store *s)
{
    const char *tmp = getenv("TMPDIR");
    return s->folder ? s->folder : tmp && *tmp ? tmp : "/var/tmp";
}

void store_open(struct store *s, int64_t budget, const char *folder)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->folder = folder;
    s->budget = budget;
    pthread_mutex_init(&s->lock, NULL);
    /* Address space only: the system gives memory as it is touched. Without it, use the file. */
    if (budget > 0) {
        s->block = mmap(NULL, (size_t)budget, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s->block == MAP_FAILED)
            s->block = NULL;
    }
}

void store_close(struct store *s)
{
    if (s->block)
        munmap(s->block, (size_t)s->budget);
    if (s->fd >= 0)
        close(s->fd);
    pthread_mutex_destroy(&s->lock);
}

static bool write_file(struct store *s, int64_t offset, const char *bytes, int64_t size)
{
    while (size > 0) {
        ssize_t got = pwrite(s->fd, bytes, (size_t)size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set("%s: the decoded recordings (%.1f GB so far) do not fit: %s; raise "
                             "the cache's memory or choose another folder with TMPDIR",
                             store_folder(s), (double)s->used * 1e-9,
                             got < 0 ? strerror(errno) : "full");
        offset += got;
        bytes += got;
        size -= got;
    }
    return true;
}

/* A file without a name: nothing is left behind however the process ends. */
static bool open_file(struct store *s)
{
    char name[4096];
    const char *folder = store_folder(s);
    snprintf(name, sizeof name, "%s/hiss-XXXXXX", folder);
    s->fd = mkostemp(name, O_CLOEXEC);
    if (s->fd < 0)
        return error_set("%s: cannot make a temporary file for the decoded recordings: %s", folder,
                         strerror(errno));
    unlink(name);
    return true;
}

static bool move_to_file(struct store *s)
{
    if (!open_file(s) || (s->block && !write_file(s, 0, s->block, s->used)))
        return false;
    if (s->block)
        munmap(s->block, (size_t)s->budget);
    s->block = NULL;
    return true;
}

bool store_reserve(struct store *s, int64_t *offset, int64_t size)
{
    bool ok = true;
    pthread_mutex_lock(&s->lock);
    if (s->fd < 0 && (!s->block || size > s->budget - s->used))
        ok = move_to_file(s);
    *offset = s->used;
    if (ok)
        s->used += (size + 63) & ~(int64_t)63; /* floats stay aligned */
    if (s->block && s->used > s->budget)
        s->used = s->budget;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool store_write(struct store *s, int64_t offset, const void *bytes, int64_t size)
{
    bool ok = true;
    pthread_mutex_lock(&s->lock); /* another thread's store_reserve may move the block */
    if (s->block)
        memcpy(s->block + offset, bytes, (size_t)size);
    else
        ok = write_file(s, offset, bytes, size);
    pthread_mutex_unlock(&s->lock);
    return ok;
}

bool store_read(const struct store *s, int64_t offset, void *bytes, int64_t size)
{
    char *at = bytes;
    if (s->block) {
        memcpy(bytes, s->block + offset, (size_t)size);
        return true;
    }
    while (size > 0) {
        ssize_t got = pread(s->fd, at, (size_t)size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set("%s: cannot read the temporary file of decoded recordings: %s",
                             store_folder(s), strerror(errno));
        if (got == 0) { /* past the last byte written */
            memset(at, 0, (size_t)size);
            return true;
        }
        offset += got;
        at += got;
        size -= got;
    }
    return true;
}
