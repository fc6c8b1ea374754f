#include "tests/audio/fixture.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void fixture_open(void)
{
    snprintf(folder, sizeof folder, "/tmp/hiss-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

void fixture_close(void)
{
    assert_true(path_remove(folder));
}

const char *fixture_path(const char *name)
{
    static char paths[8][FILE_PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];
    assert_true(path_join(path, folder, name));
    return path;
}

static void make_parents(const char *path)
{
    char parent[FILE_PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    assert_true(folder_make(parent));
}

void fixture_folder(const char *name)
{
    assert_true(folder_make(fixture_path(name)));
}

void fixture_link(const char *name, const char *target)
{
    make_parents(fixture_path(name));
    assert_int_equal(symlink(target, fixture_path(name)), 0);
}

void fixture_bytes(const char *name, const void *bytes, size_t size)
{
    make_parents(fixture_path(name));
    FILE *file = fopen(fixture_path(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

void fixture_text(const char *name, const char *text)
{
    fixture_bytes(name, text, strlen(text));
}

void fixture_sound(const char *name, int format, int rate, int channels, const float *x,
                   int64_t n_frames)
{
    SF_INFO info = {.samplerate = rate, .channels = channels, .format = format};
    make_parents(fixture_path(name));
    SNDFILE *file = sf_open(fixture_path(name), SFM_WRITE, &info);
    if (!file)
        fail_msg("%s: %s", name, sf_strerror(NULL));
    for (int64_t done = 0; done < n_frames; done += 1000) {
        int64_t part = n_frames - done < 1000 ? n_frames - done : 1000;
        assert_int_equal(sf_writef_float(file, x + done * channels, part), part);
    }
    assert_int_equal(sf_close(file), 0);
}

void fill_tone(float *x, int64_t n, int rate, double hz, double level)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(level * sin(2 * M_PI * hz * (double)i / rate));
}

void fixture_tone(const char *name, int rate, int64_t n, double hz)
{
    float *x = malloc(sizeof *x * (size_t)(n + 1));
    assert_non_null(x);
    fill_tone(x, n, rate, hz, 0.5);
    fixture_sound(name, SF_FORMAT_WAV | SF_FORMAT_PCM_16, rate, 1, x, n);
    free(x);
}

void assert_error_has(const char *piece)
{
    if (!strstr(error_text(), piece))
        fail_msg("error text \"%s\" lacks \"%s\"", error_text(), piece);
    assert_null(strchr(error_text(), '\n'));
}
