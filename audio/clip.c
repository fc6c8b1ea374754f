#include "audio/clip.h"

#include "audio/dataset_impl.h"
#include "audio/speed.h"
#include "base/error.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct clip_maker {
    const struct dataset *d;
    int64_t source_size;
    float *source; /* (source_size) what a clip is resampled from, margins included */
    float *x;      /* (clip_samples) */
    struct speed speed;
};

/* Words of the two sequences of a clip: (seed, index, stream 0, purpose). */
enum { WORD_LABEL, WORD_SPEED, WORD_GAIN };                    /* RANDOM_DATA_ORDER */
enum { WORD_PLACE, WORD_PLACE_LOW, WORD_FROM, WORD_FROM_LOW }; /* RANDOM_CROP */

/* The order of an epoch: (seed, epoch, stream 1 + half block, RANDOM_DATA_ORDER). */
enum { ORDER_STREAM = 1, ORDER_ROUNDS = 8 };

__extension__ typedef unsigned __int128 uint128;

/* Uniform in [0, n) from two words: the high half of the product; off by less than n / 2^64. */
static int64_t draw_below(int64_t n, uint64_t seed, uint64_t index, uint32_t high, uint32_t low)
{
    uint64_t r = (uint64_t)random_word(seed, index, 0, RANDOM_CROP, high) << 32 |
                 random_word(seed, index, 0, RANDOM_CROP, low);
    return (int64_t)((uint128)r * (uint64_t)n >> 64);
}

/* Position i of the order of an epoch: a Feistel network on the smallest even number of bits that
   holds n is a permutation; walking on until the result is below n makes it one of [0, n). */
