#include "audio/reader.h"

#include "audio/sound_file.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <soxr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK_FRAMES = 8192, BLOCK_FLOATS = 65536 };

struct reader {
    SNDFILE *file;
    struct sound_info info;
    int rate;          /* of what is read */
    int64_t n_claimed; /* frames: by the header, even where libsndfile corrected it */
    int64_t n_unsure;  /* frames by which such a claim may err in good faith */
    int64_t n_frames;  /* read so far */
    int64_t n_bad;
    bool ended;
    char failure[80]; /* the file's decoder gave up, rather than came to the end */
    char trouble[160];
    soxr_t soxr;        /* NULL: the rate is right */
    int64_t block_size; /* frames */
    float *frames;      /* (block_size, channels) */
    float *mono;        /* (block_size) */
};

static int open_regular(const char *path)
{
    /* O_NONBLOCK: opening a FIFO without a writer would wait for one. */
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    if (fd < 0) {
        error_set("%s: cannot open: %s", path, strerror(errno));
        return -1;
    }
    if (fstat(fd, &st) != 0)
        error_set("%s: cannot look at it: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        error_set("%s: is a folder: name a sound file", path);
    else if (!S_ISREG(st.st_mode))
        error_set("%s: is not a regular file: save the sound to a file first", path);
    else if (st.st_size == 0)
        error_set("%s: the file is empty", path);
    else
        return fd;
    close(fd);
    return -1;
}

static void describe_format(char *out, size_t size, int format)
{
    SF_FORMAT_INFO major = {.format = format & SF_FORMAT_TYPEMASK};
    SF_FORMAT_INFO minor = {.format = format & SF_FORMAT_SUBMASK};
    sf_command(NULL, SFC_GET_FORMAT_INFO, &major, sizeof major);
    sf_command(NULL, SFC_GET_FORMAT_INFO, &minor, sizeof minor);
    snprintf(out, size, "%s, %s", major.name ? major.name : "unknown",
             minor.name ? minor.name : "unknown");
}

/* libsndfile corrects the length a WAV or AIFF header claims to what is there, and tells only its
   log: "data : 48000 (should be 1200)". Streams, whose header could not know, claim the maximum:
   that is no lie. Returns frames, 0 if nothing was corrected. */
static int64_t find_corrected_length(SNDFILE *file, const SF_INFO *info)
{
    char log[4096];
    long long claimed, present;
    if (sf_command(file, SFC_GET_LOG_INFO, log, sizeof log) <= 0)
        return 0;
    log[sizeof log - 1] = 0;
    for (const char *line = log; line; line = strchr(line, '\n')) {
        line += strspn(line, "\n ");
        int before = 0; /* bytes of the chunk that are not samples */
        if (sscanf(line, "SSND : %lld (should be %lld", &claimed, &present) == 2)
            before = 8;
        else if (sscanf(line, "data : %lld (should be %lld", &claimed, &present) != 2)
            continue;
        if (claimed > present && present > before && claimed < 0x7fff0000LL)
            return (int64_t)((double)info->frames * (double)(claimed - before) /
                             (double)(present - before));
    }
    return 0;
}

/* Mixes one frame; each number that is none counts and becomes 0. */
static float mix_frame(struct reader *r, const float *frame)
{
    double sum = 0;
    for (int c = 0; c < r->info.channels; c++)
        if (isfinite(frame[c]))
            sum += frame[c];
        else
            r->n_bad++;
    return (float)(sum / r->info.channels);
}

static void end_file(struct reader *r)
{
    double present_s = (double)r->n_frames / r->info.rate;
    double claimed_s = (double)r->n_claimed / r->info.rate;
    r->ended = true;
    if (r->n_frames + r->n_unsure < r->n_claimed)
        snprintf(r->trouble, sizeof r->trouble, "stops after %.3f s of the %.3f s it claims%s",
                 present_s, claimed_s, r->failure);
    else if (r->failure[0])
        snprintf(r->trouble, sizeof r->trouble, "stops after %.3f s%s", present_s, r->failure);
}

/* Reads one block at the file's rate into r->mono; returns frames, 0 at the end. */
static int64_t read_block(struct reader *r, int64_t n)
{
    if (r->ended)
        return 0;
    int64_t got = sf_readf_float(r->file, r->frames, n < r->block_size ? n : r->block_size);
    if (sf_error(r->file) != SF_ERR_NO_ERROR)
        snprintf(r->failure, sizeof r->failure, ": %s", sf_strerror(r->file));
    if (got <= 0) {
        end_file(r);
        return 0;
    }
    for (int64_t i = 0; i < got; i++)
        r->mono[i] = mix_frame(r, r->frames + i * r->info.channels);
    r->n_frames += got;
    return got;
}

static size_t feed_soxr(void *arg, soxr_in_t *block, size_t n)
{
    struct reader *r = arg;
    *block = r->mono;
    return (size_t)read_block(r, (int64_t)n);
}

static bool open_soxr(struct reader *r, const char *path)
{
    soxr_error_t error = NULL;
    soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
    r->soxr = soxr_create(r->info.rate, r->rate, 1, &error, NULL, &quality, NULL);
    if (r->soxr && !error)
        error = soxr_set_input_fn(r->soxr, feed_soxr, r, (size_t)r->block_size);
    if (!r->soxr || error)
        return error_set("%s: cannot convert %d Hz to %d Hz: %s", path, r->info.rate, r->rate,
                         error ? soxr_strerror(error) : "out of memory");
    return true;
}

struct reader *reader_open(const char *path, int rate)
{
    SF_INFO info = {0};
    char why[SOUND_FILE_WHY_MAX];
    struct reader *r = calloc(1, sizeof *r);
    if (!r) {
        error_set("%s: out of memory", path);
        return NULL;
    }
    int fd = open_regular(path);
    if (fd < 0)
        goto fail;
    if (!(r->file = sound_file_open(fd, SFM_READ, &info, 1, why))) {
        error_set("%s: not a sound file that can be read: %s", path, why);
        goto fail;
    }
    if (info.channels < 1 || info.samplerate < 1) {
        error_set("%s: its header claims %d channels at %d Hz", path, info.channels,
                  info.samplerate);
        goto fail;
    }
    r->info.rate = info.samplerate;
    r->info.channels = info.channels;
    r->info.n_frames = info.frames > 0 && info.frames < SF_COUNT_MAX ? info.frames : 0;
    describe_format(r->info.format, sizeof r->info.format, info.format);
    int64_t corrected = find_corrected_length(r->file, &info);
    r->n_claimed = corrected > r->info.n_frames ? corrected : r->info.n_frames;
    /* MP3 knows its length to some frames of 1152 samples only. */
    r->n_unsure = (info.format & SF_FORMAT_TYPEMASK) == SF_FORMAT_MPEG ? 4 * 1152 : 0;
    r->rate = rate > 0 ? rate : info.samplerate;
    r->block_size = BLOCK_FLOATS / info.channels;
    r->block_size = r->block_size < 1 ? 1 : r->block_size;
    r->block_size = r->block_size > BLOCK_FRAMES ? BLOCK_FRAMES : r->block_size;
    r->frames = malloc(sizeof(float) * (size_t)(r->block_size * info.channels));
    r->mono = malloc(sizeof(float) * (size_t)r->block_size);
    if (!r->frames || !r->mono) {
        error_set("%s: out of memory for %d channels", path, info.channels);
        goto fail;
    }
    if (r->rate != info.samplerate && !open_soxr(r, path))
        goto fail;
    return r;
fail:
    reader_close(r);
    return NULL;
}

void reader_close(struct reader *r)
{
    if (!r)
        return;
    if (r->soxr)
        soxr_delete(r->soxr);
    if (r->file)
        sf_close(r->file);
    free(r->frames);
    free(r->mono);
    free(r);
}

const struct sound_info *reader_info(const struct reader *r)
{
    return &r->info;
}

int reader_rate(const struct reader *r)
{
    return r->rate;
}

int64_t reader_read(struct reader *r, float *x, int64_t n)
{
    int64_t done = 0, got;
    while (done < n) {
        if (r->soxr) {
            got = (int64_t)soxr_output(r->soxr, x + done, (size_t)(n - done));
            for (int64_t i = 0; i < got; i++)
                if (!isfinite(x[done + i])) { /* floats near the largest overflow in the filter */
                    x[done + i] = 0;
                    r->n_bad++;
                }
        } else {
            got = read_block(r, n - done);
            memcpy(x + done, r->mono, sizeof *x * (size_t)got);
        }
        if (got <= 0)
            break;
        done += got;
    }
    return done;
}

bool sound_text(const char *path, char **software, char **comment)
{
    bool ok = true;
    *software = *comment = NULL;
    struct reader *r = reader_open(path, 0);
    if (!r)
        return false;
    const char *s = sf_get_string(r->file, SF_STR_SOFTWARE);
    const char *c = sf_get_string(r->file, SF_STR_COMMENT);
    if ((s && !(*software = strdup(s))) || (c && !(*comment = strdup(c)))) {
        free(*software);
        *software = NULL;
        ok = error_set("%s: out of memory for its text", path);
    }
    reader_close(r);
    return ok;
}

int64_t reader_n_bad(const struct reader *r)
{
    return r->n_bad;
}

const char *reader_trouble(const struct reader *r)
{
    return r->ended && r->trouble[0] ? r->trouble : NULL;
}
