#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/guard.h"
#include "app/keep.h"
#include "app/measure.h"
#include "app/option.h"
#include "app/prompt.h"
#include "app/provenance.h"
#include "app/stop.h"
#include "app/takes.h"
#include "app/text.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "kernels/plan.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { CROP_SECONDS = 10 };

struct words {
    const char *model, *label, *prompt, *output, *backend, *precision;
    double seconds, temperature, top_p, guidance; /* NAN: not given */
    int64_t seed, count, keep, threads;           /* -1: not given */
    bool with_prompt, guard, no_guard;
};

struct generate {
    const struct words *words;
    struct hiss_model *model; /* to ask; the takes open their own */
    char model_path[FILE_PATH_MAX];
    struct hiss_sampling sampling;
    int labels[TAKE_LABELS_MAX];
    int n_labels;
    struct prompt prompt;
    int64_t n_samples;
    bool guarded;
    struct guard_limits limits;
    char folder[FILE_PATH_MAX]; /* of several takes, or "" */
    char path[FILE_PATH_MAX];   /* of a single one */
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"output", 'o', OPTION_TEXT, &w->output, "PATH", 0, 0,
         "file (its extension is the format: wav, flac, ogg, aiff, raw ...), folder/, or - for a "
         "WAV stream on standard output (default: take-SEED-0.wav here)"},
        {"seconds", 's', OPTION_TIME, &w->seconds, "TIME", 0, 1e9,
         "new sound, in seconds or as 80ms, 2min (default: one clip a label for models that sing "
         "in clips, else 10 s)"},
        {"seed", 0, OPTION_COUNT, &w->seed, "N", 0, 9e18,
         "of the noise; the same command and seed make the same file (default: random, and said)"},
        {"label", 'l', OPTION_TEXT, &w->label, "NAMES", 0, 0,
         "what to say: one label, or several with commas between, one a clip (default: none)"},
        {"guidance", 'g', OPTION_REAL, &w->guidance, "X", -100, 100,
         "how strongly the label steers; 1: as trained (default: the model's)"},
        {"temperature", 'T', OPTION_REAL, &w->temperature, "X", 0, 100,
         "below 1 calmer, above wilder; 0: always the likeliest (default: the model's)"},
        {"top-p", 0, OPTION_REAL, &w->top_p, "X", 1e-6, 1,
         "keep only the likeliest codes, up to this probability (default: the model's)"},
        {"prompt", 'p', OPTION_TEXT, &w->prompt, "FILE", 0, 0,
         "sound to go on from, any format and rate (default: none)"},
        {"with-prompt", 0, OPTION_FLAG, &w->with_prompt, NULL, 0, 0,
         "write the prompt before what follows it (default: only what follows)"},
        {"count", 'n', OPTION_COUNT, &w->count, "N", 1, 1e6, "takes to make (default 1)"},
        {"keep", 'k', OPTION_COUNT, &w->keep, "N", 1, 1e6,
         "keep only the best so many of them (default: all)"},
        {"guard", 0, OPTION_FLAG, &w->guard, NULL, 0, 0,
         "where a take runs away into noise or silence, go back and on otherwise (default: for "
         "takes of 20 s and more)"},
        {"no-guard", 0, OPTION_FLAG, &w->no_guard, NULL, 0, 0, "leave long takes alone as well"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads; changes no bits (default 0: all there are)"},
        {"precision", 0, OPTION_TEXT, &w->precision, "NAME", 0, 0,
         "of the weights while generating: fp32, fp16 or int8; another one makes another file "
         "(default fp16)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {
        "generate", "[MODEL]",
        "Writes sound made by MODEL: a bundled one by its name (default " DEFAULT_MODEL
        "), a .safetensors file, a checkpoint or a run.",
        0, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK)
        w->model = arguments[0];
    return parsed;
}

static uint64_t seed_random(void)
{
    uint32_t seed; /* 32 bits are easier to note down than 64 */
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint32_t)time(NULL);
    return seed;
}

