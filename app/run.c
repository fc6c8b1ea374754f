#define _GNU_SOURCE
#include "app/run.h"

#include "base/error.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

bool run_exists(const char *path)
{
    char settings[FILE_PATH_MAX];
    return path_join(settings, path, "settings.ini") && path_exists(settings);
}

/* Nothing but a lock: also what is left of a run that failed before it began. */
static bool folder_is_empty(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return error_set("%s: %s", path, strerror(errno));
    bool empty = true;
    for (struct dirent *entry; (entry = readdir(dir));)
        empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                 strcmp(entry->d_name, "lock") == 0;
    closedir(dir);
    if (!empty)
        return error_set("%s is not empty and holds no training run: name another --run", path);
    return true;
}

bool run_open(struct run *r, const char *path)
{
    char name[FILE_PATH_MAX];
    memset(r, 0, sizeof(*r));
    r->lock = -1;
    if (!folder_make(path))
        return false;
    if (!realpath(path, r->path))
        return error_set("%s: %s", path, strerror(errno));
    r->resumed = run_exists(r->path);
    if ((!r->resumed && !folder_is_empty(r->path)) || !path_join(name, r->path, "lock"))
        return false;
    r->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0)
        return error_set("%s: %s", name, strerror(errno));
    if (flock(r->lock, LOCK_EX | LOCK_NB) != 0) {
        error_set("%s is in use by another hiss train: wait for it, or name another --run", path);
        run_close(r);
        return false;
    }
    return true;
}

void run_close(struct run *r)
{
    if (r->log)
        fclose(r->log);
    if (r->lock >= 0)
        close(r->lock); /* and with it the lock */
    r->log = NULL;
    r->lock = -1;
}

bool run_get_data(const struct run *r, char path[FILE_PATH_MAX])
{
    char link[FILE_PATH_MAX];
    if (!path_join(link, r->path, "data"))
        return false;
    ssize_t length = readlink(link, path, FILE_PATH_MAX - 1);
    if (length < 0)
        return error_set("%s: %s: the run does not know its data; name DATA", link,
                         strerror(errno));
    path[length] = 0;
    return true;
}

/* A link is replaced by a rename: at no time is there none. */
static bool link_set(const struct run *r, const char *name, const char *target)
{
    char link[FILE_PATH_MAX], part[FILE_PATH_MAX], part_name[64];
    snprintf(part_name, sizeof(part_name), "%s.part", name);
    if (!path_join(link, r->path, name) || !path_join(part, r->path, part_name) ||
        !path_remove(part))
        return false;
    if (symlink(target, part) != 0 || rename(part, link) != 0)
        return error_set("cannot make the link %s: %s", link, strerror(errno));
    return true;
}

bool run_set_data(const struct run *r, const char *path)
{
    return link_set(r, "data", path);
}

/* The path without links, as it will be once it is made: what is there of it is resolved. */
static bool path_foresee(char out[FILE_PATH_MAX], const char *path)
{
    char there[FILE_PATH_MAX];
    size_t length = strlen(path);
    const char *rest = path + length;
    if (length >= FILE_PATH_MAX)
        return error_set("%.80s...: the path is too long", path);
    strcpy(there, path);
    while (!realpath(length ? there : ".", out)) {
        if (length == 0)
            return error_set("%s: %s", path, strerror(errno));
        while (length > 0 && there[length - 1] == '/') /* x//y/ */
            length--;
        while (length > 0 && there[length - 1] != '/')
            length--;
        there[length] = 0;
        rest = path + length;
    }
    return !*rest || path_join(out, out, rest);
}

bool run_check_apart(const char *path, const char *data)
{
    char run[FILE_PATH_MAX];
    size_t length = strlen(data);
    if (!path_foresee(run, path))
        return false;
    bool root = strcmp(data, "/") == 0;
    if (root || (strncmp(run, data, length) == 0 && (run[length] == '/' || !run[length])))
        return error_set("the run directory %s lies inside the data %s: name another --run", run,
                         data);
    return true;
}

