/* The decode engine on the GPU at work: its states, and its launches. See decode.h. */
#include "kernels/cuda/decode_engine.h"

#include <string.h>

/* --- states ----------------------------------------------------------------------------------- */

static void state_move(struct decoder *d, float *state, bool to_canonical)
{
    struct decode_move m = {};
    m.pieces = d->pieces;
    m.canonical = state;
    m.memory = d->launch.memory;
    m.canonical_size = d->plan->state_size;
    m.row_size = d->launch.row_size;
    m.n = period_of(d, d->n);
    m.to_canonical = to_canonical;
    GPU_LAUNCH(decode_move_kernel, dim3((unsigned)d->n_pieces, (unsigned)d->n_rows), ENTRY_THREADS,
               0, d->cuda->stream, m);
    cuda_launched(d->cuda, "decode_move");
}

static void op_decoder_import(struct decoder *d, const float *state, int64_t n,
                              const uint8_t *inputs)
{
    struct backend *be = &d->cuda->base;
    live_leave(d);
    d->n = n;
    backend_zero(be, d->launch.memory, (size_t)(d->n_rows * d->launch.row_size) * sizeof(float));
    backend_upload(be, d->launch.inputs, inputs, (size_t)d->n_rows);
    state_move(d, const_cast<float *>(state), false);
}

static void op_decoder_export(struct decoder *d, float *state)
{
    live_leave(d);
    state_move(d, state, true);
}

/* --- samples ---------------------------------------------------------------------------------- */

/* Launches samples [t, t + n) of a call. Their codes come into half `half` of the ring. */
static void samples_launch(struct decoder *d, const struct decode_args *a, int64_t t, int n,
                           int half)
{
    struct cuda_backend *cuda = d->cuda;
    struct decode_launch launch = d->launch;
    launch.start = period_of(d, d->n);
    launch.order.n_samples = n;
    launch.order.sampling = a->sampling;
    launch.order.noise_n = (uint64_t)(a->noise_n + t);
    launch.order.first_stream = a->first_stream;
    launch.labels = d->labels;
    launch.codes += (int64_t)half * d->options.n_streams * DECODE_QUANTUM;
    launch.ld_codes = DECODE_QUANTUM;
    launch.nats = a->nats ? d->nats : NULL;
    launch.logits = a->logits ? d->logits : NULL;
    launch.clocks = a->seconds ? d->clocks : NULL;
    launch.forced = a->forced ? d->forced : NULL;
    for (int i = 0; a->forced && i < d->options.n_streams; i++)
        backend_upload(&cuda->base, d->forced + (int64_t)i * n, a->forced + i * a->n_samples + t,
                       (size_t)n);
    backend_zero(&cuda->base, launch.flags, (size_t)flags_bytes(d));
    cuda_keep_error(cuda, cudaEventRecord(d->begun, cuda->stream), "decode");
    const unsigned blocks = (unsigned)(d->n_groups * launch.n_parts);
    if (launch.n_parts > 1) /* they wait for each other */
        GPU_LAUNCH_COOP(decode_kernel_of(launch), blocks, DECODE_BLOCK, (size_t)launch.shared.size,
                        cuda->stream, launch);
    else
        GPU_LAUNCH(decode_kernel_of(launch), blocks, DECODE_BLOCK, (size_t)launch.shared.size,
                   cuda->stream, launch);
    cuda_launched(cuda, "decode");
    cuda_keep_error(cuda, cudaEventRecord(d->done[half], cuda->stream), "decode");
    d->n += n;
}

/* What each sample of a launch took, by the device's clock and the launch's time. */
static void seconds_take(struct decoder *d, float *seconds, int n, int half)
{
    long long clocks[DECODE_QUANTUM + 1];
    float launch_ms = 0;
    backend_download(&d->cuda->base, clocks, d->clocks, (size_t)(n + 1) * sizeof *clocks);
    cuda_keep_error(d->cuda, cudaEventElapsedTime(&launch_ms, d->begun, d->done[half]), "decode");
    const double tick_s = launch_ms * 1e-3 / most(clocks[n] - clocks[0], 1);
    for (int t = 0; t < n; t++)
        seconds[t] = (float)((double)(clocks[t + 1] - clocks[t]) * tick_s);
}

/* Waits for a launch and takes what it made. */
static void samples_take(struct decoder *d, const struct decode_args *a, int64_t t, int n, int half)
{
    cuda_keep_error(d->cuda, cudaEventSynchronize(d->done[half]), "decode");
    for (int i = 0; a->codes && i < d->options.n_streams; i++)
        memcpy(a->codes + i * a->n_samples + t,
               d->codes + ((int64_t)half * d->options.n_streams + i) * DECODE_QUANTUM, (size_t)n);
    for (int r = 0; a->logits && r < d->n_rows; r++)
        backend_download(&d->cuda->base, a->logits + (r * a->n_samples + t) * PLAN_CODES,
                         d->logits + (int64_t)r * n * PLAN_CODES,
                         (size_t)n * PLAN_CODES * sizeof(float));
    if (a->seconds)
        seconds_take(d, a->seconds + t, n, half);
}

/* A launch is at work while the codes of the one before are taken: no launch is made before its
   half of the ring is free. */
static void op_decode(struct decoder *d, const struct decode_args *a)
{
    struct backend *be = &d->cuda->base;
    const size_t streams = (size_t)d->options.n_streams;
    const bool one_by_one = a->logits || a->seconds;
    const int quantum = a->logits ? DECODE_QUANTUM_FULL : DECODE_QUANTUM;
    int waiting = 0, half = 0; /* samples of the launch before */
    if (live_fits(d, a)) {
        live_decode(d, a);
        return;
    }
    live_leave(d);
    backend_upload(be, d->labels, a->labels, (size_t)d->n_rows * sizeof *a->labels);
    if (a->nats)
        backend_upload(be, d->nats, a->nats, streams * sizeof *a->nats);
    for (int64_t t = 0; t < a->n_samples; t += quantum, half = 1 - half) {
        const int n = (int)cuda_min(quantum, a->n_samples - t);
        samples_launch(d, a, t, n, half);
        if (waiting > 0)
            samples_take(d, a, t - waiting, waiting, 1 - half);
        waiting = one_by_one ? 0 : n;
        if (one_by_one)
            samples_take(d, a, t, n, half);
    }
    if (waiting > 0)
        samples_take(d, a, a->n_samples - waiting, waiting, 1 - half);
    if (a->nats)
        backend_download(be, a->nats, d->nats, streams * sizeof *a->nats);
}
