/*
 * Pools without their matrices: ticks gathered into frames on the way down, frames emitted tick by
 * tick on the way up. A frame lies in `frames` by features h*p + s, in a state by slots (p,H).
 *
 * Frames are counted from the start of the stream: frame l holds ticks l*p .. l*p + p-1, the first
 * frame that ends inside the chunk is f0/p.
 */
#include "kernels/cpu/rounds.h"

#include <string.h>

struct frames_job {
    struct frames_args a;
    int64_t first, last; /* frames that hold the chunk's first tick and the tick after its last */
    int64_t n_blocks;    /* blocks of frames a stream */
    int64_t block;       /* frames in a block */
};

static int64_t frames_work(const struct frames_args *a)
{
    return a->n_batch * a->n_time * a->width;
}

static struct frames_job frames_job_of(const struct frames_args *a)
{
    struct frames_job job = {
        .a = *a, .first = a->f0 / a->pool, .last = (a->f0 + a->n_time) / a->pool};
    job.block = CPU_ROW_BLOCK / a->pool > 0 ? CPU_ROW_BLOCK / a->pool : 1;
    /* the frame cut off by the end of the chunk has a part too */
    job.n_blocks = blocks_of(job.last + 1 - job.first, job.block);
    return job;
}

/* Runs fn for each block of frames that share ticks with the chunk, of each stream. */
static void frames_run(struct backend *be, void (*fn)(void *, int64_t, int), struct frames_job *job)
{
    run_rounds(be, fn, job, job->a.n_batch * job->n_blocks, frames_work(&job->a));
}

/* Of a round: the stream, and its frames [begin, end). */
static void frames_of_round(const struct frames_job *job, int64_t i, int64_t *b, int64_t *begin,
                            int64_t *end)
{
    *b = i / job->n_blocks;
    *begin = job->first + i % job->n_blocks * job->block;
    *end = min_of(job->last + 1, *begin + job->block);
}

/* Frame l of stream b, which ends inside the chunk. */
static float *frame_at(const struct frames_job *job, int64_t b, int64_t l)
{
    const struct frames_args *a = &job->a;
    int64_t n_frames = job->last - job->first;
    return a->frames + (b * n_frames + l - job->first) * a->width * a->pool;
}

/* Tick f of stream b; NULL outside the chunk. */
static float *tick_at(const struct frames_job *job, int64_t b, int64_t f)
{
    const struct frames_args *a = &job->a;
    int64_t t = f - a->f0;
    return t >= 0 && t < a->n_time ? a->x + (b * a->n_time + t) * a->width : NULL;
}

/* Slot s of frame l in the state of an emitter. */
static float *late_slot(const struct frames_job *job, int64_t b, int64_t l, int s)
{
    const struct frames_args *a = &job->a;
    int64_t ring = (l % a->up_shift + a->up_shift) % a->up_shift;
    return a->state + b * a->ld_state + (ring * a->pool + s) * a->width;
}

static void slot_to_frame(float *frame, const float *slot, int s, int pool, int width)
{
    for (int h = 0; h < width; h++)
        frame[h * pool + s] = slot[h];
}

static void frame_to_slot(float *slot, const float *frame, int s, int pool, int width)
{
    for (int h = 0; h < width; h++)
        slot[h] = frame[h * pool + s];
}

static void gather_round(void *arg, int64_t i, int thread)
{
    const struct frames_job *job = arg;
    const struct frames_args *a = &job->a;
    int64_t b, begin, end;
    frames_of_round(job, i, &b, &begin, &end);
    for (int64_t l = begin; l < min_of(end, job->last); l++) {
        for (int s = 0; s < a->pool; s++) {
            const float *x = tick_at(job, b, l * a->pool + s);
            const float *slot = a->state + b * a->ld_state + (int64_t)s * a->width;
            slot_to_frame(frame_at(job, b, l), x ? x : slot, s, a->pool, a->width);
        }
    }
}

static void op_frames_gather(struct backend *be, const struct frames_args *a)
{
    if (a->n_time == 0)
        return;
    struct frames_job job = frames_job_of(a);
    frames_run(be, gather_round, &job);
    /* the state was read by the first frame: only now is it the unfinished frame's */
    size_t row = (size_t)a->width * sizeof(float);
    for (int b = 0; b < a->n_batch; b++) {
        float *state = a->state + b * a->ld_state;
        if (job.last > job.first)
            memset(state, 0, row * (size_t)a->pool);
        for (int s = 0; s < a->pool; s++) {
            const float *x = tick_at(&job, b, job.last * a->pool + s);
            if (x)
                memcpy(state + (int64_t)s * a->width, x, row);
        }
    }
}

