#include "audio/walk.h"

#include "base/error.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct seen {
    dev_t device;
    ino_t inode;
};

struct walker {
    struct walk *out;
    int64_t size;       /* allocated in out->files */
    size_t root_length; /* of the folder's path, with its slash */
    struct seen *seen;  /* (n_seen) folders read so far */
    int64_t n_seen;
    bool (*enter)(void *arg, const char *name);
    void *arg;
};

static bool out_of_memory(void)
{
    return error_set("out of memory while listing the data");
}

/* Takes `path` over. */
static bool add_file(struct walker *w, char *path, const char *why)
{
    if (w->out->n == w->size) {
        int64_t size = w->size ? 2 * w->size : 256;
        struct walk_file *grown = realloc(w->out->files, sizeof *grown * (size_t)size);
        if (!grown) {
            free(path);
            return out_of_memory();
        }
        w->out->files = grown;
        w->size = size;
    }
    struct walk_file *f = &w->out->files[w->out->n++];
    *f = (struct walk_file){.path = path, .name = path + w->root_length};
    if (why && !(f->why = strdup(why)))
        return out_of_memory();
    return true;
}

/* Is this folder new? It is noted. -1: out of memory. */
static int see_folder(struct walker *w, const struct stat *st)
{
    for (int64_t i = 0; i < w->n_seen; i++)
        if (w->seen[i].device == st->st_dev && w->seen[i].inode == st->st_ino)
            return 0;
    struct seen *grown = realloc(w->seen, sizeof *grown * (size_t)(w->n_seen + 1));
    if (!grown)
        return -1;
    w->seen = grown;
    w->seen[w->n_seen++] = (struct seen){st->st_dev, st->st_ino};
    return 1;
}

static int is_visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static char *join(const char *folder, const char *name)
{
    size_t length = strlen(folder), size = length + strlen(name) + 2;
    const char *slash = length && folder[length - 1] == '/' ? "" : "/";
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s%s%s", folder, slash, name);
    else
        out_of_memory();
    return path;
}

static bool walk_entries(struct walker *w, const char *folder, int depth);

/* `is_new`: what see_folder said, if this is a folder. */
static bool walk_entry(struct walker *w, const char *folder, const char *name, int depth,
                       int is_new)
{
    struct stat st;
    char *path = join(folder, name);
    if (!path)
        return false;
    if (strlen(path) >= FILE_PATH_MAX)
        return add_file(w, path, "the path is too long");
    if (stat(path, &st) != 0)
        return add_file(w, path, errno == ENOENT ? "a link to nothing" : strerror(errno));
    if (S_ISREG(st.st_mode))
        return add_file(w, path, NULL);
    if (!S_ISDIR(st.st_mode))
        return add_file(w, path, "not a regular file");
    bool ok = true;
    if (depth > 0 || !w->enter || w->enter(w->arg, name)) {
        if (is_new == 0)
            return add_file(w, path, "a link to a folder that has its own place in the list");
        ok = is_new > 0 ? walk_entries(w, path, depth + 1) : out_of_memory();
    }
    free(path);
    return ok;
}

/* Notes an entry if it is a folder, and a link or not as asked. */
static bool note_folder(struct walker *w, int *is_new, bool link, const char *folder,
                        const char *name)
{
    struct stat st, self;
    char *path = join(folder, name);
    if (path && lstat(path, &self) == 0 && S_ISLNK(self.st_mode) == link && stat(path, &st) == 0 &&
        S_ISDIR(st.st_mode))
        *is_new = see_folder(w, &st);
    free(path);
    return path != NULL;
}

static bool walk_entries(struct walker *w, const char *folder, int depth)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_visible, compare_names);
    if (n < 0) {
        if (depth == 0)
            return error_set("%s: cannot read the folder: %s", folder, strerror(errno));
        char *path = strdup(folder), why[128];
        snprintf(why, sizeof why, "cannot read the folder: %s", strerror(errno));
        return path ? add_file(w, path, why) : out_of_memory();
    }
    /* All folders of a level are noted before any is read, those that are no links first: a link
       from train/ to test/ must not bring test/ into train, nor rename a folder beside it. */
    bool ok = true;
    int *is_new = calloc((size_t)n + 1, sizeof *is_new);
    if (!is_new)
        ok = out_of_memory();
    for (int link = 0; link < 2; link++)
        for (int i = 0; ok && i < n; i++)
            ok = note_folder(w, &is_new[i], link, folder, entries[i]->d_name);
    for (int i = 0; i < n; i++) {
        ok = ok && walk_entry(w, folder, entries[i]->d_name, depth, is_new[i]);
        free(entries[i]);
    }
    free(entries);
    free(is_new);
    return ok;
}

bool walk_folder(struct walk *out, const char *path, bool (*enter)(void *arg, const char *name),
                 void *arg)
{
    struct walker w = {.out = out, .enter = enter, .arg = arg};
    struct stat st;
    bool ok;
    memset(out, 0, sizeof *out);
    if (stat(path, &st) != 0)
        return error_set("%s: cannot open the data: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        size_t length = strlen(path);
        w.root_length = length + (path[length - 1] != '/');
        ok = see_folder(&w, &st) > 0 ? walk_entries(&w, path, 0) : out_of_memory();
    } else {
        const char *slash = strrchr(path, '/');
        char *copy = strdup(path);
        w.root_length = slash ? (size_t)(slash + 1 - path) : 0;
        ok = copy ? add_file(&w, copy, S_ISREG(st.st_mode) ? NULL : "not a regular file")
                  : out_of_memory();
    }
    free(w.seen);
    if (!ok)
        walk_free(out);
    return ok;
}

void walk_free(struct walk *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        free(w->files[i].path);
        free(w->files[i].why);
    }
    free(w->files);
    memset(w, 0, sizeof *w);
}
