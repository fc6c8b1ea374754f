#include "app/again.h"

#include "app/event_log.h"
#include "app/performance.h"
#include "app/provenance.h"
#include "app/stop.h"
#include "base/error.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

struct replay {
    const struct again *again;
    char path[FILE_PATH_MAX];
    char *text, *rest; /* of the log, and its lines not yet read */
    json_t *next;      /* the event that comes next, or NULL: there is none */
    int64_t next_at;
    int64_t begins; /* position of the recording's first sample; -1: it does not say */
    struct performance *performance;
};

/* The next line as JSON. NULL at the end, and with error_text and *ok false if it is none. */
static json_t *line_next(struct replay *r, bool *ok)
{
    *ok = true;
    char *line = strsep(&r->rest, "\n");
    if (!line || !*line)
        return NULL;
    json_t *o = json_loads(line, 0, NULL);
    if (!o)
        *ok = error_set("%s: a line is no JSON", r->path);
    return o;
}

/* Makes `next` the next event: notes of the recorder are no actions. */
static bool event_next(struct replay *r)
{
    bool ok;
    json_decref(r->next);
    while ((r->next = line_next(r, &ok))) {
        if (json_object_get(r->next, "lost"))
            return error_set(
                "%s: something was lost while it was recorded, so the recording cannot "
                "be made again",
                r->path);
        r->next_at = json_integer_value(json_object_get(r->next, "at"));
        if (json_object_get(r->next, "action"))
            return true;
        json_decref(r->next);
    }
    return ok;
}

/* Where does the recording begin? Known before anything is played. */
static int64_t begin_find(const char *text)
{
    const char *note = strstr(text, ",\"begins\":true}");
    while (note && note > text && note[-1] != ':')
        note--;
    return note ? strtoll(note, NULL, 10) : -1;
}

static bool log_open(struct replay *r)
{
    const struct again *a = r->again;
    const char *name = json_string_value(json_object_get(a->said, "live"));
    const char *slash = strrchr(a->path, '/');
    size_t size;
    bool ok;
    snprintf(r->path, sizeof(r->path), "%.*s%s", slash ? (int)(slash + 1 - a->path) : 0, a->path,
             name);
    if (!path_exists(r->path))
        return error_set("%s was played live: without its event log %s it cannot be made again",
                         a->path, r->path);
    if (!(r->text = file_read(r->path, &size)))
        return false;
    r->begins = begin_find(r->text);
    r->rest = r->text;
    json_t *head = line_next(r, &ok);
    json_t *model = json_object_get(head, "model");
    bool same = json_equal(model, json_object_get(a->said, "model"));
    json_decref(head);
    if (!ok)
        return false;
    if (!same || r->begins < 0)
        return error_set("%s is not the event log of %s", r->path, a->path);
    return event_next(r);
}

static bool performance_begin(struct replay *r)
{
    const json_t *said = r->again->said;
    const char *label = json_string_value(json_object_get(said, "label"));
    struct performance_options o = {.model = r->again->model, .label = -1};
    if (label && (o.label = hiss_model_find_label(r->again->model, label)) < 0)
        return false;
    return provenance_sampling(said, &o.sampling) && (r->performance = performance_open(&o));
}

/* What was done before sample `at`. */
static bool events_apply(struct replay *r, int64_t at)
{
    while (r->next && r->next_at <= at) {
        struct action a;
        int64_t when;
        bool ok = event_read(r->again->model, r->next, &a, &when) &&
                  performance_apply(r->performance, &a);
        event_free(&a);
        if (!ok || !event_next(r))
            return false;
    }
    return true;
}

static bool play(struct replay *r, struct writer *w)
{
    int64_t end = r->begins + r->again->n_samples, at = 0;
    while (at < end && !stop_requested()) {
        float x[PERFORMANCE_BLOCK];
        if (!events_apply(r, at))
            return false;
        int n = performance_block(r->performance, x);
        if (n < 0)
            return false;
        if (n == 0) { /* paused: it goes on where it stands */
            if (!r->next)
                return error_set("%s ends in a pause before the recording does", r->path);
            r->next_at = at;
            continue;
        }
        int64_t first = r->begins > at ? r->begins - at : 0, last = end - at < n ? end - at : n;
        if (first < last && !writer_write(w, x + first, last - first))
            return false;
        at += n;
    }
    return true;
}

bool again_live(const struct again *a, struct writer *w)
{
    struct replay r = {.again = a};
    bool ok = log_open(&r) && performance_begin(&r) && play(&r, w);
    performance_close(r.performance);
    json_decref(r.next);
    free(r.text);
    return ok;
}
