/*
 * The network against the float64 reference of tests/reference: logits, loss, state, every gradient
 * and ten optimiser steps, for every kind of network in the fixtures. argv[1]: the folder of
 * fixtures.
 */
#include "base/error.h"
#include "kernels/cpu/cpu.h"
#include "model/build.h"
#include "model/model_file.h"
#include "model/safetensors.h"
#include "model/trainer.h"
#include "tests/device.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *fixtures;

/* One case: a model, what the reference found, and a backend to compare on. */
struct parity {
    char name[256];
    struct model_file model;
    struct safetensors expected;
    struct backend *be;
    struct net net;
    int n_batch;
    int64_t n_time;
    enum products products; /* of the device; rounded: every bound below is looser */
};

/* What rounding may take from a factor of a product, as a part of it: bf16 has 8 bits, to the
   nearest; TF32 has 11, and a device may cut off what is beyond. A product's largest entry loses
   about as much, however many terms it has, for they do not all lose in one direction, and so do
   the layers one after the other. The bounds are so many of these losses: 8 for what comes of the
   forward walk and 32 for gradients, where kernels on the CPU showed 4.0 and 16.5 of bf16's. */
static const double factor_loss[] = {[PRODUCTS_TF32] = 1.0 / 1024, [PRODUCTS_BF16] = 1.0 / 256};

static float *expected_floats(const struct parity *p, const char *name, int64_t n)
{
    const struct tensor_entry *t = safetensors_find(&p->expected, name);
    if (!t || t->n_entries != n)
        fail_msg("%s: fixture has no %s of %lld entries", p->name, name, (long long)n);
    float *x = malloc((size_t)n * sizeof *x + 1);
    tensor_to_float(x, t);
    return x;
}

static float expected_number(const struct parity *p, const char *name)
{
    float *x = expected_floats(p, name, 1), value = *x;
    free(x);
    return value;
}

static uint8_t *expected_bytes(const struct parity *p, const char *name)
{
    int64_t n = p->n_batch * p->n_time;
    float *x = expected_floats(p, name, n);
    uint8_t *bytes = malloc((size_t)n);
    for (int64_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)x[i];
    free(x);
    return bytes;
}

static int32_t *expected_labels(const struct parity *p)
{
    float *x = expected_floats(p, "labels", p->n_batch);
    int32_t *labels = malloc((size_t)p->n_batch * sizeof *labels);
    for (int i = 0; i < p->n_batch; i++)
        labels[i] = (int32_t)x[i];
    free(x);
    return labels;
}

static void parity_open(struct parity *p, const char *name, const struct ops *ops)
{
    char path[4096];
    snprintf(p->name, sizeof p->name, "%s", name);
    snprintf(path, sizeof path, "%s/%s/model.safetensors", fixtures, name);
    if (!model_file_load(&p->model, path))
        fail_msg("%s", error_text());
    snprintf(path, sizeof path, "%s/%s/expected.safetensors", fixtures, name);
    if (!safetensors_open(&p->expected, path))
        fail_msg("%s", error_text());
    p->be = device_open(2);
    if (ops)
        p->be->ops = ops;
    if (!net_open(&p->net, &p->model.config, p->be))
        fail_msg("%s", error_text());
    net_set_weights(&p->net, p->model.weights);
    const struct tensor_entry *in = safetensors_find(&p->expected, "in");
    assert_non_null(in);
    p->n_batch = (int)in->shape[0];
    p->n_time = in->shape[1];
}

static void parity_close(struct parity *p)
{
    net_close(&p->net);
    backend_close(p->be);
    safetensors_close(&p->expected);
    model_file_free(&p->model);
}

/* Largest difference as a part of the largest expected entry; NaN anywhere fails. */
static void check_close(const struct parity *p, const char *what, const float *got,
                        const float *want, int64_t n, double bound)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        worst = d > worst || isnan(d) ? d : worst;
        largest = fabs((double)want[i]) > largest ? fabs((double)want[i]) : largest;
    }
    if (p->products != PRODUCTS_FP32)
        bound = (strncmp(what, "grad.", 5) == 0 ? 32 : 8) * factor_loss[p->products];
    if (!(worst <= bound * largest + 1e-7))
        fail_msg("%s: %s differs by %.3g of its largest entry %.3g", p->name, what, worst / largest,
                 largest);
}

static void check_tensor(const struct parity *p, const char *name, const float *got, int64_t n,
                         double bound)
{
    float *want = expected_floats(p, name, n);
    check_close(p, name, got, want, n, bound);
    free(want);
}

static void check_gradients(const struct parity *p, const float *grads)
{
    const struct plan *plan = &p->net.plan;
    for (int i = 0; i < plan->n_params; i++) {
        char name[TENSOR_NAME_MAX];
        const struct param *q = &plan->params[i];
        snprintf(name, sizeof name, "grad.%s", q->name);
        if (!q->fixed)
            check_tensor(p, name, grads + q->offset, q->size, 1e-4);
    }
}

