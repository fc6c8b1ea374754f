#define _GNU_SOURCE
#include "app/command.h"
#include "app/eval_report.h"
#include "app/find.h"
#include "app/npy.h"
#include "app/option.h"
#include "app/plot.h"
#include "app/size.h"
#include "app/stop.h"
#include "audio/dataset.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "model/evaluate.h"
#include "model/model_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 1 << 14, CACHE_BYTES = 1 << 30, CONTEXTS_MAX = 8 };

struct words {
    const char *model, *data, *split, *context, *logits, *backend, *precision, *output;
    bool per_label, per_file, no_labels, json;
    int64_t threads;
};

/* The recurrent engine beside the exact forward. */
struct engine {
    struct decoder_options options;
    struct evaluator evaluator;
};

struct eval {
    const struct words *words;
    struct model_file model;
    struct backend *backend;
    struct net net;
    struct dataset *data;
    enum split split;
    struct evaluator evaluator;
    struct engine engines[PRECISIONS + 1];
    int n_engines;
    struct npy_writer logits;
    int64_t contexts[CONTEXTS_MAX]; /* 0: only at a file's start */
    int n_contexts;
    /* A column a context: the exact forward's, then one of each engine. */
    struct scores scores;
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"split", 0, OPTION_TEXT, &w->split, "NAME", 0, 0,
         "train, valid, test or all (default: test if the data has one, else all)"},
        {"per-label", 0, OPTION_FLAG, &w->per_label, NULL, 0, 0,
         "bits of each label too (default: the total)"},
        {"per-file", 0, OPTION_FLAG, &w->per_file, NULL, 0, 0,
         "bits of each file too (default: the total; JSON has them always)"},
        {"no-labels", 0, OPTION_FLAG, &w->no_labels, NULL, 0, 0,
         "do not tell the model the labels (default: it is told those it knows)"},
        {"context", 0, OPTION_TEXT, &w->context, "LENGTHS", 0, 0,
         "zero state every so many samples, or a time, or at a file's start only: 4k, 500ms, "
         "whole, or several with commas between (default whole)"},
        {"logits", 0, OPTION_TEXT, &w->logits, "FILE.npy", 0, 0,
         "write the logits, float32 (samples, 256), files in order (default: none)"},
        {"precision", 0, OPTION_TEXT, &w->precision, "NAMES", 0, 0,
         "measure the engine that generates too, sample by sample, and what its precision costs: "
         "fp32, fp16, fp16a (inputs rounded too, as the CUDA engine has them), int8 or several "
         "with "
         "commas between (default: none)"},
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0, "print one JSON object (default: text)"},
        {"output", 'o', OPTION_TEXT, &w->output, "FILE", 0, 0,
         "a page with the bits of files and how sure they are: .png or .svg (default: none)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads; changes no bits (default 0: all there are)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {"eval", "MODEL DATA",
                                "Exact bits a sample of recordings under a model: total bits over "
                                "total samples, each file from zero state; with the 95 % interval "
                                "that other files of their kind would give.",
                                2, 2};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK) {
        w->model = arguments[0];
        w->data = arguments[1];
    }
    return parsed;
}

static bool split_find(enum split *split, const struct words *w)
{
    char test[FILE_PATH_MAX];
    if (!w->split) {
        if (!path_join(test, w->data, "test"))
            return false;
        *split = path_is_folder(test) ? SPLIT_TEST : SPLIT_ALL;
        return true;
    }
    for (int i = 0; i < SPLITS; i++)
        if (strcmp(w->split, split_name((enum split)i)) == 0) {
            *split = (enum split)i;
            return true;
        }
    return false;
}

static bool reading_show(void *arg, int64_t n_done, int64_t n_files)
{
    (void)arg;
    log_status(false, "reading %lld of %lld files", (long long)n_done, (long long)n_files);
    return !stop_requested();
}

static bool data_open(struct eval *e)
{
    const struct config *c = &e->model.config;
    const char *names[CONFIG_LABELS_MAX];
    struct dataset_options o;
    dataset_options_init(&o);
    if (!quantizer_from_name(&o.quantizer, c->quantizer) ||
        !normalize_from_name(&o.normalize, c->normalize))
        return error_set(
            "%s needs quantizer %s and level rule %s, which this program does not know",
            e->words->model, c->quantizer, c->normalize);
    for (int i = 0; i < c->n_labels; i++)
        names[i] = c->label[i];
    o.rate = c->sample_rate;
    o.splits = 1u << e->split;
    o.clip_samples = c->clip_samples;
    o.labels = c->n_labels > 0 && !e->words->no_labels ? LABELS_FOLDERS : LABELS_NONE;
    o.label_names = names;
    o.n_label_names = c->n_labels;
    o.cache_bytes = CACHE_BYTES;
    o.n_threads = e->words->threads > 0 ? (int)e->words->threads : thread_count_available();
    o.progress = reading_show;
    e->data = dataset_open(e->words->data, &o);
    log_status_end();
    return e->data != NULL;
}

