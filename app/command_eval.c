#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/npy.h"
#include "app/option.h"
#include "app/size.h"
#include "app/stop.h"
#include "audio/dataset.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "model/evaluate.h"
#include "model/model_file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 1 << 14, CACHE_BYTES = 1 << 30 };

struct words {
    const char *model, *data, *split, *context, *logits, *backend, *precision;
    bool per_label, no_labels, json;
    int64_t threads;
};

struct sum {
    double nats;
    int64_t n_samples, n_files;
};

/* The recurrent engine beside the exact forward. */
struct engine {
    enum precision precision;
    struct evaluator evaluator;
    double nats;
};

struct eval {
    const struct words *words;
    struct model_file model;
    struct backend *backend;
    struct net net;
    struct dataset *data;
    enum split split;
    struct evaluator evaluator;
    struct engine engines[PRECISIONS];
    int n_engines;
    struct npy_writer logits;
    int64_t context;
    struct sum total;
    struct sum *of_label; /* (n_labels + 1), the last one: files without */
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"split", 0, OPTION_TEXT, &w->split, "NAME", 0, 0,
         "train, valid, test or all (default: test if the data has one, else all)"},
        {"per-label", 0, OPTION_FLAG, &w->per_label, NULL, 0, 0,
         "bits of each label too (default: the total)"},
        {"no-labels", 0, OPTION_FLAG, &w->no_labels, NULL, 0, 0,
         "do not tell the model the labels (default: it is told those it knows)"},
        {"context", 0, OPTION_SAMPLES, &w->context, "LENGTH", 1, 1e15,
         "zero state every so many samples, or a time (default: only at a file's start)"},
        {"logits", 0, OPTION_TEXT, &w->logits, "FILE.npy", 0, 0,
         "write the logits, float32 (samples, 256), files in order (default: none)"},
        {"precision", 0, OPTION_TEXT, &w->precision, "NAMES", 0, 0,
         "measure the engine that generates too, sample by sample, and what its precision costs: "
         "fp32, fp16, int8 or several with commas between (default: none)"},
        {"json", 0, OPTION_FLAG, &w->json, NULL, 0, 0, "print one JSON object (default: text)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads; changes no bits (default 0: all there are)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {"eval", "MODEL DATA",
                                "Exact bits a sample of recordings under a model: total bits over "
                                "total samples, each file from zero state.",
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

static bool precisions_read(struct eval *e, const char *names)
{
    const char *rest = names;
    while (rest) {
        char name[16];
        size_t length = strcspn(rest, ",");
        snprintf(name, sizeof(name), "%.*s", (int)length, rest);
        rest = rest[length] ? rest + length + 1 : NULL;
        if (e->n_engines == PRECISIONS ||
            !precision_from_name(&e->engines[e->n_engines++].precision, name))
            return false;
    }
    return true;
}

static bool engines_open(struct eval *e)
{
    for (int i = 0; i < e->n_engines; i++)
        if (!evaluator_open(&e->engines[i].evaluator, &e->net, CHUNK_MAX, &e->engines[i].precision))
            return false;
    return true;
}

static bool eval_open(struct eval *e, const struct words *w)
{
    char path[FILE_PATH_MAX];
    e->words = w;
    if (!find_model(path, w->model) || !model_file_load(&e->model, path) || !data_open(e))
        return false;
    if (w->context && !samples_parse(&e->context, w->context, e->model.config.sample_rate))
        return error_set("--context %s: expected a length", w->context);
    if (w->context && e->context < 1)
        return error_set("--context %s is less than a sample", w->context);
    e->of_label = calloc((size_t)e->model.config.n_labels + 1, sizeof(*e->of_label));
    if (!e->of_label)
        return error_set("out of memory");
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
    free(e->of_label);
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
    if (!dataset_item_codes(e->data, e->split, item, 0, f->n_samples, *codes) ||
        !evaluator_run(&e->evaluator, *codes, f->n_samples, label, e->context, &nats,
                       e->words->logits ? logits_take : NULL, &e->logits))
        return false;
    for (int i = 0; i < e->n_engines; i++) {
        double more;
        if (!evaluator_run(&e->engines[i].evaluator, *codes, f->n_samples, label, e->context, &more,
                           NULL, NULL))
            return false;
        e->engines[i].nats += more;
    }
    struct sum *sums[] = {&e->total, &e->of_label[label < 0 ? e->model.config.n_labels : label]};
    for (int i = 0; i < 2; i++) {
        sums[i]->nats += nats;
        sums[i]->n_samples += f->n_samples;
        sums[i]->n_files++;
    }
    return true;
}

static bool eval_run(struct eval *e)
{
    int64_t n = dataset_n_items(e->data, e->split), room = 0;
    uint8_t *codes = NULL;
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        if (stop_requested())
            ok = error_set("interrupted after %lld of %lld files", (long long)i, (long long)n);
        else
            ok = eval_item(e, i, &codes, &room);
        if (ok)
            log_status(false, "%lld of %lld files, %.4f bits a sample", (long long)i + 1,
                       (long long)n, e->total.nats / log(2) / (double)e->total.n_samples);
    }
    free(codes);
    return ok && (!e->words->logits || npy_close(&e->logits));
}

