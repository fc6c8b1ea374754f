#include "audio/library.h"

#include <fftw3.h>
#include <sndfile.h>
#include <soxr.h>
#if HISS_PORTAUDIO
#include <portaudio.h>
#endif

#include <stddef.h>

const char *audio_library_name(int i)
{
    static const char *const names[AUDIO_LIBRARIES] = {"libsndfile", "soxr", "fftw", "portaudio"};
    return names[i];
}

const char *audio_library_version(int i)
{
    switch (i) {
    case 0:
        return sf_version_string();
    case 1:
        return soxr_version();
    case 2:
        return fftw_version;
    default:
#if HISS_PORTAUDIO
        return Pa_GetVersionText();
#else
        return NULL;
#endif
    }
}
