#define _GNU_SOURCE
#include "app/plot_page.h"
#include "app/run_log.h"
#include "app/size.h"
#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 860, HEIGHT = 560 };

struct curves {
    int n;
    struct run_log logs[PLOT_RUNS_MAX];
    char *names[PLOT_RUNS_MAX]; /* the last parts of the runs' paths */
    struct panel bits, lr;
};

/* What a run is called: the last part of its path, resolved, so that "." has a name too. */
static char *name_of(const char *run)
{
    char *path = realpath(run, NULL);
    const char *slash = path ? strrchr(path, '/') : NULL;
    char *name = text_escape(slash && slash[1] ? slash + 1 : run);
    free(path);
    return name;
}

/* The first bits are far above all that follow: the axis fits what comes after a tenth. */
static void axes_fit(struct curves *c)
{
    struct axis bits = {.low = INFINITY, .high = -INFINITY}, heard = {.low = 0, .high = 0},
                lr = {.low = 0, .high = 0};
    for (int r = 0; r < c->n; r++) {
        const struct run_log *log = &c->logs[r];
        int64_t tenth = log->n / 10;
        axis_fit(&bits, log->bits + tenth, log->n - tenth);
        axis_fit(&bits, log->valid + tenth, log->n - tenth);
        axis_fit(&heard, log->heard, log->n);
        axis_fit(&lr, log->lr, log->n);
    }
    if (bits.low > bits.high) /* no finite number at all */
        bits.low = 0, bits.high = 8;
    double margin = fmax(0.04 * (bits.high - bits.low), 1e-3);
    bits.low -= margin;
    bits.high += margin;
    lr.high = lr.high > 0 ? 1.08 * lr.high : 1;
    heard.high *= 1.01;
    if (!(heard.high > 0))
        heard.high = 1;
    bits.title = "bits a sample";
    lr.title = "learning rate";
    heard.bare = true;
    c->bits = (struct panel){
        .x = 80, .y = 74, .width = WIDTH - 110, .height = 310, .across = heard, .up = bits};
    heard.bare = false;
    heard.title = "samples heard";
    c->lr = (struct panel){.x = 80,
                           .y = c->bits.y + c->bits.height + 22,
                           .width = WIDTH - 110,
                           .height = 90,
                           .across = heard,
                           .up = lr};
}

/* The steps that have a validation, joined; and a dot each where they are few. */
static void valid_draw(struct picture *to, const struct panel *p, const struct run_log *log,
                       struct colour colour)
{
    double *x = malloc(2 * (size_t)log->n * sizeof(*x)), *y = x ? x + log->n : NULL;
    int64_t n = 0;
    for (int64_t i = 0; x && i < log->n; i++)
        if (isfinite(log->valid[i])) {
            x[n] = log->heard[i];
            y[n++] = log->valid[i];
        }
    if (x)
        panel_line(to, p, x, y, n, colour, 2.2);
    for (int64_t i = 0; x && n <= 60 && i < n; i++)
        panel_dot(to, p, x[i], y[i], 3, colour);
    free(x);
}

static void curves_draw(struct picture *to, const struct curves *c)
{
    struct legend_entry entries[PLOT_RUNS_MAX + 1];
    panel_begin(to, &c->bits);
    for (int r = 0; r < c->n; r++) {
        const struct run_log *log = &c->logs[r];
        struct colour thin = c->n == 1 ? colour_series(0) : colour_fade(colour_series(r), 0.5f);
        panel_line(to, &c->bits, log->heard, log->bits, log->n, thin, 1);
    }
    for (int r = 0; r < c->n; r++) {
        struct colour colour = colour_series(c->n == 1 ? 1 : r);
        valid_draw(to, &c->bits, &c->logs[r], colour);
        entries[r] = (struct legend_entry){c->names[r], colour, true};
    }
    if (c->n == 1) {
        entries[0] = (struct legend_entry){"training", colour_series(0), false};
        entries[1] = (struct legend_entry){"validation", colour_series(1), true};
    }
    panel_end(to, &c->bits);
    panel_legend(to, &c->bits, entries, c->n == 1 ? 2 : c->n, false);
    panel_begin(to, &c->lr);
    for (int r = 0; r < c->n; r++)
        panel_line(to, &c->lr, c->logs[r].heard, c->logs[r].lr, c->logs[r].n, colour_series(r),
                   1.4);
    panel_end(to, &c->lr);
}

static double best_of(const struct run_log *log)
{
    double best = INFINITY;
    for (int64_t i = 0; i < log->n; i++)
        if (isfinite(log->valid[i]))
            best = fmin(best, log->valid[i]);
    return best;
}

static void head_draw(struct picture *to, const struct curves *c)
{
    char line[160], title[200], best[48] = "no validation yet", length[32];
    const struct run_log *log = &c->logs[0];
    if (c->n > 1) {
        page_head(to, "Training runs", "thick: validation; thin: training");
        return;
    }
    if (isfinite(best_of(log)))
        snprintf(best, sizeof(best), "best validation %.4f bits a sample", best_of(log));
    length_format(length, sizeof(length), log->heard[log->n - 1] / log->rate);
    snprintf(line, sizeof(line), "step %lld, %s of sound heard at %d Hz, %s",
             (long long)log->last_step, length, log->rate, best);
    snprintf(title, sizeof(title), "Training of %.150s", c->names[0]);
    page_head(to, title, line);
}

bool plot_runs(const char *path, const char *const *runs, int n)
{
    struct curves *c = calloc(1, sizeof(*c));
    bool ok = c || error_set("out of memory for a picture");
    for (int r = 0; ok && r < n; r++) {
        c->names[r] = name_of(runs[r]);
        ok = (c->names[r] || error_set("out of memory for a picture")) &&
             run_log_load(&c->logs[r], runs[r]);
        c->n++;
    }
    struct picture *to = ok ? picture_open(path, WIDTH, HEIGHT) : NULL;
    if (to) {
        axes_fit(c);
        head_draw(to, c);
        curves_draw(to, c);
    }
    ok = to && picture_close(to);
    for (int r = 0; c && r < c->n; r++) {
        run_log_free(&c->logs[r]);
        free(c->names[r]);
    }
    free(c);
    return ok;
}
