#define _GNU_SOURCE
#include "app/again.h"
#include "app/command.h"
#include "app/find.h"
#include "app/option.h"
#include "app/stop.h"
#include "audio/reader.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

struct words {
    const char *take, *model, *prompt, *output;
    int64_t threads;
};

struct made {
    const struct words *words;
    char *software, *comment;
    json_t *said;
    struct sound sound; /* the file's */
    struct hiss_model *model;
    char folder[64], path[FILE_PATH_MAX]; /* where it is made again */
};

static enum parsed words_parse(int argc, const char **argv, struct words *w)
{
    const struct option options[] = {
        {"model", 'm', OPTION_TEXT, &w->model, "MODEL", 0, 0,
         "what made it, if it is not where it was (default: as the take says)"},
        {"prompt", 'p', OPTION_TEXT, &w->prompt, "FILE", 0, 0,
         "its prompt, if that is not where it was (default: as the take says)"},
        {"output", 'o', OPTION_TEXT, &w->output, "FILE", 0, 0,
         "keep what is made, as a file of the same format (default: it is compared and dropped)"},
        {"threads", 't', OPTION_COUNT, &w->threads, "N", 0, 1024,
         "processor threads; changes no bits (default 0: all there are)"},
    };
    const struct usage usage = {
        "again", "TAKE",
        "Makes a sound file of hiss again, from what it says of itself, and "
        "says whether it is the same: exit 0, or 1 if not.",
        1, 1};
    const char *arguments[ARGUMENTS_MAX + 1];
    enum parsed parsed =
        options_parse(argc, argv, &usage, options, sizeof(options) / sizeof(options[0]), arguments);
    if (parsed == PARSED_OK)
        w->take = arguments[0];
    return parsed;
}

static bool take_read(struct made *m)
{
    const char *path = m->words->take;
    if (!sound_text(path, &m->software, &m->comment) || !sound_load(&m->sound, path, 0, 0))
        return false;
    m->said = m->comment ? json_loads(m->comment, 0, NULL) : NULL;
    if (!json_is_string(json_object_get(m->said, "model")) ||
        !(json_object_get(m->said, "stream") || json_object_get(m->said, "live")))
        return error_set("%s does not say how it was made: hiss did not write it, or another "
                         "program has written it anew",
                         path);
    return true;
}

static const char *said_text(const struct made *m, const char *key)
{
    const char *text = json_string_value(json_object_get(m->said, key));
    return text ? text : "";
}

static bool model_open(struct made *m)
{
    const struct words *w = m->words;
    const char *id = said_text(m, "model"), *was = said_text(m, "model_path");
    const char *name = w->model ? w->model : was, *backend = said_text(m, "backend");
    char path[FILE_PATH_MAX], why[ERROR_TEXT_MAX], kind[32];
    snprintf(kind, sizeof(kind), "%.*s", (int)strcspn(backend, " "), backend);
    if (!*name)
        return error_set("%s does not say where its model was: --model MODEL names it (%.12s...)",
                         w->take, id);
    if (!find_model(path, name) ||
        !(m->model = hiss_model_open(path, *kind ? kind : "auto", (int)w->threads))) {
        snprintf(why, sizeof(why), "%.300s", error_text());
        return error_set("%s: %s; --model MODEL names what made it (%.12s...)", w->take, why, id);
    }
    if (strcmp(hiss_model_id(m->model), id) != 0)
        return error_set(
            "%s was made by model %.12s..., and %s is %.12s...: --model MODEL names it", w->take,
            id, name, hiss_model_id(m->model));
    if (strcmp(hiss_model_backend(m->model), backend) != 0)
        log_warn("%s was made on %s, this is %s: the same sound, but perhaps not the same bytes",
                 w->take, backend, hiss_model_backend(m->model));
    return hiss_model_set_decode(m->model, said_text(m, "precision"), "auto");
}

/* A place beside nothing: a folder of its own. */
static bool path_make(struct made *m)
{
    const char *dot = strrchr(m->words->take, '.');
    if (m->words->output) {
        snprintf(m->path, sizeof(m->path), "%s", m->words->output);
        return true;
    }
    strcpy(m->folder, "/tmp/hiss-again-XXXXXX");
    if (!mkdtemp(m->folder)) {
        m->folder[0] = 0;
        return error_set("cannot make a folder in /tmp");
    }
    snprintf(m->path, sizeof(m->path), "%s/again%.16s", m->folder, dot ? dot : ".wav");
    return true;
}

static bool sound_make(const struct made *m)
{
    const struct again a = {.path = m->words->take,
                            .said = m->said,
                            .model = m->model,
                            .n_samples = m->sound.n,
                            .prompt = m->words->prompt};
    struct writer *w =
        writer_open(m->path, &(struct writer_options){.rate = hiss_model_rate(m->model),
                                                      .software = m->software,
                                                      .comment = m->comment});
    if (!w)
        return false;
    bool ok = json_object_get(m->said, "live") ? again_live(&a, w) : again_take(&a, w);
    if (ok)
        return writer_close(w);
    writer_discard(w);
    return false;
}

static bool same_bytes(const char *one, const char *other, bool *same)
{
    size_t n_one, n_other;
    char *a = file_read(one, &n_one), *b = file_read(other, &n_other);
    *same = a && b && n_one == n_other && memcmp(a, b, n_one) == 0;
    bool ok = a && b;
    free(a);
    free(b);
    return ok;
}

/* Says how it came out. *same: the sound is. */
static bool compare(const struct made *m, bool *same)
{
    const char *take = m->words->take;
    struct sound again;
    if (!same_bytes(take, m->path, same))
        return false;
    if (*same) {
        printf("%s: the same bytes\n", take);
        return true;
    }
    if (!sound_load(&again, m->path, 0, 0))
        return false;
    int64_t i = 0;
    while (i < m->sound.n && i < again.n && m->sound.x[i] == again.x[i])
        i++;
    *same = i == m->sound.n && i == again.n;
    if (*same)
        printf("%s: the same %lld samples, in a file that differs beside them\n", take,
               (long long)i);
    else
        printf("%s: not the same: from sample %lld (%.3f s) on it differs; it was made by %s on "
               "%s\n",
               take, (long long)i, (double)i / again.rate, said_text(m, "hiss"),
               said_text(m, "backend"));
    sound_free(&again);
    return true;
}

int command_again(int argc, const char **argv)
{
    struct words w = {0};
    enum parsed parsed = words_parse(argc, argv, &w);
    if (parsed != PARSED_OK)
        return parsed == PARSED_HELP ? EXIT_OK : EXIT_USAGE;
    struct made m = {.words = &w};
    bool same = false;
    bool ok = take_read(&m) && model_open(&m) && path_make(&m) && sound_make(&m);
    int status = EXIT_OK;
    if (ok && stop_requested())
        status = EXIT_SIGNAL + stop_requested();
    else if (!ok || !compare(&m, &same))
        status = world_error();
    else if (!same)
        status = EXIT_WORLD;
    if (m.folder[0])
        path_remove(m.folder);
    hiss_model_close(m.model);
    sound_free(&m.sound);
    json_decref(m.said);
    free(m.software);
    free(m.comment);
    return status;
}
