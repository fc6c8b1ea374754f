#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/live_front.h"
#include "app/live_speed.h"
#include "app/option.h"
#include "app/prompt.h"
#include "app/stop.h"
#include "base/error.h"
#include "base/log.h"
#include "kernels/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct words {
    const char *model, *label, *prompt, *from, *record, *device, *backend, *precision;
    double buffer, seconds, prerender, temperature, top_p, guidance; /* NAN: not given */
    int64_t seed, threads, rate, channels;                           /* -1: not given */
    bool list_devices, anyway, json, no_guard;
};

struct session {
    const struct words *words;
    char model_path[FILE_PATH_MAX];
    struct hiss_model *model; /* to ask; the session opens its own */
    struct prompt prompt;
    char *state;
    struct live_guard *guard; /* NULL: none */
    struct live_options options;
};

#define MEASURE_S 0.6

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"device", 'd', OPTION_TEXT, &w->device, "NAME", 0, 0,
         "where to play: a number or name of --list-devices, or a part of a name (default: the "
         "system's)"},
        {"list-devices", 0, OPTION_FLAG, &w->list_devices, NULL, 0, 0,
         "list the sound devices and end"},
        {"buffer", 'b', OPTION_TIME, &w->buffer, "TIME", 0.005, 600,
         "sound that lies ready ahead of the device: less is quicker to the hand, more is safer "
         "(default 80ms)"},
        {"rate", 0, OPTION_COUNT, &w->rate, "HZ", 4000, 768000,
         "of the device (default: the device's own)"},
        {"channels", 0, OPTION_COUNT, &w->channels, "N", 1, PLAYER_CHANNELS_MAX,
         "of the device; all sound the same (default: 2, or 1 where there is no second)"},
        {"seconds", 's', OPTION_TIME, &w->seconds, "TIME", 0, 1e9,
         "end after so much (default: play until you leave)"},
        {"seed", 0, OPTION_COUNT, &w->seed, "N", 0, 9e18,
         "of the noise; it sounds as hiss generate writes it with this seed (default: random, and "
         "said)"},
        {"label", 'l', OPTION_TEXT, &w->label, "NAME", 0, 0, "what to say (default: none)"},
        {"guidance", 'g', OPTION_REAL, &w->guidance, "X", -100, 100,
         "how strongly the label steers; 1: as trained, at half the work (default: the model's)"},
        {"temperature", 'T', OPTION_REAL, &w->temperature, "X", 0, 100,
         "below 1 calmer, above wilder; 0: always the likeliest (default: the model's)"},
        {"top-p", 0, OPTION_REAL, &w->top_p, "X", 1e-6, 1,
         "keep only the likeliest codes, up to this probability (default: the model's)"},
        {"prompt", 'p', OPTION_TEXT, &w->prompt, "FILE", 0, 0,
         "sound to go on from, any format and rate (default: none)"},
        {"from", 0, OPTION_TEXT, &w->from, "FILE", 0, 0,
         "begin with a state that was saved while playing (default: none)"},
        {"record", 'r', OPTION_TEXT, &w->record, "FILE", 0, 0,
         "record what is heard from the beginning (default: not)"},
        {"prerender", 0, OPTION_TIME, &w->prerender, "TIME", 0.1, 600,
         "make so much before playing it, for models too slow to be played as they are made "
         "(default: none; ends with it unless --seconds says otherwise)"},
        {"anyway", 0, OPTION_FLAG, &w->anyway, NULL, 0, 0,
         "play even what this machine cannot make in time, with gaps"},
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0,
         "lines of JSON on standard output, for programs"},
        {"no-guard", 0, OPTION_FLAG, &w->no_guard, NULL, 0, 0,
         "let it run away into noise or silence (default: wind it back then)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads, 0: all there are (default: one if that is fast enough)"},
        {"precision", 0, OPTION_TEXT, &w->precision, "NAME", 0, 0,
         "of the weights: fp32, fp16 or int8 (default fp16)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {
        "live", "[MODEL]",
        "Plays MODEL as it makes sound, with your hands on it: a bundled one by its name "
        "(default " DEFAULT_MODEL "), a .safetensors file, a checkpoint or a run.",
        0, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK)
        w->model = arguments[0];
    return parsed;
}

