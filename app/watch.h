/*
 * A take under guard: what was made is held back for some seconds, and if the guard (app/guard.h)
 * finds that the take ran away, it goes on from a state before that, and what is written never
 * shows it. Constant memory.
 *
 * The thread that makes the take.
 */
#ifndef HISS_APP_WATCH_H
#define HISS_APP_WATCH_H

#include "app/guard.h"
#include "app/take.h"

struct watch;

/* Where a take is: what a step back takes back, beside the stream's state. */
struct take_point {
    struct take_result result, held;
    int64_t in_clip, n_clips;
};

/* Watches `stream`, a single one that has begun as the job says, and writes to `writer`. NULL with
   error_text. */
struct watch *watch_open(struct hiss_model *m, struct hiss_stream *stream,
                         const struct take_job *job, struct writer *writer);
void watch_close(struct watch *w); /* writes nothing; NULL is fine */

/* Before each block: keeps the moment if it is time, and writes what is too old to be taken back.
   False with error_text. */
bool watch_mark(struct watch *w, const struct take_point *now);

/* A new clip begins: what came before it stays. False with error_text. */
bool watch_clip(struct watch *w);

/* After each block, of n codes and their -ln p. If the take ran away, stream and `now` are as they
   were some time before, and it says so. False with error_text. */
bool watch_hear(struct watch *w, const uint8_t *codes /* (n) */, int64_t n, double nats,
                struct take_point *now);

/* Writes all that is held. False with error_text. */
bool watch_finish(struct watch *w);

#endif
