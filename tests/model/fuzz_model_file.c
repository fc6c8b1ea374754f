/*
 * Hostile model files: good ones with seeded damage (flipped bytes, cuts, splices, edits of the
 * header) must be read or refused cleanly. Run it under the sanitizers:
 *
 *     fuzz_model_file [ROUNDS [SEED]]
 *
 * Compiled with -DHISS_LIBFUZZER it is a target of clang's -fsanitize=fuzzer instead.
 */
#define _GNU_SOURCE
#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "model/build.h"
#include "model/model_file.h"
#include "tests/model/kinds.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { ROUNDS = 4000, DAMAGES_MAX = 4, LENGTH_BYTES = 8 };

/* A file in memory and the path that leads to it. */
struct memory_file {
    int fd;
    char path[64];
};

static void memory_file_open(struct memory_file *f)
{
    f->fd = memfd_create("model", 0);
    if (f->fd < 0) {
        perror("memfd_create");
        exit(1);
    }
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
}

static void memory_file_set(const struct memory_file *f, const void *bytes, size_t n)
{
    if (ftruncate(f->fd, 0) != 0 || pwrite(f->fd, bytes, n, 0) != (ssize_t)n) {
        perror("writing the damaged file");
        exit(1);
    }
}

/* Reads the file; whatever is in it, the answer is a whole model or one line of text. */
static bool load_try(const struct memory_file *f)
{
    static struct model_file model;
    if (!model_file_load(&model, f->path)) {
        if (!strstr(error_text(), f->path))
            abort();
        return false;
    }
    if (!model.weights || strlen(model.id) != MODEL_ID_MAX - 1)
        abort();
    model_file_free(&model);
    return true;
}

#ifdef HISS_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct memory_file file;
    if (!file.path[0])
        memory_file_open(&file);
    memory_file_set(&file, bytes, n);
    load_try(&file);
    return 0;
}

#else

/* A good file and the same with damage. */
struct subject {
    unsigned char *good, *bytes;
    size_t n_good, n, room;
};

/* Numbers of one round: random words in turn. */
struct source {
    uint64_t seed, round;
    uint32_t word;
};

static uint32_t draw(struct source *s, size_t below)
{
    uint32_t r = random_word(s->seed, s->round, 0, RANDOM_SAMPLE, s->word++ % 1024);
    return (uint32_t)((uint64_t)r * below >> 32);
}

static size_t header_end(const struct subject *f)
{
    uint64_t length = 0;
    if (f->n >= LENGTH_BYTES)
        memcpy(&length, f->bytes, LENGTH_BYTES);
    return f->n >= LENGTH_BYTES && length <= f->n - LENGTH_BYTES ? (size_t)length + LENGTH_BYTES
                                                                 : f->n;
}

static void flip_bytes(struct subject *f, struct source *s)
{
    /* Most of the file is weights, most of what can go wrong is in the header. */
    size_t end = draw(s, 4) ? header_end(f) : f->n;
    for (uint32_t i = 0, n = 1 + draw(s, 4); i < n && end > 0; i++)
        f->bytes[draw(s, end)] ^= (unsigned char)(1 << draw(s, 8));
}

static void cut(struct subject *f, struct source *s)
{
    f->n = draw(s, draw(s, 2) ? f->n + 1 : header_end(f) + 1);
}

/* Copies a stretch of the header over another, or inserts it there. */
static void splice(struct subject *f, struct source *s)
{
    size_t end = header_end(f);
    if (end < 2)
        return;
    size_t n = 1 + draw(s, end < 200 ? end - 1 : 200), from = draw(s, end - n + 1);
    size_t to = draw(s, end - n + 1);
    if (draw(s, 2)) {
        memmove(f->bytes + to, f->bytes + from, n);
    } else if (f->n + n <= f->room) {
        unsigned char stretch[256];
        memcpy(stretch, f->bytes + from, n);
        memmove(f->bytes + to + n, f->bytes + to, f->n - to);
        memcpy(f->bytes + to, stretch, n);
        f->n += n;
    }
}

