#include "model/hiss.h"

#include "base/error.h"
#include "base/quantizer.h"
#include "model/chunk.h"
#include "model/model_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PREFILL_TIME = 1024 }; /* samples of a prompt heard at once */

struct hiss_model {
    struct backend *be;
    struct model_file file; /* its weights are given back once they are in the net */
    struct net net;
    enum quantizer quantizer;
    enum precision precision; /* of streams opened from now on, as threads */
    enum decode_threads threads;
    float decode[PLAN_CODES];
};

struct hiss_stream {
    struct hiss_model *model;
    int n_streams;
    bool guided;
    int n_rows; /* n_streams, twice if guided: the second half hears no label */
    uint32_t first_stream;
    struct hiss_sampling sampling;
    int64_t noise_n;    /* samples heard and made since the beginning: restarts do not count */
    struct state state; /* canonical, unless the engine has gone ahead */
    struct decoder
        *decoder; /* the recurrent engine; NULL: the backend has none, and `step` serves */
    bool state_is_old, decoder_is_old; /* the other one has what the stream remembers */
    struct chunk step;                 /* n_rows streams, one sample */
    uint8_t *codes;                    /* backend memory (n_rows): the next inputs */
    int32_t *labels;                   /* backend memory (n_rows) */
    float *nats;                       /* backend memory (n_streams) */
    uint8_t *host_codes;               /* (n_rows) */
    int32_t *host_labels;              /* (n_rows) */
    float *host_nats;                  /* (n_streams) */
};

const char *hiss_error(void)
{
    return error_text();
}

/* --- models ---------------------------------------------------------------------------------- */

struct hiss_model *hiss_model_open(const char *path, const char *backend, int n_threads)
{
    struct hiss_model *m = calloc(1, sizeof *m);
    if (!m) {
        error_set("out of memory for a model");
        return NULL;
    }
    if (!model_file_load(&m->file, path))
        goto fail;
    if (!quantizer_from_name(&m->quantizer, m->file.config.quantizer)) {
        error_set("%s: its quantizer '%s' is unknown to this version", path,
                  m->file.config.quantizer);
        goto fail;
    }
    m->precision = PRECISION_FP16;
    m->threads = DECODE_AUTO;
    for (int c = 0; c < PLAN_CODES; c++)
        m->decode[c] = quantizer_decode(m->quantizer, (uint8_t)c);
    m->be = backend_open(backend, n_threads);
    if (!m->be || !net_open(&m->net, &m->file.config, m->be))
        goto fail;
    net_set_weights(&m->net, m->file.weights);
    free(m->file.weights);
    m->file.weights = NULL;
    if (!backend_sync(m->be))
        goto fail;
    return m;
fail:
    hiss_model_close(m);
    return NULL;
}

void hiss_model_close(struct hiss_model *m)
{
    if (!m)
        return;
    if (m->net.be)
        net_close(&m->net);
    if (m->be)
        backend_close(m->be);
    model_file_free(&m->file);
    free(m);
}

int hiss_model_rate(const struct hiss_model *m)
{
    return m->file.config.sample_rate;
}

const char *hiss_model_id(const struct hiss_model *m)
{
    return m->file.id;
}

const char *hiss_model_backend(const struct hiss_model *m)
{
    return m->be->ops->name;
}

const char *hiss_model_normalize(const struct hiss_model *m)
{
    return m->file.config.normalize;
}

const char *hiss_model_metadata(const struct hiss_model *m, const char *key)
{
    return model_file_metadata(&m->file, key);
}

int64_t hiss_model_clip(const struct hiss_model *m)
{
    return m->file.config.clip_mode == CLIP_WHOLE ? m->file.config.clip_samples : 0;
}

int hiss_model_n_labels(const struct hiss_model *m)
{
    return m->file.config.n_labels;
}

const char *hiss_model_label(const struct hiss_model *m, int label)
{
    return label >= 0 && label < m->file.config.n_labels ? m->file.config.label[label] : NULL;
}

int hiss_model_find_label(const struct hiss_model *m, const char *name)
{
    return config_find_label(&m->file.config, name);
}

struct hiss_sampling hiss_model_sampling(const struct hiss_model *m)
{
    return (struct hiss_sampling){
        .temperature = m->file.temperature, .top_p = m->file.top_p, .guidance = m->file.guidance};
}

