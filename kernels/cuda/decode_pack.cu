/* From the plan and its weights to the decode engine's steps, fragments and vectors: see decode.h.
 */
#include "kernels/cuda/decode_fast.h"

#include <stdlib.h>
#include <string.h>

/* Runs twice: without memory, to count, and with it. */
struct decode_packer {
    const struct plan *plan;
    const float *weights, *coef; /* host memory */
    const int64_t *coef_offset;
    uint4 *fragments;
    int64_t n_fragments; /* so far */
    int64_t n_tape;      /* of them, those that tapes will take (decode_runs.cu) */
    float *vectors;
    int64_t n_vectors;
    struct decode_step *steps; /* (tiers, steps a tier at most) at first */
    int n_steps[PLAN_TIERS_MAX];
    int *slot; /* (layers): where its value is kept; -1 */
    int n_slots;
    int64_t row_size; /* floats that a row remembers */
    float *dense;     /* the matrix being packed, padded with zeros */
    int dense_rows, dense_columns;
};

static const float *packed_param(const struct decode_packer *p, const struct layer *l,
                                 enum param_role role)
{
    return l->param[role] < 0 ? NULL : p->weights + p->plan->params[l->param[role]].offset;
}

/* --- vectors ---------------------------------------------------------------------------------- */

/* Room for n floats of zeros; returns where. */
static int64_t pack_room(struct decode_packer *p, int64_t n)
{
    const int64_t at = p->n_vectors;
    p->n_vectors += (n + 3) / 4 * 4;
    return at;
}

/* Rows of `columns` floats, each padded to `padded`, in room for `rooms` rows. x: NULL is zeros. */
static int pack_rows(struct decode_packer *p, const float *x, int64_t rows, int64_t columns,
                     int64_t rooms, int64_t padded)
{
    const int64_t at = pack_room(p, rooms * padded);
    for (int64_t r = 0; p->vectors && x && r < rows; r++)
        memcpy(p->vectors + at + r * padded, x + r * columns, (size_t)columns * sizeof *x);
    return (int)at;
}

/* --- matrices --------------------------------------------------------------------------------- */

static void dense_clear(struct decode_packer *p, int rows, int columns)
{
    p->dense_rows = rows;
    p->dense_columns = columns;
    if (p->dense)
        memset(p->dense, 0, (size_t)rows * (size_t)columns * sizeof *p->dense);
}

/* Columns of w (rows, ld), each times its gain, to row `to_row` and column `to_column` on. */
static void dense_fill(struct decode_packer *p, int to_row, int to_column, const float *w,
                       int64_t ld, int rows, int columns, const float *gain)
{
    for (int r = 0; p->dense && r < rows; r++)
        for (int k = 0; k < columns; k++)
            p->dense[(int64_t)(to_row + r) * p->dense_columns + to_column + k] =
                w[r * ld + k] * (gain ? gain[k] : 1.0f);
}

static uint32_t half_pair(float low, float high)
{
    const float most = 65504.0f;
    const __half pair[2] = {__float2half(fminf(fmaxf(low, -most), most)),
                            __float2half(fminf(fmaxf(high, -most), most))};
    uint32_t bits;
    memcpy(&bits, pair, sizeof bits);
    return bits;
}

/* The 16 x 16 entries of dense from (row, column) on as a fragment; beyond the matrix are zeros. */
static void pack_fragment(struct decode_packer *p, int row, int column)
{
    uint4 *to = p->fragments ? p->fragments + p->n_fragments * 32 : NULL;
    p->n_fragments++;
    for (int lane = 0; to && lane < 32; lane++) {
        uint32_t word[4];
        for (int k = 0; k < 4; k++) {
            const int r = row + lane / 4 + k % 2 * 8, at = column + lane % 4 * 2 + k / 2 * 8;
            const float *x = p->dense + (int64_t)r * p->dense_columns + at;
            const bool inside = r < p->dense_rows && at < p->dense_columns;
            word[k] = inside ? half_pair(x[0], x[1]) : 0;
        }
        to[lane] = make_uint4(word[0], word[1], word[2], word[3]);
    }
}

static int depth_of(int columns, int least)
{
    int depth = decode_tiles(columns), power = least;
    if (depth > DECODE_DEPTH)
        return (depth + DECODE_DEPTH - 1) / DECODE_DEPTH * DECODE_DEPTH;
    while (power < depth)
        power *= 2;
    return power;
}

