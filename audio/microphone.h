/*
 * Sound in, for some seconds: the microphone (PortAudio), at its own rate, mixed to mono.
 *
 * Its callback only copies into a ring. The functions below are one thread's.
 */
#ifndef HISS_AUDIO_MICROPHONE_H
#define HISS_AUDIO_MICROPHONE_H

#include <stdint.h>

struct microphone;

/* Listens from now on, for at most so many seconds. device: as player_options.device, NULL: the
   default. NULL with error_text. */
struct microphone *microphone_open(const char *device, double seconds_max);

double microphone_heard_s(const struct microphone *m);

/* Stops listening and gives what was heard: (n) samples at `rate` Hz, freed by the caller. NULL
   with error_text: nothing was heard, out of memory. */
float *microphone_take(struct microphone *m, int64_t *n, int *rate);

void microphone_close(struct microphone *m); /* NULL is fine */

#endif
