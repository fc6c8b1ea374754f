/*
 * The guard of a live session: hears each block on the worker and, when the sound runs away, winds
 * the performance back (a crossfade, as any rewind) with other noise, cooler for a while. What it
 * does are actions, and so stand in the event log.
 *
 * Opened and closed by the control thread while no session uses it; live_guard_block is the
 * worker's; live_guard_count anyone's.
 */
#ifndef HISS_APP_LIVE_GUARD_H
#define HISS_APP_LIVE_GUARD_H

#include "app/guard.h"
#include "app/performance.h"

struct live_guard;

/* *guard becomes NULL if the model does not say how its recordings sound. False with error_text:
   memory. */
bool live_guard_open(struct live_guard **guard, const struct hiss_model *m, uint64_t seed);
void live_guard_close(struct live_guard *g); /* NULL is fine */

/* performance_options.after_block, with the guard as its argument. */
void live_guard_block(void *guard, struct performance *p, const struct performance_made *made);

/* How often it stepped in, and what for, the last time. */
int64_t live_guard_count(const struct live_guard *g, enum guard_verdict *last);

#endif
