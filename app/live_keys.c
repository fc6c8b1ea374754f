#include "app/live_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const float temperature_step = 0.05f, top_p_step = 0.01f, guidance_step = 0.25f,
                   mix_step = 0.1f, rewind_short_s = 2, rewind_long_s = 8, loop_short_s = 0.5f,
                   loop_long_s = 2;

const struct key_help keys_help[] = {
    {"q", "leave"},      {"space", "pause"},     {"m", "mute"},       {"t T", "temperature"},
    {"p P", "top-p"},    {"g G", "guidance"},    {"l L", "label"},    {"n", "next seed"},
    {"k", "new clip"},   {"s 1-9", "snapshot"},  {"1-9", "recall"},   {"r R", "rewind 2, 8 s"},
    {"f F", "freeze"},   {"x 1-9 1-9", "morph"}, {"< >", "mix"},      {"o", "prompt file"},
    {"i", "microphone"}, {"c", "record"},        {"w", "save state"},
};
const int keys_n_help = sizeof(keys_help) / sizeof(keys_help[0]);

static struct wish act(struct action action)
{
    return (struct wish){.kind = WISH_ACTION, .action = action};
}

/* `value` a step on, on the step's grid, so that hundred steps up and down come back. */
static float stepped(float value, float step, int direction, float min, float max)
{
    float next = (roundf(value / step) + (float)direction) * step;
    return fminf(fmaxf(next, min), max);
}

/* -1, 0, ..., n_labels - 1 and around. */
static int label_next(int label, int direction, int n_labels)
{
    int n = n_labels + 1;
    return (label + 1 + direction + n) % n - 1;
}

static struct wish morph(const struct keys *k)
{
    if (k->morph == 0 || k->morph_to == 0)
        return (struct wish){WISH_NOTHING};
    return act((struct action){
        .kind = ACTION_MORPH, .slot = k->morph, .other = k->morph_to, .value = k->mix});
}

static struct wish mix(struct keys *k, int direction)
{
    k->mix = stepped(k->mix, mix_step, direction, 0, 1);
    return morph(k);
}

static struct wish play(struct keys *k, int key, const struct live_facts *now, int n_labels)
{
    const struct performance_facts *p = &now->performance;
    const struct hiss_sampling *s = &p->sampling;
    int up = key >= 'A' && key <= 'Z' ? 1 : -1;
    switch (key) {
    case 'q':
        return (struct wish){WISH_LEAVE};
    case ' ':
        return act((struct action){.kind = ACTION_PAUSE, .on = !p->paused});
    case 'm':
        return act((struct action){.kind = ACTION_MUTE, .on = !p->mute});
    case 't':
    case 'T':
        return act((struct action){.kind = ACTION_TEMPERATURE,
                                   .value = stepped(s->temperature, temperature_step, up, 0, 5)});
    case 'p':
    case 'P':
        return act((struct action){.kind = ACTION_TOP_P,
                                   .value = stepped(s->top_p, top_p_step, up, top_p_step, 1)});
    case 'g':
    case 'G':
        return act((struct action){.kind = ACTION_GUIDANCE,
                                   .value = stepped(s->guidance, guidance_step, up, 0, 10)});
    case 'l':
    case 'L':
        return act(
            (struct action){.kind = ACTION_LABEL, .number = label_next(p->label, -up, n_labels)});
    case 'n':
        return act((struct action){.kind = ACTION_SEED, .seed = s->seed + 1});
    case 'k':
        return act((struct action){.kind = ACTION_RESTART});
    case 'r':
    case 'R':
        return act((struct action){.kind = ACTION_REWIND,
                                   .value = up > 0 ? rewind_long_s : rewind_short_s,
                                   .seed = s->seed + 1});
    case 'f':
    case 'F':
        return act((struct action){
            .kind = ACTION_FREEZE, .on = !p->frozen, .value = up > 0 ? loop_long_s : loop_short_s});
    case '<':
    case ',':
        return mix(k, -1);
    case '>':
    case '.':
        return mix(k, 1);
    case 'i':
        return (struct wish){WISH_LISTEN};
    case 'c':
        return (struct wish){WISH_RECORD};
    case 'w':
        return (struct wish){WISH_SAVE};
    case 's':
        k->mode = KEYS_SNAPSHOT;
        break;
    case 'x':
        k->mode = KEYS_MORPH;
        break;
    case 'o':
        k->mode = KEYS_PATH;
        k->n_line = 0;
        k->line[0] = 0;
        break;
    default:
        if (key >= '1' && key <= '9')
            return act((struct action){.kind = ACTION_RECALL, .slot = key - '0'});
    }
    return (struct wish){WISH_NOTHING};
}

