#define _GNU_SOURCE
#include "app/compare.h"

#include "app/compare_folder.h"
#include "audio/reader.h"
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 1979 };

const struct measure_name measure_names[MEASURES] = {
    [MEASURE_LEVEL] = {"level_db", "level (RMS, dBFS)", 1, 2},
    [MEASURE_LOUDNESS] = {"loudness_lufs", "loudness (BS.1770, LUFS)", 1, 2},
    [MEASURE_CENTROID] = {"centroid_hz", "spectral centroid (Hz)", 1, 1},
    [MEASURE_SILENCE] = {"silence", "silent (% of the time)", 100, 2},
    [MEASURE_CLIPPING] = {"clipping", "clipped (% of samples)", 100, 4},
    [MEASURE_RUNAWAY] = {"runaway", "runaway (% of files)", 100, 2},
};

const char *runaway_name(enum runaway r)
{
    static const char *const names[RUNAWAYS] = {"none", "loud", "noise", "tone", "silent"};
    return names[r];
}

double measure_of(const struct compared_file *f, enum measure m)
{
    const struct profile *p = &f->profile;
    const double values[MEASURES] = {
        [MEASURE_LEVEL] = p->level_db,    [MEASURE_LOUDNESS] = p->loudness,
        [MEASURE_CENTROID] = p->centroid, [MEASURE_SILENCE] = p->silence,
        [MEASURE_CLIPPING] = p->clipping, [MEASURE_RUNAWAY] = f->runaway != RUNAWAY_NONE};
    return values[m];
}

/* Two sets of sums to compare. */
struct side {
    struct moments mel;
    double *mean_db[PROFILE_RESOLUTIONS];
};

static bool side_open(struct side *s, const struct profiler *p)
{
    bool ok = moments_open(&s->mel, PROFILE_BANDS);
    for (int r = 0; ok && r < PROFILE_RESOLUTIONS; r++) {
        s->mean_db[r] = calloc((size_t)profiler_n_bins(p, r), sizeof(double));
        ok = s->mean_db[r] || error_set("out of memory for spectra");
    }
    return ok;
}

static void side_close(struct side *s)
{
    moments_close(&s->mel);
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++)
        free(s->mean_db[r]);
}

/* A random half of the files: half[i] is 0 or 1, as many of either as can be. */
static void halve(uint8_t *half, int64_t *order, int64_t n, uint64_t halving)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) { /* Fisher and Yates */
        uint32_t r = random_word(SEED, halving, (uint32_t)i, RANDOM_RESAMPLE, 1);
        int64_t j = (int64_t)((uint64_t)r * (uint64_t)(i + 1) >> 32), other = order[i];
        order[i] = order[j];
        order[j] = other;
    }
    for (int64_t i = 0; i < n; i++)
        half[order[i]] = i < n / 2;
}

/* How far the reference lies from itself: what is as near as that cannot be told from it. */
static bool halves_measure(struct comparison *c, const struct profiler *p)
{
    int64_t n = c->reference.n;
    c->frechet_halves = c->spectra_halves = NAN;
    if (n < 2)
        return true;
    struct side sides[2] = {0};
    uint8_t *half = malloc((size_t)n);
    int64_t *order = malloc((size_t)n * sizeof(*order));
    bool ok = half && order ? side_open(&sides[0], p) && side_open(&sides[1], p)
                            : error_set("out of memory for halving the reference");
    double frechet = 0, spectra = 0;
    for (uint64_t h = 0; ok && h < COMPARE_HALVINGS; h++) {
        double distance;
        halve(half, order, n, h);
        for (int i = 0; i < 2; i++)
            compared_sum(&c->reference, p, half, i, &sides[i].mel, sides[i].mean_db);
        ok = frechet_distance(&distance, &sides[0].mel, &sides[1].mel);
        frechet += distance / COMPARE_HALVINGS;
        spectra +=
            profile_spectra_distance(p, sides[0].mean_db, sides[1].mean_db) / COMPARE_HALVINGS;
    }
    if (ok) {
        c->frechet_halves = frechet;
        c->spectra_halves = spectra;
    }
    side_close(&sides[0]);
    side_close(&sides[1]);
    free(half);
    free(order);
    return ok;
}

/* Where the file lies; a folder may be a single file. */
static bool path_of(char path[FILE_PATH_MAX], const struct compared_folder *f, int64_t i)
{
    if (path_is_folder(f->path))
        return path_join(path, f->path, f->files[i].name);
    snprintf(path, FILE_PATH_MAX, "%s", f->path);
    return true;
}

static bool pair_measure(struct comparison *c, struct profiler *p, int64_t i, int64_t j)
{
    char path[FILE_PATH_MAX];
    struct sound a = {0}, b = {0};
    bool ok = path_of(path, &c->reference, j) && sound_load(&a, path, c->rate, 0) &&
              path_of(path, &c->generated, i) && sound_load(&b, path, c->rate, 0);
    if (ok) {
        struct pair_distance d = profile_pair(p, a.x, b.x, a.n < b.n ? a.n : b.n);
        c->pairs.convergence += d.convergence;
        c->pairs.log_db += d.log_db;
        c->n_pairs++;
    }
    sound_free(&a);
    sound_free(&b);
    return ok;
}

/* Both lists are in bytewise order of their folders' walks; names are found by search. */
static bool pairs_measure(struct comparison *c, struct profiler *p)
{
    bool ok = true;
    for (int64_t i = 0; ok && i < c->generated.n; i++)
        for (int64_t j = 0; ok && j < c->reference.n; j++)
            if (strcmp(c->generated.files[i].name, c->reference.files[j].name) == 0)
                ok = pair_measure(c, p, i, j);
    if (c->n_pairs > 0) {
        c->pairs.convergence /= (double)c->n_pairs;
        c->pairs.log_db /= (double)c->n_pairs;
    }
    return ok;
}

bool compare_folders(struct comparison *c, const char *generated, const char *reference, int rate)
{
    struct compared_folder *g = &c->generated, *r = &c->reference;
    memset(c, 0, sizeof(*c));
    int rate_g = compared_rate(generated), rate_r = rate_g ? compared_rate(reference) : 0;
    if (!rate_g || !rate_r)
        return false;
    c->rate = rate > 0 ? rate : rate_g < rate_r ? rate_g : rate_r;
    struct profiler *p = profiler_open(c->rate);
    bool ok =
        p && compared_load(r, reference, p, c->rate) && compared_load(g, generated, p, c->rate);
    if (ok) {
        compared_sum(g, p, NULL, 0, &g->mel, g->mean_db);
        compared_sum(r, p, NULL, 0, &r->mel, r->mean_db);
        compared_runaway(g, r);
        c->spectra = profile_spectra_distance(p, r->mean_db, g->mean_db);
        ok = frechet_distance(&c->frechet, &g->mel, &r->mel) && halves_measure(c, p) &&
             pairs_measure(c, p) && compared_means(g) && compared_means(r);
    }
    profiler_close(p);
    return ok;
}

void comparison_free(struct comparison *c)
{
    compared_free(&c->generated);
    compared_free(&c->reference);
    memset(c, 0, sizeof(*c));
}
