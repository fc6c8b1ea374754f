#define _GNU_SOURCE
#include "app/compare_folder.h"

#include "app/bootstrap.h"
#include "app/stop.h"
#include "audio/reader.h"
#include "audio/walk.h"
#include "base/error.h"
#include "base/log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int compared_rate(const char *path)
{
    struct walk walk;
    int rate = 0;
    if (!walk_folder(&walk, path, NULL, NULL))
        return 0;
    for (int64_t i = 0; rate == 0 && i < walk.n; i++) {
        struct reader *r = walk.files[i].why ? NULL : reader_open(walk.files[i].path, 0);
        if (r)
            rate = reader_rate(r);
        reader_close(r);
    }
    walk_free(&walk);
    if (rate == 0)
        error_set("%s: there is no sound file in it", path);
    return rate;
}

/* A file that is no sound is passed over, with its reason. */
static bool file_take(struct compared_folder *f, struct profiler *p, const struct walk_file *from,
                      int rate)
{
    struct sound sound = {0};
    if (from->why)
        error_set("%s: %s", from->path, from->why);
    if (from->why || !sound_load(&sound, from->path, rate, 0)) {
        f->n_skipped++;
        log_warn("left out: %s", error_text());
        return true;
    }
    struct compared_file *to = &f->files[f->n];
    to->name = strdup(from->name);
    bool ok = to->name ? profile_make(&to->profile, p, sound.x, sound.n)
                       : error_set("%s: out of memory", from->path);
    if (sound.trouble[0])
        log_warn("%s: %s", from->path, sound.trouble);
    f->n++;
    f->n_samples += sound.n;
    sound_free(&sound);
    return ok;
}

bool compared_load(struct compared_folder *f, const char *path, struct profiler *p, int rate)
{
    struct walk walk;
    *f = (struct compared_folder){.path = path};
    if (!walk_folder(&walk, path, NULL, NULL))
        return false;
    f->files = calloc((size_t)walk.n + 1, sizeof(*f->files));
    bool ok = f->files || error_set("out of memory for %lld files", (long long)walk.n);
    for (int r = 0; ok && r < PROFILE_RESOLUTIONS; r++) {
        f->mean_db[r] = calloc((size_t)profiler_n_bins(p, r), sizeof(double));
        ok = f->mean_db[r] || error_set("out of memory for spectra");
    }
    ok = ok && moments_open(&f->mel, PROFILE_BANDS);
    for (int64_t i = 0; ok && i < walk.n; i++) {
        if (stop_requested())
            ok = error_set("interrupted");
        ok = ok && file_take(f, p, &walk.files[i], rate);
        log_status(false, "%s: %lld of %lld files", path, (long long)i + 1, (long long)walk.n);
    }
    log_status_end();
    walk_free(&walk);
    if (ok && f->n == 0)
        ok = error_set("%s: there is no sound file in it", path);
    return ok;
}

void compared_free(struct compared_folder *f)
{
    for (int64_t i = 0; i < f->n; i++) {
        free(f->files[i].name);
        profile_free(&f->files[i].profile);
    }
    free(f->files);
    moments_close(&f->mel);
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++)
        free(f->mean_db[r]);
    memset(f, 0, sizeof(*f));
}

void compared_sum(const struct compared_folder *f, const struct profiler *p, const uint8_t *chosen,
                  int half, struct moments *mel, double *const mean_db[PROFILE_RESOLUTIONS])
{
    int n = mel->n_dims;
    mel->n = 0;
    memset(mel->sum, 0, (size_t)(n + n * n) * sizeof(*mel->sum));
    for (int64_t i = 0; i < f->n; i++)
        if (!chosen || chosen[i] == half)
            moments_merge(mel, &f->files[i].profile.mel);
    for (int r = 0; r < PROFILE_RESOLUTIONS; r++) {
        int n_bins = profiler_n_bins(p, r);
        memset(mean_db[r], 0, (size_t)n_bins * sizeof(double));
        /* Frames of all resolutions are in proportion to those of one. */
        for (int64_t i = 0; i < f->n; i++) {
            const struct profile *from = &f->files[i].profile;
            double weight = (double)from->mel.n / (double)mel->n;
            for (int k = 0; (!chosen || chosen[i] == half) && k < n_bins; k++)
                mean_db[r][k] += weight * from->mean_db[r][k];
        }
    }
}

