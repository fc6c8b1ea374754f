#include "app/screen.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512, METER_WIDTH = 15 };

/* Levels shown, dB: the bars and the spectrum's colours begin and end here. */
static const float level_floor = -60, heat_floor = -80, heat_step = 14;

bool grid_init(struct grid *g, int rows, int columns)
{
    *g = (struct grid){rows, columns, calloc((size_t)rows * (size_t)columns, sizeof(*g->cells))};
    if (!g->cells)
        return error_set("out of memory for a screen of %d by %d", columns, rows);
    return true;
}

void grid_free(struct grid *g)
{
    free(g->cells);
    *g = (struct grid){0};
}

static void put(struct grid *g, int row, int column, uint32_t character, enum style style)
{
    if (row >= 0 && row < g->rows && column >= 0 && column < g->columns)
        g->cells[row * g->columns + column] = (struct cell){character, (uint8_t)style};
}

/* The next character of UTF-8 text; a byte that is none counts as '?'. */
static uint32_t character_next(const char **text)
{
    const unsigned char *t = (const unsigned char *)*text;
    int more = t[0] < 0x80             ? 0
               : (t[0] & 0xe0) == 0xc0 ? 1
               : (t[0] & 0xf0) == 0xe0 ? 2
               : (t[0] & 0xf8) == 0xf0 ? 3
                                       : -1;
    uint32_t c = more <= 0 ? t[0] : t[0] & (0x3fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((t[i] & 0xc0) != 0x80) {
            more = -1;
            break;
        }
        c = c << 6 | (t[i] & 0x3fu);
    }
    *text += more > 0 ? more + 1 : 1;
    return more < 0 || c < 0x20 || c == 0x7f ? '?' : c;
}

/* Text from a column on, at most to column `end`. Returns the column behind it. */
static int text_put(struct grid *g, int row, int column, int end, const char *text,
                    enum style style, bool utf8)
{
    while (*text && column < end) {
        uint32_t c = character_next(&text);
        put(g, row, column++, utf8 || c < 0x7f ? c : '?', style);
    }
    return column;
}

static void character_append(char **at, const char *end, uint32_t c)
{
    char bytes[4];
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    bytes[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xffu) | c >> 6 * (n - 1));
    for (int i = 1; i < n; i++)
        bytes[i] = (char)(0x80u | (c >> 6 * (n - 1 - i) & 0x3fu));
    for (int i = 0; i < n && end - *at >= n - i; i++)
        *(*at)++ = bytes[i];
}

void grid_text(const struct grid *g, int row, char *text, size_t size)
{
    const struct cell *cells = &g->cells[row * g->columns];
    int n = g->columns;
    char *at = text;
    while (n > 0 && (cells[n - 1].character == ' ' || cells[n - 1].character == 0))
        n--;
    for (int i = 0; i < n && (size_t)(at - text) + 4 < size; i++)
        character_append(&at, text + size - 1, cells[i].character ? cells[i].character : ' ');
    *at = 0;
}

/* --- sound ---------------------------------------------------------------------------------- */

/* Rows [top, top + n) as a waveform: in each column from its least to its greatest sample, in half
   rows where there are such characters. */
static void wave_draw(struct grid *g, const struct screen_facts *f, int top, int n)
{
    for (int c = 0; c < g->columns; c++) {
        int first = (int)((int64_t)f->n_wave * c / g->columns);
        int last = (int)((int64_t)f->n_wave * (c + 1) / g->columns);
        float low = 0, high = 0;
        for (int i = first; i < last; i++) {
            low = i == first ? f->wave[i] : fminf(low, f->wave[i]);
            high = i == first ? f->wave[i] : fmaxf(high, f->wave[i]);
        }
        /* Half rows from the top: +1 is 0, -1 is 2n - 1. */
        int from = (int)lroundf((1 - fminf(high, 1)) / 2 * (float)(2 * n - 1));
        int to = (int)lroundf((1 - fmaxf(low, -1)) / 2 * (float)(2 * n - 1));
        for (int r = 0; r < n; r++) {
            bool upper = from <= 2 * r && 2 * r <= to;
            bool lower = from <= 2 * r + 1 && 2 * r + 1 <= to;
            if (!upper && !lower)
                continue;
            uint32_t c_utf8 = upper && lower ? 0x2588 : upper ? 0x2580 : 0x2584;
            uint32_t c_ascii = upper && lower ? '|' : upper ? '\'' : '.';
            put(g, top + r, c, f->utf8 ? c_utf8 : c_ascii, STYLE_WAVE);
        }
    }
}

