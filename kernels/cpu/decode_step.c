/* The steps of the decode engine: what one tick of one layer does to the rows of a walker. */
#include "kernels/cpu/decode.h"

/* --- between two threads --------------------------------------------------------------------- */

/* Waits until *x >= value; a busy machine gets the processor. */
static void spin_until(_Atomic int64_t *x, int64_t value)
{
    for (int spins = 0; atomic_load_explicit(x, memory_order_acquire) < value;)
        spin_pause(&spins);
}

/* Lines that carry n floats: one at least, as each also says that the thread has come so far. */
static int lines_of(int n)
{
    return n <= LINE_FLOATS ? 1 : (n + LINE_FLOATS - 1) / LINE_FLOATS;
}

static size_t line_bytes(int n, int line)
{
    return (size_t)min_of(n - line * LINE_FLOATS, LINE_FLOATS) * sizeof(float);
}

/* Gives the other thread n_mine floats a row (rows, ld) and takes n_theirs into theirs (rows, ld).
   A line is written again two exchanges later, when the other must have read it, as it could not
   have answered the one between otherwise. */
static void exchange(struct hand *hand, const float *mine, float *theirs, int64_t ld, int rows,
                     int n_mine, int n_theirs)
{
    const uint32_t number = ++hand->n_exchanges;
    struct exchange_line *to = hand->mine[number & 1], *from = hand->theirs[number & 1];
    for (int r = 0; r < rows; r++, mine += ld)
        for (int i = 0; i < lines_of(n_mine); i++, to++) {
            memcpy(to->x, mine + i * LINE_FLOATS, line_bytes(n_mine, i));
            atomic_store_explicit(&to->number, number, memory_order_release);
        }
    for (int r = 0; r < rows; r++, theirs += ld)
        for (int i = 0; i < lines_of(n_theirs); i++, from++) {
            for (int spins = 0;
                 atomic_load_explicit(&from->number, memory_order_acquire) != number;)
                spin_pause(&spins);
            memcpy(theirs + i * LINE_FLOATS, from->x, line_bytes(n_theirs, i));
        }
}

/* False in lockstep: the other thread runs the other part. */
static bool runs_all_parts(const struct walker *w)
{
    return w->part_end - w->part_begin == PARTS;
}

/* --- products -------------------------------------------------------------------------------- */

/* y = x to half precision; what is too large becomes the largest number. n is in lanes. */
static void round_row(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        const float most = (float)HALF_MAX;
        const uint16_t half = half_of(fminf(fmaxf(x[i], -most), most));
        memcpy((char *)y + (size_t)i * sizeof half, &half, sizeof half);
    }
    for (int i = n - V_LANES; i >= 0; i -= V_LANES) /* in place, from the last */
        vstore(y + i, vload_half((char *)y + (size_t)i * sizeof(uint16_t)));
}

/* Makes x (rows, n_in), ld ready for matrices m[0..n): slot says where its int8 form goes. */
static struct operand operand_of(struct hand *hand, int slot, const struct matrix *m, int n,
                                 const float *x, int64_t ld)
{
    struct operand op = {.x = x, .ld = ld};
    if (hand->rounded[slot]) {
        op.x = hand->rounded[slot];
        op.ld = hand->ld_q;
        for (int r = 0; r < hand->walker->n_rows; r++)
            round_row(hand->rounded[slot] + r * hand->ld_q, x + r * ld, m->n_in);
        x = op.x;
        ld = op.ld;
    }
    bool quantised = m[0].precision == PRECISION_INT8 || m[n - 1].precision == PRECISION_INT8;
    if (!quantised)
        return op;
    op.q = hand->q[slot];
    op.ld_q = hand->ld_q;
    op.scale = hand->q_scale[slot];
    for (int r = 0; r < hand->walker->n_rows; r++)
        hand->q_scale[slot][r] = quantise_row(hand->q[slot] + r * hand->ld_q, x + r * ld, m->n_in);
    return op;
}

