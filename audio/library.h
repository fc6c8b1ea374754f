/*
 * The libraries of sound that this program was built with.
 *
 * Any thread; no state.
 */
#ifndef HISS_AUDIO_LIBRARY_H
#define HISS_AUDIO_LIBRARY_H

enum { AUDIO_LIBRARIES = 4 };

/* The name of library i and, in its own words, the version that is there; NULL: not built in. */
const char *audio_library_name(int i);
const char *audio_library_version(int i);

#endif
