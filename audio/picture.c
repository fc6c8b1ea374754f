#include "audio/picture.h"

#include "base/error.h"
#include "base/file.h"

#include <assert.h>
#include <cairo-svg.h>
#include <cairo.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SIDE_MAX = 16000 };

enum picture_format { FORMAT_NONE, FORMAT_PNG, FORMAT_SVG };

struct picture {
    enum picture_format format;
    int width, height;
    struct file_writer file;
    cairo_surface_t *surface;
    cairo_t *cairo;
};

static const double pi = 3.14159265358979323846;

static enum picture_format format_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot && strcasecmp(dot, ".png") == 0   ? FORMAT_PNG
           : dot && strcasecmp(dot, ".svg") == 0 ? FORMAT_SVG
                                                 : FORMAT_NONE;
}

bool picture_check(const char *path)
{
    return format_of(path) != FORMAT_NONE ||
           error_set("%s: a picture's name ends in .png or .svg", path);
}

static cairo_status_t bytes_take(void *closure, const unsigned char *bytes, unsigned int n)
{
    FILE *file = closure;
    return fwrite(bytes, 1, n, file) == n ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

struct picture *picture_open(const char *path, int width, int height)
{
    assert(width > 0 && height > 0);
    if (!picture_check(path))
        return NULL;
    if (width > SIDE_MAX || height > SIDE_MAX) {
        error_set("%s: a picture of %d x %d points is too large", path, width, height);
        return NULL;
    }
    struct picture *p = calloc(1, sizeof(*p));
    if (!p) {
        error_set("%s: out of memory for the picture", path);
        return NULL;
    }
    *p = (struct picture){.format = format_of(path), .width = width, .height = height};
    if (!file_create(&p->file, path)) {
        free(p);
        return NULL;
    }
    if (p->format == FORMAT_PNG)
        p->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, PICTURE_SCALE * width,
                                                PICTURE_SCALE * height);
    else
        p->surface = cairo_svg_surface_create_for_stream(bytes_take, p->file.file, width, height);
    p->cairo = cairo_create(p->surface);
    if (cairo_status(p->cairo) != CAIRO_STATUS_SUCCESS) {
        error_set("%s: %s", path, cairo_status_to_string(cairo_status(p->cairo)));
        picture_discard(p);
        return NULL;
    }
    if (p->format == FORMAT_PNG)
        cairo_scale(p->cairo, PICTURE_SCALE, PICTURE_SCALE);
    cairo_set_line_join(p->cairo, CAIRO_LINE_JOIN_ROUND);
    cairo_select_font_face(p->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           CAIRO_FONT_WEIGHT_NORMAL);
    picture_box(p, 0, 0, width, height, colour_paper);
    return p;
}

static void surface_free(struct picture *p)
{
    cairo_destroy(p->cairo);
    cairo_surface_destroy(p->surface);
    p->cairo = NULL;
    p->surface = NULL;
}

bool picture_close(struct picture *p)
{
    cairo_status_t status = cairo_status(p->cairo);
    if (status == CAIRO_STATUS_SUCCESS && p->format == FORMAT_PNG)
        status = cairo_surface_write_to_png_stream(p->surface, bytes_take, p->file.file);
    cairo_surface_finish(p->surface); /* an SVG is written here */
    if (status == CAIRO_STATUS_SUCCESS)
        status = cairo_surface_status(p->surface);
    bool ok = status == CAIRO_STATUS_SUCCESS;
    if (!ok)
        error_set("%s: %s", p->file.path,
                  status == CAIRO_STATUS_WRITE_ERROR ? strerror(errno)
                                                     : cairo_status_to_string(status));
    ok = ok && file_commit(&p->file);
    file_discard(&p->file);
    surface_free(p);
    free(p);
    return ok;
}

void picture_discard(struct picture *p)
{
    if (!p)
        return;
    surface_free(p);
    file_discard(&p->file);
    free(p);
}

int picture_width(const struct picture *p)
{
    return p->width;
}

int picture_height(const struct picture *p)
{
    return p->height;
}

static void colour_set(struct picture *p, struct colour c)
{
    cairo_set_source_rgb(p->cairo, (double)c.red, (double)c.green, (double)c.blue);
}