/* y (rows, n_out) = W x for a matrix whose inputs x[part] (rows, ld_x[part]) are in parts. */
static void parts_apply(struct hand *hand, const struct matrix *m, float *y, int64_t ld_y,
                        float *const *x, const int64_t *ld_x)
{
    const int rows = hand->walker->n_rows;
    struct operand op[PARTS];
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++)
        op[p] = operand_of(hand, p, &m[p], 1, x[p], ld_x[p]);
    if (runs_all_parts(hand->walker)) {
        matrix_apply_pair(m, y, ld_y, op, rows, hand->more);
        return;
    }
    const int p = hand->walker->part_begin;
    matrix_apply(&m[p], y, ld_y, &op[p], rows);
    exchange(hand, y, hand->more, ld_y, rows, m->n_out, m->n_out);
    rows_add(y, hand->more, ld_y, rows, m->n_out); /* a + b and b + a are the same bits */
}

/* y (rows, n_out) = W x + bias for a matrix whose outputs are in two halves. */
static void halves_apply(struct hand *hand, const struct unit *u, float *y, int64_t ld_y,
                         const float *x, int64_t ld_x)
{
    const int rows = hand->walker->n_rows, n = u->in[0].n_out;
    struct operand op = operand_of(hand, 0, u->in, PARTS, x, ld_x);
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++) {
        matrix_apply(&u->in[p], y + p * n, ld_y, &op, rows);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < u->in[p].n_out; i += V_LANES) {
                float *at = y + r * ld_y + p * n + i;
                vstore(at, vload(at) + vload(u->in_bias[p] + i));
            }
    }
    if (!runs_all_parts(hand->walker)) {
        const int p = hand->walker->part_begin, other = 1 - p;
        exchange(hand, y + p * n, y + other * n, ld_y, rows, u->in[p].n_out, u->in[other].n_out);
    }
}

/* --- what layers share ----------------------------------------------------------------------- */

/* hand->normed = x r w, as op_rmsnorm. */
static void rows_norm(struct hand *hand, const struct unit *u, const float *x)
{
    const float eps = hand->walker->decoder->plan->norm_eps;
    const int width = u->width_in;
    for (int row = 0; row < hand->walker->n_rows; row++, x += width) {
        float *y = hand->normed + (int64_t)row * width;
        vf s = {0};
        for (int j = 0; j < width; j += V_LANES)
            s += vload(x + j) * vload(x + j);
        float r = 1.0f / sqrtf(vsum(s) / (float)u->layer->width_in + eps);
        for (int j = 0; j < width; j += V_LANES)
            vstore(y + j, vload(x + j) * r * vload(u->norm + j));
    }
}

/* value = (hand->sum + value read) + skip: the end of every block. */
static void rows_residual(struct hand *hand, const struct unit *u, const struct cell *cell,
                          int64_t ld_sum)
{
    const struct cell *cells = hand->walker->cells;
    const float *in = cells[u->layer->in].value;
    const float *skip = u->layer->skip < 0 ? NULL : cells[u->layer->skip].value;
    const int64_t width = u->width;
    for (int row = 0; row < hand->walker->n_rows; row++)
        for (int j = 0; j < u->width; j += V_LANES) {
            const int64_t at = row * width + j;
            vf v = vload(hand->sum + row * ld_sum + j) + vload(in + at);
            vstore(cell->value + at, skip ? v + vload(skip + at) : v);
        }
}

static void step_embed(struct hand *hand, const struct unit *u, const struct cell *cell)
{
    const struct walker *w = hand->walker;
    for (int r = 0; r < w->n_rows; r++)
        memcpy(cell->value + (int64_t)r * u->width, u->table + (int64_t)w->inputs[r] * u->width,
               (size_t)u->width * sizeof(float));
}

static void step_label(struct hand *hand, const struct unit *u, const struct cell *cell,
                       int64_t tick)
{
    const struct walker *w = hand->walker;
    const int32_t *labels = w->tier[u->layer->tier].labels + tick % FRAMES_AHEAD * w->n_rows;
    for (int r = 0; r < w->n_rows; r++) {
        const float *x = w->cells[u->layer->in].value + (int64_t)r * u->width;
        const float *row = labels[r] < 0 ? NULL : u->table + (int64_t)labels[r] * u->width;
        for (int j = 0; j < u->width; j += V_LANES)
            vstore(cell->value + (int64_t)r * u->width + j,
                   row ? vload(x + j) + vload(row + j) : vload(x + j));
    }
}

