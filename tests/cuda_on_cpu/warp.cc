/*
 * Collectives of a warp. Each lane posts what it brings and waits; the last of the mask does the
 * work for all. Lanes of other masks may wait in the same warp meanwhile.
 *
 * Only __syncwarp orders memory in the thread sanitizer's eyes: a shuffle moves registers.
 */
#include "tests/cuda_on_cpu/gang.h"
#include "tests/cuda_on_cpu/include/kernels/cuda/gpu.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

static const uint64_t NOT_IN_MASK = 0x7fbadbad7fbadbadull; /* NaN, as a float or a double */

static bool names(unsigned mask, unsigned lane)
{
    return mask >> lane & 1;
}

static bool same_call(const struct warp_post *a, const struct warp_post *b)
{
    return a->mask == b->mask && a->op == b->op && a->site == b->site;
}

static uint32_t reduce(enum shim_warp_op op, uint32_t a, uint32_t b)
{
    switch (op) {
    case SHIM_ADD:
        return a + b;
    case SHIM_MIN:
        return b < a ? b : a;
    case SHIM_MAX:
        return b > a ? b : a;
    case SHIM_MIN_SIGNED:
        return (int32_t)b < (int32_t)a ? b : a;
    case SHIM_MAX_SIGNED:
        return (int32_t)b > (int32_t)a ? b : a;
    default:
        return b;
    }
}

static void shuffle(struct warp *w, unsigned mask)
{
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct warp_post *post = &w->post[lane];
        if (!names(mask, lane))
            continue;
        const bool given = post->source < LANES && names(mask, post->source);
        post->result = given ? w->post[post->source].value : NOT_IN_MASK;
    }
}

static void set_results(struct warp *w, unsigned mask, uint32_t result)
{
    for (unsigned lane = 0; lane < LANES; lane++)
        if (names(mask, lane))
            w->post[lane].result = result;
}

static void ballot(struct warp *w, unsigned mask)
{
    uint32_t lanes = 0;
    for (unsigned lane = 0; lane < LANES; lane++)
        if (names(mask, lane))
            lanes |= (uint32_t)(w->post[lane].value & 1) << lane;
    set_results(w, mask, lanes);
}

static void gather(struct warp *w)
{
    const void *in[LANES];
    void *out[LANES];
    for (unsigned lane = 0; lane < LANES; lane++) {
        in[lane] = w->post[lane].in;
        out[lane] = w->post[lane].out;
    }
    w->post[0].gather(in, out);
}

static void reduction(struct warp *w, unsigned mask, enum shim_warp_op op)
{
    bool first = true;
    uint32_t result = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        const uint32_t v = (uint32_t)w->post[lane].value;
        if (!names(mask, lane))
            continue;
        result = first ? v : reduce(op, result, v);
        first = false;
    }
    set_results(w, mask, result);
}

static void complete(struct warp *w, unsigned mask, enum shim_warp_op op)
{
    switch (op) {
    case SHIM_SHUFFLE:
        shuffle(w, mask);
        break;
    case SHIM_BALLOT:
        ballot(w, mask);
        break;
    case SHIM_SYNC:
        break;
    case SHIM_GATHER:
        gather(w);
        break;
    default:
        reduction(w, mask, op);
    }
    w->posted &= ~mask;
    w->phase++;
    const bool reversed = shim_settings()->seed == 1;
    for (unsigned i = 0; i < LANES; i++) {
        const unsigned lane = reversed ? LANES - 1 - i : i;
        if (names(mask, lane) && w->post[lane].thread != self())
            thread_wake(w->post[lane].thread);
    }
}

[[noreturn]] static void mismatch(const struct warp_post *a, const struct warp_post *b)
{
    shim_fail("%s:%d: a collective with mask %08x; lane %u, which it names, waits at %s:%d with "
              "mask %08x",
              a->site->file, a->site->line, a->mask, b->thread->lane, b->site->file, b->site->line,
              b->mask);
}

/* All lanes of the mask are there. A lane may be in another collective that does not name this
   one: it will come later. */
static bool all_there(struct warp *w, unsigned lane)
{
    const struct warp_post *own = &w->post[lane];
    const unsigned others = w->posted & own->mask & ~(1u << lane);
    if (others == 0)
        return own->mask == 1u << lane;
    const bool all = (w->posted & own->mask) == own->mask;
    if (w->alike)
        return all;
    for (unsigned other = 0; other < LANES; other++) {
        const struct warp_post *post = &w->post[other];
        if (!names(others, other))
            continue;
        if (same_call(own, post)) {
            if (all)
                continue;
            return false; /* those there were compared when they came */
        }
        if (names(post->mask, lane))
            mismatch(own, post);
        if (all)
            return false;
    }
    return all;
}

