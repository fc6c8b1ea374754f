/*
 * Names as text: a file or folder name may hold any bytes, JSON and messages hold UTF-8 only.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_TEXT_H
#define HISS_APP_TEXT_H

#include <stdbool.h>

/* Is it UTF-8, without overlong forms and surrogates? */
bool text_is_utf8(const char *text);

/* A copy in which every byte that is not UTF-8 is written \xNN. Allocated; NULL: out of memory. */
char *text_escape(const char *text);

#endif
