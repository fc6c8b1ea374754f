/* What goes between the threads of a live session. */
#include "app/live_impl.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAP_AT_FLOATS = 2, TAP_RECORD = TAP_AT_FLOATS + PERFORMANCE_BLOCK };

bool talk_open(struct live *l)
{
    size_t records = (size_t)(LIVE_TAP_S * l->rate / PERFORMANCE_BLOCK);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->errands_wake, NULL);
    l->tap_used = PERFORMANCE_BLOCK;
    return ring_init(&l->tap, records * TAP_RECORD);
}

void talk_close(struct live *l)
{
    struct request r;
    struct live_event e;
    while (request_take(l, &r))
        request_free(&r);
    while (live_event_read(l, &e))
        live_event_free(&e);
    ring_free(&l->tap);
    pthread_cond_destroy(&l->errands_wake);
    pthread_mutex_destroy(&l->lock);
}

/* --- messages ------------------------------------------------------------------------------------
 */

void say(struct live *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&l->lock);
    if (l->messages_used == MESSAGES_MAX) { /* nobody reads: the oldest goes */
        l->messages_first = (l->messages_first + 1) % MESSAGES_MAX;
        l->messages_used--;
    }
    char *text = l->messages[(l->messages_first + l->messages_used++) % MESSAGES_MAX];
    vsnprintf(text, LIVE_MESSAGE_MAX, format, args);
    pthread_mutex_unlock(&l->lock);
    va_end(args);
}

bool live_message(struct live *l, char text[LIVE_MESSAGE_MAX])
{
    if (player_message(l->player, text, LIVE_MESSAGE_MAX))
        return true;
    pthread_mutex_lock(&l->lock);
    bool any = l->messages_used > 0;
    if (any) {
        memcpy(text, l->messages[l->messages_first], LIVE_MESSAGE_MAX);
        l->messages_first = (l->messages_first + 1) % MESSAGES_MAX;
        l->messages_used--;
    }
    pthread_mutex_unlock(&l->lock);
    return any;
}

/* --- requests ------------------------------------------------------------------------------------
 */

static void *bytes_copy(const void *bytes, size_t n)
{
    void *copy = n > 0 ? malloc(n) : NULL;
    if (copy)
        memcpy(copy, bytes, n);
    return copy;
}

/* A copy that owns what it points to. */
static bool action_copy(struct action *to, const struct action *a)
{
    *to = *a;
    to->codes = a->codes ? bytes_copy(a->codes, (size_t)a->n_codes) : NULL;
    to->state = a->state ? bytes_copy(a->state, a->state_size) : NULL;
    if ((!a->codes || to->codes) && (!a->state || to->state))
        return true;
    free((void *)to->codes);
    free((void *)to->state);
    return error_set("out of memory for an action");
}

void request_free(struct request *r)
{
    free((void *)r->action.codes);
    free((void *)r->action.state);
    free(r->save);
}

bool request_put(struct live *l, const struct request *r)
{
    pthread_mutex_lock(&l->lock);
    bool room = l->queue_used < QUEUE_MAX;
    if (room)
        l->queue[(l->queue_first + l->queue_used++) % QUEUE_MAX] = *r;
    pthread_mutex_unlock(&l->lock);
    if (room)
        return true;
    struct request mine = *r;
    request_free(&mine);
    return error_set("%d actions wait already", QUEUE_MAX);
}

bool request_take(struct live *l, struct request *r)
{
    if (atomic_load(&l->queue_used) == 0)
        return false;
    pthread_mutex_lock(&l->lock);
    *r = l->queue[l->queue_first];
    l->queue_first = (l->queue_first + 1) % QUEUE_MAX;
    l->queue_used--;
    pthread_mutex_unlock(&l->lock);
    return true;
}

bool live_act(struct live *l, const struct action *a)
{
    struct request r = {0};
    if (a->kind == ACTION_PROMPT && !a->state) {
        if (a->n_codes < 1)
            return error_set("a prompt needs some sound");
        struct errand e = {.kind = ERRAND_PROMPT,
                           .codes = bytes_copy(a->codes, (size_t)a->n_codes),
                           .n = a->n_codes};
        return e.codes ? errand_put(l, &e) : error_set("out of memory for a prompt");
    }
    return action_copy(&r.action, a) && request_put(l, &r);
}

