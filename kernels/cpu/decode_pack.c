/* From the plan and its weights to units: padded, in two parts, packed. Runs dry first. */
#include "kernels/cpu/decode.h"

struct packer {
    struct arena *arena;
    const struct decoder_net *net;
    enum precision precision;
    float *dense; /* (dense_size): room for any of the plan's matrices, padded */
    int64_t dense_size;
};

static const float *param_of(const struct packer *p, const struct layer *l, enum param_role role)
{
    return l->param[role] < 0 ? NULL
                              : p->net->weights + p->net->plan->params[l->param[role]].offset;
}

/* n numbers as they are, then 0 up to `padded`; NULL stays NULL. */
static const float *pack_vector(struct packer *p, const float *x, int n, int padded)
{
    if (!x)
        return NULL;
    float *to = arena_alloc(p->arena, (size_t)padded * sizeof *to);
    if (to) {
        memset(to, 0, (size_t)padded * sizeof *to);
        memcpy(to, x, (size_t)n * sizeof *to);
    }
    return to;
}

/* A piece of a matrix, as rows and columns of the dense one it becomes. */
struct piece {
    const float *w; /* the first of its entries */
    int64_t ld_row, ld_column;
    int rows, columns;
    int to_row, to_column; /* where it begins in the dense matrix */
};

static void dense_clear(struct packer *p, int n_out, int n_in)
{
    assert((int64_t)n_out * n_in <= p->dense_size);
    memset(p->dense, 0, (size_t)n_out * (size_t)n_in * sizeof *p->dense);
}

static void pack_pieces(struct packer *p, struct matrix *m, enum precision precision,
                        const struct piece *pieces, int n_pieces, int n_out, int n_in)
{
    dense_clear(p, n_out, n_in);
    for (int k = 0; k < n_pieces; k++) {
        const struct piece *q = &pieces[k];
        for (int r = 0; r < q->rows; r++)
            for (int c = 0; c < q->columns; c++)
                p->dense[(int64_t)(q->to_row + r) * n_in + q->to_column + c] =
                    q->w[r * q->ld_row + c * q->ld_column];
    }
    matrix_pack(m, p->arena, precision, p->dense, n_in, n_out);
}

/* Outputs of a half of n outputs, both multiples of V_LANES. */
static int half_outputs(int n, int half)
{
    int first = (int)(blocks_of(n, 2 * V_LANES) * V_LANES);
    return half == 0 ? first : n - first;
}

/* The matrices of a unit that are cut by their outputs alone: packed from n_pieces pieces of the
   whole (n_out, n_in) in p->dense, then halved. */
static void pack_halves(struct packer *p, struct unit *u, const float *bias, int n_out, int n_in)
{
    int first = 0;
    for (int half = 0; half < PARTS; half++) {
        int n = half_outputs(n_out, half);
        matrix_pack(&u->in[half], p->arena, p->precision, p->dense + (int64_t)first * n_in, n_in,
                    n);
        u->in_bias[half] = pack_vector(p, bias + first, n, n);
        first += n;
    }
}

/* Frames are slot after slot here, channel after channel in the model file (h p + s). */
static void pack_pool(struct packer *p, struct unit *u, float *bias)
{
    const struct layer *l = u->layer;
    const bool down = l->kind == LAYER_DOWN;
    const float *w = param_of(p, l, PARAM_WEIGHT), *b = param_of(p, l, PARAM_BIAS);
    const int pool = l->pool;
    const int n_out = down ? u->width : pool * u->width;
    const int n_in = down ? pool * u->width_in : u->width_in;
    const int64_t columns = down ? (int64_t)l->width_in * pool : l->width_in;
    dense_clear(p, n_out, n_in);
    memset(bias, 0, (size_t)n_out * sizeof *bias);
    for (int s = 0; s < pool; s++)
        for (int h = 0; h < (down ? l->width_in : l->width); h++) {
            if (down) {
                for (int o = 0; o < l->width; o++)
                    p->dense[(int64_t)o * n_in + s * u->width_in + h] =
                        w[o * columns + h * pool + s];
            } else {
                int o = s * u->width + h;
                bias[o] = b[h * pool + s];
                memcpy(p->dense + (int64_t)o * n_in, w + (h * pool + s) * columns,
                       (size_t)columns * sizeof *w);
            }
        }
    if (down)
        memcpy(bias, b, (size_t)l->width * sizeof *b);
    pack_halves(p, u, bias, n_out, n_in);
}

