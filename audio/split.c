/* Which file is in which split: first by its folder, then, where valid/ is missing, by its content
   or its time. */
#include "audio/dataset_impl.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 5 %: one file in 20 by content; of fewer files the last 20th of each one's time. */
enum { VALID_PART = 20 };

/* The split a top-level folder is named after; SPLITS: none. */
static enum split folder_split(const char *name, size_t length)
{
    for (enum split s = SPLIT_TRAIN; s <= SPLIT_TEST; s++)
        if (strlen(split_name(s)) == length && memcmp(split_name(s), name, length) == 0)
            return s;
    return SPLITS;
}

/* Is a split's folder read at all? train/ also to find valid in it. */
static bool reads_folder(const struct dataset *d, enum split s)
{
    return dataset_wants(d, SPLIT_ALL) || dataset_wants(d, s) ||
           (s == SPLIT_TRAIN && d->valid_from_train);
}

static bool enter_folder(void *arg, const char *name)
{
    enum split s = folder_split(name, strlen(name));
    return reads_folder(arg, s == SPLITS ? SPLIT_TRAIN : s);
}

/* The immediate parent folder of a file, as a label; *out stays NULL where there is none. */
static bool find_parent(const struct dataset *d, char **out, const struct walk_file *f)
{
    /* A single file has a label only to be looked up in a model's list. */
    const char *name = d->is_file && d->options.label_names ? f->path : f->name;
    const char *slash = strrchr(name, '/'), *start = slash;
    if (!slash)
        return true;
    while (start > name && start[-1] != '/')
        start--;
    if (!d->is_file && start == name && folder_split(name, (size_t)(slash - name)) != SPLITS)
        return true;
    *out = strndup(start, (size_t)(slash - start));
    return *out != NULL || error_set("out of memory for the labels");
}

