/*
 * PortAudio itself: opened by whoever needs it, closed by the last; finding devices.
 *
 * PortAudio knows the devices that were there when it was opened. Any thread: calls of this file
 * wait for each other, and device_lock makes others' PortAudio calls that open or close wait too.
 */
#ifndef HISS_AUDIO_DEVICE_H
#define HISS_AUDIO_DEVICE_H

#include <stdbool.h>

/* Opens PortAudio, quietly: what ALSA and JACK would print is not for users. False with error_text.
   device_end once for each that succeeded. */
bool device_begin(void);
void device_end(void);

void device_lock(void);
void device_unlock(void);

/* The number of the device that `name` means (player_options.device), for output or input; between
   device_begin and device_end, under device_lock. -1 with error_text that names what there is. */
int device_find(const char *name, bool input);

#endif
