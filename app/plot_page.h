/*
 * What the pictures of plot.h share. Of use to them alone.
 */
#ifndef HISS_APP_PLOT_PAGE_H
#define HISS_APP_PLOT_PAGE_H

#include "app/plot.h"
#include "app/text.h"
#include "audio/axes.h"

/* The title of a page, and a smaller line under it (NULL: none), at its upper left; both may hold
   any bytes. */
void page_head(struct picture *to, const char *title, const char *line);

/* How n values (NAN and infinite ones are left out) are spread: columns of a share each of `bins`
   equal parts of the axis, as a line, filled or not. Raises panel->up.high before drawing: call
   histogram_fit first for every series, then panel_begin, then histogram_draw. */
enum { HISTOGRAM_BINS = 24 };
void histogram_fit(struct panel *p, const double *values, int64_t n);
void histogram_draw(struct picture *to, const struct panel *p, const double *values, int64_t n,
                    struct colour colour, bool filled);

/* Widens the axis so that it holds the finite ones of n values. An axis with low > high is empty.
 */
void axis_fit(struct axis *a, const double *values, int64_t n);

#endif