static void pack_head(struct packer *p, struct unit *u)
{
    const struct layer *l = u->layer;
    u->norm = pack_vector(p, param_of(p, l, PARAM_NORM), l->width_in, u->width_in);
    const float *w = param_of(p, l, PARAM_WEIGHT);
    dense_clear(p, PLAN_CODES, u->width_in);
    for (int o = 0; o < PLAN_CODES; o++)
        memcpy(p->dense + (int64_t)o * u->width_in, w + (int64_t)o * l->width_in,
               (size_t)l->width_in * sizeof *w);
    pack_halves(p, u, param_of(p, l, PARAM_BIAS), PLAN_CODES, u->width_in);
}

static void pack_table(struct packer *p, struct unit *u)
{
    const struct layer *l = u->layer;
    const struct param *param = &p->net->plan->params[l->param[PARAM_WEIGHT]];
    const float *w = param_of(p, l, PARAM_WEIGHT);
    int64_t rows = param->shape[0];
    float *to = arena_alloc(p->arena, (size_t)rows * (size_t)u->width * sizeof *to);
    u->table = to;
    if (!to)
        return;
    memset(to, 0, (size_t)rows * (size_t)u->width * sizeof *to);
    for (int64_t r = 0; r < rows; r++)
        memcpy(to + r * u->width, w + r * l->width, (size_t)l->width * sizeof *to);
}

/* (K, channels) of part `part` from (E, K). */
static void pack_conv(struct packer *p, struct unit *u, int part)
{
    const struct layer *l = u->layer;
    const int first = part_first(l, part), n = part_channels(l, part), padded = u->channels[part];
    const float *w = param_of(p, l, PARAM_CONV);
    float *to = arena_alloc(p->arena, (size_t)l->n_taps * (size_t)padded * sizeof *to);
    u->conv[part] = to;
    for (int k = 0; to && k < l->n_taps; k++)
        for (int e = 0; e < padded; e++)
            to[k * padded + e] = e < n ? w[(int64_t)(first + e) * l->n_taps + k] : 0.0f;
    u->conv_bias[part] = pack_vector(p, param_of(p, l, PARAM_CONV_BIAS) + first, n, padded);
}

/* What the scan of a part reads: coef's tiles of its channels, D, dt_bias. */
static void pack_scan(struct packer *p, struct unit *u, int part)
{
    const struct layer *l = u->layer;
    const int first = part_first(l, part), n = part_channels(l, part), padded = u->channels[part];
    const int rows = scan_coef_rows(l->mixer == MIXER_SELECTIVE, l->complex_state, l->n_state);
    const float *coef = p->net->coef + p->net->coef_offset[l - p->net->plan->layers];
    u->coef[part] = pack_vector(p, coef + (int64_t)first * rows, padded * rows, padded * rows);
    u->d[part] = pack_vector(p, param_of(p, l, PARAM_D) + first, n, padded);
    if (l->mixer == MIXER_SELECTIVE)
        u->dt_bias[part] = pack_vector(p, param_of(p, l, PARAM_DT_BIAS) + first, n, padded);
}

