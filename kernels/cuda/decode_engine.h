/* The decode engine on the GPU from the host's side: what decode_open.cu, decode.cu and
   decode_live.cu share. */
#ifndef HISS_KERNELS_CUDA_DECODE_ENGINE_H
#define HISS_KERNELS_CUDA_DECODE_ENGINE_H

#include "kernels/cuda/decode_kernel.h"

enum {
    DECODE_QUANTUM = 2048,    /* samples of a launch */
    DECODE_QUANTUM_FULL = 64, /* with logits */
    DECODE_SHORT = 256,       /* samples of a call after which a launch stays for the next */
    DECODE_PERIOD = 12,       /* a multiple of every number of frames */
    DECODE_HALVES = 2,        /* of the ring of codes: a launch fills one while the other is read */
};

struct decoder {
    struct cuda_backend *cuda;
    const struct plan *plan;
    struct decoder_options options; /* threads: DECODE_ONE or DECODE_PIPELINE */
    int n_rows, n_groups;
    int64_t n; /* index of the next sample */
    struct decode_launch launch;
    struct decode_piece *pieces; /* device memory */
    int n_pieces;
    void *tables;            /* device memory that the launch reads */
    void *memory;            /* device memory that it writes */
    uint8_t *forced, *codes; /* device memory; host memory: (halves, n_streams, quantum) */
    float *logits;           /* device memory: (n_rows, DECODE_QUANTUM_FULL, V) */
    int32_t *labels;         /* device memory, as all below */
    double *nats;
    long long *clocks;
    cudaEvent_t begun, done[DECODE_HALVES];
    /* Launches that stay, on a stream of their own: whoever waits for the backend's does not wait
       for them. */
    bool may_stay;            /* all blocks are at work at the same time */
    bool stays;               /* a launch is there, or was until its time was over */
    cudaStream_t live_stream; /* does only what the backend's stream has done before, */
    cudaEvent_t live_begin;   /* by this; */
    cudaEvent_t live_end;     /* its launch has ended */
    void *mail_block;         /* host memory; launch.mail* are its parts as the device sees them */
    struct decode_mail *mail;
    int32_t *mail_labels;
    double *mail_nats;
    struct decode_launch live; /* the launch that is there */
    int64_t live_n;            /* its first sample */
    unsigned posted;           /* orders that it got */
};

/* The kernel of a launch. */
static inline auto decode_kernel_of(const struct decode_launch &a)
{
    return a.group == 1 && !a.guided ? decode_kernel<true> : decode_kernel<false>;
}

/* n modulo what leaves every index of a frame's slot as it is. */
static inline unsigned period_of(const struct decoder *d, int64_t n)
{
    return (unsigned)(n % (d->plan->rate[d->plan->n_tiers - 1] * DECODE_PERIOD));
}

/* Of flags and relay. */
static inline int64_t flags_bytes(const struct decoder *d)
{
    const struct decode_launch *a = &d->launch;
    return (d->n_groups * (a->n_tiers + a->n_parts) * 2 + 1) * (int64_t)sizeof(unsigned);
}

#endif
