#define _GNU_SOURCE
#include "app/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

/* Seconds in which a second signal is the same wish: timeout(1) and terminals send one to a program
   and another to its group, an instant apart. */
enum { SAME_WISH_S = 1 };

/* Not sig_atomic_t: the signal may come to one thread while another asks. */
static atomic_int requested;
static atomic_llong requested_at; /* seconds */

static void stop_note(int signal_number)
{
    struct timespec now; /* clock_gettime may be called from a handler */
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!requested) {
        requested_at = now.tv_sec;
        requested = signal_number;
    } else if (now.tv_sec - requested_at > SAME_WISH_S) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

void stop_install(void)
{
    /* SA_RESTART: a write under way is finished, not torn. */
    struct sigaction note = {.sa_handler = stop_note, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &note, NULL);
    sigaction(SIGTERM, &note, NULL);
    struct sigaction hangup;
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_DFL)
        sigaction(SIGHUP, &note, NULL); /* not under nohup */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

int stop_requested(void)
{
    return requested;
}