/* A block: mixer or ff. Parts in the order in which they are read. */
static void pack_block(struct packer *p, struct unit *u)
{
    const struct layer *l = u->layer;
    const bool ff = l->kind == LAYER_FF, s4d = !ff && l->mixer == MIXER_S4D;
    const int h = l->width, e = l->inner;
    u->norm = pack_vector(p, param_of(p, l, PARAM_NORM), h, u->width_in);
    for (int part = 0; part < PARTS; part++) {
        const int first = part_first(l, part), n = part_channels(l, part);
        const int padded = u->channels[part];
        const float *w = param_of(p, l, ff ? PARAM_WEIGHT : PARAM_IN_PROJ);
        const float *bias = param_of(p, l, PARAM_BIAS);
        if (s4d)
            continue;
        const struct piece pieces[] = {
            {w + (int64_t)first * h, h, 1, n, h, 0, 0},
            {w + (int64_t)(e + first) * h, h, 1, n, h, padded, 0},
        };
        pack_pieces(p, &u->in[part], p->precision, pieces, ff ? 1 : 2, ff ? padded : 2 * padded,
                    u->width_in);
        u->in_bias[part] = pack_vector(p, bias ? bias + first : NULL, n, padded);
        if (!ff)
            pack_conv(p, u, part);
    }
    for (int part = 0; part < PARTS && !ff && l->mixer == MIXER_SELECTIVE; part++) {
        const int n_out = layer_x_dbl_width(l), first = part_first(l, part),
                  n = part_channels(l, part);
        const struct piece piece = {param_of(p, l, PARAM_X_PROJ) + first, e, 1, n_out, n, 0, 0};
        pack_pieces(p, &u->x_proj[part], p->precision, &piece, 1, n_out, u->channels[part]);
    }
    for (int part = 0; part < PARTS && !ff; part++) {
        const int first = part_first(l, part), n = part_channels(l, part), r = l->dt_rank;
        if (l->mixer == MIXER_SELECTIVE) {
            const struct piece piece = {
                param_of(p, l, PARAM_DT_PROJ) + (int64_t)first * r, r, 1, n, r, 0, 0};
            pack_pieces(p, &u->dt[part], PRECISION_FP32, &piece, 1, u->channels[part], r);
        }
        pack_scan(p, u, part);
    }
    for (int part = 0; part < PARTS; part++) {
        const int first = part_first(l, part), n = part_channels(l, part);
        const float *w = param_of(p, l, PARAM_OUT) + first;
        const struct piece pieces[] = {
            {w, e, 1, h, n, 0, 0},
            {w + (int64_t)h * e, e, 1, h, n, u->width, 0},
        };
        pack_pieces(p, &u->out[part], p->precision, pieces, s4d ? 2 : 1,
                    s4d ? 2 * u->width : u->width, u->channels[part]);
    }
}

static void pack_out_bias(struct packer *p, struct unit *u)
{
    const struct layer *l = u->layer;
    const float *bias = param_of(p, l, PARAM_OUT_BIAS);
    const int halves = l->kind == LAYER_MIXER ? 2 : 1; /* s4d: before and after u->width */
    if (!bias)
        return;
    float *to = arena_alloc(p->arena, (size_t)(halves * u->width) * sizeof *to);
    u->out_bias = to;
    if (!to)
        return;
    memset(to, 0, (size_t)(halves * u->width) * sizeof *to);
    for (int half = 0; half < halves; half++)
        memcpy(to + half * u->width, bias + half * l->width, (size_t)l->width * sizeof *to);
}

/* Floats of the largest dense matrix, and of a bias beside it. */
static int64_t dense_size(const struct plan *plan)
{
    int64_t most = 0;
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        int64_t in = lanes_up(l->width_in), out = lanes_up(l->width);
        int64_t inner = lanes_up(l->inner) + V_LANES, pool = l->pool > 0 ? l->pool : 1;
        int64_t widest = 2 * inner + 2 * out + layer_x_dbl_width(l) + V_LANES;
        int64_t size = l->kind == LAYER_DOWN || l->kind == LAYER_UP    ? in * out * pool
                       : l->kind == LAYER_HEAD                         ? in * out
                       : l->kind == LAYER_MIXER || l->kind == LAYER_FF ? widest * (inner + in)
                                                                       : 0;
        size += pool * out;
        most = size > most ? size : most;
    }
    return most;
}

/* Fills u from its layer; what it points to is cut from the arena, which may be dry. */
static void unit_pack(struct packer *p, struct unit *u, const struct layer *l)
{
    *u = (struct unit){.layer = l, .width = lanes_up(l->width), .width_in = lanes_up(l->width_in)};
    if (l->kind == LAYER_MIXER || l->kind == LAYER_FF)
        for (int part = 0; part < PARTS; part++)
            u->channels[part] = lanes_up(part_channels(l, part));
    switch (l->kind) {
    case LAYER_EMBED:
    case LAYER_LABEL:
        pack_table(p, u);
        break;
    case LAYER_DOWN:
    case LAYER_UP:
        pack_pool(p, u, p->dense + (int64_t)u->width * u->width_in * l->pool);
        break;
    case LAYER_HEAD:
        pack_head(p, u);
        break;
    default:
        pack_block(p, u);
        pack_out_bias(p, u);
    }
}
