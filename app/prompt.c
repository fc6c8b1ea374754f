#include "app/prompt.h"

#include "audio/normalize.h"
#include "audio/reader.h"
#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

bool prompt_load(struct prompt *p, const char *path, const struct hiss_model *m)
{
    struct sound sound;
    enum normalize rule;
    memset(p, 0, sizeof(*p));
    if (!normalize_from_name(&rule, hiss_model_normalize(m)))
        return error_set("the model's level rule %s is unknown", hiss_model_normalize(m));
    if (!sound_load(&sound, path, hiss_model_rate(m), 0))
        return false;
    if (sound.trouble[0])
        log_warn("%s: %s", path, sound.trouble);
    if (sound.n_bad > 0)
        log_warn("%s: %lld samples are no numbers and count as 0", path, (long long)sound.n_bad);
    if (!normalize_apply(rule, sound.x, sound.n))
        log_warn("%s is nearly silent: its level stays as it is", path);
    p->codes = malloc((size_t)sound.n);
    if (p->codes) {
        p->n = sound.n;
        for (int64_t i = 0; i < sound.n; i++)
            p->codes[i] = hiss_model_encode(m, sound.x[i]);
    } else {
        error_set("%s: out of memory for %lld samples", path, (long long)sound.n);
    }
    sound_free(&sound);
    return p->codes != NULL;
}

void prompt_free(struct prompt *p)
{
    free(p->codes);
    memset(p, 0, sizeof(*p));
}