/* Writes something a parser may stumble over. */
static void write_token(struct subject *f, struct source *s)
{
    static const char *const tokens[] = {
        "9223372036854775807",
        "-1",
        "4294967296",
        "1e308",
        "null",
        "[[[[",
        "]",
        "{}",
        "\"\"",
        "0",
        "\\u0000",
        "\xff\xfe",
        "F64",
        "BF16",
        "I8",
        "true",
        "256",
        "1000000",
        "s4d",
        "plain",
    };
    const char *token = tokens[draw(s, sizeof tokens / sizeof *tokens)];
    size_t end = header_end(f), n = strlen(token);
    if (n < end)
        memcpy(f->bytes + draw(s, end - n), token, n);
}

/* Changes a digit into another: shapes, offsets and sizes that nearly fit. */
static void edit_digit(struct subject *f, struct source *s)
{
    size_t end = header_end(f), at = end ? draw(s, end) : 0;
    while (at < end && (f->bytes[at] < '0' || f->bytes[at] > '9'))
        at++;
    if (at < end)
        f->bytes[at] = (unsigned char)('0' + draw(s, 10));
}

static void write_length(struct subject *f, struct source *s)
{
    static const uint64_t odd[] = {0, 1, 7, UINT64_MAX, UINT64_MAX - 7, INT64_MAX, 100000000};
    uint64_t length = draw(s, 2) ? odd[draw(s, sizeof odd / sizeof *odd)] : draw(s, f->n + 16);
    if (f->n >= LENGTH_BYTES)
        memcpy(f->bytes, &length, LENGTH_BYTES);
}

static bool round_run(struct subject *f, const struct memory_file *file, struct source *s)
{
    static void (*const damages[])(struct subject *, struct source *) = {
        flip_bytes, cut, splice, write_token, edit_digit, write_length,
    };
    memcpy(f->bytes, f->good, f->n_good);
    f->n = f->n_good;
    for (uint32_t i = 0, n = 1 + draw(s, DAMAGES_MAX); i < n; i++)
        damages[draw(s, sizeof damages / sizeof *damages)](f, s);
    memory_file_set(file, f->bytes, f->n);
    return load_try(file);
}

/* A good file of this kind, written in `folder`. */
static void subject_make(struct subject *f, const struct kind *kind, const char *folder)
{
    static const char *const metadata[] = {"hiss.sampling", "{\"temperature\":0.9}", "k", "v"};
    static struct config config;
    struct plan plan = {0};
    char path[FILE_PATH_MAX];
    kind_config(&config, kind);
    float *weights = NULL;
    bool ok = path_join(path, folder, "good.safetensors") && plan_build(&plan, &config) &&
              (weights = calloc((size_t)plan.weights_size, sizeof *weights)) &&
              model_file_save(path, &config, &plan, weights, metadata, 2) &&
              (f->good = (unsigned char *)file_read(path, &f->n_good));
    f->room = 2 * f->n_good;
    f->bytes = ok ? malloc(f->room) : NULL;
    if (!f->bytes) {
        fprintf(stderr, "%s: %s\n", kind->name, error_text());
        exit(1);
    }
    free(weights);
    plan_free(&plan);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : ROUNDS;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, accepted = 0;
    char folder[] = "/tmp/hiss-fuzz-XXXXXX";
    struct memory_file file;
    memory_file_open(&file);
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    for (int k = 0; k < n_kinds; k++) {
        struct subject f = {0};
        subject_make(&f, &kinds[k], folder);
        memory_file_set(&file, f.good, f.n_good);
        if (!load_try(&file)) {
            fprintf(stderr, "the undamaged file is refused: %s\n", error_text());
            return 1;
        }
        for (uint64_t r = (uint64_t)k; r < rounds; r += (uint64_t)n_kinds)
            accepted += round_run(&f, &file, &(struct source){.seed = seed, .round = r});
        free(f.good);
        free(f.bytes);
    }
    printf("%" PRIu64 " damaged files: %" PRIu64 " read, the others refused\n", rounds, accepted);
    close(file.fd);
    return path_remove(folder) ? 0 : 1;
}

#endif
