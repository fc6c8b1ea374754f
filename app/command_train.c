#define _GNU_SOURCE
#include "app/command.h"
#include "app/find.h"
#include "app/option.h"
#include "app/size.h"
#include "app/stop.h"
#include "app/text.h"
#include "app/train.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct words {
    const char *data, *preset, *run, *backend;
    struct texts configs, sets;
    int64_t steps, seed, threads;
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"preset", 'p', OPTION_TEXT, &w->preset, "NAME", 0, 0,
         "bundled preset or path of an .ini file (default tiny)"},
        {"run", 'r', OPTION_TEXT, &w->run, "DIR", 0, 0,
         "run directory (default runs/ and the data folder's name); one that is there is resumed"},
        {"config", 'c', OPTION_TEXTS, &w->configs, "FILE", 0, 0,
         "settings over the preset's, as an .ini file; as often as you like"},
        {"set", 's', OPTION_TEXTS, &w->sets, "KEY=VALUE", 0, 0,
         "one setting over those, such as train.lr=1e-3; as often as you like"},
        {"steps", 'n', OPTION_COUNT, &w->steps, "N", 1, 1e12,
         "optimiser steps (default: the preset's); more of them prolong a run that is there"},
        {"seed", 0, OPTION_COUNT, &w->seed, "N", 0, 9e18,
         "of first weights, order and crops (default: the preset's)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads; changes no bits (default 0: all there are)"},
        {"backend", 0, OPTION_TEXT, &w->backend, "NAME", 0, 0,
         "auto, cpu or cuda, where the program has it (default auto)"},
    };
    const struct usage usage = {"train", "[DATA]",
                                "Trains a model on DATA, a folder of recordings. The same command, "
                                "or hiss train --run DIR, resumes.",
                                0, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK)
        w->data = arguments[0];
    return parsed;
}

static bool set_count(struct settings *s, const char *name, int64_t value, const char *origin)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return value < 0 || settings_set(s, name, text, origin);
}

/* Preset (or a run's own settings), --config, --set, options: each over the one before. */
static bool settings_gather(struct settings *s, const struct words *w, const char *base)
{
    settings_init(s);
    if (!settings_load(s, base))
        return false;
    for (int i = 0; i < w->configs.n; i++)
        if (!settings_load(s, w->configs.text[i]))
            return false;
    for (int i = 0; i < w->sets.n; i++)
        if (!settings_set_pair(s, w->sets.text[i]))
            return false;
    /* What no model can have is said now, not after the data was read. */
    struct config config;
    return set_count(s, "train.steps", w->steps, "--steps") &&
           set_count(s, "train.seed", w->seed, "--seed") && settings_resolve(s) &&
           settings_config(s, &config);
}

/* --set is usage: tried alone, before anything is touched. */
static bool sets_check(const struct words *w)
{
    struct settings *s = malloc(sizeof(*s));
    bool ok = s || error_set("out of memory for settings");
    if (ok)
        settings_init(s);
    for (int i = 0; ok && i < w->sets.n; i++)
        ok = settings_set_pair(s, w->sets.text[i]);
    free(s);
    return ok;
}

/* A resumed run may be longer or log otherwise; anything else would be another run. */
static bool resume_check(const struct run *run, const struct settings *s, const char *stored_path)
{
    struct settings *stored = malloc(sizeof(*stored));
    if (!stored)
        return error_set("out of memory for settings");
    settings_init(stored);
    bool ok = settings_load(stored, stored_path);
    if (ok && !settings_any(stored)) /* all defaults: what a crash of the disk would leave */
        ok = error_set("%s holds no settings: restore it, or name another --run", stored_path);
    ok = ok && settings_resolve(stored);
    const struct setting *t = ok ? settings_difference(stored, s) : NULL;
    if (t)
        ok =
            error_set("%s was begun with %s.%s = %s, not %s: a resumed run may change its steps "
                      "and its logging only; name another --run",
                      run->path, t->section, t->key, settings_text(stored, t), settings_text(s, t));
    free(stored);
    return ok;
}

static bool settings_store(const struct settings *s, const char *path)
{
    struct file_writer w;
    if (!file_create(&w, path))
        return false;
    if (!settings_write(s, w.file)) {
        file_discard(&w);
        return error_set("%s: %s", path, strerror(errno));
    }
    return file_commit(&w);
}

