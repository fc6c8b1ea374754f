/* Whole recordings in memory. */
#include "audio/reader.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sound_load(struct sound *s, const char *path, int rate, int64_t max_samples)
{
    int64_t size = 0, got;
    bool ok = false;
    memset(s, 0, sizeof *s);
    struct reader *r = reader_open(path, rate);
    if (!r)
        return false;
    if (rate / reader_info(r)->rate >= READER_RATE_RATIO_MAX) {
        error_set("%s: its rate of %d Hz is too far below %d Hz", path, reader_info(r)->rate, rate);
        goto out;
    }
    do {
        size = size ? 2 * size : 1 << 16;
        if (max_samples > 0 && size > max_samples)
            size = max_samples;
        float *grown = realloc(s->x, sizeof *s->x * (size_t)size);
        if (!grown) {
            error_set("%s: out of memory after %.1f s: use a shorter file", path,
                      (double)s->n / reader_rate(r));
            goto out;
        }
        s->x = grown;
        got = reader_read(r, s->x + s->n, size - s->n);
        s->n += got;
    } while (s->n == size && size != max_samples);
    if (s->n == 0) {
        error_set("%s: holds no samples", path);
        goto out;
    }
    float more;
    s->cut = s->n == max_samples && reader_read(r, &more, 1) == 1;
    s->rate = reader_rate(r);
    s->info = *reader_info(r);
    s->n_bad = reader_n_bad(r);
    if (reader_trouble(r))
        snprintf(s->trouble, sizeof s->trouble, "%s", reader_trouble(r));
    ok = true;
out:
    reader_close(r);
    if (!ok)
        sound_free(s);
    return ok;
}

void sound_free(struct sound *s)
{
    free(s->x);
    memset(s, 0, sizeof *s);
}
