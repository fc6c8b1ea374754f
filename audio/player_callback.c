/* The callback: copies, fades, counts; nothing else. No memory, lock or system call here. */
#include "audio/player_impl.h"

#include <math.h>

enum { PIECE = 256 }; /* frames that the callback copies at once */

#define PACED_S 0.05
#define BURST_MAX_S 0.1
#define SETTLE_S 0.5 /* of silence, for a device that never goes by the clock */
#define AHEAD_MAX_S 1.0
#define AHEAD_WATCH_S 2.0
#define AHEAD_MARGIN_S 0.15 /* a server begins later than it asks */

size_t player_target(const struct player *p)
{
    size_t piece = (size_t)atomic_load_explicit(&p->callback_max, memory_order_relaxed);
    size_t burst = (size_t)atomic_load_explicit(&p->burst_max, memory_order_relaxed);
    size_t pieces = piece + (burst > piece ? burst : piece);
    size_t most = p->ring.size - p->ring.size / 4;
    size_t wanted = p->buffer > pieces ? p->buffer : pieces;
    return wanted < most ? wanted : most;
}

/* n samples that are due. Counts what is missing. */
static void sound_take(struct player *p, float *x, size_t n)
{
    bool quiet = atomic_load_explicit(&p->idle, memory_order_relaxed) ||
                 atomic_load_explicit(&p->draining, memory_order_relaxed);
    size_t got = 0;
    if (!p->flowing) {
        size_t ready = ring_n_ready(&p->ring);
        p->flowing = ready >= player_target(p) ||
                     (ready > 0 && atomic_load_explicit(&p->draining, memory_order_relaxed));
        p->gain = 0;
    }
    if (p->flowing) {
        float goal = atomic_load_explicit(&p->leaving, memory_order_relaxed) ? 0 : 1;
        got = ring_read(&p->ring, x, n);
        for (size_t i = 0; i < got && (p->gain < 1 || goal < 1); i++) {
            p->gain =
                goal > 0 ? fminf(p->gain + p->gain_step, 1) : fmaxf(p->gain - p->gain_step, 0);
            x[i] *= p->gain;
        }
        if (got > 0)
            p->last = x[got - 1];
        if (got < n) {
            p->flowing = false;
            if (!quiet)
                atomic_fetch_add_explicit(&p->underruns, 1, memory_order_relaxed);
        }
    }
    for (size_t i = got; i < n; i++) {
        p->last *= p->decay;
        p->last = fabsf(p->last) < 1e-5f ? 0 : p->last;
        x[i] = p->last;
    }
    if (!quiet)
        atomic_fetch_add_explicit(&p->missing, (int64_t)(n - got), memory_order_relaxed);
}

/* A device, or a server behind it, first fills buffers of its own, faster than they sound: with
   silence, or they would empty the ring at once. Settled: for a while it asked as time goes by. */
static bool settled(struct player *p, int64_t n, double now)
{
    if (p->n_unsettled == 0 || now - p->asked_at < 0.5 * (double)n / p->rate)
        p->paced_since = now;
    p->n_unsettled += n;
    p->settled = now - p->paced_since > PACED_S || (double)p->n_unsettled > SETTLE_S * p->rate;
    return p->settled;
}

/* A server asks for several pieces at once and then for none: the ring must hold them. They are
   looked for when it has filled its buffers, and where one was too large. */
static void burst_note(struct player *p, int64_t n, double now, bool too_large)
{
    p->burst = now - p->asked_at < 0.3 * (double)n / p->rate ? p->burst + n : n;
    p->asked_at = now;
    bool looking = !p->settled && (double)p->n_unsettled > SETTLE_S / 2 * p->rate;
    int64_t most = (int64_t)(BURST_MAX_S * p->rate), burst = p->burst < most ? p->burst : most;
    if ((looking || too_large) && burst > atomic_load_explicit(&p->burst_max, memory_order_relaxed))
        atomic_store_explicit(&p->burst_max, (int)burst, memory_order_relaxed);
}

/* The end: all is given, what was last has died away, and so much silence followed as the device is
   ahead of the clock, and a little more: what it had in its buffers was heard. (Left to end by
   itself, PortAudio drops those of a sound server.) */
static void end_note(struct player *p, int64_t n, double now)
{
    if (p->n_given == 0)
        p->begun_at = now;
    p->n_given += n;
    double given_s = (double)p->n_given / p->rate;
    if (given_s < AHEAD_WATCH_S) { /* later the two clocks would have drifted apart */
        double least = atomic_load_explicit(&p->device_s, memory_order_relaxed);
        double ahead = fmin(fmax(given_s - (now - p->begun_at), least), AHEAD_MAX_S);
        atomic_store_explicit(&p->ahead_s, ahead, memory_order_relaxed);
    }
    bool left = atomic_load_explicit(&p->leaving, memory_order_relaxed) && p->gain == 0;
    bool given = atomic_load_explicit(&p->draining, memory_order_relaxed) &&
                 ring_n_ready(&p->ring) == 0 && p->last == 0;
    p->n_silent = left || given ? p->n_silent + n : 0;
    double ahead = atomic_load_explicit(&p->ahead_s, memory_order_relaxed);
    if (p->n_silent > 0 && (double)p->n_silent / p->rate >= ahead + AHEAD_MARGIN_S)
        atomic_store_explicit(&p->drained, true, memory_order_relaxed);
}

int player_callback(const void *in, void *out, unsigned long frames,
                    const PaStreamCallbackTimeInfo *time, PaStreamCallbackFlags flags, void *arg)
{
    struct player *p = arg;
    float *y = out, x[PIECE] = {0};
    bool sound = p->settled || settled(p, (int64_t)frames, time->currentTime);
    int64_t underruns = atomic_load_explicit(&p->underruns, memory_order_relaxed);
    for (unsigned long done = 0; done < frames;) {
        size_t n = frames - done < PIECE ? frames - done : PIECE;
        if (sound)
            sound_take(p, x, n);
        for (size_t i = 0; i < n; i++)
            for (int c = 0; c < p->channels; c++)
                *y++ = x[i];
        done += n;
    }
    if (flags & paOutputUnderflow)
        atomic_fetch_add_explicit(&p->device_underflows, 1, memory_order_relaxed);
    if ((int)frames > atomic_load_explicit(&p->callback_max, memory_order_relaxed))
        atomic_store_explicit(&p->callback_max, (int)frames, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->frames, (int64_t)frames, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->callbacks, 1, memory_order_relaxed);
    burst_note(p, (int64_t)frames, time->currentTime,
               atomic_load_explicit(&p->underruns, memory_order_relaxed) > underruns);
    end_note(p, (int64_t)frames, time->currentTime);
    return paContinue;
}
