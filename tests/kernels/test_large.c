/*
 * Tensors of more than 2^31 numbers: every operation with a row or an entry beyond that place. A
 * device computes all of it, the CPU the last rows alone, and the ends are compared: what came long
 * before no longer tells. Sums over all rows are known, since the rows are those of a table.
 * usage: test_large [ROWS]: of 256 numbers, a multiple of 4
 */
#include "tests/kernels/check.h"

#include "base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 256,
    STATES = 4,
    TAPS = 4,
    POOL = 4,
    TAIL_ROWS = 64,   /* compared */
    SHORT_ROWS = 604, /* what the CPU computes */
    BIG = 5,          /* tensors */
    SCRATCH = 64 << 20,
};
static int64_t many_rows = ((int64_t)1 << 31) / WIDTH + 1000;

/* What an operation works on, on a device or on the CPU: x is an input of rows like the table's,
   the others are outputs. All of it is backend memory. */
struct work {
    struct backend *be;
    int64_t n_rows;
    float *x, *out[BIG - 1]; /* (rows, WIDTH) */
    uint8_t *codes;          /* (rows) */
    int32_t *label;
    float *table;            /* (WIDTH, WIDTH), parameters of any kind */
    float *fast;             /* the same and 2: log A and dt's bias of a state that soon forgets */
    float *state, *entering; /* of the scan, conv and frames */
    float *sums;             /* (WIDTH, WIDTH) and more: gradients of parameters */
    float *coef;
    int64_t n_out[BIG - 1]; /* floats made */
};

static float *table; /* host memory */

static uint8_t code_of(int64_t row)
{
    return (uint8_t)((uint64_t)row * 0x9e3779b97f4a7c15u >> 40);
}

static void *take(struct backend *be, int64_t bytes)
{
    void *memory = backend_alloc(be, (size_t)bytes);
    if (!memory)
        fail_msg("%s", error_text());
    return memory;
}

/* The last of `rows`: the CPU's is the end of the device's. */
static void work_open(struct work *w, struct backend *be, int64_t n_rows)
{
    const int64_t n = n_rows * WIDTH * (int64_t)sizeof(float);
    const int32_t label = 7;
    float fast[WIDTH * STATES];
    *w = (struct work){.be = be, .n_rows = n_rows};
    const struct layer layer = {
        .kind = LAYER_MIXER, .mixer = MIXER_SELECTIVE, .inner = WIDTH, .n_state = STATES};
    w->x = take(be, n);
    for (int i = 0; i < BIG - 1; i++)
        w->out[i] = take(be, n);
    w->codes = take(be, n_rows);
    w->label = take(be, sizeof label);
    w->table = take(be, WIDTH * WIDTH * sizeof(float));
    w->fast = take(be, sizeof fast);
    w->state = take(be, WIDTH * 64 * sizeof(float));
    w->sums = take(be, 2 * WIDTH * WIDTH * sizeof(float));
    w->coef = take(be, be->ops->coef_size(&layer) * (int64_t)sizeof(float));
    w->entering = take(be, scan_entering_size(be->ops, &layer, 1, n_rows) * (int64_t)sizeof(float));
    uint8_t *codes = malloc((size_t)n_rows);
    assert_non_null(codes);
    for (int64_t i = 0; i < n_rows; i++)
        codes[i] = code_of(many_rows - n_rows + i);
    backend_upload(be, w->codes, codes, (size_t)n_rows);
    free(codes);
    backend_upload(be, w->label, &label, sizeof label);
    backend_upload(be, w->table, table, WIDTH * WIDTH * sizeof(float));
    for (int i = 0; i < WIDTH * STATES; i++)
        fast[i] = table[i] + 2;
    backend_upload(be, w->fast, fast, sizeof fast);
    be->ops->embed(be, w->x, w->table, w->codes, n_rows, WIDTH);
}

static void work_close(struct work *w)
{
    void *const memory[] = {w->x,     w->out[0], w->out[1],  w->out[2], w->out[3],
                            w->codes, w->label,  w->table,   w->fast,   w->state,
                            w->sums,  w->coef,   w->entering};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        backend_free(w->be, memory[i]);
    backend_close(w->be);
}

static int64_t all_of(const struct work *w)
{
    return w->n_rows * WIDTH;
}

/* --- the operations --------------------------------------------------------------------------- */

static void run_entries(struct work *w)
{
    const struct ops *o = w->be->ops;
    o->gelu(w->be, w->out[0], w->x, all_of(w));
    o->add(w->be, w->out[0], w->x, all_of(w));
    o->gelu_backward(w->be, w->out[1], w->x, w->out[0], all_of(w));
    w->n_out[0] = w->n_out[1] = all_of(w);
}