/* EXIT_OK, or EXIT_USAGE after saying why: words that do not go together. */
static int words_check(const struct words *w)
{
    bool to_pipe = w->output && strcmp(w->output, "-") == 0;
    if (w->keep > w->count)
        return usage_error("generate", "--keep %lld of --count %lld", (long long)w->keep,
                           (long long)w->count);
    if (w->with_prompt && !w->prompt)
        return usage_error("generate", "--with-prompt needs a --prompt");
    if (w->guard && w->no_guard)
        return usage_error("generate", "--guard and --no-guard: expected one of them");
    if (to_pipe && w->count > 1)
        return usage_error("generate", "-o - takes one take, not %lld", (long long)w->count);
    if (to_pipe && isatty(STDOUT_FILENO))
        return usage_error("generate", "-o - writes sound, but standard output is a terminal");
    enum precision precision;
    if (!precision_from_name(&precision, w->precision))
        return usage_error("generate", "--precision %s: expected fp32, fp16 or int8", w->precision);
    if (w->seconds == 0)
        return usage_error("generate", "--seconds 0: expected some time");
    return EXIT_OK;
}

/* A folder if it ends in a slash or is one; several takes need one. */
static int output_check(struct generate *g)
{
    const struct words *w = g->words;
    const char *output = w->output ? w->output : "./";
    size_t length = strlen(output);
    if (length == 0 || length >= FILE_PATH_MAX - 64)
        return usage_error("generate", "--output: expected a path");
    if (output[length - 1] == '/' || path_is_folder(output)) {
        strcpy(g->folder, output);
        return EXIT_OK;
    }
    if (w->count > 1)
        return usage_error("generate", "%lld takes need a folder: -o %s/", (long long)w->count,
                           output);
    strcpy(g->path, output);
    if (!writer_check(output, hiss_model_rate(g->model), 0))
        return usage_error("generate", "%s", error_text());
    return EXIT_OK;
}

static bool labels_choose(struct generate *g)
{
    return labels_read(g->labels, &g->n_labels, g->words->label, g->model);
}

static void sampling_choose(struct generate *g)
{
    const struct words *w = g->words;
    g->sampling = hiss_model_sampling(g->model);
    g->sampling.seed = w->seed >= 0 ? (uint64_t)w->seed : seed_random();
    if (!isnan(w->temperature))
        g->sampling.temperature = (float)w->temperature;
    if (!isnan(w->top_p))
        g->sampling.top_p = (float)w->top_p;
    if (!isnan(w->guidance))
        g->sampling.guidance = (float)w->guidance;
    if (g->n_labels == 0) { /* with and without label are the same then, at twice the work */
        if (!isnan(w->guidance) && w->guidance != 1)
            log_warn("--guidance does nothing without --label");
        g->sampling.guidance = 1;
    }
}

static bool length_choose(struct generate *g)
{
    int64_t clip = hiss_model_clip(g->model), rate = hiss_model_rate(g->model);
    if (clip > 0 && g->prompt.n >= clip)
        return error_set("%s has %.2f s, but this model sings clips of %.2f s: a prompt must be "
                         "shorter than a clip",
                         g->words->prompt, (double)g->prompt.n / (double)rate,
                         (double)clip / (double)rate);
    if (!isnan(g->words->seconds))
        g->n_samples = (int64_t)llround(g->words->seconds * (double)rate);
    else
        g->n_samples = clip > 0 ? clip * (g->n_labels > 1 ? g->n_labels : 1) - g->prompt.n
                                : CROP_SECONDS * rate;
    return g->n_samples > 0 || error_set("--seconds %g is less than a sample", g->words->seconds);
}

