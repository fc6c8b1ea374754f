/*
 * Sound files out, written as they are made, in constant memory.
 *
 * The extension of the path chooses the format: wav, flac, aiff or aif (PCM 16 bit), raw (s16le,
 * no header), ogg (Vorbis), opus, and mp3 where libsndfile can. The sound goes to `PATH.part`;
 * writer_close finalises it and renames it to PATH, so PATH is never half a file. Headers of WAV
 * and AIFF are brought up to date about once a second, so that even a .part left by a power cut
 * plays.
 *
 * The path "-" streams a WAV to standard output: a 44-byte header whose sizes say "unknown"
 * (0xFFFFFFFF), then the samples. Nothing is ever sought, so a pipe serves. (If standard output
 * turns out to be a regular file, its header is put right at the end.)
 * A program that streams to a pipe should ignore SIGPIPE; writer_write then reports a reader that
 * went away.
 *
 * A writer belongs to one thread at a time.
 */
#ifndef HISS_AUDIO_WRITER_H
#define HISS_AUDIO_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct writer;

/* The longest text that every format's readers find again. */
enum { WRITER_TEXT_MAX = 2000 };

struct writer_options {
    int rate;             /* Hz, at least 1 */
    const char *software; /* for the text chunk: what made the file; NULL: nothing */
    const char *comment;  /* for the text chunk: model, seed, settings; NULL: nothing. raw files
                             and streams carry no text */
};

/* One line naming the extensions that can be written here: "wav, flac, ...". Static. */
const char *writer_formats(void);

/* Is the path "-" or one whose extension can be written at this rate and hold `n` samples (0: not
   known yet)? For a check of the arguments
   before any work is done; nothing is touched. False with error_text. */
bool writer_check(const char *path, int rate, int64_t n);

/* Opens PATH.part (or standard output). NULL with error_text: unknown extension, a rate the format
   cannot have, a folder that is not there or not writable, a text beyond WRITER_TEXT_MAX bytes. */
struct writer *writer_open(const char *path, const struct writer_options *options);

/* Appends mono samples; beyond [-1, 1] they are clamped, NaN is written as 0. False with error_text
   (disk full, reader gone): the writer stays open, writer_close keeps what was written. */
bool writer_write(struct writer *w, const float *x /* (n) */, int64_t n);

/* Samples written so far. */
int64_t writer_n(const struct writer *w);

/* Samples that had to be clamped so far. */
int64_t writer_n_clamped(const struct writer *w);

/* Finalises, syncs and renames; frees the writer in any case. False with error_text if the file
   could not be completed; then the .part is left where it is. NULL is fine. */
bool writer_close(struct writer *w);

/* Throws the .part away and frees the writer. NULL is fine. */
void writer_discard(struct writer *w);

#endif
