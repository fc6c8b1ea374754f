/* Samples and codes of single files and windows. */
#include "audio/dataset_impl.h"

#include <assert.h>
#include <string.h>

enum { BLOCK = 4096 };

int64_t find_item(const int64_t *ends, int64_t n, int64_t at)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (ends[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool entry_read_floats(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                       float *x)
{
    int64_t before = from < 0 ? -from : 0;
    int64_t end = from + n < e->file.n_samples ? from + n : e->file.n_samples;
    before = before < n ? before : n;
    int64_t inside = end - (from + before);
    inside = inside > 0 ? inside : 0;
    memset(x, 0, sizeof *x * (size_t)before);
    memset(x + before + inside, 0, sizeof *x * (size_t)(n - before - inside));
    if (inside == 0)
        return true;
    int64_t at = e->file.start + from + before;
    if (!store_read(&d->store, d->scanned[e->scanned].offset + (int64_t)sizeof *x * at, x + before,
                    (int64_t)sizeof *x * inside))
        return false;
    for (int64_t i = before; i < before + inside; i++)
        x[i] /= e->divisor;
    return true;
}

bool entry_read_codes(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                      uint8_t *codes)
{
    return store_read(&d->store, d->scanned[e->scanned].offset + e->file.start + from, codes, n);
}

static bool find_range(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                       float *min, float *max)
{
    float x[BLOCK];
    for (int64_t done = 0; done < n; done += BLOCK) {
        int64_t part = n - done < BLOCK ? n - done : BLOCK;
        if (!entry_read_floats(d, e, from + done, part, x))
            return false;
        if (done == 0)
            *min = *max = x[0];
        normalize_range(min, max, x, part);
    }
    return true;
}

bool dataset_find_ranges(struct dataset *d)
{
    for (int64_t i = 0; i < d->n_entries; i++) {
        struct entry *e = &d->entries[i];
        if (!find_range(d, e, 0, e->file.n_samples, &e->min, &e->max))
            return false;
    }
    return true;
}

/* Codes of a part of an entry; minmax stretches [min, max]. */
static bool make_codes(const struct dataset *d, const struct entry *e, int64_t from, int64_t n,
                       float min, float max, uint8_t *codes)
{
    float x[BLOCK];
    if (!d->floats)
        return entry_read_codes(d, e, from, n, codes);
    for (int64_t done = 0; done < n; done += BLOCK) {
        int64_t part = n - done < BLOCK ? n - done : BLOCK;
        if (!entry_read_floats(d, e, from + done, part, x))
            return false;
        if (d->options.normalize == NORMALIZE_MINMAX)
            normalize_to_range(x, part, min, max);
        encoder_encode(&d->encoder, codes + done, x, part);
    }
    return true;
}

bool entry_clip(const struct dataset *d, const struct entry *e, int64_t from, uint8_t *codes,
                uint8_t *mask)
{
    int64_t samples = d->options.clip_samples, n = e->file.n_samples - from;
    float min = 0, max = 0;
    n = n < samples ? n : samples;
    memset(codes + n, START_CODE, (size_t)(samples - n));
    memset(mask, 1, (size_t)n);
    memset(mask + n, 0, (size_t)(samples - n));
    if (d->options.normalize == NORMALIZE_MINMAX && !find_range(d, e, from, n, &min, &max))
        return false;
    return make_codes(d, e, from, n, min, max, codes);
}

bool dataset_item_codes(const struct dataset *d, enum split split, int64_t i, int64_t from,
                        int64_t n, uint8_t *codes)
{
    assert(i >= 0 && i < d->n_items[split]);
    const struct entry *e = dataset_entry(d, split, i);
    assert(from >= 0 && n >= 0 && n <= e->file.n_samples - from);
    return make_codes(d, e, from, n, e->min, e->max, codes);
}

int64_t dataset_n_windows(const struct dataset *d, enum split split)
{
    return d->n_items[split] ? d->windows[split][d->n_items[split] - 1] : 0;
}

bool dataset_window(const struct dataset *d, enum split split, int64_t i, uint8_t *codes,
                    uint8_t *mask, int32_t *label)
{
    assert(i >= 0 && i < dataset_n_windows(d, split));
    int64_t item = find_item(d->windows[split], d->n_items[split], i);
    int64_t first = item > 0 ? d->windows[split][item - 1] : 0;
    const struct entry *e = dataset_entry(d, split, item);
    *label = e->file.label;
    return entry_clip(d, e, (i - first) * d->options.clip_samples, codes, mask);
}