/* --- the mixer ------------------------------------------------------------------------------- */

/* u = silu(conv(x)) in place of x, the first half of wide[part]; the ring takes x. */
V_INLINE void conv_part(const int n_taps, struct hand *hand, const struct unit *u,
                        const struct cell *cell, int part, int64_t tick)
{
    const int n = u->channels[part];
    const float *taps = u->conv[part], *bias = u->conv_bias[part];
    for (int row = 0; row < hand->walker->n_rows; row++) {
        float *x = hand->wide[part] + (int64_t)row * 2 * n;
        float *ring = cell->ring[part] + (int64_t)row * (n_taps - 1) * n;
        float *slot[TAPS_MAX]; /* oldest first */
#pragma GCC unroll 4
        for (int k = 0; k < n_taps - 1; k++)
            slot[k] = ring + (tick + k) % (n_taps - 1) * n;
        for (int e = 0; e < n; e += V_LANES) {
            vf now = vload(x + e), c = vload(bias + e);
#pragma GCC unroll 4
            for (int k = 0; k < n_taps - 1; k++)
                c += vload(taps + k * n + e) * vload(slot[k] + e);
            c += vload(taps + (n_taps - 1) * n + e) * now;
            vstore(slot[0] + e, now);
            vstore(x + e, vsilu(c));
        }
    }
}

/* dt = softplus(W_dt x_dbl + bias) of a part's channels. */
static void dt_part(struct hand *hand, const struct unit *u, int part, int64_t ld_x_dbl)
{
    const int n = u->channels[part], rows = hand->walker->n_rows;
    struct operand op = {.x = hand->x_dbl, .ld = ld_x_dbl};
    matrix_apply(&u->dt[part], hand->dt, n, &op, rows);
    for (int r = 0; r < rows; r++)
        for (int e = 0; e < n; e += V_LANES) {
            float *at = hand->dt + (int64_t)r * n + e;
            vstore(at, vsoftplus(vload(at) + vload(u->dt_bias[part] + e)));
        }
}

/* What the scan of a part reads a row. */
struct scan_rows {
    const float *u;  /* (rows, channels), ld_u */
    const float *z;  /* as u; NULL: no gate */
    const float *bc; /* selective: (rows, 2N or 4N), ld_bc */
    int64_t ld_u, ld_bc;
};

/* h and y of a part's channels: as scan_march for one tick, then the gate. k is a constant. */
V_INLINE void scan_part_kind(const struct scan_kind k, struct hand *hand, const struct unit *u,
                             const struct cell *cell, int part, const struct scan_rows *s)
{
    const int n = u->channels[part], rows = scan_state_rows(k.is_complex, k.n_state);
    const int coef_rows = scan_coef_rows(k.selective, k.is_complex, k.n_state);
    for (int r = 0; r < hand->walker->n_rows; r++) {
        const float *bc = k.selective ? s->bc + r * s->ld_bc : NULL;
        float *y = hand->y[part] + (int64_t)r * n, *h = cell->h[part] + (int64_t)r * n * rows;
        for (int e = 0; e < n; e += V_LANES, h += rows * V_LANES) {
            scan_march(k, false, y + e, h, NULL, s->u + r * s->ld_u + e,
                       hand->dt + (int64_t)r * n + e, bc, 0, u->coef[part] + (int64_t)e * coef_rows,
                       vload(u->d[part] + e), (struct ahead){NULL, 0}, 1);
            if (s->z)
                vstore(y + e, vload(y + e) * vsilu(vload(s->z + r * s->ld_u + e)));
        }
    }
}

