/*
 * A folder of generated sounds beside a folder of recordings: what each is like, how far their
 * spectra lie apart, and which generated sounds ran away.
 *
 * Sounds are read at one rate as mono, at their own level. profile.h defines the measures.
 *
 * Main thread.
 */
#ifndef HISS_APP_COMPARE_H
#define HISS_APP_COMPARE_H

#include "audio/profile.h"

#include <stdbool.h>
#include <stdint.h>

/* Means over a folder's files: of levels, loudness and centroid each file counts once (those that
   have none are left out); of silence and clipping each sample; of runaway each file. */
enum measure {
    MEASURE_LEVEL,
    MEASURE_LOUDNESS,
    MEASURE_CENTROID,
    MEASURE_SILENCE,
    MEASURE_CLIPPING,
    MEASURE_RUNAWAY,
    MEASURES
};
extern const struct measure_name {
    const char *key;  /* in JSON */
    const char *text; /* with the unit */
    double unit;      /* the value times this is in that unit */
    int decimals;
} measure_names[MEASURES];

/* A sound runs away if for a second on end, or all of a shorter sound, its windows of
   profile_window_s are
     loud     6 dB louder than the loudest window of the reference
     noise    flatter than the geometric mean of 1 and the flattest window of the reference
     tone     less flat than a tenth of the least flat window of the reference
     silent   below PROFILE_SILENCE_DB, and twice as long as the reference ever is, or wholly where
              it never is so long
   Flatness is that of windows that are not silent. */
enum runaway { RUNAWAY_NONE, RUNAWAY_LOUD, RUNAWAY_NOISE, RUNAWAY_TONE, RUNAWAY_SILENT, RUNAWAYS };
const char *runaway_name(enum runaway r);

struct compared_file {
    char *name; /* below the folder */
    struct profile profile;
    enum runaway runaway; /* against the reference's windows; of the reference itself NONE */
};

struct compared_folder {
    const char *path;
    struct compared_file *files; /* (n) */
    int64_t n, n_skipped;        /* skipped: no sound in them */
    int64_t n_samples;
    struct moments mel;                   /* of all frames */
    double *mean_db[PROFILE_RESOLUTIONS]; /* each frame counts once */
    double mean[MEASURES];                /* NAN: no file has it */
    double interval[MEASURES][2];         /* 95 %, bootstrap_ratio over files */
};

struct comparison {
    int rate; /* Hz */
    struct compared_folder generated, reference;
    double frechet;             /* frechet_distance of the frames' log-mel vectors, dB^2 */
    double frechet_halves;      /* the same between halves of the reference's files, mean over
                                   COMPARE_HALVINGS random halvings; NAN for fewer than 2 files */
    double spectra;             /* profile_spectra_distance, dB */
    double spectra_halves;      /* likewise */
    int64_t n_pairs;            /* files of the same name in both */
    struct pair_distance pairs; /* mean over them */
};

enum { COMPARE_HALVINGS = 8 };

/* Compares at `rate` Hz; 0: the lower of the rates of the folders' first sounds. Either may be a
   single file. A folder without a single sound is an error. False with error_text. */
bool compare_folders(struct comparison *c, const char *generated, const char *reference, int rate);
void comparison_free(struct comparison *c); /* a zeroed one is fine */

/* A file's own value; NAN: it has none. */
double measure_of(const struct compared_file *f, enum measure m);

#endif
