/* A performance of the bundled model: what is heard follows from actions and positions alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/performance.h"
#include "base/error.h"

enum { BLOCK = PERFORMANCE_BLOCK, RATE = 8000, FADE = 160 };

static struct hiss_model *model;
static char model_path[4096];

static struct performance *open_performance(const char *label, uint64_t seed)
{
    struct hiss_sampling sampling = hiss_model_sampling(model);
    sampling.seed = seed;
    struct performance_options options = {
        .model = model,
        .sampling = sampling,
        .label = label ? hiss_model_find_label(model, label) : -1,
    };
    struct performance *p = performance_open(&options);
    if (!p)
        fail_msg("%s", error_text());
    return p;
}

/* n samples, a multiple of blocks. */
static void play(struct performance *p, float *x, int n)
{
    for (int at = 0; at < n; at += BLOCK)
        assert_int_equal(performance_block(p, x + at), BLOCK);
}

static void act(struct performance *p, struct action a)
{
    if (!performance_apply(p, &a))
        fail_msg("%s: %s", action_name(a.kind), error_text());
}

static void refuse(struct performance *p, struct action a, const char *text)
{
    struct performance_facts before = performance_look(p);
    assert_false(performance_apply(p, &a));
    if (!strstr(error_text(), text))
        fail_msg("no '%s' in: %s", text, error_text());
    struct performance_facts after = performance_look(p);
    assert_true(before.sampling.temperature == after.sampling.temperature &&
                before.sampling.top_p == after.sampling.top_p);
    assert_int_equal(before.label, after.label);
}

static void assert_same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (a[i] != b[i])
            fail_msg("sample %d is %g, not %g", i, (double)a[i], (double)b[i]);
}

static int n_different(const float *a, const float *b, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += a[i] != b[i];
    return count;
}

/* Without hands it is the model's song: clip by clip, by the stream itself. */
static void test_plain(void **unused)
{
    enum { N = 9600 }; /* into the second clip */
    static uint8_t codes[N];
    static float x[N];
    for (int guided = 0; guided < 2; guided++) {
        struct performance *p = open_performance(guided ? "three" : NULL, 11);
        struct hiss_sampling sampling = hiss_model_sampling(model);
        int label = guided ? hiss_model_find_label(model, "three") : -1;
        sampling.seed = 11;
        if (!guided)
            sampling.guidance = 1;
        struct hiss_stream *s = hiss_stream_open(model, 1, 0, guided);
        assert_true(hiss_stream_set_sampling(s, &sampling));
        assert_true(hiss_stream_set_label(s, 0, label));
        assert_true(hiss_stream_generate(s, codes, RATE, NULL));
        hiss_stream_restart(s);
        assert_true(hiss_stream_set_label(s, 0, label));
        assert_true(hiss_stream_generate(s, codes + RATE, N - RATE, NULL));
        play(p, x, N);
        for (int i = 0; i < N; i++)
            assert_true(x[i] == hiss_model_decode(model, codes[i]));
        struct performance_facts f = performance_look(p);
        assert_int_equal(f.at, N);
        assert_int_equal(f.clip_at, N - RATE);
        assert_true(f.guided); /* a label may come later */
        assert_true(f.nats > 0);
        hiss_stream_close(s);
        performance_close(p);
    }
}

/* The bits of a recall are those that followed the snapshot, behind the crossfade too. */
static void test_snapshot_recall(void **unused)
{
    enum { N = 1600 };
    static float before[N], after[N], again[N];
    struct performance *p = open_performance("seven", 3);
    refuse(p, (struct action){.kind = ACTION_RECALL, .slot = 2}, "empty");
    refuse(p, (struct action){.kind = ACTION_SNAPSHOT, .slot = 10}, "slots");
    play(p, before, N);
    act(p, (struct action){.kind = ACTION_SNAPSHOT, .slot = 2});
    play(p, after, N);
    act(p, (struct action){.kind = ACTION_SEED, .seed = 99});
    act(p, (struct action){.kind = ACTION_TEMPERATURE, .value = 0.5f});
    act(p, (struct action){.kind = ACTION_LABEL, .number = 0});
    play(p, before, N);
    act(p, (struct action){.kind = ACTION_RECALL, .slot = 2});
    play(p, again, N);
    assert_same(again + FADE, after + FADE, N - FADE);
    assert_true(n_different(again, after, FADE) > FADE / 2); /* the fade is there */
    struct performance_facts f = performance_look(p);
    assert_int_equal(f.slots, 1 << 2);
    assert_true(f.sampling.seed == 3 && f.label == hiss_model_find_label(model, "seven"));
    assert_int_equal(f.at, 4 * N);
    performance_close(p);
}

