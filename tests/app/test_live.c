/* A session on a real device (ALSA's file plug-in, which asks as fast as it can): hands from
   another thread, errands beside the music, the microphone, the tap, and the take made again from
   its events. Run by tests/audio/server.sh. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/live.h"
#include "audio/writer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

enum { N_MAX = 200000, EVENTS_MAX = 64 };

static char model_path[4096], folder[] = "/tmp/hiss-live-XXXXXX";
static struct live_event events[EVENTS_MAX];
static int n_events;
static float taken[N_MAX], again[N_MAX];
static int64_t n_taken;

static struct live_options options_make(uint64_t seed, int64_t n_samples)
{
    return (struct live_options){
        .model_path = model_path,
        .backend = "cpu",
        .precision = "fp16",
        .n_threads = 1,
        .sampling = {seed, 1, 0.98f, 2},
        .label = 1,
        .n_samples = n_samples,
        .player = {.device = "tofile", .rate = 16000, .channels = 2, .buffer_s = 0.05}};
}

static struct live *begin(const struct live_options *o)
{
    struct live *l = live_open(o);
    if (!l)
        fail_msg("%s", error_text());
    n_events = 0;
    n_taken = 0;
    live_tap(l, true);
    if (!live_start(l))
        fail_msg("%s", error_text());
    return l;
}

/* Reads tap and events, as a recorder would. */
static void drain(struct live *l)
{
    int64_t at, n;
    while ((n = live_tap_read(l, taken + n_taken, N_MAX - n_taken, &at)) > 0) {
        assert_int_equal(at, n_taken);
        n_taken += n;
    }
    while (n_events < EVENTS_MAX && live_event_read(l, &events[n_events]))
        n_events++;
}

static struct live_facts look(struct live *l)
{
    struct live_facts f;
    live_look(l, &f);
    return f;
}

