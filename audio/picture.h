/*
 * Pictures (cairo): a sheet of paper with lines, areas, images and text on it, as PNG or SVG by the
 * extension of its path.
 *
 * Places are in points from the upper left corner; a PNG has PICTURE_SCALE pixels a point. Text is
 * UTF-8; other bytes make the picture fail. Trouble while drawing is kept and told by
 * picture_close. Only there where hiss was built with cairo.
 *
 * A picture belongs to one thread.
 */
#ifndef HISS_AUDIO_PICTURE_H
#define HISS_AUDIO_PICTURE_H

#include "audio/colour.h"

#include <stdbool.h>
#include <stdint.h>

enum { PICTURE_SCALE = 2 };

struct picture;

/* Is the extension png or svg? False with error_text. */
bool picture_check(const char *path);

/* A white sheet of at most 16000 points either way. NULL with error_text: unknown extension, a
   folder that is not there. The file is written as `path`.part. */
struct picture *picture_open(const char *path, int width, int height);

/* Writes the file and renames it to its name; frees the picture in any case. False with
   error_text. */
bool picture_close(struct picture *p);
void picture_discard(struct picture *p); /* NULL is fine */

int picture_width(const struct picture *p);
int picture_height(const struct picture *p);

/* A line through n points; width in points. Points that are not finite break it. */
void picture_line(struct picture *p, const double *x, const double *y, int64_t n,
                  struct colour colour, double width);

/* A filled polygon through n points. */
void picture_area(struct picture *p, const double *x, const double *y, int64_t n,
                  struct colour colour);

void picture_box(struct picture *p, double x, double y, double width, double height,
                 struct colour colour);
void picture_frame(struct picture *p, double x, double y, double width, double height,
                   struct colour colour, double line_width);
void picture_dot(struct picture *p, double x, double y, double radius, struct colour colour);

/* Colours (n_y, n_x), row 0 on top, fill the rectangle; no smoothing. */
void picture_image(struct picture *p, double x, double y, double width, double height,
                   const struct colour *pixels, int n_x, int n_y);

/* Nothing is drawn outside of the rectangle until picture_unclip. */
void picture_clip(struct picture *p, double x, double y, double width, double height);
void picture_unclip(struct picture *p);

/* Where the point (x, y) of a text is: across 0 its left end, 0.5 its middle, 1 its right end. */
struct text_style {
    double size; /* of the font, in points */
    double across;
    bool bold, upwards; /* upwards: reads from below, turned to the left about its point */
    struct colour colour;
};

/* y is the middle of the small letters' height. */
void picture_text(struct picture *p, double x, double y, const char *text,
                  const struct text_style *style);
double picture_text_width(struct picture *p, const char *text, const struct text_style *style);

#endif
