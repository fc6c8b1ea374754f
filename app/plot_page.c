#include "app/plot_page.h"

#include "audio/picture.h"

#include <math.h>
#include <stdlib.h>

bool plot_possible(void)
{
    return true;
}

bool plot_check(const char *path)
{
    return picture_check(path);
}

static void text_any(struct picture *to, double x, double y, const char *text,
                     const struct text_style *style)
{
    char *escaped = text_escape(text);
    if (escaped)
        picture_text(to, x, y, escaped, style);
    free(escaped);
}

void page_head(struct picture *to, const char *title, const char *line)
{
    text_any(to, 24, 24, title,
             &(struct text_style){.size = 15, .bold = true, .colour = colour_ink});
    if (line)
        text_any(to, 24, 43, line, &(struct text_style){.size = 10, .colour = colour_faint});
}

void axis_fit(struct axis *a, const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            continue;
        a->low = fmin(a->low, values[i]);
        a->high = fmax(a->high, values[i]);
    }
}

/* shares (HISTOGRAM_BINS): how much of the values lies in each part of the axis. */
static void histogram_count(double *shares, const struct axis *a, const double *values, int64_t n)
{
    int64_t n_finite = 0;
    for (int b = 0; b < HISTOGRAM_BINS; b++)
        shares[b] = 0;
    for (int64_t i = 0; i < n; i++)
        n_finite += isfinite(values[i]);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            continue;
        double at = floor((values[i] - a->low) / (a->high - a->low) * HISTOGRAM_BINS);
        shares[(int)fmin(fmax(at, 0), HISTOGRAM_BINS - 1)] += 100.0 / (double)n_finite;
    }
}

void histogram_fit(struct panel *p, const double *values, int64_t n)
{
    double shares[HISTOGRAM_BINS];
    histogram_count(shares, &p->across, values, n);
    for (int b = 0; b < HISTOGRAM_BINS; b++)
        p->up.high = fmax(p->up.high, 1.08 * shares[b]);
}

void histogram_draw(struct picture *to, const struct panel *p, const double *values, int64_t n,
                    struct colour colour, bool filled)
{
    double shares[HISTOGRAM_BINS], x[2 * HISTOGRAM_BINS + 2], y[2 * HISTOGRAM_BINS + 2],
        zero[2 * HISTOGRAM_BINS + 2] = {0};
    histogram_count(shares, &p->across, values, n);
    double width = (p->across.high - p->across.low) / HISTOGRAM_BINS;
    x[0] = p->across.low;
    x[2 * HISTOGRAM_BINS + 1] = p->across.high;
    y[0] = y[2 * HISTOGRAM_BINS + 1] = 0;
    for (int b = 0; b < HISTOGRAM_BINS; b++) {
        x[2 * b + 1] = p->across.low + width * b;
        x[2 * b + 2] = p->across.low + width * (b + 1);
        y[2 * b + 1] = y[2 * b + 2] = shares[b];
    }
    if (filled)
        panel_band(to, p, x, zero, y, 2 * HISTOGRAM_BINS + 2, colour_fade(colour, 0.75f));
    panel_line(to, p, x, y, 2 * HISTOGRAM_BINS + 2, colour, 1.4);
}