/* runs/ and the last part of the data's path. */
static bool run_default(char run[FILE_PATH_MAX], const char *data)
{
    const char *slash = strrchr(data, '/');
    const char *name = slash && slash[1] ? slash + 1 : "data";
    size_t length = strlen(name);
    const char *dot = path_is_folder(data) ? NULL : strrchr(name, '.');
    if (snprintf(run, FILE_PATH_MAX, "runs/%.*s", (int)(dot ? (size_t)(dot - name) : length),
                 name) >= FILE_PATH_MAX)
        return error_set("the path of %s is too long", data);
    return true;
}

/* Settings, data and directory of a new run, or of one that goes on. `data`: resolved path. */
static bool run_prepare(struct run *run, struct settings *s, const struct words *w,
                        char data[FILE_PATH_MAX])
{
    char name[FILE_PATH_MAX], settings_path[FILE_PATH_MAX], base[FILE_PATH_MAX];
    if (w->data && !realpath(w->data, data))
        return error_set("%s: %s", w->data, strerror(errno));
    if (!w->data && w->run && !run_exists(w->run))
        return error_set("%s holds no training run: name the DATA to begin one", w->run);
    if (w->run ? snprintf(name, sizeof(name), "%s", w->run) >= FILE_PATH_MAX
               : !run_default(name, data))
        return error_set("the path of the run is longer than %d bytes", FILE_PATH_MAX - 1);
    bool resumes = run_exists(name);
    if (resumes && !w->preset) {
        if (!path_join(base, name, "settings.ini"))
            return false;
    } else if (!find_preset(base, w->preset)) {
        return false;
    }
    /* Refused before a folder is made, and again where links turn up. */
    if (!settings_gather(s, w, base) || (w->data && !run_check_apart(name, data)) ||
        !run_open(run, name) || !path_join(settings_path, run->path, "settings.ini"))
        return false;
    /* Before its first checkpoint there is nothing yet that a change could spoil. */
    char begun[FILE_PATH_MAX];
    bool begins = !run->resumed || run_latest(run, begun) < 0;
    if (!begins || !w->data) {
        if (!begins && !resume_check(run, s, settings_path))
            return false;
        if (!run_get_data(run, begun))
            return false;
        if (w->data && strcmp(begun, data) != 0)
            return error_set("%s was begun with the data %s, not %s: name another --run", run->path,
                             begun, data);
        strcpy(data, begun);
    } else if (!run_check_apart(run->path, data)) {
        return false;
    }
    return true;
}

static bool reading_show(void *arg, int64_t n_done, int64_t n_files)
{
    (void)arg;
    log_status(false, "reading %lld of %lld files", (long long)n_done, (long long)n_files);
    return !stop_requested();
}

static struct dataset *data_open(const struct settings *s, const char *path, int64_t n_threads)
{
    struct dataset_options o;
    dataset_options_init(&o);
    o.rate = (int)s->sample_rate;
    o.quantizer = (enum quantizer)s->quantizer;
    o.normalize = (enum normalize)s->normalize;
    o.clip_mode = s->clip;
    o.clip_samples = settings_clip(s);
    o.pad_loss = s->pad_loss != 0;
    o.splits = 1u << SPLIT_TRAIN | 1u << SPLIT_VALID;
    o.labels = s->labels ? LABELS_FOLDERS : LABELS_NONE;
    o.seed = (uint64_t)s->seed;
    o.label_dropout = (float)s->label_dropout;
    o.speed = (float)s->speed;
    o.gain_db = (float)s->gain_db;
    o.carry = s->carry;
    o.cache_bytes = s->cache;
    o.n_threads = n_threads > 0 ? (int)n_threads : thread_count_available();
    o.progress = reading_show;
    struct dataset *d = dataset_open(path, &o);
    log_status_end();
    return d;
}

static bool index_write(const struct dataset *d, FILE *to)
{
    for (int64_t i = 0; i < dataset_n_files(d); i++) {
        const struct dataset_file *f = dataset_file(d, i);
        json_t *line =
            json_pack("{s:o, s:s, s:s, s:I, s:I, s:f, s:f, s:i, s:i}", "file", text_json(f->name),
                      "split", split_name(f->split), "fate", fate_name(f->fate), "start",
                      (json_int_t)f->start, "samples", (json_int_t)f->n_samples, "seconds",
                      f->dur_s, "peak", (double)f->peak, "rate", f->rate, "channels", f->channels);
        if (!line)
            return false;
        if (f->label != NO_LABEL)
            json_object_set_new(line, "label", text_json(dataset_label(d, f->label)));
        if (f->why && f->why[0])
            json_object_set_new(line, "why", text_json(f->why));
        json_dumpf(line, to, JSON_COMPACT | JSON_REAL_PRECISION(7));
        fputc('\n', to);
        json_decref(line);
    }
    return !ferror(to);
}

