/*
 * Opening a sound file with libsndfile from any thread. The library keeps why an open failed in
 * global memory that no lock of its own guards, so opens take turns, and the reason is read in the
 * same turn. Everything else of the library is per file. Used by reader.c and writer.c.
 */
#ifndef HISS_AUDIO_SOUND_FILE_H
#define HISS_AUDIO_SOUND_FILE_H

#include <sndfile.h>

enum { SOUND_FILE_WHY_MAX = 256 }; /* bytes of a reason, 0 included */

/* sf_open_fd(fd, mode, info, close_fd); any thread. NULL with the library's reason in `why`; the
   library has then closed fd, asked to or not. The caller owns the file: sf_close. */
SNDFILE *sound_file_open(int fd, int mode, SF_INFO *info, int close_fd,
                         char why[SOUND_FILE_WHY_MAX]);

#endif
