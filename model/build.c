#include "model/build.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The plan under construction. Built twice: once without arrays, to count, once to fill them. */
struct builder {
    struct plan *plan;
    const struct config *config;
    int tier; /* of the present value */
    int last; /* layer that made the present value; -1: the codes */
    int n_blocks;
    struct layer counted; /* stands for every layer in the first pass */
    int stack[4096];      /* skips waiting: layers whose values were pushed */
    int n_stack;
};

enum { STACK_MAX = sizeof((struct builder *)0)->stack / sizeof(int) };

/* --- layers ---------------------------------------------------------------------------------- */

/* Appends a layer that reads the present value; it makes the new present value. The layer returned
   is one and the same while counting. */
static struct layer *add_layer(struct builder *b, enum layer_kind kind, int tier)
{
    struct plan *plan = b->plan;
    struct layer *l = plan->layers ? &plan->layers[plan->n_layers] : &b->counted;
    *l = (struct layer){.kind = kind,
                        .tier = tier,
                        .in = b->last,
                        .skip = -1,
                        .width = plan->width[tier],
                        .width_in = plan->width[b->tier],
                        .up_shift = b->config->up_shift};
    for (int r = 0; r < PARAM_ROLES; r++)
        l->param[r] = -1;
    b->last = plan->n_layers++;
    b->tier = tier;
    return l;
}

static void give_state(struct builder *b, struct layer *l, int64_t size)
{
    l->state_offset = b->plan->state_size;
    l->state_size = size;
    b->plan->state_size += size;
}

/* Adds the value of layer `skip` to what the last layer made. */
static void add_skip(struct builder *b, int skip)
{
    if (!b->plan->layers)
        return;
    struct layer *last = &b->plan->layers[b->last];
    assert(last->skip < 0);
    last->skip = skip;
    for (int i = 0; i < b->plan->n_layers; i++)
        if (b->plan->layers[i].in == skip)
            b->plan->layers[i].in_is_skip = true;
}

static void push(struct builder *b)
{
    assert(b->n_stack < STACK_MAX);
    b->stack[b->n_stack++] = b->last;
}

static int pop(struct builder *b)
{
    assert(b->n_stack > 0);
    return b->stack[--b->n_stack];
}

/* --- parameters ------------------------------------------------------------------------------ */

struct param_spec {
    enum param_role role;
    const char *name; /* after the layer's prefix */
    int64_t shape[3]; /* 0: no more dimensions */
    enum param_init init;
    double scale;
    bool decay;
    bool fixed;
    double own_lr;
};

static void add_param(struct builder *b, struct layer *l, const char *prefix,
                      struct param_spec spec)
{
    struct plan *plan = b->plan;
    struct param p = {.init = spec.init,
                      .init_scale = (float)spec.scale,
                      .decay = spec.decay,
                      .fixed = spec.fixed,
                      .own_lr = (float)spec.own_lr,
                      .size = 1,
                      .offset = plan->weights_size};
    for (int d = 0; d < 3 && spec.shape[d]; d++) {
        p.shape[p.n_dims++] = spec.shape[d];
        p.size *= spec.shape[d];
    }
    snprintf(p.name, sizeof p.name, "%s%s", prefix, spec.name);
    l->param[spec.role] = plan->n_params;
    if (plan->params)
        plan->params[plan->n_params] = p;
    plan->n_params++;
    plan->n_weights += p.size;
    plan->weights_size += (p.size + 15) / 16 * 16;
}

static double fan(int64_t n_in)
{
    return 1 / sqrt((double)n_in);
}

/* --- the kinds of layers --------------------------------------------------------------------- */

static void add_label(struct builder *b, const char *stage)
{
    if (b->config->n_labels == 0)
        return;
    struct layer *l = add_layer(b, LAYER_LABEL, b->tier);
    add_param(b, l, stage,
              (struct param_spec){PARAM_WEIGHT, ".label.weight",
                                  .shape = {b->config->n_labels, l->width}, .init = INIT_NORMAL,
                                  .scale = 0.02});
}

static void add_norm(struct builder *b, struct layer *l, const char *prefix, const char *name)
{
    add_param(b, l, prefix,
              (struct param_spec){PARAM_NORM, name, .shape = {l->width_in}, .init = INIT_ONES});
}

