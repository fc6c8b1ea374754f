/*
 * Every file below a folder, in bytewise order. Of use to the data set and to what reads a folder
 * as it is.
 */
#ifndef HISS_AUDIO_WALK_H
#define HISS_AUDIO_WALK_H

#include <stdbool.h>
#include <stdint.h>

struct walk_file {
    char *path;       /* can be opened */
    const char *name; /* points into path: the part below the folder walked */
    char *why;        /* NULL, or why there is nothing to open: a folder that cannot be read, ... */
};

struct walk {
    struct walk_file *files; /* (n) */
    int64_t n;
};

/* Lists a folder, or a single file. Hidden names are left out; links are followed, but no folder is
   read twice. `enter` decides about each folder in the top level (NULL: all). False with error_text
   if `path` is not there or memory ran out. */
bool walk_folder(struct walk *w, const char *path, bool (*enter)(void *arg, const char *name),
                 void *arg);
void walk_free(struct walk *w); /* a zeroed walk is fine */

#endif
