#define _GNU_SOURCE
#include "app/find.h"

#include "base/error.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES_MAX = 3, NAMES_MAX = 256 };

static int places(const char *place[PLACES_MAX])
{
    int n = 0;
    const char *own = getenv("HISS_PRESETS");
    if (own && *own)
        place[n++] = own;
    place[n++] = HISS_SOURCE_PRESETS;
    place[n++] = HISS_INSTALLED_PRESETS;
    return n;
}

bool name_is_bundled(const char *name)
{
    return *name && !strchr(name, '/') && !strchr(name, '.');
}

bool find_bundled(char path[FILE_PATH_MAX], const char *name, const char *suffix)
{
    const char *place[PLACES_MAX];
    int n = places(place);
    for (int i = 0; i < n; i++) {
        int length = snprintf(path, FILE_PATH_MAX, "%s/%s%s", place[i], name, suffix);
        if (length < FILE_PATH_MAX && path_exists(path))
            return true;
    }
    return false;
}

struct name_list {
    size_t used;
    char text[600];
};

static void name_add(void *arg, const char *name, const char *path)
{
    (void)path;
    struct name_list *list = arg;
    size_t room = sizeof(list->text) - list->used;
    int length = snprintf(list->text + list->used, room, "%s%s", list->used ? ", " : "", name);
    if ((size_t)length < room)
        list->used += (size_t)length;
    else
        list->text[list->used] = 0;
}

/* " (for the file here write ./NAME)", or nothing. */
static const char *hint_format(char hint[FILE_PATH_MAX], const char *name, const char *suffix)
{
    const char *const suffixes[] = {"", suffix};
    for (int i = 0; i < 2; i++) {
        int length = snprintf(hint, FILE_PATH_MAX, "./%s%s", name, suffixes[i]);
        if (length >= FILE_PATH_MAX || !path_exists(hint))
            continue;
        snprintf(hint, FILE_PATH_MAX, " (for the file here write ./%.1000s%s)", name, suffixes[i]);
        return hint;
    }
    return "";
}

static bool find_file(char path[FILE_PATH_MAX], const char *name, const char *suffix,
                      const char *what)
{
    if (name_is_bundled(name)) {
        if (find_bundled(path, name, suffix))
            return true;
        struct name_list list = {0};
        if (!find_all(suffix, name_add, &list))
            return false;
        return error_set("there is no bundled %s %s%s; %s%s", what, name,
                         hint_format(path, name, suffix),
                         list.used ? "bundled are " : "none are bundled", list.text);
    }
    if (snprintf(path, FILE_PATH_MAX, "%s", name) >= FILE_PATH_MAX)
        return error_set("the path of the %s is longer than %d bytes", what, FILE_PATH_MAX - 1);
    if (!path_exists(path))
        return error_set("%s: there is no such file", name);
    return true;
}

bool find_model(char path[FILE_PATH_MAX], const char *name)
{
    return find_file(path, name ? name : DEFAULT_MODEL, ".safetensors", "model");
}

bool find_preset(char path[FILE_PATH_MAX], const char *name)
{
    return find_file(path, name ? name : DEFAULT_PRESET, ".ini", "preset");
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds the names in one folder that end in suffix and are not there yet. */
static bool names_read(char *names[NAMES_MAX], int *n, const char *folder, const char *suffix)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return true; /* not installed, say */
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name), tail = strlen(suffix);
        if (length <= tail || entry->d_name[0] == '.' ||
            strcmp(entry->d_name + length - tail, suffix) != 0 || *n == NAMES_MAX)
            continue;
        char *name = strndup(entry->d_name, length - tail);
        ok = name || error_set("out of memory");
        bool known = ok && !name_is_bundled(name); /* a name with a dot could not be asked for */
        for (int i = 0; ok && i < *n; i++)
            known |= strcmp(names[i], name) == 0;
        if (ok && !known)
            names[(*n)++] = name;
        else
            free(name);
    }
    closedir(dir);
    return ok;
}

bool find_all(const char *suffix, void (*visit)(void *arg, const char *name, const char *path),
              void *arg)
{
    char *names[NAMES_MAX];
    const char *place[PLACES_MAX];
    int n = 0, n_places = places(place);
    bool ok = true;
    for (int i = 0; i < n_places && ok; i++)
        ok = names_read(names, &n, place[i], suffix);
    qsort(names, (size_t)n, sizeof(names[0]), by_text);
    for (int i = 0; i < n; i++) {
        char path[FILE_PATH_MAX];
        if (ok && find_bundled(path, names[i], suffix))
            visit(arg, names[i], path);
        free(names[i]);
    }
    return ok;
}
