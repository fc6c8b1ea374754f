/*
 * What the program says while it works: to standard error, one line a message.
 *
 * On a terminal a status line is drawn in place and redrawn under every message; elsewhere status
 * lines are printed whole, at most one every few seconds.
 *
 * Any thread.
 */
#ifndef HISS_BASE_LOG_H
#define HISS_BASE_LOG_H

#include <stdbool.h>
#include <stdio.h>

enum { LOG_INTERVAL_S = 5 }; /* between status lines where there is no terminal */

enum log_level { LOG_QUIET, LOG_WARNINGS, LOG_NORMAL };

/* From now on standard error is ours alone: what libraries print there is dropped, what is said
   here (and written to log_file) still arrives. Once, before other threads start; nothing if the
   system has no place for it. */
void log_take_stderr(void);

/* Where messages go: standard error, or what was it. */
FILE *log_file(void);

/* What is printed from now on. The default is LOG_NORMAL. */
void log_set_level(enum log_level level);

/* Plain messages, and warnings ("warning: ..."). A newline is added; control characters in the
   text become '?'. */
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The status line: what a long piece of work is doing now. On a terminal it is cut to its width and
   drawn at most ten times a second; elsewhere it is printed if LOG_INTERVAL_S went by since the
   last one. `force` shows it at once. */
void log_status(bool force, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends the status line: on a terminal its last text stays. */
void log_status_end(void);

#endif