/* Rows [top, top + n) as the spectrum: time goes to the right, the newest last, low is below. */
static void spectrum_draw(struct grid *g, const struct screen_facts *f, int top, int n)
{
    static const uint32_t utf8[SCREEN_HEATS] = {' ', 0x2591, 0x2592, 0x2593, 0x2588};
    static const char ascii[SCREEN_HEATS + 1] = " .:+#";
    int shown = f->n_spectra < g->columns ? f->n_spectra : g->columns;
    for (int i = 0; i < shown; i++) {
        const float *bands = f->spectra + (size_t)(f->n_spectra - shown + i) * SCREEN_BANDS;
        for (int r = 0; r < n; r++) {
            int first = (n - 1 - r) * SCREEN_BANDS / n, last = (n - r) * SCREEN_BANDS / n;
            float most = heat_floor;
            for (int b = first; b < last || b == first; b++)
                most = fmaxf(most, bands[b]);
            int heat = (int)((most - heat_floor) / heat_step);
            heat = heat < SCREEN_HEATS ? heat : SCREEN_HEATS - 1;
            put(g, top + r, g->columns - shown + i, f->utf8 ? utf8[heat] : (uint32_t)ascii[heat],
                (enum style)(STYLE_HEAT + heat));
        }
    }
}

/* --- meters --------------------------------------------------------------------------------- */

static void bar_draw(struct grid *g, const struct screen_facts *f, int row, int column, float part,
                     enum style style)
{
    int full = (int)lroundf(fminf(fmaxf(part, 0), 1) * METER_WIDTH);
    for (int i = 0; i < METER_WIDTH; i++)
        put(g, row, column + i, i < full ? (f->utf8 ? 0x2588 : '#') : (f->utf8 ? 0xb7 : '-'),
            i < full ? style : STYLE_DIM);
}

static const char *playing(const struct live_facts *l)
{
    return l->player.state == PLAYER_LOST      ? "device lost"
           : l->performance.paused             ? "paused"
           : l->performance.mute               ? "muted"
           : l->performance.frozen             ? "frozen"
           : l->player.state == PLAYER_PLAYING ? "playing"
                                               : "ready";
}

static void title_draw(struct grid *g, const struct screen_facts *f)
{
    char text[LINE_MAX_BYTES];
    const struct live_facts *l = &f->live;
    bool well = l->player.state == PLAYER_PLAYING && !l->performance.paused;
    int64_t s = l->performance.at / f->rate;
    snprintf(text, sizeof(text), "hiss live  %s  %lld:%02lld ", f->model, (long long)(s / 60),
             (long long)(s % 60));
    int c = text_put(g, 0, 0, g->columns, text, STYLE_TITLE, f->utf8);
    c = text_put(g, 0, c + 1, g->columns, playing(l), well ? STYLE_GOOD : STYLE_WARN, f->utf8);
    if (f->record) {
        snprintf(text, sizeof(text), "  REC %s %.1f s", f->record, f->record_s);
        c = text_put(g, 0, c, g->columns, text, STYLE_BAD, f->utf8);
    }
    if (l->errand != LIVE_NO_ERRAND) {
        static const char *const errands[] = {[LIVE_PREFILL] = "hearing a prompt",
                                              [LIVE_LISTENING] = "listening",
                                              [LIVE_SAVING] = "saving"};
        snprintf(text, sizeof(text), "  %s%s", errands[l->errand],
                 l->errand == LIVE_LISTENING ? " to the microphone" : "");
        text_put(g, 0, c, g->columns, text, STYLE_WARN, f->utf8);
    }
}

static void slots_text(char text[2 * PERFORMANCE_SLOTS + 1], unsigned slots)
{
    int n = 0;
    for (int i = 1; i <= PERFORMANCE_SLOTS; i++) {
        if (slots >> i & 1) {
            text[n++] = (char)('0' + i);
            text[n++] = ' ';
        }
    }
    text[n > 0 ? n - 1 : 0] = 0;
}

enum { METER_ROWS = 4 };

