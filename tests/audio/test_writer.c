/* Files and streams out: exact codes, .part and rename, text chunks, refusals, full disks. */
#include "tests/audio/fixture.h"

#include "audio/encode.h"
#include "audio/reader.h"
#include "audio/writer.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct writer_options options = {
    .rate = 8000, .software = "test 1", .comment = "seed 7"};

static int setup(void **state)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    fixture_open();
    return 0;
}

static int teardown(void **state)
{
    fixture_close();
    return 0;
}

static void write_all(const char *path, int rate, const float *x, int64_t n)
{
    struct writer_options o = options;
    o.rate = rate;
    struct writer *w = writer_open(path, &o);
    if (!w)
        fail_msg("%s", error_text());
    assert_true(writer_write(w, x, n));
    assert_int_equal(writer_n(w), n);
    if (!writer_close(w))
        fail_msg("%s", error_text());
}

static void test_codes_survive(void **state)
{
    static const char *const names[] = {"c.wav", "c.flac", "c.aiff", "c.aif", "C.WAV"};
    float x[256];
    for (int c = 0; c < 256; c++)
        x[c] = quantizer_decode(QUANTIZER_MU_LAW_256, (uint8_t)c);
    for (int k = 0; k < 5; k++) {
        struct sound s;
        write_all(fixture_path(names[k]), 8000, x, 256);
        assert_true(sound_load(&s, fixture_path(names[k]), 8000, 0));
        assert_int_equal(s.n, 256);
        for (int c = 0; c < 256; c++)
            assert_int_equal(quantizer_encode(QUANTIZER_MU_LAW_256, s.x[c]), c);
        sound_free(&s);
    }
    write_all(fixture_path("c.raw"), 8000, x, 256);
    size_t size;
    uint8_t *bytes = (uint8_t *)file_read(fixture_path("c.raw"), &size);
    assert_int_equal(size, 512);
    for (int c = 0; c < 256; c++) {
        int16_t v = (int16_t)(bytes[2 * c] | bytes[2 * c + 1] << 8);
        assert_int_equal(quantizer_encode(QUANTIZER_MU_LAW_256, (float)v / 32768), c);
    }
    free(bytes);
}

static void test_lossy(void **state)
{
    static const char *const names[] = {"l.ogg", "l.opus", "l.mp3"};
    float *x = malloc(sizeof *x * 48000);
    fill_tone(x, 48000, 48000, 440, 0.5);
    for (int k = 0; k < 3; k++) {
        struct sound s;
        if (!strstr(writer_formats(), strrchr(names[k], '.') + 1))
            continue;
        write_all(fixture_path(names[k]), 48000, x, 48000);
        assert_true(sound_load(&s, fixture_path(names[k]), 0, 0));
        assert_in_range(s.n, 48000, 53000);
        double energy = 0;
        for (int64_t i = 0; i < s.n; i++)
            energy += (double)s.x[i] * (double)s.x[i];
        assert_true(fabs(energy / 48000 - 0.125) < 0.01);
        sound_free(&s);
    }
    free(x);
}

static void test_text_chunk(void **state)
{
    static const char *const names[] = {"t.wav", "t.flac", "t.aiff", "t.ogg"};
    char long_text[WRITER_TEXT_MAX + 2] = "";
    float x[100] = {0};
    memset(long_text, 'x', WRITER_TEXT_MAX);
    for (int k = 0; k < 8; k++) {
        SF_INFO info = {0};
        const char *name = names[k % 4];
        struct writer_options o = options;
        o.comment = k < 4 ? "model 12ab, seed 7" : long_text;
        struct writer *w = writer_open(fixture_path(name), &o);
        assert_non_null(w);
        assert_true(writer_write(w, x, 100));
        assert_true(writer_close(w));
        SNDFILE *file = sf_open(fixture_path(name), SFM_READ, &info);
        assert_non_null(file);
        assert_int_equal(info.frames, 100);
        sf_close(file);
        char *software, *comment;
        assert_true(sound_text(fixture_path(name), &software, &comment));
        assert_non_null(software);
        assert_non_null(strstr(software, "test 1"));
        if (!comment || strcmp(comment, o.comment) != 0)
            fail_msg("%s, case %d: the comment is %.30s", name, k, comment ? comment : "missing");
        free(software);
        free(comment);
    }
    struct writer_options o = options;
    long_text[WRITER_TEXT_MAX] = 'x';
    o.comment = long_text;
    assert_null(writer_open(fixture_path("long.wav"), &o));
    assert_error_has("longer than 2000 bytes");
    assert_false(path_exists(fixture_path("long.wav.part")));
}

