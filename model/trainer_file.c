/*
 * train.safetensors: everything a training needs to go on as if never stopped. Tensors weight.*,
 * m.*, v.*, average.* a parameter; counters as decimal strings in the metadata.
 */
#include "base/error.h"
#include "model/safetensors.h"
#include "model/trainer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PARTS = 4 };
static const char *const part_names[N_PARTS] = {"weight", "m", "v", "average"};

static void part_blocks(struct trainer *t, float *blocks[N_PARTS])
{
    blocks[0] = t->net->weights;
    blocks[1] = t->m;
    blocks[2] = t->v;
    blocks[3] = t->average;
}

static void tensor_name(char name[TENSOR_NAME_MAX], int part, const struct param *p)
{
    snprintf(name, TENSOR_NAME_MAX, "%s.%s", part_names[part], p->name);
}

bool trainer_save(struct trainer *t, const char *path)
{
    assert(!t->averaged_in_use);
    const struct plan *plan = &t->net->plan;
    size_t block = (size_t)plan->weights_size, n = (size_t)plan->n_params * N_PARTS;
    float *host = malloc(N_PARTS * block * sizeof *host);
    struct tensor_out *tensors = calloc(n, sizeof *tensors);
    char(*names)[TENSOR_NAME_MAX] = calloc(n, sizeof *names);
    float *blocks[N_PARTS];
    char step[24], updates[24];
    bool ok = false;
    if (!host || !tensors || !names) {
        error_set("%s: out of memory", path);
        goto out;
    }
    part_blocks(t, blocks);
    for (int part = 0; part < N_PARTS; part++) {
        backend_download(t->net->be, host + (size_t)part * block, blocks[part],
                         block * sizeof *host);
        for (int i = 0; i < plan->n_params; i++) {
            const struct param *p = &plan->params[i];
            size_t at = (size_t)(part * plan->n_params + i);
            tensor_name(names[at], part, p);
            tensors[at] = (struct tensor_out){names[at], p->n_dims, p->shape,
                                              host + (size_t)part * block + p->offset};
        }
    }
    if (!backend_sync(t->net->be))
        goto out;
    snprintf(step, sizeof step, "%" PRId64, t->step);
    snprintf(updates, sizeof updates, "%" PRId64, t->n_updates);
    const char *const metadata[] = {"hiss.step", step, "hiss.updates", updates};
    ok = safetensors_write(path, tensors, (int)n, metadata, 2);
out:
    free(host);
    free(tensors);
    free(names);
    return ok;
}

static bool read_counter(const struct safetensors *st, const char *key, int64_t *value)
{
    const char *text = safetensors_metadata(st, key);
    char *end;
    *value = text ? strtoll(text, &end, 10) : -1;
    if (!text || *end || end == text || *value < 0)
        return error_set("%s: %s is missing or no number: this is no training state", st->path,
                         key);
    return true;
}

static bool read_param(const struct safetensors *st, int part, const struct param *p, float *out)
{
    char name[TENSOR_NAME_MAX];
    tensor_name(name, part, p);
    const struct tensor_entry *e = safetensors_find(st, name);
    bool same = e && e->type == TENSOR_F32 && e->n_dims == p->n_dims;
    for (int d = 0; same && d < p->n_dims; d++)
        same = e->shape[d] == p->shape[d];
    if (!same)
        return error_set("%s: tensor %s is missing or of another shape: the run was begun with "
                         "another configuration",
                         st->path, name);
    tensor_to_float(out + p->offset, e);
    return true;
}

bool trainer_load(struct trainer *t, const char *path)
{
    assert(!t->averaged_in_use);
    const struct plan *plan = &t->net->plan;
    size_t block = (size_t)plan->weights_size;
    struct safetensors st;
    if (!safetensors_open(&st, path))
        return false;
    float *host = calloc(N_PARTS * block, sizeof *host), *blocks[N_PARTS];
    int64_t step, updates;
    bool ok = false;
    if (!host) {
        error_set("%s: out of memory", path);
        goto out;
    }
    if (!read_counter(&st, "hiss.step", &step) || !read_counter(&st, "hiss.updates", &updates))
        goto out;
    for (int part = 0; part < N_PARTS; part++)
        for (int i = 0; i < plan->n_params; i++)
            if (!read_param(&st, part, &plan->params[i], host + (size_t)part * block))
                goto out;
    part_blocks(t, blocks);
    for (int part = 0; part < N_PARTS; part++)
        backend_upload(t->net->be, blocks[part], host + (size_t)part * block, block * sizeof *host);
    t->step = step;
    t->n_updates = updates;
    net_refresh(t->net);
    ok = backend_sync(t->net->be);
out:
    free(host);
    safetensors_close(&st);
    return ok;
}
