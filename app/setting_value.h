/*
 * One setting's value: text to field and back. settings.c is the caller.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_SETTING_VALUE_H
#define HISS_APP_SETTING_VALUE_H

#include "app/settings.h"

enum { EXPECTED_MAX = 200 };

/* Reads a text into the setting's field of `s`. `rate` (Hz) serves times that become samples.
   False, without error_text, if the text is not what setting_expected says. */
bool setting_read(struct settings *s, const struct setting *t, const char *text, double rate);

/* The canonical text of the field. */
void setting_write(const struct settings *s, const struct setting *t, char out[SETTING_TEXT_MAX]);

/* What a value must look like: "a whole number from 1 to 64". */
void setting_expected(char out[EXPECTED_MAX], const struct setting *t);

#endif
