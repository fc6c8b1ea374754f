/*
 * Pools without their matrices, as in kernels/cpu/frames.c: frame l holds ticks l*p .. l*p + p-1 of
 * the stream; it lies in `frames` by features h*p + s, in a state by slots (p,H). Whatever reads
 * the state is a kernel before the one that writes it.
 */
#include "kernels/cuda/cuda.h"

/* A chunk as the kernels see it. */
struct frames_view {
    struct frames_args a;
    int64_t first, last; /* frames that hold the chunk's first tick and the tick after its last */
    int64_t n;           /* rows or entries of the kernel */
};

static struct frames_view frames_view_of(const struct frames_args *a)
{
    struct frames_view v = {};
    v.a = *a;
    v.first = a->f0 / a->pool;
    v.last = (a->f0 + a->n_time) / a->pool;
    return v;
}

/* Frame l of stream b, which ends inside the chunk. */
CUDA_DEV float *frame_at(const struct frames_view *v, int64_t b, int64_t l)
{
    return v->a.frames + (b * (v->last - v->first) + l - v->first) * v->a.width * v->a.pool;
}

/* Tick f of stream b; NULL outside the chunk. */
CUDA_DEV float *tick_at(const struct frames_view *v, int64_t b, int64_t f)
{
    int64_t t = f - v->a.f0;
    return t >= 0 && t < v->a.n_time ? v->a.x + (b * v->a.n_time + t) * v->a.width : NULL;
}

/* Slot s of a gatherer's state. */
CUDA_DEV float *slot_at(const struct frames_view *v, int64_t b, int s)
{
    return v->a.state + b * v->a.ld_state + (int64_t)s * v->a.width;
}

/* Slot s of frame l in the state of an emitter. */
CUDA_DEV float *late_slot(const struct frames_view *v, int64_t b, int64_t l, int s)
{
    int64_t ring = (l % v->a.up_shift + v->a.up_shift) % v->a.up_shift;
    return v->a.state + b * v->a.ld_state + (ring * v->a.pool + s) * v->a.width;
}

/* Where a warp that takes a frame, or a tick, is. */
struct frames_place {
    int64_t b, l; /* l: the frame, or the tick's */
    int s;        /* of a tick */
    int64_t t;    /* of a tick, from the chunk's begin */
};

/* False: the warp has none. */
CUDA_DEV bool my_frame(const struct frames_view *v, struct frames_place *at)
{
    int64_t row = row_of_warp(), n_frames = v->last - v->first;
    if (row >= v->n)
        return false;
    at->b = row / n_frames;
    at->l = v->first + row % n_frames;
    return true;
}

CUDA_DEV bool my_tick(const struct frames_view *v, struct frames_place *at)
{
    int64_t row = row_of_warp();
    if (row >= v->n)
        return false;
    at->b = row / v->a.n_time;
    at->t = row % v->a.n_time;
    at->l = (v->a.f0 + at->t) / v->a.pool;
    at->s = (int)((v->a.f0 + at->t) % v->a.pool);
    return true;
}

/* Entry i of a kernel over (B, frames from `from` on, p, H). */
struct frames_entry {
    int64_t b, l;
    int s, h;
};

CUDA_DEV struct frames_entry entry_of(const struct frames_view *v, int64_t i, int64_t from,
                                      int64_t n_frames)
{
    struct frames_entry e;
    e.h = (int)(i % v->a.width);
    i /= v->a.width;
    e.s = (int)(i % v->a.pool);
    i /= v->a.pool;
    e.l = from + i % n_frames;
    e.b = i / n_frames;
    return e;
}

/* --- gather ---------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(WARP *ROW_WARPS) gather_kernel(struct frames_view v)
{
    struct frames_place at;
    if (!my_frame(&v, &at))
        return;
    float *frame = frame_at(&v, at.b, at.l);
    for (int i = (int)threadIdx.x; i < v.a.width * v.a.pool; i += WARP) {
        int h = i / v.a.pool, s = i % v.a.pool;
        const float *x = tick_at(&v, at.b, at.l * v.a.pool + s);
        frame[i] = x ? x[h] : slot_at(&v, at.b, s)[h];
    }
}

/* The state becomes the unfinished frame's. */
static __global__ void __launch_bounds__(ENTRY_THREADS) gather_state_kernel(struct frames_view v)
{
    for (int64_t i = first_entry(); i < v.n; i += entry_stride()) {
        struct frames_entry e = entry_of(&v, i, v.last, 1);
        const float *x = tick_at(&v, e.b, e.l * v.a.pool + e.s);
        if (x)
            slot_at(&v, e.b, e.s)[e.h] = x[e.h];
        else if (v.last > v.first)
            slot_at(&v, e.b, e.s)[e.h] = 0.0f;
    }
}

/* Launches a kernel over rows, or over entries, if there are any. */
#define FRAMES_ROWS(kernel, view, rows, name)                                                      \
    do {                                                                                           \
        (view).n = (rows);                                                                         \
        if ((view).n > 0) {                                                                        \
            GPU_LAUNCH(kernel, row_grid((view).n), row_block(), 0, cuda->stream, view);            \
            cuda_launched(cuda, name);                                                             \
        }                                                                                          \
    } while (0)

#define FRAMES_ENTRIES(kernel, view, frames_each, name)                                            \
    do {                                                                                           \
        (view).n = (view).a.n_batch * (int64_t)(frames_each) * (view).a.pool * (view).a.width;     \
        if ((view).n > 0) {                                                                        \
            GPU_LAUNCH(kernel, entry_grid((view).n), ENTRY_THREADS, 0, cuda->stream, view);        \
            cuda_launched(cuda, name);                                                             \
        }                                                                                          \
    } while (0)

