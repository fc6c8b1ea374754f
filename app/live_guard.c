#include "app/live_guard.h"

#include "base/error.h"

#include <stdatomic.h>
#include <stdlib.h>

struct live_guard {
    struct guard *guard;
    uint64_t seed;
    float warm, cool; /* while cooling: the temperature to go back to, and the one set */
    float cooling;    /* as set now; 1: none */
    int64_t clip_at;  /* where the stream was after the last block */
    _Atomic int64_t count;
    _Atomic int last;
};

bool live_guard_open(struct live_guard **guard, const struct hiss_model *m, uint64_t seed)
{
    struct guard_limits limits;
    *guard = NULL;
    if (!guard_limits_read(&limits, hiss_model_metadata(m, "hiss.stats")))
        return true;
    struct live_guard *g = calloc(1, sizeof(*g));
    if (!g)
        return error_set("out of memory for a guard");
    g->guard = guard_open(&limits, hiss_model_rate(m), hiss_model_clip(m) > 0);
    g->seed = seed;
    g->cooling = 1;
    if (!g->guard) {
        free(g);
        return false;
    }
    *guard = g;
    return true;
}

void live_guard_close(struct live_guard *g)
{
    if (!g)
        return;
    guard_close(g->guard);
    free(g);
}

/* The temperature follows the guard's, unless a hand changed it meanwhile: then the hand wins. */
static void temperature_set(struct live_guard *g, struct performance *p)
{
    float now = performance_look(p).sampling.temperature, cooling = guard_cooling(g->guard);
    if (cooling == g->cooling)
        return;
    bool hand = g->cooling != 1 && now != g->cool;
    if (g->cooling == 1 || hand)
        g->warm = now;
    g->cooling = cooling;
    g->cool = g->warm * cooling;
    if (g->cool != now)
        performance_apply(p, &(struct action){.kind = ACTION_TEMPERATURE, .value = g->cool});
}

void live_guard_block(void *guard, struct performance *p, const struct performance_made *made)
{
    struct live_guard *g = guard;
    struct performance_facts f = performance_look(p);
    if (made->n == 0) { /* it stands still */
        guard_forget(g->guard);
        return;
    }
    if (f.clip_at != g->clip_at + made->n) /* a new clip, a jump */
        guard_forget(g->guard);
    g->clip_at = f.clip_at;
    enum guard_verdict v = guard_hear(g->guard, made->x, made->n, made->nats);
    if (v != GUARD_WELL && f.sampling.temperature > 0) {
        struct guard_answer a = guard_answer(g->guard, v, g->seed);
        performance_apply(
            p, &(struct action){.kind = ACTION_REWIND, .value = (float)a.back_s, .seed = a.seed});
        g->clip_at = performance_look(p).clip_at;
        atomic_store(&g->last, (int)v);
        atomic_fetch_add(&g->count, 1);
    }
    temperature_set(g, p);
}

int64_t live_guard_count(const struct live_guard *g, enum guard_verdict *last)
{
    *last = (enum guard_verdict)atomic_load(&g->last);
    return atomic_load(&g->count);
}