/* The dense matrix with its outputs shared out to warps, `tiles` each. */
static struct decode_product pack_by_outputs(struct decode_packer *p, int tiles)
{
    const int warps = (decode_tiles(p->dense_rows) + tiles - 1) / tiles;
    const int depth = depth_of(p->dense_columns, DECODE_DEPTH_IN);
    const struct decode_product product = {(int)p->n_fragments, warps, tiles * depth, tiles, depth};
    for (int tile = 0; tile < warps * tiles; tile++)
        for (int k = 0; k < depth; k++)
            pack_fragment(p, tile * DECODE_TILE, k * DECODE_TILE);
    return product;
}

/* With its inputs shared out, `channels` to each of `warps`. */
static struct decode_product pack_by_inputs(struct decode_packer *p, int channels, int warps)
{
    const int tiles = decode_tiles(p->dense_rows), depth = depth_of(channels, 1);
    const struct decode_product product = {(int)p->n_fragments, warps, tiles * depth, tiles, depth};
    for (int warp = 0; warp < warps; warp++)
        for (int tile = 0; tile < tiles; tile++)
            for (int k = 0; k < depth; k++) /* what pads the depth is multiplied by zeros */
                pack_fragment(p, k * DECODE_TILE < channels ? tile * DECODE_TILE : p->dense_rows,
                              warp * channels + k * DECODE_TILE);
    return product;
}

/* --- steps ------------------------------------------------------------------------------------ */

static int unit_of(int width)
{
    return ((1 << 24) + width - 1) / width;
}

/* Appends a step to a tier. */
static struct decode_step *step_add(struct decode_packer *p, int tier, enum decode_kind kind,
                                    const struct layer *l)
{
    struct decode_step *s = &p->steps[(int64_t)tier * 2 * p->plan->n_layers + p->n_steps[tier]++];
    memset(s, 0, sizeof *s);
    s->kind = kind;
    s->width = decode_padded(l->width);
    s->width_in = decode_padded(l->width_in);
    s->true_width = l->width_in;
    s->unit = unit_of(s->width);
    s->skip = l->skip < 0 ? -1 : p->slot[l->skip];
    s->keep = p->slot[l - p->plan->layers];
    return s;
}

static int64_t remember(struct decode_packer *p, int64_t n)
{
    const int64_t at = p->row_size;
    p->row_size += (n + 3) / 4 * 4;
    return at;
}

/* Inner channels of a layer: whole tiles, shared out to as few warps as need be. */
static void share_channels(struct decode_step *s, int inner)
{
    const int tiles = decode_tiles(inner), each = (tiles + DECODE_WARPS - 1) / DECODE_WARPS;
    s->channels = each * DECODE_TILE;
    s->warps = (tiles + each - 1) / each;
}

static void pack_table(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const struct param *param = &p->plan->params[l->param[PARAM_WEIGHT]];
    s->table = pack_rows(p, packed_param(p, l, PARAM_WEIGHT), param->shape[0], l->width,
                         param->shape[0], s->width);
}

/* Coefficients of the recurrence, from scan.h's (E, N, coefs) to blocks of 16 channels by 16 states
   that a warp reads: a lane has eight states of a channel. */
static void pack_coef(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const int parts = l->complex_state ? 2 : 1, coefs = s->selective ? parts : 3 * parts;
    const int64_t tiles = (int64_t)s->warps * s->channels / DECODE_TILE;
    const int64_t at = pack_room(p, tiles * s->blocks * coefs * DECODE_TILE * DECODE_STATES);
    const float *coef = p->coef + p->coef_offset[l - p->plan->layers];
    s->coef = (int)at;
    for (int64_t e = 0; p->vectors && e < l->inner; e++)
        for (int n = 0; n < l->n_state; n++)
            for (int k = 0; k < coefs; k++) {
                const int64_t block = e / DECODE_TILE * s->blocks + n / DECODE_STATES;
                const int64_t in_block = e % DECODE_TILE * DECODE_STATES + n % DECODE_STATES;
                p->vectors[at + (block * coefs + k) * DECODE_TILE * DECODE_STATES + in_block] =
                    coef[(e * l->n_state + n) * coefs + k];
            }
}

