/*
 * What the extension of a path says about the file to write. Of use to writer.c alone.
 *
 * Any thread; no state.
 */
#ifndef HISS_AUDIO_WRITER_FORMAT_H
#define HISS_AUDIO_WRITER_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

struct writer_format {
    const char *extension;
    int sndfile;         /* libsndfile's format, 0 for raw */
    bool pcm_16;         /* samples are given as 16 bit, else as floats */
    bool header_updates; /* its header can be brought up to date on the way */
    int64_t max_bytes;   /* what its header can count; 0: no limit to speak of */
    int rate_min, rate_max;
    const int *rates; /* the only ones it can have, ending in 0; NULL: the range alone */
};

/* NULL with error_text, which lists the extensions known here, or the rates. */
const struct writer_format *writer_format_find(const char *path, int rate);

#endif