bool live_save_state(struct live *l, const char *path)
{
    struct request r = {.save = strdup(path)};
    return r.save ? request_put(l, &r) : error_set("out of memory for a path");
}

/* --- events --------------------------------------------------------------------------------------
 */

void event_note(void *arg, const struct action *a, int64_t at)
{
    struct live *l = arg;
    struct action kept = *a;
    struct event_link *link = calloc(1, sizeof(*link));
    if (kept.kind == ACTION_PROMPT) { /* it follows from the codes */
        kept.state = NULL;
        kept.state_size = 0;
    }
    if (!link || !action_copy(&link->event.action, &kept)) {
        free(link);
        say(l, "out of memory: an event is missing in the log");
        return;
    }
    link->event.at = at;
    pthread_mutex_lock(&l->lock);
    if (l->events_last)
        l->events_last->next = link;
    else
        l->events = link;
    l->events_last = link;
    pthread_mutex_unlock(&l->lock);
}

bool live_event_read(struct live *l, struct live_event *e)
{
    pthread_mutex_lock(&l->lock);
    struct event_link *link = l->events;
    if (link) {
        l->events = link->next;
        l->events_last = link->next ? l->events_last : NULL;
    }
    pthread_mutex_unlock(&l->lock);
    if (!link)
        return false;
    *e = link->event;
    free(link);
    return true;
}

void live_event_free(struct live_event *e)
{
    free((void *)e->action.codes);
    free((void *)e->action.state);
    *e = (struct live_event){0};
}

/* --- what is heard
 * -------------------------------------------------------------------------------- */

void heard_note(struct live *l, const float *x, int n, int64_t at)
{
    for (int i = 0; i < n; i++)
        atomic_store_explicit(&l->recent[(at + i) % LIVE_RECENT], x[i], memory_order_relaxed);
    atomic_store_explicit(&l->recent_at, at + n, memory_order_release);
    if (!atomic_load(&l->tap_open))
        return;
    /* The last block of a session may be cut: its record says so by NaN. */
    float record[TAP_RECORD];
    memcpy(record, &at, sizeof(at));
    for (int i = 0; i < PERFORMANCE_BLOCK; i++)
        record[TAP_AT_FLOATS + i] = i < n ? x[i] : __builtin_nanf("");
    if (l->tap.size - ring_n_ready(&l->tap) < TAP_RECORD)
        atomic_fetch_add(&l->tap_lost, n);
    else
        ring_write(&l->tap, record, TAP_RECORD);
}

void live_recent(const struct live *l, float *x, int n, int64_t *at)
{
    int64_t end = atomic_load_explicit(&l->recent_at, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        int64_t from = end - n + i;
        x[i] = from < 0
                   ? 0
                   : atomic_load_explicit(&l->recent[from % LIVE_RECENT], memory_order_relaxed);
    }
    *at = end;
}

void live_tap(struct live *l, bool open)
{
    atomic_store(&l->tap_open, open);
}

/* The next record is begun. False: there is none. */
static bool tap_next(struct live *l)
{
    float at[TAP_AT_FLOATS];
    if (ring_n_ready(&l->tap) < TAP_RECORD)
        return false;
    ring_read(&l->tap, at, TAP_AT_FLOATS);
    ring_read(&l->tap, l->tap_block, PERFORMANCE_BLOCK);
    memcpy(&l->tap_at, at, sizeof(l->tap_at));
    l->tap_used = 0;
    return true;
}

static bool tap_has(const struct live *l)
{
    return l->tap_used < PERFORMANCE_BLOCK && !__builtin_isnan(l->tap_block[l->tap_used]);
}

int64_t live_tap_read(struct live *l, float *x, int64_t n, int64_t *at)
{
    int64_t done = 0;
    if (!tap_has(l) && !tap_next(l))
        return 0;
    *at = l->tap_at + l->tap_used;
    while (done < n && (tap_has(l) || tap_next(l))) {
        if (l->tap_at + l->tap_used != *at + done) /* a gap: the next call begins behind it */
            break;
        x[done++] = l->tap_block[l->tap_used++];
    }
    return done;
}
