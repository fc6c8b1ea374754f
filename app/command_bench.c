#define _GNU_SOURCE
#include "app/bench.h"
#include "app/command.h"
#include "app/find.h"
#include "app/option.h"
#include "app/settings.h"
#include "app/stop.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "model/build.h"
#include "model/model_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUICK_CLIP = 512,
    DEFAULT_CLIP = 4096,
    DEVICE_CLIP = 16384,
    CLIP_MAX = 1 << 20,
    BATCH_MAX = 4096,
    SEED = 1
};

struct words {
    const char *compare, *from, *only, *backend;
    const char *const *networks; /* ends with NULL */
    struct texts set;
    bool json, quick;
    int64_t threads, clip, batch;
};

enum part { PART_MACHINE, PART_DECODE, PART_PREFILL, PART_TRAIN, PART_SCAN, PART_OPS, PARTS };

static const char *const part_names[PARTS] = {"machine", "decode", "prefill",
                                              "train",   "scan",   "ops"};

static enum parsed words_parse(int argc, const char **argv, struct words *w,
                               const char *arguments[ARGUMENTS_MAX + 1])
{
    const struct option options[] = {
        {"only", 0, OPTION_TEXT, &w->only, "PARTS", 0, 0,
         "a list of machine,decode,prefill,train,scan,ops (default: all of them)"},
        {"quick", 0, OPTION_FLAG, &w->quick, NULL, 0, 0,
         "some seconds: digits alone, rough figures (default: about a minute)"},
        {"clip", 0, OPTION_COUNT, &w->clip, "SAMPLES", 1, CLIP_MAX,
         "length of a training clip (default 4096, with --quick 512, on a device 16384)"},
        {"batch", 0, OPTION_COUNT, &w->batch, "CLIPS", 1, BATCH_MAX,
         "clips of a training step (default 1)"},
        {"set", 0, OPTION_TEXTS, &w->set, "SECTION.KEY=VALUE", 0, 0,
         "one setting of the presets, as often as given (default: as they are)"},
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0,
         "print one JSON object: format, version, processor, backend, threads, quick, notes "
         "{SECTION: TEXT} and figures {SECTION: {ROW: {COLUMN: NUMBER}}}, a column's name ending "
         "in its unit (default: tables)"},
        {"compare", 0, OPTION_TEXT, &w->compare, "FILE.json", 0, 0,
         "show ratios too, new over old, of every figure that is in this result of --json as "
         "well; in JSON: ratios, as figures (default: none)"},
        {"from", 0, OPTION_TEXT, &w->from, "FILE.json", 0, 0,
         "measure nothing: take a result of --json (default: measure)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads, besides one (default 0: all there are)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {
        "bench", "[PRESET|MODEL ...]",
        "Measures this machine and what hiss makes of it, beside the machine's own limits. A "
        "preset has random weights. Default: the presets digits and sc09-6m.",
        0, ARGUMENTS_MAX};
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    w->networks = arguments;
    return parsed;
}

/* --- which parts ------------------------------------------------------------------------------ */

/* The bits of --only's parts; 0 if a word is none of them. */
static unsigned parts_parse(const char *only)
{
    unsigned parts = 0;
    if (!only)
        return (1u << PARTS) - 1;
    for (const char *at = only;; at++) {
        size_t length = strcspn(at, ",");
        int part = 0;
        while (part < PARTS && (strncmp(part_names[part], at, length) != 0 ||
                                part_names[part][length] || length == 0))
            part++;
        if (part == PARTS)
            return 0;
        parts |= 1u << part;
        at += length;
        if (!*at)
            return parts;
    }
}

/* --- networks --------------------------------------------------------------------------------- */

static bool preset_load(struct bench_net *n, const char *name, const struct texts *set)
{
    char path[FILE_PATH_MAX];
    struct settings *s = malloc(sizeof(*s));
    bool ok = s || error_set("out of memory for settings");
    if (ok)
        settings_init(s);
    ok = ok && find_preset(path, name) && settings_load(s, path);
    for (int i = 0; ok && i < set->n; i++)
        ok = settings_set_pair(s, set->text[i]);
    ok = ok && settings_resolve(s) && settings_config(s, &n->config) &&
         plan_build(&n->plan, &n->config);
    if (ok) {
        n->weights = malloc((size_t)n->plan.weights_size * sizeof(float));
        ok = n->weights || error_set("out of memory for the weights");
    }
    if (ok) {
        plan_init_weights(&n->plan, n->weights, SEED);
        n->products = (enum products)s->products;
        n->recompute = s->recompute != 0;
        n->slice = s->slice;
    }
    free(s);
    return ok;
}

static bool model_load(struct bench_net *n, const char *name)
{
    char path[FILE_PATH_MAX];
    struct model_file m;
    if (!find_model(path, name) || !model_file_load(&m, path))
        return false;
    n->config = m.config;
    n->products = PRODUCTS_TF32; /* as train.products is by itself */
    size_t bytes = (size_t)m.plan.weights_size * sizeof(float);
    n->weights = malloc(bytes);
    bool ok =
        n->weights ? plan_build(&n->plan, &n->config) : error_set("out of memory for the weights");
    if (ok)
        memcpy(n->weights, m.weights, bytes);
    model_file_free(&m);
    return ok;
}

/* A bundled name is a preset, or else a model; a path is a preset if it ends in .ini. */
static bool network_load(struct bench_net *n, const char *name, const struct texts *set)
{
    char path[FILE_PATH_MAX];
    size_t length = strlen(name);
    bool preset = name_is_bundled(name) ? find_bundled(path, name, ".ini") ||
                                              !find_bundled(path, name, ".safetensors")
                                        : length > 4 && strcmp(name + length - 4, ".ini") == 0;
    n->name = name;
    return preset ? preset_load(n, name, set) : model_load(n, name);
}

