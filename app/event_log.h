/*
 * The event log of a live session as text: a line of JSON says how the session began, then one a
 * line what was done, each with the sample before which it took effect. Everything that a
 * performance (app/performance.h) needs to be made again is in it; prompts and states as hex.
 *
 * Any thread.
 */
#ifndef HISS_APP_EVENT_LOG_H
#define HISS_APP_EVENT_LOG_H

#include "app/performance.h"

#include <jansson.h>

/* An action as JSON, as a new object; labels by their names in m. NULL: out of memory. */
json_t *event_json(const struct hiss_model *m, const struct action *a, int64_t at);

/* The other way. codes and state are allocated: event_free. False with error_text. */
bool event_read(const struct hiss_model *m, const json_t *object, struct action *a, int64_t *at);
void event_free(struct action *a);

#endif
