#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/live_speed.h"
#include "app/option.h"
#include "app/processor.h"
#include "app/stop.h"
#include "app/text.h"
#include "audio/library.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "kernels/backend.h"
#include "kernels/ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENGINES = 2, MIB = 1 << 20 };

#define MEASURE_S 2.0

/* The engine of a backend, and how fast it makes sound. */
struct engine {
    const char *backend; /* as --backend names it */
    char name[160];      /* "cpu avx2"; "" if it does not open */
    bool usual;          /* auto chooses it */
    bool measured;
    struct live_speed speed;
    char why_not[ERROR_TEXT_MAX]; /* it was not measured */
};

struct doctor {
    const char *model; /* as it was asked for */
    char processor[128], model_path[FILE_PATH_MAX];
    int rate; /* of the model, Hz */
    int n_cores;
    double memory, memory_available; /* bytes */
    struct gpu_facts gpu;
    struct engine engines[ENGINES];
    const char *precision;
};

struct words {
    const char *precision;
    int64_t threads;
    bool json;
    const char *model;
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0,
         "print one JSON object: version, processor, memory_bytes, gpu, libraries and engines "
         "(default: text)"},
        {"precision", 0, OPTION_TEXT, &w->precision, "KIND", 0, 0,
         "of the weights: fp32, fp16 or int8 (default fp16)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads (default 0: all there are)"},
    };
    const struct usage usage = {"doctor", "[MODEL]",
                                "Looks at the machine: the processor, the GPU and why it cannot be "
                                "used, the libraries, how fast a model sings on each engine that "
                                "runs here, and whether live playback would hold. MODEL defaults "
                                "to the bundled " DEFAULT_MODEL ".",
                                0, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK && strcmp(w->precision, "fp32") != 0 &&
        strcmp(w->precision, "fp16") != 0 && strcmp(w->precision, "int8") != 0) {
        usage_error("doctor", "--precision %s: expected fp32, fp16 or int8", w->precision);
        parsed = PARSED_WRONG;
    }
    w->model = arguments[0] ? arguments[0] : DEFAULT_MODEL;
    return parsed;
}

/* --- looking ---------------------------------------------------------------------------------- */

static void engine_look(struct engine *e, const struct doctor *d, const struct words *w)
{
    struct backend *be = backend_open(e->backend, (int)w->threads);
    struct backend *usual = be ? backend_open("auto", (int)w->threads) : NULL;
    if (be)
        snprintf(e->name, sizeof(e->name), "%s", be->ops->name);
    e->usual = be && usual && strcmp(be->ops->name, usual->ops->name) == 0;
    bool sings = be && be->ops->decoder_open;
    if (be && !sings)
        error_set("it has no engine for single samples: it trains, scores and hears prompts");
    backend_close(usual);
    backend_close(be);
    log_status(false, "%s: measuring", e->backend);
    if (sings) {
        struct hiss_model *m = hiss_model_open(d->model_path, e->backend, (int)w->threads);
        struct hiss_sampling sampling = m ? hiss_model_sampling(m) : (struct hiss_sampling){0};
        sampling.seed = 1;
        e->measured = m != NULL;
        hiss_model_close(m);
        e->measured =
            e->measured && speed_measure(&e->speed, d->model_path, e->backend, (int)w->threads,
                                         w->precision, &sampling, -1, MEASURE_S);
    }
    log_status_end();
    if (!e->measured)
        snprintf(e->why_not, sizeof(e->why_not), "%s", error_text());
}

