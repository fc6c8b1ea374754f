/*
 * The next code of each stream. Gumbel-max: with g = -ln(-ln u), the argmax of logit/T + g is a
 * draw from softmax(logit/T), and the noise of a code is a function of (seed, n, stream, code)
 * alone, so fast paths and plain ones can be held to the same codes.
 */
#include "base/random.h"
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

#include <math.h>

/* Where the largest entry is; of equal ones the first. */
V_INLINE int argmax_code(const float x[PLAN_CODES])
{
    vf best = vset(-INFINITY);
    vi at = {0}, code = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int c = 0; c < PLAN_CODES; c += V_LANES) {
        vf v = vload(x + c);
        vi more = v > best;
        best = vselect(more, v, best);
        at = (code & more) | (at & ~more);
        code += V_LANES;
    }
    int lane = 0;
    for (int i = 1; i < V_LANES; i++)
        if (best[i] > best[lane] || (best[i] == best[lane] && at[i] < at[lane]))
            lane = i;
    return at[lane];
}

/* Sum of the entries that are at least `least`, always in the same order: it can only grow when
   `least` falls. */
V_INLINE float mass_from(const float e[PLAN_CODES], float least)
{
    vf s0 = {0}, s1 = {0};
    for (int c = 0; c < PLAN_CODES; c += 2 * V_LANES) {
        vf e0 = vload(e + c), e1 = vload(e + c + V_LANES);
        s0 += (vf)((vi)e0 & (e0 >= least));
        s1 += (vf)((vi)e1 & (e1 >= least));
    }
    return vsum(s0 + s1);
}

static float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Leaves the smallest set of codes whose probability reaches top_p and sets the logits of the
   others to -inf. The least probability kept is found by halving the range of its bits, which as
   integers are in the order of the numbers: exp(x - max) is in [0, 1]. */
static void keep_top_p(float logits[PLAN_CODES], float top_p)
{
    float e[PLAN_CODES], max;
    float sum = softmax_row(e, logits, &max);
    float wanted = fmaxf(top_p * sum, 1e-37f);
    uint32_t low = 0, high = 0x3f800001u; /* mass_from(low) >= wanted > mass_from(high) */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (mass_from(e, float_of_bits(middle)) >= wanted)
            low = middle;
        else
            high = middle;
    }
    float least = float_of_bits(low);
    float mass = mass_from(e, float_of_bits(high));
    for (int c = 0; c < PLAN_CODES; c++) {
        if (e[c] > least)
            continue;
        if (e[c] == least && mass < wanted)
            mass += least;
        else
            logits[c] = -INFINITY;
    }
}

/* Adds the noise of sample n of a stream. */
V_INLINE void add_gumbel(float x[PLAN_CODES], uint64_t seed, uint64_t n, uint32_t stream)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t words[PLAN_CODES];
    for (uint32_t c = 0; c < PLAN_CODES; c += 4) {
        const uint32_t counter[4] = {(uint32_t)n, (uint32_t)(n >> 32), stream,
                                     (uint32_t)RANDOM_SAMPLE << 8 | c / 4};
        philox4x32(counter, key, words + c);
    }
    for (int c = 0; c < PLAN_CODES; c += V_LANES) {
        vu r;
        memcpy(&r, words + c, sizeof r);
        vf u = (__builtin_convertvector((vi)(r >> 9), vf) + 0.5f) * 0x1p-23f;
        vstore(x + c, vload(x + c) - vlog(-vlog(u)));
    }
}

/* -ln p(code), untempered and untruncated. */
static float code_nats(const float logits[PLAN_CODES], int code)
{
    float e[PLAN_CODES], max;
    float sum = softmax_row(e, logits, &max);
    return logf(sum) - (logits[code] - max);
}

/* The code of sample n of a stream. without: logits without the label, or NULL. */
static int code_draw(const float with[PLAN_CODES], const float *without, const struct sampling *s,
                     uint64_t n, uint32_t stream)
{
    float x[PLAN_CODES];
    memcpy(x, with, sizeof x);
    if (without)
        for (int c = 0; c < PLAN_CODES; c++)
            x[c] = without[c] + s->guidance * (with[c] - without[c]);
    if (s->top_p < 1.0f)
        keep_top_p(x, s->top_p);
    if (s->temperature > 0.0f) {
        for (int c = 0; c < PLAN_CODES; c++)
            x[c] /= s->temperature;
        add_gumbel(x, s->seed, n, stream);
    }
    return argmax_code(x);
}

static void sample_round(void *arg, int64_t b, int thread)
{
    (void)thread;
    const struct sample_args *a = arg;
    const float *with = a->logits + b * PLAN_CODES;
    const float *without = a->without_label ? a->without_label + b * PLAN_CODES : NULL;
    int code =
        code_draw(with, without, &a->sampling, (uint64_t)a->n, a->first_stream + (uint32_t)b);
    a->codes[b] = (uint8_t)code;
    a->nats[b] = code_nats(with, code);
}

static void op_sample(struct backend *be, const struct sample_args *a)
{
    struct sample_args job = *a;
    /* a code's noise costs about as much as eight entries of anything else */
    run_rounds(be, sample_round, &job, a->n_batch, (int64_t)a->n_batch * PLAN_CODES * 8);
}
