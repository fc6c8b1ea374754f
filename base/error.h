/*
 * Errors of the world: a file, a device, memory, an argument.
 *
 * A function that can fail returns bool (or NULL) and has set one line of text that says what
 * failed, where, and what to do. The text is built where the failure is known. Callers add nothing
 * unless they know more (error_prefix), and `goto out`.
 *
 * Our own bugs are not errors: they are asserts.
 *
 * Any thread; the text belongs to the calling thread.
 */
#ifndef HISS_BASE_ERROR_H
#define HISS_BASE_ERROR_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ERROR_TEXT_MAX = 1024 };

/* Sets the calling thread's error text. Always returns false, so that `return error_set(...)`
   reads as what it is. Control characters in the text (a file name may hold any byte) are replaced
   by '?', so that an error stays one line. */
bool error_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts text and ": " in front of the present error text, for a caller that knows where it was.
   Always returns false. */
bool error_prefix(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The calling thread's last error text; "" if there was none. Valid until its next error_*. */
const char *error_text(void);

#ifdef __cplusplus
}
#endif

#endif