static void meters_draw(struct grid *g, const struct screen_facts *f, int top)
{
    char text[LINE_MAX_BYTES], slots[2 * PERFORMANCE_SLOTS + 1];
    const struct live_facts *l = &f->live;
    const struct performance_facts *p = &l->performance;
    const struct hiss_sampling *s = &p->sampling;
    int bar = 9, right = bar + METER_WIDTH + 1, end = g->columns;

    text_put(g, top, 0, end, "level", STYLE_PLAIN, f->utf8);
    bar_draw(g, f, top, bar, 1 - l->level_db / level_floor,
             l->level_db > -3 ? STYLE_WARN : STYLE_GOOD);
    snprintf(text, sizeof(text), "%6.1f dB  temperature %.2f  top-p %.3f", (double)l->level_db,
             (double)s->temperature, (double)s->top_p);
    int c = text_put(g, top, right, end, text, STYLE_PLAIN, f->utf8);
    if (p->guided) {
        snprintf(text, sizeof(text), "  guidance %.1f", (double)s->guidance);
        text_put(g, top, c, end, text, STYLE_PLAIN, f->utf8);
    }

    text_put(g, top + 1, 0, end, "surprise", STYLE_PLAIN, f->utf8);
    bar_draw(g, f, top + 1, bar, l->bits / 8, STYLE_KEY);
    snprintf(text, sizeof(text), "%6.2f bits  label %s%s%s%s  seed %llu", (double)l->bits, f->label,
             strcmp(f->label, f->label_heard) == 0 ? "" : " (heard: ",
             strcmp(f->label, f->label_heard) == 0 ? "" : f->label_heard,
             strcmp(f->label, f->label_heard) == 0 ? "" : ")", (unsigned long long)s->seed);
    text_put(g, top + 1, right, end, text, STYLE_PLAIN, f->utf8);

    float fill = l->player.target_s > 0 ? (float)(l->player.fill_s / l->player.target_s) : 0;
    text_put(g, top + 2, 0, end, "ring", STYLE_PLAIN, f->utf8);
    bar_draw(g, f, top + 2, bar, fill, fill < 0.25f ? STYLE_BAD : STYLE_GOOD);
    snprintf(text, sizeof(text), "%6.0f ms  underruns ", 1000 * l->player.fill_s);
    c = text_put(g, top + 2, right, end, text, STYLE_PLAIN, f->utf8);
    snprintf(text, sizeof(text), "%lld", (long long)l->player.underruns);
    c = text_put(g, top + 2, c, end, text, l->player.underruns ? STYLE_BAD : STYLE_PLAIN, f->utf8);
    snprintf(text, sizeof(text), "  key to ear %.0f ms", (double)l->latency_ms);
    text_put(g, top + 2, c, end, text, STYLE_PLAIN, f->utf8);

    slots_text(slots, p->slots);
    snprintf(text, sizeof(text), "%.1f x real time, slowest %.1f", (double)l->speed_mean,
             (double)l->speed_worst);
    c = text_put(g, top + 3, 0, end, text,
                 l->speed_mean > 0 && l->speed_mean < 1 ? STYLE_BAD : STYLE_PLAIN, f->utf8);
    snprintf(text, sizeof(text), "slots %s  back %.0f s  guard %s", slots[0] ? slots : "none",
             (double)p->rewind_s, f->guard ? "" : "off");
    c = text_put(g, top + 3, c + 2, end, text, STYLE_PLAIN, f->utf8);
    if (f->guard) {
        snprintf(text, sizeof(text), "%lld", (long long)f->n_guarded);
        text_put(g, top + 3, c, end, text, f->n_guarded ? STYLE_WARN : STYLE_PLAIN, f->utf8);
    }
}

/* --- keys ----------------------------------------------------------------------------------- */

static int key_width(const struct key_help *k)
{
    return (int)(strlen(k->key) + strlen(k->what)) + 3;
}

/* Rows that the keys take; draws them from row `top` on if that is not negative. */
static int keys_draw(struct grid *g, const struct screen_facts *f, int top)
{
    int row = 0, column = 0;
    for (int i = 0; i < f->n_keys; i++) {
        const struct key_help *k = &f->keys[i];
        if (column > 0 && column + key_width(k) - 2 > g->columns) {
            row++;
            column = 0;
        }
        if (top >= 0) {
            int c = text_put(g, top + row, column, g->columns, k->key, STYLE_KEY, f->utf8);
            text_put(g, top + row, c + 1, g->columns, k->what, STYLE_DIM, f->utf8);
        }
        column += key_width(k);
    }
    return f->n_keys > 0 ? row + 1 : 0;
}

void screen_draw(struct grid *g, const struct screen_facts *f)
{
    for (int i = 0; i < g->rows * g->columns; i++)
        g->cells[i] = (struct cell){' ', STYLE_PLAIN};
    title_draw(g, f);
    if (g->rows < SCREEN_ROWS_MIN || g->columns < SCREEN_COLUMNS_MIN) {
        char text[LINE_MAX_BYTES];
        snprintf(text, sizeof(text), "%d by %d is too small; q leaves", g->columns, g->rows);
        text_put(g, 1, 0, g->columns, text, STYLE_WARN, f->utf8);
        return;
    }
    int n_keys = keys_draw(g, f, -1);
    int keys = g->rows - n_keys, message = keys - 1, meters = message - METER_ROWS;
    int room = meters - 1; /* for the sound, below the title */
    int wave = room >= 6 ? room * 2 / 5 : room > 0 ? room : 0;
    if (wave > 0)
        wave_draw(g, f, 1, wave);
    if (room > wave)
        spectrum_draw(g, f, 1 + wave, room - wave);
    meters_draw(g, f, meters > 1 ? meters : 1);
    text_put(g, message, 0, g->columns, f->prompt ? f->prompt : f->message,
             f->prompt ? STYLE_KEY : STYLE_WARN, f->utf8);
    keys_draw(g, f, keys);
}
