#include "audio/writer_format.h"

#include "audio/writer.h"
#include "base/error.h"

#include <pthread.h>
#include <sndfile.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const int opus_rates[] = {8000, 12000, 16000, 24000, 48000, 0};
static const int mp3_rates[] = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 0};

/* A WAV or AIFF header counts its bytes in 32 bits; the last 64 KiB are left for its text. */
#define BYTES_32_BIT (0xFFFFFFFFLL - 65536)

static const struct writer_format formats[] = {
    {"wav", SF_FORMAT_WAV | SF_FORMAT_PCM_16, true, true, BYTES_32_BIT, 1, INT32_MAX, NULL},
    {"flac", SF_FORMAT_FLAC | SF_FORMAT_PCM_16, true, false, 0, 1, 655350, NULL},
    {"ogg", SF_FORMAT_OGG | SF_FORMAT_VORBIS, false, false, 0, 1, 200000, NULL},
    {"opus", SF_FORMAT_OGG | SF_FORMAT_OPUS, false, false, 0, 8000, 48000, opus_rates},
    {"aiff", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, true, true, BYTES_32_BIT, 1, INT32_MAX, NULL},
    {"aif", SF_FORMAT_AIFF | SF_FORMAT_PCM_16, true, true, BYTES_32_BIT, 1, INT32_MAX, NULL},
    {"raw", 0, true, false, 0, 1, INT32_MAX, NULL},
    {"mp3", SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III, false, false, 0, 8000, 48000, mp3_rates},
};
enum { N_FORMATS = sizeof formats / sizeof *formats };

/* Ogg, Opus and MP3 depend on how libsndfile was built. */
static bool format_is_here(const struct writer_format *f)
{
    SF_INFO info = {.format = f->sndfile, .channels = 1, .samplerate = 48000};
    return f->sndfile == 0 || sf_format_check(&info);
}

static char known[128];
static pthread_once_t known_once = PTHREAD_ONCE_INIT;

static void list_known(void)
{
    for (int i = 0; i < N_FORMATS; i++)
        if (format_is_here(&formats[i])) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                     formats[i].extension);
        }
}

const char *writer_formats(void)
{
    pthread_once(&known_once, list_known);
    return known;
}

static bool check_rate(const struct writer_format *f, const char *path, int rate)
{
    char list[128] = "";
    if (!f->rates) {
        if (rate >= f->rate_min && rate <= f->rate_max)
            return true;
        return error_set("%s: %s holds rates from %d to %d Hz, not %d Hz", path, f->extension,
                         f->rate_min, f->rate_max, rate);
    }
    for (const int *r = f->rates; *r; r++) {
        if (*r == rate)
            return true;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%d", used ? ", " : "", *r);
    }
    return error_set("%s: %s holds rates of %s Hz only, not %d Hz: write wav or flac", path,
                     f->extension, list, rate);
}

const struct writer_format *writer_format_find(const char *path, int rate)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && i < N_FORMATS; i++)
        if (strcasecmp(dot + 1, formats[i].extension) == 0 && format_is_here(&formats[i]))
            return check_rate(&formats[i], path, rate) ? &formats[i] : NULL;
    error_set("%s: the extension must be one of %s, or the path - for a WAV stream", path,
              writer_formats());
    return NULL;
}
