#include "app/score.h"

#include "app/bootstrap.h"
#include "base/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool scores_open(struct scores *s, int64_t n_files)
{
    assert(s->n_columns > 0 && s->n_columns <= SCORE_COLUMNS_MAX);
    size_t n = (size_t)n_files + 1;
    s->n_files = n_files;
    s->names = calloc(n, sizeof(*s->names));
    s->labels = calloc(n, sizeof(*s->labels));
    s->samples = calloc(n, sizeof(*s->samples));
    s->bits = calloc(n * (size_t)s->n_columns, sizeof(*s->bits));
    return (s->names && s->labels && s->samples && s->bits) ||
           error_set("out of memory for the bits of %lld files", (long long)n_files);
}

void scores_close(struct scores *s)
{
    free(s->names);
    free(s->labels);
    free(s->samples);
    free(s->bits);
    memset(s, 0, sizeof(*s));
}

bool scores_sum(struct score *out, const struct scores *s, int column, int minus, int label)
{
    double *over = malloc(2 * ((size_t)s->n_files + 1) * sizeof(*over)), *under;
    *out = (struct score){0};
    if (!over)
        return error_set("out of memory for a sum over files");
    under = over + s->n_files;
    double sum = 0, n_samples = 0;
    for (int64_t i = 0; i < s->n_files; i++) {
        if (label != SCORE_ALL && s->labels[i] != label)
            continue;
        double bits = s->bits[column * s->n_files + i];
        if (minus >= 0)
            bits -= s->bits[minus * s->n_files + i];
        over[out->n_files] = bits;
        under[out->n_files++] = s->samples[i];
        sum += bits;
        n_samples += s->samples[i];
    }
    out->n_samples = (int64_t)n_samples;
    out->bits = n_samples > 0 ? sum / n_samples : 0;
    bool ok = bootstrap_ratio(out->interval, over, under, out->n_files);
    free(over);
    return ok;
}

double scores_file_bits(const struct scores *s, int column, int64_t file)
{
    return s->samples[file] > 0 ? s->bits[column * s->n_files + file] / s->samples[file] : 0;
}

int scores_exact(const struct scores *s, int column)
{
    int exact = 0;
    while (s->columns[exact].engine || s->columns[exact].context != s->columns[column].context)
        exact++;
    return exact;
}