static void gather_backward_round(void *arg, int64_t i, int thread)
{
    const struct frames_job *job = arg;
    const struct frames_args *a = &job->a;
    int64_t b, begin, end;
    frames_of_round(job, i, &b, &begin, &end);
    for (int64_t l = begin; l < end; l++) {
        for (int s = 0; s < a->pool; s++) {
            float *dx = tick_at(job, b, l * a->pool + s);
            if (!dx)
                continue;
            if (l < job->last)
                frame_to_slot(dx, frame_at(job, b, l), s, a->pool, a->width);
            else
                memcpy(dx, a->state + b * a->ld_state + (int64_t)s * a->width,
                       (size_t)a->width * sizeof(float));
        }
    }
}

static void op_frames_gather_backward(struct backend *be, const struct frames_args *a)
{
    if (a->n_time == 0)
        return;
    struct frames_job job = frames_job_of(a);
    frames_run(be, gather_backward_round, &job);
    int64_t live = a->f0 % a->pool;
    for (int b = 0; b < a->n_batch; b++) {
        for (int s = 0; s < a->pool; s++) {
            float *dstate = a->state + b * a->ld_state + (int64_t)s * a->width;
            if (s >= live)
                memset(dstate, 0, (size_t)a->width * sizeof(float));
            else if (job.last > job.first)
                frame_to_slot(dstate, frame_at(&job, b, job.first), s, a->pool, a->width);
        }
    }
}

static void emit_round(void *arg, int64_t i, int thread)
{
    const struct frames_job *job = arg;
    const struct frames_args *a = &job->a;
    int64_t b, begin, end;
    frames_of_round(job, i, &b, &begin, &end);
    for (int64_t q = begin; q < end; q++) {
        int64_t l = q - a->up_shift;
        for (int s = 0; s < a->pool; s++) {
            float *x = tick_at(job, b, q * a->pool + s);
            if (!x)
                continue;
            if (l >= job->first)
                frame_to_slot(x, frame_at(job, b, l), s, a->pool, a->width);
            else
                memcpy(x, late_slot(job, b, l, s), (size_t)a->width * sizeof(float));
            if (a->add) {
                const float *add = a->add + (x - a->x);
                for (int h = 0; h < a->width; h++)
                    x[h] += add[h];
            }
        }
    }
}

static void op_frames_emit(struct backend *be, const struct frames_args *a)
{
    if (a->n_time == 0)
        return;
    struct frames_job job = frames_job_of(a);
    frames_run(be, emit_round, &job);
    int64_t kept = job.last - a->up_shift > job.first ? job.last - a->up_shift : job.first;
    for (int b = 0; b < a->n_batch; b++)
        for (int64_t l = kept; l < job.last; l++)
            for (int s = 0; s < a->pool; s++)
                frame_to_slot(late_slot(&job, b, l, s), frame_at(&job, b, l), s, a->pool, a->width);
}

static void emit_backward_round(void *arg, int64_t i, int thread)
{
    const struct frames_job *job = arg;
    const struct frames_args *a = &job->a;
    int64_t b, begin, end;
    frames_of_round(job, i, &b, &begin, &end);
    for (int64_t l = begin; l < min_of(end, job->last); l++) {
        float *dframe = frame_at(job, b, l);
        for (int s = 0; s < a->pool; s++) {
            const float *dx = tick_at(job, b, (l + a->up_shift) * a->pool + s);
            const float *dslot = late_slot(job, b, l, s);
            bool leaves = l >= job->last - a->up_shift;
            for (int h = 0; h < a->width; h++)
                dframe[h * a->pool + s] = (dx ? dx[h] : 0.0f) + (leaves ? dslot[h] : 0.0f);
        }
    }
}

static void op_frames_emit_backward(struct backend *be, const struct frames_args *a)
{
    if (a->n_time == 0)
        return;
    struct frames_job job = frames_job_of(a);
    frames_run(be, emit_backward_round, &job);
    /* the frames that entered in the state: those that also leave in it keep what they have */
    for (int b = 0; b < a->n_batch; b++) {
        for (int64_t l = job.first - a->up_shift; l < job.first; l++) {
            for (int s = 0; s < a->pool; s++) {
                const float *dx = tick_at(&job, b, (l + a->up_shift) * a->pool + s);
                float *dslot = late_slot(&job, b, l, s);
                bool stays = l >= job.last - a->up_shift;
                for (int h = 0; h < a->width; h++)
                    dslot[h] = (dx ? dx[h] : 0.0f) + (stays ? dslot[h] : 0.0f);
            }
        }
    }
}