static bool doctor_look(struct doctor *d, const struct words *w)
{
    d->model = w->model;
    d->precision = w->precision;
    if (!find_model(d->model_path, w->model))
        return false;
    struct hiss_model *m = hiss_model_open(d->model_path, "cpu", 1);
    bool ok = m && hiss_model_set_decode(m, w->precision, "auto");
    d->rate = m ? hiss_model_rate(m) : 0;
    hiss_model_close(m);
    if (!ok)
        return false;
    processor_name(d->processor, sizeof(d->processor));
    memory_sizes(&d->memory, &d->memory_available);
    d->n_cores = thread_count_available();
    backend_gpu_facts(&d->gpu);
    d->engines[0].backend = "cpu";
    d->engines[1].backend = "cuda";
    engine_look(&d->engines[0], d, w);
    if (d->gpu.usable && !stop_requested())
        engine_look(&d->engines[1], d, w);
    else
        snprintf(d->engines[1].why_not, sizeof(d->engines[1].why_not), "%s", d->gpu.why_not);
    return true;
}

/* Milliseconds that the slowest moment would be late. */
static double stall_ms(const struct live_speed *s)
{
    double late = SPEED_PART_S / (double)s->worst - SPEED_PART_S;
    return late > 0 ? 1e3 * late : 0;
}

static const char *verdict_of(const struct live_speed *s)
{
    if (s->mean < SPEED_LEAST)
        return "live playback would not hold";
    if (stall_ms(s) > 1e3 * LIVE_BUFFER_S)
        return "live playback would hold with a larger buffer";
    if (s->mean < SPEED_GOOD)
        return "live playback would hold, with little to spare";
    return "live playback would hold";
}

/* --- telling ---------------------------------------------------------------------------------- */

static void gpu_print(const struct gpu_facts *g)
{
    printf("GPU        %s", g->device[0] ? g->device : g->driver ? "none seen" : "none");
    if (g->device[0]) {
        printf(", compute capability %d.%d, %d multiprocessors at %.2f GHz, %.1f GiB",
               g->capability / 10, g->capability % 10, g->n_cores, g->clock_hz / 1e9,
               (double)g->memory / MIB / 1024);
        if (g->memory_free)
            printf(" (%.1f free)", (double)g->memory_free / MIB / 1024);
        if (g->n_devices > 1)
            printf("; the first of %d", g->n_devices);
    }
    printf("\n");
    if (g->driver)
        printf("  driver   %s%sCUDA %d.%d; this program is made with %d.%d\n", g->release,
               g->release[0] ? ", " : "", g->driver / 1000, g->driver % 1000 / 10,
               g->runtime / 1000, g->runtime % 1000 / 10);
    if (g->blas[0])
        printf("  cuBLAS   %s\n", g->blas);
    if (!g->usable)
        printf("  not used %s\n", g->why_not);
}

static void engine_print(const struct engine *e, const struct doctor *d)
{
    if (!e->name[0])
        return;
    printf("\nengine     %s%s\n", e->name, e->usual ? ", the one that auto chooses" : "");
    if (!e->measured) {
        printf("  not used %s\n", e->why_not);
        return;
    }
    printf("  %-8s %.1f us a sample in %s, threads %s%s, %.2f x real time, %.2f in the slowest "
           "%.0f ms\n",
           d->model, 1e6 / (d->rate * (double)e->speed.mean), d->precision, e->speed.threads,
           e->speed.guided ? ", guided" : "", (double)e->speed.mean, (double)e->speed.worst,
           1e3 * SPEED_PART_S);
    printf("  %s", verdict_of(&e->speed));
    if (stall_ms(&e->speed) > 0)
        printf("; the slowest moment was %.0f ms late, the usual buffer holds %.0f",
               stall_ms(&e->speed), 1e3 * LIVE_BUFFER_S);
    printf("\n");
}

static void doctor_print(const struct doctor *d)
{
    printf("%s\n\nprocessor  %s, %d thread%s\n", HISS_VERSION, d->processor, d->n_cores,
           d->n_cores > 1 ? "s" : "");
    printf("memory     %.1f GiB, %.1f to be had\n", d->memory / MIB / 1024,
           d->memory_available / MIB / 1024);
    gpu_print(&d->gpu);
    printf("libraries  ");
    for (int i = 0; i < AUDIO_LIBRARIES; i++) {
        const char *version = audio_library_version(i);
        if (version)
            printf("%s%.*s", i ? "; " : "", (int)strcspn(version, ","), version);
        else
            printf("%sno %s", i ? "; " : "", audio_library_name(i));
    }
    printf("\n");
    for (int i = 0; i < ENGINES; i++)
        engine_print(&d->engines[i], d);
}

