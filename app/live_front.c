#include "app/live_front.h"

#include "app/event_log.h"
#include "app/live_guard.h"
#include "app/live_keys.h"
#include "app/live_record.h"
#include "app/screen.h"
#include "app/stop.h"
#include "app/terminal.h"
#include "app/text.h"
#include "audio/spectrum.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 50, JSON_EVERY = 10 /* looks */, FRAME = 512 };

static const float spectrum_floor_db = -120;

struct front {
    struct live *live;
    const struct live_front_options *options;
    struct recorder *recorder;
    struct keys keys;
    struct live_facts facts;
    int64_t n_guarded;
    char message[LIVE_MESSAGE_MAX];
    int64_t n_looks;
    bool leave, screen;
    /* of the screen */
    struct grid grid;
    struct spectrum *spectrum;
    struct mel *mel;
    float spectra[SCREEN_SPECTRA * SCREEN_BANDS];
    int n_spectra;
    float wave[SCREEN_WAVE];
};

/* A line for the user, wherever that is now. */
static void say(struct front *f, const char *text)
{
    if (f->options->json) {
        json_t *o = json_pack("{s:o}", "message", text_json(text));
        json_dumpf(o, stdout, JSON_COMPACT);
        printf("\n");
        json_decref(o);
    } else if (f->screen) {
        snprintf(f->message, sizeof(f->message), "%s", text);
    } else {
        log_info("%s", text);
    }
}

static void say_error(struct front *f)
{
    char text[LIVE_MESSAGE_MAX];
    snprintf(text, sizeof(text), "%.*s", LIVE_MESSAGE_MAX - 1, error_text());
    say(f, text);
}

static void messages_say(struct front *f)
{
    char text[LIVE_MESSAGE_MAX];
    while (live_message(f->live, text))
        say(f, text);
    if (!f->options->guard)
        return;
    enum guard_verdict last;
    int64_t count = live_guard_count(f->options->guard, &last);
    if (count == f->n_guarded)
        return;
    f->n_guarded = count;
    snprintf(text, sizeof(text), "guard: %s; wound back, with other noise%s",
             guard_verdict_name(last), last == GUARD_NOISE ? ", cooler for a while" : "");
    say(f, text);
}

/* --- without a screen ---------------------------------------------------------------------------
 */

static void status_say(const struct front *f, bool last)
{
    const struct live_facts *l = &f->facts;
    log_status(
        last,
        "%.1f s, %.1f dB, %.2f bits a sample, %.2f x real time (slowest %.2f), ring %.0f ms, "
        "key to ear %.0f ms, %lld underruns",
        (double)l->performance.at / hiss_model_rate(live_model(f->live)), (double)l->level_db,
        (double)l->bits, (double)l->speed_mean, (double)l->speed_worst, 1000 * l->player.fill_s,
        (double)l->latency_ms, (long long)l->player.underruns);
}

static void json_say(const struct front *f)
{
    const struct live_facts *l = &f->facts;
    const struct performance_facts *p = &l->performance;
    const struct hiss_model *m = live_model(f->live);
    const char *label = hiss_model_label(m, p->label);
    json_t *o = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:I, s:b, s:b, s:b, s:I}",
        "time_s", (double)p->at / hiss_model_rate(m), "level_db", (double)l->level_db, "bits",
        (double)l->bits, "speed_mean", (double)l->speed_mean, "speed_worst", (double)l->speed_worst,
        "ring_ms", 1000 * l->player.fill_s, "latency_ms", (double)l->latency_ms, "underruns",
        (json_int_t)l->player.underruns, "temperature", (double)p->sampling.temperature, "top_p",
        (double)p->sampling.top_p, "guidance", (double)p->sampling.guidance, "seed",
        (json_int_t)p->sampling.seed, "paused", p->paused, "muted", p->mute, "frozen", p->frozen,
        "guarded", (json_int_t)f->n_guarded);
    json_object_set_new(o, "label", label ? json_string(label) : json_null());
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    printf("\n");
    fflush(stdout);
    json_decref(o);
}