/* S4D block: model-spec 3.1 and 3.2, GLU as in the state-spaces/s4 repository. */
static void add_s4d(struct builder *b, struct layer *l, const char *prefix)
{
    int64_t h = l->width, n = l->n_state;
    const struct param_spec specs[] = {
        {PARAM_DT_BIAS, ".mixer.log_dt", {h}, INIT_LOG_DT, .own_lr = 1e-3},
        {PARAM_A_LOG, ".mixer.A_log", {h, n}, INIT_A_LOG_HALF, .own_lr = 1e-3},
        {PARAM_A_IMAG, ".mixer.A_imag", {h, n}, INIT_A_IMAG, .own_lr = 1e-3},
        {PARAM_B, ".mixer.B", {h, n, 2}, INIT_B_COMPLEX, .own_lr = 1e-3},
        {PARAM_C, ".mixer.C", {h, n, 2}, INIT_NORMAL, .scale = sqrt(0.5), .decay = true},
        {PARAM_D, ".mixer.D", {h}, INIT_NORMAL, .scale = 1},
        {PARAM_OUT, ".mixer.out.weight", {2 * h, h}, INIT_UNIFORM, .scale = fan(h), .decay = true},
        {PARAM_OUT_BIAS, ".mixer.out.bias", {2 * h}, INIT_UNIFORM, .scale = fan(h)},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        add_param(b, l, prefix, specs[i]);
    give_state(b, l, h * n * 2);
}

/* Mamba block, selective or with static dt, B, C: model-spec 2. */
static void add_mamba(struct builder *b, struct layer *l, const char *prefix)
{
    int64_t h = l->width, e = l->inner, n = l->n_state, k = l->n_taps, r = l->dt_rank;
    int64_t parts = l->complex_state ? 2 : 1, last_dim = l->complex_state ? 2 : 0;
    const struct param_spec common[] = {
        {PARAM_IN_PROJ, ".mixer.in_proj.weight", {2 * e, h}, INIT_UNIFORM, fan(h), .decay = true},
        {PARAM_CONV, ".mixer.conv1d.weight", {e, 1, k}, INIT_UNIFORM, fan(k), .decay = true},
        {PARAM_CONV_BIAS, ".mixer.conv1d.bias", {e}, INIT_UNIFORM, fan(k)},
    };
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        add_param(b, l, prefix, common[i]);
    if (l->mixer == MIXER_SELECTIVE) {
        const struct param_spec specs[] = {
            {PARAM_X_PROJ,
             ".mixer.x_proj.weight",
             {r + 2 * parts * n, e},
             INIT_UNIFORM,
             fan(e),
             .decay = true},
            {PARAM_DT_PROJ, ".mixer.dt_proj.weight", {e, r}, INIT_UNIFORM, fan(r), .decay = true},
            {PARAM_DT_BIAS, ".mixer.dt_proj.bias", {e}, INIT_DT_BIAS},
        };
        for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
            add_param(b, l, prefix, specs[i]);
    } else {
        const struct param_spec specs[] = {
            {PARAM_DT_BIAS, ".mixer.dt_bias", {e}, INIT_DT_BIAS},
            {PARAM_B,
             ".mixer.B",
             {e, n, last_dim},
             l->complex_state ? INIT_B_COMPLEX : INIT_ONES,
             .decay = true},
            {PARAM_C,
             ".mixer.C",
             {e, n, last_dim},
             INIT_NORMAL,
             l->complex_state ? sqrt(0.5) : 1,
             .decay = true},
        };
        for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
            add_param(b, l, prefix, specs[i]);
    }
    add_param(b, l, prefix,
              (struct param_spec){PARAM_A_LOG,
                                  ".mixer.A_log",
                                  {e, n},
                                  l->complex_state ? INIT_A_LOG_HALF : INIT_A_LOG_REAL});
    if (l->complex_state)
        add_param(b, l, prefix,
                  (struct param_spec){PARAM_A_IMAG, ".mixer.A_imag", {e, n}, INIT_A_IMAG});
    add_param(b, l, prefix, (struct param_spec){PARAM_D, ".mixer.D", {e}, INIT_ONES});
    add_param(b, l, prefix,
              (struct param_spec){PARAM_OUT,
                                  ".mixer.out_proj.weight",
                                  {h, e},
                                  INIT_UNIFORM,
                                  fan(e) / sqrt(b->n_blocks),
                                  .decay = true});
    give_state(b, l, e * (k - 1) + e * n * parts);
}

static void add_mixer(struct builder *b, const char *prefix)
{
    const struct tier_config *t = &b->config->tier[b->tier];
    struct layer *l = add_layer(b, LAYER_MIXER, b->tier);
    l->mixer = t->mixer;
    l->complex_state = t->complex_state || t->mixer == MIXER_S4D;
    l->n_state = t->d_state;
    l->inner = t->mixer == MIXER_S4D ? l->width : t->mixer_expand * l->width;
    l->n_taps = t->mixer == MIXER_S4D ? 0 : t->d_conv;
    l->dt_rank = t->mixer == MIXER_SELECTIVE ? (l->width + 15) / 16 : 0;
    add_norm(b, l, prefix, ".norm.weight");
    if (t->mixer == MIXER_S4D)
        add_s4d(b, l, prefix);
    else
        add_mamba(b, l, prefix);
}

static void add_ff(struct builder *b, const char *prefix)
{
    struct layer *l = add_layer(b, LAYER_FF, b->tier);
    int64_t h = l->width, f = h * b->config->tier[b->tier].ff;
    l->inner = (int)f;
    add_norm(b, l, prefix, ".ff_norm.weight");
    const struct param_spec specs[] = {
        {PARAM_WEIGHT, ".ff.in.weight", {f, h}, INIT_UNIFORM, fan(h), .decay = true},
        {PARAM_BIAS, ".ff.in.bias", {f}, INIT_UNIFORM, fan(h)},
        {PARAM_OUT, ".ff.out.weight", {h, f}, INIT_UNIFORM, fan(f), .decay = true},
        {PARAM_OUT_BIAS, ".ff.out.bias", {h}, INIT_UNIFORM, fan(f)},
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        add_param(b, l, prefix, specs[i]);
}

/* How a stage's sublayers deal with skips. */
enum skip_rule {
    SKIP_NONE,
    SKIP_PUSH, /* unet, on the way down: every sublayer pushes its input */
    SKIP_POP,  /* unet, on the way up: every sublayer adds what was popped */
};

static void add_blocks(struct builder *b, const char *stage, enum skip_rule rule)
{
    const struct tier_config *t = &b->config->tier[b->tier];
    for (int i = 0; i < t->layers; i++)
        for (int sub = 0; sub < (t->ff ? 2 : 1); sub++) {
            char prefix[PLAN_NAME_MAX];
            snprintf(prefix, sizeof prefix, "%s.blocks.%d", stage, i);
            if (rule == SKIP_PUSH)
                push(b);
            if (sub == 0)
                add_mixer(b, prefix);
            else
                add_ff(b, prefix);
            if (rule == SKIP_POP)
                add_skip(b, pop(b));
        }
}

static void add_down(struct builder *b, const char *stage)
{
    int p = b->config->pool[b->tier];
    push(b);
    struct layer *l = add_layer(b, LAYER_DOWN, b->tier + 1);
    l->pool = p;
    int64_t n_in = (int64_t)l->width_in * p;
    add_param(b, l, stage,
              (struct param_spec){PARAM_WEIGHT,
                                  ".pool.weight",
                                  {l->width, n_in},
                                  INIT_UNIFORM,
                                  fan(n_in),
                                  .decay = true});
    add_param(b, l, stage,
              (struct param_spec){PARAM_BIAS, ".pool.bias", {l->width}, INIT_UNIFORM, fan(n_in)});
    give_state(b, l, n_in);
}

static void add_up(struct builder *b, const char *stage)
{
    int p = b->config->pool[b->tier - 1];
    struct layer *l = add_layer(b, LAYER_UP, b->tier - 1);
    l->pool = p;
    int64_t n_out = (int64_t)l->width * p;
    add_param(b, l, stage,
              (struct param_spec){PARAM_WEIGHT,
                                  ".pool.weight",
                                  {n_out, l->width_in},
                                  INIT_UNIFORM,
                                  fan(l->width_in),
                                  .decay = true});
    add_param(
        b, l, stage,
        (struct param_spec){PARAM_BIAS, ".pool.bias", {n_out}, INIT_UNIFORM, fan(l->width_in)});
    give_state(b, l, n_out * l->up_shift);
    add_skip(b, pop(b));
}

static void add_head(struct builder *b)
{
    struct layer *l = add_layer(b, LAYER_HEAD, 0);
    int64_t d = l->width_in;
    l->width = PLAN_CODES;
    add_norm(b, l, "", "norm.weight");
    add_param(
        b, l, "",
        (struct param_spec){
            PARAM_WEIGHT, "head.weight", {PLAN_CODES, d}, INIT_UNIFORM, fan(d), .decay = true});
    add_param(b, l, "",
              (struct param_spec){PARAM_BIAS, "head.bias", {PLAN_CODES}, INIT_UNIFORM, fan(d)});
}

/* --- the architecture: the order of layers and their skips (design 3) ------------------------ */

static void build_layers(struct builder *b)
{
    const struct config *c = b->config;
    bool unet = c->layout == LAYOUT_UNET;
    char stage[PLAN_NAME_MAX];

    struct layer *embed = add_layer(b, LAYER_EMBED, 0);
    bool fixed = c->embedding == EMBEDDING_SINUSOIDAL;
    add_param(b, embed, "",
              (struct param_spec){PARAM_WEIGHT,
                                  "embedding.weight",
                                  {PLAN_CODES, c->d_model},
                                  fixed ? INIT_SINUSOIDAL : INIT_NORMAL,
                                  .scale = 1,
                                  .fixed = fixed});

    for (int k = 0; k < c->n_pools; k++) {
        snprintf(stage, sizeof stage, "down.%d", k);
        if (unet || k == 0)
            add_label(b, stage);
        if (unet)
            add_blocks(b, stage, SKIP_PUSH);
        add_down(b, stage);
    }

    add_label(b, "center");
    int center_in = b->last;
    add_blocks(b, "center", SKIP_NONE);
    add_skip(b, center_in);

    for (int k = c->n_pools - 1; k >= 0; k--) {
        snprintf(stage, sizeof stage, "up.%d", k);
        add_up(b, stage);
        add_label(b, stage);
        int stage_in = b->last;
        add_blocks(b, stage, unet ? SKIP_POP : SKIP_NONE);
        if (!unet)
            add_skip(b, stage_in);
    }
    add_head(b);
    assert(b->n_stack == 0);
}

static void build_tiers(struct plan *plan, const struct config *c)
{
    plan->n_tiers = c->n_pools + 1;
    plan->rate[0] = 1;
    plan->width[0] = c->d_model;
    for (int k = 0; k < c->n_pools; k++) {
        plan->rate[k + 1] = plan->rate[k] * c->pool[k];
        plan->width[k + 1] = plan->width[k] * c->expand;
    }
    plan->norm_eps = c->norm_eps;
    plan->n_labels = c->n_labels;
}

static int count_blocks(const struct config *c)
{
    int n = c->tier[c->n_pools].layers;
    for (int k = 0; k < c->n_pools; k++)
        n += c->tier[k].layers * (c->layout == LAYOUT_UNET ? 2 : 1);
    return n;
}

bool plan_build(struct plan *plan, const struct config *config)
{
    struct layer *layers = NULL;
    struct param *params = NULL;
    for (int pass = 0; pass < 2; pass++) {
        *plan = (struct plan){.layers = layers, .params = params};
        struct builder b = {
            .plan = plan, .config = config, .last = -1, .n_blocks = count_blocks(config)};
        build_tiers(plan, config);
        build_layers(&b);
        if (pass == 0) {
            layers = calloc((size_t)plan->n_layers, sizeof *layers);
            params = calloc((size_t)plan->n_params, sizeof *params);
            if (!layers || !params) {
                free(layers);
                free(params);
                *plan = (struct plan){0};
                return error_set("out of memory for a plan of %d layers", plan->n_layers);
            }
        }
    }
    return true;
}

void plan_free(struct plan *plan)
{
    free(plan->layers);
    free(plan->params);
    *plan = (struct plan){0};
}

const char *layer_kind_name(enum layer_kind kind)
{
    static const char *const names[LAYER_KINDS] = {
        [LAYER_EMBED] = "embed", [LAYER_LABEL] = "label", [LAYER_MIXER] = "mixer",
        [LAYER_FF] = "ff",       [LAYER_DOWN] = "down",   [LAYER_UP] = "up",
        [LAYER_HEAD] = "head"};
    return names[kind];
}
