/*
 * The bits of recordings under a model: a table with a row a file and a column a way of measuring
 * (from zero state at a file's start or every N samples; the exact forward, or the engine that
 * generates), and what is read from it.
 *
 * Main thread.
 */
#ifndef HISS_APP_SCORE_H
#define HISS_APP_SCORE_H

#include <stdbool.h>
#include <stdint.h>

enum { SCORE_COLUMNS_MAX = 64 };

struct score_column {
    int64_t context;    /* zero state every so many samples; 0: only at a file's start */
    const char *engine; /* the precision of the engine that generates; NULL: the exact forward */
};

struct scores {
    const char *model; /* as it was named */
    const char *split;
    int rate; /* Hz */
    int n_columns;
    struct score_column columns[SCORE_COLUMNS_MAX];
    int64_t n_files;
    const char **names; /* (n_files) in the data folder; owned by the data set */
    int *labels;        /* (n_files) -1: none */
    double *samples;    /* (n_files) */
    double *bits;       /* (n_columns, n_files) of the whole file */
};

/* Room for n_files; the columns are there already. False with error_text (memory). */
bool scores_open(struct scores *s, int64_t n_files);
void scores_close(struct scores *s); /* a zeroed one is fine */

enum { SCORE_ALL = -2, SCORE_WITHOUT = -1 }; /* labels: all files, those without */

struct score {
    double bits;        /* a sample: total bits over total samples; 0 without samples */
    double interval[2]; /* 95 %, bootstrap_ratio over files */
    int64_t n_files, n_samples;
};

/* A column, of the files with a label. With `minus` >= 0: how many bits more a sample than that
   column, its interval that of the difference, file by file. False with error_text (memory). */
bool scores_sum(struct score *out, const struct scores *s, int column, int minus, int label);

/* Bits a sample of one file. */
double scores_file_bits(const struct scores *s, int column, int64_t file);

/* The column whose forward is exact and whose context is the same. */
int scores_exact(const struct scores *s, int column);

#endif
