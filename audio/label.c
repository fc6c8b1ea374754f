/* Folder names as labels. */
#include "audio/dataset_impl.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool copy_names(struct dataset *d, const char *const *names, int64_t n)
{
    if (!(d->labels = calloc((size_t)n + 1, sizeof *d->labels)))
        return error_set("out of memory for the labels");
    for (int64_t i = 0; i < n; i++) {
        if (i > 0 && names != d->options.label_names && strcmp(names[i], names[i - 1]) == 0)
            continue;
        if (!(d->labels[d->n_labels++] = strdup(names[i])))
            return error_set("out of memory for the labels");
    }
    return true;
}

/* Names of the train folder where it was read (what became valid by content counts), else of
   everything. */
static bool find_names(struct dataset *d)
{
    const char **names = calloc((size_t)d->walk.n + 1, sizeof *names);
    bool has_train = false;
    int64_t n = 0;
    if (!names)
        return error_set("out of memory for the labels");
    for (int64_t i = 0; i < d->walk.n; i++)
        has_train |= d->scanned[i].usable && d->scanned[i].folder == SPLIT_TRAIN;
    for (int64_t i = 0; i < d->walk.n; i++) {
        const struct scanned *f = &d->scanned[i];
        if (f->usable && f->parent && (!has_train || f->folder == SPLIT_TRAIN))
            names[n++] = f->parent;
    }
    qsort(names, (size_t)n, sizeof *names, compare_names);
    bool ok = copy_names(d, names, n);
    free(names);
    return ok;
}

bool dataset_make_labels(struct dataset *d)
{
    if (d->options.labels == LABELS_NONE)
        return true;
    bool ok = d->options.label_names
                  ? copy_names(d, d->options.label_names, d->options.n_label_names)
                  : find_names(d);
    for (int64_t i = 0; ok && i < d->n_entries; i++) {
        struct entry *e = &d->entries[i];
        const char *parent = d->scanned[e->scanned].parent;
        if (i > 0 && e->scanned == e[-1].scanned)
            e->file.label = e[-1].file.label;
        for (int l = 0; parent && e->file.label == NO_LABEL && l < d->n_labels; l++)
            if (strcmp(parent, d->labels[l]) == 0)
                e->file.label = l;
    }
    return ok;
}
