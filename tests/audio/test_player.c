/* The player on real devices: ALSA's file plug-in, which takes sound as fast as it comes, and a
   sound server's null sinks with their monitor recorded. Run by server.sh. */
#define _GNU_SOURCE
#include "tests/audio/fixture.h"

#include "audio/microphone.h"
#include "audio/player.h"
#include "base/clock.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[] = "/tmp/hiss-player-XXXXXX";

static void wait_s(double s)
{
    nanosleep(&(struct timespec){(time_t)s, (long)((s - floor(s)) * 1e9)}, NULL);
}

/* Never 0, never the same twice: every sample is known again. */
static float sample(int64_t i)
{
    return 0.25f + (float)(i % 100003) / 200006;
}

static float *read_floats(const char *path, int64_t *n)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *n = ftell(file) / (long)sizeof(float);
    rewind(file);
    float *x = malloc(sizeof(*x) * (size_t)*n + 1);
    assert_int_equal(fread(x, sizeof(*x), (size_t)*n, file), *n);
    fclose(file);
    return x;
}

static struct player *open_player(const struct player_options *options)
{
    struct player *p = player_open(options);
    if (!p)
        fail_msg("%s", error_text());
    return p;
}

static void finish(struct player *p)
{
    player_finish(p);
    for (double end = clock_s() + 20; !player_finished(p) && clock_s() < end;)
        wait_s(0.005);
    assert_true(player_finished(p));
    player_stop(p, 1);
}

/* --- the file plug-in: odd pieces, all rates, one to eight channels
 * ------------------------------- */

static void file_case(int rate, int channels, int frames)
{
    enum { N = 6000 };
    char path[64];
    static float x[N];
    snprintf(path, sizeof(path), "%s/out.raw", folder);
    setenv("HISS_TEST_RAW", path, 1);
    struct player *p = open_player(&(struct player_options){.device = "tofile",
                                                            .rate = rate,
                                                            .channels = channels,
                                                            .buffer_s = 1.0 * N / rate,
                                                            .callback_frames = frames});
    assert_int_equal(player_rate(p), rate);
    assert_int_equal(player_channels(p), channels);
    for (int i = 0; i < N; i++)
        x[i] = sample(i);
    assert_int_equal(player_wanted(p), N);
    assert_int_equal(player_write(p, x, N), N);
    assert_int_equal(player_wanted(p), 0);
    player_finish(p);
    assert_true(player_start(p));
    finish(p);
    struct player_facts f;
    player_look(p, &f);
    assert_int_equal(f.underruns, 0);
    assert_int_equal(f.missing, 0);
    assert_true(f.frames >= N && f.callbacks > 0);
    if (frames > 0)
        assert_int_equal(f.callback_max, frames);
    player_close(p);

    int64_t n, at = 0;
    float *y = read_floats(path, &n);
    while (at < n && y[at] == 0)
        at++;
    if (n - at < (int64_t)N * channels)
        fail_msg("%lld of %d samples at %d Hz, %d channels, pieces of %d", (long long)(n - at),
                 N * channels, rate, channels, frames);
    assert_int_equal(at % channels, 0);
    for (int i = 0; i < N * channels; i++)
        if (y[at + i] != x[i / channels])
            fail_msg("sample %d of channel %d is %g, not %g, at %d Hz, pieces of %d", i / channels,
                     i % channels, (double)y[at + i], (double)x[i / channels], rate, frames);
    for (int64_t i = at + (int64_t)N * channels; i < n; i++) /* only falling to silence */
        assert_true(y[i] >= 0 && y[i] <= x[N - 1]);
    free(y);
}

static void test_file(void **state)
{
    static const int rates[] = {8000, 11025, 22050, 44100, 48000, 96000, 192000};
    static const int frames[] = {0, 7, 64, 441, 1000, 4096};
    for (size_t i = 0; i < sizeof(rates) / sizeof(*rates); i++)
        file_case(rates[i], 1 + (int)i, frames[i % 6]);
    for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++)
        file_case(16000, 8, frames[i]);
}

/* --- the server: sinks of one rate, and what is heard there
 * --------------------------------------- */

