/* Opening the decode engine on the GPU: packed, uploaded, laid out. See decode.h. */
#include "base/error.h"
#include "kernels/cuda/decode_engine.h"

#include <stdlib.h>
#include <string.h>

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Shared memory of a group of `rows` rows. */
static struct decode_shared shared_of(const struct decode_step *steps, int n_steps, int n_slots,
                                      int rows)
{
    struct decode_shared at = {};
    int64_t width = 0, half = 0, raw = 0, own = 0, part = 0, sums = 0, tape = 0, size = 0;
    for (int i = 0; i < n_steps; i++) {
        const struct decode_step *s = &steps[i];
        if (s->run > 0)
            tape = DECODE_WARPS * DECODE_RING * DECODE_CHUNK_SIZE * (int64_t)sizeof(uint4);
        const bool block = s->kind == DECODE_MIXER || s->kind == DECODE_S4D || s->kind == DECODE_FF;
        if (s->kind != DECODE_HEAD && s->kind != DECODE_UP)
            width = most(width, s->width);
        half = most(half, most(s->width_in, s->in.depth * DECODE_TILE));
        raw = most(raw, DECODE_WARPS * s->in.tiles * DECODE_TILE);
        raw = most(raw, 2 * s->warps * s->channels);
        if (!block)
            continue;
        own = most(own, most(s->mid.depth, s->out.depth) * DECODE_TILE);
        part = most(part, most(s->kind == DECODE_S4D ? 2 * s->width : s->width, s->n_sums));
        sums = most(sums, s->n_sums);
    }
    half = most(half, width);
    const int64_t bytes[] = {
        DECODE_GROUP * (width + 8) * 4,
        DECODE_GROUP * ((half + 31) / 32 * 32 + 16) * 2,
        rows * (raw + 4) * 4,
        DECODE_WARPS * DECODE_GROUP * ((own + 31) / 32 * 32 + 16) * 2,
        DECODE_WARPS * rows * (part + 4) * 4,
        rows * sums * 4,
        n_slots * rows * width * 4,
        (int64_t)rows * PLAN_CODES * 4,
        (int64_t)rows * PLAN_CODES * 4,
        DECODE_GROUP * (DECODE_CODES + 2 * 4),
        sizeof(struct decode_board),
        n_steps * (int64_t)sizeof *steps,
        tape,
    };
    int *const place[] = {&at.x,     &at.x_half, &at.raw,    &at.own,   &at.part,
                          &at.sums,  &at.keep,   &at.logits, &at.noise, &at.codes,
                          &at.board, &at.steps,  &at.tape};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        *place[i] = (int)size;
        size += (bytes[i] + 15) / 16 * 16;
        if (size > 1 << 24)
            size = 1 << 24; /* far too much, and no overflow */
    }
    at.size = (int)size;
    at.ld_x = (int)width + 8;
    at.ld_half = (int)((half + 31) / 32 * 32 + 16);
    at.ld_raw = (int)raw + 4;
    at.ld_own = (int)((own + 31) / 32 * 32 + 16);
    at.ld_keep = (int)width;
    return at;
}

/* Blocks that can be at work at the same time, of so much shared memory. */
static int blocks_at_once(int shared)
{
    int device = 0, processors = 0, each = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, decode_kernel<false>, DECODE_BLOCK,
                                                  (size_t)shared);
    return processors * each;
}

/* What comes after what, of steps with products. */
static void steps_follow(struct decode_launch *a, struct decode_step *steps)
{
    for (int k = 0; k < a->n_tiers; k++) {
        struct decode_tier *tier = &a->tiers[k];
        int next = -1;
        for (int i = tier->first + tier->n - 1; i >= tier->first; i--) {
            steps[i].next = next;
            if (steps[i].kind >= DECODE_MIXER && steps[i].fast == 0)
                next = i;
        }
        tier->first_product = next;
    }
}

/* Tiers one after the other. */
static void steps_join(struct decoder *d, struct decode_step *steps, const struct decode_packer *p)
{
    struct decode_launch *a = &d->launch;
    for (int k = 0; k < a->n_tiers; k++) {
        struct decode_tier *tier = &a->tiers[k];
        *tier = {};
        tier->first = a->n_steps;
        tier->n = p->n_steps[k];
        tier->rate = (unsigned)d->plan->rate[k];
        tier->pool = k + 1 < a->n_tiers ? (int)(d->plan->rate[k + 1] / d->plan->rate[k]) : 0;
        memcpy(steps + tier->first, p->steps + (int64_t)k * 2 * d->plan->n_layers,
               (size_t)tier->n * sizeof *steps);
        a->n_steps += tier->n;
    }
    steps_follow(a, steps);
}

