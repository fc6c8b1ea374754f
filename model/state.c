#include "model/chunk.h"

static size_t state_bytes(const struct state *s, const struct net *net)
{
    return (size_t)s->n_batch * (size_t)net->plan.state_size * sizeof(float);
}

bool state_open(struct state *s, struct net *net, int n_batch)
{
    *s = (struct state){.n_batch = n_batch};
    s->data = backend_alloc(net->be, state_bytes(s, net));
    return s->data != NULL;
}

void state_close(struct state *s, struct net *net)
{
    if (s->data)
        backend_free(net->be, s->data);
    *s = (struct state){0};
}

void state_reset(struct state *s, struct net *net)
{
    backend_zero(net->be, s->data, state_bytes(s, net));
    s->n = 0;
}
