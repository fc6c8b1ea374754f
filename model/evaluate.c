#include "model/evaluate.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

bool evaluator_open(struct evaluator *e, struct net *net, int64_t max_time)
{
    *e = (struct evaluator){.net = net};
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
    if (!state_open(&e->state, net, 1) || !chunk_open(&e->chunk, net, 1, max_time, TAPE_NONE))
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

/* One chunk of at most max_time samples; `previous` is the code before it. */
static const float *run_chunk(struct evaluator *e, const uint8_t *codes, int64_t n,
                              uint8_t previous)
{
    struct backend *be = e->net->be;
    e->host_in[0] = previous;
    memcpy(e->host_in + 1, codes, (size_t)n - 1);
    backend_upload(be, e->in, e->host_in, (size_t)n);
    backend_upload(be, e->targets, codes, (size_t)n);
    float *logits = chunk_forward(&e->chunk, &e->state, e->in, e->label, n);
    be->ops->cross_entropy(
        be, &(struct cross_entropy_args){
                .nats = e->nats, .logits = logits, .targets = e->targets, .n_rows = n});
    backend_download(be, e->host_nats, e->nats, (size_t)n * sizeof *e->nats);
    return logits;
}

bool evaluator_run(struct evaluator *e, const uint8_t *codes, int64_t n, int label, int64_t context,
                   double *nats, float *nats_of,
                   bool (*logits)(void *arg, const float *logits, int64_t t), void *arg)
{
    struct backend *be = e->net->be;
    int32_t label32 = label;
    float *host_logits = NULL;
    bool ok = false;
    if (logits && !(host_logits = malloc((size_t)e->chunk.max_time * PLAN_CODES * sizeof(float)))) {
        error_set("out of memory for logits");
        goto out;
    }
    backend_upload(be, e->label, &label32, sizeof label32);
    *nats = 0;
    for (int64_t done = 0; done < n;) {
        bool starts = done == 0 || (context > 0 && done % context == 0);
        if (starts)
            state_reset(&e->state, e->net);
        int64_t part = n - done < e->chunk.max_time ? n - done : e->chunk.max_time;
        if (context > 0 && part > context - done % context)
            part = context - done % context;
        const float *made =
            run_chunk(e, codes + done, part, starts ? PLAN_START_CODE : codes[done - 1]);
        for (int64_t i = 0; i < part; i++)
            *nats += (double)e->host_nats[i];
        if (nats_of)
            memcpy(nats_of + done, e->host_nats, (size_t)part * sizeof(float));
        if (logits) {
            backend_download(be, host_logits, made, (size_t)part * PLAN_CODES * sizeof(float));
            if (!logits(arg, host_logits, part))
                goto out;
        }
        done += part;
    }
    ok = backend_sync(be);
out:
    free(host_logits);
    return ok;
}