/* A digit that was asked for; any other key takes the question back. */
static struct wish digit(struct keys *k, int key)
{
    int slot = key - '0';
    enum keys_mode mode = k->mode;
    k->mode = KEYS_PLAY;
    if (slot < 1 || slot > PERFORMANCE_SLOTS)
        return (struct wish){WISH_NOTHING};
    if (mode == KEYS_SNAPSHOT)
        return act((struct action){.kind = ACTION_SNAPSHOT, .slot = slot});
    if (mode == KEYS_MORPH) {
        k->morph = slot;
        k->morph_to = 0;
        k->mode = KEYS_MORPH_TO;
        return (struct wish){WISH_NOTHING};
    }
    k->morph_to = slot;
    k->mix = 0.5f;
    return morph(k);
}

static struct wish path(struct keys *k, int key)
{
    struct wish wish = {WISH_NOTHING};
    if (key == KEY_ESCAPE) {
        k->mode = KEYS_PLAY;
    } else if (key == KEY_RETURN) {
        k->mode = KEYS_PLAY;
        wish.kind = k->n_line > 0 ? WISH_PROMPT : WISH_NOTHING;
        memcpy(wish.path, k->line, sizeof(wish.path));
    } else if (key == KEY_RUBOUT) { /* a whole character of UTF-8 */
        while (k->n_line > 0 && (k->line[--k->n_line] & 0xc0) == 0x80)
            continue;
        k->line[k->n_line] = 0;
    } else if (key >= ' ' && key < 256 && k->n_line + 1 < KEYS_LINE_MAX) {
        k->line[k->n_line++] = (char)key;
        k->line[k->n_line] = 0;
    }
    return wish;
}

struct wish keys_press(struct keys *k, int key, const struct live_facts *now, int n_labels)
{
    switch (k->mode) {
    case KEYS_PLAY:
        return play(k, key, now, n_labels);
    case KEYS_SNAPSHOT:
    case KEYS_MORPH:
    case KEYS_MORPH_TO:
        return digit(k, key);
    case KEYS_PATH:
        return path(k, key);
    }
    return (struct wish){WISH_NOTHING};
}

void keys_expect(struct live_facts *now, const struct action *a)
{
    struct performance_facts *p = &now->performance;
    switch (a->kind) {
    case ACTION_TEMPERATURE:
        p->sampling.temperature = a->value;
        break;
    case ACTION_TOP_P:
        p->sampling.top_p = a->value;
        break;
    case ACTION_GUIDANCE:
        p->sampling.guidance = a->value;
        break;
    case ACTION_LABEL:
        p->label = a->number;
        break;
    case ACTION_SEED:
    case ACTION_REWIND:
        p->sampling.seed = a->seed;
        break;
    case ACTION_MUTE:
        p->mute = a->on;
        break;
    case ACTION_PAUSE:
        p->paused = a->on;
        break;
    case ACTION_FREEZE:
        p->frozen = a->on;
        break;
    default:
        break;
    }
}

const char *keys_question(const struct keys *k, char *text, size_t size)
{
    switch (k->mode) {
    case KEYS_PLAY:
        return NULL;
    case KEYS_SNAPSHOT:
        return "snapshot into which slot, 1 to 9?";
    case KEYS_MORPH:
        return "morph (experimental) between which slot, 1 to 9,";
    case KEYS_MORPH_TO:
        snprintf(text, size, "morph (experimental) between slot %d and which, 1 to 9?", k->morph);
        return text;
    case KEYS_PATH:
        snprintf(text, size, "prompt file (Enter hears it, Esc leaves it): %s_", k->line);
        return text;
    }
    return NULL;
}
