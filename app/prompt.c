#include "app/prompt.h"

#include "audio/normalize.h"
#include "audio/reader.h"
#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

bool prompt_encode(struct prompt *p, float *x, int64_t n, const struct hiss_model *m, bool *silent)
{
    enum normalize rule;
    memset(p, 0, sizeof(*p));
    if (!normalize_from_name(&rule, hiss_model_normalize(m)))
        return error_set("the model's level rule %s is unknown", hiss_model_normalize(m));
    *silent = !normalize_apply(rule, x, n);
    p->codes = malloc((size_t)n);
    if (!p->codes)
        return error_set("out of memory for %lld samples", (long long)n);
    p->n = n;
    for (int64_t i = 0; i < n; i++)
        p->codes[i] = hiss_model_encode(m, x[i]);
    return true;
}

bool prompt_load(struct prompt *p, const char *path, const struct hiss_model *m)
{
    struct sound sound;
    bool silent;
    memset(p, 0, sizeof(*p));
    if (!sound_load(&sound, path, hiss_model_rate(m), 0))
        return false;
    if (sound.trouble[0])
        log_warn("%s: %s", path, sound.trouble);
    if (sound.n_bad > 0)
        log_warn("%s: %lld samples are no numbers and count as 0", path, (long long)sound.n_bad);
    bool ok = prompt_encode(p, sound.x, sound.n, m, &silent);
    sound_free(&sound);
    if (!ok)
        return error_prefix("%s", path);
    if (silent)
        log_warn("%s is nearly silent: its level stays as it is", path);
    return true;
}

void prompt_free(struct prompt *p)
{
    free(p->codes);
    memset(p, 0, sizeof(*p));
}
