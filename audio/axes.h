/*
 * Panels of a picture: a rectangle with two axes, round ticks, units and a title, and what can be
 * drawn in it. Built on picture.h; same thread rules.
 */
#ifndef HISS_AUDIO_AXES_H
#define HISS_AUDIO_AXES_H

#include "audio/picture.h"

enum axis_scale { AXIS_LINEAR, AXIS_LOG, AXIS_MEL };

struct axis {
    double low, high; /* low < high; AXIS_LOG: low > 0; AXIS_MEL: Hz, low >= 0 */
    enum axis_scale scale;
    const char *title; /* with the unit: "time (s)"; NULL: none */
    bool bare;         /* no numbers: a neighbour on the same scale has them */
    bool blank;        /* no ticks either: it counts nothing */
};

struct panel {
    double x, y, width, height; /* of the frame, in points: axes are written outside of it */
    struct axis across, up;
    const char *title; /* NULL: none */
    const char *note;  /* smaller, at the right of the title's line; NULL: none */
    bool no_grid;
};

enum { AXIS_TICKS_MAX = 24 };

struct tick {
    double value;
    char label[24];
};

/* Round values inside the axis, about `want` of them: steps of 1, 2 or 5 times a power of ten; on a
   log or mel axis 1, 2 and 5 times powers of ten. Labels are as long as their step needs; large
   ones end in k, M or G. Returns how many. */
int axis_ticks(const struct axis *a, int want, struct tick ticks[AXIS_TICKS_MAX]);

/* Widens the range to round bounds and makes an empty one wide. For linear axes. */
void axis_round(struct axis *a);

/* A finite value's place on the paper. */
double panel_x(const struct panel *p, double value);
double panel_y(const struct panel *p, double value);

/* Paper, grid, ticks, titles: before the contents. The frame's line comes after them. */
void panel_begin(struct picture *to, const struct panel *p);
void panel_end(struct picture *to, const struct panel *p);

/* What is drawn between them, clipped to the frame. Values in the axes' units. */
void panel_line(struct picture *to, const struct panel *p, const double *x, const double *y,
                int64_t n, struct colour colour, double width);
/* Between two lines over the same x. */
void panel_band(struct picture *to, const struct panel *p, const double *x, const double *low,
                const double *high, int64_t n, struct colour colour);
void panel_dot(struct picture *to, const struct panel *p, double x, double y, double radius,
               struct colour colour);
/* A bar from the bottom of the panel to y, between two x. */
void panel_column(struct picture *to, const struct panel *p, double x0, double x1, double y,
                  struct colour colour);

/* Names of series, in the panel's upper right corner, or its lower right. */
struct legend_entry {
    const char *name;
    struct colour colour;
    bool thick;
};
void panel_legend(struct picture *to, const struct panel *p, const struct legend_entry *entries,
                  int n, bool below);

/* A bar of colour_of from low to high at the right of a panel, with ticks and a title. */
void panel_colour_bar(struct picture *to, const struct panel *p, double low, double high,
                      const char *title);

#endif
