/*
 * How a file becomes clips (design: "Clips"): a fact that a model carries and the audio room obeys.
 *
 * Any thread; no state.
 */
#ifndef HISS_BASE_CLIP_MODE_H
#define HISS_BASE_CLIP_MODE_H

#include <stdbool.h>

enum clip_mode {
    CLIP_WHOLE, /* a file from its first sample, padded or cut */
    CLIP_CROP,  /* a piece from anywhere in a file */
    CLIP_MODES
};

/* "whole", "crop". */
const char *clip_mode_name(enum clip_mode m);
bool clip_mode_from_name(enum clip_mode *m, const char *name); /* false, no error_text: unknown */

#endif