static json_t *gpu_json(const struct gpu_facts *g)
{
    json_t *gpu =
        json_pack("{s:b, s:b, s:s*, s:s, s:i, s:f, s:i, s:f, s:I, s:I, s:f, s:s, s:f, s:s}",
                  "built", g->built, "usable", g->usable, "why_not", g->usable ? NULL : g->why_not,
                  "device", g->device, "devices", g->n_devices, "capability", g->capability / 10.0,
                  "multiprocessors", g->n_cores, "clock_hz", g->clock_hz, "memory_bytes",
                  (json_int_t)g->memory, "free_bytes", (json_int_t)g->memory_free, "driver_cuda",
                  g->driver / 1000 + g->driver % 1000 / 100.0, "driver", g->release, "runtime_cuda",
                  g->runtime / 1000 + g->runtime % 1000 / 100.0, "cublas", g->blas);
    return gpu;
}

static json_t *engine_json(const struct engine *e, const struct doctor *d)
{
    json_t *engine = json_pack("{s:s, s:s, s:b, s:b}", "backend", e->backend, "name", e->name,
                               "usual", e->usual, "measured", e->measured);
    if (!e->measured)
        json_object_set_new(engine, "why_not", text_json(e->why_not));
    else
        json_object_update_new(
            engine, json_pack("{s:f, s:f, s:f, s:f, s:b, s:s, s:s}", "us_a_sample",
                              1e6 / (d->rate * (double)e->speed.mean), "x_real_time",
                              (double)e->speed.mean, "x_real_time_worst", (double)e->speed.worst,
                              "late_ms", stall_ms(&e->speed), "guided", e->speed.guided, "threads",
                              e->speed.threads, "verdict", verdict_of(&e->speed)));
    return engine;
}

static bool doctor_print_json(const struct doctor *d)
{
    json_t *libraries = json_object(), *engines = json_array();
    for (int i = 0; i < AUDIO_LIBRARIES; i++) {
        const char *version = audio_library_version(i);
        json_object_set_new(libraries, audio_library_name(i),
                            version ? json_string(version) : json_null());
    }
    for (int i = 0; i < ENGINES; i++)
        json_array_append_new(engines, engine_json(&d->engines[i], d));
    json_t *root = json_pack("{s:s, s:s, s:i, s:I, s:I, s:o, s:o, s:o, s:s, s:i, s:f, s:o}",
                             "version", HISS_VERSION, "processor", d->processor, "threads",
                             d->n_cores, "memory_bytes", (json_int_t)d->memory, "available_bytes",
                             (json_int_t)d->memory_available, "gpu", gpu_json(&d->gpu), "libraries",
                             libraries, "model", text_json(d->model), "precision", d->precision,
                             "rate", d->rate, "buffer_ms", 1e3 * LIVE_BUFFER_S, "engines", engines);
    if (!root)
        return error_set("out of memory for what was found");
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    printf("\n");
    json_decref(root);
    return true;
}

int command_doctor(int argc, const char **argv)
{
    struct words w = {.precision = "fp16"};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    struct doctor *d = calloc(1, sizeof(*d));
    bool ok = (d || error_set("out of memory")) && doctor_look(d, &w);
    if (stop_requested()) {
        free(d);
        return EXIT_SIGNAL + stop_requested();
    }
    if (ok && w.json)
        ok = doctor_print_json(d);
    else if (ok)
        doctor_print(d);
    free(d);
    return ok ? EXIT_OK : world_error();
}