/* --- the screen ---------------------------------------------------------------------------------
 */

static void spectrum_note(struct front *f)
{
    float x[FRAME], power[FRAME / 2 + 1], bands[SCREEN_BANDS];
    int64_t at;
    live_recent(f->live, x, FRAME, &at);
    spectrum_power(f->spectrum, power, x, FRAME, 0);
    mel_power(f->mel, bands, power);
    if (f->n_spectra == SCREEN_SPECTRA) {
        f->n_spectra--;
        memmove(f->spectra, f->spectra + SCREEN_BANDS,
                sizeof(float) * SCREEN_BANDS * (size_t)f->n_spectra);
    }
    float *to = f->spectra + (size_t)f->n_spectra++ * SCREEN_BANDS;
    for (int b = 0; b < SCREEN_BANDS; b++)
        to[b] = power_db(bands[b], spectrum_floor_db);
}

static const char *label_text(const struct hiss_model *m, int label)
{
    const char *name = hiss_model_label(m, label);
    return name ? name : "none";
}

static bool screen_show(struct front *f)
{
    const struct hiss_model *m = live_model(f->live);
    const struct performance_facts *p = &f->facts.performance;
    char question[KEYS_LINE_MAX + 64];
    int rows, columns;
    int64_t at;
    terminal_size(&rows, &columns);
    if (rows != f->grid.rows || columns != f->grid.columns) {
        grid_free(&f->grid);
        if (!grid_init(&f->grid, rows, columns))
            return false;
    }
    if (!p->paused && f->facts.player.state == PLAYER_PLAYING)
        spectrum_note(f);
    int n_wave = hiss_model_rate(m) / 20; /* 50 ms */
    n_wave = n_wave < SCREEN_WAVE ? n_wave : SCREEN_WAVE;
    live_recent(f->live, f->wave, n_wave, &at);
    struct screen_facts facts = {.utf8 = terminal_utf8(),
                                 .model = f->options->model,
                                 .device = live_device(f->live),
                                 .label = label_text(m, p->label),
                                 .label_heard = label_text(m, p->label_heard),
                                 .rate = hiss_model_rate(m),
                                 .live = f->facts,
                                 .wave = f->wave,
                                 .n_wave = n_wave,
                                 .spectra = f->spectra,
                                 .n_spectra = f->n_spectra,
                                 .keys = keys_help,
                                 .n_keys = keys_n_help,
                                 .guard = f->options->guard != NULL,
                                 .n_guarded = f->n_guarded,
                                 .prompt = keys_question(&f->keys, question, sizeof(question)),
                                 .message = f->message};
    facts.record = recorder_path(f->recorder, &facts.record_s);
    screen_draw(&f->grid, &facts);
    terminal_paint(&f->grid);
    return true;
}

static bool screen_open(struct front *f)
{
    int rate = hiss_model_rate(live_model(f->live));
    if (f->options->json)
        return true;
    f->spectrum = spectrum_open(FRAME);
    f->mel = mel_open(SCREEN_BANDS, FRAME, rate);
    if (!f->spectrum || !f->mel)
        return false;
    f->screen = terminal_open();
    if (f->screen)
        log_set_level(LOG_QUIET);
    return true;
}

static void screen_close(struct front *f)
{
    if (f->screen) {
        terminal_close();
        log_set_level(LOG_NORMAL);
        if (f->message[0])
            log_info("%s", f->message);
    }
    f->screen = false;
    grid_free(&f->grid);
    spectrum_close(f->spectrum);
    mel_close(f->mel);
}

/* --- wishes -------------------------------------------------------------------------------------
 */

/* NAME-SEED-K.EXTENSION, the first that is not there yet. */
static void path_new(const struct front *f, char path[FILE_PATH_MAX], const char *name,
                     const char *extension)
{
    unsigned long long seed = f->facts.performance.sampling.seed;
    for (int k = 0; k < 10000; k++) {
        snprintf(path, FILE_PATH_MAX, "%s-%llu-%d.%s", name, seed, k, extension);
        if (!path_exists(path))
            return;
    }
}