static void run_glu(struct work *w)
{
    const struct ops *o = w->be->ops;
    o->glu(w->be, w->out[0], w->x, NULL, NULL, w->n_rows, WIDTH / 2);
    o->glu_backward(w->be, w->out[1], w->out[0], w->x, w->n_rows, WIDTH / 2);
    w->n_out[0] = all_of(w) / 2;
    w->n_out[1] = all_of(w);
}

static void run_label(struct work *w)
{
    w->be->ops->label_add(w->be, w->out[0], w->x, w->table, w->label, 1, w->n_rows, WIDTH);
    w->n_out[0] = all_of(w);
}

static void run_norm(struct work *w)
{
    const struct ops *o = w->be->ops;
    o->rmsnorm(w->be, &(struct norm_args){.y = w->out[0],
                                          .r = w->out[1],
                                          .x = w->x,
                                          .w = w->table,
                                          .eps = 1e-5f,
                                          .n_rows = w->n_rows,
                                          .width = WIDTH});
    o->rmsnorm_backward(w->be, &(struct norm_backward_args){.dx = w->out[2],
                                                            .dw = w->sums,
                                                            .dy = w->x,
                                                            .x = w->x,
                                                            .r = w->out[1],
                                                            .w = w->table,
                                                            .n_rows = w->n_rows,
                                                            .width = WIDTH});
    w->n_out[0] = w->n_out[2] = all_of(w);
    w->n_out[1] = w->n_rows;
}

static void run_linear(struct work *w)
{
    w->be->ops->linear(w->be, &(struct linear_args){.y = w->out[0],
                                                    .x = w->x,
                                                    .w = w->table,
                                                    .bias = w->table,
                                                    .add0 = w->x,
                                                    .ld_x = WIDTH,
                                                    .ld_y = WIDTH,
                                                    .n_batch = 1,
                                                    .n_time = w->n_rows,
                                                    .n_in = 8,
                                                    .n_out = WIDTH});
    w->be->ops->linear_backward(w->be, &(struct linear_backward_args){.dx = w->out[1],
                                                                      .dy = w->x,
                                                                      .x = w->x,
                                                                      .w = w->table,
                                                                      .ld_dx = WIDTH,
                                                                      .ld_dy = WIDTH,
                                                                      .ld_x = WIDTH,
                                                                      .n_batch = 1,
                                                                      .n_time = w->n_rows,
                                                                      .n_in = WIDTH,
                                                                      .n_out = 8});
    w->n_out[0] = w->n_out[1] = all_of(w);
}

static void run_loss(struct work *w)
{
    w->be->ops->cross_entropy(w->be, &(struct cross_entropy_args){.nats = w->out[1],
                                                                  .dlogits = w->out[0],
                                                                  .logits = w->x,
                                                                  .targets = w->codes,
                                                                  .scale = 1,
                                                                  .n_rows = w->n_rows});
    w->n_out[0] = all_of(w);
    w->n_out[1] = w->n_rows;
}

static void run_sample(struct work *w)
{
    w->be->ops->sample(
        w->be, &(struct sample_args){.codes = (uint8_t *)w->out[0],
                                     .nats = w->out[1],
                                     .logits = w->x,
                                     .sampling = {.seed = 1, .temperature = 1, .top_p = 0.9f},
                                     .first_stream = (uint32_t)(many_rows - w->n_rows),
                                     .n_batch = (int)w->n_rows});
    w->n_out[1] = w->n_rows;
}

static void run_conv(struct work *w)
{
    w->be->ops->conv_silu(w->be, &(struct conv_args){.u = w->out[0],
                                                     .x = w->x,
                                                     .w = w->table,
                                                     .bias = w->table + WIDTH * TAPS,
                                                     .state = w->state,
                                                     .ld_x = WIDTH,
                                                     .n_batch = 1,
                                                     .n_time = w->n_rows,
                                                     .inner = WIDTH,
                                                     .n_taps = TAPS});
    w->be->ops->conv_silu_backward(
        w->be, &(struct conv_backward_args){.dx = w->out[1],
                                            .dw = w->sums,
                                            .dbias = w->sums + WIDTH * TAPS,
                                            .dstate = w->state + WIDTH * TAPS,
                                            .du = w->x,
                                            .x = w->x,
                                            .w = w->table,
                                            .bias = w->table + WIDTH * TAPS,
                                            .state = w->state + 2 * WIDTH * TAPS,
                                            .ld_dx = WIDTH,
                                            .ld_x = WIDTH,
                                            .n_batch = 1,
                                            .n_time = w->n_rows,
                                            .inner = WIDTH,
                                            .n_taps = TAPS});
    w->n_out[0] = w->n_out[1] = all_of(w);
}