/* For a device without room for rings: common mixers become steps like others. False: there are no
   runs. */
static bool runs_leave(struct decode_launch *a, struct decode_step *steps)
{
    bool were = false;
    for (int i = 0; i < a->n_steps; i++) {
        were = were || steps[i].run > 0;
        steps[i].run = steps[i].fast = 0;
    }
    steps_follow(a, steps);
    return were;
}

/* The layout: how many streams a group has, and whether its tiers are side by side. */
static bool layout_choose(struct decoder *d, struct decode_step *steps, int n_slots)
{
    struct decode_launch *a = &d->launch;
    const struct decoder_options *o = &d->options;
    const int each = o->guided ? 2 : 1, tiers = a->n_tiers;
    int device = 0, limit = 0, group = DECODE_GROUP / each;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    while (group > 0 && shared_of(steps, a->n_steps, n_slots, group * each).size > limit)
        group--;
    if (group == 0 && runs_leave(a, steps))
        return layout_choose(d, steps, n_slots);
    if (group == 0)
        return error_set("the CUDA engine has no room for this model: a block has %d KiB of shared "
                         "memory; use --precision fp32, which goes operation by operation",
                         limit / 1024);
    cudaFuncSetAttribute(decode_kernel<true>, cudaFuncAttributeMaxDynamicSharedMemorySize, limit);
    cudaFuncSetAttribute(decode_kernel<false>, cudaFuncAttributeMaxDynamicSharedMemorySize, limit);
    const int at_once = blocks_at_once(shared_of(steps, a->n_steps, n_slots, group * each).size);
    const int side_by_side = tiers > 1 ? at_once / tiers : 0; /* groups */
    const bool fits = o->n_streams <= (int64_t)side_by_side * group;
    if (at_once < 1)
        return error_set("the CUDA engine does not run on this device");
    if (o->threads == DECODE_PIPELINE && !fits)
        return tiers < 2 ? error_set("threads pipeline: the model has one tier")
                         : error_set("threads pipeline: this device has room for %d streams side "
                                     "by side; use one or auto",
                                     side_by_side * group);
    /* With more than two streams a group, tiers side by side wait for the slowest longer than all
       of them take one after the other with a third of the streams: on an H100, sc09-6m, 132
       streams 116 us a sample and 99, 176 streams 149 and 128; but 64 streams 82 and 90. */
    if (o->threads == DECODE_AUTO)
        d->options.threads =
            fits && o->n_streams <= 2 * side_by_side ? DECODE_PIPELINE : DECODE_ONE;
    const int groups = d->options.threads == DECODE_PIPELINE ? side_by_side : at_once;
    a->group = (int)cuda_min(group, cuda_blocks(o->n_streams, groups));
    a->shared = shared_of(steps, a->n_steps, n_slots, a->group * each);
    d->n_groups = (int)cuda_blocks(o->n_streams, a->group);
    a->n_parts = d->options.threads == DECODE_PIPELINE ? tiers : 1;
    d->may_stay = d->n_groups * a->n_parts <= at_once;
    for (int p = 0; p <= a->n_parts; p++)
        a->part[p] = p == a->n_parts ? tiers : p;
    return true;
}

/* Uploads n bytes to the next place of a block of device memory. */
static void *table_add(struct decoder *d, char **at, const void *from, int64_t bytes)
{
    void *to = *at;
    backend_upload(&d->cuda->base, to, from, (size_t)bytes);
    *at += (bytes + 511) / 512 * 512;
    return to;
}

static bool tables_open(struct decoder *d, const struct decode_packer *p,
                        const struct decode_step *steps, const struct decode_piece *pieces)
{
    struct decode_launch *a = &d->launch;
    const int64_t fragments = p->n_fragments * 32 * (int64_t)sizeof(uint4);
    const int64_t vectors = p->n_vectors * (int64_t)sizeof(float);
    const int64_t of_steps = a->n_steps * (int64_t)sizeof *steps;
    const int64_t of_pieces = d->n_pieces * (int64_t)sizeof *pieces;
    d->tables = backend_alloc(&d->cuda->base,
                              (size_t)(fragments + vectors + of_steps + of_pieces + 4 * 512));
    if (!d->tables)
        return false;
    char *at = static_cast<char *>(d->tables);
    a->fragments = static_cast<uint4 *>(table_add(d, &at, p->fragments, fragments));
    a->vectors = static_cast<float *>(table_add(d, &at, p->vectors, vectors));
    a->steps = static_cast<struct decode_step *>(table_add(d, &at, steps, of_steps));
    d->pieces = static_cast<struct decode_piece *>(table_add(d, &at, pieces, of_pieces));
    return true;
}

