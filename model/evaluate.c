#include "model/evaluate.h"

#include "base/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static bool engine_open(struct evaluator *e, const struct decoder_options *engine)
{
    struct net *net = e->net;
    const struct ops *ops = net->be->ops;
    if (!engine)
        return chunk_open(&e->chunk, net, 1, e->max_time, TAPE_NONE);
    if (!ops->decoder_open)
        return error_set("the %s backend has no decode engine: measure its precision with "
                         "--backend cpu",
                         ops->name);
    e->decoder = net_decoder_open(net, engine);
    return e->decoder != NULL;
}

bool evaluator_open(struct evaluator *e, struct net *net, int64_t max_time,
                    const struct decoder_options *engine)
{
    *e = (struct evaluator){.net = net, .max_time = max_time};
    struct backend *be = net->be;
    e->in = backend_alloc(be, (size_t)max_time);
    e->targets = backend_alloc(be, (size_t)max_time);
    e->label = backend_alloc(be, sizeof *e->label);
    e->nats = backend_alloc(be, (size_t)max_time * sizeof *e->nats);
    e->host_nats = malloc((size_t)max_time * sizeof *e->host_nats);
    e->host_in = malloc((size_t)max_time);
    if (!e->in || !e->targets || !e->label || !e->nats)
        goto fail;
    if (!e->host_nats || !e->host_in) {
        error_set("out of memory for chunks of %lld samples", (long long)max_time);
        goto fail;
    }
    if (!state_open(&e->state, net, 1) || !engine_open(e, engine))
        goto fail;
    return true;
fail:
    evaluator_close(e);
    return false;
}

void evaluator_close(struct evaluator *e)
{
    if (!e->net)
        return;
    struct backend *be = e->net->be;
    if (e->decoder)
        be->ops->decoder_close(e->decoder);
    chunk_close(&e->chunk);
    state_close(&e->state, e->net);
    void *const blocks[] = {e->in, e->targets, e->label, e->nats};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i])
            backend_free(be, blocks[i]);
    free(e->host_nats);
    free(e->host_in);
    *e = (struct evaluator){0};
}

/* One chunk of at most max_time samples; `previous` is the code before it. logits (n,V): host, or
   NULL. */
static double run_chunk(struct evaluator *e, const uint8_t *codes, int64_t n, uint8_t previous,
                        float *logits)
{
    struct backend *be = e->net->be;
    double nats = 0;
    e->host_in[0] = previous;
    memcpy(e->host_in + 1, codes, (size_t)n - 1);
    backend_upload(be, e->in, e->host_in, (size_t)n);
    backend_upload(be, e->targets, codes, (size_t)n);
    float *made = chunk_forward(&e->chunk, &e->state, e->in, e->label, n);
    be->ops->cross_entropy(
        be, &(struct cross_entropy_args){
                .nats = e->nats, .logits = made, .targets = e->targets, .n_rows = n});
    backend_download(be, e->host_nats, e->nats, (size_t)n * sizeof *e->nats);
    if (logits)
        backend_download(be, logits, made, (size_t)n * PLAN_CODES * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        nats += (double)e->host_nats[i];
    return nats;
}

static double run_engine(struct evaluator *e, const uint8_t *codes, int64_t n, int32_t label,
                         float *logits)
{
    double nats = 0;
    e->net->be->ops->decode(e->decoder, &(struct decode_args){.n_samples = n,
                                                              .forced = codes,
                                                              .nats = &nats,
                                                              .logits = logits,
                                                              .labels = &label,
                                                              .sampling = {.guidance = 1}});
    return nats;
}

/* As at the beginning of a piece of sound. */
static void start(struct evaluator *e)
{
    const uint8_t code = PLAN_START_CODE;
    state_reset(&e->state, e->net);
    if (e->decoder)
        e->net->be->ops->decoder_import(e->decoder, e->state.data, 0, &code);
}

bool evaluator_run(struct evaluator *e, const uint8_t *codes, int64_t n, int label, int64_t context,
                   double *nats, bool (*logits)(void *arg, const float *logits, int64_t t),
                   void *arg)
{
    struct backend *be = e->net->be;
    int32_t label32 = label;
    float *host_logits = NULL;
    bool ok = false;
    assert(!e->each || !e->decoder);
    if (logits && !(host_logits = malloc((size_t)e->max_time * PLAN_CODES * sizeof(float)))) {
        error_set("out of memory for logits");
        goto out;
    }
    backend_upload(be, e->label, &label32, sizeof label32);
    *nats = 0;
    for (int64_t done = 0; done < n;) {
        bool starts = done == 0 || (context > 0 && done % context == 0);
        if (starts)
            start(e);
        int64_t part = n - done < e->max_time ? n - done : e->max_time;
        if (context > 0 && part > context - done % context)
            part = context - done % context;
        if (e->decoder)
            *nats += run_engine(e, codes + done, part, label32, host_logits);
        else
            *nats += run_chunk(e, codes + done, part, starts ? PLAN_START_CODE : codes[done - 1],
                               host_logits);
        if (e->each)
            memcpy(e->each + done, e->host_nats, (size_t)part * sizeof *e->each);
        if (logits && !logits(arg, host_logits, part))
            goto out;
        done += part;
    }
    ok = backend_sync(be);
out:
    free(host_logits);
    return ok;
}
