/*
 * Names as text: a file or folder name may hold any bytes, JSON and messages hold UTF-8 only.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_TEXT_H
#define HISS_APP_TEXT_H

#include <jansson.h>
#include <stdbool.h>

/* Is it UTF-8, without overlong forms and surrogates? */
bool text_is_utf8(const char *text);

/* A copy in which every byte that is not UTF-8 is written \xNN. Allocated; NULL: out of memory. */
char *text_escape(const char *text);

/* The same as a JSON string. NULL: out of memory. */
json_t *text_json(const char *text);

#endif
