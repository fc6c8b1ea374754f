#include "audio/axes.h"
#include "audio/picture.h"
#include "audio/picture_sound.h"

#include "base/file.h"
#include "tests/audio/fixture.h"

#include <cairo.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RATE = 8000, N = RATE };

static void test_ticks(void **state)
{
    struct tick t[AXIS_TICKS_MAX];
    int n = axis_ticks(&(struct axis){.low = -0.1, .high = 1.03}, 5, t);
    assert_int_equal(n, 3);
    assert_string_equal(t[0].label, "0");
    assert_string_equal(t[1].label, "0.5");
    assert_string_equal(t[2].label, "1.0");
    n = axis_ticks(&(struct axis){.low = 0, .high = 2.5e6}, 5, t);
    assert_int_equal(n, 6);
    assert_string_equal(t[1].label, "0.5M");
    n = axis_ticks(&(struct axis){.low = 4.3, .high = 4.34}, 5, t);
    assert_int_equal(n, 5);
    assert_string_equal(t[4].label, "4.34");
    n = axis_ticks(&(struct axis){.low = 10, .high = 20000, .scale = AXIS_LOG}, 12, t);
    assert_int_equal(n, 11); /* 10 20 50 100 ... 20k */
    assert_float_equal(t[1].value, 20, 1e-9);
    assert_string_equal(t[10].label, "20k");
    n = axis_ticks(&(struct axis){.high = 4000, .scale = AXIS_MEL}, 8, t);
    for (int i = 0; i < n; i++)
        assert_true(t[i].value >= 0 && t[i].value <= 4000);
    struct axis flat = {.low = 3, .high = 3};
    axis_round(&flat);
    assert_true(flat.low < 3 && flat.high > 3);
}

/* Lightness as OKLab has it, of sRGB. */
static double lightness(struct colour c)
{
    double rgb[3] = {(double)c.red, (double)c.green, (double)c.blue};
    for (int i = 0; i < 3; i++)
        rgb[i] = rgb[i] <= 0.04045 ? rgb[i] / 12.92 : pow((rgb[i] + 0.055) / 1.055, 2.4);
    return 0.2104542553 *
               cbrt(0.4122214708 * rgb[0] + 0.5363325363 * rgb[1] + 0.0514459929 * rgb[2]) +
           0.7936177850 *
               cbrt(0.2119034982 * rgb[0] + 0.6806995451 * rgb[1] + 0.1073969566 * rgb[2]) -
           0.0040720468 *
               cbrt(0.0883024619 * rgb[0] + 0.2817188376 * rgb[1] + 0.6299787005 * rgb[2]);
}

static void test_colours(void **state)
{
    for (int i = 0; i <= 100; i++)
        assert_float_equal(lightness(colour_of((float)i / 100)), 1 - 0.84 * i / 100, 0.012);
    assert_float_equal(colour_of(NAN).red, 1, 1e-6);
    assert_float_equal(colour_of(-1).blue, 1, 1e-6);
    assert_memory_equal(&(struct colour[]){colour_of(2)}, &(struct colour[]){colour_of(1)},
                        sizeof(struct colour));
}

/* Darkness of a pixel, 0 white to 765. */
static int dark(cairo_surface_t *s, int x, int y)
{
    uint32_t pixel;
    memcpy(&pixel, cairo_image_surface_get_data(s) + y * cairo_image_surface_get_stride(s) + 4 * x,
           sizeof(pixel));
    return 765 - (int)((pixel >> 16 & 255) + (pixel >> 8 & 255) + (pixel & 255));
}

