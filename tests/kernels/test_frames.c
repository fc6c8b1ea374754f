/* Frames gathered and emitted: against loops over single ticks in double, in one piece and cut. */
#include "tests/kernels/check.h"

#include <string.h>

struct frames_case {
    int n_batch;
    int64_t f0, n_time;
    int width, pool, up_shift;
};

static const struct frames_case cases[] = {
    {1, 0, 1, 3, 4, 1},       {2, 0, 3, 5, 4, 1},       {2, 3, 1, 5, 4, 1},
    {2, 3, 1, 5, 4, 2},       {3, 5, 2, 7, 4, 2},       {1, 6, 2, 3, 4, 1},
    {2, 4, 4, 3, 4, 2},       {2, 7, 5, 3, 4, 1},       {2, 7, 5, 3, 4, 2},
    {1, 2, 23, 5, 4, 2},      {2, 1, 700, 5, 16, 2},    {1, 13, 9000, 7, 4, 1},
    {3, 1000, 3001, 8, 2, 1}, {1, 0, 64, 4, 16, 1},     {1, 9, 5, 4, 1, 1},
    {1, 9, 5, 4, 1, 2},       {2, 17, 100, 64, 300, 1}, {1, 17, 1000, 4, 300, 2},
    {2, 3, 0, 5, 4, 1},
};

struct frames_test {
    struct frames_case c;
    int64_t n_frames, n_x, n_f, n_gather, n_emit; /* floats of x, of frames, of the states */
    const float *x, *frames, *add, *gather_state, *emit_state;
    const float *dx, *dframes, *dgather, *demit;
    double *xd, *framesd, *gatherd, *emitd;
};

static struct frames_test make(const struct frames_case *c)
{
    struct frames_test t = {.c = *c};
    t.n_frames = (c->f0 + c->n_time) / c->pool - c->f0 / c->pool;
    t.n_x = c->n_batch * c->n_time * c->width;
    t.n_f = c->n_batch * t.n_frames * c->width * c->pool;
    t.n_gather = (int64_t)c->n_batch * c->pool * c->width;
    t.n_emit = t.n_gather * c->up_shift;
    t.x = check_random(t.n_x, 1, 1);
    t.frames = check_random(t.n_f, 2, 1);
    t.add = check_random(t.n_x, 3, 1);
    float *gather = check_random(t.n_gather, 4, 1), *emit = check_random(t.n_emit, 5, 1);
    for (int64_t i = 0; i < t.n_gather; i++)
        if (i / c->width % c->pool >= c->f0 % c->pool)
            gather[i] = 0; /* dead */
    t.gather_state = gather;
    t.emit_state = emit;
    t.dx = check_random(t.n_x, 6, 1);
    t.dframes = check_random(t.n_f, 7, 1);
    t.dgather = check_random(t.n_gather, 8, 1);
    t.demit = check_random(t.n_emit, 9, 1);
    t.xd = check_to_double(t.x, t.n_x);
    t.framesd = check_to_double(t.frames, t.n_f);
    t.gatherd = check_to_double(t.gather_state, t.n_gather);
    t.emitd = check_to_double(t.emit_state, t.n_emit);
    return t;
}

/* state is changed in place. */
static void naive_gather(const struct frames_test *t, double *frames, double *state)
{
    const struct frames_case *c = &t->c;
    int H = c->width, p = c->pool;
    for (int b = 0; b < c->n_batch; b++, state += p * H) {
        for (int64_t i = 0; i < c->n_time; i++) {
            int s = (int)((c->f0 + i) % p);
            memcpy(state + s * H, t->xd + (b * c->n_time + i) * H, (size_t)H * sizeof *state);
            if (s < p - 1)
                continue;
            for (int k = 0; k < p; k++)
                for (int h = 0; h < H; h++)
                    frames[h * p + k] = state[k * H + h];
            frames += H * p;
            memset(state, 0, (size_t)(p * H) * sizeof *state);
        }
    }
}

static void naive_emit(const struct frames_test *t, const float *add, double *x, double *state)
{
    const struct frames_case *c = &t->c;
    int H = c->width, p = c->pool, u = c->up_shift;
    const double *frames = t->framesd;
    for (int b = 0; b < c->n_batch; b++, state += u * p * H) {
        for (int64_t i = 0; i < c->n_time; i++) {
            int64_t f = c->f0 + i, at = (b * c->n_time + i) * H;
            int64_t l = f / p; /* its slot is that of the frame to be heard, l - u */
            double *slot = state + (l % u * p + f % p) * H;
            for (int h = 0; h < H; h++)
                x[at + h] = slot[h] + (add ? add[at + h] : 0);
            if (f % p < p - 1)
                continue;
            for (int k = 0; k < p; k++)
                for (int h = 0; h < H; h++)
                    state[(l % u * p + k) * H + h] = frames[h * p + k];
            frames += H * p;
        }
    }
}

