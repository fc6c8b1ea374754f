/*
 * The front of a live session: what stands between it and the user. A screen with keys on a
 * terminal, plain status lines elsewhere, lines of JSON for programs; the recorder.
 *
 * Control thread.
 */
#ifndef HISS_APP_LIVE_FRONT_H
#define HISS_APP_LIVE_FRONT_H

#include "app/live_guard.h"
#include "app/live.h"

struct live_front_options {
    const char *record; /* path of a recording from the first sample on; NULL: none yet */
    bool json;          /* lines of JSON on standard output instead of a screen */
    /* How the session began, for the screen and the event log. */
    const char *model;             /* as the user named it */
    const char *precision, *label; /* label NULL: none */
    struct hiss_sampling sampling;
    const struct live_guard *guard; /* NULL: none */
};

/* Starts (live_start), shows and serves a session, until the user leaves, a signal or a closed
   terminal asks for it, or the session ends by itself (live_ended). Stops the session (live_stop),
   drains the tap and finishes recordings, and restores the terminal. False with error_text: the
   session or a recording failed. */
bool live_front_run(struct live *l, const struct live_front_options *options);

#endif
