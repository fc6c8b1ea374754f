#define _GNU_SOURCE
#include "app/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

/* Not sig_atomic_t: the signal may come to one thread while another asks. */
static atomic_int requested;

static void stop_note(int signal_number)
{
    requested = signal_number;
}

void stop_install(void)
{
    /* SA_RESTART: a write under way is finished, not torn. */
    struct sigaction note = {.sa_handler = stop_note, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigaction(SIGINT, &note, NULL);
    sigaction(SIGTERM, &note, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
}

int stop_requested(void)
{
    return requested;
}