static double dot(const float *a, const double *b, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static double gather_loss(void *arg)
{
    const struct frames_test *t = arg;
    double *frames = check_doubles(t->n_f), *state = check_doubles(t->n_gather);
    memcpy(state, t->gatherd, (size_t)t->n_gather * sizeof *state);
    for (int64_t i = 0; i < t->n_gather; i++) /* what is dead stays 0 wherever the step goes */
        if (i / t->c.width % t->c.pool >= t->c.f0 % t->c.pool)
            state[i] = 0;
    naive_gather(t, frames, state);
    return dot(t->dframes, frames, t->n_f) + dot(t->dgather, state, t->n_gather);
}

static double emit_loss(void *arg)
{
    const struct frames_test *t = arg;
    double *x = check_doubles(t->n_x), *state = check_doubles(t->n_emit);
    memcpy(state, t->emitd, (size_t)t->n_emit * sizeof *state);
    naive_emit(t, t->add, x, state);
    return dot(t->dx, x, t->n_x) + dot(t->demit, state, t->n_emit);
}

static struct frames_args args_of(const struct frames_test *t)
{
    const struct frames_case *c = &t->c;
    return (struct frames_args){.n_batch = c->n_batch,
                                .f0 = c->f0,
                                .n_time = c->n_time,
                                .width = c->width,
                                .pool = c->pool,
                                .up_shift = c->up_shift};
}

/* The states of the streams lie apart, with something between that nobody may touch. */
enum { GAP = 3 };

static void states_apart(float *to, const float *from, int n_batch, int64_t size)
{
    for (int b = 0; b < n_batch; b++)
        memcpy(to + b * (size + GAP), from + b * size, (size_t)size * sizeof *to);
}

/* out: frames or x, then the states. */
static void run(struct backend *be, const struct frames_test *t, bool emit, bool backward,
                float *out)
{
    struct frames_args a = args_of(t);
    int64_t n = emit != backward ? t->n_x : t->n_f;
    int64_t n_state = (emit ? t->n_emit : t->n_gather) / t->c.n_batch;
    const float *state = emit       ? backward ? t->demit : t->emit_state
                         : backward ? t->dgather
                                    : t->gather_state;
    const float *given = backward ? (emit ? t->dx : t->dframes) : (emit ? t->frames : t->x);
    bool out_is_x = emit != backward;
    float *in = check_copy(given, out_is_x ? t->n_f : t->n_x);
    states_apart(out + n, state, t->c.n_batch, n_state);
    a.x = check_out(be, out_is_x ? out : in);
    a.frames = check_out(be, out_is_x ? in : out);
    a.add = check_in(be, emit && !backward ? t->add : NULL);
    a.state = check_out(be, out + n);
    a.ld_state = n_state + GAP;
    const struct ops *ops = be->ops;
    (emit       ? backward ? ops->frames_emit_backward : ops->frames_emit
     : backward ? ops->frames_gather_backward
                : ops->frames_gather)(be, &a);
    check_ran(be);
    check_same("what was given", in, given, out_is_x ? t->n_f : t->n_x);
}

static void run_gather(struct backend *be, void *arg, float *out)
{
    run(be, arg, false, false, out);
}

static void run_gather_backward(struct backend *be, void *arg, float *out)
{
    run(be, arg, false, true, out);
}

static void run_emit(struct backend *be, void *arg, float *out)
{
    run(be, arg, true, false, out);
}

static void run_emit_backward(struct backend *be, void *arg, float *out)
{
    run(be, arg, true, true, out);
}

/* The states that states_apart put apart, without the gaps, which must still be 0. */
static float *states_together(const float *from, int n_batch, int64_t size)
{
    float *to = check_zeros(n_batch * size);
    for (int b = 0; b < n_batch; b++) {
        memcpy(to + b * size, from + b * (size + GAP), (size_t)size * sizeof *to);
        for (int i = 0; i < GAP; i++)
            assert_true(from[b * (size + GAP) + size + i] == 0);
    }
    return to;
}

static void test_gather(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct frames_test t = make(&cases[i]);
            int B = t.c.n_batch;
            float *out = check_zeros(t.n_f + t.n_gather + B * GAP);
            double *frames = check_doubles(t.n_f), *left = check_doubles(t.n_gather);
            memcpy(left, t.gatherd, (size_t)t.n_gather * sizeof *left);
            naive_gather(&t, frames, left);
            check_run(tables[k], run_gather, &t, out, t.n_f + t.n_gather + B * GAP, 0);
            check_near("frames", out, frames, t.n_f, 0);
            check_near("state", states_together(out + t.n_f, B, t.n_gather / B), left, t.n_gather,
                       0);
            if (t.c.n_time == 0)
                continue; /* nothing happens: a gradient passes as it is, in dead slots too */
            float *d = check_zeros(t.n_x + t.n_gather + B * GAP);
            check_run(tables[k], run_gather_backward, &t, d, t.n_x + t.n_gather + B * GAP, 0);
            check_gradient("dx", gather_loss, &t, t.xd, d, t.n_x, 1e-4);
            check_gradient("dstate", gather_loss, &t, t.gatherd,
                           states_together(d + t.n_x, B, t.n_gather / B), t.n_gather, 1e-4);
            check_free(state);
        }
}

static void test_emit(void **state)
{
    const struct ops *tables[CPU_TABLES_MAX];
    int n_tables = check_tables(tables);
    for (int k = 0; k < n_tables; k++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct frames_test t = make(&cases[i]);
            int B = t.c.n_batch;
            float *out = check_zeros(t.n_x + t.n_emit + B * GAP);
            double *x = check_doubles(t.n_x), *left = check_doubles(t.n_emit);
            memcpy(left, t.emitd, (size_t)t.n_emit * sizeof *left);
            naive_emit(&t, t.add, x, left);
            check_run(tables[k], run_emit, &t, out, t.n_x + t.n_emit + B * GAP, 0);
            check_near("x", out, x, t.n_x, 1e-7);
            check_near("state", states_together(out + t.n_x, B, t.n_emit / B), left, t.n_emit, 0);

            float *d = check_zeros(t.n_f + t.n_emit + B * GAP);
            check_run(tables[k], run_emit_backward, &t, d, t.n_f + t.n_emit + B * GAP, 1e-7);
            check_gradient("dframes", emit_loss, &t, t.framesd, d, t.n_f, 1e-4);
            check_gradient("dstate", emit_loss, &t, t.emitd,
                           states_together(d + t.n_f, B, t.n_emit / B), t.n_emit, 1e-4);
            check_free(state);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_gather, check_free),
        cmocka_unit_test_teardown(test_emit, check_free),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
