#define _GNU_SOURCE
#include "base/file.h"

#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_DESCRIPTORS = 16, READ_STEP = 1 << 16 };

/* Copies a path without the slashes at its end: "link/" would name what the link points to. */
static bool path_trim(char out[FILE_PATH_MAX], const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n >= FILE_PATH_MAX)
        return error_set("the path %.100s... is longer than %d bytes", path, FILE_PATH_MAX - 1);
    memcpy(out, path, n);
    out[n] = 0;
    return true;
}

bool path_join(char out[FILE_PATH_MAX], const char *folder, const char *name)
{
    size_t n = strlen(folder), n_name = strlen(name);
    bool slash = n > 0 && folder[n - 1] != '/';
    if (n + slash + n_name >= FILE_PATH_MAX)
        return error_set("the path %.100s.../%.100s is longer than %d bytes", folder, name,
                         FILE_PATH_MAX - 1);
    memmove(out, folder, n);
    if (slash)
        out[n++] = '/';
    memcpy(out + n, name, n_name + 1);
    return true;
}

bool folder_make(const char *path)
{
    char part[FILE_PATH_MAX];
    if (!path_trim(part, path))
        return false;
    for (char *end = part; *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        int reason = mkdir(part, 0777) == 0 ? 0 : errno;
        /* Asked for what is there, some systems answer "read-only" before "exists". */
        if (reason && !path_is_folder(part)) {
            if (reason == EEXIST)
                return error_set("cannot make the folder %s: a file of that name is in the way",
                                 part);
            return error_set("cannot make the folder %s: %s", part, strerror(reason));
        }
        *end = kept;
    }
    return true;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    if (remove(path) == 0 || errno == ENOENT)
        return 0;
    error_set("cannot remove %s: %s", path, strerror(errno));
    return 1;
}

bool path_remove(const char *path)
{
    char trimmed[FILE_PATH_MAX];
    if (!path_trim(trimmed, path))
        return false;
    const char *slash = strrchr(trimmed, '/');
    const char *name = slash ? slash + 1 : trimmed;
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set("will not remove '%s': name the file or folder itself", path);
    int status = nftw(trimmed, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS);
    if (status < 0 && errno != ENOENT)
        return error_set("cannot remove %s: %s", path, strerror(errno));
    return status <= 0;
}

bool path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool path_is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

FILE *file_open(const char *path, int64_t *size)
{
    /* Without O_NONBLOCK, opening a named pipe waits for a writer that may never come. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_set("cannot open %s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set("cannot read %s: it is %s, not a file", path,
                  S_ISDIR(st.st_mode) ? "a folder" : "a device, pipe or socket");
        goto out;
    }
    FILE *file = fdopen(fd, "rb");
    if (file) {
        *size = st.st_size;
        return file;
    }
    error_set("cannot open %s: %s", path, strerror(errno));
out:
    if (fd >= 0)
        close(fd);
    return NULL;
}

char *file_read(const char *path, size_t *size)
{
    int64_t expected;
    FILE *file = file_open(path, &expected);
    if (!file)
        return NULL;
    /* The size is a hint: files of /proc say 0, others may grow or shrink meanwhile. */
    size_t room = (size_t)expected + 1, used = 0;
    char *block = malloc(room);
    while (block) {
        used += fread(block + used, 1, room - used, file);
        if (used < room)
            break;
        room += READ_STEP + room / 2;
        char *larger = realloc(block, room);
        if (!larger)
            free(block);
        block = larger;
    }
    if (!block) {
        error_set("cannot read %s: no memory for its %lld bytes", path, (long long)expected);
    } else if (ferror(file)) {
        error_set("cannot read %s: %s", path, strerror(errno));
        free(block);
        block = NULL;
    } else {
        block[used] = 0;
        *size = used;
    }
    fclose(file);
    return block;
}

bool file_create(struct file_writer *w, const char *path)
{
    w->file = NULL;
    struct stat st;
    /* Renaming over a device would replace it: as root, /dev/null for the whole machine. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set("cannot write %s: it is %s, not a file", path,
                         S_ISDIR(st.st_mode) ? "a folder" : "a device, pipe or socket");
    int length = snprintf(w->path, sizeof w->path, "%s", path);
    int length_part = snprintf(w->part, sizeof w->part, "%s.part", path);
    if (length < 0 || length_part < 0 || length_part >= FILE_PATH_MAX)
        return error_set("cannot write %.100s...: its path is longer than %d bytes", path,
                         FILE_PATH_MAX - 6);
    unlink(w->part); /* left by a run that was killed */
    int fd = open(w->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    w->file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (w->file)
        return true;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
        unlink(w->part);
    }
    return error_set("cannot write %s: %s%s", path, strerror(reason),
                     reason == ENOENT ? " (its folder does not exist)" : "");
}

/* Whether the name still leads to the file that was written: another process writing the same path
   takes the name away, and renaming would then show its half of a file. */
static bool part_is_ours(const struct file_writer *w)
{
    struct stat written, named;
    return fstat(fileno(w->file), &written) == 0 && stat(w->part, &named) == 0 &&
           written.st_dev == named.st_dev && written.st_ino == named.st_ino;
}

static bool parent_sync(const char *path)
{
    char folder[FILE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? (int)(slash - path) + 1 : 0;
    snprintf(folder, sizeof folder, "%.*s", n, path);
    return folder_sync(n ? folder : ".");
}

bool file_commit(struct file_writer *w)
{
    /* A write that failed earlier leaves only its mark; what it says is mostly a full disk. */
    int failed = ferror(w->file) ? (errno ? errno : EIO) : 0;
    if (!failed && (fflush(w->file) != 0 || fsync(fileno(w->file)) != 0))
        failed = errno;
    if (failed) {
        error_set("cannot write %s: %s", w->path, strerror(failed));
        file_discard(w);
        return false;
    }
    if (!part_is_ours(w)) {
        fclose(w->file);
        w->file = NULL;
        return error_set("cannot write %s: another process took its %s away", w->path, w->part);
    }
    int closed = fclose(w->file);
    w->file = NULL;
    if (closed != 0 || rename(w->part, w->path) != 0) {
        error_set("cannot write %s: %s", w->path, strerror(errno));
        unlink(w->part);
        return false;
    }
    return parent_sync(w->path);
}

void file_discard(struct file_writer *w)
{
    if (!w->file)
        return;
    if (part_is_ours(w))
        unlink(w->part);
    fclose(w->file);
    w->file = NULL;
}

bool folder_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set("cannot open the folder %s: %s", path, strerror(errno));
    /* Some file systems (network, FUSE) have no such operation; their renames need none. */
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
    if (!ok)
        error_set("cannot sync the folder %s: %s", path, strerror(errno));
    close(fd);
    return ok;
}