static void path_through(struct picture *p, const double *x, const double *y, int64_t n)
{
    bool pen_down = false;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i])) {
            pen_down = false;
            continue;
        }
        if (pen_down)
            cairo_line_to(p->cairo, x[i], y[i]);
        else
            cairo_move_to(p->cairo, x[i], y[i]);
        pen_down = true;
    }
}

void picture_line(struct picture *p, const double *x, const double *y, int64_t n,
                  struct colour colour, double width)
{
    colour_set(p, colour);
    cairo_set_line_width(p->cairo, width);
    path_through(p, x, y, n);
    cairo_stroke(p->cairo);
}

void picture_area(struct picture *p, const double *x, const double *y, int64_t n,
                  struct colour colour)
{
    colour_set(p, colour);
    path_through(p, x, y, n);
    cairo_fill(p->cairo);
}

void picture_box(struct picture *p, double x, double y, double width, double height,
                 struct colour colour)
{
    colour_set(p, colour);
    cairo_rectangle(p->cairo, x, y, width, height);
    cairo_fill(p->cairo);
}

void picture_frame(struct picture *p, double x, double y, double width, double height,
                   struct colour colour, double line_width)
{
    colour_set(p, colour);
    cairo_set_line_width(p->cairo, line_width);
    cairo_rectangle(p->cairo, x, y, width, height);
    cairo_stroke(p->cairo);
}

void picture_dot(struct picture *p, double x, double y, double radius, struct colour colour)
{
    colour_set(p, colour);
    cairo_arc(p->cairo, x, y, radius, 0, 2 * pi);
    cairo_fill(p->cairo);
}

static uint32_t byte_of(float part)
{
    return (uint32_t)(part * 255 + 0.5f);
}

void picture_image(struct picture *p, double x, double y, double width, double height,
                   const struct colour *pixels, int n_x, int n_y)
{
    cairo_surface_t *image = cairo_image_surface_create(CAIRO_FORMAT_RGB24, n_x, n_y);
    unsigned char *bytes = cairo_image_surface_get_data(image);
    int stride = cairo_image_surface_get_stride(image);
    for (int row = 0; bytes && row < n_y; row++) {
        uint32_t *to = (uint32_t *)(bytes + (int64_t)row * stride);
        for (int column = 0; column < n_x; column++) {
            struct colour c = pixels[(int64_t)row * n_x + column];
            to[column] = byte_of(c.red) << 16 | byte_of(c.green) << 8 | byte_of(c.blue);
        }
    }
    cairo_surface_mark_dirty(image);
    cairo_save(p->cairo);
    cairo_translate(p->cairo, x, y);
    cairo_scale(p->cairo, width / n_x, height / n_y);
    cairo_set_source_surface(p->cairo, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(p->cairo), CAIRO_FILTER_NEAREST);
    cairo_rectangle(p->cairo, 0, 0, n_x, n_y);
    cairo_fill(p->cairo);
    cairo_restore(p->cairo);
    cairo_surface_destroy(image);
}

void picture_clip(struct picture *p, double x, double y, double width, double height)
{
    cairo_save(p->cairo);
    cairo_rectangle(p->cairo, x, y, width, height);
    cairo_clip(p->cairo);
}

void picture_unclip(struct picture *p)
{
    cairo_restore(p->cairo);
}

static void font_set(struct picture *p, const struct text_style *style)
{
    cairo_select_font_face(p->cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                           style->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(p->cairo, style->size);
}

double picture_text_width(struct picture *p, const char *text, const struct text_style *style)
{
    cairo_text_extents_t extents;
    font_set(p, style);
    cairo_text_extents(p->cairo, text, &extents);
    return extents.x_advance;
}

void picture_text(struct picture *p, double x, double y, const char *text,
                  const struct text_style *style)
{
    double half_height = 0.26 * style->size; /* of an x, more or less, in any font */
    double back = style->across * picture_text_width(p, text, style);
    colour_set(p, style->colour);
    cairo_save(p->cairo);
    cairo_translate(p->cairo, x, y);
    if (style->upwards)
        cairo_rotate(p->cairo, -pi / 2);
    cairo_move_to(p->cairo, -back, half_height);
    cairo_show_text(p->cairo, text);
    cairo_restore(p->cairo);
}