static int64_t order_at(uint64_t seed, uint64_t epoch, int64_t n, int64_t i)
{
    int half = 1;
    while ((int64_t)1 << 2 * half < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1, at = (uint64_t)i;
    do {
        uint64_t left = at >> half, right = at & mask;
        for (uint32_t round = 0; round < ORDER_ROUNDS; round++) {
            uint64_t mixed = random_word(seed, epoch, ORDER_STREAM + (uint32_t)right,
                                         RANDOM_DATA_ORDER, 4 * round);
            uint64_t next = left ^ (mixed & mask);
            left = right;
            right = next;
        }
        at = left << half | right;
    } while (at >= (uint64_t)n);
    return (int64_t)at;
}

/* Samples of the file that a clip of full length needs. */
static int64_t source_samples(const struct dataset_options *o, float speed)
{
    return (int64_t)ceil((double)(o->clip_samples - 1) * (double)speed) + 1;
}

static float draw_uniform(const struct dataset_options *o, uint64_t index, uint32_t word)
{
    return random_uniform(random_word(o->seed, index, 0, RANDOM_DATA_ORDER, word));
}

struct clip_draw clip_draw(const struct dataset *d, uint64_t index)
{
    const struct dataset_options *o = &d->options;
    int64_t n_items = d->n_items[SPLIT_TRAIN];
    const int64_t *ends = d->ends[SPLIT_TRAIN];
    struct clip_draw c = {.speed = 1, .gain = 1};
    assert(n_items > 0);
    c.no_label = draw_uniform(o, index, WORD_LABEL) < o->label_dropout;
    if (o->speed > 0)
        c.speed = 1 + o->speed * (2 * draw_uniform(o, index, WORD_SPEED) - 1);
    if (o->gain_db > 0)
        c.gain = powf(10, -o->gain_db / 20 * draw_uniform(o, index, WORD_GAIN));
    if (o->clip_mode == CLIP_WHOLE) {
        c.item = order_at(o->seed, index / (uint64_t)n_items, n_items,
                          (int64_t)(index % (uint64_t)n_items));
        return c;
    }
    int64_t place = draw_below(ends[n_items - 1], o->seed, index, WORD_PLACE, WORD_PLACE_LOW);
    c.item = find_item(ends, n_items, place);
    int64_t n = dataset_entry(d, SPLIT_TRAIN, c.item)->file.n_samples;
    int64_t whole = o->carry > 1 ? o->carry * o->clip_samples : source_samples(o, c.speed);
    int64_t room = n - whole;
    if (room > 0)
        c.from = draw_below(room + 1, o->seed, index, WORD_FROM, WORD_FROM_LOW);
    return c;
}

struct clip_draw clip_draw_window(const struct dataset *d, uint64_t stay, int64_t window)
{
    const struct dataset_options *o = &d->options;
    const int64_t carry = o->carry > 1 ? o->carry : 1;
    assert(window < carry);
    for (int64_t first = 0;;) {
        struct clip_draw c = clip_draw(d, stay * (uint64_t)carry + (uint64_t)first);
        int64_t left = dataset_entry(d, SPLIT_TRAIN, c.item)->file.n_samples - c.from;
        int64_t windows = (left + o->clip_samples - 1) / o->clip_samples;
        if (carry == 1 || window - first < windows) {
            c.before = window - first;
            c.from += c.before * o->clip_samples;
            return c;
        }
        first += windows;
    }
}

uint64_t dataset_clips_per_epoch(const struct dataset *d)
{
    int64_t n = d->n_items[SPLIT_TRAIN], clip = d->options.clip_samples;
    if (n > 0 && d->options.clip_mode == CLIP_CROP)
        n = (d->ends[SPLIT_TRAIN][n - 1] + clip - 1) / clip;
    return n > 0 ? (uint64_t)n : 1;
}

struct clip_maker *clip_maker_open(const struct dataset *d)
{
    const struct dataset_options *o = &d->options;
    assert(o->speed >= 0 && 1 + o->speed <= SPEED_RATIO_MAX);
    assert(o->carry <= 1 ||
           (o->clip_mode == CLIP_CROP && o->speed == 0 && o->normalize != NORMALIZE_MINMAX));
    struct clip_maker *m = calloc(1, sizeof *m);
    if (!m)
        goto fail;
    m->d = d;
    m->source_size = source_samples(o, 1 + o->speed) + 2 * SPEED_MARGIN;
    if (d->floats) {
        m->source = malloc(sizeof *m->source * (size_t)m->source_size);
        m->x = malloc(sizeof *m->x * (size_t)o->clip_samples);
        if (!m->source || !m->x)
            goto fail;
    }
    return m;
fail:
    clip_maker_close(m);
    error_set("out of memory for clips of %lld samples", (long long)o->clip_samples);
    return NULL;
}

void clip_maker_close(struct clip_maker *m)
{
    if (!m)
        return;
    free(m->source);
    free(m->x);
    free(m);
}

/* Augmented sound of a clip into m->x; returns how many samples, -1 on error. */
static int64_t make_sound(struct clip_maker *m, const struct entry *e, const struct clip_draw *c)
{
    const struct dataset_options *o = &m->d->options;
    int64_t left = e->file.n_samples - c->from;
    int64_t n = (int64_t)((double)(left - 1) / (double)c->speed) + 1;
    n = n < o->clip_samples ? n : o->clip_samples;
    if (o->speed > 0) {
        int64_t need = source_samples(o, c->speed) + 2 * SPEED_MARGIN;
        need = need < m->source_size ? need : m->source_size;
        if (!entry_read_floats(m->d, e, c->from - SPEED_MARGIN, need, m->source))
            return -1;
        speed_init(&m->speed, c->speed);
        speed_run(&m->speed, m->x, m->source + SPEED_MARGIN, n);
    } else if (!entry_read_floats(m->d, e, c->from, n, m->x)) {
        return -1;
    }
    if (o->normalize == NORMALIZE_MINMAX)
        normalize_apply(NORMALIZE_MINMAX, m->x, n);
    for (int64_t i = 0; i < n; i++)
        m->x[i] *= c->gain;
    return n;
}

static bool make_drawn(struct clip_maker *m, struct clip_draw c, uint8_t *codes, uint8_t *mask,
                       int32_t *label)
{
    const struct dataset *d = m->d;
    const struct dataset_options *o = &d->options;
    const struct entry *e = dataset_entry(d, SPLIT_TRAIN, c.item);
    *label = c.no_label ? NO_LABEL : e->file.label;
    if (o->speed > 0 || o->gain_db > 0) {
        int64_t n = make_sound(m, e, &c);
        if (n < 0)
            return false;
        encoder_encode(&d->encoder, codes, m->x, n);
        memset(codes + n, START_CODE, (size_t)(o->clip_samples - n));
        memset(mask, 1, (size_t)n);
        memset(mask + n, 0, (size_t)(o->clip_samples - n));
    } else if (!entry_clip(d, e, c.from, codes, mask)) {
        return false;
    }
    if (o->pad_loss)
        memset(mask, 1, (size_t)o->clip_samples);
    return true;
}

bool clip_make(struct clip_maker *m, uint64_t index, uint8_t *codes, uint8_t *mask, int32_t *label)
{
    return make_drawn(m, clip_draw(m->d, index), codes, mask, label);
}

bool clip_make_window(struct clip_maker *m, uint64_t stay, int64_t window, uint8_t *codes,
                      uint8_t *mask, int32_t *label, uint8_t *goes_on)
{
    struct clip_draw c = clip_draw_window(m->d, stay, window);
    *goes_on = c.before > 0;
    return make_drawn(m, c, codes, mask, label);
}
