#include "audio/writer.h"

#include "audio/sound_file.h"
#include "audio/writer_format.h"
#include "base/error.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 4096, WAV_HEADER = 44 }; /* blocks are short: libvorbis keeps them on the stack */

static const struct writer_format stream_format = {.extension = "wav", .pcm_16 = true};

struct writer {
    char path[FILE_PATH_MAX], part[FILE_PATH_MAX];
    const char *where; /* for messages */
    const struct writer_format *format;
    int rate;
    int fd;
    SNDFILE *file; /* NULL: raw, or a stream */
    bool stream;   /* standard output */
    int64_t n, n_clamped;
    int64_t n_header; /* samples the header knew of when it was last updated */
    int16_t pcm[BLOCK];
    float x[BLOCK];
};

static bool write_bytes(struct writer *w, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t got = write(w->fd, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EPIPE)
            return error_set("%s: whoever was reading went away", w->where);
        if (got <= 0)
            return error_set("%s: cannot write: %s", w->where, got < 0 ? strerror(errno) : "full");
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static void put_le(uint8_t *out, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static void make_wav_header(uint8_t h[WAV_HEADER], int rate, uint32_t riff, uint32_t data)
{
    memcpy(h, "RIFF    WAVEfmt ", 16);
    put_le(h + 4, riff, 4);
    put_le(h + 16, 16, 4); /* size of fmt */
    put_le(h + 20, 1, 2);  /* PCM */
    put_le(h + 22, 1, 2);  /* channels */
    put_le(h + 24, (uint32_t)rate, 4);
    put_le(h + 28, (uint32_t)rate * 2, 4); /* bytes a second */
    put_le(h + 32, 2, 2);                  /* bytes a frame */
    put_le(h + 34, 16, 2);                 /* bits */
    memcpy(h + 36, "data", 4);
    put_le(h + 40, data, 4);
}

/* After `hiss ... -o - > take.wav` standard output is a file after all. */
static void correct_stream_header(struct writer *w)
{
    struct stat st;
    uint8_t header[WAV_HEADER];
    int64_t data = 2 * w->n, size = data + WAV_HEADER;
    int flags = fcntl(w->fd, F_GETFL);
    if (fstat(w->fd, &st) != 0 || !S_ISREG(st.st_mode) || flags < 0 || (flags & O_APPEND) ||
        st.st_size != size || size > 0xFFFFFFFFLL)
        return;
    make_wav_header(header, w->rate, (uint32_t)(size - 8), (uint32_t)data);
    /* A header that could not be corrected still says "unknown", which is true. */
    if (pwrite(w->fd, header, sizeof header, 0) != (ssize_t)sizeof header)
        return;
}

static bool open_stream(struct writer *w)
{
    uint8_t header[WAV_HEADER];
    w->where = "standard output";
    w->stream = true;
    w->format = &stream_format;
    w->fd = STDOUT_FILENO;
    if (isatty(w->fd))
        return error_set("standard output is a terminal: pipe it into a player, or name a file");
    make_wav_header(header, w->rate, 0xFFFFFFFFu, 0xFFFFFFFFu);
    return write_bytes(w, header, sizeof header);
}

static bool open_part(struct writer *w, const struct writer_options *o)
{
    SF_INFO info = {.samplerate = o->rate, .channels = 1, .format = w->format->sndfile};
    char why[SOUND_FILE_WHY_MAX];
    w->where = w->path;
    if (strlen(w->path) + sizeof ".part" > sizeof w->part)
        return error_set("%.80s...: the path is too long", w->path);
    snprintf(w->part, sizeof w->part, "%.*s.part", (int)sizeof w->part - 6, w->path);
    if (path_is_folder(w->path))
        return error_set("%s: is a folder", w->path);
    w->fd = open(w->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0)
        return error_set("%s: cannot create: %s", w->part, strerror(errno));
    if (w->format->sndfile == 0)
        return true;
    if (!(w->file = sound_file_open(w->fd, SFM_WRITE, &info, 0, why))) {
        w->fd = -1;
        unlink(w->part);
        return error_set("%s: cannot write %s at %d Hz: %s", w->path, w->format->extension, o->rate,
                         why);
    }
    if ((o->software && strlen(o->software) > WRITER_TEXT_MAX) ||
        (o->comment && strlen(o->comment) > WRITER_TEXT_MAX))
        return error_set("%s: the text to store in it is longer than %d bytes: use shorter names",
                         w->path, WRITER_TEXT_MAX);
    if (o->software)
        sf_set_string(w->file, SF_STR_SOFTWARE, o->software);
    if (o->comment)
        sf_set_string(w->file, SF_STR_COMMENT, o->comment);
    return true;
}

static bool check_length(const struct writer_format *f, const char *where, int64_t n)
{
    if (f->max_bytes == 0 || n <= f->max_bytes / 2)
        return true;
    return error_set("%s: a %s file ends at 4 GiB: write flac for longer ones", where,
                     f->extension);
}

bool writer_check(const char *path, int rate, int64_t n)
{
    if (strcmp(path, "-") == 0)
        return true;
    const struct writer_format *f = writer_format_find(path, rate);
    return f && check_length(f, path, n);
}

struct writer *writer_open(const char *path, const struct writer_options *o)
{
    struct writer *w = calloc(1, sizeof *w);
    if (!w) {
        error_set("%s: out of memory", path);
        return NULL;
    }
    w->fd = -1;
    w->rate = o->rate;
    bool ok;
    if (strcmp(path, "-") == 0)
        ok = open_stream(w);
    else if (strlen(path) >= sizeof w->path)
        ok = error_set("%.80s...: the path is too long", path);
    else {
        memcpy(w->path, path, strlen(path) + 1);
        w->format = writer_format_find(path, o->rate);
        ok = w->format && open_part(w, o);
    }
    if (ok)
        return w;
    writer_discard(w);
    return NULL;
}

static bool write_block(struct writer *w, const float *x, int n)
{
    int64_t written = n;
    for (int i = 0; i < n; i++) {
        float v = isnan(x[i]) ? 0 : x[i];
        float clamped = v > 1 ? 1 : v < -1 ? -1 : v;
        w->n_clamped += clamped != v;
        long pcm = lrintf(clamped * 32768);
        w->pcm[i] = (int16_t)(pcm > 32767 ? 32767 : pcm);
        w->x[i] = clamped;
    }
    if (w->file) {
        written = w->format->pcm_16 ? sf_write_short(w->file, w->pcm, n)
                                    : sf_write_float(w->file, w->x, n);
        if (written != n)
            error_set("%s: cannot write: %s", w->where, sf_strerror(w->file));
    } else {
        uint8_t bytes[2 * BLOCK];
        for (int i = 0; i < n; i++)
            put_le(bytes + 2 * i, (uint16_t)w->pcm[i], 2);
        if (!write_bytes(w, bytes, 2 * (size_t)n))
            return false;
    }
    w->n += written > 0 ? written : 0;
    return written == n;
}

bool writer_write(struct writer *w, const float *x, int64_t n)
{
    if (!check_length(w->format, w->where, w->n + n))
        return false;
    for (int64_t done = 0; done < n; done += BLOCK)
        if (!write_block(w, x + done, (int)(n - done < BLOCK ? n - done : BLOCK)))
            return false;
    if (w->file && w->format->header_updates && w->n - w->n_header >= w->rate) {
        sf_command(w->file, SFC_UPDATE_HEADER_NOW, NULL, 0);
        w->n_header = w->n;
    }
    return true;
}

int64_t writer_n(const struct writer *w)
{
    return w->n;
}

int64_t writer_n_clamped(const struct writer *w)
{
    return w->n_clamped;
}

static bool finish_part(struct writer *w)
{
    int failed = w->file ? sf_close(w->file) : 0;
    w->file = NULL;
    if (failed)
        return error_set("%s: cannot finish the file: %s", w->part, sf_error_number(failed));
    /* Some file systems cannot sync, and say EINVAL; that is theirs. */
    if (fsync(w->fd) != 0 && errno != EINVAL)
        return error_set("%s: cannot write: %s", w->part, strerror(errno));
    int fd = w->fd;
    w->fd = -1;
    if (close(fd) != 0)
        return error_set("%s: cannot write: %s", w->part, strerror(errno));
    if (rename(w->part, w->path) != 0)
        return error_set("%s: cannot rename to %s: %s", w->part, w->path, strerror(errno));
    return true;
}

bool writer_close(struct writer *w)
{
    bool ok = true;
    if (!w)
        return true;
    if (w->stream)
        correct_stream_header(w);
    else
        ok = finish_part(w);
    if (w->fd >= 0 && !w->stream)
        close(w->fd);
    free(w);
    return ok;
}

void writer_discard(struct writer *w)
{
    if (!w)
        return;
    if (w->file)
        sf_close(w->file);
    if (w->fd >= 0 && !w->stream) {
        close(w->fd);
        unlink(w->part);
    }
    free(w);
}
