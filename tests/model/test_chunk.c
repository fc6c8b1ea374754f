/*
 * The keystone: one forward for training, prefill and single steps. Any partition of a sequence
 * gives the same logits and the same state, and nothing hears the future.
 */
#include "base/error.h"
#include "base/random.h"
#include "model/build.h"
#include "model/chunk.h"
#include "tests/device.h"
#include "tests/model/kinds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_BATCH = 2, N_TIME = 75 };

struct fixture {
    const char *name;
    struct backend *be;
    struct net net;
    uint8_t codes[N_BATCH][N_TIME];
    int32_t labels[N_BATCH];
    uint8_t *codes_there; /* backend memory, N_BATCH * N_TIME */
    int32_t *labels_there;
};

static void fixture_open(struct fixture *f, const struct kind *k, int n_threads)
{
    struct config config;
    kind_config(&config, k);
    *f = (struct fixture){.name = k->name};
    f->be = device_open(n_threads);
    if (!net_open(&f->net, &config, f->be))
        fail_msg("%s", error_text());
    float *weights = calloc((size_t)f->net.plan.weights_size, sizeof *weights);
    plan_init_weights(&f->net.plan, weights, 7);
    net_set_weights(&f->net, weights);
    free(weights);
    for (int b = 0; b < N_BATCH; b++) {
        f->labels[b] = config.n_labels ? b - 1 + config.n_labels / 2 : -1;
        for (int t = 0; t < N_TIME; t++)
            f->codes[b][t] = (uint8_t)random_word(1, (uint64_t)t, (uint32_t)b, RANDOM_CROP, 0);
    }
    f->codes_there = backend_alloc(f->be, sizeof f->codes);
    f->labels_there = backend_alloc(f->be, sizeof f->labels);
    assert_true(f->codes_there && f->labels_there);
    backend_upload(f->be, f->labels_there, f->labels, sizeof f->labels);
}

static void fixture_close(struct fixture *f)
{
    backend_free(f->be, f->codes_there);
    backend_free(f->be, f->labels_there);
    net_close(&f->net);
    backend_close(f->be);
}

/* Runs the sequences in parts, lengths taken in turn from `parts` (0 ends and repeats). The logits
   and final states are the caller's to free. */
static void run_parts(struct fixture *f, const int *parts, float **logits, float **final)
{
    struct chunk chunk;
    struct state state;
    int64_t size = f->net.plan.state_size;
    *logits = malloc(sizeof(float) * N_BATCH * N_TIME * PLAN_CODES);
    *final = malloc(sizeof(float) * N_BATCH * (size_t)size);
    assert_true(chunk_open(&chunk, &f->net, N_BATCH, N_TIME, TAPE_NONE));
    assert_true(state_open(&state, &f->net, N_BATCH));
    for (int t = 0, i = 0; t < N_TIME;) {
        if (parts[i] == 0)
            i = 0;
        int n = parts[i++];
        n = n < N_TIME - t ? n : N_TIME - t;
        uint8_t in[N_BATCH * N_TIME];
        for (int b = 0; b < N_BATCH; b++)
            memcpy(in + b * n, f->codes[b] + t, (size_t)n);
        backend_upload(f->be, f->codes_there, in, (size_t)(N_BATCH * n));
        const float *made = chunk_forward(&chunk, &state, f->codes_there, f->labels_there, n);
        for (int b = 0; b < N_BATCH; b++)
            backend_download(f->be, *logits + ((size_t)b * N_TIME + (size_t)t) * PLAN_CODES,
                             made + (size_t)(b * n) * PLAN_CODES,
                             sizeof(float) * (size_t)n * PLAN_CODES);
        t += n;
    }
    backend_download(f->be, *final, state.data, sizeof(float) * N_BATCH * (size_t)size);
    if (!backend_sync(f->be))
        fail_msg("%s", error_text());
    chunk_close(&chunk);
    state_close(&state, &f->net);
}

static void check_same(const char *name, const char *what, const float *a, const float *b,
                       int64_t n)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        worst = d > worst || isnan(d) ? d : worst;
        largest = fabs((double)a[i]) > largest ? fabs((double)a[i]) : largest;
    }
    if (!(worst <= 2e-5 * largest))
        fail_msg("%s: %s of two partitions differ by %g of %g", name, what, worst, largest);
}

