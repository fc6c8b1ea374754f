/*
 * The matrix product behind op_linear and its backward: C = A B with B in packed panels.
 *
 * The shapes are thin: 32 to 512 columns and many rows, so one panel of B (PANEL columns) stays in
 * the first cache while the rows go by, and a tile of C stays in registers. An entry of C is one
 * sum over k in order, whatever rows are beside it.
 */
#include "kernels/cpu/rounds.h"
#include "kernels/cpu/tile.h"

enum {
    PANEL = 2 * V_LANES, /* columns of a panel */
#if defined(__AVX512VL__)
    TILE_ROWS = 8, /* 16 sums in 32 registers; as are most widths, a multiple of 8 */
#elif defined(__AVX2__)
    TILE_ROWS = 6, /* 12 sums in 16 registers */
#else
    TILE_ROWS = 2,
#endif
};

static int64_t panels_size(int64_t n_k, int64_t n_columns)
{
    return blocks_of(n_columns, PANEL) * PANEL * n_k;
}

/* The rows from k on of one panel of n columns; missing columns are 0. */
static void pack_rest(float *panel, const float *b, int64_t ld_k, int64_t ld_column, int64_t k,
                      int64_t n_k, int64_t n)
{
    for (; k < n_k; k++)
        for (int64_t i = 0; i < PANEL; i++)
            panel[k * PANEL + i] = i < n ? b[k * ld_k + i * ld_column] : 0;
}

/* B (n_k, n_columns), element (k, j) at b[k * ld_k + j * ld_column] -> panels (n_columns/PANEL,
   n_k, PANEL). Rows that lie together are read in order: column by column each would be a cache
   miss. */
static void pack_panels(float *panels, const float *b, int64_t ld_k, int64_t ld_column, int64_t n_k,
                        int64_t n_columns)
{
    const int64_t whole = n_columns / PANEL * PANEL, done = ld_k == 1 ? n_k / V_LANES * V_LANES : 0;
    if (ld_column == 1) {
        for (int64_t k = 0; k < n_k; k++)
            for (int64_t j = 0; j < whole; j += V_LANES)
                vstore(panels + j / PANEL * PANEL * n_k + k * PANEL + j % PANEL,
                       vload(b + k * ld_k + j));
    } else {
        for (int64_t j = 0; j < whole; j += V_LANES) {
            float *panel = panels + j / PANEL * PANEL * n_k + j % PANEL;
            for (int64_t k = 0; k < done; k += V_LANES)
                tile_transpose(panel + k * PANEL, PANEL, b + j * ld_column + k, ld_column);
        }
        for (int64_t j = 0; j < whole; j += PANEL)
            pack_rest(panels + j * n_k, b + j * ld_column, ld_k, ld_column, done, n_k, PANEL);
    }
    if (whole < n_columns)
        pack_rest(panels + whole * n_k, b + whole * ld_column, ld_k, ld_column, 0, n_k,
                  n_columns - whole);
}

/* Where the rows of A lie: element (r, k) at a[r * ld_row + k * ld_k]. */
struct product_rows {
    const float *a;
    int64_t ld_row, ld_k;
};

/* A tile's row into C: n columns, added to what is there or not. */
V_INLINE void product_store(float *to, const vf *sums, int n, bool add)
{
    for (int half = 0; half < 2; half++) {
        int m = (int)min_of(V_LANES, n - half * V_LANES);
        float *p = to + half * V_LANES;
        if (m == V_LANES)
            vstore(p, add ? vload(p) + sums[half] : sums[half]);
        else if (m > 0)
            vstore_n(p, add ? vload_n(p, m) + sums[half] : sums[half], m);
    }
}

/* One tile: n_rows of A, all of k, `halves` of a panel, of which n columns are stored. With `ahead`
   it asks for the rows below, which the next tile will read. n_rows, halves and ahead are known
   when compiled, the sums are the function's own and every loop over them is unrolled, or they
   would not stay in registers. */
V_INLINE void product_tile(float *c, int64_t ld_c, bool add, const int n_rows, const int halves,
                           const bool ahead, int n, const float *a, int64_t ld_row, int64_t ld_k,
                           const float *panel, int64_t n_k)
{
    const float *next = a + n_rows * ld_row;
    vf sums[TILE_ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        sums[r][0] = sums[r][1] = (vf){0};
    for (int64_t k = 0; k < n_k; k++, a += ld_k, panel += PANEL) {
        vf b0 = vload(panel), b1 = vload(panel + V_LANES);
        if (ahead)
            __builtin_prefetch(next + k * n_rows);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            vf ak = vset(a[r * ld_row]);
            sums[r][0] += ak * b0;
            if (halves == 2)
                sums[r][1] += ak * b1;
        }
    }
    if (n == PANEL) {
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++)
            product_store(c + r * ld_c, sums[r], PANEL, add);
        return;
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
        product_store(c + r * ld_c, sums[r], n, add);
}

V_INLINE void product_halves(float *c, int64_t ld_c, bool add, const int n_rows, const bool ahead,
                             int n, const float *a, int64_t ld_row, int64_t ld_k,
                             const float *panel, int64_t n_k)
{
    if (n > V_LANES)
        product_tile(c, ld_c, add, n_rows, 2, ahead, n, a, ld_row, ld_k, panel, n_k);
    else
        product_tile(c, ld_c, add, n_rows, 1, ahead, n, a, ld_row, ld_k, panel, n_k);
}

