/*
 * Colours of pictures: ink, paper, series, and a map for quantities.
 *
 * Any thread; no state.
 */
#ifndef HISS_AUDIO_COLOUR_H
#define HISS_AUDIO_COLOUR_H

struct colour {
    float red, green, blue; /* sRGB, 0 to 1 */
};

extern const struct colour colour_ink, colour_faint, colour_grid, colour_paper;

/* Colours of lines that the colour-blind can tell apart too (Okabe and Ito: "Color universal
   design", 2008, all but their yellow); they repeat after COLOUR_SERIES. */
enum { COLOUR_SERIES = 7 };
struct colour colour_series(int i);

/* Half way to the paper, and so on: how = 0 is the colour, 1 the paper. */
struct colour colour_fade(struct colour c, float how);

/* From the paper's white (0) over yellow, red and violet to near black (1). Lightness falls by
   equal steps, in OKLab (Ottosson: "A perceptual color space for image processing", 2020), so that
   equal differences look equal, in print and to the colour-blind too. Clamps; NaN is 0. */
struct colour colour_of(float value);

#endif
