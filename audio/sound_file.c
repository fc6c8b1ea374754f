#include "audio/sound_file.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

SNDFILE *sound_file_open(int fd, int mode, SF_INFO *info, int close_fd,
                         char why[SOUND_FILE_WHY_MAX])
{
    pthread_mutex_lock(&turn);
    SNDFILE *file = sf_open_fd(fd, mode, info, close_fd);
    if (!file)
        snprintf(why, SOUND_FILE_WHY_MAX, "%s", sf_strerror(NULL));
    pthread_mutex_unlock(&turn);
    return file;
}