static void pack_recurrence(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const int64_t padded = (int64_t)s->warps * s->channels;
    s->selective = l->mixer == MIXER_SELECTIVE;
    s->is_complex = l->complex_state;
    s->blocks = (l->n_state + DECODE_STATES - 1) / DECODE_STATES;
    s->d = pack_rows(p, packed_param(p, l, PARAM_D), 1, l->inner, 1, padded);
    pack_coef(p, s, l);
    s->state = (int)remember(p, padded * s->blocks * DECODE_STATES * (l->complex_state ? 2 : 1));
}

/* x_proj's rows: dt, padded to 4, then B and C (or their parts), each padded to whole blocks. */
static void pack_x_proj(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const float *w = packed_param(p, l, PARAM_X_PROJ);
    const int arrays = l->complex_state ? 4 : 2, states = s->blocks * DECODE_STATES;
    const int64_t padded = (int64_t)s->warps * s->channels;
    s->dt_rank = (l->dt_rank + 3) / 4 * 4;
    s->n_sums = decode_padded(s->dt_rank + arrays * states);
    s->sums_unit = unit_of(s->n_sums);
    dense_clear(p, s->n_sums, (int)padded);
    dense_fill(p, 0, 0, w, l->inner, l->dt_rank, l->inner, NULL);
    for (int k = 0; k < arrays; k++)
        dense_fill(p, s->dt_rank + k * states, 0,
                   w + (int64_t)(l->dt_rank + k * l->n_state) * l->inner, l->inner, l->n_state,
                   l->inner, NULL);
    s->mid = pack_by_inputs(p, s->channels, s->warps);
    s->dt =
        pack_rows(p, packed_param(p, l, PARAM_DT_PROJ), l->inner, l->dt_rank, padded, s->dt_rank);
    s->dt_bias = pack_rows(p, packed_param(p, l, PARAM_DT_BIAS), 1, l->inner, 1, padded);
}

/* A warp's tiles in turn: x, z, x, z ... of its channels. */
static void pack_in_proj(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const float *w = packed_param(p, l, PARAM_IN_PROJ), *gain = packed_param(p, l, PARAM_NORM);
    const int tiles = s->warps * s->channels / DECODE_TILE, h = l->width;
    dense_clear(p, 2 * tiles * DECODE_TILE, s->width);
    for (int tile = 0; tile < tiles; tile++)
        for (int half = 0; half < 2; half++) {
            const int first = tile * DECODE_TILE, left = l->inner - first;
            const int rows = left < (int)DECODE_TILE ? left : (int)DECODE_TILE;
            dense_fill(p, (2 * tile + half) * DECODE_TILE, 0,
                       w + (int64_t)(half * l->inner + first) * h, h, rows, h, gain);
        }
    s->in = pack_by_outputs(p, 2 * s->channels / DECODE_TILE);
}

/* Chunks of a layer's tape for a warp. */
static int chunks_of(int width)
{
    return width == 256   ? decode_size<256>::chunks
           : width == 128 ? decode_size<128>::chunks
           : width == 64  ? decode_size<64>::chunks
                          : decode_size<32>::chunks;
}

static void pack_mixer(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    share_channels(s, l->inner);
    const int64_t padded = (int64_t)s->warps * s->channels;
    s->n_taps = l->n_taps;
    s->ring = (l->n_taps - 1 + 3) / 4 * 4;
    pack_in_proj(p, s, l);
    s->conv = pack_rows(p, packed_param(p, l, PARAM_CONV), l->inner, l->n_taps, padded, l->n_taps);
    s->conv_bias = pack_rows(p, packed_param(p, l, PARAM_CONV_BIAS), 1, l->inner, 1, padded);
    s->ring_state = (int)remember(p, padded * s->ring);
    pack_recurrence(p, s, l);
    if (s->selective)
        pack_x_proj(p, s, l);
    dense_clear(p, s->width, (int)padded);
    dense_fill(p, 0, 0, packed_param(p, l, PARAM_OUT), l->inner, l->width, l->inner, NULL);
    s->out = pack_by_inputs(p, s->channels, s->warps);
    const bool common = s->selective && !s->is_complex && s->blocks == 1 && l->n_taps == 4;
    const int h = l->width, sizes[] = {32, 64, 128, 256};
    for (int i = 0; common && i < 4; i++)
        if (h == sizes[i] && l->inner == 2 * h && l->dt_rank == (h + 15) / 16)
            s->fast = h;
    if (s->fast > 0)
        p->n_tape += (int64_t)DECODE_WARPS * chunks_of(h) * DECODE_CHUNK;
}