bool hiss_model_set_decode(struct hiss_model *m, const char *precision, const char *threads)
{
    if (!precision_from_name(&m->precision, precision))
        return error_set("precision %s is unknown: use fp32, fp16 or int8", precision);
    if (!decode_threads_from_name(&m->threads, threads))
        return error_set("threads %s is unknown: use auto, one, lockstep, pipeline or rows",
                         threads);
    return true;
}

const char *hiss_model_precision(const struct hiss_model *m)
{
    return precision_name(m->precision);
}

uint8_t hiss_model_encode(const struct hiss_model *m, float x)
{
    return quantizer_encode(m->quantizer, x);
}

float hiss_model_decode(const struct hiss_model *m, uint8_t code)
{
    return m->decode[code];
}

/* --- streams --------------------------------------------------------------------------------- */

static void upload_inputs(struct hiss_stream *s)
{
    struct backend *be = s->model->be;
    size_t n = (size_t)s->n_rows;
    backend_upload(be, s->codes, s->host_codes, n);
    backend_upload(be, s->labels, s->host_labels, n * sizeof *s->host_labels);
}

/* Brings the canonical state up to what the engine made. */
static void state_fetch(struct hiss_stream *s)
{
    if (s->state_is_old)
        s->model->be->ops->decoder_export(s->decoder, s->state.data);
    s->state_is_old = false;
}

/* The canonical state was changed: the engine takes it before it goes on. */
static void state_changed(struct hiss_stream *s)
{
    s->state_is_old = false;
    s->decoder_is_old = true;
}

/* The recurrent engine, or where the backend has none the generic walk, one sample at a time. */
static bool engine_open(struct hiss_stream *s)
{
    struct hiss_model *m = s->model;
    struct net *net = &m->net;
    if (!m->be->ops->decoder_open)
        return chunk_open(&s->step, net, s->n_rows, 1, TAPE_NONE);
    const struct decoder_net view = {&net->plan, net->weights, net->coef, net->coef_offset};
    s->decoder = m->be->ops->decoder_open(m->be, &view,
                                          &(struct decoder_options){.n_streams = s->n_streams,
                                                                    .guided = s->guided,
                                                                    .precision = m->precision,
                                                                    .threads = m->threads});
    return s->decoder != NULL;
}

struct hiss_stream *hiss_stream_open(struct hiss_model *m, int n_streams, uint32_t first_stream,
                                     bool guided)
{
    if (n_streams < 1 || n_streams > 1 << 20) {
        error_set("a stream group holds 1 to %d streams, not %d", 1 << 20, n_streams);
        return NULL;
    }
    struct hiss_stream *s = calloc(1, sizeof *s);
    if (!s) {
        error_set("out of memory for a stream");
        return NULL;
    }
    *s = (struct hiss_stream){
        .model = m, .n_streams = n_streams, .guided = guided, .first_stream = first_stream};
    s->n_rows = n_streams * (guided ? 2 : 1);
    size_t n = (size_t)s->n_rows;
    s->codes = backend_alloc(m->be, n);
    s->labels = backend_alloc(m->be, n * sizeof *s->labels);
    s->nats = backend_alloc(m->be, n * sizeof *s->nats);
    s->host_codes = malloc(n);
    s->host_labels = malloc(n * sizeof *s->host_labels);
    s->host_nats = malloc(n * sizeof *s->host_nats);
    if (!s->host_codes || !s->host_labels || !s->host_nats) {
        error_set("out of memory for %d streams", n_streams);
        goto fail;
    }
    if (!s->codes || !s->labels || !s->nats || !state_open(&s->state, &m->net, s->n_rows) ||
        !engine_open(s))
        goto fail;
    for (int i = 0; i < s->n_rows; i++)
        s->host_labels[i] = -1;
    s->sampling = hiss_model_sampling(m);
    if (!guided)
        s->sampling.guidance = 1;
    hiss_stream_restart(s);
    return s;
fail:
    hiss_stream_close(s);
    return NULL;
}

void hiss_stream_close(struct hiss_stream *s)
{
    if (!s)
        return;
    struct backend *be = s->model->be;
    if (s->decoder)
        be->ops->decoder_close(s->decoder);
    chunk_close(&s->step);
    state_close(&s->state, &s->model->net);
    void *const blocks[] = {s->codes, s->labels, s->nats};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i])
            backend_free(be, blocks[i]);
    free(s->host_codes);
    free(s->host_labels);
    free(s->host_nats);
    free(s);
}