static void test_partitions(void **unused)
{
    static const int partitions[][8] = {{1}, {2}, {3, 1, 7}, {5, 16, 1, 1}, {37, 4}, {16}, {64, 9}};
    static const int whole[] = {N_TIME, 0};
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k], 2);
        float *logits, *state;
        run_parts(&f, whole, &logits, &state);
        for (size_t i = 0; i < sizeof partitions / sizeof *partitions; i++) {
            if (device_emulated() && i % 4 != (size_t)k % 4)
                continue;
            float *logits_parts, *state_parts;
            run_parts(&f, partitions[i], &logits_parts, &state_parts);
            check_same(f.name, "logits", logits, logits_parts, N_BATCH * N_TIME * PLAN_CODES);
            check_same(f.name, "states", state, state_parts, N_BATCH * f.net.plan.state_size);
            free(logits_parts);
            free(state_parts);
        }
        free(logits);
        free(state);
        fixture_close(&f);
    }
}

/* Changing input n leaves the logits before n as they were, bit for bit, and changes logits n. */
static void test_causality(void **unused)
{
    static const int ways[][2] = {{N_TIME, 0}, {1, 0}, {13, 0}};
    static const int places[] = {0, 1, 3, 15, 16, 40, N_TIME - 1};
    for (int k = 0; k < n_kinds; k++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            struct fixture f;
            if (device_emulated() && w != (k == 0 ? 1u : k % 2 * 2u))
                continue;
            fixture_open(&f, &kinds[k], 1);
            float *logits, *state;
            run_parts(&f, ways[w], &logits, &state);
            for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                int n = places[i];
                if (device_emulated() && i % 3 != 0)
                    continue;
                float *changed, *changed_state;
                f.codes[1][n] ^= 0x55;
                run_parts(&f, ways[w], &changed, &changed_state);
                f.codes[1][n] ^= 0x55;
                const float *a = logits + (size_t)N_TIME * PLAN_CODES;
                const float *b = changed + (size_t)N_TIME * PLAN_CODES;
                size_t before = (size_t)n * PLAN_CODES;
                assert_memory_equal(a, b, before * sizeof(float));
                assert_memory_not_equal(a + before, b + before, PLAN_CODES * sizeof(float));
                assert_memory_equal(logits, changed, sizeof(float) * N_TIME * PLAN_CODES);
                free(changed);
                free(changed_state);
            }
            free(logits);
            free(state);
            fixture_close(&f);
        }
}

/* Tier k is first heard at sample up_shift (P_1 + ... + P_k): with the first input changed alone,
   nothing but the outer tiers may tell before that. Seen through the weights: silencing tier k's
   up-pool changes nothing before that sample. */
static void test_first_heard(void **unused)
{
    static const int whole[] = {N_TIME, 0};
    for (int k = 0; k < n_kinds; k++) {
        struct fixture f;
        fixture_open(&f, &kinds[k], 1);
        const struct plan *plan = &f.net.plan;
        size_t bytes = (size_t)plan->weights_size * sizeof(float);
        float *weights = malloc(bytes), *louder = malloc(bytes);
        net_get_weights(&f.net, weights);
        float *logits, *state;
        run_parts(&f, whole, &logits, &state);
        for (int i = 0; i < plan->n_layers; i++) {
            const struct layer *l = &plan->layers[i];
            if (l->kind != LAYER_UP)
                continue;
            int64_t first = 0;
            for (int tier = 1; tier <= l->tier + 1; tier++)
                first += l->up_shift * plan->rate[tier];
            const struct param *p = &plan->params[l->param[PARAM_BIAS]];
            memcpy(louder, weights, bytes);
            for (int64_t j = 0; j < p->size; j++)
                louder[p->offset + j] += 1;
            net_set_weights(&f.net, louder);
            float *changed, *changed_state;
            run_parts(&f, whole, &changed, &changed_state);
            net_set_weights(&f.net, weights);
            if (first > N_TIME)
                first = N_TIME;
            assert_memory_equal(logits, changed, (size_t)first * PLAN_CODES * sizeof(float));
            if (first < N_TIME)
                assert_memory_not_equal(logits + first * PLAN_CODES, changed + first * PLAN_CODES,
                                        PLAN_CODES * sizeof(float));
            free(changed);
            free(changed_state);
        }
        free(weights);
        free(louder);
        free(logits);
        free(state);
        fixture_close(&f);
    }
}

/* The same bits for any number of threads, or order of a device's, and on every run, forward and
   backward. */
