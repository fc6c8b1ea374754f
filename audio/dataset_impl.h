/*
 * The inside of a data set, shared by the files that build it (dataset.c, scan.c, split.c) and read
 * it (item.c, clip.c). Nobody else includes this.
 */
#ifndef HISS_AUDIO_DATASET_IMPL_H
#define HISS_AUDIO_DATASET_IMPL_H

#include "audio/dataset.h"
#include "audio/encode.h"
#include "audio/store.h"
#include "audio/walk.h"

/* What decoding a file told; filled by one thread of the scan each. */
struct scanned {
    enum split folder; /* the split by its top-level folder */
    bool wanted;       /* to be decoded */
    bool usable;
    char *parent; /* label: the immediate parent folder; NULL: none */
    int rate, channels;
    int64_t n_samples; /* at the data set's rate */
    float peak;
    int64_t offset; /* bytes, in the store */
    uint64_t hash;  /* of the file's bytes, where asked for */
    char why[256];
};

/* One line of the index and what reading it needs. */
struct entry {
    struct dataset_file file;
    int64_t scanned; /* which */
    float divisor;   /* of the peak rule; 1 otherwise */
    float min, max;  /* of the part, for minmax */
};

enum { START_CODE = 128 }; /* also what pads a clip */

struct dataset {
    struct dataset_options options;
    char *path;
    char *cache_folder; /* the options' strings, copied */
    bool is_file;       /* DATA is a single file */
    bool floats;        /* the store holds floats as read; else finished codes */
    bool has[SPLITS];   /* top-level folders found */
    bool valid_from_train;
    struct walk walk;
    struct scanned *scanned; /* (walk.n) */
    struct entry *entries;   /* (n_entries) */
    int64_t n_entries;
    int64_t *items[SPLITS]; /* (n_items) entries used */
    int64_t n_items[SPLITS];
    int64_t *ends[SPLITS];    /* (n_items) samples up to and with an item: train's crops */
    int64_t *windows[SPLITS]; /* (n_items) windows up to and with an item */
    char **labels;
    int n_labels;
    struct store store;
    struct encoder encoder;
};

static inline bool dataset_wants(const struct dataset *d, enum split split)
{
    return d->options.splits >> split & 1;
}

/* scan.c: decodes what is wanted, into the store and d->scanned. */
bool dataset_scan(struct dataset *d);

/* split.c: which files are in which split, by folder; then entries and items from what was found.
 */
bool dataset_sort_folders(struct dataset *d);
bool dataset_make_entries(struct dataset *d);

/* label.c: names, and each entry's label. */
bool dataset_make_labels(struct dataset *d);

/* item.c: samples [from, from + n) of an entry as floats, by the peak rule but not by minmax; parts
   outside the entry are 0. Only where the store holds floats. */
bool entry_read_floats(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                       float *x);

/* Finished codes of [from, from + n), inside the entry, where the store holds codes. */
bool entry_read_codes(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                      uint8_t *codes);

/* One clip of an entry by the clip rule, without augmentation; mask is 0 on padding. */
bool entry_clip(const struct dataset *d, const struct entry *e, int64_t from, uint8_t *codes,
                uint8_t *mask);

/* min and max of every entry, for minmax over whole items. */
bool dataset_find_ranges(struct dataset *d);

/* The item (of `ends` or `windows`) that holds position `at`. */
int64_t find_item(const int64_t *ends, int64_t n, int64_t at);

static inline const struct entry *dataset_entry(const struct dataset *d, enum split split,
                                                int64_t i)
{
    return &d->entries[d->items[split][i]];
}

#endif
