/*
 * The ends of the network: codes in (embedding, labels), logits out.
 */
#include "model/layers.h"

static void cut_no_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                        const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                        bool with_backward)
{
    *t = (struct layer_tape){0};
}

static void cut_no_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                           int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    *s = (struct layer_scratch){0};
}

/* --- embedding ------------------------------------------------------------------------------- */

static void embed_forward(struct layer_run *r)
{
    if (r->out)
        r->ops->embed(r->be, r->out, run_weight(r, PARAM_WEIGHT), r->chunk->codes,
                      r->n_batch * r->n_out, r->layer->width);
}

static void embed_backward(struct layer_run *r)
{
    const struct param *p = &r->chunk->net->plan.params[r->layer->param[PARAM_WEIGHT]];
    if (!p->fixed)
        r->ops->embed_backward(r->be, run_grad(r, PARAM_WEIGHT), r->dout, r->chunk->codes,
                               r->n_batch * r->n_out, r->layer->width);
}

/* --- label ----------------------------------------------------------------------------------- */

static void label_forward(struct layer_run *r)
{
    if (r->out)
        r->ops->label_add(r->be, r->out, r->in, run_weight(r, PARAM_WEIGHT), r->chunk->labels,
                          r->n_batch, r->n_out, r->layer->width);
}

static void label_backward(struct layer_run *r)
{
    r->ops->label_add_backward(r->be, run_grad(r, PARAM_WEIGHT), r->dout, r->chunk->labels,
                               r->n_batch, r->n_out, r->layer->width);
    int64_t n = (int64_t)r->n_batch * r->n_out * r->layer->width;
    if (r->layer->in_is_skip)
        r->ops->add(r->be, r->din, r->dout, n);
    else if (r->din != r->dout)
        backend_copy(r->be, r->din, r->dout, (size_t)n * sizeof(float));
}

/* --- head ------------------------------------------------------------------------------------ */

static void head_cut_tape(struct layer_tape *t, struct arena *a, const struct net *net,
                          const struct layer *l, int n_batch, int64_t n_in, int64_t n_out,
                          bool with_backward)
{
    *t = (struct layer_tape){.norm_r = arena_floats(a, n_batch * n_in)};
}

static void head_cut_scratch(struct layer_scratch *s, struct arena *a, const struct layer *l,
                             int n_batch, int64_t n_in, int64_t n_out, bool with_backward)
{
    int64_t n = n_batch * n_in * l->width_in;
    *s = (struct layer_scratch){.normed = arena_floats(a, n)};
    if (with_backward)
        s->dnormed = arena_floats(a, n);
}

static void head_forward(struct layer_run *r)
{
    run_norm(r, r->scratch.normed, false);
    if (r->out)
        run_linear(r, PARAM_WEIGHT, r->n_in,
                   (struct linear_args){.y = r->out, .x = r->scratch.normed});
}

static void head_backward(struct layer_run *r)
{
    struct layer_scratch *s = &r->scratch;
    run_norm(r, s->normed, false);
    run_linear_backward(
        r, PARAM_WEIGHT, r->n_in,
        (struct linear_backward_args){.dx = s->dnormed, .dy = r->dout, .x = s->normed});
    run_norm_backward(r, s->dnormed);
}

const struct layer_functions layer_embed = {cut_no_tape, cut_no_scratch, embed_forward,
                                            embed_backward};
const struct layer_functions layer_label = {cut_no_tape, cut_no_scratch, label_forward,
                                            label_backward};
const struct layer_functions layer_head = {head_cut_tape, head_cut_scratch, head_forward,
                                           head_backward};
