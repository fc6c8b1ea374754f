/* Model files: written, read back, found in folders, and refused when anything is not as it must
   be. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "model/build.h"
#include "model/model_file.h"
#include "model/safetensors.h"
#include "tests/model/kinds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/hiss-test-model-XXXXXX";
static char path[FILE_PATH_MAX];
static const char *const metadata[] = {"hiss.license", "CC0-1.0", "foreign", "{\"kept\": 1}"};

/* A model in memory, made from a kind; and one that was read. */
static struct config config;
static struct plan plan;
static float *weights;
static struct model_file loaded;

static void make(const struct kind *k)
{
    kind_config(&config, k);
    assert_true(plan_build(&plan, &config));
    weights = calloc((size_t)plan.weights_size, sizeof *weights);
    assert_non_null(weights);
    plan_init_weights(&plan, weights, 1);
}

static int drop(void **state)
{
    free(weights);
    weights = NULL;
    plan_free(&plan);
    return 0;
}

static void save(const char *to)
{
    if (!model_file_save(to, &config, &plan, weights, metadata, 2))
        fail_msg("%s", error_text());
}

static void load(const char *from)
{
    if (!model_file_load(&loaded, from))
        fail_msg("%s", error_text());
}

static void assert_load_fails(const char *from, const char *message)
{
    if (model_file_load(&loaded, from)) {
        model_file_free(&loaded);
        fail_msg("accepted what is wrong with '%s'", message);
    }
    if (!strstr(error_text(), from) || !strstr(error_text(), message))
        fail_msg("'%s' does not name %s and '%s'", error_text(), from, message);
}

static void in_folder(char out[FILE_PATH_MAX], const char *name)
{
    assert_true(path_join(out, folder, name));
}

static void every_kind_survives_a_round_trip(void **state)
{
    for (int i = 0; i < n_kinds; i++) {
        char id[MODEL_ID_MAX];
        make(&kinds[i]);
        save(path);
        load(path);
        assert_true(model_file_id(id, &config, &plan, weights));
        assert_int_equal(strlen(id), MODEL_ID_MAX - 1);
        assert_string_equal(loaded.id, id);
        assert_int_equal(loaded.plan.n_params, plan.n_params);
        assert_memory_equal(loaded.weights, weights, (size_t)plan.weights_size * sizeof(float));
        assert_int_equal((uintptr_t)loaded.weights % ARENA_ALIGN, 0);
        assert_int_equal(loaded.n_metadata, 2);
        assert_string_equal(model_file_metadata(&loaded, "foreign"), "{\"kept\": 1}");
        assert_null(model_file_metadata(&loaded, "hiss.config"));
        assert_true(loaded.temperature == 1 && loaded.top_p == 1 && loaded.guidance == 1);

        size_t size, size_again;
        char *bytes = file_read(path, &size);
        assert_true(model_file_save(path, &loaded.config, &loaded.plan, loaded.weights,
                                    (const char *const *)loaded.metadata, loaded.n_metadata));
        char *again = file_read(path, &size_again);
        assert_int_equal(size, size_again);
        assert_memory_equal(bytes, again, size);
        free(bytes);
        free(again);
        model_file_free(&loaded);
        drop(state);
    }
}

static void identity_depends_on_weights_and_config(void **state)
{
    char id[MODEL_ID_MAX], other[MODEL_ID_MAX];
    make(&kinds[0]);
    assert_true(model_file_id(id, &config, &plan, weights));
    weights[plan.params[plan.n_params - 1].offset] += 1;
    assert_true(model_file_id(other, &config, &plan, weights));
    assert_string_not_equal(id, other);
    weights[plan.params[plan.n_params - 1].offset] -= 1;
    config.clip_samples++;
    assert_true(model_file_id(other, &config, &plan, weights));
    assert_string_not_equal(id, other);
}