/* EXIT_OK, or EXIT_USAGE after saying why: words that do not go together. */
static int words_check(const struct words *w)
{
    enum precision precision;
    if (!precision_from_name(&precision, w->precision))
        return usage_error("live", "--precision %s: expected fp32, fp16 or int8", w->precision);
    if (w->prompt && w->from)
        return usage_error("live", "--prompt and --from are two beginnings: choose one");
    if (w->seconds == 0)
        return usage_error("live", "--seconds 0: expected some time");
    return EXIT_OK;
}

static void device_print(void *arg, const struct player_device *d)
{
    printf("%3d %s%s  %s: %d out, %d in, %.0f Hz, %.0f ms\n", d->number, d->name,
           d->is_default && d->is_default_in ? " (default, both ways)"
           : d->is_default                   ? " (default)"
           : d->is_default_in                ? " (default microphone)"
                                             : "",
           d->api, d->n_out, d->n_in, d->rate, 1000 * d->latency_s);
}

static uint64_t seed_random(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint32_t)time(NULL);
    return seed;
}

static bool state_read(struct session *s)
{
    s->state = file_read(s->words->from, &s->options.state_size);
    s->options.state = s->state;
    return s->state != NULL;
}

/* What the words mean for this model. */
static bool options_make(struct session *s)
{
    const struct words *w = s->words;
    struct hiss_sampling sampling = hiss_model_sampling(s->model);
    int rate = hiss_model_rate(s->model);
    sampling.seed = w->seed >= 0 ? (uint64_t)w->seed : seed_random();
    if (!isnan(w->temperature))
        sampling.temperature = (float)w->temperature;
    if (!isnan(w->top_p))
        sampling.top_p = (float)w->top_p;
    if (!isnan(w->guidance))
        sampling.guidance = (float)w->guidance;
    double seconds = isnan(w->seconds) && !isnan(w->prerender) ? w->prerender : w->seconds;
    s->options = (struct live_options){
        .model_path = s->model_path,
        .backend = w->backend,
        .precision = w->precision,
        .n_threads = w->threads < 0 ? 0 : (int)w->threads,
        .sampling = sampling,
        .label = w->label ? hiss_model_find_label(s->model, w->label) : -1,
        .n_samples = isnan(seconds) ? 0 : (int64_t)llround(seconds * rate),
        .player = {.device = w->device,
                   .rate = (int)w->rate,
                   .channels = (int)w->channels,
                   .buffer_s = isnan(w->prerender) ? w->buffer : w->prerender},
    };
    if (w->label && s->options.label < 0)
        return false;
    if (w->from && !state_read(s))
        return false;
    if (w->prompt && !prompt_load(&s->prompt, w->prompt, s->model))
        return false;
    s->options.prompt = s->prompt.codes;
    s->options.n_prompt = s->prompt.n;
    if (!w->no_guard && !live_guard_open(&s->guard, s->model, sampling.seed))
        return false;
    s->options.after_block = s->guard ? live_guard_block : NULL;
    s->options.after_block_arg = s->guard;
    return true;
}

/* One thing that could be otherwise: how fast it would be then. Adds to the text if that helps. */
static void try_other(const struct session *s, const char *precision, float guidance,
                      const char *words, char *text, size_t size)
{
    const struct live_options *o = &s->options;
    struct hiss_sampling sampling = o->sampling;
    struct live_speed speed;
    size_t used = strlen(text);
    sampling.guidance = guidance;
    if (speed_measure(&speed, o->model_path, o->backend, o->n_threads, precision, &sampling,
                      o->label, MEASURE_S) &&
        speed.mean >= SPEED_LEAST)
        snprintf(text + used, size - used, "%s%s (%.2f)", used ? ", " : "", words,
                 (double)speed.mean);
}

/* False with error_text: this machine cannot, and what would help. */
static bool speed_refuse(const struct session *s, const struct live_speed *speed)
{
    const struct words *w = s->words;
    const struct live_options *o = &s->options;
    const char *other = strcmp(o->precision, "int8") == 0 ? "fp16" : "int8";
    char help[256] = "", words[64];
    snprintf(words, sizeof(words), "--precision %s", other);
    try_other(s, other, o->sampling.guidance, words, help, sizeof(help));
    if (speed->guided) {
        try_other(s, o->precision, 1, "--guidance 1", help, sizeof(help));
        snprintf(words, sizeof(words), "--guidance 1 --precision %s", other);
        try_other(s, other, 1, words, help, sizeof(help));
    }
    return error_set(
        "%s makes %.2f s of sound a second here, too slow to play as it is made. What would do: "
        "%s%sa smaller model, another --backend, --prerender 10s (%.0f s of waiting); --anyway "
        "plays with gaps",
        w->model ? w->model : DEFAULT_MODEL, (double)speed->mean, help, help[0] ? ", " : "",
        10.0 / (double)speed->mean);
}

