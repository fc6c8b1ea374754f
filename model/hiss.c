/* libhiss: streams. */
#include "model/hiss_impl.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

enum { PREFILL_TIME = 1024 }; /* samples of a prompt heard at once */

void stream_upload_inputs(struct hiss_stream *s)
{
    struct backend *be = s->model->be;
    size_t n = (size_t)s->n_rows;
    backend_upload(be, s->codes, s->host_codes, n);
    backend_upload(be, s->labels, s->host_labels, n * sizeof *s->host_labels);
}

void stream_fetch_state(const struct hiss_stream *stream)
{
    struct hiss_stream *s = (struct hiss_stream *)stream;
    if (s->state_is_old)
        s->model->be->ops->decoder_export(s->decoder, s->state.data);
    s->state_is_old = false;
}

void stream_state_changed(struct hiss_stream *s)
{
    s->state_is_old = false;
    s->decoder_is_old = true;
}

/* The recurrent engine, or the generic walk, one sample at a time, where the backend has none, or
   none that keeps weights in fp32. */
static bool engine_open(struct hiss_stream *s)
{
    struct hiss_model *m = s->model;
    struct net *net = &m->net;
    const struct ops *ops = m->be->ops;
    const struct decoder_options o = {.n_streams = s->n_streams,
                                      .guided = s->guided,
                                      .precision = m->precision,
                                      .threads = m->threads};
    const bool fits =
        ops->decoder_open && (!ops->decoder_fits || ops->decoder_fits(m->be, &net->plan, &o));
    if (!ops->decoder_open || (!fits && m->precision == PRECISION_FP32))
        return chunk_open(&s->step, net, s->n_rows, 1, TAPE_NONE);
    s->decoder = net_decoder_open(net, &o);
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

const char *hiss_stream_threads(const struct hiss_stream *s)
{
    return s->decoder ? decode_threads_name(s->model->be->ops->decoder_threads(s->decoder))
                      : "walk";
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
    stream_upload_inputs(s);
    return true;
}

void hiss_stream_restart(struct hiss_stream *s)
{
    state_reset(&s->state, &s->model->net);
    memset(s->host_codes, PLAN_START_CODE, (size_t)s->n_rows);
    stream_upload_inputs(s);
    stream_state_changed(s);
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
    stream_fetch_state(s);
    for (int row = 0; row < s->n_rows; row++)
        prefill_row(s, &chunk, &one, row, device_codes, host_codes, codes, n);
    memset(s->host_codes, codes[n - 1], (size_t)s->n_rows);
    stream_upload_inputs(s);
    s->state.n += n;
    s->noise_n += n;
    stream_state_changed(s);
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