bool hiss_stream_set_sampling(struct hiss_stream *s, const struct hiss_sampling *sampling)
{
    float t = sampling->temperature, p = sampling->top_p, g = sampling->guidance;
    if (!(t >= 0 && t <= 100))
        return error_set("temperature must be 0 to 100, not %g", (double)t);
    if (!(p > 0 && p <= 1))
        return error_set("top-p must be above 0 and at most 1, not %g", (double)p);
    if (!(g >= -100 && g <= 100))
        return error_set("guidance must be -100 to 100, not %g", (double)g);
    if (g != 1 && !s->guided)
        return error_set("a stream that was not opened guided can only have guidance 1");
    s->sampling = *sampling;
    return true;
}

bool hiss_stream_set_label(struct hiss_stream *s, int i, int label)
{
    int n_labels = hiss_model_n_labels(s->model);
    if (i < 0 || i >= s->n_streams)
        return error_set("there are %d streams: no stream %d", s->n_streams, i);
    if (label < -1 || label >= n_labels)
        return error_set("the model has %d labels: no label %d", n_labels, label);
    s->host_labels[i] = label;
    upload_inputs(s);
    return true;
}

void hiss_stream_restart(struct hiss_stream *s)
{
    state_reset(&s->state, &s->model->net);
    memset(s->host_codes, PLAN_START_CODE, (size_t)s->n_rows);
    upload_inputs(s);
    state_changed(s);
}

/* Runs `n` codes through row `row` of the stream's state, with chunks of one row. */
static void prefill_row(struct hiss_stream *s, struct chunk *chunk, struct state *one, int row,
                        uint8_t *device_codes, uint8_t *host_codes, const uint8_t *codes, int64_t n)
{
    struct backend *be = s->model->be;
    int64_t size = s->model->net.plan.state_size;
    size_t bytes = (size_t)size * sizeof(float);
    backend_copy(be, one->data, s->state.data + row * size, bytes);
    one->n = s->state.n;
    for (int64_t done = 0; done < n;) {
        int64_t part = n - done < PREFILL_TIME ? n - done : PREFILL_TIME;
        host_codes[0] = done == 0 ? s->host_codes[row] : codes[done - 1];
        memcpy(host_codes + 1, codes + done, (size_t)part - 1);
        backend_upload(be, device_codes, host_codes, (size_t)part);
        chunk_forward(chunk, one, device_codes, s->labels + row, part);
        done += part;
    }
    backend_copy(be, s->state.data + row * size, one->data, bytes);
}

bool hiss_stream_prompt(struct hiss_stream *s, const uint8_t *codes, int64_t n)
{
    struct net *net = &s->model->net;
    struct chunk chunk = {0};
    struct state one = {0};
    uint8_t host_codes[PREFILL_TIME];
    uint8_t *device_codes = NULL;
    bool ok = false;
    if (n <= 0)
        return true;
    if (!(device_codes = backend_alloc(net->be, PREFILL_TIME)) || !state_open(&one, net, 1) ||
        !chunk_open(&chunk, net, 1, PREFILL_TIME, TAPE_NONE))
        goto out;
    state_fetch(s);
    for (int row = 0; row < s->n_rows; row++)
        prefill_row(s, &chunk, &one, row, device_codes, host_codes, codes, n);
    memset(s->host_codes, codes[n - 1], (size_t)s->n_rows);
    upload_inputs(s);
    s->state.n += n;
    s->noise_n += n;
    state_changed(s);
    ok = backend_sync(net->be);
out:
    chunk_close(&chunk);
    state_close(&one, net);
    if (device_codes)
        backend_free(net->be, device_codes);
    return ok;
}

static struct sampling sampling_of(const struct hiss_stream *s)
{
    return (struct sampling){.seed = s->sampling.seed,
                             .temperature = s->sampling.temperature,
                             .top_p = s->sampling.top_p,
                             .guidance = s->sampling.guidance};
}

