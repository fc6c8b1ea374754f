/*
 * The forward scan. A round is one stream's group of channels: it walks over time in chunks, all
 * tiles of the group in turn, so that rows of activations are read once and states stay in L1.
 */
#include "kernels/cpu/scan_static.h"

/* States before a chunk: tile after tile without idle lanes. */
static void scan_keep_entering(float *entering, const float *h, int rows, int width)
{
    for (int e = 0; e < width; e += V_LANES)
        tiles_store(entering + e * rows, tile_lanes(width, e), h + e * rows, 0, rows,
                    tile_lanes(width, e));
}

/* n ticks from t0 on of the `width` channels from e0 on; h: the tiles' states. */
V_INLINE void scan_forward_chunk(struct scan_kind k, const struct scan_args *a, float *h, int b,
                                 int64_t t0, int n, int e0, int width)
{
    struct scan_tiles u, dt, s, z;
    const int rows = scan_state_rows(k.is_complex, k.n_state);
    const int64_t row = b * a->n_time + t0, at = row * a->inner + e0;
    const float *bc = k.selective ? a->bc + row * a->ld_bc : NULL;
    scan_load(&u, a->u + at, a->inner, n, width);
    if (k.selective)
        scan_load(&dt, a->dt_raw + at, a->inner, n, width);
    if (a->z)
        scan_load(&z, a->z + row * a->ld_z + e0, a->ld_z, n, width);
    const bool more = t0 + n < a->n_time;
    const int64_t next = row + n, at_next = next * a->inner + e0;
    const struct ahead ahead[SCAN_TILES] = {
        /* a tensor a tile, a row a tick */
        ahead_of(more, a->u, at_next, a->inner),
        ahead_of(more, a->dt_raw, at_next, a->inner),
        ahead_of(more, a->z, next * a->ld_z + e0, a->ld_z),
        ahead_of(more, a->y, at_next, a->inner),
    };
    for (int e = 0, tile = 0; e < width; e += V_LANES, tile += SCAN_TILE) {
        const int lanes = tile_lanes(width, e);
        if (k.selective) {
            vf bias = vload_n(a->dt_bias + e0 + e, lanes);
            for (int i = tile; i < tile + n * V_LANES; i += V_LANES)
                vstore(dt.x + i, vsoftplus(vload(dt.x + i) + bias));
        }
        const float *coef =
            a->coef + (int64_t)(e0 + e) * scan_coef_rows(k.selective, k.is_complex, k.n_state);
        const vf d = vload_n(a->d + e0 + e, lanes);
        if (k.selective)
            scan_march(k, false, s.x + tile, h + e * rows, NULL, u.x + tile, dt.x + tile, bc,
                       a->ld_bc, coef, d, ahead[e / V_LANES], n);
        else
            static_march(k, false, s.x + tile, h + e * rows, u.x + tile, coef, d,
                         ahead[e / V_LANES], n);
        if (a->z)
            for (int i = tile; i < tile + n * V_LANES; i += V_LANES)
                vstore(s.x + i, vload(s.x + i) * vsilu(vload(z.x + i)));
    }
    scan_store(a->y + at, a->inner, &s, n, width);
}

V_INLINE void scan_forward_group(struct scan_kind k, const struct scan_args *a, int b, int e0)
{
    _Alignas(32) float h[SCAN_TILES * SCAN_ROWS_MAX * V_LANES];
    const int rows = scan_state_rows(k.is_complex, k.n_state);
    const int width = (int)min_of(a->inner - e0, CPU_CHANNEL_GROUP);
    float *state = a->state + b * a->ld_state + (int64_t)e0 * rows;
    for (int e = 0; e < width; e += V_LANES)
        tile_gather(h + e * rows, state + e * rows, rows, tile_lanes(width, e));
    for (int64_t t0 = 0; t0 < a->n_time; t0 += CPU_SCAN_CHUNK) {
        if (a->entering)
            scan_keep_entering(a->entering + scan_entering_at(a, b, t0, e0), h, rows, width);
        scan_forward_chunk(k, a, h, b, t0, (int)min_of(a->n_time - t0, CPU_SCAN_CHUNK), e0, width);
    }
    for (int e = 0; e < width; e += V_LANES)
        tile_scatter(state + e * rows, h + e * rows, rows, tile_lanes(width, e));
}

static void scan_round(void *arg, int64_t i, int thread)
{
    (void)thread;
    const struct scan_args *a = arg;
    const int64_t n_groups = blocks_of(a->inner, CPU_CHANNEL_GROUP);
    const int b = (int)(i / n_groups), e0 = (int)(i % n_groups) * CPU_CHANNEL_GROUP;
    const int n = a->n_state;
    if (a->mixer == MIXER_SELECTIVE) {
        if (a->complex_state)
            scan_forward_group((struct scan_kind){true, true, n}, a, b, e0);
        else if (n == 16)
            scan_forward_group((struct scan_kind){true, false, 16}, a, b, e0);
        else
            scan_forward_group((struct scan_kind){true, false, n}, a, b, e0);
    } else {
        if (a->complex_state)
            scan_forward_group((struct scan_kind){false, true, n}, a, b, e0);
        else
            scan_forward_group((struct scan_kind){false, false, n}, a, b, e0);
    }
}

static void op_scan(struct backend *be, const struct scan_args *a)
{
    const int64_t rounds = a->n_batch * blocks_of(a->inner, CPU_CHANNEL_GROUP);
    const int64_t rows = scan_state_rows(a->complex_state, a->n_state);
    assert(rows <= SCAN_ROWS_MAX);
    if (a->n_time == 0)
        return;
    run_rounds(be, scan_round, (void *)a, rounds, a->n_batch * a->n_time * a->inner * rows);
}
