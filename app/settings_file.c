#define _GNU_SOURCE
#include "app/settings.h"

#include "base/error.h"
#include "base/file.h"

#include <ini.h>
#include <stdlib.h>
#include <string.h>

/* inih reads lines through this, so that we know the number of the line it is at. */
struct ini_text {
    struct settings *settings;
    const char *path, *rest;
    int line;
    bool failed; /* error_text is set; the rest is only skipped */
};

static char *line_read(char *out, int size, void *arg)
{
    struct ini_text *text = arg;
    if (!*text->rest || text->failed)
        return NULL;
    text->line++;
    size_t length = strcspn(text->rest, "\n");
    if (length + 2 > (size_t)size) {
        text->failed = true;
        error_set("%s:%d: the line is longer than %d bytes", text->path, text->line, size - 2);
        return NULL;
    }
    memcpy(out, text->rest, length);
    out[length] = '\n';
    out[length + 1] = 0;
    text->rest += length + (text->rest[length] == '\n');
    return out;
}

static int line_take(void *arg, const char *section, const char *key, const char *value)
{
    struct ini_text *text = arg;
    if (text->failed)
        return 1;
    char name[2 * SETTING_TEXT_MAX], origin[SETTING_ORIGIN_MAX];
    snprintf(name, sizeof(name), "%s.%s", section, key);
    /* Of a long path the end says more. */
    size_t length = strlen(text->path), room = SETTING_ORIGIN_MAX - 16;
    snprintf(origin, sizeof(origin), "%s:%d", text->path + (length > room ? length - room : 0),
             text->line);
    text->failed = !settings_set(text->settings, name, value, origin);
    return 1;
}

bool settings_load(struct settings *s, const char *path)
{
    size_t size;
    char *bytes = file_read(path, &size);
    if (!bytes)
        return false;
    struct ini_text text = {.settings = s, .path = path, .rest = bytes};
    if (strlen(bytes) != size) {
        text.failed = true;
        error_set("%s: this is no text file", path);
    }
    int wrong_line = text.failed ? 0 : ini_parse_stream(line_read, &text, line_take, &text);
    if (!text.failed && wrong_line != 0) {
        text.failed = true;
        error_set("%s:%d: expected [section], key = value, or a comment after ';'", path,
                  wrong_line);
    }
    free(bytes);
    return !text.failed;
}
