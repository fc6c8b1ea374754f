#define _GNU_SOURCE
#include "app/eval_report.h"

#include "app/size.h"
#include "app/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* [low, high], or null of fewer than two files. */
static json_t *interval_json(const struct score *s)
{
    return isfinite(s->interval[0]) ? json_pack("[f, f]", s->interval[0], s->interval[1])
                                    : json_null();
}

static bool labels_json(json_t *object, const struct eval_report *e)
{
    const struct config *c = e->config;
    json_t *labels = json_object();
    bool ok = true;
    for (int i = -1; ok && i < c->n_labels; i++) {
        struct score s;
        ok = scores_sum(&s, e->scores, 0, -1, i);
        if (ok && s.n_files > 0)
            json_object_set_new(labels, i < 0 ? "" : c->label[i],
                                json_pack("{s:f, s:o, s:I, s:I}", "bits", s.bits, "interval",
                                          interval_json(&s), "files", (json_int_t)s.n_files,
                                          "samples", (json_int_t)s.n_samples));
    }
    json_object_set_new(object, "per_label", labels);
    return ok;
}

/* Contexts, and what the engines' precision costs at the first of them. */
static bool columns_json(json_t *object, const struct eval_report *e)
{
    json_t *contexts = json_array(), *engines = json_object();
    bool ok = true;
    for (int i = 0; ok && i < e->scores->n_columns; i++) {
        const struct score_column *column = &e->scores->columns[i];
        struct score s, loss = {0};
        int exact = scores_exact(e->scores, i);
        ok = scores_sum(&s, e->scores, i, -1, SCORE_ALL) &&
             (exact == i || scores_sum(&loss, e->scores, i, exact, SCORE_ALL));
        if (exact == i)
            json_array_append_new(contexts, json_pack("{s:I, s:f, s:o}", "context",
                                                      (json_int_t)column->context, "bits", s.bits,
                                                      "interval", interval_json(&s)));
        else if (exact == 0)
            json_object_set_new(engines, column->engine,
                                json_pack("{s:f, s:f, s:o}", "bits", s.bits, "loss", loss.bits,
                                          "loss_interval", interval_json(&loss)));
    }
    json_object_set_new(object, "contexts", contexts);
    if (json_object_size(engines) > 0)
        json_object_set(object, "precision", engines);
    json_decref(engines);
    return ok;
}

static json_t *files_json(const struct eval_report *e)
{
    const struct scores *s = e->scores;
    json_t *files = json_array();
    for (int64_t i = 0; i < s->n_files; i++) {
        json_t *file = json_pack("{s:o, s:I, s:f}", "file", text_json(s->names[i]), "samples",
                                 (json_int_t)s->samples[i], "bits", scores_file_bits(s, 0, i));
        if (s->labels[i] >= 0)
            json_object_set_new(file, "label", json_string(e->config->label[s->labels[i]]));
        json_t *others = json_array(); /* of the other columns, in the order asked for */
        for (int c = 1; c < s->n_columns; c++)
            json_array_append_new(others, json_real(scores_file_bits(s, c, i)));
        if (s->n_columns > 1)
            json_object_set(file, "bits_of_others", others);
        json_decref(others);
        json_array_append_new(files, file);
    }
    return files;
}

bool eval_print_json(const struct eval_report *e)
{
    struct score total;
    if (!scores_sum(&total, e->scores, 0, -1, SCORE_ALL))
        return false;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:f, s:o, s:I, s:I, s:f, s:s, s:I}", "model", e->id, "split",
                  e->scores->split, "backend", e->backend, "bits", total.bits, "interval",
                  interval_json(&total), "files", (json_int_t)total.n_files, "samples",
                  (json_int_t)total.n_samples, "seconds", (double)total.n_samples / e->scores->rate,
                  "labels", e->label_use, "context", (json_int_t)e->scores->columns[0].context);
    bool ok = (!e->per_label || labels_json(object, e)) && columns_json(object, e);
    json_object_set_new(object, "per_file", files_json(e));
    if (ok)
        json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    if (ok)
        printf("\n");
    json_decref(object);
    return ok;
}

/* " (95 %: 4.321 to 4.567)", or nothing of fewer than two files. */
static const char *interval_format(char text[64], const struct score *s)
{
    text[0] = 0;
    if (isfinite(s->interval[0]))
        snprintf(text, 64, " (95 %%: %.5f to %.5f)", s->interval[0], s->interval[1]);
    return text;
}

static bool print_columns(const struct eval_report *e)
{
    bool ok = true;
    int n_contexts = 0;
    for (int i = 0; i < e->scores->n_columns; i++)
        n_contexts += e->scores->columns[i].engine == NULL;
    for (int i = 1; ok && i < e->scores->n_columns; i++) {
        const struct score_column *column = &e->scores->columns[i];
        struct score s, loss;
        char interval[64], from[64] = "";
        int exact = scores_exact(e->scores, i);
        ok = scores_sum(&s, e->scores, i, -1, SCORE_ALL) &&
             (exact == i || scores_sum(&loss, e->scores, i, exact, SCORE_ALL));
        if (n_contexts > 1 && column->context > 0)
            snprintf(from, sizeof(from), ", zero state every %lld samples",
                     (long long)column->context);
        else if (n_contexts > 1)
            snprintf(from, sizeof(from), ", whole files");
        if (ok && exact == i)
            printf("%.5f bits a sample%s%s\n", s.bits, interval_format(interval, &s), from);
        else if (ok)
            printf("%.5f bits a sample as %s generates it: %+.5f%s%s\n", s.bits, column->engine,
                   loss.bits, interval_format(interval, &loss), from);
    }
    return ok;
}

bool eval_print_text(const struct eval_report *e)
{
    const struct config *c = e->config;
    const struct scores *s = e->scores;
    struct score total;
    char length[32], interval[64];
    bool ok = scores_sum(&total, s, 0, -1, SCORE_ALL);
    if (!ok)
        return false;
    printf("%.5f bits a sample%s: %s, %lld file%s, %lld samples, %s; labels: %s\n", total.bits,
           interval_format(interval, &total), s->split, (long long)total.n_files,
           total.n_files == 1 ? "" : "s", (long long)total.n_samples,
           length_format(length, sizeof(length), (double)total.n_samples / s->rate), e->label_use);
    if (e->scores->columns[0].context > 0)
        printf("zero state every %lld samples\n", (long long)e->scores->columns[0].context);
    ok = print_columns(e);
    for (int i = -1; ok && e->per_label && i < c->n_labels; i++) {
        struct score of;
        ok = scores_sum(&of, s, 0, -1, i);
        if (ok && of.n_files > 0)
            printf("%9.5f%-26s  %6lld file%s  %s\n", of.bits, interval_format(interval, &of),
                   (long long)of.n_files, of.n_files == 1 ? " " : "s",
                   i < 0 ? "(without label)" : c->label[i]);
    }
    for (int64_t i = 0; ok && e->per_file && i < s->n_files; i++) {
        char *name = text_escape(s->names[i]);
        for (int column = 0; column < s->n_columns; column++)
            printf("%9.5f ", scores_file_bits(s, column, i));
        printf(" %10lld samples  %s\n", (long long)s->samples[i], name ? name : "");
        free(name);
    }
    return ok;
}