/* A run, and what its folder is to hold. */
struct folder {
    struct run *run;
    const struct settings *settings;
    const char *data;
    char *index; /* index.ndjson, allocated */
    size_t index_size;
};

/* Makes the index; a resumed run whose data is not what it was is told so. */
static bool index_make(struct folder *f, const struct dataset *d)
{
    char path[FILE_PATH_MAX], *then = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&f->index, &f->index_size);
    bool ok = memory && index_write(d, memory);
    if (memory)
        ok = fclose(memory) == 0 && ok;
    if (!ok)
        return error_set("out of memory for the index of the data");
    if (!path_join(path, f->run->path, "index.ndjson"))
        return false;
    if (f->run->resumed && path_exists(path) && (then = file_read(path, &size)) &&
        (size != f->index_size || memcmp(then, f->index, size) != 0))
        log_warn("the data has changed since this run began: it goes on, but not as if it had "
                 "never stopped");
    free(then);
    return true;
}

static bool index_store(const struct folder *f, const char *path)
{
    struct file_writer w;
    if (!file_create(&w, path))
        return false;
    fwrite(f->index, 1, f->index_size, w.file);
    return file_commit(&w);
}

/* Only once the last checkpoint was restored: a resume that fails leaves the run as it was. */
static bool folder_store(void *arg)
{
    const struct folder *f = arg;
    char path[FILE_PATH_MAX];
    return run_set_data(f->run, f->data) && path_join(path, f->run->path, "settings.ini") &&
           settings_store(f->settings, path) && path_join(path, f->run->path, "index.ndjson") &&
           index_store(f, path);
}

static void data_say(const struct dataset *d, const struct settings *s, const char *index_folder)
{
    struct dataset_counts train = dataset_counts(d, SPLIT_TRAIN),
                          valid = dataset_counts(d, SPLIT_VALID);
    int64_t n_skipped = train.n_skipped + valid.n_skipped;
    char to_train[32], to_check[32];
    log_info("data: %lld file%s, %s to train on; %lld file%s, %s for validation",
             (long long)train.n_used, train.n_used == 1 ? "" : "s",
             length_format(to_train, sizeof(to_train), train.dur_s), (long long)valid.n_used,
             valid.n_used == 1 ? "" : "s", length_format(to_check, sizeof(to_check), valid.dur_s));
    if (n_skipped > 0)
        log_warn("%lld file%s could not be used: see %s/index.ndjson", (long long)n_skipped,
                 n_skipped == 1 ? "" : "s", index_folder);
    if (s->labels && dataset_n_labels(d) == 0)
        log_warn("data.labels = folders, but no recording lies in a folder of its own: there are "
                 "no labels");
}

int command_train(int argc, const char **argv)
{
    struct words w = {.backend = "auto", .steps = -1, .seed = -1};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    if (!w.data && !w.run)
        return usage_error("train",
                           "expected DATA, a folder of recordings, or --run DIR to resume");
    if (!sets_check(&w))
        return usage_error("train", "%s", error_text());

    char data[FILE_PATH_MAX];
    struct run run = {.lock = -1};
    struct dataset *d = NULL;
    struct settings *s = malloc(sizeof(*s));
    bool ok = s || error_set("out of memory for settings");
    struct folder folder = {.run = &run, .settings = s, .data = data};
    ok = ok && run_prepare(&run, s, &w, data) && (d = data_open(s, data, w.threads)) &&
         index_make(&folder, d);
    if (ok) {
        const char *slash = strrchr(data, '/');
        data_say(d, s, run.path);
        ok = train_run(&(struct train_job){.run = &run,
                                           .settings = s,
                                           .data = d,
                                           .data_name = slash && slash[1] ? slash + 1 : data,
                                           .backend = w.backend,
                                           .n_threads = (int)w.threads,
                                           .restored = folder_store,
                                           .arg = &folder});
    }
    free(folder.index);
    dataset_close(d);
    run_close(&run);
    free(s);
    if (!ok && (d || !stop_requested())) /* a signal while reading the data is no error */
        return world_error();
    return stop_requested() ? EXIT_SIGNAL + stop_requested() : EXIT_OK;
}