static void test_part_then_rename(void **state)
{
    float *x = calloc(20000, sizeof *x);
    struct sound s;
    struct writer *w = writer_open(fixture_path("p.wav"), &options);
    assert_non_null(w);
    assert_true(writer_write(w, x, 20000));
    assert_false(path_exists(fixture_path("p.wav")));
    assert_true(path_exists(fixture_path("p.wav.part")));
    assert_true(sound_load(&s, fixture_path("p.wav.part"), 0, 0)); /* as after a power cut */
    assert_in_range(s.n, 12000, 20000);
    sound_free(&s);
    assert_true(writer_close(w));
    assert_true(path_exists(fixture_path("p.wav")));
    assert_false(path_exists(fixture_path("p.wav.part")));
    w = writer_open(fixture_path("p.wav"), &options); /* an old take stays until the new is whole */
    assert_true(writer_write(w, x, 5));
    assert_true(sound_load(&s, fixture_path("p.wav"), 0, 0));
    assert_int_equal(s.n, 20000);
    sound_free(&s);
    writer_discard(w);
    assert_false(path_exists(fixture_path("p.wav.part")));
    assert_true(path_exists(fixture_path("p.wav")));
    w = writer_open(fixture_path("nothing.wav"),
                    &options); /* interrupted before the first sample */
    assert_true(writer_close(w));
    assert_true(path_exists(fixture_path("nothing.wav")));
    assert_true(writer_close(NULL));
    writer_discard(NULL);
    free(x);
}

static void test_clamping(void **state)
{
    float x[6] = {2, -2, INFINITY, -INFINITY, NAN, 1};
    struct sound s;
    struct writer *w = writer_open(fixture_path("k.wav"), &options);
    assert_true(writer_write(w, x, 6));
    assert_int_equal(writer_n_clamped(w), 4);
    assert_true(writer_close(w));
    assert_true(sound_load(&s, fixture_path("k.wav"), 0, 0));
    assert_true(s.x[0] > 0.9999f && s.x[1] == -1 && s.x[2] > 0.9999f && s.x[3] == -1);
    assert_true(s.x[4] == 0 && s.x[5] > 0.9999f);
    sound_free(&s);
}

/* Standard output as a pipe; a thread reads it, so that no length can block. */
struct drain {
    int fd;
    uint8_t *bytes;
    size_t n;
};

static void *drain_run(void *arg)
{
    struct drain *d = arg;
    ssize_t got;
    while ((got = read(d->fd, d->bytes + d->n, 65536)) > 0)
        d->n += (size_t)got;
    return NULL;
}

static void test_stream_to_a_pipe(void **state)
{
    enum { N = 100000 };
    int ends[2], saved = dup(STDOUT_FILENO);
    struct drain d = {.bytes = malloc(2 * N + 65536 + 44)};
    float *x = malloc(sizeof *x * N);
    pthread_t thread;
    fill_tone(x, N, 8000, 99, 1);
    assert_int_equal(pipe(ends), 0);
    d.fd = ends[0];
    pthread_create(&thread, NULL, drain_run, &d);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    struct writer *w = writer_open("-", &options);
    bool ok = w && writer_write(w, x, N / 3) && writer_write(w, x + N / 3, N - N / 3);
    ok = writer_close(w) && ok;
    dup2(saved, STDOUT_FILENO);
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    close(saved);
    assert_true(ok);
    assert_int_equal(d.n, 44 + 2 * N);
    assert_memory_equal(d.bytes, "RIFF\xff\xff\xff\xffWAVEfmt ", 16);
    assert_memory_equal(d.bytes + 36, "data\xff\xff\xff\xff", 8);
    struct sound s;
    fixture_bytes("piped.wav", d.bytes, d.n);
    assert_true(sound_load(&s, fixture_path("piped.wav"), 0, 0));
    assert_int_equal(s.n, N);
    assert_int_equal(s.rate, 8000);
    for (int i = 0; i < N; i++)
        assert_true(fabsf(s.x[i] - x[i]) < 1.1f / 32768);
    sound_free(&s);
    free(d.bytes);
    free(x);
}

static void test_reader_of_the_pipe_goes_away(void **state)
{
    int ends[2], saved = dup(STDOUT_FILENO);
    float *x = calloc(100000, sizeof *x);
    assert_int_equal(pipe(ends), 0);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    struct writer *w = writer_open("-", &options);
    close(ends[0]);
    bool wrote = writer_write(w, x, 100000);
    writer_close(w);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_false(wrote);
    assert_error_has("went away");
    free(x);
}

static void test_stream_into_a_file(void **state)
{
    float x[1000] = {0};
    for (int append = 0; append < 2; append++) {
        int saved = dup(STDOUT_FILENO);
        int fd = open(fixture_path("redirected.wav"),
                      O_WRONLY | O_CREAT | O_TRUNC | (append ? O_APPEND : 0), 0600);
        fflush(stdout);
        dup2(fd, STDOUT_FILENO);
        close(fd);
        struct writer *w = writer_open("-", &options);
        bool ok = w && writer_write(w, x, 1000);
        ok = writer_close(w) && ok;
        dup2(saved, STDOUT_FILENO);
        close(saved);
        assert_true(ok);
        size_t size;
        char *bytes = file_read(fixture_path("redirected.wav"), &size);
        assert_int_equal(size, 2044);
        assert_memory_equal(bytes + 40, append ? "\xff\xff\xff\xff" : "\xd0\x07\0\0", 4);
        free(bytes);
    }
}