/* This lane's post, empty but for what every call has. */
static struct warp_post *post_of(unsigned mask, enum shim_warp_op op, const struct shim_site *site)
{
    struct thread *t = self();
    if (!t)
        shim_fail("%s:%d: a warp's collective outside kernels", site->file, site->line);
    struct warp *w = &block_of(t)->warps[t->warp];
    struct warp_post *post = &w->post[t->lane];
    if (!names(mask, t->lane))
        shim_fail("%s:%d: lane %u calls a collective with mask %08x, which does not name it",
                  site->file, site->line, t->lane, mask);
    if (mask & w->gone)
        shim_fail("%s:%d: mask %08x names lanes that have ended or never were (%08x)", site->file,
                  site->line, mask, w->gone);
    post->thread = t;
    post->site = site;
    post->mask = mask;
    post->op = op;
    return post;
}

static uint64_t collective(struct warp_post *post)
{
    struct thread *t = post->thread;
    const struct shim_site *site = post->site;
    struct warp *w = &block_of(t)->warps[t->warp];
    if (w->posted == 0) {
        w->alike = true;
        w->first = t->lane;
    } else if (!same_call(post, &w->post[w->first])) {
        w->alike = false;
    }
    w->posted |= 1u << t->lane;
    const char *key = &w->key[w->phase & 1];
    const bool orders = post->op == SHIM_SYNC;
    if (orders)
        tsan_give(key);
    if (!all_there(w, t->lane)) {
        thread_wait("waits for its warp", site);
    } else {
        complete(w, post->mask, post->op);
        if (orders && shim_settings()->seed > 0)
            thread_step_back();
    }
    if (orders)
        tsan_take(key);
    return post->result;
}

uint64_t shim_warp(unsigned mask, enum shim_warp_op op, unsigned source, uint64_t value,
                   const struct shim_site *site)
{
    struct warp_post *post = post_of(mask, op, site);
    post->source = source;
    post->value = value;
    return collective(post);
}

void shim_warp_gather(const void *in, void *out, void (*f)(const void *const *, void *const *),
                      const struct shim_site *site)
{
    struct warp_post *post = post_of(~0u, SHIM_GATHER, site);
    post->in = in;
    post->out = out;
    post->gather = f;
    collective(post);
}

void warp_thread_done(struct thread *thread)
{
    struct warp *w = &block_of(thread)->warps[thread->warp];
    w->gone |= 1u << thread->lane;
    for (unsigned lane = 0; w->posted && lane < LANES; lane++) {
        const struct warp_post *post = &w->post[lane];
        if (names(w->posted, lane) && names(post->mask, thread->lane))
            shim_fail("lane %u ends while lane %u waits for it at %s:%d", thread->lane, lane,
                      post->site->file, post->site->line);
    }
}

/* --- matrix products
 * ------------------------------------------------------------------------------ */

struct mma_in {
    float d[4];
    uint32_t a[4], b[2];
    bool bf16;
};

static float half_of(const struct mma_in *in, uint32_t word, int which)
{
    const uint16_t bits = (uint16_t)(which ? word >> 16 : word);
    return in->bf16 ? __bfloat162float({bits}) : __half2float({bits});
}

/* m16n8k16's fragments: PTX ISA, "matrix fragments for mma.m16n8k16 with floating point type". */
static void mma(const void *const *in, void *const *out)
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < LANES; lane++) {
        const struct mma_in *x = static_cast<const struct mma_in *>(in[lane]);
        const int g = lane / 4, i = lane % 4;
        for (int which = 0; which < 2; which++) {
            a[g][2 * i + which] = half_of(x, x->a[0], which);
            a[g + 8][2 * i + which] = half_of(x, x->a[1], which);
            a[g][2 * i + 8 + which] = half_of(x, x->a[2], which);
            a[g + 8][2 * i + 8 + which] = half_of(x, x->a[3], which);
            b[2 * i + which][g] = half_of(x, x->b[0], which);
            b[2 * i + 8 + which][g] = half_of(x, x->b[1], which);
        }
    }
    for (int lane = 0; lane < LANES; lane++) {
        const struct mma_in *x = static_cast<const struct mma_in *>(in[lane]);
        float *d = static_cast<float *>(out[lane]);
        for (int j = 0; j < 4; j++) {
            const int row = lane / 4 + j / 2 * 8, column = lane % 4 * 2 + j % 2;
            float sum = x->d[j];
            for (int k = 0; k < 16; k++)
                sum += a[row][k] * b[k][column];
            d[j] = sum;
        }
    }
}

void shim_mma(float d[4], const uint32_t a[4], const uint32_t b[2], bool bf16,
              const struct shim_site *site)
{
    struct mma_in in = {};
    memcpy(in.d, d, sizeof in.d);
    memcpy(in.a, a, sizeof in.a);
    memcpy(in.b, b, sizeof in.b);
    in.bf16 = bf16;
    shim_warp_gather(&in, d, mma, site);
}