/* One sample of every stream by the generic walk; s->host_codes then holds it. */
static void step(struct hiss_stream *s)
{
    struct backend *be = s->model->be;
    size_t n = (size_t)s->n_streams;
    const float *logits = chunk_forward(&s->step, &s->state, s->codes, s->labels, 1);
    be->ops->sample(be,
                    &(struct sample_args){
                        .codes = s->codes,
                        .nats = s->nats,
                        .logits = logits,
                        .without_label =
                            s->guided && s->sampling.guidance != 1 ? logits + n * PLAN_CODES : NULL,
                        .sampling = sampling_of(s),
                        .n = s->noise_n++,
                        .first_stream = s->first_stream,
                        .n_batch = s->n_streams,
                    });
    if (s->guided)
        backend_copy(be, s->codes + n, s->codes, n);
    backend_download(be, s->host_codes, s->codes, (size_t)s->n_rows);
}

static void walk(struct hiss_stream *s, uint8_t *codes, int64_t n, double *nats)
{
    struct backend *be = s->model->be;
    for (int64_t t = 0; t < n; t++) {
        step(s);
        for (int i = 0; i < s->n_streams; i++)
            codes[i * n + t] = s->host_codes[i];
        if (!nats)
            continue;
        backend_download(be, s->host_nats, s->nats, (size_t)s->n_streams * sizeof *s->nats);
        for (int i = 0; i < s->n_streams; i++)
            nats[i] += (double)s->host_nats[i];
    }
}

static void decode(struct hiss_stream *s, uint8_t *codes, int64_t n, double *nats)
{
    const struct ops *ops = s->model->be->ops;
    if (s->decoder_is_old)
        ops->decoder_import(s->decoder, s->state.data, s->state.n, s->host_codes);
    ops->decode(s->decoder, &(struct decode_args){.n_samples = n,
                                                  .codes = codes,
                                                  .nats = nats,
                                                  .labels = s->host_labels,
                                                  .sampling = sampling_of(s),
                                                  .noise_n = s->noise_n,
                                                  .first_stream = s->first_stream});
    for (int r = 0; r < s->n_rows; r++)
        s->host_codes[r] = codes[r % s->n_streams * n + n - 1];
    s->state.n += n;
    s->noise_n += n;
    s->decoder_is_old = false;
    s->state_is_old = true;
}

bool hiss_stream_generate(struct hiss_stream *s, uint8_t *codes, int64_t n, double *nats)
{
    if (n <= 0)
        return true;
    if (s->decoder)
        decode(s, codes, n, nats);
    else
        walk(s, codes, n, nats);
    return backend_sync(s->model->be);
}

int64_t hiss_stream_position(const struct hiss_stream *s)
{
    return s->state.n;
}

/* --- states ---------------------------------------------------------------------------------- */

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
    state_fetch((struct hiss_stream *)from); /* the same memories, elsewhere */
    state_changed(to);
    backend_copy(to->model->be, to->state.data, from->state.data, state_bytes(from));
    to->state.n = from->state.n;
    to->noise_n = from->noise_n;
    to->first_stream = from->first_stream;
    to->sampling = from->sampling;
    memcpy(to->host_codes, from->host_codes, rows);
    memcpy(to->host_labels, from->host_labels, rows * sizeof *to->host_labels);
    upload_inputs(to);
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
    state_fetch((struct hiss_stream *)s); /* the same memories, elsewhere */
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

bool hiss_stream_load(struct hiss_stream *s, const void *bytes, size_t size)
{
    struct saved_head head;
    size_t pairs_size = (size_t)s->n_rows * 2 * sizeof(int32_t);
    if (size != hiss_stream_state_size(s))
        return error_set("a saved state of this stream has %zu bytes, not %zu",
                         hiss_stream_state_size(s), size);
    int32_t *pairs = malloc(pairs_size);
    if (!pairs)
        return error_set("out of memory for a state");
    memcpy(&head, bytes, sizeof head);
    memcpy(pairs, (const char *)bytes + sizeof head, pairs_size);
    bool ok = check_saved(s, &head, pairs);
    if (ok) {
        backend_upload(s->model->be, s->state.data, (const char *)bytes + sizeof head + pairs_size,
                       state_bytes(s));
        s->state.n = head.n;
        s->noise_n = head.noise_n;
        for (int i = 0; i < s->n_rows; i++) {
            s->host_codes[i] = (uint8_t)pairs[2 * i];
            s->host_labels[i] = pairs[2 * i + 1];
        }
        upload_inputs(s);
        state_changed(s);
        ok = backend_sync(s->model->be);
    }
    free(pairs);
    return ok;
}