static void test_refusals(void **state)
{
    struct writer_options o = options;
    assert_null(writer_open(fixture_path("take.xyz"), &o));
    assert_error_has("the extension must be one of wav, flac");
    assert_null(writer_open(fixture_path("take"), &o));
    assert_error_has("the extension must be one of");
    assert_null(writer_open("a.wav/take", &o));
    assert_error_has("the extension must be one of");
    assert_null(writer_open(fixture_path("no/such/take.wav"), &o));
    assert_error_has("No such file");
    fixture_folder("folder.flac");
    assert_null(writer_open(fixture_path("folder.flac"), &o));
    assert_error_has("is a folder");
    fixture_text("file", "");
    assert_null(writer_open(fixture_path("file/take.wav"), &o));
    assert_error_has("Not a directory");
    if (strstr(writer_formats(), "opus")) {
        o.rate = 44100;
        assert_null(writer_open(fixture_path("take.opus"), &o));
        assert_error_has("8000, 12000, 16000, 24000, 48000 Hz");
        assert_false(path_exists(fixture_path("take.opus.part")));
    }
    o.rate = 655351;
    assert_null(writer_open(fixture_path("take.flac"), &o));
    assert_error_has("655350");
    char *deep = malloc(6000);
    memset(deep, 'a', 6000);
    memcpy(deep + 5990, ".wav", 5);
    assert_null(writer_open(deep, &options));
    assert_error_has("too long");
    free(deep);
    assert_true(writer_check("-", 8000, INT64_MAX));
    assert_true(writer_check("take.flac", 8000, (int64_t)1 << 40));
    assert_false(writer_check("take.doc", 8000, 0));
    assert_true(writer_check("take.wav", 8000, 2147000000));
    assert_false(writer_check("take.wav", 8000, (int64_t)1 << 31));
    assert_error_has("take.wav: a wav file ends at 4 GiB: write flac");
    assert_int_equal(open(fixture_path("take.flac"), O_RDONLY), -1);
}

static void test_every_rate(void **state)
{
    static const int rates[] = {1, 50, 8000, 11025, 12345, 96000, 655350};
    static const char *const names[] = {"r.wav", "r.aiff", "r.flac", "r.raw", "r.ogg"};
    float x[64] = {0.5f};
    for (int k = 0; k < 5; k++)
        for (int i = 0; i < 7; i++) {
            struct writer_options o = {.rate = rates[i]};
            struct sound s;
            struct writer *w = writer_open(fixture_path(names[k]), &o);
            if (!w) { /* Vorbis is choosy; it must say so, and leave nothing */
                assert_error_has("Hz");
                assert_int_equal(k, 4);
                assert_false(path_exists(fixture_path("r.ogg.part")));
                continue;
            }
            assert_true(writer_write(w, x, 64));
            assert_true(writer_close(w));
            if (k == 3)
                continue;
            assert_true(sound_load(&s, fixture_path(names[k]), 0, 0));
            assert_int_equal(s.rate, rates[i]);
            assert_int_equal(s.n, 64);
            sound_free(&s);
        }
}

/* A limit on file sizes stands in for a full disk. */
static void test_full_disk(void **state)
{
    static const char *const names[] = {"full.wav", "full.raw", "full.aiff", "full.flac",
                                        "full.ogg"};
    struct rlimit old, limit;
    float *x = malloc(sizeof *x * 400000);
    for (int i = 0; i < 400000; i++)
        x[i] = (float)(i * 2654435761u % 65536) / 65536 - 0.5f;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){20000, old.rlim_max};
    for (int k = 0; k < 5; k++) {
        struct writer *w = writer_open(fixture_path(names[k]), &options);
        assert_non_null(w);
        setrlimit(RLIMIT_FSIZE, &limit);
        bool wrote = writer_write(w, x, 400000);
        if (!wrote)
            assert_error_has("cannot write");
        bool closed = writer_close(w);
        setrlimit(RLIMIT_FSIZE, &old);
        if (wrote && closed)
            fail_msg("%s: nobody noticed", names[k]);
    }
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes_survive),
        cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_text_chunk),
        cmocka_unit_test(test_part_then_rename),
        cmocka_unit_test(test_clamping),
        cmocka_unit_test(test_stream_to_a_pipe),
        cmocka_unit_test(test_reader_of_the_pipe_goes_away),
        cmocka_unit_test(test_stream_into_a_file),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_rate),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
