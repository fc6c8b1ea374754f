#include "kernels/backend.h"

#include "base/error.h"
#include "kernels/backend_impl.h"

#include <stdio.h>
#include <string.h>

struct backend *backend_open(const char *name, int n_threads)
{
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0)
        return cpu_backend_open(n_threads);
    if (strcmp(name, "cuda") == 0) {
#if HISS_CUDA
        return cuda_backend_open();
#else
        error_set("this program was built without CUDA: use --backend cpu, or build it where "
                  "nvcc is");
        return NULL;
#endif
    }
    error_set("there is no backend \"%s\": use auto, cpu or cuda", name);
    return NULL;
}

void backend_close(struct backend *be)
{
    if (be)
        be->functions->close(be);
}

void *backend_alloc(struct backend *be, size_t bytes)
{
    return be->functions->alloc(be, bytes);
}

void backend_free(struct backend *be, void *memory)
{
    be->functions->free(be, memory);
}

void backend_upload(struct backend *be, void *to, const void *from_host, size_t bytes)
{
    if (bytes)
        be->functions->upload(be, to, from_host, bytes);
}

void backend_download(struct backend *be, void *to_host, const void *from, size_t bytes)
{
    if (bytes)
        be->functions->download(be, to_host, from, bytes);
}

void backend_copy(struct backend *be, void *to, const void *from, size_t bytes)
{
    if (bytes)
        be->functions->copy(be, to, from, bytes);
}

void backend_zero(struct backend *be, void *memory, size_t bytes)
{
    if (bytes)
        be->functions->zero(be, memory, bytes);
}

bool backend_reserve(struct backend *be, size_t bytes)
{
    return be->functions->reserve(be, bytes);
}

void backend_set_products(struct backend *be, enum products products)
{
    if (be->functions->set_products)
        be->functions->set_products(be, products);
}

size_t backend_rounded_size(struct backend *be)
{
    return be->functions->rounded_size ? be->functions->rounded_size(be) : sizeof(float);
}

bool backend_repeat_begin(struct backend *be, struct backend_repeat **repeat)
{
    return be->functions->repeat_begin ? be->functions->repeat_begin(be, repeat) : true;
}

void backend_repeat_end(struct backend *be, struct backend_repeat *repeat)
{
    if (be->functions->repeat_end)
        be->functions->repeat_end(be, repeat);
}

void backend_repeat_free(struct backend *be, struct backend_repeat *repeat)
{
    if (repeat)
        be->functions->repeat_free(be, repeat);
}

struct backend_inlet *backend_inlet_open(struct backend *be, size_t bytes)
{
    return be->functions->inlet_open(be, bytes);
}

void backend_inlet_close(struct backend *be, struct backend_inlet *inlet)
{
    if (inlet)
        be->functions->inlet_close(be, inlet);
}

void *backend_inlet_room(struct backend *be, struct backend_inlet *inlet)
{
    return be->functions->inlet_room(be, inlet);
}

void backend_inlet_post(struct backend *be, struct backend_inlet *inlet)
{
    be->functions->inlet_post(be, inlet);
}

void backend_inlet_take(struct backend *be, struct backend_inlet *inlet, void *to)
{
    be->functions->inlet_take(be, inlet, to);
}

bool backend_sync(struct backend *be)
{
    return be->functions->sync(be);
}

void backend_timer_begin(struct backend *be)
{
    be->functions->timer_begin(be);
}

double backend_timer_end(struct backend *be)
{
    return be->functions->timer_end(be);
}

void backend_gpu_facts(struct gpu_facts *facts)
{
    *facts = (struct gpu_facts){.built = HISS_CUDA};
#if HISS_CUDA
    cuda_describe(facts);
#else
    snprintf(facts->why_not, sizeof(facts->why_not), "this program was built without CUDA");
#endif
}
