#include "app/text.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character that a text begins with; 0: it is none. */
static int character_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    int n = s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    uint32_t code = n ? s[0] & (0x7Fu >> n) : 0;
    for (int i = 1; i < n; i++) { /* the end of the text is no part of a character either */
        if (s[i] >> 6 != 2)
            return 0;
        code = code << 6 | (s[i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    bool valid = code >= least[n] && code <= 0x10FFFF && code >> 11 != 0xD800 >> 11;
    return valid ? n : 0;
}

bool text_is_utf8(const char *text)
{
    for (int n; *text; text += n)
        if ((n = character_length((const unsigned char *)text)) == 0)
            return false;
    return true;
}

char *text_escape(const char *text)
{
    char *out = malloc(4 * strlen(text) + 1), *to = out;
    for (; out && *text;) {
        int n = character_length((const unsigned char *)text);
        if (n == 0) {
            to += sprintf(to, "\\x%02X", (unsigned char)*text++);
            continue;
        }
        memcpy(to, text, (size_t)n);
        to += n;
        text += n;
    }
    if (out)
        *to = 0;
    return out;
}

json_t *text_json(const char *text)
{
    char *escaped = text_escape(text);
    json_t *string = escaped ? json_string(escaped) : NULL;
    free(escaped);
    return string;
}
