/*
 * train.safetensors: everything a training needs to go on as if never stopped. Tensors weight.*,
 * m.*, v.*, average.* a parameter; counters as decimal strings in the metadata. Where states are
 * carried: carry.state (batch, state_size), and carry.rows (batch, 3), of each clip the windows
 * before it, its last code, and whether its state is of no use.
 */
#include "base/error.h"
#include "model/safetensors.h"
#include "model/trainer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_PARTS = 4, N_CARRY = 2, ROW_FACTS = 3 };
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

/* Shapes of carry.state and carry.rows. */
static void carry_shapes(const struct trainer *t, int64_t shapes[N_CARRY][2])
{
    shapes[0][0] = shapes[1][0] = t->settings.batch;
    shapes[0][1] = t->net->plan.state_size;
    shapes[1][1] = ROW_FACTS;
}

static size_t carry_floats(const struct trainer *t)
{
    return t->settings.carry
               ? (size_t)t->settings.batch * (size_t)(t->net->plan.state_size + ROW_FACTS)
               : 0;
}

/* The numbers of both into carry_floats at `host`, all of them whole or of float already. */
static void carry_get(const struct trainer *t, float *host)
{
    const size_t states = (size_t)t->settings.batch * (size_t)t->net->plan.state_size;
    backend_download(t->net->be, host, t->carried, states * sizeof *host);
    for (int b = 0; b < t->settings.batch; b++) {
        float *row = host + states + (size_t)b * ROW_FACTS;
        row[0] = (float)t->windows[b];
        row[1] = (float)t->last[b];
        row[2] = (float)t->broken[b];
    }
}

static void carry_set(struct trainer *t, const float *host)
{
    const size_t states = (size_t)t->settings.batch * (size_t)t->net->plan.state_size;
    backend_upload(t->net->be, t->carried, host, states * sizeof *host);
    for (int b = 0; b < t->settings.batch; b++) {
        const float *row = host + states + (size_t)b * ROW_FACTS;
        t->windows[b] = (int64_t)row[0];
        t->last[b] = (uint8_t)row[1];
        t->broken[b] = row[2] != 0;
    }
}

static const char *const carry_names[N_CARRY] = {"carry.state", "carry.rows"};

bool trainer_save(struct trainer *t, const char *path)
{
    assert(!t->averaged_in_use);
    const struct plan *plan = &t->net->plan;
    size_t block = (size_t)plan->weights_size, n = (size_t)plan->n_params * N_PARTS;
    float *host = malloc((N_PARTS * block + carry_floats(t)) * sizeof *host);
    struct tensor_out *tensors = calloc(n + N_CARRY, sizeof *tensors);
    int64_t shapes[N_CARRY][2];
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
    if (t->settings.carry) {
        float *carry = host + N_PARTS * block;
        carry_shapes(t, shapes);
        carry_get(t, carry);
        for (int i = 0; i < N_CARRY; i++) {
            tensors[n++] = (struct tensor_out){carry_names[i], 2, shapes[i], carry};
            carry += shapes[i][0] * shapes[i][1];
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

static bool read_tensor(const struct safetensors *st, const char *name, int n_dims,
                        const int64_t *shape, float *out)
{
    const struct tensor_entry *e = safetensors_find(st, name);
    bool same = e && e->type == TENSOR_F32 && e->n_dims == n_dims;
    for (int d = 0; same && d < n_dims; d++)
        same = e->shape[d] == shape[d];
    if (!same)
        return error_set("%s: tensor %s is missing or of another shape: the run was begun with "
                         "another configuration",
                         st->path, name);
    tensor_to_float(out, e);
    return true;
}

static bool read_param(const struct safetensors *st, int part, const struct param *p, float *out)
{
    char name[TENSOR_NAME_MAX];
    tensor_name(name, part, p);
    return read_tensor(st, name, p->n_dims, p->shape, out + p->offset);
}

static bool read_carry(const struct safetensors *st, const struct trainer *t, float *out)
{
    int64_t shapes[N_CARRY][2];
    carry_shapes(t, shapes);
    for (int i = 0; i < N_CARRY; i++) {
        if (!read_tensor(st, carry_names[i], 2, shapes[i], out))
            return false;
        out += shapes[i][0] * shapes[i][1];
    }
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
    float *host = calloc(N_PARTS * block + carry_floats(t), sizeof *host), *blocks[N_PARTS];
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
    if (t->settings.carry && !read_carry(&st, t, host + N_PARTS * block))
        goto out;
    if (t->settings.carry)
        carry_set(t, host + N_PARTS * block);
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