/* fp16 as the CUDA engine has it: inputs of products too. */
static const char rounded_name[] = "fp16a";

static const char *engine_name(const struct engine *engine)
{
    return engine->options.round_inputs ? rounded_name : precision_name(engine->options.precision);
}

static bool engine_from_name(struct engine *engine, const char *name)
{
    engine->options.n_streams = 1;
    engine->options.threads = DECODE_AUTO;
    engine->options.round_inputs = strcmp(name, rounded_name) == 0;
    return precision_from_name(&engine->options.precision,
                               engine->options.round_inputs ? "fp16" : name);
}

static bool precisions_read(struct eval *e, const char *names)
{
    const char *rest = names;
    while (rest) {
        char name[16];
        size_t length = strcspn(rest, ",");
        snprintf(name, sizeof(name), "%.*s", (int)length, rest);
        rest = rest[length] ? rest + length + 1 : NULL;
        if (e->n_engines == PRECISIONS + 1 || !engine_from_name(&e->engines[e->n_engines++], name))
            return false;
    }
    return true;
}

/* Lengths at a rate; false if one of them is none. */
static bool contexts_read(struct eval *e, const char *lengths, int rate)
{
    const char *rest = lengths ? lengths : "whole";
    for (e->n_contexts = 0; rest;) {
        char one[32];
        size_t length = strcspn(rest, ",");
        int64_t *to = &e->contexts[e->n_contexts];
        if (e->n_contexts++ == CONTEXTS_MAX || length >= sizeof(one))
            return false;
        snprintf(one, sizeof(one), "%.*s", (int)length, rest);
        rest = rest[length] ? rest + length + 1 : NULL;
        *to = 0;
        if (strcmp(one, "whole") != 0 && !samples_parse(to, one, rate))
            return false;
        if (strcmp(one, "whole") != 0 && *to < 1)
            return error_set("--context %s is less than a sample", one);
    }
    return true;
}

static bool engines_open(struct eval *e)
{
    for (int i = 0; i < e->n_engines; i++)
        if (!evaluator_open(&e->engines[i].evaluator, &e->net, CHUNK_MAX, &e->engines[i].options))
            return false;
    return true;
}

static bool scores_begin(struct eval *e)
{
    struct scores *s = &e->scores;
    s->model = e->words->model;
    s->split = split_name(e->split);
    s->rate = e->model.config.sample_rate;
    for (int c = 0; c < e->n_contexts; c++)
        for (int i = -1; i < e->n_engines; i++)
            s->columns[s->n_columns++] = (struct score_column){
                .context = e->contexts[c], .engine = i < 0 ? NULL : engine_name(&e->engines[i])};
    return scores_open(s, dataset_n_items(e->data, e->split));
}

static bool eval_open(struct eval *e, const struct words *w)
{
    char path[FILE_PATH_MAX];
    e->words = w;
    if (!find_model(path, w->model) || !model_file_load(&e->model, path) || !data_open(e) ||
        !contexts_read(e, w->context, e->model.config.sample_rate) || !scores_begin(e))
        return false;
    e->backend = backend_open(w->backend, (int)w->threads);
    if (!e->backend || !net_open(&e->net, &e->model.config, e->backend))
        return false;
    net_set_weights(&e->net, e->model.weights);
    return evaluator_open(&e->evaluator, &e->net, CHUNK_MAX, NULL) && engines_open(e) &&
           (!w->logits || npy_open(&e->logits, w->logits, PLAN_CODES));
}

static void eval_close(struct eval *e)
{
    if (e->logits.file.file)
        npy_discard(&e->logits);
    evaluator_close(&e->evaluator);
    for (int i = 0; i < e->n_engines; i++)
        evaluator_close(&e->engines[i].evaluator);
    if (e->net.be)
        net_close(&e->net);
    if (e->backend)
        backend_close(e->backend);
    dataset_close(e->data);
    model_file_free(&e->model);
    scores_close(&e->scores);
}

static bool logits_take(void *arg, const float *logits, int64_t n)
{
    return npy_write(arg, logits, n);
}

