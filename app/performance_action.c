/* What hands can do to a performance. */
#include "app/performance_impl.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static const char *const action_names[ACTION_KINDS] = {
    [ACTION_TEMPERATURE] = "temperature",
    [ACTION_TOP_P] = "top-p",
    [ACTION_GUIDANCE] = "guidance",
    [ACTION_LABEL] = "label",
    [ACTION_SEED] = "seed",
    [ACTION_MUTE] = "mute",
    [ACTION_PAUSE] = "pause",
    [ACTION_SNAPSHOT] = "snapshot",
    [ACTION_RECALL] = "recall",
    [ACTION_REWIND] = "rewind",
    [ACTION_FREEZE] = "freeze",
    [ACTION_MORPH] = "morph",
    [ACTION_PROMPT] = "prompt",
    [ACTION_STATE] = "state",
    [ACTION_RESTART] = "restart",
};

const char *action_name(enum action_kind kind)
{
    return action_names[kind];
}

bool action_from_name(enum action_kind *kind, const char *name)
{
    for (int i = 0; i < ACTION_KINDS; i++)
        if (strcmp(action_names[i], name) == 0) {
            *kind = (enum action_kind)i;
            return true;
        }
    return false;
}

/* Another sampling, or the old one and false. */
static bool sampling_change(struct performance *p, const struct hiss_sampling *sampling)
{
    struct hiss_sampling before = p->sampling;
    if (sampling->guidance != 1 && !p->guided)
        return error_set("guidance needs a model with labels, and to begin with some (--guidance)");
    p->sampling = *sampling;
    if (performance_sampling_set(p))
        return true;
    p->sampling = before;
    return false;
}

static bool label_change(struct performance *p, int label)
{
    if (label < -1 || label >= hiss_model_n_labels(p->model))
        return error_set("the model has %d labels: no label %d", hiss_model_n_labels(p->model),
                         label);
    p->label = label;
    if (p->clip > 0)
        return true; /* heard from the next clip on */
    p->label_heard = label;
    return hiss_stream_set_label(p->stream, 0, label) && performance_sampling_set(p);
}

static bool slot_exists(int slot)
{
    return (slot >= 1 && slot <= PERFORMANCE_SLOTS) ||
           error_set("slots are 1 to %d, not %d", PERFORMANCE_SLOTS, slot);
}

static bool slot_holds(const struct performance *p, int slot)
{
    return slot_exists(slot) && (p->slot[slot].state || error_set("slot %d is empty", slot));
}

static bool snapshot(struct performance *p, int slot)
{
    struct moment m = {0};
    if (!slot_exists(slot))
        return false;
    m.state = p->slot[slot].state ? p->slot[slot].state : malloc(p->state_size);
    if (!m.state)
        return error_set("out of memory for a snapshot");
    bool ok = moment_keep(p, &m);
    p->slot[slot] = m;
    return ok;
}

static bool recall(struct performance *p, int slot)
{
    if (!slot_holds(p, slot) || !performance_jump(p))
        return false;
    p->frozen = false;
    return moment_become(p, &p->slot[slot]);
}

static bool morph(struct performance *p, const struct action *a)
{
    if (!slot_holds(p, a->slot) || !slot_holds(p, a->other))
        return false;
    if (!(a->value >= 0 && a->value <= 1))
        return error_set("a morph goes from 0 to 1, not to %g", (double)a->value);
    if (!performance_jump(p))
        return false;
    p->frozen = false;
    const struct moment *one = &p->slot[a->slot], *other = &p->slot[a->other];
    return moment_become(p, a->value > 0.5f ? other : one) &&
           hiss_stream_load_mix(p->stream, one->state, other->state, p->state_size, a->value);
}

static bool rewind_to(struct performance *p, const struct action *a)
{
    if (!(a->value >= 0))
        return error_set("a rewind goes back, not by %g s", (double)a->value);
    if (!history_rewind(p, a->value))
        return false;
    p->sampling.seed = a->seed;
    return performance_sampling_set(p);
}

