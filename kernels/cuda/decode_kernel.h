/* The persistent kernel of the decode engine: see decode.h. */
#ifndef HISS_KERNELS_CUDA_DECODE_KERNEL_H
#define HISS_KERNELS_CUDA_DECODE_KERNEL_H

#include "kernels/cuda/decode_order.h"
#include "kernels/cuda/decode_sample.h"
#include "kernels/cuda/decode_fast.h"

CUDA_DEV unsigned decode_first_tick(const struct decode_launch &a, int tier)
{
    return a.start / a.tiers[tier].rate;
}

/* The tier whose tick comes after tick `tick` of a tier. */
CUDA_DEV int decode_follow(const struct decode_launch &a, const struct decode_run &run, int tier,
                           unsigned tick)
{
    const bool deeper = tier + 1 < run.end && (tick + 1) % (unsigned)a.tiers[tier].pool == 0;
    return deeper ? tier + 1 : run.begin;
}

/* Before a step that reads what another block makes. */
CUDA_DEV void decode_before(const struct decode_block &c, const struct decode_run &run,
                            const struct decode_step &s, int tier, unsigned tick)
{
    const struct decode_launch &a = *c.a;
    unsigned *deeper = run.flags + 2 * (tier + 1); /* frames gathered for it, ticks it has done */
    if (s.kind == DECODE_DOWN && tier == run.begin)
        decode_await(deeper - 2, tick - decode_first_tick(a, tier) + 1);
    if (s.kind != DECODE_EMIT || tier + 1 < run.end || tick % (unsigned)s.pool != 0)
        return;
    const int missing = (int)(tick / (unsigned)s.pool - (unsigned)s.up_shift) -
                        (int)decode_first_tick(a, tier + 1) + 1;
    if (missing > 0)
        decode_await(deeper + 1, (unsigned)missing);
}

/* After a step that makes what another block reads. */
CUDA_DEV void decode_after(const struct decode_block &c, const struct decode_run &run,
                           const struct decode_step &s, int tier, unsigned tick)
{
    const struct decode_launch &a = *c.a;
    const unsigned pool = (unsigned)s.pool;
    unsigned *deeper = run.flags + 2 * (tier + 1);
    if (s.kind == DECODE_UP && tier == run.begin)
        decode_tell(deeper - 1, tick - decode_first_tick(a, tier) + 1);
    if (s.kind == DECODE_GATHER && tier + 1 == run.end && tick % pool == pool - 1)
        decode_tell(deeper, tick / pool - decode_first_tick(a, tier + 1) + 1);
}

/* The mixers of a run that begins with s. */
CUDA_DEV void decode_run_any(const struct decode_block &c, struct decode_tape &tape,
                             const struct decode_step *s, const struct decode_step *next)
{
    if (s->fast == 64)
        decode_run_fast<decode_size<64>>(c, tape, s, next);
    else if (s->fast == 128)
        decode_run_fast<decode_size<128>>(c, tape, s, next);
    else if (s->fast == 256)
        decode_run_fast<decode_size<256>>(c, tape, s, next);
    else
        decode_run_fast<decode_size<32>>(c, tape, s, next);
}

/* One tick of a tier. */
CUDA_DEV void decode_tick(const struct decode_block &c, const struct decode_run &run,
                          uint4 (&in)[DECODE_AHEAD_IN], struct decode_tape &tape, int tier,
                          unsigned tick)
{
    const struct decode_tier &list = c.a->tiers[tier];
    const struct decode_tier &follow = c.a->tiers[decode_follow(*c.a, run, tier, tick)];
#pragma unroll 1
    for (int i = list.first, n; i < list.first + list.n; i += n) {
        const struct decode_step &s = c.steps[i];
        n = 1;
        if (s.run > 0) {
            const int next = s.next_run >= 0 ? s.next_run : follow.first_run;
            decode_run_any(c, tape, &s, next < 0 ? NULL : &c.steps[next]);
            n = s.run;
            continue;
        }
        const bool passes = s.kind <= DECODE_EMIT || s.kind == DECODE_DOWN || s.kind == DECODE_UP;
        if (passes)
            decode_before(c, run, s, tier, tick);
        const struct decode_step &next = c.steps[s.next >= 0 ? s.next : follow.first_product];
        if (s.kind >= DECODE_MIXER)
            decode_work(c, in, s, next, tick);
        else
            decode_entries(c, s, run.inputs, run.inputs + DECODE_GROUP, tick);
        if (passes)
            decode_after(c, run, s, tier, tick);
    }
}

/* A sample's code from its logits. All threads. */
CUDA_DEV void decode_sample(const struct decode_block &c, const struct decode_run &run, int t)
{
    const struct decode_launch &a = *c.a;
    if (c.warp < c.streams)
        decode_take(c, run.inputs, run.made, c.warp, t);
    if (a.logits)
        for (int row = 0; row < c.rows; row++)
            a.logits[(decode_index(c, row) * c.order->n_samples + t) * PLAN_CODES + threadIdx.x] =
                c.logits[row * PLAN_CODES + (int)threadIdx.x];
    if (a.clocks && blockIdx.x == 0 && threadIdx.x == 0)
        a.clocks[t + 1] = gpu_clock();
    __syncthreads();
}

/* All ticks of the block's tiers in an order: of the outermost one by one, of a deeper one
   whenever its frame is full. */
