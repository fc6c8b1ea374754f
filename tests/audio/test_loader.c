/* Batches come in order with the same content, whatever the timing; stop and errors cross threads.
 */
#include "tests/audio/fixture.h"

#include "audio/clip.h"
#include "audio/dataset_impl.h"
#include "audio/loader.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLIP = 700, BATCH = 6, STEPS = 12 };

static struct dataset *data;

static struct dataset *open_data(int64_t cache_bytes)
{
    struct dataset_options o;
    dataset_options_init(&o);
    o.rate = 8000;
    o.clip_samples = CLIP;
    o.labels = LABELS_FOLDERS;
    o.speed = 0.1f;
    o.gain_db = 6;
    o.n_threads = 2;
    o.pad_loss = false;
    o.cache_bytes = cache_bytes;
    struct dataset *d = dataset_open(fixture_path("d"), &o);
    if (!d)
        fail_msg("%s", error_text());
    return d;
}

static int setup(void **state)
{
    char name[64];
    fixture_open();
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "d/train/%c/%d.wav", 'a' + i % 2, i);
        fixture_tone(name, 8000, 400 + 200 * i, 100 + 31 * i);
    }
    fixture_tone("d/valid/v.wav", 8000, 1000, 100);
    data = open_data(1 << 20);
    return 0;
}

static int teardown(void **state)
{
    dataset_close(data);
    fixture_close();
    return 0;
}

static void pause_ms(int ms)
{
    struct timespec t = {0, ms * 1000000L};
    nanosleep(&t, NULL);
}

static struct loader *open_loader(int64_t first_step, int ahead, int n_threads)
{
    struct loader_options o = {
        .batch = BATCH, .ahead = ahead, .n_threads = n_threads, .first_step = first_step};
    struct loader *l = loader_open(data, &o);
    assert_non_null(l);
    return l;
}

/* A batch against its clips, made here. */
static void expect_batch(struct clip_maker *m, const struct batch *b, int64_t step, int first_row,
                         int n_rows)
{
    uint8_t codes[CLIP], mask[CLIP];
    int32_t label;
    int64_t n_targets = 0;
    if (!b)
        fail_msg("%s", error_text());
    assert_int_equal(b->step, step);
    assert_int_equal(b->n_rows, n_rows);
    assert_int_equal(b->n_samples, CLIP);
    for (int row = 0; row < n_rows; row++) {
        assert_true(clip_make(m, (uint64_t)(step * BATCH + first_row + row), codes, mask, &label));
        assert_memory_equal(b->codes + row * CLIP, codes, CLIP);
        assert_memory_equal(b->mask + row * CLIP, mask, CLIP);
        assert_int_equal(b->labels[row], label);
        for (int t = 0; t < CLIP; t++)
            n_targets += mask[t];
    }
    assert_int_equal(b->n_targets, n_targets);
}

static void test_content_whatever_the_timing(void **state)
{
    struct clip_maker *m = clip_maker_open(data);
    for (int k = 0; k < 6; k++) {
        int64_t first = k == 5 ? (int64_t)1 << 40 : 7 * k;
        struct loader *l = open_loader(first, 1 + k, 1 + k % 3);
        for (int64_t s = first; s < first + STEPS; s++) {
            if (k % 2 && s % 4 == 0)
                pause_ms(3);
            const struct batch *b = loader_next(l);
            if (k % 2 == 0 && s % 4 == 0) /* the batch held must not change under us */
                pause_ms(3);
            expect_batch(m, b, s, 0, BATCH);
        }
        loader_close(l);
    }
    clip_maker_close(m);
}

static void test_rows_of_a_step(void **state)
{
    struct clip_maker *m = clip_maker_open(data);
    for (int first = 0; first < BATCH; first += 2) {
        struct loader_options o = {
            .batch = BATCH, .first_row = first, .n_rows = 2, .ahead = 2, .n_threads = 2};
        struct loader *l = loader_open(data, &o);
        assert_non_null(l);
        for (int64_t s = 0; s < STEPS; s++)
            expect_batch(m, loader_next(l), s, first, 2);
        loader_close(l);
    }
    clip_maker_close(m);
}

/* Rows are windows of stays, wherever a resumed run begins. */
static void test_stays(void **state)
{
    enum { CARRY = 3 };
    struct dataset_options o;
    dataset_options_init(&o);
    o.rate = 8000;
    o.clip_samples = CLIP;
    o.carry = CARRY;
    o.n_threads = 2;
    struct dataset *d = dataset_open(fixture_path("d"), &o);
    assert_non_null(d);
    struct clip_maker *m = clip_maker_open(d);
    int n_on = 0;
    for (int64_t first = 0; first < 8; first += 5) {
        struct loader *l =
            loader_open(d, &(struct loader_options){
                               .batch = BATCH, .ahead = 2, .n_threads = 2, .first_step = first});
        for (int64_t s = first; s < first + STEPS; s++) {
            const struct batch *b = loader_next(l);
            assert_non_null(b);
            for (int row = 0; row < BATCH; row++) {
                uint8_t codes[CLIP], mask[CLIP], goes_on;
                int32_t label;
                assert_true(clip_make_window(m, (uint64_t)(s / CARRY * BATCH + row), s % CARRY,
                                             codes, mask, &label, &goes_on));
                assert_memory_equal(b->codes + row * CLIP, codes, CLIP);
                assert_int_equal(b->goes_on[row], goes_on);
                n_on += goes_on;
            }
        }
        loader_close(l);
    }
    assert_true(n_on > BATCH);
    clip_maker_close(m);
    dataset_close(d);
}

static void test_stop_at_any_time(void **state)
{
    for (int k = 0; k < 40; k++) {
        struct loader *l = open_loader(k, 1 + k % 5, 1 + k % 2);
        for (int i = 0; i < k % 4; i++)
            assert_non_null(loader_next(l));
        if (k % 3 == 0)
            pause_ms(k % 7);
        loader_close(l);
    }
    loader_close(NULL);
}

/* The temporary file becomes unreadable while training. */
static void test_errors_come_out(void **state)
{
    struct dataset *d = open_data(0);
    struct loader_options o = {.batch = BATCH, .ahead = 2, .n_threads = 2};
    assert_false(dataset_in_memory(d));
    struct loader *l = loader_open(d, &o);
    assert_non_null(loader_next(l));
    loader_close(l);
    int fd = open(fixture_path("d/write-only"), O_WRONLY | O_CREAT, 0600);
    dup2(fd, d->store.fd);
    close(fd);
    l = loader_open(d, &o);
    assert_null(loader_next(l));
    assert_error_has("cannot read the temporary file");
    assert_null(loader_next(l));
    loader_close(l);
    dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_whatever_the_timing),
        cmocka_unit_test(test_rows_of_a_step),
        cmocka_unit_test(test_stays),
        cmocka_unit_test(test_stop_at_any_time),
        cmocka_unit_test(test_errors_come_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