static int run(const char *command)
{
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Loads a null sink named `ear` and records its monitor to `path`. */
static pid_t ear_open(const char *path, int rate)
{
    char command[512], monitor_rate[32];
    snprintf(command, sizeof(command),
             "pactl load-module module-null-sink sink_name=ear rate=%d channels=1 "
             "format=float32le norewinds=1 >/dev/null",
             rate);
    assert_int_equal(run(command), 0);
    snprintf(monitor_rate, sizeof(monitor_rate), "--rate=%d", rate);
    pid_t pid = fork();
    if (pid == 0) {
        FILE *out = freopen(path, "wb", stdout);
        execlp("parec", "parec", "--device=ear.monitor", "--raw", "--format=float32le",
               "--channels=1", "--latency-msec=20", monitor_rate, (char *)NULL);
        _exit(out ? 127 : 126);
    }
    assert_true(pid > 0);
    wait_s(0.5); /* until it records */
    return pid;
}

static void ear_close(pid_t pid)
{
    wait_s(0.5);
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    run("pactl unload-module module-null-sink");
}

/* Writes sample i of a 200 Hz tone as the ring asks for it, for so many seconds. */
static void tone_write(struct player *p, int64_t *at, double seconds)
{
    int rate = player_rate(p);
    for (double end = clock_s() + seconds; clock_s() < end; wait_s(0.001))
        for (size_t n = player_wanted(p); n > 0; n--, ++*at) {
            float x = 0.5f * sinf((float)(2 * M_PI * 200) * (float)(*at % rate) / (float)rate);
            if (player_write(p, &x, 1) == 0)
                break;
        }
}

/* A writer that stops for a while: each gap is counted once, fades out and in, and no step between
   two samples is larger than the tone's and the fades' own. */
static void test_starvation(void **state)
{
    enum { RATE = 8000, GAPS = 3 };
    char path[64];
    snprintf(path, sizeof(path), "%s/ear.raw", folder);
    pid_t ear = ear_open(path, RATE);
    struct player *p = open_player(
        &(struct player_options){.device = "ear", .rate = RATE, .channels = 1, .buffer_s = 0.2});
    int64_t at = 0;
    tone_write(p, &at, 0.1);
    assert_int_equal(player_wanted(p), 0);
    assert_true(player_start(p));
    for (int i = 0; i < GAPS; i++) {
        tone_write(p, &at, 0.4);
        wait_s(0.7);
    }
    tone_write(p, &at, 0.5);
    struct player_facts f;
    player_look(p, &f);
    finish(p);
    assert_int_equal(f.underruns, GAPS);
    assert_true(f.missing > GAPS * RATE / 8 && f.missing < GAPS * RATE);
    assert_true(f.device_s > 0 && f.target_s >= 0.2);
    player_close(p);
    ear_close(ear);

    int64_t n, silent = 0, gaps = 0, loud = 0;
    float *x = read_floats(path, &n), most = 0;
    for (int64_t i = 1; i < n; i++) {
        most = fmaxf(most, fabsf(x[i] - x[i - 1]));
        loud += fabsf(x[i]) > 0.3f;
        silent = fabsf(x[i]) < 1e-4f ? silent + 1 : 0;
        gaps += silent == RATE / 10 && loud > 0;
    }
    assert_true(loud > RATE / 2);
    assert_int_equal(gaps, GAPS + 1); /* and the end */
    /* The tone moves 0.0785 a sample; fading out from 0.5 in 2 ms 0.03. A cut would be 0.5. */
    if (most > 0.12f)
        fail_msg("a step of %g: a click", (double)most);
    free(x);
}

static bool wait_state(struct player *p, enum player_state wanted, double seconds)
{
    struct player_facts f;
    int64_t at = 0;
    for (double end = clock_s() + seconds; clock_s() < end;) {
        tone_write(p, &at, 0.02);
        player_look(p, &f);
        if (f.state == wanted)
            return true;
    }
    return false;
}

static void await_message(struct player *p, const char *text)
{
    char message[256];
    for (double end = clock_s() + 3; clock_s() < end; wait_s(0.02))
        if (player_message(p, message, sizeof(message))) {
            if (!strstr(message, text))
                fail_msg("no '%s' in: %s", text, message);
            return;
        }
    fail_msg("no message: %s", text);
}

/* The sink is removed while it plays, and comes back. */
static void test_removed(void **state)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/ear.raw", folder);
    pid_t ear = ear_open(path, 44100);
    struct player *p = open_player(
        &(struct player_options){.device = "ear", .rate = 44100, .channels = 2, .buffer_s = 0.08});
    int64_t at = 0;
    tone_write(p, &at, 0.1);
    assert_true(player_start(p));
    tone_write(p, &at, 0.3);
    assert_int_equal(run("pactl unload-module module-null-sink"), 0);
    assert_true(wait_state(p, PLAYER_LOST, 8));
    await_message(p, "went away");
    assert_true(player_wanted(p) < 44100); /* a writer waits for the ring as ever */
    kill(ear, SIGTERM);
    waitpid(ear, NULL, 0);
    wait_s(1.5); /* a retry finds nothing yet */
    ear = ear_open(path, 44100);
    assert_true(wait_state(p, PLAYER_PLAYING, 8));
    await_message(p, "is back");
    tone_write(p, &at, 1.2);
    struct player_facts f;
    player_look(p, &f);
    assert_int_equal(f.lost, 1);
    finish(p);
    player_close(p);
    ear_close(ear);
    int64_t n, loud = 0;
    float *x = read_floats(path, &n);
    for (int64_t i = 0; i < n; i++)
        loud += fabsf(x[i]) > 0.3f;
    assert_true(loud > 44100 / 8); /* it is heard again */
    free(x);
}