/* Without noise in the sampling there is nothing else to go on with. */
static bool guard_choose(struct generate *g)
{
    const struct words *w = g->words;
    bool is_long = g->n_samples >= (int64_t)GUARD_LONG_S * hiss_model_rate(g->model);
    bool known = guard_limits_read(&g->limits, hiss_model_metadata(g->model, "hiss.stats"));
    if (w->guard && !known)
        return error_set(
            "--guard: the model file does not say how its recordings sound; hiss train "
            "writes that into it");
    g->guarded = known && g->sampling.temperature > 0 && (w->guard || (is_long && !w->no_guard));
    return true;
}

static void take_name(void *arg, int64_t i, char *path, size_t size)
{
    const struct generate *g = arg;
    size_t length = strlen(g->folder);
    const char *folder = strcmp(g->folder, "./") == 0 ? "" : g->folder;
    if (length > 0)
        snprintf(path, size, "%s%stake-%llu-%lld.wav", folder,
                 *folder && folder[length - 1] != '/' ? "/" : "",
                 (unsigned long long)g->sampling.seed, (long long)i);
    else
        snprintf(path, size, "%s", g->path);
}

/* What made the file: enough to make it again. */
static char *take_comment(void *arg, int64_t i)
{
    const struct generate *g = arg;
    const struct words *w = g->words;
    char hash[PROVENANCE_HASH_MAX];
    json_t *object =
        provenance_begin(g->model, w->model ? w->model : DEFAULT_MODEL, w->precision, &g->sampling);
    json_object_set_new(object, "stream", json_integer(i));
    json_object_set_new(object, "samples", json_integer(g->n_samples));
    if (g->guarded)
        json_object_set_new(object, "guard",
                            json_pack("{s:f, s:f, s:f}", "bits", g->limits.bits, "flatness",
                                      g->limits.flatness, "level_db", g->limits.level_db));
    if (g->n_labels > 0)
        json_object_set_new(object, "label", text_json(w->label));
    if (w->prompt) {
        provenance_hash(hash, g->prompt.codes, g->prompt.n);
        json_object_set_new(object, "prompt", text_json(w->prompt));
        json_object_set_new(object, "prompt_hash", json_string(hash));
        json_object_set_new(object, "prompt_samples", json_integer(g->prompt.n));
        json_object_set_new(object, "with_prompt", json_boolean(w->with_prompt));
    }
    char *text = object ? json_dumps(object, PROVENANCE_DUMP) : NULL;
    json_decref(object);
    return text;
}

/* The median bits of validation clips; NAN if the model does not know it. */
static double median_bits(const struct generate *g)
{
    const char *text = hiss_model_metadata(g->model, "hiss.stats");
    json_t *stats = text ? json_loads(text, 0, NULL) : NULL;
    const json_t *bits = json_array_get(json_object_get(stats, "bits"), MEASURE_QUANTILES / 2);
    double median = json_is_number(bits) ? json_number_value(bits) : NAN;
    json_decref(stats);
    return median;
}

/* Says the order and the scores, and removes all but the best. */
static bool takes_keep(struct generate *g, const struct take_result *results)
{
    int64_t n = g->words->count, keep = g->words->keep;
    int64_t *order = calloc((size_t)n, sizeof(*order));
    double *bits = calloc((size_t)n, sizeof(*bits));
    bool ok = order && bits;
    if (!ok)
        error_set("out of memory for the order of %lld takes", (long long)n);
    for (int64_t i = 0; ok && i < n; i++)
        bits[i] = take_bits(&results[i]);
    if (ok)
        keep_order(order, bits, n, median_bits(g));
    for (int64_t i = 0; ok && i < n; i++) {
        char path[FILE_PATH_MAX];
        take_name(g, order[i], path, sizeof(path));
        log_info("%3lld. %s  %.4f bits a sample%s", (long long)i + 1, path, bits[order[i]],
                 i < keep ? "" : ", dropped");
        if (i >= keep)
            ok = path_remove(path);
    }
    free(order);
    free(bits);
    return ok;
}