/* A block of backend memory that holds what is given. */
static void *there(const struct parity *p, const void *data, size_t bytes)
{
    void *memory = backend_alloc(p->be, bytes);
    if (!memory)
        fail_msg("%s", error_text());
    backend_upload(p->be, memory, data, bytes);
    return memory;
}

/* check_tensor of backend memory. */
static void check_there(const struct parity *p, const char *name, const float *memory, int64_t n,
                        double bound)
{
    float *got = malloc((size_t)n * sizeof *got + 1);
    backend_download(p->be, got, memory, (size_t)n * sizeof *got);
    check_tensor(p, name, got, n, bound);
    free(got);
}

static void check_forward_and_backward(struct parity *p, enum tape tape)
{
    struct net *net = &p->net;
    struct backend *be = p->be;
    int64_t rows = p->n_batch * p->n_time, size = net->plan.state_size;
    size_t state_bytes = (size_t)(p->n_batch * size) * sizeof(float);
    size_t weight_bytes = (size_t)net->plan.weights_size * sizeof(float);
    struct chunk chunk;
    struct state state;
    uint8_t *in = expected_bytes(p, "in"), *target = expected_bytes(p, "target");
    uint8_t *mask = expected_bytes(p, "mask");
    int32_t *labels = expected_labels(p);
    float *state_in = expected_floats(p, "state_in", p->n_batch * size);
    float *dstate_out = expected_floats(p, "dstate_out", p->n_batch * size);
    float *grads = calloc(1, weight_bytes), *nats = calloc((size_t)rows, sizeof *nats);
    double n_targets = 0, loss = 0;
    for (int64_t i = 0; i < rows; i++)
        n_targets += mask[i];

    void *in_there = there(p, in, (size_t)rows), *target_there = there(p, target, (size_t)rows);
    void *mask_there = there(p, mask, (size_t)rows);
    void *labels_there = there(p, labels, (size_t)p->n_batch * sizeof *labels);
    float *dstate = there(p, dstate_out, state_bytes), *grads_there = there(p, grads, weight_bytes);
    float *nats_there = there(p, nats, (size_t)rows * sizeof *nats);

    assert_true(chunk_open(&chunk, net, p->n_batch, p->n_time, tape));
    assert_true(state_open(&state, net, p->n_batch));
    backend_upload(be, state.data, state_in, state_bytes);
    state.n = (int64_t)expected_number(p, "n0");

    float *logits = chunk_forward(&chunk, &state, in_there, labels_there, p->n_time);
    check_there(p, "logits", logits, rows * PLAN_CODES, 2e-5);
    check_there(p, "state_out", state.data, p->n_batch * size, 2e-5);

    be->ops->cross_entropy(be, &(struct cross_entropy_args){.nats = nats_there,
                                                            .dlogits = logits,
                                                            .logits = logits,
                                                            .targets = target_there,
                                                            .mask = mask_there,
                                                            .scale = (float)(1 / n_targets),
                                                            .n_rows = rows});
    backend_download(be, nats, nats_there, (size_t)rows * sizeof *nats);
    for (int64_t i = 0; i < rows; i++)
        loss += (double)nats[i] / n_targets;
    float loss32 = (float)loss;
    check_tensor(p, "loss", &loss32, 1, 1e-5);

    chunk_backward(&chunk, logits, dstate, grads_there);
    backend_download(be, grads, grads_there, weight_bytes);
    check_gradients(p, grads);
    check_there(p, "grad.state_in", dstate, p->n_batch * size, 1e-4);
    if (!backend_sync(be))
        fail_msg("%s: %s", p->name, error_text());

    void *const memory[] = {in_there, target_there, mask_there, labels_there,
                            dstate,   grads_there,  nats_there};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        backend_free(be, memory[i]);
    chunk_close(&chunk);
    state_close(&state, net);
    free(in);
    free(target);
    free(mask);
    free(labels);
    free(state_in);
    free(dstate_out);
    free(grads);
    free(nats);
}

/* What the steps did to a parameter, against what they should have done, as a whole: single entries
   with tiny gradients are at the mercy of Adam's normalisation. */
static void check_steps(const struct parity *p, const char *kind, const float *weights)
{
    const struct plan *plan = &p->net.plan;
    for (int i = 0; i < plan->n_params; i++) {
        const struct param *q = &plan->params[i];
        char name[TENSOR_NAME_MAX];
        snprintf(name, sizeof name, "%s.%s", kind, q->name);
        if (q->fixed)
            continue;
        float *want = expected_floats(p, name, q->size);
        double error = 0, moved = 0;
        for (int64_t j = 0; j < q->size; j++) {
            double first = (double)p->model.weights[q->offset + j];
            error += pow((double)weights[q->offset + j] - (double)want[j], 2);
            moved += pow((double)want[j] - first, 2);
        }
        if (!(sqrt(error) <= 2e-3 * sqrt(moved) + 1e-7))
            fail_msg("%s: %s is off by %.3g of what it moved", p->name, name, sqrt(error / moved));
        free(want);
    }
}