static void pack_s4d(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    const float *w = packed_param(p, l, PARAM_OUT), *bias = packed_param(p, l, PARAM_OUT_BIAS);
    const int h = l->width;
    share_channels(s, h);
    s->norm = pack_rows(p, packed_param(p, l, PARAM_NORM), 1, h, 1, s->width);
    pack_recurrence(p, s, l);
    dense_clear(p, 2 * s->width, s->warps * s->channels);
    dense_fill(p, 0, 0, w, h, h, h, NULL);
    dense_fill(p, s->width, 0, w + (int64_t)h * h, h, h, h, NULL);
    s->out = pack_by_inputs(p, s->channels, s->warps);
    s->out_bias = pack_rows(p, bias, 2, h, 2, s->width);
}

static void pack_ff(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    share_channels(s, l->inner);
    const int padded = s->warps * s->channels;
    dense_clear(p, padded, s->width);
    dense_fill(p, 0, 0, packed_param(p, l, PARAM_WEIGHT), l->width, l->inner, l->width,
               packed_param(p, l, PARAM_NORM));
    s->n_out = padded;
    s->in = pack_by_outputs(p, s->channels / DECODE_TILE);
    s->in_bias = pack_rows(p, packed_param(p, l, PARAM_BIAS), 1, l->inner, 1, padded);
    dense_clear(p, s->width, padded);
    dense_fill(p, 0, 0, packed_param(p, l, PARAM_OUT), l->inner, l->width, l->inner, NULL);
    s->out = pack_by_inputs(p, s->channels, s->warps);
    s->out_bias = pack_rows(p, packed_param(p, l, PARAM_OUT_BIAS), 1, l->width, 1, s->width);
}

/* A product whose outputs are shared out to all warps. */
static void pack_whole(struct decode_packer *p, struct decode_step *s)
{
    s->n_out = p->dense_rows;
    s->in = pack_by_outputs(p, (decode_tiles(p->dense_rows) + DECODE_WARPS - 1) / DECODE_WARPS);
}

/* Where the frames of a pool are, of the finer tier's width: for its step in either tier. */
static void frames_of(struct decode_step *s, const struct layer *l, int64_t state, int width)
{
    s->pool = l->pool;
    s->up_shift = l->up_shift;
    s->n_frames = l->up_shift + 2; /* one being filled, up_shift waiting, one being read */
    s->frame = l->pool * width;
    s->state = (int)state;
}

/* Slots of a frame are one after the other here, channels in the model file (h p + s). */
static void pack_down(struct decode_packer *p, const struct layer *l)
{
    const float *w = packed_param(p, l, PARAM_WEIGHT);
    const int fine = decode_padded(l->width_in), pool = l->pool;
    const int64_t state = remember(p, (int64_t)(l->up_shift + 2) * pool * fine);
    struct decode_step *gather = step_add(p, l->tier - 1, DECODE_GATHER, l);
    struct decode_step *s = step_add(p, l->tier, DECODE_DOWN, l);
    frames_of(gather, l, state, fine);
    gather->width = fine;
    gather->unit = unit_of(fine);
    gather->skip = gather->keep = -1;
    frames_of(s, l, state, fine);
    dense_clear(p, s->width, pool * fine);
    for (int o = 0; p->dense && o < l->width; o++)
        for (int h = 0; h < l->width_in; h++)
            for (int k = 0; k < pool; k++)
                p->dense[(int64_t)o * p->dense_columns + k * fine + h] =
                    w[((int64_t)o * l->width_in + h) * pool + k];
    pack_whole(p, s);
    s->in_bias = pack_rows(p, packed_param(p, l, PARAM_BIAS), 1, l->width, 1, s->width);
}

static void pack_up(struct decode_packer *p, const struct layer *l)
{
    const float *w = packed_param(p, l, PARAM_WEIGHT), *bias = packed_param(p, l, PARAM_BIAS);
    const int fine = decode_padded(l->width), pool = l->pool;
    const int64_t state = remember(p, (int64_t)(l->up_shift + 2) * pool * fine);
    struct decode_step *s = step_add(p, l->tier + 1, DECODE_UP, l);
    struct decode_step *emit = step_add(p, l->tier, DECODE_EMIT, l);
    frames_of(s, l, state, fine);
    s->skip = s->keep = -1;
    frames_of(emit, l, state, fine);
    s->in_bias = (int)pack_room(p, (int64_t)pool * fine);
    dense_clear(p, pool * fine, s->width_in);
    for (int k = 0; p->dense && k < pool; k++)
        for (int h = 0; h < l->width; h++) {
            p->vectors[s->in_bias + k * fine + h] = bias[h * pool + k];
            memcpy(p->dense + (int64_t)(k * fine + h) * p->dense_columns,
                   w + ((int64_t)h * pool + k) * l->width_in, (size_t)l->width_in * sizeof *w);
        }
    pack_whole(p, s);
}

