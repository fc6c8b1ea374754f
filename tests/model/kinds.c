#include "tests/model/kinds.h"

#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define TIER_OF(layers, mixer, state, n, conv, expand, ff)                                         \
    "{\"layers\":" #layers ",\"mixer\":\"" mixer "\",\"state\":\"" state "\",\"d_state\":" #n      \
    ",\"d_conv\":" #conv ",\"mixer_expand\":" #expand ",\"ff\":" #ff "}"
#define TIER(layers, mixer, state, n, ff) TIER_OF(layers, mixer, state, n, 4, 2, ff)
#define SELECTIVE TIER(2, "selective", "real", 16, 0)

const struct kind kinds[] = {
    {"unet selective", "unet", 8, "[4,4]", 1, "learned", "[]",
     "[" SELECTIVE "," SELECTIVE "," SELECTIVE "]"},
    {"plain selective", "plain", 6, "[2,3]", 1, "learned", "[]",
     "[" SELECTIVE "," SELECTIVE "," SELECTIVE "]"},
    {"lti", "unet", 8, "[4]", 1, "learned", "[]",
     "[" TIER(1, "lti", "real", 5, 0) "," TIER(2, "lti", "complex", 4, 0) "]"},
    {"selective complex", "unet", 5, "[3]", 1, "learned", "[]",
     "[" TIER(1, "selective", "complex", 3, 0) "," TIER(1, "selective", "complex", 8, 2) "]"},
    {"s4d with ff", "plain", 8, "[4,2]", 1, "learned", "[]",
     "[" TIER(1, "s4d", "complex", 4, 2) "," TIER(2, "s4d", "complex", 4,
                                                  2) "," TIER(1, "selective", "real", 7, 2) "]"},
    {"labels, shift 2", "unet", 8, "[4,4]", 2, "learned", "[\"a\",\"b\",\"c\"]",
     "[" SELECTIVE "," SELECTIVE "," SELECTIVE "]"},
    {"plain, labels, shift 2", "plain", 8, "[2,2,2]", 2, "sinusoidal", "[\"a\",\"b\"]",
     "[" SELECTIVE "," SELECTIVE "," SELECTIVE "," SELECTIVE "]"},
    {"no pools", "unet", 8, "[]", 1, "learned", "[\"a\"]", "[" SELECTIVE "]"},
    {"many states, few and many taps", "unet", 12, "[2]", 1, "sinusoidal", "[]",
     "[" TIER_OF(1, "selective", "real", 20, 2, 3, 1) "," TIER_OF(1, "lti", "complex", 17, 7, 1,
                                                                  0) "]"},
    {"one pool of 8", "unet", 10, "[8]", 1, "learned", "[]", "[" SELECTIVE "," SELECTIVE "]"},
};
const int n_kinds = sizeof kinds / sizeof *kinds;

#define ONE_SELECTIVE TIER(1, "selective", "real", 16, 0)
const struct kind kind_wide = {
    "wide", "plain",
    32,     "[2,2,2]",
    1,      "learned",
    "[]",   "[" ONE_SELECTIVE "," ONE_SELECTIVE "," ONE_SELECTIVE "," ONE_SELECTIVE "]"};

void kind_config(struct config *c, const struct kind *k)
{
    char json[4096];
    snprintf(json, sizeof json,
             "{\"format\":1,\"sample_rate\":8000,\"quantizer\":\"mu-law-256\","
             "\"normalize\":\"peak\",\"clip\":{\"mode\":\"crop\",\"samples\":64},"
             "\"layout\":\"%s\",\"d_model\":%d,\"expand\":2,\"pool\":%s,\"up_shift\":%d,"
             "\"norm_eps\":1e-5,\"embedding\":\"%s\",\"labels\":%s,\"tiers\":%s}",
             k->layout, k->d_model, k->pool, k->up_shift, k->embedding, k->labels, k->tiers);
    if (!config_parse(c, json))
        fail_msg("%s: %s", k->name, error_text());
}
