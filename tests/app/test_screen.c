/* The screen of hiss live as a grid, at several sizes; and what its keys mean. */
#include "app/live_keys.h"
#include "app/screen.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_WAVE = 400, N_SPECTRA = 30 };

static float wave[N_WAVE], spectra[N_SPECTRA * SCREEN_BANDS];

static struct screen_facts facts_make(bool utf8)
{
    struct screen_facts f = {.utf8 = utf8,
                             .model = "digits",
                             .device = "null (ALSA)",
                             .label = "three",
                             .label_heard = "two",
                             .rate = 8000,
                             .wave = wave,
                             .n_wave = N_WAVE,
                             .spectra = spectra,
                             .n_spectra = N_SPECTRA,
                             .keys = keys_help,
                             .n_keys = keys_n_help,
                             .guard = true,
                             .n_guarded = 3,
                             .message = "slot 4 is empty"};
    f.live.player.state = PLAYER_PLAYING;
    f.live.player.underruns = 7;
    f.live.player.fill_s = 0.06;
    f.live.player.target_s = 0.08;
    f.live.level_db = -12;
    f.live.bits = 4.25f;
    f.live.speed_mean = 5.5f;
    f.live.speed_worst = 2.5f;
    f.live.latency_ms = 93;
    f.live.performance.at = 8000 * 83;
    f.live.performance.guided = true;
    f.live.performance.slots = 1U << 2 | 1U << 9;
    f.live.performance.rewind_s = 42;
    f.live.performance.sampling =
        (struct hiss_sampling){.seed = 77, .temperature = 0.95f, .top_p = 0.98f, .guidance = 2};
    for (int i = 0; i < N_WAVE; i++)
        wave[i] = (float)sin(0.1 * i);
    for (int i = 0; i < N_SPECTRA; i++) /* one band burns, the others are cold */
        for (int b = 0; b < SCREEN_BANDS; b++)
            spectra[i * SCREEN_BANDS + b] = b == 5 ? -10 : -120;
    return f;
}

/* Some row holds the text. */
static bool shows(const struct grid *g, const char *text)
{
    char row[4096];
    for (int r = 0; r < g->rows; r++) {
        grid_text(g, r, row, sizeof(row));
        if (strstr(row, text))
            return true;
    }
    return false;
}

static const int sizes[][2] = {{24, 80}, {16, 80}, {16, 70}, {30, 100}, {50, 200}, {200, 500}};
enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* Everything that counts is there at every size that is large enough, in one piece. */
static void test_sizes(void **state)
{
    static const char *const texts[] = {"hiss live  digits  1:23",
                                        "playing",
                                        "-12.0 dB",
                                        "temperature 0.95",
                                        "top-p 0.980",
                                        "4.25 bits",
                                        "label three",
                                        "underruns 7",
                                        "slots 2 9",
                                        "guard 3",
                                        "slot 4 is empty"};
    for (int s = 0; s < N_SIZES; s++) {
        struct grid g;
        struct screen_facts f = facts_make(true);
        assert_true(grid_init(&g, sizes[s][0], sizes[s][1]));
        screen_draw(&g, &f);
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
            if (!shows(&g, texts[i]))
                fail_msg("no '%s' at %d by %d", texts[i], g.columns, g.rows);
        for (int k = 0; k < keys_n_help; k++) {
            char text[128];
            snprintf(text, sizeof(text), "%s %s", keys_help[k].key, keys_help[k].what);
            if (!shows(&g, text))
                fail_msg("no key '%s' at %d by %d", text, g.columns, g.rows);
        }
        if (g.columns >= 80)
            assert_true(shows(&g, "guidance 2.0") && shows(&g, "(heard: two)") &&
                        shows(&g, "seed 77") && shows(&g, "key to ear 93 ms") &&
                        shows(&g, "5.5 x real time, slowest 2.5"));
        grid_free(&g);
    }
}

static void test_ascii(void **state)
{
    struct grid g;
    struct screen_facts f = facts_make(false);
    f.model = "caf\xc3\xa9";
    assert_true(grid_init(&g, 24, 80));
    screen_draw(&g, &f);
    for (int i = 0; i < g.rows * g.columns; i++)
        assert_true(g.cells[i].character >= ' ' && g.cells[i].character < 0x7f);
    assert_true(shows(&g, "caf?"));
    f.utf8 = true;
    screen_draw(&g, &f);
    assert_true(shows(&g, "caf\xc3\xa9") && shows(&g, "\xe2\x96\x88"));
    f.model = "\xff\xc3"; /* no UTF-8 at all */
    screen_draw(&g, &f);
    assert_true(shows(&g, "??"));
    grid_free(&g);
}