/* The steps of all whole checkpoints, rising; the caller frees them. */
static int64_t *steps_read(const struct run *r, int *n)
{
    int64_t *steps = NULL;
    *n = 0;
    struct dirent **entries;
    int n_entries = scandir(r->path, &entries, NULL, NULL);
    for (int i = 0; i < n_entries; i++) {
        char *end, *name = entries[i]->d_name;
        long long step = strncmp(name, "step-", 5) == 0 ? strtoll(name + 5, &end, 10) : -1;
        if (step >= 0 && end != name + 5 && !*end) {
            int64_t *more = realloc(steps, (size_t)(*n + 1) * sizeof(*steps));
            if (more) {
                steps = more;
                int at = (*n)++;
                for (; at > 0 && steps[at - 1] > step; at--)
                    steps[at] = steps[at - 1];
                steps[at] = step;
            }
        }
        free(entries[i]);
    }
    if (n_entries >= 0)
        free(entries);
    return steps;
}

int64_t run_latest(const struct run *r, char path[FILE_PATH_MAX])
{
    int n;
    char name[64];
    int64_t *steps = steps_read(r, &n);
    int64_t step = n > 0 ? steps[n - 1] : -1;
    free(steps);
    snprintf(name, sizeof(name), "step-%lld", (long long)step);
    return step >= 0 && path_join(path, r->path, name) ? step : -1;
}

int run_n_checkpoints(const struct run *r)
{
    int n;
    free(steps_read(r, &n));
    return n;
}

void run_prune(const struct run *r, int64_t keep)
{
    char best[FILE_PATH_MAX], path[FILE_PATH_MAX], name[64];
    ssize_t length = path_join(path, r->path, "best") ? readlink(path, best, sizeof(best) - 1) : -1;
    best[length > 0 ? length : 0] = 0;
    int n;
    int64_t *steps = steps_read(r, &n);
    for (int i = 0; i < n - keep; i++) {
        snprintf(name, sizeof(name), "step-%lld", (long long)steps[i]);
        if (strcmp(name, best) != 0 && path_join(path, r->path, name) && !path_remove(path))
            log_warn("%s", error_text());
    }
    free(steps);
}

bool run_set_best(const struct run *r, int64_t step)
{
    char name[64];
    snprintf(name, sizeof(name), "step-%lld", (long long)step);
    return link_set(r, "best", name);
}

/* Copies the lines up to `step`; a line torn by a crash is dropped too. */
static bool log_rewrite(const char *path, int64_t step)
{
    size_t size;
    char *bytes = file_read(path, &size);
    struct file_writer w;
    if (!bytes)
        return false;
    bool ok = file_create(&w, path);
    for (char *line = bytes, *end; ok && (end = strchr(line, '\n')); line = end + 1) {
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        const json_t *at = json_object_get(object, "step");
        if (object && (!at || json_integer_value(at) <= step))
            fprintf(w.file, "%.*s\n", (int)(end - line), line);
        json_decref(object);
    }
    free(bytes);
    ok = ok && file_commit(&w);
    return ok;
}

bool run_open_log(struct run *r, int64_t step)
{
    char path[FILE_PATH_MAX];
    if (!path_join(path, r->path, "log.ndjson"))
        return false;
    if (path_exists(path) && !log_rewrite(path, step))
        return false;
    r->log = fopen(path, "ae");
    return r->log || error_set("%s: %s", path, strerror(errno));
}

bool run_log(struct run *r, json_t *line)
{
    bool ok = line && json_dumpf(line, r->log, JSON_COMPACT | JSON_REAL_PRECISION(7)) == 0 &&
              fputc('\n', r->log) != EOF && fflush(r->log) == 0;
    json_decref(line);
    return ok || error_set("%s/log.ndjson: %s", r->path, strerror(errno));
}