static void run_frames(struct work *w)
{
    struct frames_args a = {.frames = w->out[0],
                            .x = w->x,
                            .state = w->state,
                            .n_batch = 1,
                            .n_time = w->n_rows,
                            .width = WIDTH,
                            .pool = POOL,
                            .up_shift = 1};
    w->be->ops->frames_gather(w->be, &a);
    a.x = w->out[1];
    a.add = w->x;
    w->be->ops->frames_emit(w->be, &a);
    a.add = NULL;
    a.frames = w->out[2];
    w->be->ops->frames_emit_backward(w->be, &a);
    a.x = w->out[3];
    w->be->ops->frames_gather_backward(w->be, &a);
    w->n_out[0] = w->n_out[1] = w->n_out[2] = w->n_out[3] = all_of(w);
}

static void run_scan(struct work *w)
{
    struct coef_args coef = {.mixer = MIXER_SELECTIVE,
                             .inner = WIDTH,
                             .n_state = STATES,
                             .a_log = w->fast,
                             .coef = w->coef};
    struct scan_backward_args back = {
        .forward = {.mixer = MIXER_SELECTIVE,
                    .n_batch = 1,
                    .n_time = w->n_rows,
                    .inner = WIDTH,
                    .n_state = STATES,
                    .y = w->out[3],
                    .u = w->x,
                    .z = w->x,
                    .dt_raw = w->x,
                    .dt_bias = w->fast,
                    .bc = w->x,
                    .coef = w->coef,
                    .d = w->table,
                    .state = w->state,
                    .entering = w->entering,
                    .ld_z = WIDTH,
                    .ld_bc = WIDTH},
        .dy = w->x,
        .du = w->out[0],
        .dz = w->out[1],
        .ddt_raw = w->out[2],
        .dbc = w->out[3],
        .ddt_bias = w->sums,
        .dcoef = w->sums + WIDTH,
        .dd = w->sums + WIDTH * WIDTH,
        .dstate = w->state + WIDTH * STATES,
        .ld_dz = WIDTH,
        .ld_dbc = WIDTH,
    };
    w->be->ops->coef(w->be, &coef);
    w->be->ops->scan(w->be, &back.forward);
    w->be->ops->scan_backward(w->be, &back);
    /* of the last, the rest of a row of dbc is y */
    w->n_out[0] = w->n_out[1] = w->n_out[2] = w->n_out[3] = all_of(w);
}

static void run_adamw(struct work *w)
{
    const struct weight_range range = {.size = all_of(w), .lr = 0.1f, .decay = 0.1f};
    double *norm_sq = (double *)(void *)w->sums;
    const double one = 1;
    backend_upload(w->be, norm_sq, &one, sizeof one);
    w->be->ops->adamw(w->be, &(struct adamw_args){.w = w->out[0],
                                                  .m = w->out[1],
                                                  .v = w->out[2],
                                                  .average = w->out[3],
                                                  .g = w->x,
                                                  .grad_norm_sq = norm_sq,
                                                  .beta1 = 0.9f,
                                                  .beta2 = 0.99f,
                                                  .eps = 1e-8f,
                                                  .step = 1,
                                                  .average_decay = 0.9f,
                                                  .ranges = &range,
                                                  .n_ranges = 1});
    w->n_out[0] = w->n_out[1] = w->n_out[2] = w->n_out[3] = all_of(w);
}

/* --- the comparison --------------------------------------------------------------------------- */

static struct work device, cpu;

/* The ends of what both made. */
static void compare(const char *what)
{
    enum { N = TAIL_ROWS * WIDTH };
    static float a[N], b[N];
    static double want[N];
    for (int i = 0; i < BIG - 1; i++) {
        if (cpu.n_out[i] == 0)
            continue;
        int64_t n = cpu.n_out[i] < N ? TAIL_ROWS : N;
        backend_download(device.be, a, device.out[i] + device.n_out[i] - n,
                         (size_t)n * sizeof(float));
        backend_download(cpu.be, b, cpu.out[i] + cpu.n_out[i] - n, (size_t)n * sizeof(float));
        for (int64_t j = 0; j < n; j++)
            want[j] = b[j];
        check_near(what, a, want, n, 2e-5);
    }
}

