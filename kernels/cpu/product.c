/*
 * The matrix product behind op_linear and its backward: C = A B with B in packed panels.
 *
 * The shapes are thin: 32 to 512 columns and many rows, so one panel of B (PANEL columns) stays in
 * the first cache while the rows go by, and a tile of C stays in registers. An entry of C is one
 * sum over k in order, whatever rows are beside it.
 */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/vec.h"

enum {
    PANEL = 2 * V_LANES, /* columns of a panel */
#if defined(__AVX2__)
    TILE_ROWS = 6, /* 12 sums in 16 registers */
#else
    TILE_ROWS = 2,
#endif
};

static int64_t panels_size(int64_t n_k, int64_t n_columns)
{
    return blocks_of(n_columns, PANEL) * PANEL * n_k;
}

/* B (n_k, n_columns), element (k, j) at b[k * ld_k + j * ld_column] -> panels (n_columns/PANEL,
   n_k, PANEL), missing columns 0. */
static void pack_panels(float *panels, const float *b, int64_t ld_k, int64_t ld_column, int64_t n_k,
                        int64_t n_columns)
{
    for (int64_t j = 0; j < n_columns; j += PANEL) {
        int64_t n = min_of(PANEL, n_columns - j);
        float *panel = panels + j * n_k;
        for (int64_t k = 0; k < n_k; k++, panel += PANEL) {
            const float *from = b + k * ld_k + j * ld_column;
            if (ld_column == 1 && n == PANEL) {
                vstore(panel, vload(from));
                vstore(panel + V_LANES, vload(from + V_LANES));
                continue;
            }
            for (int64_t i = 0; i < PANEL; i++)
                panel[i] = i < n ? from[i * ld_column] : 0;
        }
    }
}

/* Where the rows of A lie: element (r, k) at a[r * ld_row + k * ld_k]. */
struct product_rows {
    const float *a;
    int64_t ld_row, ld_k;
};

/* One tile: n_rows (known when compiled) rows of A, all of k, one panel. The sums are the
   function's own and every loop over them is unrolled, or they would not stay in registers. */
V_INLINE void product_tile(vf c[][2], const int n_rows, const float *a, int64_t ld_row,
                           int64_t ld_k, const float *panel, int64_t n_k)
{
    vf sums[TILE_ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++)
        sums[r][0] = sums[r][1] = (vf){0};
    for (int64_t k = 0; k < n_k; k++, a += ld_k, panel += PANEL) {
        vf b0 = vload(panel), b1 = vload(panel + V_LANES);
#pragma GCC unroll 6
        for (int r = 0; r < n_rows; r++) {
            vf ak = vset(a[r * ld_row]);
            sums[r][0] += ak * b0;
            sums[r][1] += ak * b1;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < n_rows; r++) {
        c[r][0] = sums[r][0];
        c[r][1] = sums[r][1];
    }
}

static void product_rows_tile(vf c[TILE_ROWS][2], int n_rows, const struct product_rows *a,
                              int64_t row, const float *panel, int64_t n_k)
{
    const float *first = a->a + row * a->ld_row;
    if (n_rows == TILE_ROWS) {
        if (a->ld_k == 1)
            product_tile(c, TILE_ROWS, first, a->ld_row, 1, panel, n_k);
        else
            product_tile(c, TILE_ROWS, first, 1, TILE_ROWS, panel, n_k);
        return;
    }
    for (int r = 0; r < n_rows; r++)
        product_tile(c + r, 1, first + r * a->ld_row, a->ld_row, a->ld_k, panel, n_k);
}

/* A tile's row into C: n columns, added to what is there or not. */
V_INLINE void product_store(float *to, const vf c[2], int n, bool add)
{
    for (int half = 0; half < 2; half++) {
        int m = (int)min_of(V_LANES, n - half * V_LANES);
        float *p = to + half * V_LANES;
        if (m == V_LANES)
            vstore(p, add ? vload(p) + c[half] : c[half]);
        else if (m > 0)
            vstore_n(p, add ? vload_n(p, m) + c[half] : c[half], m);
    }
}

/* C (n_rows, n_columns), ld_c, = or += A B. */
static void product(float *c, int64_t ld_c, bool add, const struct product_rows *a,
                    const float *panels, int64_t n_rows, int64_t n_k, int64_t n_columns)
{
    for (int64_t j = 0; j < n_columns; j += PANEL) {
        int n = (int)min_of(PANEL, n_columns - j);
        for (int64_t row = 0; row < n_rows; row += TILE_ROWS) {
            vf tile[TILE_ROWS][2];
            int rows = (int)min_of(TILE_ROWS, n_rows - row);
            product_rows_tile(tile, rows, a, row, panels + j * n_k, n_k);
            for (int r = 0; r < rows; r++)
                product_store(c + (row + r) * ld_c + j, tile[r], n, add);
        }
    }
}

/* dw (n_out, n_in) = or += dy^T x over n rows. The rows of A are the columns of dy,
   laid so that a tile reads them side by side. packed: product_transposed_size floats. */
static void product_transposed(float *dw, bool add, const float *dy, int64_t ld_dy, const float *x,
                               int64_t ld_x, int64_t n, int64_t n_out, int64_t n_in, float *packed)
{
    float *left = packed, *panels = packed + blocks_of(n_out, TILE_ROWS) * TILE_ROWS * n;
    for (int64_t i = 0; i < n_out; i += TILE_ROWS) {
        int64_t width = min_of(TILE_ROWS, n_out - i);
        for (int64_t k = 0; k < n; k++)
            for (int64_t r = 0; r < TILE_ROWS; r++)
                left[i * n + k * TILE_ROWS + r] = r < width ? dy[k * ld_dy + i + r] : 0;
    }
    pack_panels(panels, x, ld_x, 1, n, n_in);
    for (int64_t i = 0; i < n_out; i += TILE_ROWS) {
        struct product_rows a = {left + i * n, 1, TILE_ROWS};
        product(dw + i * n_in, n_in, add, &a, panels, min_of(TILE_ROWS, n_out - i), n, n_in);
    }
}

static int64_t product_transposed_size(int64_t n, int64_t n_out, int64_t n_in)
{
    return blocks_of(n_out, TILE_ROWS) * TILE_ROWS * n + panels_size(n, n_in);
}
