/*
 * The recorder of a live session: what is heard goes to a sound file, and beside it, as
 * PATH.events, all that was done, a line of JSON each, from the beginning of the session on: with
 * it the recording can be made again (hiss again).
 *
 * Control thread.
 */
#ifndef HISS_APP_LIVE_RECORD_H
#define HISS_APP_LIVE_RECORD_H

#include "app/live.h"

struct recorder;

/* How a session began. Texts are the caller's and outlive the recorder. */
struct recorder_session {
    const char *model_path, *precision; /* the model as the user named it */
    const char *label;                  /* NULL: none */
    struct hiss_sampling sampling;
};

/* Opens an idle recorder, which keeps the session's events from now on (open it before anything is
   played). NULL with error_text. */
struct recorder *recorder_open(struct live *l, const struct recorder_session *session);

/* Finishes a recording under way. False with error_text. NULL is fine. */
bool recorder_close(struct recorder *r);

/* Begins to record to `path`. False with error_text: it exists no folder, no format, ... */
bool recorder_start(struct recorder *r, const char *path);

/* Ends a recording: the file is finished and named. False with error_text. Idle: nothing. */
bool recorder_stop(struct recorder *r);

/* Some times a second: takes what was heard and done since. False with error_text: the disk is
   full, say; the recording is ended then and what there is of it kept. */
bool recorder_run(struct recorder *r);

/* Path of the recording under way and its length so far, or NULL. */
const char *recorder_path(const struct recorder *r, double *seconds);

#endif
