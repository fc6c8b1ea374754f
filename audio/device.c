#define _GNU_SOURCE
#include "audio/device.h"

#include "audio/player.h"
#include "base/error.h"

#include <dlfcn.h>
#include <portaudio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void device_lock(void)
{
    pthread_mutex_lock(&lock);
}

void device_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

static void alsa_silent(const char *file, int line, const char *function, int error,
                        const char *format, ...)
{
}

static void jack_silent(const char *text)
{
}

/* PortAudio's own libraries; where they are not linked in there is nothing to silence. */
static void libraries_silence(void)
{
    typedef void alsa_handler(const char *, int, const char *, int, const char *, ...);
    typedef void jack_handler(const char *);
    int (*alsa_set)(alsa_handler *);
    void (*jack_set)(jack_handler *);
    *(void **)&alsa_set = dlsym(RTLD_DEFAULT, "snd_lib_error_set_handler");
    if (alsa_set)
        alsa_set(alsa_silent);
    static const char *const names[] = {"jack_set_error_function", "jack_set_info_function"};
    for (int i = 0; i < 2; i++) {
        *(void **)&jack_set = dlsym(RTLD_DEFAULT, names[i]);
        if (jack_set)
            jack_set(jack_silent);
    }
    setenv("JACK_NO_START_SERVER", "1", 0);
}

bool device_begin(void)
{
    device_lock();
    libraries_silence();
    PaError error = Pa_Initialize();
    device_unlock();
    return error == paNoError ||
           error_set("the sound system does not start: %s", Pa_GetErrorText(error));
}

void device_end(void)
{
    device_lock();
    Pa_Terminate();
    device_unlock();
}

static int n_channels(const PaDeviceInfo *info, bool input)
{
    return input ? info->maxInputChannels : info->maxOutputChannels;
}

/* A list of the devices, as much of it as fits. */
static void names_list(char *text, size_t size, bool input)
{
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < Pa_GetDeviceCount() && used < size; i++)
        if (n_channels(Pa_GetDeviceInfo(i), input) > 0)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     Pa_GetDeviceInfo(i)->name);
}

static int device_default(bool input)
{
    int device = input ? Pa_GetDefaultInputDevice() : Pa_GetDefaultOutputDevice();
    if (device != paNoDevice)
        return device;
    error_set(input ? "no microphone here: connect one, or name a device (hiss live --list-devices)"
                    : "no sound device here: connect one or start a sound server (hiss live "
                      "--list-devices shows what there is), or write a file with hiss generate");
    return -1;
}

int device_find(const char *name, bool input)
{
    char *end, names[512];
    if (!name)
        return device_default(input);
    long number = strtol(name, &end, 10);
    int n = Pa_GetDeviceCount(), found = -1;
    if (*name && !*end && number >= 0 && number < n &&
        n_channels(Pa_GetDeviceInfo((int)number), input) > 0)
        return (int)number;
    for (int i = 0; i < n && found < 0; i++)
        if (n_channels(Pa_GetDeviceInfo(i), input) > 0 &&
            strcmp(Pa_GetDeviceInfo(i)->name, name) == 0)
            found = i;
    for (int i = 0; i < n && found < 0; i++)
        if (n_channels(Pa_GetDeviceInfo(i), input) > 0 &&
            strcasestr(Pa_GetDeviceInfo(i)->name, name))
            found = i;
    if (found >= 0)
        return found;
    names_list(names, sizeof(names), input);
    error_set("there is no sound device %s; there %s %s", name, names[0] ? "are:" : "is",
              names[0] ? names : "none at all");
    return -1;
}

bool player_devices(void (*visit)(void *arg, const struct player_device *d), void *arg)
{
    if (!device_begin())
        return false;
    int n = Pa_GetDeviceCount();
    for (int i = 0; i < n; i++) {
        const PaDeviceInfo *info = Pa_GetDeviceInfo(i);
        visit(arg, &(struct player_device){.number = i,
                                           .name = info->name,
                                           .api = Pa_GetHostApiInfo(info->hostApi)->name,
                                           .n_out = info->maxOutputChannels,
                                           .n_in = info->maxInputChannels,
                                           .rate = info->defaultSampleRate,
                                           .latency_s = info->defaultLowOutputLatency,
                                           .is_default = i == Pa_GetDefaultOutputDevice(),
                                           .is_default_in = i == Pa_GetDefaultInputDevice()});
    }
    device_end();
    return n > 0 || error_set("no sound device here");
}
