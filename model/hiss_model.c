/* libhiss: models. */
#include "model/hiss_impl.h"

#include "base/error.h"

#include <stdlib.h>

const char *hiss_error(void)
{
    return error_text();
}

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
