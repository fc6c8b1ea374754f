#include "audio/colour.h"

#include <math.h>
#include <stdbool.h>

const struct colour colour_ink = {0.13f, 0.13f, 0.15f}, colour_faint = {0.45f, 0.45f, 0.48f},
                    colour_grid = {0.88f, 0.88f, 0.89f}, colour_paper = {1, 1, 1};

struct colour colour_series(int i)
{
    static const struct colour series[COLOUR_SERIES] = {
        {0, 0.447f, 0.698f},      {0.835f, 0.369f, 0}, {0, 0.62f, 0.451f}, {0.8f, 0.475f, 0.655f},
        {0.337f, 0.706f, 0.914f}, {0.902f, 0.624f, 0}, {0, 0, 0},
    };
    return series[i % COLOUR_SERIES];
}

struct colour colour_fade(struct colour c, float how)
{
    return (struct colour){c.red + how * (1 - c.red), c.green + how * (1 - c.green),
                           c.blue + how * (1 - c.blue)};
}

static double gamma_encode(double linear)
{
    return linear <= 0.0031308 ? 12.92 * linear : 1.055 * pow(linear, 1 / 2.4) - 0.055;
}

/* OKLab to linear sRGB: the inverse of the matrices of its definition. False outside of sRGB. */
static bool oklab_to_linear(double rgb[3], double lightness, double a, double b)
{
    double l = lightness + 0.3963377774 * a + 0.2158037573 * b,
           m = lightness - 0.1055613458 * a - 0.0638541728 * b,
           s = lightness - 0.0894841775 * a - 1.2914855480 * b;
    l = l * l * l;
    m = m * m * m;
    s = s * s * s;
    rgb[0] = 4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s;
    rgb[1] = -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s;
    rgb[2] = -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s;
    bool inside = true;
    for (int i = 0; i < 3; i++)
        inside &= rgb[i] >= -1e-9 && rgb[i] <= 1 + 1e-9;
    return inside;
}

struct colour colour_of(float value)
{
    enum { CUTS = 12 };
    double t = value > 0 ? fmin((double)value, 1) : 0; /* NaN is not greater */
    double lightness = 1 - 0.84 * t, hue = (105 - 190 * t) * 3.14159265358979 / 180,
           chroma = 0.2 * sin(3.14159265358979 * pow(t, 0.8)), rgb[3];
    /* As much colour as the screen can show at this lightness. */
    for (int i = 0;
         i < CUTS && !oklab_to_linear(rgb, lightness, chroma * cos(hue), chroma * sin(hue)); i++)
        chroma *= 0.9;
    float out[3];
    for (int i = 0; i < 3; i++)
        out[i] = (float)gamma_encode(fmin(fmax(rgb[i], 0), 1));
    return (struct colour){out[0], out[1], out[2]};
}
