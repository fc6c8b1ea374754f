/* How the decode engine draws codes: as kernels/cuda/sample.cu, a warp a stream. */
#ifndef HISS_KERNELS_CUDA_DECODE_SAMPLE_H
#define HISS_KERNELS_CUDA_DECODE_SAMPLE_H

#include "base/random.h"
#include "kernels/cuda/decode_product.h"

enum { DECODE_LANE_CODES = PLAN_CODES / 32 }; /* codes a lane: neighbours */

/* The noise of all codes of the group's streams for the sample with this noise index. */
CUDA_DEV void decode_noise(const struct decode_block &c, uint64_t n)
{
    const struct sampling *s = &c.order->sampling;
    if (!(s->temperature > 0.0f) || c.a->forced)
        return;
    for (int e = (int)threadIdx.x; e < c.streams * (PLAN_CODES / 4); e += DECODE_BLOCK) {
        const int stream = e / (PLAN_CODES / 4), block = e % (PLAN_CODES / 4);
        uint32_t r[4];
        philox_block(r, (uint32_t)n, (uint32_t)(n >> 32),
                     c.order->first_stream + (uint32_t)(c.first_stream + stream),
                     (uint32_t)RANDOM_SAMPLE << 8 | (uint32_t)block, s->seed);
#pragma unroll
        for (int j = 0; j < 4; j++)
            c.noise[stream * PLAN_CODES + block * 4 + j] = gumbel_of(r[j]);
    }
}

/* An unsigned number in the order of floats; NaN is below all. */
CUDA_DEV unsigned decode_order(float v)
{
    const unsigned bits = __float_as_uint(v);
    return v == v ? bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u) : 0u;
}

/* Where the largest of all lanes' entries is; of equal ones the first. */
CUDA_DEV int decode_argmax(const float (&x)[DECODE_LANE_CODES], int lane)
{
    unsigned best = 0;
    int at = 0;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++)
        if (decode_order(x[j]) > best) {
            best = decode_order(x[j]);
            at = j;
        }
    const unsigned most = __reduce_max_sync((unsigned)ALL_LANES, best);
    const unsigned place =
        best == most ? (unsigned)(lane * DECODE_LANE_CODES + at) : (unsigned)PLAN_CODES;
    return (int)__reduce_min_sync((unsigned)ALL_LANES, place) & (PLAN_CODES - 1);
}

CUDA_DEV float decode_max(const float (&x)[DECODE_LANE_CODES])
{
    float most = x[0];
#pragma unroll
    for (int j = 1; j < DECODE_LANE_CODES; j++)
        most = fmaxf(most, x[j]);
    return warp_max(most);
}

/* Leaves the smallest set of codes whose probability reaches top_p, of equally likely ones the
   first, and makes the others -inf. Probabilities are whole numbers of 2^-23 of the largest: their
   sums are exact, whatever their order. */
CUDA_DEV void decode_keep_top_p(float (&x)[DECODE_LANE_CODES], float top_p, int lane)
{
    const float most = decode_max(x);
    unsigned p[DECODE_LANE_CODES], mine = 0;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++) {
        p[j] = (unsigned)rintf(gpu_exp2((x[j] - most) * 1.44269504f) * 0x1p23f);
        mine += p[j];
    }
    const unsigned all = __reduce_add_sync((unsigned)ALL_LANES, mine);
    const unsigned wanted = (unsigned)fmaxf(ceilf(top_p * (float)all), 1.0f);
    /* the least that is kept: the mass from it on is enough, and that from `above` on is not */
    unsigned least = 0, above = (1u << 23) + 1, more = 0;
    while (above - least > 1) {
        const unsigned middle = least + (above - least) / 2;
        unsigned mass = 0;
#pragma unroll
        for (int j = 0; j < DECODE_LANE_CODES; j++)
            mass += p[j] >= middle ? p[j] : 0;
        mass = __reduce_add_sync((unsigned)ALL_LANES, mass);
        if (mass >= wanted) {
            least = middle;
        } else {
            above = middle;
            more = mass;
        }
    }
    /* of those with just the least, the first: how many are in the lanes before? */
    unsigned ties = 0;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++)
        ties += p[j] == least;
    unsigned before = ties;
    for (int d = 1; d < WARP; d *= 2) {
        const unsigned other = __shfl_up_sync((unsigned)ALL_LANES, before, (unsigned)d);
        before += lane >= d ? other : 0;
    }
    before -= ties;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++) {
        const bool tie = p[j] == least;
        if (p[j] < least || (tie && more + (uint64_t)before * least >= wanted))
            x[j] = -INFINITY;
        before += tie;
    }
}

/* -ln p(code), untempered, untruncated. */
CUDA_DEV float decode_nats(const float (&x)[DECODE_LANE_CODES], float of_code)
{
    const float most = decode_max(x);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++)
        sum += gpu_exp2((x[j] - most) * 1.44269504f);
    return logf(warp_sum(sum)) - (of_code - most);
}

/* The code of sample t of the order, of stream `stream` of the group, for all its rows. All lanes
   of a warp. */
CUDA_DEV void decode_take(const struct decode_block &c, int *inputs, uint8_t *made, int stream,
                          int t)
{
    const struct decode_launch &a = *c.a;
    const struct sampling &how = c.order->sampling;
    const float *logits = c.logits + stream * PLAN_CODES;
    const int first = c.lane * DECODE_LANE_CODES, index = c.first_stream + stream;
    float with[DECODE_LANE_CODES], x[DECODE_LANE_CODES];
    int code;
#pragma unroll
    for (int j = 0; j < DECODE_LANE_CODES; j++)
        with[j] = x[j] = logits[first + j];
    if (a.forced) {
        code = a.forced[(int64_t)index * c.order->n_samples + t];
    } else {
        if (a.guided && how.guidance != 1.0f) {
            const float *without = logits + c.streams * PLAN_CODES;
#pragma unroll
            for (int j = 0; j < DECODE_LANE_CODES; j++)
                x[j] = without[first + j] + how.guidance * (with[j] - without[first + j]);
        }
        if (how.top_p < 1.0f)
            decode_keep_top_p(x, how.top_p, c.lane);
        if (how.temperature > 0.0f)
#pragma unroll
            for (int j = 0; j < DECODE_LANE_CODES; j++)
                x[j] = x[j] / how.temperature + c.noise[stream * PLAN_CODES + first + j];
        code = decode_argmax(x, c.lane);
    }
    const float spent = a.nats ? decode_nats(with, logits[code]) : 0.0f;
    if (c.lane == 0) {
        if (a.nats)
            a.nats[index] += (double)spent;
        inputs[stream] = code;
        if (a.guided)
            inputs[c.streams + stream] = code;
        made[stream * DECODE_CODES + t % DECODE_CODES] = (uint8_t)code;
    }
    const int last = t % DECODE_CODES;
    if (last != DECODE_CODES - 1 && t != c.order->n_samples - 1)
        return;
    __syncwarp();
    if (c.lane <= last)
        a.codes[(int64_t)index * a.ld_codes + t - last + c.lane] =
            made[stream * DECODE_CODES + c.lane];
}

#endif
