/* The player of a program that was built without PortAudio. */
#include "audio/microphone.h"
#include "audio/player.h"
#include "base/error.h"

static const char without[] = "this hiss was built without PortAudio: install portaudio19-dev and "
                              "build it again (hiss generate writes files)";

bool player_devices(void (*visit)(void *arg, const struct player_device *d), void *arg)
{
    return error_set(without);
}

struct player *player_open(const struct player_options *options)
{
    error_set(without);
    return NULL;
}

/* What follows is for a player that was opened: there is none. */

bool player_start(struct player *p)
{
    return error_set(without);
}

void player_finish(struct player *p)
{
}

bool player_finished(const struct player *p)
{
    return true;
}

void player_stop(struct player *p, double drain_s)
{
}

void player_close(struct player *p)
{
}

int player_rate(const struct player *p)
{
    return 0;
}

int player_channels(const struct player *p)
{
    return 0;
}

const char *player_device(const struct player *p)
{
    return "";
}

size_t player_wanted(const struct player *p)
{
    return 0;
}

size_t player_write(struct player *p, const float *x, size_t n)
{
    return 0;
}

void player_idle(struct player *p, bool idle)
{
}

void player_look(const struct player *p, struct player_facts *facts)
{
    *facts = (struct player_facts){0};
}

bool player_message(struct player *p, char *text, size_t size)
{
    return false;
}

struct microphone *microphone_open(const char *device, double seconds_max)
{
    error_set(without);
    return NULL;
}

double microphone_heard_s(const struct microphone *m)
{
    return 0;
}

float *microphone_take(struct microphone *m, int64_t *n, int *rate)
{
    error_set(without);
    return NULL;
}

void microphone_close(struct microphone *m)
{
}
