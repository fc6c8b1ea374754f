/*
 * Sizes as people write them: 16k, 2M, 80ms, 30s, 5min.
 *
 * The parsers set no error_text: only the caller knows which option or line the text came from.
 * Any thread; no state.
 */
#ifndef HISS_APP_SIZE_H
#define HISS_APP_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number, whole or not, as C writes it; no suffix, finite. */
bool real_parse(double *value, const char *text);

/* A whole number >= 0 that may end in k (thousand), M (million) or G (billion); "1.5k" is 1500. */
bool count_parse(int64_t *value, const char *text);

/* A time in seconds: a plain number, or one that ends in ms, s, min or h. >= 0. */
bool time_parse(double *seconds, const char *text);

/* A length in samples: a count, or a time (with its unit) at `rate` Hz, rounded to the nearest
   sample. */
bool samples_parse(int64_t *samples, const char *text, double rate);

/* "1:05", "2:03:04": a duration for people. Returns out. */
char *time_format(char *out, size_t size, double seconds);

/* "45.0 s", "12.5 min": an amount of sound, for people. Returns out. */
char *length_format(char *out, size_t size, double seconds);

#endif
