/*
 * Sound files in: whatever libsndfile reads (WAV, FLAC, Ogg Vorbis and Opus, MP3, AIFF, AU, W64,
 * RF64, ...), any rate, width and number of channels, as mono floats at the wanted rate.
 *
 * Channels are mixed by their mean; another rate goes through soxr (high quality). Work is done in
 * blocks, so memory does not depend on the length of the file. The file is the world: its header
 * may lie about the length, it may stop in the middle, its samples may be NaN or infinite. All this
 * is read as far as it goes and told (reader_trouble, reader_n_bad), never a failure. A folder, a
 * pipe or a device is refused at once.
 *
 * A reader belongs to one thread at a time; different readers are independent.
 */
#ifndef HISS_AUDIO_READER_H
#define HISS_AUDIO_READER_H

#include <stdbool.h>
#include <stdint.h>

/* Below this share of the model's rate a file is no sound, and could grow beyond all bounds. */
enum { READER_RATE_RATIO_MAX = 256 };

struct reader;

/* What the file says of itself. */
struct sound_info {
    int rate;         /* Hz */
    int channels;     /* before mixing */
    int64_t n_frames; /* claimed by the header, at the file's own rate; 0 if it does not say */
    char format[64];  /* "FLAC, 16 bit", for people */
};

/* Opens a file. `rate` is the rate wanted in Hz, 0 for the file's own. NULL with error_text, which
   names the file and the reason. */
struct reader *reader_open(const char *path, int rate);
void reader_close(struct reader *r); /* NULL is fine */

const struct sound_info *reader_info(const struct reader *r);

/* The rate of the samples read, in Hz. */
int reader_rate(const struct reader *r);

/* Reads the next samples. Returns how many; fewer than n only at the end of the file, 0 after it.
 */
int64_t reader_read(struct reader *r, float *x /* (n) */, int64_t n);

/* Samples of the file that were NaN or infinite and were read as 0, so far. */
int64_t reader_n_bad(const struct reader *r);

/* After the end was reached: NULL, or what was wrong with the file, such as "stops after 1.2 s of
   the 3.0 s it claims". The text belongs to the reader. */
const char *reader_trouble(const struct reader *r);

/* Reads a file's text chunk: what made it, and the comment (the settings of a take). Either may be
   NULL where the file has none; the caller frees both. False with error_text if the file cannot be
   opened. */
bool sound_text(const char *path, char **software, char **comment);

/* A whole recording in memory: for prompts and other short sounds. */
struct sound {
    float *x;  /* (n) mono; freed by sound_free */
    int64_t n; /* samples */
    int rate;  /* Hz, of x */
    struct sound_info info;
    int64_t n_bad;     /* as reader_n_bad */
    bool cut;          /* the file is longer than max_samples: the rest was not read */
    char trouble[160]; /* as reader_trouble; "" if all was well */
};

/* Loads at most `max_samples` samples (0: no limit) from the start of a file at `rate` (0: its
   own). A file without a single sample is an error, and one whose rate is too far below. */
bool sound_load(struct sound *s, const char *path, int rate, int64_t max_samples);
void sound_free(struct sound *s); /* a zeroed sound is fine */

#endif