static bool session_measure(const struct session *s, struct live_speed *speed)
{
    const struct live_options *o = &s->options;
    return speed_measure(speed, o->model_path, o->backend, o->n_threads, o->precision, &o->sampling,
                         o->label, MEASURE_S);
}

/* Can it be played? Measured on the engine that plays, before anything is heard. One thread, if
   that is fast enough: what waits for no other is late less often. */
static bool speed_check(struct session *s)
{
    struct live_options *o = &s->options;
    struct live_speed speed;
    bool choose = s->words->threads < 0;
    o->n_threads = choose ? 1 : o->n_threads;
    if (!session_measure(s, &speed))
        return false;
    if (choose && speed.alone < SPEED_COMFORTABLE) {
        o->n_threads = 0;
        if (!session_measure(s, &speed))
            return false;
    }
    bool enough = speed.mean >= SPEED_LEAST, busy = !enough && speed.alone >= SPEED_GOOD;
    double stall = SPEED_PART_S / (double)speed.worst - SPEED_PART_S;
    double lasts = o->player.buffer_s / (1 - (double)speed.mean);
    if (!enough && !busy && !s->words->anyway && isnan(s->words->prerender) &&
        (o->n_samples == 0 || lasts * hiss_model_rate(s->model) < (double)o->n_samples))
        return speed_refuse(s, &speed);
    log_info("%.2f x real time here, %.2f at the slowest moment", (double)speed.mean,
             (double)speed.worst);
    if (busy)
        log_warn("other work has this machine's processors: alone it would be %.2f; as it is there "
                 "will be gaps",
                 (double)speed.alone);
    else if (!enough)
        log_warn("too slow to play as it is made: the buffer lasts %.1f s", lasts);
    else if (speed.mean < SPEED_GOOD)
        log_warn("little to spare: other work on this machine will be heard as gaps");
    else if (stall > o->player.buffer_s)
        log_warn("the slowest moment was %.0f ms late, the buffer holds %.0f: --buffer %.0fms is "
                 "safer",
                 1000 * stall, 1000 * o->player.buffer_s, ceil(120 * stall) * 10);
    return true;
}

static bool session_play(const struct session *s)
{
    const struct words *w = s->words;
    struct live *l = live_open(&s->options);
    if (!l)
        return false;
    log_info("%s, seed %llu, buffer %.0f ms", live_device(l),
             (unsigned long long)s->options.sampling.seed, 1000 * s->options.player.buffer_s);
    bool ok =
        live_front_run(l, &(struct live_front_options){.record = w->record,
                                                       .json = w->json,
                                                       .model = w->model ? w->model : DEFAULT_MODEL,
                                                       .precision = w->precision,
                                                       .label = w->label,
                                                       .sampling = s->options.sampling,
                                                       .guard = s->guard});
    live_close(l);
    return ok;
}

/* Before any work: is there a device at all, and can the model be read? */
static bool session_run(struct session *s)
{
    struct player *player;
    return find_model(s->model_path, s->words->model) &&
           (s->model = hiss_model_open(s->model_path, s->words->backend, 1)) && options_make(s) &&
           (player = player_open(&s->options.player)) && (player_close(player), true) &&
           speed_check(s) && (stop_requested() || session_play(s));
}

int command_live(int argc, const char **argv)
{
    struct words w = {.backend = "auto",
                      .precision = "fp16",
                      .buffer = LIVE_BUFFER_S,
                      .seconds = NAN,
                      .prerender = NAN,
                      .temperature = NAN,
                      .top_p = NAN,
                      .guidance = NAN,
                      .seed = -1,
                      .threads = -1,
                      .rate = 0,
                      .channels = 0};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    if (words_check(&w) != EXIT_OK)
        return EXIT_USAGE;
    log_take_stderr(); /* PortAudio speaks its mind there when a device fails */
    if (w.list_devices)
        return player_devices(device_print, NULL) ? EXIT_OK : world_error();
    struct session s = {.words = &w};
    int status = session_run(&s) ? EXIT_OK : world_error();
    if (status == EXIT_OK && stop_requested())
        status = EXIT_SIGNAL + stop_requested();
    prompt_free(&s.prompt);
    free(s.state);
    live_guard_close(s.guard);
    hiss_model_close(s.model);
    return status;
}
