#include "app/live_record.h"

#include "app/event_log.h"
#include "app/provenance.h"
#include "app/text.h"
#include "audio/writer.h"
#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 4096 };

struct line {
    struct line *next;
    char text[];
};

struct recorder {
    struct live *live;
    struct recorder_session session;
    int rate;
    struct line *first, *last; /* all events so far, as text */
    bool lost;                 /* one of them was: out of memory */
    struct writer *writer;     /* of the recording under way, or NULL */
    FILE *events;
    char path[FILE_PATH_MAX];
    int64_t next;      /* the position that continues it; -1: it has not begun */
    int64_t n_written; /* samples */
};

struct recorder *recorder_open(struct live *l, const struct recorder_session *session)
{
    struct recorder *r = calloc(1, sizeof(*r));
    if (!r) {
        error_set("out of memory for a recorder");
        return NULL;
    }
    r->live = l;
    r->session = *session;
    r->rate = hiss_model_rate(live_model(l));
    return r;
}

/* What a recording's text chunk says, and its event log's first line. Allocated. */
static char *head_text(const struct recorder *r)
{
    const struct recorder_session *s = &r->session;
    json_t *o = provenance_begin(live_model(r->live), s->model_path, s->precision, &s->sampling);
    const char *slash = strrchr(r->path, '/');
    char events[FILE_PATH_MAX];
    snprintf(events, sizeof(events), "%.*s.events", FILE_PATH_MAX - 8, slash ? slash + 1 : r->path);
    json_object_set_new(o, "live", text_json(events));
    if (s->label)
        json_object_set_new(o, "label", text_json(s->label));
    char *text = o ? json_dumps(o, PROVENANCE_DUMP) : NULL;
    json_decref(o);
    return text;
}

static bool events_failed(const struct recorder *r)
{
    return error_set("%s.events: cannot write: %s", r->path, strerror(errno));
}

static bool line_write(const struct recorder *r, const char *text)
{
    return (fprintf(r->events, "%s\n", text) > 0 && fflush(r->events) == 0) || events_failed(r);
}

bool recorder_start(struct recorder *r, const char *path)
{
    char events[FILE_PATH_MAX];
    if (r->writer)
        return error_set("%s is being recorded already", r->path);
    if (strcmp(path, "-") == 0 || strlen(path) + sizeof(".events") > sizeof(r->path))
        return error_set("%.80s: a recording needs a file", path);
    strcpy(r->path, path);
    snprintf(events, sizeof(events), "%.*s.events", FILE_PATH_MAX - 8, path);
    char *head = head_text(r);
    if (!head)
        return error_set("out of memory for a recording");
    r->writer = writer_open(
        path, &(struct writer_options){.rate = r->rate, .software = HISS_VERSION, .comment = head});
    bool ok = r->writer && ((r->events = fopen(events, "w")) ||
                            error_set("%s: cannot create: %s", events, strerror(errno)));
    ok = ok && line_write(r, head);
    free(head);
    for (const struct line *l = r->first; ok && l; l = l->next)
        ok = line_write(r, l->text);
    if (ok && r->lost)
        ok = line_write(r, "{\"lost\":true}");
    if (!ok) {
        writer_discard(r->writer);
        r->writer = NULL;
        if (r->events)
            fclose(r->events);
        r->events = NULL;
        return false;
    }
    r->next = -1;
    r->n_written = 0;
    live_tap(r->live, true);
    return true;
}

/* An event joins those kept, and the log under way. */
static bool event_keep(struct recorder *r, const struct live_event *e)
{
    json_t *o = event_json(live_model(r->live), &e->action, e->at);
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    size_t size = text ? strlen(text) + 1 : 0;
    struct line *line = text ? malloc(sizeof(*line) + size) : NULL;
    json_decref(o);
    bool ok = true;
    if (line) {
        line->next = NULL;
        memcpy(line->text, text, size);
        if (r->last)
            r->last->next = line;
        else
            r->first = line;
        r->last = line;
    } else {
        r->lost = true;
    }
    if (r->events)
        ok = line_write(r, text ? text : "{\"lost\":true}");
    free(text);
    return ok;
}

/* Where the recording begins, and where samples are missing, is part of the log. */
static bool position_note(struct recorder *r, int64_t at)
{
    char text[64];
    if (at == r->next)
        return true;
    snprintf(text, sizeof(text), "{\"at\":%lld,\"%s\":true}", (long long)at,
             r->next < 0 ? "begins" : "lost");
    return line_write(r, text);
}

static bool tap_take(struct recorder *r)
{
    float x[AT_ONCE];
    int64_t at, n;
    while ((n = live_tap_read(r->live, x, AT_ONCE, &at)) > 0) {
        if (!r->writer)
            continue;
        if (!position_note(r, at) || !writer_write(r->writer, x, n))
            return false;
        r->next = at + n;
        r->n_written += n;
    }
    return true;
}

static bool finish(struct recorder *r)
{
    live_tap(r->live, false);
    bool ok = writer_close(r->writer);
    r->writer = NULL;
    if (fclose(r->events) != 0 && ok)
        ok = events_failed(r);
    r->events = NULL;
    return ok;
}

bool recorder_run(struct recorder *r)
{
    struct live_event e;
    bool ok = true;
    while (live_event_read(r->live, &e)) {
        ok = event_keep(r, &e) && ok;
        live_event_free(&e);
    }
    ok = tap_take(r) && ok;
    if (ok || !r->writer)
        return true;
    char why[ERROR_TEXT_MAX];
    snprintf(why, sizeof(why), "%s", error_text());
    finish(r);
    return error_set("the recording ends here: %s", why);
}

bool recorder_stop(struct recorder *r)
{
    if (!r->writer)
        return true;
    live_tap(r->live, false);
    return recorder_run(r) && (!r->writer || finish(r));
}

bool recorder_close(struct recorder *r)
{
    if (!r)
        return true;
    bool ok = recorder_stop(r);
    while (r->first) {
        struct line *next = r->first->next;
        free(r->first);
        r->first = next;
    }
    free(r);
    return ok;
}

const char *recorder_path(const struct recorder *r, double *seconds)
{
    *seconds = (double)r->n_written / r->rate;
    return r->writer ? r->path : NULL;
}
