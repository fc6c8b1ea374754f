#include "app/provenance.h"

#include "app/text.h"
#include "base/error.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>

/* The shortest decimal number that gives the same float: 0.9, not 0.899999976. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

json_t *provenance_begin(const struct hiss_model *m, const char *model_path, const char *precision,
                         const struct hiss_sampling *s)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:f, s:f, s:f}", "hiss", HISS_VERSION, "model",
                     hiss_model_id(m), "model_path", text_json(model_path), "backend",
                     hiss_model_backend(m), "precision", precision, "seed", (json_int_t)s->seed,
                     "temperature", shortest(s->temperature), "top_p", shortest(s->top_p),
                     "guidance", shortest(s->guidance));
}

bool provenance_sampling(const json_t *object, struct hiss_sampling *s)
{
    json_int_t seed;
    double temperature, top_p, guidance;
    if (json_unpack((json_t *)object, "{s:I, s:F, s:F, s:F}", "seed", &seed, "temperature",
                    &temperature, "top_p", &top_p, "guidance", &guidance) != 0)
        return error_set("its text does not say seed, temperature, top_p and guidance");
    *s = (struct hiss_sampling){.seed = (uint64_t)seed,
                                .temperature = (float)temperature,
                                .top_p = (float)top_p,
                                .guidance = (float)guidance};
    return true;
}

void provenance_hash(char hash[PROVENANCE_HASH_MAX], const uint8_t *codes, int64_t n)
{
    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, codes, (size_t)n);
    SHA256End(&sha, hash);
}