/* What the reference's windows never exceed. */
struct limits {
    double loudest_db, flattest, least_flat;
    int64_t silence; /* windows on end */
};

static bool is_silent(const struct profile_window *w)
{
    return w->level_db < PROFILE_SILENCE_DB;
}

static struct limits limits_of(const struct compared_folder *f)
{
    struct limits l = {.loudest_db = -INFINITY, .flattest = 0, .least_flat = 1};
    for (int64_t i = 0; i < f->n; i++) {
        const struct profile *p = &f->files[i].profile;
        int64_t silence = 0;
        for (int64_t w = 0; w < p->n_windows; w++) {
            const struct profile_window *window = &p->windows[w];
            silence = is_silent(window) ? silence + 1 : 0;
            l.silence = silence > l.silence ? silence : l.silence;
            if (is_silent(window))
                continue;
            l.loudest_db = fmax(l.loudest_db, (double)window->level_db);
            l.flattest = fmax(l.flattest, (double)window->flatness);
            l.least_flat = fmin(l.least_flat, (double)window->flatness);
        }
    }
    return l;
}

static bool exceeds(const struct limits *l, const struct profile_window *w, enum runaway r)
{
    double flatness = (double)w->flatness;
    if (r == RUNAWAY_SILENT || is_silent(w))
        return r == RUNAWAY_SILENT && is_silent(w);
    return r == RUNAWAY_LOUD    ? (double)w->level_db > l->loudest_db + 6
           : r == RUNAWAY_NOISE ? flatness > sqrt(l->flattest)
                                : flatness < l->least_flat / 10;
}

static enum runaway runaway_of(const struct profile *p, const struct limits *l)
{
    int64_t second = (int64_t)(1 / profile_window_s);
    int64_t enough = p->n_windows < second ? p->n_windows : second;
    for (enum runaway r = RUNAWAY_LOUD; r < RUNAWAYS; r++) {
        int64_t run = 0, longest = 0;
        for (int64_t w = 0; w < p->n_windows; w++) {
            run = exceeds(l, &p->windows[w], r) ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        bool unheard_of = r != RUNAWAY_SILENT || longest > 2 * l->silence ||
                          (longest == p->n_windows && longest > l->silence);
        if (longest >= enough && unheard_of)
            return r;
    }
    return RUNAWAY_NONE;
}

void compared_runaway(struct compared_folder *generated, const struct compared_folder *reference)
{
    struct limits limits = limits_of(reference);
    for (int64_t i = 0; i < generated->n; i++)
        generated->files[i].runaway = runaway_of(&generated->files[i].profile, &limits);
}

bool compared_means(struct compared_folder *f)
{
    double *over = malloc(2 * (size_t)f->n * sizeof(*over)), *under = over ? over + f->n : NULL;
    bool ok = over || error_set("out of memory for means over files");
    for (int m = 0; ok && m < MEASURES; m++) {
        bool by_samples = m == MEASURE_SILENCE || m == MEASURE_CLIPPING;
        double sum = 0, weights = 0;
        for (int64_t i = 0; i < f->n; i++) {
            double value = measure_of(&f->files[i], (enum measure)m);
            under[i] = !isfinite(value) ? 0 : by_samples ? (double)f->files[i].profile.n : 1;
            over[i] = isfinite(value) ? value * under[i] : 0;
            sum += over[i];
            weights += under[i];
        }
        f->mean[m] = weights > 0 ? sum / weights : NAN;
        ok = bootstrap_ratio(f->interval[m], over, under, f->n);
    }
    free(over);
    return ok;
}