static bool eval_item(struct eval *e, int64_t item, uint8_t **codes, int64_t *room)
{
    const struct dataset_file *f = dataset_item(e->data, e->split, item);
    int label = f->label == NO_LABEL ? -1 : f->label;
    double nats;
    if (f->n_samples > *room) {
        free(*codes);
        *room = f->n_samples;
        *codes = malloc((size_t)*room);
        if (!*codes)
            return error_set("%s: out of memory for %lld samples", f->path, (long long)*room);
    }
    struct scores *to = &e->scores;
    to->names[item] = f->name;
    to->labels[item] = label;
    to->samples[item] = (double)f->n_samples;
    bool ok = dataset_item_codes(e->data, e->split, item, 0, f->n_samples, *codes);
    for (int c = 0; ok && c < to->n_columns; c++) {
        bool first = c == 0 && e->words->logits;
        int engine = c % (1 + e->n_engines) - 1;
        struct evaluator *by = engine < 0 ? &e->evaluator : &e->engines[engine].evaluator;
        ok = evaluator_run(by, *codes, f->n_samples, label, to->columns[c].context, &nats,
                           first ? logits_take : NULL, &e->logits);
        to->bits[c * to->n_files + item] = nats / log(2);
    }
    return ok;
}

static bool eval_run(struct eval *e)
{
    int64_t n = e->scores.n_files, room = 0;
    uint8_t *codes = NULL;
    double bits = 0, samples = 0;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        if (stop_requested())
            ok = error_set("interrupted after %lld of %lld files", (long long)i, (long long)n);
        else
            ok = eval_item(e, i, &codes, &room);
        if (ok) {
            bits += e->scores.bits[i];
            samples += e->scores.samples[i];
            log_status(false, "%lld of %lld files, %.4f bits a sample", (long long)i + 1,
                       (long long)n, bits / samples);
        }
    }
    free(codes);
    return ok && (!e->words->logits || npy_close(&e->logits));
}

static const char *label_use(const struct eval *e)
{
    if (e->model.config.n_labels == 0)
        return "none: the model has no labels";
    if (e->words->no_labels)
        return "not used";
    int64_t without = 0;
    for (int64_t i = 0; i < e->scores.n_files; i++)
        without += e->scores.labels[i] < 0;
    return without == 0                   ? "used"
           : without == e->scores.n_files ? "none: no folder is a label of the model"
                                          : "used where the model knows the folder";
}

static bool page_draw(const struct eval *e)
{
    const struct config *c = &e->model.config;
    const char *names[CONFIG_LABELS_MAX];
    for (int i = 0; i < c->n_labels; i++)
        names[i] = c->label[i];
    return plot_scores(e->words->output, &e->scores, names, c->n_labels);
}

int command_eval(int argc, const char **argv)
{
    struct words w = {.backend = "auto"};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    struct eval *e = calloc(1, sizeof(*e));
    if (!e || !split_find(&e->split, &w)) {
        free(e);
        return usage_error("eval", "--split %s: expected train, valid, test or all",
                           w.split ? w.split : "");
    }
    if (!precisions_read(e, w.precision)) {
        free(e);
        return usage_error("eval",
                           "--precision %s: expected fp32, fp16, int8 or some of them with commas "
                           "between",
                           w.precision);
    }
    if (!contexts_read(e, w.context, 1000000000)) {
        free(e);
        return usage_error("eval",
                           "--context %s: expected whole or a length like 16k (samples), 80ms or "
                           "30s, or at most %d of them with commas between",
                           w.context, CONTEXTS_MAX);
    }
    if (w.output && !plot_check(w.output)) {
        free(e);
        return plot_possible() ? usage_error("eval", "%s", error_text()) : world_error();
    }
    bool ok = eval_open(e, &w) && eval_run(e);
    log_status_end();
    ok = ok && (!w.output || page_draw(e));
    if (ok) {
        const struct eval_report report = {.scores = &e->scores,
                                           .config = &e->model.config,
                                           .id = e->model.id,
                                           .backend = e->backend->ops->name,
                                           .label_use = label_use(e),
                                           .per_label = w.per_label,
                                           .per_file = w.per_file};
        ok = w.json ? eval_print_json(&report) : eval_print_text(&report);
    }
    for (int64_t i = 0; ok && i < dataset_n_files(e->data); i++) {
        const struct dataset_file *f = dataset_file(e->data, i);
        if (f->fate == FATE_SKIPPED)
            log_warn("%s was left out: %s", f->path, f->why);
    }
    eval_close(e);
    free(e);
    if (stop_requested())
        return EXIT_SIGNAL + stop_requested();
    return ok ? EXIT_OK : world_error();
}
