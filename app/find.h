/*
 * Where bundled models and presets are: $HISS_PRESETS, the source tree this program was built from,
 * the place it was installed to, in this order.
 *
 * Main thread.
 */
#ifndef HISS_APP_FIND_H
#define HISS_APP_FIND_H

#include "base/file.h"

#include <stdbool.h>

#define DEFAULT_MODEL "digits"
#define DEFAULT_PRESET "tiny"

/* The path that a MODEL argument means: a name without slash or suffix is a bundled model, anything
   else a path. NULL: the default model. False with error_text. */
bool find_model(char path[FILE_PATH_MAX], const char *name);

/* The same for presets. */
bool find_preset(char path[FILE_PATH_MAX], const char *name);

/* Is there a bundled preset of that name? Sets path. No error_text. */
bool find_bundled(char path[FILE_PATH_MAX], const char *name, const char *suffix);

/* Is it a name without slash or suffix? */
bool name_is_bundled(const char *name);

/* Calls visit with the name and path of every bundled file that ends in `suffix`, by name; the same
   name in two places counts once, as it is found. False with error_text. */
bool find_all(const char *suffix, void (*visit)(void *arg, const char *name, const char *path),
              void *arg);

#endif