/* Until so many samples were made. */
static void play_to(struct live *l, int64_t at)
{
    for (double end = clock_s() + 60; look(l).performance.at < at; drain(l)) {
        assert_true(clock_s() < end);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
}

static void act(struct live *l, struct action a)
{
    if (!live_act(l, &a))
        fail_msg("%s", error_text());
}

static void await_message(struct live *l, const char *text)
{
    char message[LIVE_MESSAGE_MAX];
    for (double end = clock_s() + 30; clock_s() < end; drain(l)) {
        while (live_message(l, message))
            if (strstr(message, text))
                return;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    fail_msg("no message: %s", text);
}

/* Waits for an event of this kind. */
static void await_event(struct live *l, enum action_kind kind)
{
    for (double end = clock_s() + 60; clock_s() < end; drain(l)) {
        for (int i = 0; i < n_events; i++)
            if (events[i].action.kind == kind)
                return;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    fail_msg("no event: %s", action_name(kind));
}

/* The take, made again by a performance alone, from the events. */
static void check_again(const struct live_options *o)
{
    struct hiss_model *m = hiss_model_open(model_path, "cpu", 1);
    struct performance *p = performance_open(
        &(struct performance_options){.model = m, .sampling = o->sampling, .label = o->label});
    int64_t n = 0;
    int e = 0, made = 1;
    while (n < n_taken && made > 0) {
        for (; e < n_events && events[e].at <= n; e++)
            assert_true(performance_apply(p, &events[e].action));
        made = performance_block(p, again + n);
        n += made;
    }
    assert_true(n >= n_taken);
    for (int64_t i = 0; i < n_taken; i++)
        if (again[i] != taken[i])
            fail_msg("sample %lld of %lld differs", (long long)i, (long long)n_taken);
    performance_close(p);
    hiss_model_close(m);
    for (int i = 0; i < n_events; i++)
        live_event_free(&events[i]);
}

static void test_hands(void **state)
{
    static const struct action hands[] = {
        {.kind = ACTION_SNAPSHOT, .slot = 1},
        {.kind = ACTION_TEMPERATURE, .value = 1.2f},
        {.kind = ACTION_LABEL, .number = 2},
        {.kind = ACTION_REWIND, .value = 0.2f, .seed = 4},
        {.kind = ACTION_MUTE, .on = true},
        {.kind = ACTION_MUTE, .on = false},
        {.kind = ACTION_FREEZE, .on = true, .value = 0.1f},
        {.kind = ACTION_FREEZE, .on = false},
        {.kind = ACTION_SNAPSHOT, .slot = 2},
        {.kind = ACTION_MORPH, .slot = 1, .other = 2, .value = 0.3f},
        {.kind = ACTION_RECALL, .slot = 1},
        {.kind = ACTION_RECALL, .slot = 7}, /* refused */
    };
    enum { N_HANDS = sizeof(hands) / sizeof(hands[0]) };
    struct live_options o = options_make(12, 0);
    struct live *l = begin(&o);
    for (int i = 0; i < N_HANDS; i++) {
        play_to(l, 900 * (i + 1));
        act(l, hands[i]);
    }
    await_message(l, "slot 7 is empty");
    act(l, (struct action){.kind = ACTION_PAUSE, .on = true});
    await_event(l, ACTION_PAUSE);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    drain(l);
    int64_t stood = n_taken;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    drain(l);
    assert_int_equal(n_taken, stood);
    act(l, (struct action){.kind = ACTION_PAUSE, .on = false});
    play_to(l, stood + 1000);
    float recent[256];
    int64_t at;
    live_recent(l, recent, 256, &at);
    struct live_facts f = look(l);
    assert_true(f.bits > 0 && f.level_db > -120 && f.speed_mean > 0 && f.latency_ms > 4);
    assert_true(f.speed_worst <= f.speed_mean && f.resampler_ms > 0);
    assert_int_equal(f.device_rate, 16000);
    assert_int_equal(f.performance.slots, 1 << 1 | 1 << 2);
    assert_int_equal(f.tap_lost, 0);
    live_stop(l);
    drain(l);
    live_close(l);
    assert_int_equal(n_events, N_HANDS - 1 + 3); /* pause, on, and the last pause */
    assert_true(taken[n_taken - 1] == 0 || n_taken % 160 == 0);
    check_again(&o);
}

/* A prompt from a file is heard beside the music; the state goes to a file and is a beginning. */
static void test_errands(void **state)
{
    enum { N_PROMPT = 3000 };
    char wav[64], saved[64];
    static float x[N_PROMPT];
    snprintf(wav, sizeof(wav), "%s/prompt.wav", folder);
    snprintf(saved, sizeof(saved), "%s/state", folder);
    for (int i = 0; i < N_PROMPT; i++)
        x[i] = 0.4f * (float)(i % 50) / 50;
    struct writer *w = writer_open(wav, &(struct writer_options){.rate = 8000});
    assert_true(writer_write(w, x, N_PROMPT) && writer_close(w));

    struct live_options o = options_make(31, 0);
    struct live *l = begin(&o);
    play_to(l, 1000);
    assert_true(live_prompt_file(l, "/nowhere/prompt.wav"));
    await_message(l, "/nowhere/prompt.wav");
    assert_true(live_prompt_file(l, wav));
    await_event(l, ACTION_PROMPT);
    assert_true(live_save_state(l, saved));
    await_message(l, "the state is in");
    play_to(l, look(l).performance.at + 500);
    live_stop(l);
    drain(l);
    live_close(l);
    for (int i = 0; i < n_events; i++)
        if (events[i].action.kind == ACTION_PROMPT) {
            assert_int_equal(events[i].action.n_codes, N_PROMPT);
            assert_null(events[i].action.state);
        }
    check_again(&o);

    size_t size;
    char *bytes = file_read(saved, &size);
    assert_non_null(bytes);
    o.state = bytes;
    o.state_size = size;
    o.n_samples = 1600;
    l = begin(&o);
    bool ok = true;
    for (double end = clock_s() + 60; !live_ended(l, &ok); drain(l)) {
        assert_true(clock_s() < end);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    assert_true(ok);
    live_stop(l);
    drain(l);
    live_close(l);
    assert_int_equal(n_taken, 1600);
    assert_int_equal(n_events, 1);
    assert_int_equal(events[0].action.kind, ACTION_STATE);
    check_again(&o);
    free(bytes);
}

/* How much of n samples is a tone of so many Hz, 0 to 1. */
static double tone_share(const float *x, int64_t n, double hz, double rate)
{
    double power = 0, tone = 0, turned = 0;
    for (int64_t i = 0; i < n; i++) {
        double turn = 2 * M_PI * hz * (double)i / rate;
        power += (double)x[i] * (double)x[i];
        tone += (double)x[i] * sin(turn);
        turned += (double)x[i] * cos(turn);
    }
    return (tone * tone + turned * turned) * 2 / (double)n / power;
}

/* The microphone (the monitor of the server's sink, in which a tone sounds) becomes the prompt. */
static void test_listen(void **state)
{
    enum { RATE = 8000, N_TONE = 4 * RATE };
    static float tone[N_TONE];
    char wav[64], command[256];
    for (int i = 0; i < N_TONE; i++)
        tone[i] = 0.5f * (float)sin(2 * M_PI * 200 * i / RATE);
    snprintf(wav, sizeof(wav), "%s/tone.wav", folder);
    struct writer *w = writer_open(wav, &(struct writer_options){.rate = RATE});
    assert_true(writer_write(w, tone, N_TONE) && writer_close(w));
    assert_int_equal(system("pactl load-module module-null-sink norewinds=1 >/dev/null"), 0);
    snprintf(command, sizeof(command), "paplay %s &", wav);
    assert_int_equal(system(command), 0);

    struct live_options o = options_make(5, 0);
    struct live *l = begin(&o);
    assert_false(live_listen(l, false)); /* it is off */
    if (!live_listen(l, true))
        fail_msg("%s", error_text());
    assert_false(live_listen(l, true));
    for (double end = clock_s() + 30; look(l).listened_s < 1.5f; drain(l)) {
        assert_true(clock_s() < end);
        assert_int_equal(look(l).errand, LIVE_LISTENING);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    assert_true(live_listen(l, false));
    await_event(l, ACTION_PROMPT);
    play_to(l, look(l).performance.at + 500);
    live_stop(l);
    drain(l);
    live_close(l);
    assert_int_equal(system("pactl unload-module module-null-sink"), 0);

    struct hiss_model *m = hiss_model_open(model_path, "cpu", 1);
    static float heard[2 * RATE];
    int64_t n = 0;
    for (int i = 0; i < n_events; i++)
        if (events[i].action.kind == ACTION_PROMPT) {
            const struct action *a = &events[i].action;
            assert_in_range(a->n_codes, 3 * RATE / 2, 2 * RATE);
            for (n = 0; n < a->n_codes; n++)
                heard[n] = hiss_model_decode(m, a->codes[n]);
        }
    double share = tone_share(heard + n - RATE / 2, RATE / 2, 200, RATE);
    if (share < 0.9)
        fail_msg("only %.3f of the prompt is the tone", share);
    hiss_model_close(m);
    check_again(&o);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hands),
        cmocka_unit_test(test_errands),
        cmocka_unit_test(test_listen),
    };
    if (argc != 2 || !getenv("HISS_TEST_PULSE") || !mkdtemp(folder)) {
        fprintf(stderr, "usage: server.sh %s MODEL\n", argv[0]);
        return 2;
    }
    snprintf(model_path, sizeof(model_path), "%s", argv[1]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    path_remove(folder);
    return failed;
}