static bool freeze(struct performance *p, const struct action *a)
{
    if (a->on == p->frozen)
        return error_set("it %s already", p->frozen ? "is frozen" : "goes on");
    if (a->on && !loop_cut(p, a->value))
        return false;
    if (!performance_jump(p))
        return false;
    p->frozen = a->on;
    p->loop_at = 0;
    return true;
}

static bool restart(struct performance *p)
{
    if (!performance_jump(p))
        return false;
    p->frozen = false;
    hiss_stream_restart(p->stream);
    p->label_heard = p->label;
    return hiss_stream_set_label(p->stream, 0, p->label) && performance_sampling_set(p);
}

/* The sound goes on from a saved state, heard with label `label`. */
static bool state_become(struct performance *p, const void *state, size_t size, int label)
{
    if (size != p->state_size)
        return error_set("a saved state of this performance has %zu bytes, not %zu", p->state_size,
                         size);
    if (label < -1 || label >= hiss_model_n_labels(p->model))
        return error_set("the model has %d labels: no label %d", hiss_model_n_labels(p->model),
                         label);
    if (!performance_jump(p) || !hiss_stream_load(p->stream, state, size))
        return false;
    p->frozen = false;
    p->label = p->label_heard = label;
    return hiss_stream_set_label(p->stream, 0, label) && performance_sampling_set(p);
}

static bool prompt(struct performance *p, const struct action *a)
{
    if (a->state)
        return state_become(p, a->state, a->state_size, a->number);
    size_t size;
    void *state =
        performance_prompt_state(p->model, p->guided, a->number, a->codes, a->n_codes, &size);
    bool ok = state && state_become(p, state, size, a->number);
    free(state);
    return ok;
}

static bool apply(struct performance *p, const struct action *a)
{
    struct hiss_sampling s = p->sampling;
    switch (a->kind) {
    case ACTION_TEMPERATURE:
        s.temperature = a->value;
        return sampling_change(p, &s);
    case ACTION_TOP_P:
        s.top_p = a->value;
        return sampling_change(p, &s);
    case ACTION_GUIDANCE:
        s.guidance = a->value;
        return sampling_change(p, &s);
    case ACTION_SEED:
        s.seed = a->seed;
        return sampling_change(p, &s);
    case ACTION_LABEL:
        return label_change(p, a->number);
    case ACTION_MUTE:
        p->mute = a->on;
        return true;
    case ACTION_PAUSE:
        p->pause = a->on;
        return true;
    case ACTION_SNAPSHOT:
        return snapshot(p, a->slot);
    case ACTION_RECALL:
        return recall(p, a->slot);
    case ACTION_REWIND:
        return rewind_to(p, a);
    case ACTION_FREEZE:
        return freeze(p, a);
    case ACTION_MORPH:
        return morph(p, a);
    case ACTION_PROMPT:
        return prompt(p, a);
    case ACTION_STATE:
        return state_become(p, a->state, a->state_size, a->number);
    case ACTION_RESTART:
        return restart(p);
    case ACTION_KINDS:
        break;
    }
    return error_set("there is no action %d", (int)a->kind);
}

bool performance_apply(struct performance *p, const struct action *a)
{
    if (!apply(p, a))
        return false;
    if (p->options.applied)
        p->options.applied(p->options.applied_arg, a, p->at);
    return true;
}

void *performance_prompt_state(struct hiss_model *m, bool guided, int label, const uint8_t *codes,
                               int64_t n_codes, size_t *size)
{
    int64_t clip = hiss_model_clip(m), rate = hiss_model_rate(m);
    if (clip > 0 && n_codes >= clip) {
        error_set("a prompt of %.2f s: this model sings clips of %.2f s, a prompt must be shorter",
                  (double)n_codes / (double)rate, (double)clip / (double)rate);
        return NULL;
    }
    struct hiss_stream *s = hiss_stream_open(m, 1, 0, guided);
    void *state = NULL;
    bool ok = s && hiss_stream_set_label(s, 0, label) && hiss_stream_prompt(s, codes, n_codes);
    if (ok) {
        *size = hiss_stream_state_size(s);
        state = malloc(*size);
        ok = (state || error_set("out of memory for a state")) && hiss_stream_save(s, state);
    }
    hiss_stream_close(s);
    if (!ok) {
        free(state);
        return NULL;
    }
    return state;
}
