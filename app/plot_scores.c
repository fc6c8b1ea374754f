#define _GNU_SOURCE
#include "app/plot_page.h"
#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 860, LEFT = 80, RIGHT = 30, TOP = 84, PANEL = 190, GAP = 72, ROW = 20 };

/* One row of the lower panel: bits and interval of a group of files. */
struct row {
    char name[64];
    struct score score;
};

struct page {
    const struct scores *s;
    struct row *rows; /* (n) contexts, where there are several; else labels */
    int n;
    const char *title;
    struct score total;
};

static bool row_add(struct page *page, const char *name, int column, int label)
{
    struct row *row = &page->rows[page->n++];
    char *escaped = text_escape(name);
    snprintf(row->name, sizeof(row->name), "%.60s", escaped ? escaped : "");
    free(escaped);
    return scores_sum(&row->score, page->s, column, -1, label);
}

static bool rows_make(struct page *page, const char *const *label_names, int n_labels)
{
    const struct scores *s = page->s;
    page->rows = calloc((size_t)(s->n_columns + n_labels) + 1, sizeof(*page->rows));
    bool ok = page->rows || error_set("out of memory for a picture");
    int n_contexts = 0;
    for (int c = 0; c < s->n_columns; c++)
        n_contexts += s->columns[c].engine == NULL;
    for (int c = 0; ok && c < s->n_columns; c++) {
        char name[64];
        const struct score_column *column = &s->columns[c];
        if (column->context > 0)
            snprintf(name, sizeof(name), "%lld samples%s%s", (long long)column->context,
                     column->engine ? ", " : "", column->engine ? column->engine : "");
        else
            snprintf(name, sizeof(name), "whole files%s%s", column->engine ? ", " : "",
                     column->engine ? column->engine : "");
        if (s->n_columns > 1)
            ok = row_add(page, name, c, SCORE_ALL);
    }
    page->title = n_contexts > 1     ? "Bits by context: zero state every so many samples"
                  : s->n_columns > 1 ? "Bits by precision of the engine"
                                     : "Bits by label";
    for (int l = 0; ok && s->n_columns == 1 && l < n_labels; l++) {
        struct score score;
        ok = scores_sum(&score, s, 0, -1, l);
        if (ok && score.n_files > 0)
            ok = row_add(page, label_names[l], 0, l);
    }
    return ok;
}

static bool files_draw(struct picture *to, const struct page *page)
{
    const struct scores *s = page->s;
    double *bits = malloc((size_t)(s->n_files + 1) * sizeof(*bits));
    if (!bits)
        return error_set("out of memory for a picture");
    for (int64_t i = 0; i < s->n_files; i++)
        bits[i] = scores_file_bits(s, 0, i);
    struct axis across = {.low = INFINITY, .high = -INFINITY, .title = "bits a sample of a file"};
    axis_fit(&across, bits, s->n_files);
    axis_round(&across);
    struct panel p = {.x = LEFT,
                      .y = TOP,
                      .width = WIDTH - LEFT - RIGHT,
                      .height = PANEL,
                      .across = across,
                      .up = {.high = 10, .title = "share of files (%)"},
                      .title = "Files",
                      .note = "line: mean over samples; band: its 95 % interval"};
    histogram_fit(&p, bits, s->n_files);
    panel_begin(to, &p);
    const struct score *total = &page->total;
    double top = p.up.high;
    if (isfinite(total->interval[0]))
        panel_band(to, &p, total->interval, (double[]){0, 0}, (double[]){top, top}, 2,
                   colour_fade(colour_series(1), 0.7f));
    histogram_draw(to, &p, bits, s->n_files, colour_series(0), true);
    panel_line(to, &p, (double[]){total->bits, total->bits}, (double[]){0, top}, 2,
               colour_series(1), 1.6);
    panel_end(to, &p);
    free(bits);
    return true;
}

/* A line a row: the mean as a dot, its interval as a bar. */
static void rows_draw(struct picture *to, const struct page *page)
{
    struct axis across = {.low = INFINITY, .high = -INFINITY, .title = "bits a sample"};
    for (int i = 0; i < page->n; i++) {
        axis_fit(&across, &page->rows[i].score.bits, 1);
        axis_fit(&across, page->rows[i].score.interval, 2);
    }
    axis_round(&across);
    struct panel p = {.x = LEFT + 90,
                      .y = TOP + PANEL + GAP,
                      .width = WIDTH - LEFT - RIGHT - 90,
                      .height = ROW * page->n,
                      .across = across,
                      .up = {.high = page->n, .blank = true},
                      .title = page->title,
                      .note = "dot: mean over samples; bar: its 95 % interval",
                      .no_grid = true};
    panel_begin(to, &p);
    for (int i = 0; i < page->n; i++) {
        const struct score *score = &page->rows[i].score;
        double y = page->n - i - 0.5;
        if (isfinite(score->interval[0]))
            panel_line(to, &p, score->interval, (double[]){y, y}, 2, colour_series(0), 3);
        panel_dot(to, &p, score->bits, y, 4, colour_series(1));
    }
    panel_end(to, &p);
    for (int i = 0; i < page->n; i++)
        picture_text(to, p.x - 12, panel_y(&p, page->n - i - 0.5), page->rows[i].name,
                     &(struct text_style){.size = 10, .across = 1, .colour = colour_ink});
}

bool plot_scores(const char *path, const struct scores *s, const char *const *label_names,
                 int n_labels)
{
    struct page page = {.s = s};
    char title[400], line[240], interval[80] = "";
    bool ok =
        rows_make(&page, label_names, n_labels) && scores_sum(&page.total, s, 0, -1, SCORE_ALL);
    if (ok && isfinite(page.total.interval[0]))
        snprintf(interval, sizeof(interval), " (95 %%: %.4f to %.4f)", page.total.interval[0],
                 page.total.interval[1]);
    snprintf(title, sizeof(title), "Bits a sample under %.300s", s->model);
    snprintf(line, sizeof(line), "%.5f%s; %s, %lld files, %lld samples, %.1f s at %d Hz",
             page.total.bits, interval, s->split, (long long)page.total.n_files,
             (long long)page.total.n_samples, (double)page.total.n_samples / s->rate, s->rate);
    int height = TOP + PANEL + 60 + (page.n > 0 ? GAP - 8 + ROW * page.n : 0);
    struct picture *to = ok ? picture_open(path, WIDTH, height) : NULL;
    ok = to != NULL;
    if (ok) {
        page_head(to, title, line);
        ok = files_draw(to, &page);
        if (ok && page.n > 0)
            rows_draw(to, &page);
    }
    free(page.rows);
    if (ok)
        return picture_close(to);
    picture_discard(to);
    return false;
}