/* A server that stands still: noticed, and the player can be left while it does. */
static void test_stalled(void **state)
{
    char path[64];
    pid_t server = (pid_t)atoi(getenv("HISS_TEST_PULSE"));
    snprintf(path, sizeof(path), "%s/ear.raw", folder);
    pid_t ear = ear_open(path, 16000);
    struct player *p = open_player(
        &(struct player_options){.device = "ear", .rate = 16000, .channels = 1, .buffer_s = 0.05});
    int64_t at = 0;
    tone_write(p, &at, 0.1);
    assert_true(player_start(p));
    tone_write(p, &at, 0.3);
    kill(server, SIGSTOP);
    assert_true(wait_state(p, PLAYER_LOST, 8));
    await_message(p, "went away");
    double begin = clock_s();
    player_stop(p, 1);
    assert_true(clock_s() - begin < 5);
    kill(server, SIGCONT);
    ear_close(ear);
    /* It is left to the end of the program: its device may never answer. */
    player_close(p);
}

/* The microphone hears what the sink's monitor, the server's only source, gives. */
static void test_microphone(void **state)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/ear.raw", folder);
    pid_t ear = ear_open(path, 16000);
    struct player *p = open_player(&(struct player_options){
        .device = "default", .rate = 16000, .channels = 1, .buffer_s = 0.1});
    int64_t at = 0, n;
    int rate;
    tone_write(p, &at, 0.1);
    assert_true(player_start(p));
    tone_write(p, &at, 0.8);
    struct microphone *m = microphone_open(NULL, 1.5);
    if (!m)
        fail_msg("%s", error_text());
    tone_write(p, &at, 3); /* longer than it may listen */
    assert_true(microphone_heard_s(m) == 1.5);
    float *x = microphone_take(m, &n, &rate);
    assert_non_null(x);
    assert_int_equal(n, rate + rate / 2);
    double power = 0, tone = 0, turned = 0;
    for (int64_t i = n / 2; i < n / 2 + rate / 2; i++) { /* 100 periods */
        double turn = 2 * M_PI * 200 * (double)i / rate;
        power += (double)x[i] * (double)x[i];
        tone += (double)x[i] * sin(turn);
        turned += (double)x[i] * cos(turn);
    }
    double share = (tone * tone + turned * turned) / (rate / 4.0) / power;
    assert_true(power / (rate / 2.0) > 0.05); /* 0.125 is the tone's */
    if (share < 0.9)
        fail_msg("only %.3f of what was heard is the tone", share);
    free(x);
    microphone_close(m);
    finish(p);
    player_close(p);
    ear_close(ear);
    assert_null(microphone_open("gramophone", 1));
    assert_error_has("gramophone");
}

static void test_refused(void **state)
{
    assert_null(player_open(&(struct player_options){.device = "gramophone", .buffer_s = 0.1}));
    assert_error_has("gramophone");
    assert_error_has("tofile");
    assert_null(player_open(&(struct player_options){
        .device = "tofile", .rate = 8000, .channels = 1000, .buffer_s = 0.1}));
    assert_error_has("1000 channels");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),    cmocka_unit_test(test_starvation),
        cmocka_unit_test(test_removed), cmocka_unit_test(test_microphone),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_stalled),
    };
    if (!getenv("HISS_TEST_PULSE") || !mkdtemp(folder)) {
        fprintf(stderr, "run me by server.sh\n");
        return 2;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char path[64];
    snprintf(path, sizeof(path), "rm -rf %s", folder);
    run(path);
    return failed;
}