static void *cut(char **at, int64_t bytes)
{
    void *to = *at;
    *at += (bytes + 255) / 256 * 256;
    return to;
}

/* Cuts the memory that launches write from a block; returns its bytes. */
static int64_t memory_cut(struct decoder *d, char *block)
{
    struct decode_launch *a = &d->launch;
    const int64_t rows = d->n_rows, streams = d->options.n_streams;
    char *at = block;
    a->memory = static_cast<float *>(cut(&at, rows * a->row_size * (int64_t)sizeof(float)));
    a->inputs = static_cast<uint8_t *>(cut(&at, rows));
    a->flags = static_cast<unsigned *>(cut(&at, flags_bytes(d)));
    a->relay = a->flags + d->n_groups * a->n_tiers * 2;
    d->labels = static_cast<int32_t *>(cut(&at, rows * (int64_t)sizeof(int32_t)));
    d->nats = static_cast<double *>(cut(&at, streams * (int64_t)sizeof(double)));
    d->forced = static_cast<uint8_t *>(cut(&at, streams * DECODE_QUANTUM));
    d->clocks =
        static_cast<long long *>(cut(&at, (DECODE_QUANTUM + 1) * (int64_t)sizeof(long long)));
    d->logits = static_cast<float *>(
        cut(&at, rows * DECODE_QUANTUM_FULL * PLAN_CODES * (int64_t)sizeof(float)));
    return at - block;
}

static bool memory_open(struct decoder *d)
{
    char *const none = NULL;
    const int64_t bytes = memory_cut(d, none);
    d->memory = backend_alloc(&d->cuda->base, (size_t)bytes);
    if (!d->memory)
        return false;
    memory_cut(d, static_cast<char *>(d->memory));
    if (cudaHostAlloc(reinterpret_cast<void **>(&d->codes),
                      (size_t)d->options.n_streams * DECODE_QUANTUM * DECODE_HALVES,
                      cudaHostAllocMapped) != cudaSuccess ||
        cudaHostGetDevicePointer(reinterpret_cast<void **>(&d->launch.codes), d->codes, 0) !=
            cudaSuccess)
        return error_set("out of pinned memory for the codes of %d streams", d->options.n_streams);
    bool ok = cudaEventCreate(&d->begun) == cudaSuccess;
    for (int i = 0; i < DECODE_HALVES; i++)
        ok = ok && cudaEventCreate(&d->done[i]) == cudaSuccess;
    return (ok || error_set("CUDA: no event could be made")) && live_open(d);
}

static void op_decoder_close(struct decoder *d)
{
    if (!d)
        return;
    struct backend *be = &d->cuda->base;
    live_close(d);
    if (d->tables)
        backend_free(be, d->tables);
    if (d->memory)
        backend_free(be, d->memory);
    if (d->codes)
        cudaFreeHost(d->codes);
    if (d->begun)
        cudaEventDestroy(d->begun);
    for (int i = 0; i < DECODE_HALVES; i++)
        if (d->done[i])
            cudaEventDestroy(d->done[i]);
    free(d);
}

/* Host memory while a net is packed. */
struct decode_packing {
    struct decode_packer p;
    float *weights, *coef;
    struct decode_step *steps; /* joined */
    struct decode_piece *pieces;
};

static void packing_free(struct decode_packing *k)
{
    free(k->weights);
    free(k->coef);
    free(k->steps);
    free(k->pieces);
    free(k->p.fragments);
    free(k->p.vectors);
    free(k->p.steps);
    free(k->p.slot);
    free(k->p.dense);
}

static int64_t coef_floats(const struct decoder_net *net)
{
    int64_t n = 0;
    for (int i = 0; i < net->plan->n_layers; i++)
        n = most(n, net->coef_offset[i] + op_coef_size(&net->plan->layers[i]));
    return n;
}

