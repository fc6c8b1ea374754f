/*
 * What a backend gives kernels/backend.c: memory and waiting, by backend.h's rules (bytes are never
 * 0 in copies), and how each is opened. Inside kernels/ only.
 */
#ifndef HISS_KERNELS_BACKEND_IMPL_H
#define HISS_KERNELS_BACKEND_IMPL_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct backend_functions {
    void (*close)(struct backend *be);
    void *(*alloc)(struct backend *be, size_t bytes);
    void (*free)(struct backend *be, void *memory);
    void (*upload)(struct backend *be, void *to, const void *from_host, size_t bytes);
    void (*download)(struct backend *be, void *to_host, const void *from, size_t bytes);
    void (*copy)(struct backend *be, void *to, const void *from, size_t bytes);
    void (*zero)(struct backend *be, void *memory, size_t bytes);
    bool (*reserve)(struct backend *be, size_t bytes);
    bool (*sync)(struct backend *be);
    void (*timer_begin)(struct backend *be);
    double (*timer_end)(struct backend *be);
    void (*set_products)(struct backend *be, enum products products); /* NULL: always float */
    size_t (*rounded_size)(struct backend *be);                       /* likewise */
    /* NULL: nothing is recorded */
    bool (*repeat_begin)(struct backend *be, struct backend_repeat **repeat);
    void (*repeat_end)(struct backend *be, struct backend_repeat *repeat);
    void (*repeat_free)(struct backend *be, struct backend_repeat *repeat);
    struct backend_inlet *(*inlet_open)(struct backend *be, size_t bytes);
    void (*inlet_close)(struct backend *be, struct backend_inlet *inlet);
    void *(*inlet_room)(struct backend *be, struct backend_inlet *inlet);
    void (*inlet_post)(struct backend *be, struct backend_inlet *inlet);
    void (*inlet_take)(struct backend *be, struct backend_inlet *inlet, void *to);
};

/* n_threads: 0 for all there are. NULL with error_text. */
struct backend *cpu_backend_open(int n_threads);

/* Only where the build has CUDA. The first device; NULL with error_text if there is none. */
struct backend *cuda_backend_open(void);
void cuda_describe(struct gpu_facts *facts);

#ifdef __cplusplus
}
#endif

#endif