static void op_frames_gather(struct backend *be, const struct frames_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_time == 0)
        return;
    struct frames_view v = frames_view_of(a);
    FRAMES_ROWS(gather_kernel, v, a->n_batch * (v.last - v.first), "frames_gather");
    FRAMES_ENTRIES(gather_state_kernel, v, 1, "frames_gather's state");
}

static __global__ void __launch_bounds__(WARP *ROW_WARPS)
    gather_backward_kernel(struct frames_view v)
{
    struct frames_place at;
    if (!my_tick(&v, &at))
        return;
    float *dx = v.a.x + (at.b * v.a.n_time + at.t) * v.a.width;
    for (int h = (int)threadIdx.x; h < v.a.width; h += WARP)
        dx[h] = at.l < v.last ? frame_at(&v, at.b, at.l)[(int64_t)h * v.a.pool + at.s]
                              : slot_at(&v, at.b, at.s)[h];
}

static __global__ void __launch_bounds__(ENTRY_THREADS)
    gather_backward_state_kernel(struct frames_view v)
{
    int64_t live = v.a.f0 % v.a.pool;
    for (int64_t i = first_entry(); i < v.n; i += entry_stride()) {
        struct frames_entry e = entry_of(&v, i, v.first, 1);
        if (e.s >= live)
            slot_at(&v, e.b, e.s)[e.h] = 0.0f;
        else if (v.last > v.first)
            slot_at(&v, e.b, e.s)[e.h] = frame_at(&v, e.b, v.first)[(int64_t)e.h * v.a.pool + e.s];
    }
}

static void op_frames_gather_backward(struct backend *be, const struct frames_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_time == 0)
        return;
    struct frames_view v = frames_view_of(a);
    FRAMES_ROWS(gather_backward_kernel, v, a->n_batch * a->n_time, "frames_gather's gradient");
    FRAMES_ENTRIES(gather_backward_state_kernel, v, 1, "frames_gather's state's gradient");
}

/* --- emit ------------------------------------------------------------------------------------ */

static __global__ void __launch_bounds__(WARP *ROW_WARPS) emit_kernel(struct frames_view v)
{
    struct frames_place at;
    if (!my_tick(&v, &at))
        return;
    int64_t row = (at.b * v.a.n_time + at.t) * v.a.width, l = at.l - v.a.up_shift;
    for (int h = (int)threadIdx.x; h < v.a.width; h += WARP) {
        float x = l >= v.first ? frame_at(&v, at.b, l)[(int64_t)h * v.a.pool + at.s]
                               : late_slot(&v, at.b, l, at.s)[h];
        v.a.x[row + h] = v.a.add ? x + v.a.add[row + h] : x;
    }
}

/* The first of the frames that leave in the state and are not in it yet. */
static __host__ __device__ __forceinline__ int64_t first_kept(const struct frames_view *v)
{
    return v->last - v->a.up_shift > v->first ? v->last - v->a.up_shift : v->first;
}

static __global__ void __launch_bounds__(ENTRY_THREADS) emit_state_kernel(struct frames_view v)
{
    int64_t kept = first_kept(&v);
    for (int64_t i = first_entry(); i < v.n; i += entry_stride()) {
        struct frames_entry e = entry_of(&v, i, kept, v.last - kept);
        late_slot(&v, e.b, e.l, e.s)[e.h] = frame_at(&v, e.b, e.l)[(int64_t)e.h * v.a.pool + e.s];
    }
}

static void op_frames_emit(struct backend *be, const struct frames_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_time == 0)
        return;
    struct frames_view v = frames_view_of(a);
    FRAMES_ROWS(emit_kernel, v, a->n_batch * a->n_time, "frames_emit");
    FRAMES_ENTRIES(emit_state_kernel, v, v.last - first_kept(&v), "frames_emit's state");
}

static __global__ void __launch_bounds__(WARP *ROW_WARPS) emit_backward_kernel(struct frames_view v)
{
    struct frames_place at;
    if (!my_frame(&v, &at))
        return;
    float *dframe = frame_at(&v, at.b, at.l);
    bool leaves = at.l >= v.last - v.a.up_shift;
    for (int i = (int)threadIdx.x; i < v.a.width * v.a.pool; i += WARP) {
        int h = i / v.a.pool, s = i % v.a.pool;
        const float *dx = tick_at(&v, at.b, (at.l + v.a.up_shift) * v.a.pool + s);
        dframe[i] = (dx ? dx[h] : 0.0f) + (leaves ? late_slot(&v, at.b, at.l, s)[h] : 0.0f);
    }
}

/* The frames that entered in the state: those that also leave in it keep what they have. */
static __global__ void __launch_bounds__(ENTRY_THREADS)
    emit_backward_state_kernel(struct frames_view v)
{
    for (int64_t i = first_entry(); i < v.n; i += entry_stride()) {
        struct frames_entry e = entry_of(&v, i, v.first - v.a.up_shift, v.a.up_shift);
        const float *dx = tick_at(&v, e.b, (e.l + v.a.up_shift) * v.a.pool + e.s);
        float *dslot = late_slot(&v, e.b, e.l, e.s) + e.h;
        bool stays = e.l >= v.last - v.a.up_shift;
        *dslot = (dx ? dx[e.h] : 0.0f) + (stays ? *dslot : 0.0f);
    }
}

static void op_frames_emit_backward(struct backend *be, const struct frames_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_time == 0)
        return;
    struct frames_view v = frames_view_of(a);
    FRAMES_ROWS(emit_backward_kernel, v, a->n_batch * (v.last - v.first), "frames_emit's gradient");
    FRAMES_ENTRIES(emit_backward_state_kernel, v, a->up_shift, "frames_emit's state's gradient");
}