CUDA_DEV void decode_ticks(const struct decode_block &c, const struct decode_run &run,
                           uint4 (&in)[DECODE_AHEAD_IN], struct decode_tape &tape)
{
    const struct decode_launch &a = *c.a;
    const unsigned start = a.start + c.order->from, rate = a.tiers[run.begin].rate;
    const unsigned end = (start + (unsigned)c.order->n_samples) / rate;
    unsigned outer = start / rate, tick = outer;
    int tier = run.begin;
#pragma unroll 1
    while (outer < end) {
        const int t = (int)(tick - start);
        if (tier == 0)
            decode_noise(c, c.order->noise_n + (uint64_t)t);
        decode_tick(c, run, in, tape, tier, tick);
        if (tier == 0)
            decode_sample(c, run, t);
        if (tier + 1 < run.end && (tick + 1) % (unsigned)a.tiers[tier].pool == 0) {
            tick /= (unsigned)a.tiers[tier].pool;
            tier++;
        } else {
            tick = ++outer;
            tier = run.begin;
        }
    }
}

/* Where things are; steps and what rows begin with come into shared memory. All threads. */
CUDA_DEV void decode_begin(struct decode_block &c, struct decode_run &run, char *shared)
{
    const struct decode_launch &a = *c.a;
    const struct decode_shared &at = a.shared;
    const int group = (int)blockIdx.x / a.n_parts, part = (int)blockIdx.x % a.n_parts;
    c.x = reinterpret_cast<float *>(shared + at.x);
    c.half = reinterpret_cast<uint16_t *>(shared + at.x_half);
    c.raw = reinterpret_cast<float *>(shared + at.raw);
    c.part = reinterpret_cast<float *>(shared + at.part);
    c.sums = reinterpret_cast<float *>(shared + at.sums);
    c.keep = reinterpret_cast<float *>(shared + at.keep);
    c.logits = reinterpret_cast<float *>(shared + at.logits);
    c.noise = reinterpret_cast<float *>(shared + at.noise);
    c.steps = reinterpret_cast<const struct decode_step *>(shared + at.steps);
    c.warp = (int)threadIdx.x / WARP;
    c.lane = (int)threadIdx.x % WARP;
    c.g = c.lane / 4;
    c.i = c.lane % 4;
    c.own = reinterpret_cast<uint16_t *>(shared + at.own) + c.warp * DECODE_GROUP * at.ld_own;
    c.first_stream = group * a.group;
    c.streams = a.n_streams - c.first_stream < a.group ? a.n_streams - c.first_stream : a.group;
    c.rows = c.streams * (a.guided ? 2 : 1);
    run.begin = a.part[part];
    run.end = a.part[part + 1];
    run.made = reinterpret_cast<uint8_t *>(shared + at.codes);
    run.inputs = reinterpret_cast<int *>(shared + at.codes + DECODE_GROUP * DECODE_CODES);
    run.board = reinterpret_cast<struct decode_board *>(shared + at.board);
    c.order = &run.board->order;
    run.flags = a.flags + group * a.n_tiers * 2;
    for (int e = (int)threadIdx.x; e < at.steps / 4; e += DECODE_BLOCK)
        reinterpret_cast<uint32_t *>(shared)[e] = 0;
    for (int e = (int)threadIdx.x; e < a.n_steps * (int)(sizeof(struct decode_step) / 4);
         e += DECODE_BLOCK)
        reinterpret_cast<int *>(shared + at.steps)[e] = reinterpret_cast<const int *>(a.steps)[e];
    __syncthreads();
    if ((int)threadIdx.x < c.rows)
        run.inputs[threadIdx.x] = a.inputs[decode_index(c, (int)threadIdx.x)];
    if (threadIdx.x == 0)
        run.board->begun = gpu_clock();
    decode_take_order(c, run, 0);
}

/* One: groups have one row, which the compiler then knows. */
template <bool One>
static __global__ void __launch_bounds__(DECODE_BLOCK)
    decode_kernel(GPU_PARAM struct decode_launch a)
{
    GPU_SMEM(char, shared);
    struct decode_block c;
    struct decode_run run;
    uint4 in[DECODE_AHEAD_IN] = {};
    struct decode_tape tape = {};
    c.a = &a;
    decode_begin(c, run, shared);
    if (One)
        c.rows = c.streams = 1;
    if (a.clocks && blockIdx.x == 0 && threadIdx.x == 0)
        a.clocks[0] = gpu_clock();
    const struct decode_step &first = c.steps[a.tiers[run.begin].first_product];
    decode_fetch<DECODE_AHEAD_IN>(in, decode_fragments(c, first.in), decode_count(c, first.in));
    tape.ring = reinterpret_cast<uint4 *>(shared + a.shared.tape) +
                c.warp * DECODE_RING * DECODE_CHUNK_SIZE;
    for (;;) {
        decode_ticks(c, run, in, tape);
        if (!a.mail)
            break;
        const unsigned next = c.order->number + 1;
        decode_made_order(c, run, next - 1);
        if (!decode_goes_on(c, run, next))
            break;
        decode_take_order(c, run, next);
    }
    tape_wait<0>();
    if (run.begin > 0)
        return;
    if ((int)threadIdx.x < c.rows) {
        const int64_t of = decode_index(c, (int)threadIdx.x);
        a.inputs[of] = (uint8_t)run.inputs[threadIdx.x];
    }
}

#endif