static bool packing_open(struct decode_packing *k, struct backend *be,
                         const struct decoder_net *net)
{
    const struct plan *plan = net->plan;
    struct decode_packer *p = &k->p;
    const size_t weights = (size_t)plan->weights_size, coef = (size_t)coef_floats(net);
    const size_t n_steps = (size_t)plan->n_tiers * 2 * (size_t)plan->n_layers;
    p->plan = plan;
    p->coef_offset = net->coef_offset;
    k->weights = static_cast<float *>(malloc(weights * sizeof(float)));
    k->coef = static_cast<float *>(malloc((coef + 1) * sizeof(float)));
    k->steps = static_cast<struct decode_step *>(calloc(n_steps, sizeof *k->steps));
    k->pieces =
        static_cast<struct decode_piece *>(calloc((size_t)plan->n_layers, sizeof *k->pieces));
    p->steps = static_cast<struct decode_step *>(calloc(n_steps, sizeof *p->steps));
    p->slot = static_cast<int *>(calloc((size_t)plan->n_layers, sizeof *p->slot));
    if (!k->weights || !k->coef || !k->steps || !k->pieces || !p->steps || !p->slot)
        return error_set("out of memory for packing a network");
    p->weights = k->weights;
    p->coef = k->coef;
    slots_share(p);
    pack_layers(p);
    p->fragments = static_cast<uint4 *>(
        calloc((size_t)(p->n_fragments + p->n_tape) * 32, sizeof *p->fragments));
    p->vectors = static_cast<float *>(calloc((size_t)p->n_vectors, sizeof *p->vectors));
    p->dense = static_cast<float *>(malloc((size_t)dense_size_of(plan) * sizeof *p->dense));
    if (!p->fragments || !p->vectors || !p->dense)
        return error_set("out of memory for packing a network");
    backend_download(be, k->weights, net->weights, weights * sizeof(float));
    backend_download(be, k->coef, net->coef, coef * sizeof(float));
    pack_layers(p);
    return true;
}

/* Pieces of the state, each with the step that keeps it. */
static void pieces_find(struct decoder *d, struct decode_packing *k)
{
    const struct plan *plan = d->plan;
    int at[PLAN_TIERS_MAX] = {};
    for (int i = 0; i < plan->n_layers; i++) {
        const struct layer *l = &plan->layers[i];
        const bool down = l->kind == LAYER_DOWN, up = l->kind == LAYER_UP;
        const int tier = up ? l->tier + 1 : down ? l->tier - 1 : l->tier;
        const struct decode_step *s = &k->steps[d->launch.tiers[tier].first + at[tier]++];
        if (down || up)
            at[l->tier]++;
        if (l->state_size > 0)
            k->pieces[d->n_pieces++] = piece_of(plan, l, s);
    }
}

static bool op_decoder_fits(struct backend *be, const struct plan *plan,
                            const struct decoder_options *o)
{
    (void)be;
    (void)plan;
    if (o->precision == PRECISION_INT8)
        return error_set("precision int8 is the CPU's: the CUDA engine holds weights in fp16");
    if (o->precision != PRECISION_FP16)
        return error_set("the CUDA engine holds weights in fp16, not in %s",
                         precision_name(o->precision));
    if (o->threads == DECODE_LOCKSTEP || o->threads == DECODE_ROWS)
        return error_set("threads %s is the CPU's: use auto, one or pipeline",
                         decode_threads_name(o->threads));
    return true;
}

static struct decoder *op_decoder_open(struct backend *be, const struct decoder_net *net,
                                       const struct decoder_options *o)
{
    struct decode_packing k = {};
    struct decoder *d = static_cast<struct decoder *>(calloc(1, sizeof *d));
    if (!d) {
        error_set("out of memory for a decode engine");
        return NULL;
    }
    d->cuda = cuda_of(be);
    d->plan = net->plan;
    d->options = *o;
    d->n_rows = o->n_streams * (o->guided ? 2 : 1);
    d->launch.n_tiers = net->plan->n_tiers;
    d->launch.n_streams = o->n_streams;
    d->launch.guided = o->guided;
    d->launch.eps = net->plan->norm_eps;
    if (!op_decoder_fits(be, net->plan, o) || !packing_open(&k, be, net))
        goto fail;
    steps_join(d, k.steps, &k.p);
    runs_join(&d->launch, k.steps, &k.p);
    pieces_find(d, &k);
    d->launch.row_size = k.p.row_size;
    if (!layout_choose(d, k.steps, k.p.n_slots))
        goto fail;
    if (!tables_open(d, &k.p, k.steps, k.pieces) || !memory_open(d)) {
        cudaGetLastError(); /* told here: not to be found again after the next launch */
        error_prefix("a decode engine for %d streams (make fewer at once, or end what else uses "
                     "the GPU)",
                     o->n_streams);
        goto fail;
    }
    packing_free(&k);
    return d;
fail:
    packing_free(&k);
    op_decoder_close(d);
    return NULL;
}

static enum decode_threads op_decoder_threads(const struct decoder *d)
{
    return d->options.threads;
}