/* The largest step between two neighbours of what is heard, against the sound's own. */
static float largest_step(const float *x, int n)
{
    float most = 0;
    for (int i = 1; i < n; i++)
        most = fmaxf(most, fabsf(x[i] - x[i - 1]));
    return most;
}

static void test_mute_pause(void **unused)
{
    enum { N = 1600 };
    static float plain[3 * N], x[3 * N];
    struct performance *p = open_performance("nine", 5);
    play(p, plain, 3 * N);
    performance_close(p);

    p = open_performance("nine", 5);
    play(p, x, N);
    act(p, (struct action){.kind = ACTION_MUTE, .on = true});
    play(p, x + N, N);
    act(p, (struct action){.kind = ACTION_MUTE, .on = false});
    play(p, x + 2 * N, N);
    assert_same(x, plain, N);
    for (int i = 0; i < FADE; i++) /* never louder, and in order to nothing */
        assert_true(fabsf(x[N + i]) <= fabsf(plain[N + i]) * (1 - (float)i / FADE) + 1e-6f);
    for (int i = FADE; i < N; i++)
        assert_true(x[N + i] == 0);
    assert_same(x + 2 * N + FADE, plain + 2 * N + FADE, N - FADE);
    performance_close(p);

    p = open_performance("nine", 5);
    play(p, x, N);
    act(p, (struct action){.kind = ACTION_PAUSE, .on = true});
    play(p, x + N, FADE);
    assert_int_equal(performance_block(p, x + N + FADE), 0);
    assert_int_equal(performance_block(p, x + N + FADE), 0);
    assert_int_equal(performance_look(p).at, N + FADE);
    act(p, (struct action){.kind = ACTION_PAUSE, .on = false});
    play(p, x + N + FADE, 3 * N - N - FADE);
    assert_same(x + N + 2 * FADE, plain + N + 2 * FADE, 2 * N - 2 * FADE);
    assert_true(largest_step(x, 3 * N) <= largest_step(plain, 3 * N));
    performance_close(p);
}

static void test_rewind(void **unused)
{
    enum { N = 8000, S = 2000 }; /* states are kept every 0.25 s: 2016 samples */
    static float first[N], other[N], same[N];
    for (int same_seed = 0; same_seed < 2; same_seed++) {
        struct performance *p = open_performance(NULL, 21);
        play(p, first, N);
        assert_true(performance_look(p).rewind_s == 1);
        refuse(p, (struct action){.kind = ACTION_REWIND, .value = -1}, "back");
        act(p, (struct action){.kind = ACTION_REWIND, .value = 0.6f, .seed = same_seed ? 21 : 22});
        play(p, same_seed ? same : other, N);
        /* Back twice goes back further: the old line is forgotten behind the first rewind. */
        assert_true(fabsf(performance_look(p).rewind_s - (float)(2016 + N) / RATE) < 1e-3f);
        performance_close(p);
    }
    /* 0.6 s before 8000 is 3200: the state at 2016. */
    assert_same(same + FADE, first + 2016 + FADE, N - 2016 - FADE);
    assert_true(n_different(other, same, N) > N / 2);
}