static void test_too_small(void **state)
{
    for (int rows = 1; rows <= 20; rows++)
        for (int columns = 1; columns <= 90; columns++) {
            struct grid g;
            struct screen_facts f = facts_make(true);
            assert_true(grid_init(&g, rows, columns));
            screen_draw(&g, &f); /* nothing is written outside, the sanitizers say */
            if (rows < SCREEN_ROWS_MIN && rows > 1 && columns > 40)
                assert_true(shows(&g, "too small; q leaves"));
            grid_free(&g);
        }
}

/* The sine fills the waveform from its top row to its lowest, silence is one line; the burning band
   is one row (or few) of the spectrum, at the right edge. */
static void test_sound(void **state)
{
    struct grid g;
    struct screen_facts f = facts_make(false);
    assert_true(grid_init(&g, 24, 80));
    screen_draw(&g, &f);
    char row[512];
    int waves = 0, heats = 0, most = 0;
    for (int r = 1; r < g.rows; r++) {
        int heat = 0;
        bool in_wave = false;
        for (int c = 0; c < g.columns; c++) {
            const struct cell *cell = &g.cells[r * g.columns + c];
            in_wave |= cell->style == STYLE_WAVE;
            if (cell->style == STYLE_HEAT + SCREEN_HEATS - 1) {
                heat++;
                assert_true(c >= g.columns - N_SPECTRA);
            }
        }
        waves += in_wave;
        heats += heat > 0;
        most = heat > most ? heat : most;
    }
    assert_true(waves >= 4);
    assert_int_equal(heats, 1);
    assert_int_equal(most, N_SPECTRA);
    for (int i = 0; i < N_WAVE; i++)
        wave[i] = 0;
    screen_draw(&g, &f);
    waves = 0;
    for (int r = 1; r < g.rows; r++)
        waves += g.cells[r * g.columns].style == STYLE_WAVE;
    assert_int_equal(waves, 1);
    grid_text(&g, 0, row, sizeof(row));
    assert_string_equal(row, "hiss live  digits  1:23  playing");
    grid_free(&g);
}

static void test_states(void **state)
{
    struct grid g;
    struct screen_facts f = facts_make(true);
    assert_true(grid_init(&g, 24, 80));
    f.live.performance.paused = true;
    f.record = "set.wav";
    f.record_s = 12.34;
    f.prompt = "prompt file: x_";
    f.guard = false;
    screen_draw(&g, &f);
    assert_true(shows(&g, "paused  REC set.wav 12.3 s") && shows(&g, "prompt file: x_"));
    assert_true(shows(&g, "guard off") && !shows(&g, "slot 4 is empty"));
    f.live.player.state = PLAYER_LOST;
    f.live.errand = LIVE_LISTENING;
    f.record = NULL;
    screen_draw(&g, &f);
    assert_true(shows(&g, "device lost  listening to the microphone"));
    grid_free(&g);
}

/* --- keys ------------------------------------------------------------------------------------ */

static struct wish press(struct keys *k, const char *keys, const struct live_facts *now)
{
    struct wish w = {WISH_NOTHING};
    for (; *keys; keys++)
        w = keys_press(k, (unsigned char)*keys, now, 3);
    return w;
}

