/* libhiss: copying, saving and loading what a stream remembers. */
#include "model/hiss_impl.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static size_t state_bytes(const struct hiss_stream *s)
{
    return (size_t)s->n_rows * (size_t)s->model->net.plan.state_size * sizeof(float);
}

bool hiss_stream_copy(struct hiss_stream *to, const struct hiss_stream *from)
{
    if (to->model != from->model || to->n_streams != from->n_streams || to->guided != from->guided)
        return error_set("a stream can only become one of the same model, number of streams and "
                         "guidance");
    size_t rows = (size_t)from->n_rows;
    stream_fetch_state(from);
    stream_state_changed(to);
    backend_copy(to->model->be, to->state.data, from->state.data, state_bytes(from));
    to->state.n = from->state.n;
    to->noise_n = from->noise_n;
    to->first_stream = from->first_stream;
    to->sampling = from->sampling;
    memcpy(to->host_codes, from->host_codes, rows);
    memcpy(to->host_labels, from->host_labels, rows * sizeof *to->host_labels);
    stream_upload_inputs(to);
    return true;
}

/* What a saved state begins with; then a (code, label) pair of int32 for each row, then the
   canonical floats of each row. Little endian, as every machine this program runs on. */
struct saved_head {
    char magic[8];
    uint32_t version;
    int32_t n_streams;
    int32_t guided;
    int32_t reserved;
    int64_t n, noise_n;
    char model_id[MODEL_ID_MAX + 7]; /* padded to a multiple of 8 */
};

static const char saved_magic[8] = {'h', 'i', 's', 's', 's', 't', 'a', 't'};
enum {
    SAVED_VERSION = 1,
    SAVED_N_BITS = 62, /* later samples could not be counted on */
};

size_t hiss_stream_state_size(const struct hiss_stream *s)
{
    return sizeof(struct saved_head) + (size_t)s->n_rows * 2 * sizeof(int32_t) + state_bytes(s);
}

bool hiss_stream_save(const struct hiss_stream *s, void *bytes)
{
    stream_fetch_state(s);
    struct saved_head head = {.version = SAVED_VERSION,
                              .n_streams = s->n_streams,
                              .guided = s->guided,
                              .n = s->state.n,
                              .noise_n = s->noise_n};
    memcpy(head.magic, saved_magic, sizeof head.magic);
    memcpy(head.model_id, s->model->file.id, MODEL_ID_MAX);
    char *at = bytes;
    memcpy(at, &head, sizeof head);
    at += sizeof head;
    for (int i = 0; i < s->n_rows; i++) {
        const int32_t pair[2] = {s->host_codes[i], s->host_labels[i]};
        memcpy(at, pair, sizeof pair);
        at += sizeof pair;
    }
    backend_download(s->model->be, at, s->state.data, state_bytes(s));
    return backend_sync(s->model->be);
}

static bool check_saved(const struct hiss_stream *s, const struct saved_head *head,
                        const int32_t *pairs)
{
    if (memcmp(head->magic, saved_magic, sizeof head->magic) != 0 || head->version != SAVED_VERSION)
        return error_set("this is no saved state of version %d", SAVED_VERSION);
    if (memcmp(head->model_id, s->model->file.id, MODEL_ID_MAX) != 0)
        return error_set("the saved state belongs to another model");
    if (head->n_streams != s->n_streams || head->guided != s->guided)
        return error_set("the saved state holds %d streams%s; this stream has %d%s",
                         head->n_streams, head->guided ? ", guided" : "", s->n_streams,
                         s->guided ? ", guided" : "");
    int64_t n_max = INT64_C(1) << SAVED_N_BITS;
    bool sane =
        head->n >= 0 && head->n < n_max && head->noise_n >= head->n && head->noise_n < n_max;
    for (int i = 0; i < s->n_rows; i++) {
        int n_labels = i < s->n_streams ? hiss_model_n_labels(s->model) : 0;
        sane = sane && pairs[2 * i] >= 0 && pairs[2 * i] < PLAN_CODES && pairs[2 * i + 1] >= -1 &&
               pairs[2 * i + 1] < n_labels;
    }
    if (!sane)
        return error_set("the saved state is damaged");
    return true;
}