static void test_freeze(void **unused)
{
    enum { N = 8000, L = 2400 };
    static float x[N], loop[3 * L], on[1600];
    struct performance *p = open_performance("two", 8);
    refuse(p, (struct action){.kind = ACTION_FREEZE, .on = true, .value = 1}, "loop");
    play(p, x, N);
    refuse(p, (struct action){.kind = ACTION_FREEZE, .on = false}, "already");
    act(p, (struct action){.kind = ACTION_FREEZE, .on = true, .value = (float)L / RATE});
    play(p, loop, 3 * L);
    assert_same(loop + FADE, x + N - L + FADE, L - 2 * FADE);
    assert_same(loop + L, loop + 2 * L, L); /* round and round */
    assert_true(performance_look(p).frozen);
    assert_true(largest_step(loop, 3 * L) < 1.5f * largest_step(x, N));
    act(p, (struct action){.kind = ACTION_FREEZE, .on = false});
    play(p, on, 1600);
    assert_false(performance_look(p).frozen);
    performance_close(p);

    p = open_performance("two", 8); /* it goes on where it stood, one fade later */
    static float whole[N + FADE + 1600];
    play(p, whole, N + FADE + 1600);
    assert_same(on + FADE, whole + N + FADE + FADE, 1600 - FADE);
    performance_close(p);
}

static void test_prompt_restart_morph(void **unused)
{
    enum { N = 1600 };
    static float x[N], y[N];
    static uint8_t codes[N];
    struct performance *p = open_performance("four", 2);
    play(p, x, N);
    for (int i = 0; i < N; i++)
        codes[i] = hiss_model_encode(model, x[i]);
    int four = hiss_model_find_label(model, "four");
    struct action prompt = {.kind = ACTION_PROMPT, .codes = codes, .n_codes = N, .number = four};
    act(p, prompt);
    assert_int_equal(performance_look(p).clip_at, N);
    play(p, x, N);

    /* Heard beside, by another model on a thread of its own: the same bits. */
    struct hiss_model *beside = hiss_model_open(model_path, "cpu", 1);
    struct performance *q = open_performance("four", 2);
    size_t size;
    void *state = performance_prompt_state(beside, true, four, codes, N, &size);
    assert_non_null(state);
    play(q, y, N);
    act(q,
        (struct action){.kind = ACTION_PROMPT, .state = state, .state_size = size, .number = four});
    play(q, y, N);
    assert_same(x, y, N);
    refuse(
        q,
        (struct action){.kind = ACTION_STATE, .state = state, .state_size = size - 1, .number = -1},
        "bytes");
    prompt.n_codes = RATE;
    static uint8_t long_codes[RATE];
    prompt.codes = long_codes;
    refuse(q, prompt, "shorter");
    free(state);
    hiss_model_close(beside);

    act(q, (struct action){.kind = ACTION_RESTART});
    assert_int_equal(performance_look(q).clip_at, 0);
    act(q, (struct action){.kind = ACTION_SNAPSHOT, .slot = 1});
    play(q, y, N);
    act(q, (struct action){.kind = ACTION_SNAPSHOT, .slot = 9});
    refuse(q, (struct action){.kind = ACTION_MORPH, .slot = 1, .other = 9, .value = 2}, "morph");
    act(q, (struct action){.kind = ACTION_MORPH, .slot = 1, .other = 9, .value = 0.5f});
    play(q, x, N);
    act(q, (struct action){.kind = ACTION_MORPH, .slot = 1, .other = 9, .value = 0});
    play(q, x, N);
    assert_same(x + FADE, y + FADE, N - FADE); /* at its end it is the snapshot itself */
    performance_close(p);
    performance_close(q);
}

/* --- a take made again from its log --- */

struct log {
    struct action action[64];
    int64_t at[64];
    int n;
};

static void log_note(void *arg, const struct action *a, int64_t at)
{
    struct log *log = arg;
    log->action[log->n] = *a;
    log->at[log->n++] = at;
}

/* A guard's hand: it acts from within, and is in the log as well. */
static void log_guard(void *arg, struct performance *p, const struct performance_made *made)
{
    struct log *log = arg;
    if (made->n > 0 && performance_look(p).at == 20 * BLOCK && log->n < 60)
        act(p, (struct action){.kind = ACTION_REWIND, .value = 0.01f, .seed = 77});
}