static void checkpoints_and_runs_are_found(void **state)
{
    static const char *const steps[] = {"run/step-9", "run/step-10", "run/step-x", "run/step-11"};
    char at[FILE_PATH_MAX], run[FILE_PATH_MAX];
    make(&kinds[0]);
    in_folder(run, "run");
    for (int i = 0; i < 4; i++) {
        in_folder(at, steps[i]);
        assert_true(folder_make(at));
        assert_load_fails(at, "holds no model");
        assert_true(path_join(at, at, "model.safetensors"));
        weights[0] = (float)i;
        if (i < 3)
            save(at); /* step-11 is not whole */
    }
    load(run);
    assert_true(loaded.weights[0] == 1);
    model_file_free(&loaded);

    in_folder(at, "run/step-9");
    load(at);
    assert_true(loaded.weights[0] == 0);
    model_file_free(&loaded);

    in_folder(at, "run/best");
    assert_int_equal(symlink("step-9", at), 0);
    load(run);
    assert_true(loaded.weights[0] == 0);
    model_file_free(&loaded);

    in_folder(at, "empty");
    assert_true(folder_make(at));
    assert_load_fails(at, "holds no model");
    in_folder(at, "none");
    assert_load_fails(at, "No such file");
}

/* Writes the model with one change: `change` gets the list of tensors and may lengthen it. */
static void save_changed(int (*change)(struct tensor_out *, int))
{
    struct tensor_out *tensors = calloc((size_t)plan.n_params + 1, sizeof *tensors);
    for (int i = 0; i < plan.n_params; i++) {
        const struct param *p = &plan.params[i];
        tensors[i] = (struct tensor_out){p->name, p->n_dims, p->shape, weights + p->offset};
    }
    int n = change(tensors, plan.n_params);
    char *text = config_format(&config);
    const char *const strings[] = {"hiss.config", text};
    assert_true(safetensors_write(path, tensors, n, strings, 1));
    free(text);
    free(tensors);
}

static int take_one_away(struct tensor_out *tensors, int n)
{
    tensors[0] = tensors[n - 1];
    return n - 1;
}

static int add_one(struct tensor_out *tensors, int n)
{
    tensors[n] = tensors[0];
    tensors[n].name = "foreign.weight";
    return n + 1;
}

static int rename_one(struct tensor_out *tensors, int n)
{
    tensors[0].name = "embeddings";
    return n;
}

static int transpose_one(struct tensor_out *tensors, int n)
{
    static const int64_t shape[] = {8, 256};
    tensors[0].shape = shape;
    return n;
}

static int flatten_one(struct tensor_out *tensors, int n)
{
    static const int64_t shape[] = {2048};
    tensors[0].shape = shape;
    tensors[0].n_dims = 1;
    return n;
}

static int reverse(struct tensor_out *tensors, int n)
{
    for (int i = 0; i < n / 2; i++) {
        struct tensor_out t = tensors[i];
        tensors[i] = tensors[n - 1 - i];
        tensors[n - 1 - i] = t;
    }
    return n;
}

static void wrong_tensors_are_refused(void **state)
{
    make(&kinds[0]);
    save_changed(take_one_away);
    assert_load_fails(path, "tensor embedding.weight of shape (256, 8) is missing");
    save_changed(rename_one);
    assert_load_fails(path, "tensor embedding.weight of shape (256, 8) is missing");
    save_changed(add_one);
    assert_load_fails(path, "tensor foreign.weight is unknown");
    save_changed(transpose_one);
    assert_load_fails(path, "tensor embedding.weight has the shape (8, 256); its configuration "
                            "expects (256, 8)");
    save_changed(flatten_one);
    assert_load_fails(path, "tensor embedding.weight has the shape (2048)");

    char id[MODEL_ID_MAX];
    save_changed(reverse); /* the order in the file means nothing */
    load(path);
    assert_true(model_file_id(id, &config, &plan, weights));
    assert_string_equal(loaded.id, id);
    model_file_free(&loaded);
}

