/* Runs of the decode engine's common mixers, and their tapes (decode_tape.h), from what
   decode_pack.cu has packed: see decode_fast.h. */
#include <string.h>

/* Each lane's 16 bytes of a fragment. */
static uint4 four_floats(const float *x)
{
    uint4 v;
    memcpy(&v, x, sizeof v);
    return v;
}

/* What a tile's convolution needs: taps of the channels, then biases (conv, dt) and D of each. */
static void tape_conv(uint4 *to, const struct decode_step *s, const float *vectors, int channel)
{
    for (int k = 0; k < DECODE_TILE; k++, channel++) {
        const float biases[4] = {vectors[s->conv_bias + channel], vectors[s->dt_bias + channel],
                                 vectors[s->d + channel], 0.0f};
        to[k] = four_floats(vectors + s->conv + channel * s->n_taps);
        to[DECODE_TILE + k] = four_floats(biases);
    }
}

/* What its recurrence needs: the channels' rows of dt_proj, each of two lanes the half of its row
   that it multiplies, a row of four both; then A. */
static void tape_recur(uint4 *to, const struct decode_step *s, const float *vectors, int tile)
{
    const int rank = s->dt_rank, n = rank > 8 ? 2 : 1;
    for (int lane = 0; lane < 32; lane++) {
        const float *row = vectors + s->dt + (tile * DECODE_TILE + lane / 2) * rank;
        const float *poles = vectors + s->coef + tile * DECODE_TILE * DECODE_STATES;
        for (int k = 0; k < n; k++)
            to[k * 32 + lane] = four_floats(row + (rank > 4 ? lane % 2 * (rank / 2) : 0) + 4 * k);
        for (int k = 0; k < 2; k++)
            to[(2 + k) * 32 + lane] = four_floats(poles + lane * DECODE_LANE_STATES + 4 * k);
    }
}

/* A warp's part of a layer; returns where it ends. */
static uint4 *tape_layer(uint4 *to, const struct decode_step *s, const uint4 *fragments,
                         const float *vectors, int warp)
{
    const int tiles = s->channels / DECODE_TILE;
    const uint4 *in = fragments + ((int64_t)s->in.first + (int64_t)warp * s->in.n) * 32;
    const uint4 *mid = fragments + ((int64_t)s->mid.first + (int64_t)warp * s->mid.n) * 32;
    const uint4 *out = fragments + ((int64_t)s->out.first + (int64_t)warp * s->out.n) * 32;
    uint4 *const end = to + (int64_t)chunks_of(s->fast) * DECODE_CHUNK_SIZE;
    if (warp < s->warps) {
        memcpy(to, in, (size_t)s->in.n * 32 * sizeof *to);
        to += s->in.n * 32;
        for (int q = 0; q < tiles; q++, to += DECODE_CHUNK_SIZE) {
            tape_conv(to, s, vectors, (warp * tiles + q) * DECODE_TILE);
            for (int k = 0; k < s->mid.tiles; k++)
                memcpy(to + (k + 1) * 32, mid + (k * s->mid.depth + q) * 32, 32 * sizeof *to);
        }
        for (int q = 0; q < tiles; q++, to += DECODE_CHUNK_SIZE)
            tape_recur(to, s, vectors, warp * tiles + q);
        memcpy(to, out, (size_t)s->out.n * 32 * sizeof *to);
    }
    return end;
}

/* Finds the runs among joined steps, each as long as can be, and packs their tapes behind the
   fragments. */
static void runs_join(struct decode_launch *a, struct decode_step *steps, struct decode_packer *p)
{
    for (int tier = 0; tier < a->n_tiers; tier++) {
        const int begin = a->tiers[tier].first, end = begin + a->tiers[tier].n;
        for (int i = begin; i<end; i += steps[i].run> 0 ? steps[i].run : 1) {
            struct decode_step *s = &steps[i];
            while (s->fast > 0 && i + s->run < end && s[s->run].fast == s->fast)
                s->run++;
            s->tape = (int)p->n_fragments;
            s->tape_n = s->run > 0 ? s->run * chunks_of(s->fast) * DECODE_CHUNK : 0;
            uint4 *to = p->fragments + p->n_fragments * 32;
            for (int warp = 0; warp < DECODE_WARPS; warp++)
                for (int k = 0; k < s->run; k++)
                    to = tape_layer(to, s + k, p->fragments, p->vectors, warp);
            p->n_fragments += DECODE_WARPS * s->tape_n;
        }
        int next = -1;
        for (int i = end - 1; i >= begin; i--) {
            steps[i].next_run = next;
            if (steps[i].run > 0)
                next = i;
        }
        a->tiers[tier].first_run = next;
    }
}