/* A tone from 0.25 s to 0.75 s is a dark line at its place on both axes, and nowhere else. */
static void tone_check(enum axis_scale scale)
{
    const double hz = 1300;
    static float x[N];
    fill_tone(x, N, RATE, hz, 0.5);
    for (int i = 0; i < N / 4; i++)
        x[i] = x[N - 1 - i] = 0;
    struct panel p = {.x = 60,
                      .y = 20,
                      .width = 300,
                      .height = 200,
                      .across = {.high = 1, .title = "time (s)"},
                      .up = {.high = RATE / 2, .scale = scale, .title = "frequency (Hz)"},
                      .no_grid = true};
    const char *path = fixture_path(scale == AXIS_MEL ? "mel.png" : "linear.png");
    struct picture *to = picture_open(path, 400, 260);
    struct spectrogram s;
    assert_non_null(to);
    assert_true(spectrogram_make(&s, &p, x, N, RATE, 256));
    assert_float_equal(s.peak_db, -6.02, 1.5);
    panel_begin(to, &p);
    assert_true(picture_spectrogram(to, &p, &s, -86, -6));
    panel_end(to, &p);
    spectrogram_free(&s);
    assert_false(path_exists(path)); /* not before it is whole */
    assert_true(picture_close(to));

    cairo_surface_t *read = cairo_image_surface_create_from_png(path);
    assert_int_equal(cairo_surface_status(read), CAIRO_STATUS_SUCCESS);
    assert_int_equal(cairo_image_surface_get_width(read), 400 * PICTURE_SCALE);
    int middle = (int)(panel_x(&p, 0.5) * PICTURE_SCALE), darkest = 0;
    int top = (int)p.y * PICTURE_SCALE + 3, end = (int)(p.y + p.height) * PICTURE_SCALE - 3;
    for (int y = top; y < end; y++)
        if (dark(read, middle, y) > dark(read, middle, darkest))
            darkest = y;
    assert_true(fabs(darkest + 0.5 - panel_y(&p, hz) * PICTURE_SCALE) < 6);
    int line = (int)(panel_y(&p, hz) * PICTURE_SCALE);
    assert_true(dark(read, middle, line) > 600);
    assert_true(dark(read, middle, (int)(panel_y(&p, 3000) * PICTURE_SCALE)) < 30);
    assert_true(dark(read, (int)(panel_x(&p, 0.2) * PICTURE_SCALE), line) < 30);
    assert_true(dark(read, (int)(panel_x(&p, 0.8) * PICTURE_SCALE), line) < 30);
    assert_true(dark(read, (int)(panel_x(&p, 0.29) * PICTURE_SCALE), line) > 600);
    cairo_surface_destroy(read);
}

static void test_tone(void **state)
{
    fixture_open();
    tone_check(AXIS_LINEAR);
    tone_check(AXIS_MEL);
    fixture_close();
}

/* The waveform reaches as high as the sound, and is where it is. */
static void test_waveform(void **state)
{
    static float x[N];
    for (int i = 0; i < N; i++)
        x[i] = i < N / 2 ? 0 : i % 2 ? 0.5f : -0.5f;
    fixture_open();
    struct panel p = {.x = 50,
                      .y = 20,
                      .width = 200,
                      .height = 100,
                      .across = {.high = 1},
                      .up = {.low = -1, .high = 1},
                      .no_grid = true};
    struct picture *to = picture_open(fixture_path("wave.png"), 300, 160);
    panel_begin(to, &p);
    picture_waveform(to, &p, x, N, RATE, colour_ink);
    panel_end(to, &p);
    assert_true(picture_close(to));
    cairo_surface_t *read = cairo_image_surface_create_from_png(fixture_path("wave.png"));
    int early = (int)(panel_x(&p, 0.25) * PICTURE_SCALE),
        late = (int)(panel_x(&p, 0.75) * PICTURE_SCALE);
    assert_true(dark(read, late, (int)(panel_y(&p, 0.45) * PICTURE_SCALE)) > 500);
    assert_true(dark(read, late, (int)(panel_y(&p, -0.45) * PICTURE_SCALE)) > 500);
    assert_int_equal(dark(read, late, (int)(panel_y(&p, 0.6) * PICTURE_SCALE)), 0);
    assert_int_equal(dark(read, early, (int)(panel_y(&p, 0.1) * PICTURE_SCALE)), 0);
    assert_true(dark(read, early, (int)(panel_y(&p, 0) * PICTURE_SCALE)) > 100);
    cairo_surface_destroy(read);
    fixture_close();
}

static void test_svg_and_errors(void **state)
{
    fixture_open();
    size_t size;
    struct picture *p = picture_open(fixture_path("x.SVG"), 100, 80);
    assert_non_null(p);
    picture_box(p, 10, 10, 20, 20, colour_ink);
    assert_true(picture_close(p));
    char *text = file_read(fixture_path("x.SVG"), &size);
    assert_non_null(text);
    assert_non_null(strstr(text, "<svg"));
    assert_non_null(strstr(text, "</svg>"));
    free(text);

    assert_null(picture_open(fixture_path("x.jpg"), 10, 10));
    assert_error_has("ends in .png or .svg");
    assert_null(picture_open(fixture_path("no/x.png"), 10, 10));
    assert_error_has("no/x.png");
    assert_null(picture_open(fixture_path("x.png"), 100000, 10));
    assert_error_has("too large");

    p = picture_open(fixture_path("bad.png"), 100, 80); /* text that is none: told at the end */
    picture_text(p, 10, 10, "\xff\xfe", &(struct text_style){.size = 10});
    assert_false(picture_close(p));
    assert_error_has("bad.png");
    assert_false(path_exists(fixture_path("bad.png")));
    assert_false(path_exists(fixture_path("bad.png.part")));
    p = picture_open(fixture_path("gone.png"), 100, 80);
    picture_discard(p);
    assert_false(path_exists(fixture_path("gone.png.part")));
    fixture_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),          cmocka_unit_test(test_colours),
        cmocka_unit_test(test_tone),           cmocka_unit_test(test_waveform),
        cmocka_unit_test(test_svg_and_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