/* Where the floats of a saved state begin. */
static size_t pairs_bytes(const struct hiss_stream *s)
{
    return (size_t)s->n_rows * 2 * sizeof(int32_t);
}

/* Head and pairs of a saved state, checked. False with error_text. */
static bool head_read(const struct hiss_stream *s, struct saved_head *head, int32_t *pairs,
                      const void *bytes, size_t size)
{
    if (size != hiss_stream_state_size(s))
        return error_set("a saved state of this stream has %zu bytes, not %zu",
                         hiss_stream_state_size(s), size);
    memcpy(head, bytes, sizeof *head);
    memcpy(pairs, (const char *)bytes + sizeof *head, pairs_bytes(s));
    return check_saved(s, head, pairs);
}

bool hiss_stream_load(struct hiss_stream *s, const void *bytes, size_t size)
{
    struct saved_head head;
    int32_t *pairs = malloc(pairs_bytes(s));
    if (!pairs)
        return error_set("out of memory for a state");
    bool ok = head_read(s, &head, pairs, bytes, size);
    if (ok) {
        backend_upload(s->model->be, s->state.data,
                       (const char *)bytes + sizeof head + pairs_bytes(s), state_bytes(s));
        s->state.n = head.n;
        s->noise_n = head.noise_n;
        for (int i = 0; i < s->n_rows; i++) {
            s->host_codes[i] = (uint8_t)pairs[2 * i];
            s->host_labels[i] = pairs[2 * i + 1];
        }
        stream_upload_inputs(s);
        stream_state_changed(s);
        ok = backend_sync(s->model->be);
    }
    free(pairs);
    return ok;
}

/* Floats of mixers: to += weight (from - to). The addresses may be those of any bytes. */
static void mixers_mix(const struct plan *plan, char *to, const char *from, int n_rows,
                       float weight)
{
    for (int row = 0; row < n_rows; row++)
        for (int i = 0; i < plan->n_layers; i++) {
            const struct layer *l = &plan->layers[i];
            int64_t first = row * plan->state_size + l->state_offset;
            for (int64_t j = first; l->kind == LAYER_MIXER && j < first + l->state_size; j++) {
                float x, y;
                memcpy(&x, to + (size_t)j * sizeof x, sizeof x);
                memcpy(&y, from + (size_t)j * sizeof y, sizeof y);
                x += weight * (y - x);
                memcpy(to + (size_t)j * sizeof x, &x, sizeof x);
            }
        }
}

bool hiss_stream_load_mix(struct hiss_stream *s, const void *a, const void *b, size_t size,
                          float weight)
{
    struct saved_head head;
    if (!(weight >= 0 && weight <= 1))
        return error_set("a mix needs a weight from 0 to 1, not %g", (double)weight);
    bool swap = weight > 0.5f; /* the nearer one first: it gives all but the mixers' floats */
    const void *near = swap ? b : a, *far = swap ? a : b;
    char *mix = malloc(size);
    int32_t *pairs = malloc(pairs_bytes(s));
    bool ok = mix && pairs;
    if (!ok)
        error_set("out of memory for a mix of states");
    ok = ok && head_read(s, &head, pairs, near, size) && head_read(s, &head, pairs, far, size);
    if (ok) {
        size_t floats = sizeof head + pairs_bytes(s);
        memcpy(mix, near, size);
        mixers_mix(&s->model->net.plan, mix + floats, (const char *)far + floats, s->n_rows,
                   swap ? 1 - weight : weight);
        ok = hiss_stream_load(s, mix, size);
    }
    free(pairs);
    free(mix);
    return ok;
}