static void say_end(const struct generate *g, const struct take_result *results, double seconds)
{
    double made = 0;
    int64_t n_takes = 0, n_guarded = 0;
    char path[FILE_PATH_MAX], takes[64] = "", guarded[64] = "";
    for (int64_t i = 0; i < g->words->count; i++) {
        made += (double)results[i].n / hiss_model_rate(g->model);
        n_takes += results[i].n > 0;
        n_guarded += results[i].n_guarded;
    }
    if (n_takes == 0) {
        log_info("stopped before anything was made");
        return;
    }
    take_name((void *)g, 0, path, sizeof(path));
    if (g->words->count > 1)
        snprintf(takes, sizeof(takes), "%lld takes, ", (long long)n_takes);
    if (n_guarded > 0)
        snprintf(guarded, sizeof(guarded), "; the guard stepped in %lld time%s",
                 (long long)n_guarded, n_guarded > 1 ? "s" : "");
    log_info("%s: %s%.2f s of sound in %.1f s (%.2f x real time), seed %llu%s",
             g->words->count > 1 ? g->folder : path, takes, made, seconds, made / seconds,
             (unsigned long long)g->sampling.seed, guarded);
}

/* Can the file hold that much? Said now, not after the work. */
static bool length_check(const struct generate *g)
{
    char path[FILE_PATH_MAX];
    int64_t n_prompt = g->words->with_prompt ? g->prompt.n : 0;
    take_name((void *)g, 0, path, sizeof(path));
    return writer_check(path, hiss_model_rate(g->model), n_prompt + g->n_samples);
}

static bool generate_run(struct generate *g)
{
    const struct words *w = g->words;
    if (g->folder[0] && !folder_make(g->folder))
        return false;
    struct takes_job job = {
        .model_path = g->model_path,
        .backend = w->backend,
        .precision = w->precision,
        .n_threads = w->threads > 0 ? (int)w->threads : thread_count_available(),
        .n_takes = w->count,
        .take = {.n_samples = g->n_samples,
                 .labels = g->labels,
                 .n_labels = g->n_labels,
                 .prompt = g->prompt.codes,
                 .n_prompt = g->prompt.n,
                 .with_prompt = w->with_prompt,
                 .sampling = g->sampling,
                 .guard = g->guarded ? &g->limits : NULL},
        .name = take_name,
        .comment = take_comment,
        .arg = g,
        .rate = hiss_model_rate(g->model),
    };
    struct take_result *results = calloc((size_t)w->count, sizeof(*results));
    if (!results)
        return error_set("out of memory for %lld takes", (long long)w->count);
    double start = clock_s();
    bool ok = takes_run(&job, results);
    double seconds = clock_s() - start;
    if (ok && w->keep > 0 && w->keep < w->count && !stop_requested())
        ok = takes_keep(g, results);
    if (ok)
        say_end(g, results, seconds);
    free(results);
    return ok;
}

int command_generate(int argc, const char **argv)
{
    struct words w = {.backend = "auto",
                      .precision = "fp16",
                      .seconds = NAN,
                      .temperature = NAN,
                      .top_p = NAN,
                      .guidance = NAN,
                      .seed = -1,
                      .count = 1,
                      .keep = -1};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    if (words_check(&w) != EXIT_OK)
        return EXIT_USAGE;
    struct generate g = {.words = &w};
    if (!find_model(g.model_path, w.model) ||
        !(g.model = hiss_model_open(g.model_path, w.backend, 1)))
        return world_error();
    int status = output_check(&g);
    if (status == EXIT_OK) {
        bool ok = labels_choose(&g) && (!w.prompt || prompt_load(&g.prompt, w.prompt, g.model)) &&
                  length_choose(&g) && length_check(&g);
        if (ok)
            sampling_choose(&g);
        if (!ok || !guard_choose(&g) || !generate_run(&g))
            status = world_error();
        else if (stop_requested())
            status = EXIT_SIGNAL + stop_requested();
    }
    prompt_free(&g.prompt);
    hiss_model_close(g.model);
    return status;
}