static bool record_toggle(struct front *f)
{
    char path[FILE_PATH_MAX], text[LIVE_MESSAGE_MAX];
    double seconds;
    const char *under_way = recorder_path(f->recorder, &seconds);
    if (!under_way) {
        path_new(f, path, "live", "wav");
        return recorder_start(f->recorder, path);
    }
    snprintf(text, sizeof(text), "%.200s: %.1f s", under_way, seconds);
    if (!recorder_stop(f->recorder))
        return false;
    say(f, text);
    return true;
}

static bool wish_do(struct front *f, const struct wish *w)
{
    char path[FILE_PATH_MAX];
    switch (w->kind) {
    case WISH_NOTHING:
        return true;
    case WISH_ACTION:
        if (!live_act(f->live, &w->action))
            return false;
        keys_expect(&f->facts, &w->action);
        return true;
    case WISH_PROMPT:
        return live_prompt_file(f->live, w->path);
    case WISH_SAVE:
        path_new(f, path, "state", "hiss");
        return live_save_state(f->live, path);
    case WISH_LISTEN:
        return live_listen(f->live, f->facts.errand != LIVE_LISTENING);
    case WISH_RECORD:
        return record_toggle(f);
    case WISH_LEAVE:
        f->leave = true;
        return true;
    }
    return true;
}

/* All keys that were pressed, waiting for one at most LOOK_MS. */
static void keys_serve(struct front *f)
{
    int n_labels = hiss_model_n_labels(live_model(f->live)), wait_ms = LOOK_MS, key;
    while (!f->leave && (key = terminal_key(wait_ms)) >= 0) {
        struct wish w = keys_press(&f->keys, key, &f->facts, n_labels);
        f->message[0] = 0;
        if (!wish_do(f, &w))
            say_error(f);
        wait_ms = 0;
    }
}

/* One look at everything. False with error_text. */
static bool look(struct front *f)
{
    live_look(f->live, &f->facts);
    messages_say(f);
    if (!recorder_run(f->recorder))
        say_error(f);
    if (f->screen) {
        if (!screen_show(f))
            return false;
        keys_serve(f);
        return true;
    }
    if (f->options->json) {
        if (f->n_looks++ % JSON_EVERY == 0)
            json_say(f);
    } else {
        status_say(f, false);
    }
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    return true;
}

/* The session as long as it lasts. */
static bool serve(struct front *f)
{
    bool ok = true;
    while (!f->leave && !live_ended(f->live, &ok) && !stop_requested())
        if (!look(f))
            return false;
    return ok || error_set("the session failed");
}

/* The sound fades; what is left of it is recorded, the terminal given back. */
static bool finish(struct front *f)
{
    live_look(f->live, &f->facts);
    if (!f->screen && !f->options->json)
        status_say(f, true);
    live_stop(f->live);
    screen_close(f);
    log_status_end();
    messages_say(f);
    double seconds;
    char path[FILE_PATH_MAX] = "";
    const char *under_way = recorder_path(f->recorder, &seconds);
    if (under_way)
        snprintf(path, sizeof(path), "%s", under_way);
    bool ok = recorder_stop(f->recorder);
    recorder_path(f->recorder, &seconds);
    if (ok && path[0])
        log_info("%s: %.2f s; hiss again %s makes it again", path, seconds, path);
    return recorder_close(f->recorder) && ok;
}

bool live_front_run(struct live *l, const struct live_front_options *o)
{
    struct front *f = calloc(1, sizeof(*f));
    if (!f)
        return error_set("out of memory for the front of a session");
    f->live = l;
    f->options = o;
    f->recorder = recorder_open(l, &(struct recorder_session){.model_path = o->model,
                                                              .precision = o->precision,
                                                              .label = o->label,
                                                              .sampling = o->sampling});
    bool ok = f->recorder && (!o->record || recorder_start(f->recorder, o->record)) &&
              live_start(l) && screen_open(f) && serve(f);
    char why[ERROR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s", error_text());
    if (f->recorder && !finish(f))
        ok = false;
    else if (!ok)
        error_set("%s", why);
    free(f);
    return ok;
}
