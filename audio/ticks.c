#include "audio/axes.h"

#include <math.h>
#include <stdio.h>

/* 1, 2 or 5 times a power of ten, the nearest above. */
static double round_step(double step)
{
    double power = pow(10, floor(log10(step)));
    double part = step / power;
    return power * (part <= 1 + 1e-9 ? 1 : part <= 2 + 1e-9 ? 2 : part <= 5 + 1e-9 ? 5 : 10);
}

/* A value on a scale whose ticks are `step` apart: no more decimals than tell them apart. With
   `thousands`, from which size on values are told in k. */
static void label_format(struct tick *t, double step, double largest, double thousands)
{
    bool plain = largest >= 1e-3 && largest < 1e15 && t->value != 0;
    double unit = !plain                 ? 1
                  : largest >= 1e9       ? 1e9
                  : largest >= 1e6       ? 1e6
                  : largest >= thousands ? 1e3
                                         : 1;
    const char *suffix = unit == 1e9 ? "G" : unit == 1e6 ? "M" : unit == 1e3 ? "k" : "";
    int decimals = (int)fmin(fmax(0, ceil(-log10(step / unit) - 1e-9)), 9);
    if (plain)
        snprintf(t->label, sizeof(t->label), "%.*f%s", decimals, t->value / unit, suffix);
    else
        snprintf(t->label, sizeof(t->label), "%g", t->value);
}

static int ticks_linear(const struct axis *a, int want, struct tick *ticks)
{
    double step = round_step((a->high - a->low) / (want > 1 ? want : 1));
    double largest = fmax(fabs(a->low), fabs(a->high));
    int n = 0;
    for (double i = ceil(a->low / step - 1e-9); i * step <= a->high + 1e-9 * step; i++) {
        if (n == AXIS_TICKS_MAX)
            break;
        ticks[n].value = i == 0 ? 0 : i * step; /* no -0 */
        label_format(&ticks[n], step, largest, 1e4);
        n++;
    }
    return n;
}

/* 1 2 5 10 20 ..., or powers of ten alone where those are too many. */
static int ticks_log(const struct axis *a, int want, struct tick *ticks)
{
    static const double parts[] = {1, 2, 5};
    double low = fmax(a->low, a->high * 1e-9);
    double decades = log10(a->high / low);
    int n_parts = 3 * decades > 1.6 * want ? 1 : 3, n = 0;
    if (a->scale == AXIS_MEL) { /* nearly linear below 700 Hz: no ticks crowd there */
        low = fmax(low, a->high / 64);
        n_parts = 3;
    }
    int skip = n_parts == 1 ? (int)fmax(1, ceil(decades / want)) : 1;
    for (int power = (int)floor(log10(low)); power <= (int)floor(log10(a->high)); power += skip)
        for (int i = 0; i < n_parts && n < AXIS_TICKS_MAX; i++) {
            double value = parts[i] * pow(10, power);
            if (value < low * (1 - 1e-9) || value > a->high * (1 + 1e-9))
                continue;
            ticks[n].value = value;
            label_format(&ticks[n], value, value, 1e3);
            n++;
        }
    if (a->scale == AXIS_MEL && a->low == 0 && n < AXIS_TICKS_MAX)
        ticks[n++] = (struct tick){0, "0"};
    return n;
}

int axis_ticks(const struct axis *a, int want, struct tick ticks[AXIS_TICKS_MAX])
{
    return a->scale == AXIS_LINEAR ? ticks_linear(a, want, ticks) : ticks_log(a, want, ticks);
}

void axis_round(struct axis *a)
{
    if (!(a->high > a->low)) {
        double half = a->low == 0 ? 1 : fabs(a->low) / 10;
        a->low -= half;
        a->high += half;
    }
    double step = round_step((a->high - a->low) / 5);
    a->low = step * floor(a->low / step + 1e-9);
    a->high = step * ceil(a->high / step - 1e-9);
}