static void check_training(struct parity *p, int64_t slice, int micro_batch, bool recompute)
{
    if (!safetensors_find(&p->expected, "opt"))
        return;
    float *opt = expected_floats(p, "opt", 9);
    float *losses = expected_floats(p, "losses", 10);
    float *norms = expected_floats(p, "grad_norms", 10);
    uint8_t *target = expected_bytes(p, "target"), *mask = expected_bytes(p, "mask");
    int32_t *labels = expected_labels(p);
    float *weights = malloc((size_t)p->net.plan.weights_size * sizeof *weights);
    struct trainer t;
    struct train_settings s = {.batch = p->n_batch,
                               .micro_batch = micro_batch ? micro_batch : p->n_batch,
                               .clip = p->n_time,
                               .slice = slice,
                               .recompute = recompute,
                               .lr = (double)opt[0],
                               .beta1 = (double)opt[1],
                               .beta2 = (double)opt[2],
                               .eps = 1e-8,
                               .weight_decay = (double)opt[3],
                               .clip_norm = (double)opt[4],
                               .warmup = (int64_t)opt[5],
                               .steps = (int64_t)opt[6],
                               .min_lr = (double)opt[7],
                               .ema = (double)opt[8]};
    net_set_weights(&p->net, p->model.weights);
    if (!trainer_open(&t, &p->net, &s))
        fail_msg("%s", error_text());
    for (int i = 0; i < 10; i++) {
        struct train_result r;
        assert_true(trainer_step(&t, target, mask, labels, NULL, &r));
        assert_false(r.skipped);
        float loss = (float)(r.nats / (double)r.n_targets), norm = (float)r.grad_norm;
        check_close(p, "loss of a step", &loss, &losses[i], 1, 1e-4);
        check_close(p, "gradient norm of a step", &norm, &norms[i], 1, 1e-3);
    }
    net_get_weights(&p->net, weights);
    check_steps(p, "step10", weights);
    trainer_use_average(&t, true);
    net_get_weights(&p->net, weights);
    check_steps(p, "ema10", weights);
    trainer_use_average(&t, false);
    trainer_close(&t);
    free(opt);
    free(losses);
    free(norms);
    free(target);
    free(mask);
    free(labels);
    free(weights);
}

static int is_case(const struct dirent *d)
{
    return d->d_name[0] != '.' && !strchr(d->d_name, '.');
}

/* Runs `check` on every case. */
static void each_case(void (*check)(struct parity *p, const struct ops *ops), const struct ops *ops)
{
    struct dirent **names;
    int n = scandir(fixtures, &names, is_case, alphasort);
    assert_true(n >= 14);
    for (int i = 0; i < n; i++) {
        struct parity p = {0};
        parity_open(&p, names[i]->d_name, ops);
        check(&p, ops);
        parity_close(&p);
        free(names[i]);
    }
    free(names);
}

static void one_step(struct parity *p, const struct ops *ops)
{
    check_forward_and_backward(p, TAPE_ALL);
    check_forward_and_backward(p, TAPE_VALUES);
}

static void ten_steps(struct parity *p, const struct ops *ops)
{
    check_training(p, 0, 0, false);
}

static void ten_steps_in_pieces(struct parity *p, const struct ops *ops)
{
    check_training(p, 11, 1, true);
}

static void test_forward_and_backward(void **unused)
{
    each_case(one_step, NULL);
}

/* On a device: factors of products rounded. */
static void rounded_step(struct parity *p, const struct ops *ops)
{
    (void)ops;
    for (int products = PRODUCTS_TF32; products <= PRODUCTS_BF16; products++) {
        if (products == PRODUCTS_TF32 && device_emulated()) /* exact there */
            continue;
        p->products = (enum products)products;
        backend_set_products(p->be, p->products);
        check_forward_and_backward(p, TAPE_ALL);
    }
}

static void test_rounded(void **unused)
{
    each_case(rounded_step, NULL);
}

/* The plainest table of the CPU. */
static void test_forward_and_backward_base(void **unused)
{
    each_case(one_step, &cpu_ops_base);
}

static void test_ten_steps(void **unused)
{
    each_case(ten_steps, NULL);
}

/* Slices of 11 samples, one clip at a time, recomputed: the same gradients by another way. */
static void test_ten_steps_in_pieces(void **unused)
{
    each_case(ten_steps_in_pieces, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward_and_backward),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_ten_steps_in_pieces),
    };
    const struct CMUnitTest quick[] = {cmocka_unit_test(test_forward_and_backward)};
    const struct CMUnitTest of_device[] = {cmocka_unit_test(test_rounded)};
    const struct CMUnitTest of_cpu[] = {cmocka_unit_test(test_forward_and_backward_base)};
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s FIXTURES [quick]\n", argv[0]);
        return 2;
    }
    fixtures = argv[1];
    device_start();
    const bool all = argc == 2;
    int failed =
        all ? cmocka_run_group_tests(tests, NULL, NULL) : cmocka_run_group_tests(quick, NULL, NULL);
    if (device_asked())
        failed += cmocka_run_group_tests(of_device, NULL, NULL);
    else if (all)
        failed += cmocka_run_group_tests(of_cpu, NULL, NULL);
    return failed;
}