static void test_keys_actions(void **state)
{
    struct keys k = {0};
    struct live_facts now = {0};
    now.performance.sampling = (struct hiss_sampling){41, 0.95f, 0.98f, 2};
    now.performance.label = -1;
    struct wish w = press(&k, "T", &now);
    assert_true(w.kind == WISH_ACTION && w.action.kind == ACTION_TEMPERATURE);
    assert_true(fabsf(w.action.value - 1) < 1e-6f);
    w = press(&k, "t", &now);
    assert_true(fabsf(w.action.value - 0.9f) < 1e-6f);
    now.performance.sampling.temperature = 0;
    assert_true(press(&k, "t", &now).action.value == 0);
    keys_expect(&now, &w.action); /* a second key before the first has shown */
    assert_true(fabsf(press(&k, "t", &now).action.value - 0.85f) < 1e-6f);
    w = press(&k, "P", &now);
    assert_true(w.action.kind == ACTION_TOP_P && fabsf(w.action.value - 0.99f) < 1e-6f);
    now.performance.sampling.top_p = 1;
    assert_true(press(&k, "P", &now).action.value == 1);
    w = press(&k, "n", &now);
    assert_true(w.action.kind == ACTION_SEED && w.action.seed == 42);
    w = press(&k, " ", &now);
    assert_true(w.action.kind == ACTION_PAUSE && w.action.on);
    now.performance.paused = true;
    assert_false(press(&k, " ", &now).action.on);
    w = press(&k, "R", &now);
    assert_true(w.action.kind == ACTION_REWIND && w.action.value == 8 && w.action.seed == 42);
    w = press(&k, "s4", &now);
    assert_true(w.action.kind == ACTION_SNAPSHOT && w.action.slot == 4);
    w = press(&k, "7", &now);
    assert_true(w.action.kind == ACTION_RECALL && w.action.slot == 7);
    /* none, 0, 1, 2 and around */
    static const int up[] = {0, 1, 2, -1}, down[] = {2, -1, 0, 1};
    for (int label = -1; label < 3; label++) {
        now.performance.label = label;
        assert_int_equal(press(&k, "l", &now).action.number, up[label + 1]);
        assert_int_equal(press(&k, "L", &now).action.number, down[label + 1]);
    }
    assert_int_equal(press(&k, "q", &now).kind, WISH_LEAVE);
    assert_int_equal(press(&k, "c", &now).kind, WISH_RECORD);
    assert_int_equal(press(&k, "w", &now).kind, WISH_SAVE);
    assert_int_equal(press(&k, "i", &now).kind, WISH_LISTEN);
    assert_int_equal(press(&k, "~", &now).kind, WISH_NOTHING);
}

static void test_keys_morph(void **state)
{
    struct keys k = {0};
    struct live_facts now = {0};
    char text[KEYS_LINE_MAX + 64];
    assert_int_equal(press(&k, ">", &now).kind, WISH_NOTHING); /* nothing to mix yet */
    assert_null(keys_question(&k, text, sizeof(text)));
    assert_int_equal(press(&k, "x2", &now).kind, WISH_NOTHING);
    assert_non_null(strstr(keys_question(&k, text, sizeof(text)), "slot 2"));
    struct wish w = press(&k, "5", &now);
    assert_true(w.action.kind == ACTION_MORPH && w.action.slot == 2 && w.action.other == 5);
    assert_true(w.action.value == 0.5f);
    assert_true(fabsf(press(&k, ">", &now).action.value - 0.6f) < 1e-6f);
    w = press(&k, "<<<<<<<<<<<", &now);
    assert_true(w.action.value == 0);
    assert_int_equal(press(&k, "sq", &now).kind, WISH_NOTHING); /* no slot: the question is gone */
    assert_null(keys_question(&k, text, sizeof(text)));
    assert_int_equal(press(&k, "q", &now).kind, WISH_LEAVE);
}

static void test_keys_path(void **state)
{
    struct keys k = {0};
    struct live_facts now = {0};
    char text[KEYS_LINE_MAX + 64];
    press(&k, "oq1\xc3\xa9", &now);
    assert_non_null(strstr(keys_question(&k, text, sizeof(text)), "q1\xc3\xa9_"));
    press(&k, "\x7f", &now); /* both bytes */
    struct wish w = press(&k, "x.wav\n", &now);
    assert_int_equal(w.kind, WISH_PROMPT);
    assert_string_equal(w.path, "q1x.wav");
    assert_int_equal(press(&k, "oabc\x1b", &now).kind, WISH_NOTHING);
    assert_null(keys_question(&k, text, sizeof(text)));
    assert_int_equal(press(&k, "o\x7f\x7f\n", &now).kind, WISH_NOTHING); /* nothing typed */
    press(&k, "o", &now);
    for (int i = 0; i < 2 * KEYS_LINE_MAX; i++)
        press(&k, "y", &now);
    w = press(&k, "\n", &now);
    assert_int_equal(strlen(w.path), KEYS_LINE_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_ascii),
        cmocka_unit_test(test_too_small),  cmocka_unit_test(test_sound),
        cmocka_unit_test(test_states),     cmocka_unit_test(test_keys_actions),
        cmocka_unit_test(test_keys_morph), cmocka_unit_test(test_keys_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