static void pack_head(struct decode_packer *p, struct decode_step *s, const struct layer *l)
{
    dense_clear(p, PLAN_CODES, s->width_in);
    dense_fill(p, 0, 0, packed_param(p, l, PARAM_WEIGHT), l->width_in, PLAN_CODES, l->width_in,
               packed_param(p, l, PARAM_NORM));
    pack_whole(p, s);
    s->in_bias = pack_rows(p, packed_param(p, l, PARAM_BIAS), 1, PLAN_CODES, 1, PLAN_CODES);
}

static void pack_layer(struct decode_packer *p, const struct layer *l)
{
    switch (l->kind) {
    case LAYER_EMBED:
        pack_table(p, step_add(p, 0, DECODE_EMBED, l), l);
        break;
    case LAYER_LABEL:
        pack_table(p, step_add(p, l->tier, DECODE_LABEL, l), l);
        break;
    case LAYER_MIXER:
        if (l->mixer == MIXER_S4D)
            pack_s4d(p, step_add(p, l->tier, DECODE_S4D, l), l);
        else
            pack_mixer(p, step_add(p, l->tier, DECODE_MIXER, l), l);
        break;
    case LAYER_FF:
        pack_ff(p, step_add(p, l->tier, DECODE_FF, l), l);
        break;
    case LAYER_DOWN:
        pack_down(p, l);
        break;
    case LAYER_UP:
        pack_up(p, l);
        break;
    default:
        pack_head(p, step_add(p, 0, DECODE_HEAD, l), l);
    }
}

static void pack_layers(struct decode_packer *p)
{
    p->n_fragments = p->n_tape = p->n_vectors = p->row_size = 0;
    memset(p->n_steps, 0, sizeof p->n_steps);
    for (int i = 0; i < p->plan->n_layers; i++)
        pack_layer(p, &p->plan->layers[i]);
}

/* Floats of the largest dense matrix. */
static int64_t dense_size_of(const struct plan *plan)
{
    int64_t most = 0;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        const int64_t pool = l->pool > 0 ? l->pool : 1, in = decode_padded(l->width_in);
        const int64_t out = decode_padded(l->width), each = DECODE_WARPS * DECODE_TILE;
        const int64_t inner = (l->inner + each - 1) / each * each;
        const int64_t sums = l->dt_rank + 2 * DECODE_TILE + 4 * (l->n_state + DECODE_STATES);
        int64_t widest = 2 * inner > 2 * out ? 2 * inner : 2 * out;
        widest = widest > sums ? widest : sums;
        const int64_t block = widest * (inner > in ? inner : in);
        const int64_t size = l->inner > 0 ? block : in * out * pool;
        most = size > most ? size : most;
    }
    return most;
}

/* --- where values wait ------------------------------------------------------------------------ */

/* A slot for every value that a later layer adds, given back after its last use. Tiers take turns
   with the same slots: no value outlives its tick. */
static void slots_share(struct decode_packer *p)
{
    const struct plan *plan = p->plan;
    for (int i = 0; i < plan->n_layers; i++)
        p->slot[i] = -1;
    p->n_slots = 0;
    for (int i = 0; i < plan->n_layers; i++) {
        int last = -1, slot = 0;
        for (int j = i + 1; j < plan->n_layers; j++)
            if (plan->layers[j].skip == i)
                last = j;
        if (last < 0)
            continue;
        for (bool taken = true; taken; slot += taken) {
            taken = false;
            for (int k = 0; k < i && !taken; k++) {
                if (p->slot[k] != slot || plan->layers[k].tier != plan->layers[i].tier)
                    continue;
                for (int j = i; j < plan->n_layers && !taken; j++)
                    taken = plan->layers[j].skip == k;
            }
        }
        p->slot[i] = slot;
        p->n_slots = slot + 1 > p->n_slots ? slot + 1 : p->n_slots;
    }
}
