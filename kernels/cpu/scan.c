/*
 * The forward scan. A round is one stream's group of channels: it walks over time in chunks, all
 * tiles of the group in turn, so that rows of activations are read once and states stay in L1.
 */
#include "kernels/cpu/scan.h"

V_INLINE void scan_forward_tile(struct scan_kind k, const struct scan_args *a, float *h, int b,
                                int64_t t0, int n, int e)
{
    _Alignas(32) float u[CPU_SCAN_CHUNK * V_LANES];
    _Alignas(32) float dt[CPU_SCAN_CHUNK * V_LANES];
    _Alignas(32) float s[CPU_SCAN_CHUNK * V_LANES];
    const int lanes = tile_lanes(a->inner, e);
    const int64_t row = b * a->n_time + t0;
    const float *bc = NULL;
    tile_load(u, a->u + row * a->inner + e, a->inner, n, lanes);
    if (k.selective) {
        vf bias = vload_n(a->dt_bias + e, lanes);
        tile_load(dt, a->dt_raw + row * a->inner + e, a->inner, n, lanes);
        for (int t = 0; t < n; t++)
            vstore(dt + t * V_LANES, vsoftplus(vload(dt + t * V_LANES) + bias));
        bc = a->bc + row * a->ld_bc;
    }
    const float *coef =
        a->coef + (int64_t)e * scan_coef_rows(k.selective, k.is_complex, k.n_state);
    scan_march(k, false, s, h, NULL, u, dt, bc, a->ld_bc, coef, vload_n(a->d + e, lanes), n);
    if (a->z) {
        float *z = dt; /* dt is used up */
        tile_load(z, a->z + row * a->ld_z + e, a->ld_z, n, lanes);
        for (int t = 0; t < n; t++)
            vstore(s + t * V_LANES, vload(s + t * V_LANES) * vsilu(vload(z + t * V_LANES)));
    }
    tile_store(a->y + row * a->inner + e, a->inner, s, n, lanes);
}

V_INLINE void scan_forward_group(struct scan_kind k, const struct scan_args *a, int b, int e0)
{
    _Alignas(32) float h[SCAN_TILES * SCAN_ROWS_MAX * V_LANES];
    const int rows = scan_state_rows(k.is_complex, k.n_state);
    const int e1 = (int)min_of(a->inner, e0 + CPU_CHANNEL_GROUP);
    float *state = a->state + b * a->ld_state;
    for (int e = e0; e < e1; e += V_LANES)
        tile_gather(h + (e - e0) * rows, state + (int64_t)e * rows, rows, tile_lanes(e1, e));
    for (int64_t t0 = 0; t0 < a->n_time; t0 += CPU_SCAN_CHUNK) {
        int n = (int)min_of(a->n_time - t0, CPU_SCAN_CHUNK);
        for (int e = e0; e < e1; e += V_LANES) {
            float *tile = h + (e - e0) * rows;
            int lanes = tile_lanes(e1, e);
            if (a->entering)
                tile_store(a->entering + scan_entering_at(a, b, t0 / CPU_SCAN_CHUNK, e), lanes,
                           tile, rows, lanes);
            scan_forward_tile(k, a, tile, b, t0, n, e);
        }
    }
    for (int e = e0; e < e1; e += V_LANES)
        tile_scatter(state + (int64_t)e * rows, h + (e - e0) * rows, rows, tile_lanes(e1, e));
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
