#include "audio/dataset.h"

#include "audio/dataset_impl.h"
#include "base/error.h"
#include "base/file.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const split_names[SPLITS] = {"train", "valid", "test", "all"};
static const char *const label_mode_names[] = {"none", "folders"};
static const char *const fate_names[] = {"kept", "padded", "cut", "skipped"};

const char *split_name(enum split split)
{
    return split_names[split];
}

const char *label_mode_name(enum label_mode mode)
{
    return label_mode_names[mode];
}

const char *fate_name(enum fate fate)
{
    return fate_names[fate];
}

bool label_mode_from_name(enum label_mode *mode, const char *name)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(label_mode_names[i], name) == 0) {
            *mode = (enum label_mode)i;
            return true;
        }
    return false;
}

void dataset_options_init(struct dataset_options *o)
{
    *o = (struct dataset_options){
        .rate = 16000,
        .quantizer = QUANTIZER_MU_LAW_256,
        .normalize = NORMALIZE_PEAK,
        .clip_mode = CLIP_CROP,
        .clip_samples = 16000,
        .pad_loss = true,
        .splits = 1u << SPLIT_TRAIN | 1u << SPLIT_VALID,
        .labels = LABELS_NONE,
        .label_dropout = 0.1f,
        .cache_bytes = (int64_t)1 << 30,
        .n_threads = thread_count_available(),
    };
}

/* What kind of data is this, and does it have what was asked for? */
static bool look(struct dataset *d)
{
    struct stat st;
    char folder[FILE_PATH_MAX];
    if (stat(d->path, &st) != 0)
        return error_set("%s: cannot open the data: %s", d->path, strerror(errno));
    d->is_file = !S_ISDIR(st.st_mode);
    for (enum split s = SPLIT_TRAIN; s <= SPLIT_TEST && !d->is_file; s++) {
        if (!path_join(folder, d->path, split_name(s)))
            return false;
        d->has[s] = path_is_folder(folder);
    }
    if (dataset_wants(d, SPLIT_TEST) && !d->has[SPLIT_TEST])
        return error_set("%s: has no folder named test: make one, or name the folder to read",
                         d->path);
    d->valid_from_train = dataset_wants(d, SPLIT_VALID) && !d->has[SPLIT_VALID];
    return true;
}

struct dataset *dataset_open(const char *path, const struct dataset_options *o)
{
    assert(o->rate > 0 && o->clip_samples > 0 && o->splits != 0);
    assert(!(o->splits >> SPLIT_ALL & 1) || o->splits == 1u << SPLIT_ALL);
    struct dataset *d = calloc(1, sizeof *d);
    if (!d) {
        error_set("%s: out of memory", path);
        return NULL;
    }
    d->options = *o;
    d->floats = o->normalize == NORMALIZE_MINMAX || o->speed > 0 || o->gain_db > 0;
    d->path = strdup(path);
    d->cache_folder = o->cache_folder ? strdup(o->cache_folder) : NULL;
    d->options.cache_folder = d->cache_folder;
    store_open(&d->store, o->cache_bytes, d->cache_folder);
    encoder_init(&d->encoder, o->quantizer);
    if (!d->path || (o->cache_folder && !d->cache_folder)) {
        error_set("%s: out of memory", path);
        goto fail;
    }
    if (!look(d) || !dataset_sort_folders(d) || !dataset_scan(d) || !dataset_make_entries(d) ||
        !dataset_make_labels(d))
        goto fail;
    if (o->normalize == NORMALIZE_MINMAX && !dataset_find_ranges(d))
        goto fail;
    d->options.label_names = (const char *const *)d->labels;
    d->options.n_label_names = d->n_labels;
    return d;
fail:
    dataset_close(d);
    return NULL;
}

void dataset_close(struct dataset *d)
{
    if (!d)
        return;
    for (int64_t i = 0; d->scanned && i < d->walk.n; i++)
        free(d->scanned[i].parent);
    for (int i = 0; i < d->n_labels; i++)
        free(d->labels[i]);
    for (int s = 0; s < SPLITS; s++) {
        free(d->items[s]);
        free(d->ends[s]);
        free(d->windows[s]);
    }
    store_close(&d->store);
    free(d->labels);
    free(d->entries);
    free(d->scanned);
    walk_free(&d->walk);
    free(d->cache_folder);
    free(d->path);
    free(d);
}

const struct dataset_options *dataset_options(const struct dataset *d)
{
    return &d->options;
}

int64_t dataset_n_files(const struct dataset *d)
{
    return d->n_entries;
}

const struct dataset_file *dataset_file(const struct dataset *d, int64_t i)
{
    assert(i >= 0 && i < d->n_entries);
    return &d->entries[i].file;
}

struct dataset_counts dataset_counts(const struct dataset *d, enum split split)
{
    struct dataset_counts c = {0};
    for (int64_t i = 0; i < d->n_entries; i++) {
        const struct dataset_file *f = &d->entries[i].file;
        if (f->split != split)
            continue;
        c.n_skipped += f->fate == FATE_SKIPPED;
        c.n_padded += f->fate == FATE_PADDED;
        c.n_cut += f->fate == FATE_CUT;
        if (f->fate == FATE_SKIPPED)
            continue;
        c.n_used++;
        c.n_samples += f->n_samples;
        c.n_told += f->why[0] != 0;
    }
    c.dur_s = (double)c.n_samples / d->options.rate;
    return c;
}

bool dataset_in_memory(const struct dataset *d)
{
    return d->store.fd < 0;
}

int64_t dataset_bytes(const struct dataset *d)
{
    return d->store.used;
}

int dataset_n_labels(const struct dataset *d)
{
    return d->n_labels;
}

const char *dataset_label(const struct dataset *d, int i)
{
    assert(i >= 0 && i < d->n_labels);
    return d->labels[i];
}

int64_t dataset_n_items(const struct dataset *d, enum split split)
{
    return d->n_items[split];
}

const struct dataset_file *dataset_item(const struct dataset *d, enum split split, int64_t i)
{
    assert(i >= 0 && i < d->n_items[split]);
    return &dataset_entry(d, split, i)->file;
}