static void test_again(void **unused)
{
    enum { BLOCKS = 300 };
    static float x[BLOCKS * BLOCK], y[BLOCKS * BLOCK];
    static const struct action hands[] = {
        {.kind = ACTION_SNAPSHOT, .slot = 1},
        {.kind = ACTION_TEMPERATURE, .value = 1.1f},
        {.kind = ACTION_TOP_P, .value = 0.9f},
        {.kind = ACTION_GUIDANCE, .value = 1.5f},
        {.kind = ACTION_FREEZE, .on = true, .value = 0.1f},
        {.kind = ACTION_RECALL, .slot = 1},
        {.kind = ACTION_REWIND, .value = 0.3f, .seed = 5},
        {.kind = ACTION_REWIND, .value = 0.3f, .seed = 6}, /* inside the fade of the last one */
        {.kind = ACTION_SNAPSHOT, .slot = 3},
        {.kind = ACTION_LABEL, .number = 4},
        {.kind = ACTION_MUTE, .on = true},
        {.kind = ACTION_RESTART},
        {.kind = ACTION_MUTE, .on = false},
        {.kind = ACTION_MORPH, .slot = 1, .other = 3, .value = 0.4f},
    };
    enum { N_HANDS = sizeof(hands) / sizeof(hands[0]) };
    struct log log = {0};
    struct performance_options options = {.model = model,
                                          .sampling = hiss_model_sampling(model),
                                          .label = 1,
                                          .after_block = log_guard,
                                          .after_block_arg = &log,
                                          .applied = log_note,
                                          .applied_arg = &log};
    struct performance *p = performance_open(&options);
    for (int b = 0, h = 0; b < BLOCKS; b++) {
        for (; h < N_HANDS && b == (h == 7 ? 15 * 6 + 2 : 15 * h); h++)
            act(p, hands[h]);
        assert_int_equal(performance_block(p, x + b * BLOCK), BLOCK);
    }
    performance_close(p);
    assert_int_equal(log.n, N_HANDS + 1);

    options.after_block = NULL;
    options.applied = NULL;
    p = performance_open(&options);
    for (int b = 0, e = 0; b < BLOCKS; b++) {
        for (; e < log.n && log.at[e] == performance_look(p).at; e++)
            act(p, log.action[e]);
        assert_int_equal(performance_block(p, y + b * BLOCK), BLOCK);
    }
    performance_close(p);
    assert_same(x, y, BLOCKS * BLOCK);
}

static void test_refusals(void **unused)
{
    static float x[BLOCK];
    struct performance *p = open_performance(NULL, 1);
    play(p, x, BLOCK);
    refuse(p, (struct action){.kind = ACTION_TEMPERATURE, .value = -1}, "temperature");
    refuse(p, (struct action){.kind = ACTION_TOP_P, .value = 0}, "top-p");
    refuse(p, (struct action){.kind = ACTION_LABEL, .number = 10}, "labels");
    refuse(p, (struct action){.kind = ACTION_MORPH, .slot = 1, .other = 2}, "empty");
    performance_close(p);
    enum action_kind kind;
    for (int i = 0; i < ACTION_KINDS; i++)
        assert_true(action_from_name(&kind, action_name((enum action_kind)i)) && (int)kind == i);
    assert_false(action_from_name(&kind, "stretch"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_snapshot_recall),
        cmocka_unit_test(test_mute_pause), cmocka_unit_test(test_rewind),
        cmocka_unit_test(test_freeze),     cmocka_unit_test(test_prompt_restart_morph),
        cmocka_unit_test(test_again),      cmocka_unit_test(test_refusals),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: %s PRESETS\n", argv[0]);
        return 2;
    }
    snprintf(model_path, sizeof(model_path), "%s/digits.safetensors", argv[1]);
    model = hiss_model_open(model_path, "cpu", 1);
    if (!model) {
        fprintf(stderr, "%s\n", error_text());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hiss_model_close(model);
    return failed;
}
