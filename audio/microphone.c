#include "audio/microphone.h"

#include "audio/device.h"
#include "audio/ring.h"
#include "base/error.h"

#include <math.h>
#include <portaudio.h>
#include <stdlib.h>

enum { CHANNELS_MAX = 2, PIECE = 256 };

struct microphone {
    PaStream *stream;
    struct ring ring;
    int rate, channels;
    size_t n_max;
};

static int callback(const void *in, void *out, unsigned long frames,
                    const PaStreamCallbackTimeInfo *time, PaStreamCallbackFlags flags, void *arg)
{
    struct microphone *m = arg;
    const float *x = in;
    float mono[PIECE];
    if (!x)
        return paContinue;
    for (unsigned long done = 0; done < frames;) {
        size_t n = frames - done < PIECE ? frames - done : PIECE;
        for (size_t i = 0; i < n; i++, x += m->channels)
            mono[i] = m->channels == 1 ? x[0] : (x[0] + x[1]) / 2;
        ring_write(&m->ring, mono, n); /* what is too much is not heard */
        done += n;
    }
    return paContinue;
}

/* Under device_lock. */
static bool stream_open(struct microphone *m, const char *name)
{
    int device = device_find(name, true);
    if (device < 0)
        return false;
    const PaDeviceInfo *info = Pa_GetDeviceInfo(device);
    m->rate = (int)lround(info->defaultSampleRate);
    m->channels = info->maxInputChannels < CHANNELS_MAX ? info->maxInputChannels : CHANNELS_MAX;
    PaStreamParameters parameters = {.device = device,
                                     .channelCount = m->channels,
                                     .sampleFormat = paFloat32,
                                     .suggestedLatency = info->defaultHighInputLatency};
    PaError error = Pa_OpenStream(&m->stream, &parameters, NULL, m->rate,
                                  paFramesPerBufferUnspecified, 0, callback, m);
    if (error != paNoError)
        m->stream = NULL;
    return error == paNoError ||
           error_set("%s does not listen: %s", info->name, Pa_GetErrorText(error));
}

struct microphone *microphone_open(const char *device, double seconds_max)
{
    if (!device_begin())
        return NULL;
    struct microphone *m = calloc(1, sizeof(*m));
    if (!m) {
        error_set("out of memory for a microphone");
        device_end();
        return NULL;
    }
    device_lock();
    bool ok = stream_open(m, device);
    device_unlock();
    if (ok) {
        m->n_max = (size_t)(seconds_max * m->rate);
        ok = ring_init(&m->ring, m->n_max);
    }
    if (ok) {
        PaError error = Pa_StartStream(m->stream);
        ok = error == paNoError ||
             error_set("the microphone does not start: %s", Pa_GetErrorText(error));
    }
    if (!ok) {
        microphone_close(m);
        return NULL;
    }
    return m;
}

double microphone_heard_s(const struct microphone *m)
{
    size_t n = ring_n_ready(&m->ring);
    return (double)(n < m->n_max ? n : m->n_max) / m->rate;
}

static void stream_close(struct microphone *m)
{
    device_lock();
    if (m->stream) {
        Pa_AbortStream(m->stream);
        Pa_CloseStream(m->stream);
    }
    m->stream = NULL;
    device_unlock();
}

float *microphone_take(struct microphone *m, int64_t *n, int *rate)
{
    stream_close(m);
    size_t ready = ring_n_ready(&m->ring);
    ready = ready < m->n_max ? ready : m->n_max;
    float *x = ready > 0 ? malloc(sizeof(*x) * ready) : NULL;
    if (!x) {
        error_set(ready > 0 ? "out of memory for what the microphone heard"
                            : "the microphone heard nothing");
        return NULL;
    }
    *n = (int64_t)ring_read(&m->ring, x, ready);
    *rate = m->rate;
    return x;
}

void microphone_close(struct microphone *m)
{
    if (!m)
        return;
    stream_close(m);
    device_end();
    ring_free(&m->ring);
    free(m);
}
