#include "audio/axes.h"

#include "audio/spectrum.h"

#include <math.h>
#include <stdlib.h>

enum {
    ACROSS_TICK = 60, /* points for one tick, at least */
    UP_TICK = 30,
    LEGEND_LINE = 14,
    BAR_ROWS = 128,
};

static const double tick_length = 4, tick_size = 9, title_size = 10, head_size = 11;

static double scaled(const struct axis *a, double value)
{
    return a->scale == AXIS_LOG ? log(value) : a->scale == AXIS_MEL ? mel_of_hz(value) : value;
}

/* 0 at the low end, 1 at the high one. */
static double share(const struct axis *a, double value)
{
    double low = scaled(a, a->low);
    return (scaled(a, value) - low) / (scaled(a, a->high) - low);
}

double panel_x(const struct panel *p, double value)
{
    return p->x + p->width * share(&p->across, value);
}

double panel_y(const struct panel *p, double value)
{
    return p->y + p->height * (1 - share(&p->up, value));
}

static void segment(struct picture *to, double x0, double y0, double x1, double y1,
                    struct colour colour, double width)
{
    picture_line(to, (double[]){x0, x1}, (double[]){y0, y1}, 2, colour, width);
}

static void across_draw(struct picture *to, const struct panel *p)
{
    struct tick ticks[AXIS_TICKS_MAX];
    int want = (int)fmax(2, p->width / ACROSS_TICK);
    int n = p->across.blank ? 0 : axis_ticks(&p->across, want, ticks);
    double below = p->y + p->height;
    const struct text_style number = {.size = tick_size, .across = 0.5, .colour = colour_ink};
    double end = -INFINITY; /* of the last number written */
    for (int i = 0; i < n; i++) {
        double x = panel_x(p, ticks[i].value);
        double half = picture_text_width(to, ticks[i].label, &number) / 2;
        if (!p->no_grid)
            segment(to, x, p->y, x, below, colour_grid, 0.5);
        segment(to, x, below, x, below + tick_length, colour_ink, 0.75);
        if (p->across.bare || x - half < end + 4)
            continue;
        picture_text(to, x, below + 12, ticks[i].label, &number);
        end = x + half;
    }
    if (p->across.title)
        picture_text(to, p->x + p->width / 2, below + (p->across.bare ? 12 : 26), p->across.title,
                     &(struct text_style){.size = title_size, .across = 0.5, .colour = colour_ink});
}

/* The numbers' widest is left of the axis, its title left of that. */
static void up_draw(struct picture *to, const struct panel *p)
{
    struct tick ticks[AXIS_TICKS_MAX];
    int want = (int)fmax(2, p->height / UP_TICK);
    int n = p->up.blank ? 0 : axis_ticks(&p->up, want, ticks);
    const struct text_style number = {.size = tick_size, .across = 1, .colour = colour_ink};
    double widest = 0, last = INFINITY;
    for (int i = 0; i < n; i++) {
        double y = panel_y(p, ticks[i].value);
        if (!p->no_grid)
            segment(to, p->x, y, p->x + p->width, y, colour_grid, 0.5);
        segment(to, p->x - tick_length, y, p->x, y, colour_ink, 0.75);
        if (p->up.bare || fabs(y - last) < tick_size + 1)
            continue;
        picture_text(to, p->x - tick_length - 3, y, ticks[i].label, &number);
        widest = fmax(widest, picture_text_width(to, ticks[i].label, &number));
        last = y;
    }
    if (p->up.title)
        picture_text(to, p->x - tick_length - 3 - widest - 10, p->y + p->height / 2, p->up.title,
                     &(struct text_style){
                         .size = title_size, .across = 0.5, .upwards = true, .colour = colour_ink});
}

void panel_begin(struct picture *to, const struct panel *p)
{
    across_draw(to, p);
    up_draw(to, p);
    if (p->title)
        picture_text(to, p->x, p->y - 9, p->title,
                     &(struct text_style){.size = head_size, .bold = true, .colour = colour_ink});
    if (p->note)
        picture_text(to, p->x + p->width, p->y - 9, p->note,
                     &(struct text_style){.size = tick_size, .across = 1, .colour = colour_faint});
    picture_clip(to, p->x, p->y, p->width, p->height);
}

void panel_end(struct picture *to, const struct panel *p)
{
    picture_unclip(to);
    picture_frame(to, p->x, p->y, p->width, p->height, colour_ink, 0.75);
}

