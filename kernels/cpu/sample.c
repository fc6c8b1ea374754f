/*
 * The next code of each stream. Gumbel-max: with g = -ln(-ln u), the argmax of logit/T + g is a
 * draw from softmax(logit/T), and the noise of a code is a function of (seed, n, stream, code)
 * alone, so fast paths and plain ones can be held to the same codes.
 */
#include "base/random.h"
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

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

/* The smallest entry that is at least `least`; 2 if there is none: all are below. */
V_INLINE float smallest_from(const float e[PLAN_CODES], float least)
{
    vf s = vset(2.0f);
    for (int c = 0; c < PLAN_CODES; c += V_LANES) {
        vf v = vload(e + c);
        s = vmin(vselect(v >= least, v, vset(2.0f)), s);
    }
    return -vmax_lanes(-s);
}

static uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Leaves the smallest set of codes whose probability reaches top_p and sets the logits of the
   others to -inf. The least probability kept is found by halving the range of its bits, which as
   integers are in the order of the numbers: exp(x - max) is in [0, 1]. Only bits of entries are
   worth looking at, so the range shrinks to them at every step. */
static void keep_top_p(float logits[PLAN_CODES], float top_p)
{
    float e[PLAN_CODES], max;
    float sum = softmax_row(e, logits, &max);
    float wanted = fmaxf(top_p * sum, 1e-37f);
    uint32_t low = 0, high = 0x3f800001u; /* mass_from(low) >= wanted > mass_from(high) */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        float entry = smallest_from(e, float_of_bits(middle));
        if (mass_from(e, float_of_bits(middle)) >= wanted)
            low = bits_of_float(entry);
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

enum { NOISE_CODES = 4 * V_LANES }; /* of eight Philox counters */

/* Low and high halves of a * m, lane by lane. */
V_INLINE void vmultiply(vu a, uint32_t m, vu *low, vu *high)
{
#if defined(__AVX2__)
    const __m256i by = _mm256_set1_epi64x(m);
    __m256i even = _mm256_mul_epu32((__m256i)a, by);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), by);
    *low = (vu)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    *high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
#else
    for (int i = 0; i < V_LANES; i++) {
        uint64_t product = (uint64_t)a[i] * m;
        (*low)[i] = (uint32_t)product;
        (*high)[i] = (uint32_t)(product >> 32);
    }
#endif
}

/* The noise -ln(-ln u) of NOISE_CODES codes from `first` on: base/random.c's philox4x32 of eight
   counters at once. */
V_INLINE void gumbel_noise(vf noise[4], uint64_t seed, uint64_t n, uint32_t stream, int first)
{
    vu c0 = (vu){0} + (uint32_t)n, c1 = (vu){0} + (uint32_t)(n >> 32), c2 = (vu){0} + stream;
    vu c3 = (vu){0, 1, 2, 3, 4, 5, 6, 7} + ((uint32_t)RANDOM_SAMPLE << 8 | (uint32_t)first / 4);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        vu low0, high0, low1, high1;
        vmultiply(c0, 0xD2511F53u, &low0, &high0);
        vmultiply(c2, 0xCD9E8D57u, &low1, &high1);
        c0 = high1 ^ c1 ^ k0;
        c2 = high0 ^ c3 ^ k1;
        c1 = low1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    /* word j of counter i is the code 4 i + j */
    vf words[4] = {(vf)c0, (vf)c1, (vf)c2, (vf)c3};
    vf p0 = vpair_low(words[0], words[1]), p1 = vpair_high(words[0], words[1]);
    vf q0 = vpair_low(words[2], words[3]), q1 = vpair_high(words[2], words[3]);
    vf a = vquad_low(p0, q0), b = vquad_high(p0, q0), c = vquad_low(p1, q1), d = vquad_high(p1, q1);
    noise[0] = vhalf_low(a, b);
    noise[1] = vhalf_low(c, d);
    noise[2] = vhalf_high(a, b);
    noise[3] = vhalf_high(c, d);
    for (int i = 0; i < 4; i++) {
        vf u = (__builtin_convertvector((vi)((vu)noise[i] >> 9), vf) + 0.5f) * 0x1p-23f;
        noise[i] = -vlog(-vlog(u));
    }
}

/* Adds the noise of sample n of a stream to all entries that can become the largest by it. */
static void add_gumbel(float x[PLAN_CODES], uint64_t seed, uint64_t n, uint32_t stream)
{
    const float noise_max = 16.7f; /* -ln(-ln u) of the largest u, 1 - 2^-24, is 16.64 */
    float best = -INFINITY;
    int begin = argmax_code(x) / NOISE_CODES * NOISE_CODES;
    for (int block = 0; block < PLAN_CODES; block += NOISE_CODES) {
        const int first = (begin + block) % PLAN_CODES; /* the likeliest block first */
        vf most = vload(x + first), noise[4];
        for (int i = 1; i < 4; i++)
            most = vmax(vload(x + first + i * V_LANES), most);
        if (vmax_lanes(most) + noise_max < best)
            continue;
        gumbel_noise(noise, seed, n, stream, first);
        for (int i = 0; i < 4; i++) {
            vf sum = vload(x + first + i * V_LANES) + noise[i];
            vstore(x + first + i * V_LANES, sum);
            most = i == 0 ? sum : vmax(sum, most);
        }
        best = fmaxf(best, vmax_lanes(most));
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