static double bits_of(const struct sum *s)
{
    return s->n_samples > 0 ? s->nats / log(2) / (double)s->n_samples : 0;
}

/* Bits a sample of an engine, and how many more than the exact ones that is. */
static double engine_bits(const struct eval *e, int i, double *loss)
{
    double bits =
        bits_of(&(struct sum){.nats = e->engines[i].nats, .n_samples = e->total.n_samples});
    *loss = bits - bits_of(&e->total);
    return bits;
}

static const char *label_use(const struct eval *e)
{
    if (e->model.config.n_labels == 0)
        return "none: the model has no labels";
    if (e->words->no_labels)
        return "not used";
    int64_t without = e->of_label[e->model.config.n_labels].n_files;
    return without == 0                  ? "used"
           : without == e->total.n_files ? "none: no folder is a label of the model"
                                         : "used where the model knows the folder";
}

static void print_json(const struct eval *e)
{
    const struct config *c = &e->model.config;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:f, s:I, s:I, s:f, s:s, s:I}", "model", e->model.id, "split",
        split_name(e->split), "backend", e->backend->ops->name, "bits", bits_of(&e->total), "files",
        (json_int_t)e->total.n_files, "samples", (json_int_t)e->total.n_samples, "seconds",
        (double)e->total.n_samples / c->sample_rate, "labels", label_use(e), "context",
        (json_int_t)e->context);
    if (e->words->per_label) {
        json_t *labels = json_object();
        for (int i = 0; i <= c->n_labels; i++) {
            const struct sum *s = &e->of_label[i];
            if (s->n_files > 0)
                json_object_set_new(labels, i < c->n_labels ? c->label[i] : "",
                                    json_pack("{s:f, s:I, s:I}", "bits", bits_of(s), "files",
                                              (json_int_t)s->n_files, "samples",
                                              (json_int_t)s->n_samples));
        }
        json_object_set_new(object, "per_label", labels);
    }
    if (e->n_engines > 0) {
        json_t *engines = json_object();
        for (int i = 0; i < e->n_engines; i++) {
            double loss, bits = engine_bits(e, i, &loss);
            json_object_set_new(engines, precision_name(e->engines[i].precision),
                                json_pack("{s:f, s:f}", "bits", bits, "loss", loss));
        }
        json_object_set_new(object, "precision", engines);
    }
    json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    printf("\n");
    json_decref(object);
}

static void print_text(const struct eval *e)
{
    const struct config *c = &e->model.config;
    char length[32];
    printf("%.5f bits a sample: %s, %lld file%s, %lld samples, %s; labels: %s\n",
           bits_of(&e->total), split_name(e->split), (long long)e->total.n_files,
           e->total.n_files == 1 ? "" : "s", (long long)e->total.n_samples,
           length_format(length, sizeof(length), (double)e->total.n_samples / c->sample_rate),
           label_use(e));
    if (e->context > 0)
        printf("zero state every %lld samples\n", (long long)e->context);
    for (int i = 0; i < e->n_engines; i++) {
        double loss, bits = engine_bits(e, i, &loss);
        printf("%.5f bits a sample as %s generates it: %+.5f\n", bits,
               precision_name(e->engines[i].precision), loss);
    }
    for (int i = 0; e->words->per_label && i <= c->n_labels; i++)
        if (e->of_label[i].n_files > 0)
            printf("%9.5f  %6lld file%s  %s\n", bits_of(&e->of_label[i]),
                   (long long)e->of_label[i].n_files, e->of_label[i].n_files == 1 ? " " : "s",
                   i < c->n_labels ? c->label[i] : "(without label)");
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
    bool ok = eval_open(e, &w) && eval_run(e);
    log_status_end();
    if (ok && w.json)
        print_json(e);
    else if (ok)
        print_text(e);
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
