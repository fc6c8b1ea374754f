/*
 * A backend: where tensors live and who computes. `struct ops` (ops.h) holds its operations; this
 * page is opening, memory and waiting.
 *
 * Memory of a backend may lie on a device: only its operations and backend_upload/_download touch
 * it. Operations and copies run in the order of the calls; with a device they may still be running
 * when a call returns. backend_sync waits, and reports the first error since the last one.
 *
 * One thread at a time per backend.
 */
#ifndef HISS_KERNELS_BACKEND_H
#define HISS_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ops;
struct backend_functions;

/* Every backend begins with this. */
struct backend {
    const struct ops *ops;
    const struct backend_functions *functions; /* kernels/backend_impl.h */
};

/* Opens the backend `name`: "cpu", "cuda", or "auto", which is the CPU: the only one so far that
   is fast at single samples (training has a choice of its own). n_threads: CPU threads, 0 for all
   there are. NULL with error_text. */
struct backend *backend_open(const char *name, int n_threads);
void backend_close(struct backend *be);

/* `bytes` of zeros, aligned to ARENA_ALIGN. NULL with error_text (how much was asked for). */
void *backend_alloc(struct backend *be, size_t bytes);
void backend_free(struct backend *be, void *memory);

/* Copies between host and backend memory, and inside it. backend_download waits for the data. */
void backend_upload(struct backend *be, void *to, const void *from_host, size_t bytes);
void backend_download(struct backend *be, void *to_host, const void *from, size_t bytes);
void backend_copy(struct backend *be, void *to, const void *from, size_t bytes);
void backend_zero(struct backend *be, void *memory, size_t bytes);

/* Makes the scratch memory of operations at least `bytes` (ops->workspace says how much a plan
   needs). Called before work begins, never inside a loop. */
bool backend_reserve(struct backend *be, size_t bytes);

/* What a backend rounds the factors of large matrix products to; sums and results are float, and so
   are the weights themselves. */
enum products {
    PRODUCTS_FP32, /* nothing: the default */
    PRODUCTS_TF32, /* 11 bits, on tensor cores */
    PRODUCTS_BF16, /* 8 bits, on tensor cores: of products with a rounded tensor (kernels/ops.h),
                      which lies in bf16 in memory; TF32 of the others */
};

/* Of the products from now on: before ops->workspace is asked how much scratch memory they need. A
   backend without the kind asked for, as the CPU, keeps to PRODUCTS_FP32. */
void backend_set_products(struct backend *be, enum products products);

/* Bytes of an entry of a rounded tensor, by the kind of products that was set last. */
size_t backend_rounded_size(struct backend *be);

/* Work that is asked for again and again, the same operations on the same memory, sizes and numbers
   alike, without copies from or to the host: a device may record it and do it as one. begin: true
   if the caller has to ask for the work, and then for _end; false if it has been asked for. *repeat
   is NULL the first time; freed before the memory that the work is on. */
struct backend_repeat;
bool backend_repeat_begin(struct backend *be, struct backend_repeat **repeat);
void backend_repeat_end(struct backend *be, struct backend_repeat *repeat);
void backend_repeat_free(struct backend *be, struct backend_repeat *repeat);

/* A way in beside the work: what the host writes for later comes to the device while that still
   computes what was asked for before. In turns: _room, where the caller writes `bytes`; _post, they
   are on their way, and the room is not the caller's any more; _take, in the order of the work,
   copies them to `to`, memory of the backend. The next may be written and posted as soon as the
   one before was asked to be taken; of several posted in a row only the last is taken. */
struct backend_inlet;
struct backend_inlet *backend_inlet_open(struct backend *be, size_t bytes); /* NULL: error_text */
void backend_inlet_close(struct backend *be, struct backend_inlet *inlet);
void *backend_inlet_room(struct backend *be, struct backend_inlet *inlet);
void backend_inlet_post(struct backend *be, struct backend_inlet *inlet);
void backend_inlet_take(struct backend *be, struct backend_inlet *inlet, void *to);

/* Waits for everything asked for so far. False with error_text if any of it failed. */
bool backend_sync(struct backend *be);

/* The seconds that what is asked for between the two calls takes, by the clock of whoever computes;
   the end waits for it. Not to be nested. */
void backend_timer_begin(struct backend *be);
double backend_timer_end(struct backend *be);

/* --- what there is of GPUs -------------------------------------------------------------------- */

struct gpu_facts {
    bool built;        /* this program has a CUDA backend; else there is nothing else here */
    bool usable;       /* backend_open("cuda") would find all that it needs */
    char why_not[256]; /* one line, if it is not usable */
    char device[128];  /* name of the first device; "" if there is none, as the next five */
    int n_devices;
    int capability;             /* in tenths: 90 is 9.0 */
    int n_cores;                /* streaming multiprocessors */
    double clock_hz;            /* of theirs, at most */
    size_t memory, memory_free; /* bytes */
    int driver;                 /* the CUDA it serves: 13000 is 13.0; 0: there is no driver */
    char release[32];           /* the driver's own number, "" if it does not say */
    int runtime;                /* the CUDA this program was built with */
    char blas[32];              /* version of the cuBLAS found, "" if there is none */
};

/* Needs no device and no driver, and opens no backend. Any thread. May set error_text. */
void backend_gpu_facts(struct gpu_facts *facts);

#ifdef __cplusplus
}
#endif

#endif