bool dataset_sort_folders(struct dataset *d)
{
    if (!walk_folder(&d->walk, d->path, enter_folder, d))
        return false;
    if (!(d->scanned = calloc((size_t)d->walk.n + 1, sizeof *d->scanned)))
        return error_set("out of memory for %lld files", (long long)d->walk.n);
    for (int64_t i = 0; i < d->walk.n; i++) {
        const struct walk_file *w = &d->walk.files[i];
        struct scanned *f = &d->scanned[i];
        const char *slash = strchr(w->name, '/');
        enum split s = slash ? folder_split(w->name, (size_t)(slash - w->name)) : SPLITS;
        f->folder = dataset_wants(d, SPLIT_ALL) ? SPLIT_ALL : s == SPLITS ? SPLIT_TRAIN : s;
        if (w->why)
            snprintf(f->why, sizeof f->why, "%s", w->why);
        else if (f->folder == SPLIT_TRAIN && s == SPLITS && d->has[SPLIT_TRAIN])
            snprintf(f->why, sizeof f->why, "lies outside train/, valid/ and test/");
        else
            f->wanted = reads_folder(d, f->folder);
        if (d->options.labels == LABELS_FOLDERS && !find_parent(d, &f->parent, w))
            return false;
    }
    return true;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The largest hash that makes a train file a valid one. */
static bool find_hash_limit(const struct dataset *d, uint64_t *limit, int64_t n_train)
{
    uint64_t *hashes = malloc(sizeof *hashes * (size_t)n_train);
    int64_t n = 0;
    if (!hashes)
        return error_set("out of memory for %lld files", (long long)n_train);
    for (int64_t i = 0; i < d->walk.n; i++)
        if (d->scanned[i].usable && d->scanned[i].folder == SPLIT_TRAIN)
            hashes[n++] = d->scanned[i].hash;
    qsort(hashes, (size_t)n, sizeof *hashes, compare_hashes);
    *limit = hashes[n / VALID_PART - 1];
    free(hashes);
    return true;
}

static enum fate clip_fate(const struct dataset_options *o, enum split split, int64_t n)
{
    if (split == SPLIT_TEST || split == SPLIT_ALL) /* read whole */
        return FATE_KEPT;
    if (n < o->clip_samples)
        return FATE_PADDED;
    return o->clip_mode == CLIP_WHOLE && n > o->clip_samples ? FATE_CUT : FATE_KEPT;
}

/* Adds samples [start, start + n) of a file to the index; n = 0: it is skipped. */
static void add_entry(struct dataset *d, int64_t scanned, enum split split, int64_t start,
                      int64_t n)
{
    const struct scanned *f = &d->scanned[scanned];
    struct entry *e = &d->entries[d->n_entries++];
    *e = (struct entry){.scanned = scanned, .divisor = 1};
    e->file = (struct dataset_file){
        .path = d->walk.files[scanned].path,
        .name = d->walk.files[scanned].name,
        .split = split,
        .label = NO_LABEL,
        .fate = n > 0 ? clip_fate(&d->options, split, n) : FATE_SKIPPED,
        .why = f->why,
        .rate = f->rate,
        .channels = f->channels,
        .start = start,
        .n_samples = n,
        .dur_s = (double)n / d->options.rate,
        .peak = f->peak,
    };
    if (d->options.normalize == NORMALIZE_PEAK)
        e->divisor = normalize_divisor(f->peak);
}

static void add_entries_of(struct dataset *d, int64_t i, bool by_time, uint64_t hash_limit)
{
    const struct scanned *f = &d->scanned[i];
    int64_t n = f->n_samples, n_valid = n / VALID_PART;
    if (!f->usable) {
        add_entry(d, i, f->folder, 0, 0);
    } else if (f->folder != SPLIT_TRAIN || !d->valid_from_train) {
        add_entry(d, i, f->folder, 0, n);
    } else if (by_time) {
        if (dataset_wants(d, SPLIT_TRAIN))
            add_entry(d, i, SPLIT_TRAIN, 0, n - n_valid);
        if (n_valid > 0)
            add_entry(d, i, SPLIT_VALID, n - n_valid, n_valid);
    } else if (f->hash <= hash_limit) {
        add_entry(d, i, SPLIT_VALID, 0, n);
    } else if (dataset_wants(d, SPLIT_TRAIN)) {
        add_entry(d, i, SPLIT_TRAIN, 0, n);
    }
}

static bool make_items(struct dataset *d, enum split s)
{
    size_t size = (size_t)d->n_entries + 1;
    int64_t samples = 0, windows = 0, n = 0, clip = d->options.clip_samples;
    d->items[s] = malloc(sizeof *d->items[s] * size);
    d->ends[s] = malloc(sizeof *d->ends[s] * size);
    d->windows[s] = malloc(sizeof *d->windows[s] * size);
    if (!d->items[s] || !d->ends[s] || !d->windows[s])
        return error_set("out of memory for %lld files", (long long)d->n_entries);
    for (int64_t i = 0; i < d->n_entries; i++) {
        const struct dataset_file *f = &d->entries[i].file;
        if (f->split != s || f->fate == FATE_SKIPPED)
            continue;
        samples += f->n_samples;
        windows += d->options.clip_mode == CLIP_CROP ? (f->n_samples + clip - 1) / clip : 1;
        d->items[s][n] = i;
        d->ends[s][n] = samples;
        d->windows[s][n++] = windows;
    }
    d->n_items[s] = n;
    return true;
}

/* A split that was asked for is empty: what is needed? */
static bool explain_empty(const struct dataset *d, enum split s)
{
    int64_t n_found = 0, first = -1;
    bool from_train = s == SPLIT_VALID && d->valid_from_train;
    const char *slash = d->path[strlen(d->path) - 1] == '/' ? "" : "/";
    for (int64_t i = d->walk.n - 1; i >= 0; i--)
        if (d->scanned[i].folder == (from_train ? SPLIT_TRAIN : s)) {
            n_found++;
            if (!d->scanned[i].usable)
                first = i;
        }
    if (d->is_file && first >= 0)
        return error_set("%s: %s", d->path, d->scanned[first].why);
    if (n_found == 0 && d->has[s] && s != SPLIT_ALL)
        return error_set("%s%s%s/: the folder is empty: put recordings there (wav, flac, ogg, "
                         "mp3, ...)",
                         d->path, slash, split_name(s));
    if (n_found == 0)
        return error_set("%s: no recordings found%s: name a folder with sound files (wav, flac, "
                         "ogg, mp3, ...)",
                         d->path, s == SPLIT_TRAIN ? " to train on" : "");
    if (s == SPLIT_TRAIN && d->n_items[SPLIT_VALID] > 0)
        return error_set("%s: every recording has the same content: add others, or a valid/ folder",
                         d->path);
    if (first < 0 || from_train)
        return error_set("%s: too little sound to set 5 %% aside for validation: add a valid/ "
                         "folder, or longer recordings",
                         d->path);
    return error_set("%s: nothing usable for %s in %lld files; the first, %s: %s", d->path,
                     split_name(s), (long long)n_found, d->walk.files[first].name,
                     d->scanned[first].why);
}

bool dataset_make_entries(struct dataset *d)
{
    int64_t n_train = 0;
    uint64_t limit = 0;
    for (int64_t i = 0; i < d->walk.n; i++)
        n_train += d->scanned[i].usable && d->scanned[i].folder == SPLIT_TRAIN;
    bool by_time = d->is_file || n_train < VALID_PART;
    if (d->valid_from_train && !by_time && !find_hash_limit(d, &limit, n_train))
        return false;
    if (!(d->entries = calloc(2 * (size_t)d->walk.n + 1, sizeof *d->entries)))
        return error_set("out of memory for %lld files", (long long)d->walk.n);
    for (int64_t i = 0; i < d->walk.n; i++)
        add_entries_of(d, i, by_time, limit);
    for (enum split s = 0; s < SPLITS; s++)
        if (!make_items(d, s))
            return false;
    for (enum split s = 0; s < SPLITS; s++)
        if (dataset_wants(d, s) && d->n_items[s] == 0)
            return explain_empty(d, s);
    return true;
}