static void test_threads(void **unused)
{
    for (int k = 0; k < n_kinds; k++) {
        float *first_grads = NULL, *first_logits = NULL;
        const int most = device_asked() ? device_orders() : 3;
        for (int n_threads = 1; n_threads <= most; n_threads++) {
            struct fixture f;
            struct chunk chunk;
            struct state state;
            size_t n_logits = (size_t)N_BATCH * N_TIME * PLAN_CODES;
            device_set_order(n_threads - 1);
            fixture_open(&f, &kinds[k], n_threads);
            size_t n_grads = (size_t)f.net.plan.weights_size;
            float *grads_there = backend_alloc(f.be, n_grads * sizeof(float));
            assert_true(chunk_open(&chunk, &f.net, N_BATCH, N_TIME, TAPE_ALL));
            assert_true(state_open(&state, &f.net, N_BATCH));
            assert_non_null(grads_there);
            backend_upload(f.be, f.codes_there, f.codes, sizeof f.codes);
            float *logits_there =
                chunk_forward(&chunk, &state, f.codes_there, f.labels_there, N_TIME);
            chunk_backward(&chunk, logits_there, NULL, grads_there);
            float *grads = malloc(n_grads * sizeof *grads);
            float *logits = malloc(n_logits * sizeof *logits);
            backend_download(f.be, grads, grads_there, n_grads * sizeof *grads);
            backend_download(f.be, logits, logits_there, n_logits * sizeof *logits);
            assert_true(backend_sync(f.be));
            if (!first_grads) {
                first_grads = grads;
                first_logits = logits;
            } else {
                assert_memory_equal(first_grads, grads, n_grads * sizeof *grads);
                assert_memory_equal(first_logits, logits, n_logits * sizeof *logits);
                free(grads);
                free(logits);
            }
            backend_free(f.be, grads_there);
            chunk_close(&chunk);
            state_close(&state, &f.net);
            fixture_close(&f);
        }
        free(first_grads);
        free(first_logits);
    }
}

/* A chunk opened for many samples runs any fewer: scratch memory is enough for all of them. The
   first of the lengths is the largest. */
static void shorter_chunks(const struct kind *kind, const int64_t *lengths, size_t n_lengths)
{
    struct fixture f;
    struct chunk chunk;
    struct state state;
    fixture_open(&f, kind, 2);
    uint8_t *codes = backend_alloc(f.be, (size_t)lengths[0]);
    float *grads = backend_alloc(f.be, (size_t)f.net.plan.weights_size * sizeof *grads);
    assert_true(chunk_open(&chunk, &f.net, 1, lengths[0], TAPE_ALL));
    assert_true(state_open(&state, &f.net, 1));
    for (size_t i = 0; i < n_lengths; i++) {
        float *logits = chunk_forward(&chunk, &state, codes, f.labels_there, lengths[i]);
        chunk_backward(&chunk, logits, NULL, grads);
    }
    assert_true(backend_sync(f.be));
    chunk_close(&chunk);
    state_close(&state, &f.net);
    backend_free(f.be, codes);
    backend_free(f.be, grads);
    fixture_close(&f);
}

static void test_shorter_chunks(void **unused)
{
#define WIDE(mixer, state, d_state)                                                                \
    "[{\"layers\":1,\"mixer\":\"" mixer "\",\"state\":\"" state "\",\"d_state\":" #d_state         \
    ",\"d_conv\":4,\"mixer_expand\":2,\"ff\":0}]"
    static const struct kind wide[] = {
        {"wide", "unet", 64, "[]", 1, "learned", "[]", WIDE("lti", "real", 4)},
        {"wide, selective", "unet", 36, "[]", 1, "learned", "[\"a\"]",
         WIDE("selective", "real", 7)},
        {"wide, complex", "unet", 20, "[]", 1, "learned", "[]", WIDE("selective", "complex", 20)},
    };
    /* around the blocks that sums and rows are cut into, of the CPU and of the GPU */
    static const int64_t cpu[] = {8192, 8064, 8063, 7808, 4096, 1009, 1008, 253, 252, 2, 1};
    static const int64_t gpu[] = {2100, 2048, 1025, 1024, 257, 256, 65, 64, 33, 32, 2, 1};
    const int64_t *lengths = device_emulated() ? gpu + 4 : device_asked() ? gpu : cpu;
    const size_t n_lengths = device_emulated() ? sizeof gpu / sizeof *gpu - 4
                             : device_asked()  ? sizeof gpu / sizeof *gpu
                                               : sizeof cpu / sizeof *cpu;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        shorter_chunks(&wide[i], lengths, n_lengths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_partitions),     cmocka_unit_test(test_causality),
        cmocka_unit_test(test_first_heard),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_shorter_chunks),
    };
    device_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
