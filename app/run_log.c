#include "app/run_log.h"

#include "app/run.h"
#include "app/settings.h"
#include "base/error.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool rate_read(struct run_log *log, const char *run)
{
    char path[FILE_PATH_MAX];
    struct settings *s = malloc(sizeof(*s));
    if (!s)
        return error_set("out of memory for settings");
    settings_init(s);
    bool ok = path_join(path, run, "settings.ini") && settings_load(s, path) && settings_resolve(s);
    log->rate = ok ? (int)s->sample_rate : 0;
    free(s);
    return ok;
}

static double number_of(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void line_take(struct run_log *log, const json_t *line)
{
    int64_t i = log->n++;
    log->heard[i] = number_of(line, "hours") * 3600 * log->rate;
    log->bits[i] = number_of(line, "bits");
    log->valid[i] = number_of(line, "valid_bits");
    log->lr[i] = number_of(line, "lr");
    log->last_step = json_integer_value(json_object_get(line, "step"));
}

static int64_t count_lines(const char *text)
{
    int64_t n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

bool run_log_load(struct run_log *log, const char *run)
{
    char path[FILE_PATH_MAX];
    size_t size;
    memset(log, 0, sizeof(*log));
    if (!run_exists(run))
        return error_set("%s holds no training run", run);
    if (!rate_read(log, run) || !path_join(path, run, "log.ndjson"))
        return false;
    char *text = file_read(path, &size);
    if (!text)
        return false;
    size_t n = (size_t)count_lines(text);
    log->heard = malloc(4 * (n + 1) * sizeof(double));
    bool ok = log->heard != NULL;
    if (ok) {
        log->bits = log->heard + n;
        log->valid = log->bits + n;
        log->lr = log->valid + n;
    } else {
        error_set("%s: out of memory", path);
    }
    for (char *line = text, *end; ok && (end = strchr(line, '\n')); line = end + 1) {
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        if (object && json_is_integer(json_object_get(object, "step")))
            line_take(log, object);
        json_decref(object);
    }
    free(text);
    if (ok && log->n == 0)
        ok = error_set("%s: nothing is logged yet", path);
    if (!ok)
        run_log_free(log);
    return ok;
}

void run_log_free(struct run_log *log)
{
    free(log->heard);
    memset(log, 0, sizeof(*log));
}