/* Replaces bytes of the file at `path`, as many as `to` has. */
static void patch(const char *from, const char *to)
{
    size_t size, n = strlen(from);
    char *bytes = file_read(path, &size);
    assert_non_null(bytes);
    char *at = memmem(bytes, size, from, n);
    assert_non_null(at);
    assert_int_equal(strlen(to), n);
    memcpy(at, to, n);
    FILE *file = fopen(path, "wb");
    fwrite(bytes, 1, size, file);
    fclose(file);
    free(bytes);
}

static void values_must_be_finite(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    make(&kinds[0]);
    const struct param *p = &plan.params[3];
    for (int i = 0; i < 3; i++) {
        weights[p->offset + 1] = 12345.678f;
        save(path);
        char from[5] = {0}, to[5] = {0};
        memcpy(from, &weights[p->offset + 1], 4);
        weights[p->offset + 1] = bad[i];
        assert_false(model_file_save(path, &config, &plan, weights, NULL, 0));
        assert_non_null(strstr(error_text(), p->name));

        size_t size;
        char *bytes = file_read(path, &size);
        memcpy(to, &bad[i], 4);
        memcpy(memmem(bytes, size, from, 4), to, 4);
        FILE *file = fopen(path, "wb");
        fwrite(bytes, 1, size, file);
        fclose(file);
        free(bytes);
        assert_load_fails(path, p->name);
        assert_load_fails(path, i ? "holds infinity at entry 1" : "holds NaN at entry 1");
    }
}

static void half_precision_is_read(void **state)
{
    make(&kinds[7]);
    save(path);
    struct safetensors st;
    assert_true(safetensors_open(&st, path));
    /* A file of the same tensors in BF16, by hand. */
    char *text = config_format(&config), *header = malloc(1 << 16), *end = header;
    for (const char *s = text; *s; s++) { /* quoted once more */
        if (*s == '"')
            *end++ = '\\';
        *end++ = *s;
    }
    *end = 0;
    char *quoted = strdup(header);
    end = header + sprintf(header, "{\"__metadata__\":{\"hiss.config\":\"%s\"}", quoted);
    for (int i = 0; i < st.n_tensors; i++) {
        const struct tensor_entry *t = &st.tensors[i];
        end += sprintf(end, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[", t->name);
        for (int d = 0; d < t->n_dims; d++)
            end += sprintf(end, "%s%lld", d ? "," : "", (long long)t->shape[d]);
        end += sprintf(end, "],\"data_offsets\":[%zu,%zu]}", t->begin / 2,
                       (t->begin + t->n_bytes) / 2);
    }
    *end++ = '}';
    uint64_t length = (uint64_t)(end - header);
    FILE *file = fopen(path, "wb");
    fwrite(&length, sizeof length, 1, file);
    fwrite(header, 1, length, file);
    for (size_t i = 0; i < st.n_data; i += 4)
        fwrite(st.data + i + 2, 1, 2, file);
    fclose(file);
    free(quoted);
    free(header);
    free(text);
    safetensors_close(&st);

    load(path);
    for (int i = 0; i < plan.n_params; i++)
        for (int64_t j = 0; j < plan.params[i].size; j++) {
            float exact = weights[plan.params[i].offset + j];
            float got = loaded.weights[plan.params[i].offset + j];
            assert_true(fabsf(got - exact) <= fabsf(exact) / 128);
        }
    char id[MODEL_ID_MAX];
    strcpy(id, loaded.id);
    assert_true(model_file_save(path, &loaded.config, &loaded.plan, loaded.weights, NULL, 0));
    model_file_free(&loaded);
    load(path);
    assert_string_equal(loaded.id, id);
    model_file_free(&loaded);
}

static void config_must_be_there_and_good(void **state)
{
    const float x = 1;
    const struct tensor_out tensor = {"x", 0, NULL, &x};
    assert_true(safetensors_write(path, &tensor, 1, NULL, 0));
    assert_load_fails(path, "no hiss.config");
    make(&kinds[0]);
    save(path);
    patch("sample_rate", "sample_rats");
    assert_load_fails(path, "hiss.config: the key 'sample_rats' is unknown");
    static const char *const twice[] = {"hiss.config", "{}"};
    assert_false(model_file_save(path, &config, &plan, weights, twice, 1));
    assert_non_null(strstr(error_text(), "'hiss.config' is given twice"));
}

static void sampling_is_read_and_checked(void **state)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"temperature\":0.9,\"top_p\":0.98,\"guidance\":2}", NULL},
        {"", "valid JSON"},
        {"[]", "valid JSON"},
        {"{\"temperature\":-0.1}", "temperature must be"},
        {"{\"temperature\":101}", "temperature must be"},
        {"{\"temperature\":\"1\"}", "temperature must be"},
        {"{\"top_p\":0}", "top_p must be"},
        {"{\"top_p\":1e-300}", "top_p must be"},
        {"{\"top_p\":1.01}", "top_p must be"},
        {"{\"guidance\":-101}", "guidance must be"},
        {"{\"guidance\":null}", "guidance must be"},
        {"{\"warmth\":1}", "the key 'warmth' is unknown"},
    };
    make(&kinds[0]);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const strings[] = {"hiss.sampling", cases[i].json};
        assert_true(model_file_save(path, &config, &plan, weights, strings, 1));
        if (cases[i].message) {
            assert_load_fails(path, "hiss.sampling");
            assert_load_fails(path, cases[i].message);
            continue;
        }
        load(path);
        assert_true(loaded.temperature == 0.9f && loaded.top_p == 0.98f && loaded.guidance == 2);
        assert_string_equal(model_file_metadata(&loaded, "hiss.sampling"), cases[i].json);
        model_file_free(&loaded);
    }
}