/* The next rows of a panel's product, n columns wide; returns how many. */
static int product_step(float *c, int64_t ld_c, bool add, bool ahead, int n,
                        const struct product_rows *rows, int64_t row, int64_t n_rows,
                        const float *panel, int64_t n_k)
{
    const float *a = rows->a + row * rows->ld_row;
    const int64_t left = n_rows - row;
    c += row * ld_c;
    if (left >= TILE_ROWS) {
        if (rows->ld_k != 1)
            product_halves(c, ld_c, add, TILE_ROWS, false, n, a, 1, TILE_ROWS, panel, n_k);
        else if (ahead)
            product_halves(c, ld_c, add, TILE_ROWS, true, n, a, rows->ld_row, 1, panel, n_k);
        else
            product_halves(c, ld_c, add, TILE_ROWS, false, n, a, rows->ld_row, 1, panel, n_k);
        return TILE_ROWS;
    }
    if (TILE_ROWS > 4 && left >= 4) {
        product_halves(c, ld_c, add, 4, false, n, a, rows->ld_row, rows->ld_k, panel, n_k);
        return 4;
    }
    if (TILE_ROWS > 2 && left >= 2) {
        product_halves(c, ld_c, add, 2, false, n, a, rows->ld_row, rows->ld_k, panel, n_k);
        return 2;
    }
    product_halves(c, ld_c, add, 1, false, n, a, rows->ld_row, rows->ld_k, panel, n_k);
    return 1;
}

/* C (n_rows, n_columns), ld_c, = or += A B. */
static void product(float *c, int64_t ld_c, bool add, const struct product_rows *a,
                    const float *panels, int64_t n_rows, int64_t n_k, int64_t n_columns)
{
    for (int64_t j = 0; j < n_columns; j += PANEL) {
        int n = (int)min_of(PANEL, n_columns - j);
        for (int64_t row = 0; row < n_rows;)
            row += product_step(c + j, ld_c, add, j == 0, n, a, row, n_rows, panels + j * n_k, n_k);
    }
}

/* The columns of x, TILE_ROWS of them side by side: element (k, i) at
   left[i / TILE_ROWS * TILE_ROWS * n + k * TILE_ROWS + i % TILE_ROWS]. */
static void pack_columns(float *left, const float *x, int64_t ld_x, int64_t n, int64_t width)
{
    for (int64_t k = 0; k < n; k++) {
        float *to = left + k * TILE_ROWS;
        for (int64_t i = 0; i < width; i += TILE_ROWS, to += TILE_ROWS * n) {
            const float *from = x + k * ld_x + i;
            if (i + V_LANES <= width && k * TILE_ROWS + V_LANES <= n * TILE_ROWS)
                vstore(to, vload(from)); /* what is too many falls where later rows go */
            else
                for (int64_t r = 0; r < TILE_ROWS && i + r < width; r++)
                    to[r] = from[r];
        }
    }
}

/* out (width_a, width_b) = or += a^T b over n rows. packed: product_transposed_size floats. */
static void product_columns(float *out, bool add, const float *a, int64_t ld_a, int64_t width_a,
                            const float *b, int64_t ld_b, int64_t width_b, int64_t n, float *packed)
{
    float *panels = packed + blocks_of(width_a, TILE_ROWS) * TILE_ROWS * n;
    pack_columns(packed, a, ld_a, n, width_a);
    pack_panels(panels, b, ld_b, 1, n, width_b);
    for (int64_t i = 0; i < width_a; i += TILE_ROWS) {
        struct product_rows rows = {packed + i * n, 1, TILE_ROWS};
        product(out + i * width_b, width_b, add, &rows, panels, min_of(TILE_ROWS, width_a - i), n,
                width_b);
    }
}

/* dw (n_out, n_in) = or += dy^T x over n rows. Where x is narrow most of a panel would be idle:
   then the product is x^T dy, turned afterwards. */
static void product_transposed(float *dw, bool add, const float *dy, int64_t ld_dy, const float *x,
                               int64_t ld_x, int64_t n, int64_t n_out, int64_t n_in, float *packed)
{
    if (n_in > V_LANES || n_out <= V_LANES) {
        product_columns(dw, add, dy, ld_dy, n_out, x, ld_x, n_in, n, packed);
        return;
    }
    float *turned = packed;
    product_columns(turned, false, x, ld_x, n_in, dy, ld_dy, n_out, n, packed + n_in * n_out);
    for (int64_t o = 0; o < n_out; o++)
        for (int64_t i = 0; i < n_in; i++)
            dw[o * n_in + i] = turned[i * n_out + o] + (add ? dw[o * n_in + i] : 0);
}

static int64_t product_transposed_size(int64_t n, int64_t n_out, int64_t n_in)
{
    int64_t straight = blocks_of(n_out, TILE_ROWS) * TILE_ROWS * n + panels_size(n, n_in);
    int64_t turned =
        n_in * n_out + blocks_of(n_in, TILE_ROWS) * TILE_ROWS * n + panels_size(n, n_out);
    return (straight > turned ? straight : turned) + V_LANES;
}