static void scan_part(struct hand *hand, const struct unit *u, const struct cell *cell, int part,
                      const struct scan_rows *s)
{
    const struct layer *l = u->layer;
    const int n = l->n_state;
    if (l->mixer == MIXER_SELECTIVE) {
        if (l->complex_state)
            scan_part_kind((struct scan_kind){true, true, n}, hand, u, cell, part, s);
        else if (n == 16)
            scan_part_kind((struct scan_kind){true, false, 16}, hand, u, cell, part, s);
        else
            scan_part_kind((struct scan_kind){true, false, n}, hand, u, cell, part, s);
    } else {
        if (l->complex_state)
            scan_part_kind((struct scan_kind){false, true, n}, hand, u, cell, part, s);
        else
            scan_part_kind((struct scan_kind){false, false, n}, hand, u, cell, part, s);
    }
}

static void step_mixer(struct hand *hand, const struct unit *u, const struct cell *cell,
                       int64_t tick)
{
    const struct layer *l = u->layer;
    const int rows = hand->walker->n_rows;
    const int64_t ld_x_dbl = lanes_up(layer_x_dbl_width(l));
    const int64_t ld_wide[PARTS] = {2 * u->channels[0], 2 * u->channels[1]};
    const int64_t ld_y[PARTS] = {u->channels[0], u->channels[1]};
    rows_norm(hand, u, hand->walker->cells[l->in].value);
    struct operand normed = operand_of(hand, 0, u->in, PARTS, hand->normed, u->width_in);
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++) {
        matrix_apply(&u->in[p], hand->wide[p], ld_wide[p], &normed, rows);
        if (l->n_taps == 4)
            conv_part(4, hand, u, cell, p, tick);
        else
            conv_part(l->n_taps, hand, u, cell, p, tick);
    }
    if (l->mixer == MIXER_SELECTIVE)
        parts_apply(hand, u->x_proj, hand->x_dbl, ld_x_dbl, hand->wide, ld_wide);
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++) {
        if (l->mixer == MIXER_SELECTIVE)
            dt_part(hand, u, p, ld_x_dbl);
        scan_part(hand, u, cell, p,
                  &(struct scan_rows){.u = hand->wide[p],
                                      .z = hand->wide[p] + u->channels[p],
                                      .bc = hand->x_dbl + l->dt_rank,
                                      .ld_u = ld_wide[p],
                                      .ld_bc = ld_x_dbl});
    }
    parts_apply(hand, u->out, hand->sum, u->width, hand->y, ld_y);
    rows_residual(hand, u, cell, u->width);
}

/* --- the other blocks ------------------------------------------------------------------------ */

static void step_s4d(struct hand *hand, const struct unit *u, const struct cell *cell)
{
    const int rows = hand->walker->n_rows;
    const int64_t ld_y[PARTS] = {u->channels[0], u->channels[1]}, ld = 2 * u->width;
    rows_norm(hand, u, hand->walker->cells[u->layer->in].value);
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++) {
        scan_part(
            hand, u, cell, p,
            &(struct scan_rows){.u = hand->normed + part_first(u->layer, p), .ld_u = u->width_in});
        for (int64_t i = 0; i < (int64_t)rows * u->channels[p]; i += V_LANES)
            vstore(hand->y[p] + i, vgelu(vload(hand->y[p] + i)));
    }
    parts_apply(hand, u->out, hand->sum, ld, hand->y, ld_y);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < u->width; j += V_LANES) {
            float *a = hand->sum + r * ld + j, *gate = a + u->width;
            vf g = vload(gate) + vload(u->out_bias + u->width + j);
            vstore(a, (vload(a) + vload(u->out_bias + j)) * vsigmoid(g));
        }
    rows_residual(hand, u, cell, ld);
}

static void step_ff(struct hand *hand, const struct unit *u, const struct cell *cell)
{
    const int rows = hand->walker->n_rows;
    const int64_t ld[PARTS] = {u->channels[0], u->channels[1]};
    rows_norm(hand, u, hand->walker->cells[u->layer->in].value);
    struct operand normed = operand_of(hand, 0, u->in, PARTS, hand->normed, u->width_in);
    for (int p = hand->walker->part_begin; p < hand->walker->part_end; p++) {
        matrix_apply(&u->in[p], hand->y[p], ld[p], &normed, rows);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < u->channels[p]; i += V_LANES) {
                float *at = hand->y[p] + r * ld[p] + i;
                vstore(at, vgelu(vload(at) + vload(u->in_bias[p] + i)));
            }
    }
    parts_apply(hand, u->out, hand->sum, u->width, hand->y, ld);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < u->width; j += V_LANES) {
            float *at = hand->sum + (int64_t)r * u->width + j;
            vstore(at, vload(at) + vload(u->out_bias + j));
        }
    rows_residual(hand, u, cell, u->width);
}