/* Places of n points, in two arrays of one block; the caller frees x. NULL: nothing is drawn. */
static double *places(const struct panel *p, const double *x, const double *y, int64_t n)
{
    double *at = malloc(2 * (size_t)(n > 0 ? n : 1) * sizeof(*at));
    for (int64_t i = 0; at && i < n; i++) {
        at[i] = panel_x(p, x[i]);
        at[n + i] = panel_y(p, y[i]);
    }
    return at;
}

void panel_line(struct picture *to, const struct panel *p, const double *x, const double *y,
                int64_t n, struct colour colour, double width)
{
    double *at = places(p, x, y, n);
    if (at)
        picture_line(to, at, at + n, n, colour, width);
    free(at);
}

void panel_band(struct picture *to, const struct panel *p, const double *x, const double *low,
                const double *high, int64_t n, struct colour colour)
{
    double *at = malloc(4 * (size_t)(n > 0 ? n : 1) * sizeof(*at)), *at_y = at ? at + 2 * n : NULL;
    for (int64_t i = 0; at && i < n; i++) {
        at[i] = at[2 * n - 1 - i] = panel_x(p, x[i]);
        at_y[i] = panel_y(p, low[i]);
        at_y[2 * n - 1 - i] = panel_y(p, high[i]);
    }
    if (at)
        picture_area(to, at, at_y, 2 * n, colour);
    free(at);
}

void panel_dot(struct picture *to, const struct panel *p, double x, double y, double radius,
               struct colour colour)
{
    if (isfinite(x) && isfinite(y))
        picture_dot(to, panel_x(p, x), panel_y(p, y), radius, colour);
}

void panel_column(struct picture *to, const struct panel *p, double x0, double x1, double y,
                  struct colour colour)
{
    double left = panel_x(p, x0), top = panel_y(p, y);
    picture_box(to, left, top, panel_x(p, x1) - left, p->y + p->height - top, colour);
}

void panel_legend(struct picture *to, const struct panel *p, const struct legend_entry *entries,
                  int n, bool below)
{
    const struct text_style style = {.size = tick_size, .colour = colour_ink};
    double widest = 0;
    for (int i = 0; i < n; i++)
        widest = fmax(widest, picture_text_width(to, entries[i].name, &style));
    double width = widest + 36, height = LEGEND_LINE * n + 6;
    double x = p->x + p->width - width - 6, y = below ? p->y + p->height - height - 6 : p->y + 6;
    picture_box(to, x, y, width, height, colour_paper);
    picture_frame(to, x, y, width, height, colour_grid, 0.75);
    for (int i = 0; i < n; i++) {
        double middle = y + 3 + LEGEND_LINE * (i + 0.5);
        segment(to, x + 6, middle, x + 24, middle, entries[i].colour, entries[i].thick ? 2.2 : 1.2);
        picture_text(to, x + 29, middle, entries[i].name, &style);
    }
}

void panel_colour_bar(struct picture *to, const struct panel *p, double low, double high,
                      const char *title)
{
    struct colour rows[BAR_ROWS];
    for (int i = 0; i < BAR_ROWS; i++)
        rows[i] = colour_of(1 - ((float)i + 0.5f) / BAR_ROWS);
    struct panel bar = {.x = p->x + p->width + 10,
                        .y = p->y,
                        .width = 10,
                        .height = p->height,
                        .up = {.low = low, .high = high}};
    picture_image(to, bar.x, bar.y, bar.width, bar.height, rows, 1, BAR_ROWS);
    picture_frame(to, bar.x, bar.y, bar.width, bar.height, colour_ink, 0.75);
    struct tick ticks[AXIS_TICKS_MAX];
    int n = axis_ticks(&bar.up, (int)fmax(2, p->height / UP_TICK), ticks);
    const struct text_style number = {.size = tick_size, .colour = colour_ink};
    double right = bar.x + bar.width, widest = 0;
    for (int i = 0; i < n; i++) {
        double y = panel_y(&bar, ticks[i].value);
        segment(to, right, y, right + tick_length, y, colour_ink, 0.75);
        picture_text(to, right + tick_length + 3, y, ticks[i].label, &number);
        widest = fmax(widest, picture_text_width(to, ticks[i].label, &number));
    }
    picture_text(to, right + tick_length + 3 + widest + 10, p->y + p->height / 2, title,
                 &(struct text_style){
                     .size = title_size, .across = 0.5, .upwards = true, .colour = colour_ink});
}