static void zero(struct work *w)
{
    for (int i = 0; i < BIG - 1; i++) {
        backend_zero(w->be, w->out[i], (size_t)all_of(w) * sizeof(float));
        w->n_out[i] = 0;
    }
    backend_zero(w->be, w->state, WIDTH * 64 * sizeof(float));
    backend_zero(w->be, w->sums, 2 * WIDTH * WIDTH * sizeof(float));
}

static void test_ends(void **state)
{
    static const struct {
        const char *name;
        void (*run)(struct work *w);
    } runs[] = {
        {"gelu and add", run_entries}, {"glu", run_glu},
        {"label_add", run_label},      {"rmsnorm", run_norm},
        {"linear", run_linear},        {"cross_entropy", run_loss},
        {"sample", run_sample},        {"conv_silu", run_conv},
        {"frames", run_frames},        {"scan", run_scan},
        {"adamw", run_adamw},
    };
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        zero(&device);
        zero(&cpu);
        runs[i].run(&device);
        runs[i].run(&cpu);
        if (!backend_sync(device.be))
            fail_msg("%s: %s", runs[i].name, error_text());
        compare(runs[i].name);
    }
}

/* Sums over all the rows, each of which is one of the table's. */
static void test_sums(void **state)
{
    struct backend *be = device.be;
    static double count[WIDTH], dw[WIDTH * WIDTH], products[8 * WIDTH], dbias[8];
    static float got[WIDTH * WIDTH];
    double squares = 0, sum;
    for (int64_t i = 0; i < many_rows; i++)
        count[code_of(i)]++;
    for (int c = 0; c < WIDTH; c++)
        for (int j = 0; j < WIDTH; j++) {
            double x = table[c * WIDTH + j];
            squares += count[c] * x * x;
            dw[c * WIDTH + j] = count[c] * x;
            for (int o = 0; o < 8; o++)
                products[o * WIDTH + j] += count[c] * x * table[c * WIDTH + o];
            if (j < 8)
                dbias[j] += count[c] * x;
        }
    zero(&device);
    be->ops->embed_backward(be, device.sums, device.x, device.codes, many_rows, WIDTH);
    backend_download(be, got, device.sums, sizeof got);
    check_near("embed's dw", got, dw, WIDTH * WIDTH, 1e-4);
    zero(&device);
    struct linear_backward_args a = {.dw = device.sums,
                                     .dbias = device.sums + 8 * WIDTH,
                                     .dy = device.x,
                                     .x = device.x,
                                     .w = device.table,
                                     .ld_dy = WIDTH,
                                     .ld_x = WIDTH,
                                     .n_batch = 1,
                                     .n_time = many_rows,
                                     .n_in = WIDTH,
                                     .n_out = 8};
    be->ops->linear_backward(be, &a);
    backend_download(be, got, device.sums, sizeof got);
    check_near("linear's dw", got, products, 8 * WIDTH, 1e-4);
    check_near("linear's dbias", got + 8 * WIDTH, dbias, 8, 1e-4);
    double *there = (double *)(void *)device.sums;
    be->ops->sum_squares(be, there, device.x, many_rows * WIDTH);
    backend_download(be, &sum, there, sizeof sum);
    assert_true(fabs(sum - squares) <= 1e-9 * squares);
    if (!backend_sync(be))
        fail_msg("%s", error_text());
}

/* The scratch memory of the largest of these: the backward scan's partial sums over channels. */
static bool open_all(struct backend *be)
{
    const size_t groups = 8, wanted = groups * (size_t)many_rows * 2 * STATES * sizeof(float);
    void *first = backend_alloc(be, (BIG + 1) * (size_t)many_rows * WIDTH * sizeof(float));
    if (!first)
        return false;
    backend_free(be, first);
    return backend_reserve(be, wanted + SCRATCH);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_sums),
    };
    if (argc > 1)
        many_rows = atoll(argv[1]);
    if (many_rows < SHORT_ROWS || many_rows % POOL != 0)
        return 2;
    device_start();
    struct backend *be = backend_open(device_name(), 1), *host = backend_open("cpu", 2);
    if (!be || !host || !backend_reserve(host, SCRATCH))
        return 1;
    if (!open_all(be)) {
        printf("SKIPPED, for this device is too small: %s\n", error_text());
        return 77;
    }
    table = check_random(WIDTH * WIDTH, 1, 1);
    work_open(&device, be, many_rows);
    work_open(&cpu, host, SHORT_ROWS);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    work_close(&device);
    work_close(&cpu);
    check_free(NULL);
    return failed;
}