/* The file as any Python program sees it, and the identity computed anew. */
static const char reader[] =
    "import hashlib, json, struct, sys\n"
    "try:\n"
    "    import numpy\n"
    "except ImportError:\n"
    "    sys.exit(77)\n"
    "raw = open(sys.argv[1], 'rb').read()\n"
    "n, = struct.unpack('<Q', raw[:8])\n"
    "header = json.loads(raw[8:8 + n])\n"
    "metadata = header.pop('__metadata__')\n"
    "digest = hashlib.sha256(metadata['hiss.config'].encode())\n"
    "for name, t in header.items():\n"
    "    begin, end = t['data_offsets']\n"
    "    a = numpy.frombuffer(raw[8 + n + begin:8 + n + end], '<f4').reshape(t['shape'])\n"
    "    assert t['dtype'] == 'F32' and numpy.isfinite(a).all()\n"
    "    digest.update(a.tobytes())\n"
    "assert header['embedding.weight']['shape'] == [256, 8]\n"
    "assert metadata['hiss.license'] == 'CC0-1.0' and json.loads(metadata['hiss.config'])\n"
    "sys.exit(digest.hexdigest() != sys.argv[2])\n";

static void python_reads_the_file(void **state)
{
    char id[MODEL_ID_MAX];
    make(&kinds[5]);
    save(path);
    assert_true(model_file_id(id, &config, &plan, weights));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/usr/bin/python3", "python3", "-c", reader, path, id, (char *)NULL);
        _exit(77);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("/usr/bin/python3 with numpy is missing\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int set_up(void **state)
{
    return mkdtemp(folder) && path_join(path, folder, "x.safetensors") ? 0 : -1;
}

static int tear_down(void **state)
{
    return path_remove(folder) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_kind_survives_a_round_trip, drop),
        cmocka_unit_test_teardown(identity_depends_on_weights_and_config, drop),
        cmocka_unit_test_teardown(checkpoints_and_runs_are_found, drop),
        cmocka_unit_test_teardown(wrong_tensors_are_refused, drop),
        cmocka_unit_test_teardown(values_must_be_finite, drop),
        cmocka_unit_test_teardown(half_precision_is_read, drop),
        cmocka_unit_test_teardown(config_must_be_there_and_good, drop),
        cmocka_unit_test_teardown(sampling_is_read_and_checked, drop),
        cmocka_unit_test_teardown(python_reads_the_file, drop),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