static void network_free(struct bench_net *n)
{
    free(n->weights);
    plan_free(&n->plan);
}

/* --- all of it -------------------------------------------------------------------------------- */

/* As much for each of a device's multiprocessors: a large one has 2^16 ticks and 2^20, and all the
   streams that are ever made. */
static void sizes_choose(struct bench *b)
{
    struct gpu_facts facts = {0};
    b->op_ticks = 1 << 10;
    b->n_streams = INT_MAX;
    b->scan_ticks = b->quick ? 1 << 18 : 1 << 20;
    if (!bench_is_device(b->backend[0]))
        return;
    backend_gpu_facts(&facts);
    b->scan_ticks = 1 << 14;
    while (b->scan_ticks < 1 << 20 && b->scan_ticks < (int64_t)facts.n_cores << 13)
        b->scan_ticks *= 2;
    b->op_ticks = b->scan_ticks / 16;
    b->n_streams = 8 * facts.n_cores;
}

static bool bench_open(struct bench *b, const struct words *w)
{
    static char row[BENCH_BACKENDS][BENCH_ROW_MAX];
    b->quick = w->quick;
    b->batch = w->batch ? (int)w->batch : 1;
    b->n_threads = w->threads ? (int)w->threads : thread_count_available();
    for (int i = 0; i < BENCH_BACKENDS; i++) {
        int n_threads = i == 0 ? 1 : b->n_threads;
        if (i > 0 && (b->n_threads == 1 || bench_is_device(b->backend[0])))
            break;
        b->backend[i] = backend_open(w->backend, n_threads);
        if (!b->backend[i])
            return false;
        snprintf(row[i], sizeof(row[i]), "%d thread%s", n_threads, n_threads > 1 ? "s" : "");
        b->backend_row[i] = bench_is_device(b->backend[i]) ? "device" : row[i];
        b->n_backends++;
    }
    b->clip = w->clip                          ? w->clip
              : bench_is_device(b->backend[0]) ? DEVICE_CLIP
              : w->quick                       ? QUICK_CLIP
                                               : DEFAULT_CLIP;
    sizes_choose(b);
    return report_open(&b->report, b->backend[0]->ops->name, b->n_threads, b->quick);
}

static void bench_close(struct bench *b)
{
    for (int i = 0; i < b->n_backends; i++)
        backend_close(b->backend[i]);
    report_close(&b->report);
}

static bool bench_network(struct bench *b, const char *name, const struct texts *set,
                          unsigned parts)
{
    struct bench_net *n = calloc(1, sizeof(*n));
    if (!n)
        return error_set("out of memory for a network");
    bool ok = network_load(n, name, set);
    ok = ok && (!(parts & 1u << PART_DECODE) || bench_decode(b, n));
    ok = ok && (!(parts & 1u << PART_PREFILL) || bench_prefill(b, n));
    ok = ok && (!(parts & 1u << PART_TRAIN) || bench_train(b, n));
    ok = ok && (!(parts & 1u << PART_SCAN) || bench_scans(b, n));
    ok = ok && (!(parts & 1u << PART_OPS) || bench_ops(b, n));
    network_free(n);
    free(n);
    return ok;
}

static bool bench_run(struct bench *b, const struct words *w, unsigned parts)
{
    const char *const defaults[] = {DEFAULT_MODEL, b->quick ? NULL : "sc09-6m", NULL};
    const char *const *networks = w->networks[0] ? w->networks : defaults;
    unsigned limits = 1u << PART_MACHINE | 1u << PART_DECODE | 1u << PART_SCAN |
                      1u << PART_OPS; /* need the machine's rates */
    bool ok = !(parts & limits) || bench_machine(b);
    bool of_networks = (parts & ~(1u << PART_MACHINE)) != 0;
    for (int i = 0; ok && of_networks && networks[i]; i++)
        ok = bench_network(b, networks[i], &w->set, parts);
    return ok && report_check(&b->report);
}

int command_bench(int argc, const char **argv)
{
    struct words w = {.backend = "auto"};
    struct bench *b = calloc(1, sizeof(*b));
    struct report old = {0};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed = words_parse(argc, argv, &w, arguments);
    unsigned parts = parts_parse(w.only);
    bool ok = b || error_set("out of memory");
    int status = EXIT_OK;
    if (parsed != PARSED_OK)
        status = parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    else if (parts == 0)
        status = usage_error(
            "bench", "--only %s: expected a list of machine,decode,prefill,train,scan,ops", w.only);
    else if (w.from && w.networks[0])
        status =
            usage_error("bench", "--from %s measures nothing: without %s", w.from, w.networks[0]);
    if (parsed != PARSED_OK || status != EXIT_OK) {
        free(b);
        return status;
    }
    ok = ok && (!w.compare || report_load(&old, w.compare));
    if (ok && w.from)
        ok = report_load(&b->report, w.from);
    else if (ok)
        ok = bench_open(b, &w) && bench_run(b, &w, parts);
    ok = ok && (!w.compare || report_compare(&b->report, &old));
    log_status_end();
    if (ok && w.json)
        report_print_json(&b->report);
    else if (ok)
        report_print_text(&b->report);
    report_close(&old);
    bench_close(b);
    free(b);
    if (stop_requested())
        return EXIT_SIGNAL + stop_requested();
    return ok ? EXIT_OK : world_error();
}