/* --- pools and the head ---------------------------------------------------------------------- */

/* Tick `tick` of the finer tier goes into its frame. */
static void step_gather(struct hand *hand, const struct unit *u, const struct cell *cell,
                        int64_t tick)
{
    const int pool = u->layer->pool, width = u->width_in;
    const int64_t slot = tick / pool % cell->n_frames * pool + tick % pool;
    const float *x = hand->walker->cells[u->layer->in].value;
    for (int r = 0; r < hand->walker->n_rows; r++)
        memcpy(cell->frames + ((int64_t)r * cell->n_frames * pool + slot) * width,
               x + (int64_t)r * width, (size_t)width * sizeof *x);
}

/* Frame `tick` becomes a tick of the coarser tier. */
static void step_down(struct hand *hand, const struct unit *u, const struct cell *cell,
                      int64_t tick)
{
    const int64_t frame = (int64_t)u->layer->pool * u->width_in;
    halves_apply(hand, u, cell->value, u->width, cell->frames + tick % cell->n_frames * frame,
                 cell->n_frames * frame);
}

/* Tick `tick` of the coarser tier becomes frame `tick`. */
static void step_up(struct hand *hand, const struct unit *u, const struct cell *cell, int64_t tick)
{
    const int64_t frame = (int64_t)u->layer->pool * u->width;
    halves_apply(hand, u, cell->frames + tick % cell->n_frames * frame, cell->n_frames * frame,
                 hand->walker->cells[u->layer->in].value, u->width_in);
}

/* Tick `tick` of the finer tier: of the frame up_shift frames back. */
static void step_emit(struct hand *hand, const struct unit *u, const struct cell *cell,
                      int64_t tick)
{
    const int pool = u->layer->pool, width = u->width;
    /* frames before the first lie in slots that are still 0 */
    const int64_t frame = tick / pool + cell->n_frames - u->layer->up_shift;
    const int64_t slot = frame % cell->n_frames * pool + tick % pool;
    const float *skip = u->layer->skip < 0 ? NULL : hand->walker->cells[u->layer->skip].value;
    for (int r = 0; r < hand->walker->n_rows; r++) {
        const float *x = cell->frames + ((int64_t)r * cell->n_frames * pool + slot) * width;
        for (int j = 0; j < width; j += V_LANES) {
            const int64_t at = (int64_t)r * width + j;
            vstore(cell->value + at, skip ? vload(x + j) + vload(skip + at) : vload(x + j));
        }
    }
}

static void step_head(struct hand *hand, const struct unit *u, const struct cell *cell)
{
    rows_norm(hand, u, hand->walker->cells[u->layer->in].value);
    halves_apply(hand, u, cell->value, u->width, hand->normed, u->width_in);
}

static void step_run(struct hand *hand, const struct step *step, int64_t tick)
{
    const struct unit *u = &hand->walker->decoder->units[step->unit];
    const struct cell *cell = &hand->walker->cells[step->unit];
    switch (step->kind) {
    case STEP_EMBED:
        step_embed(hand, u, cell);
        break;
    case STEP_LABEL:
        step_label(hand, u, cell, tick);
        break;
    case STEP_MIXER:
        step_mixer(hand, u, cell, tick);
        break;
    case STEP_S4D:
        step_s4d(hand, u, cell);
        break;
    case STEP_FF:
        step_ff(hand, u, cell);
        break;
    case STEP_GATHER:
        step_gather(hand, u, cell, tick);
        break;
    case STEP_DOWN:
        step_down(hand, u, cell, tick);
        break;
    case STEP_EMIT:
        step_emit(hand, u, cell, tick);
        break;
    case STEP_UP:
        step_up(hand, u, cell, tick);
        break;
    case STEP_HEAD:
        step_head(hand, u, cell);
        break;
    }
}
