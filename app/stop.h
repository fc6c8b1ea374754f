/*
 * Being asked to stop: SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal). The first is noted,
 * and the work ends in good order; a later one, more than a second or two after it, kills.
 *
 * stop_install: main thread, once. stop_requested: any thread.
 */
#ifndef HISS_APP_STOP_H
#define HISS_APP_STOP_H

/* From now on signals are noted. SIGPIPE is ignored: writing says it. */
void stop_install(void);

/* The signal's number, or 0. */
int stop_requested(void);

#endif
