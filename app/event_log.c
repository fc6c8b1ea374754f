#include "app/event_log.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static void hex_set(json_t *object, const char *key, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *b = bytes;
    char *text = malloc(2 * n + 1);
    if (!text)
        return;
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[b[i] >> 4];
        text[2 * i + 1] = digits[b[i] & 15];
    }
    json_object_set_new(object, key, json_stringn(text, 2 * n));
    free(text);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Allocated; NULL: there is no such text, or it is no hex. */
static void *hex_get(const json_t *object, const char *key, size_t *n)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    unsigned char *bytes = text && length % 2 == 0 ? malloc(length / 2 + 1) : NULL;
    for (size_t i = 0; bytes && i < length / 2; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            free(bytes);
            return NULL;
        }
        bytes[i] = (unsigned char)(high << 4 | low);
    }
    *n = length / 2;
    return bytes;
}

json_t *event_json(const struct hiss_model *m, const struct action *a, int64_t at)
{
    const char *label = hiss_model_label(m, a->number);
    json_t *o = json_pack("{s:I, s:s}", "at", (json_int_t)at, "action", action_name(a->kind));
    if (!o)
        return NULL;
    switch (a->kind) {
    case ACTION_TEMPERATURE:
    case ACTION_TOP_P:
    case ACTION_GUIDANCE:
        json_object_set_new(o, "value", json_real((double)a->value));
        break;
    case ACTION_LABEL:
        json_object_set_new(o, "label", label ? json_string(label) : json_null());
        break;
    case ACTION_SEED:
        json_object_set_new(o, "seed", json_integer((json_int_t)a->seed));
        break;
    case ACTION_REWIND:
        json_object_set_new(o, "value", json_real((double)a->value));
        json_object_set_new(o, "seed", json_integer((json_int_t)a->seed));
        break;
    case ACTION_MUTE:
    case ACTION_PAUSE:
        json_object_set_new(o, "on", json_boolean(a->on));
        break;
    case ACTION_FREEZE:
        json_object_set_new(o, "on", json_boolean(a->on));
        json_object_set_new(o, "value", json_real((double)a->value));
        break;
    case ACTION_SNAPSHOT:
    case ACTION_RECALL:
        json_object_set_new(o, "slot", json_integer(a->slot));
        break;
    case ACTION_MORPH:
        json_object_set_new(o, "slot", json_integer(a->slot));
        json_object_set_new(o, "other", json_integer(a->other));
        json_object_set_new(o, "value", json_real((double)a->value));
        break;
    case ACTION_PROMPT:
        json_object_set_new(o, "label", label ? json_string(label) : json_null());
        hex_set(o, "codes", a->codes, (size_t)a->n_codes);
        break;
    case ACTION_STATE:
        json_object_set_new(o, "label", label ? json_string(label) : json_null());
        hex_set(o, "state", a->state, a->state_size);
        break;
    case ACTION_RESTART:
    case ACTION_KINDS:
        break;
    }
    return o;
}

bool event_read(const struct hiss_model *m, const json_t *object, struct action *a, int64_t *at)
{
    const char *name = json_string_value(json_object_get(object, "action"));
    const char *label = json_string_value(json_object_get(object, "label"));
    const json_t *position = json_object_get(object, "at");
    size_t n;
    *a = (struct action){0};
    if (!name || !action_from_name(&a->kind, name) || !json_is_integer(position))
        return error_set("an event is no action of this version");
    *at = json_integer_value(position);
    a->on = json_is_true(json_object_get(object, "on"));
    a->slot = (int)json_integer_value(json_object_get(object, "slot"));
    a->other = (int)json_integer_value(json_object_get(object, "other"));
    a->value = (float)json_number_value(json_object_get(object, "value"));
    a->seed = (uint64_t)json_integer_value(json_object_get(object, "seed"));
    a->number = label ? hiss_model_find_label(m, label) : -1;
    if (label && a->number < 0)
        return false;
    if (a->kind == ACTION_PROMPT) {
        a->codes = hex_get(object, "codes", &n);
        a->n_codes = (int64_t)n;
    }
    if (a->kind == ACTION_STATE)
        a->state = hex_get(object, "state", &a->state_size);
    if ((a->kind == ACTION_PROMPT && !a->codes) || (a->kind == ACTION_STATE && !a->state))
        return error_set("an event's %s cannot be read", name);
    return true;
}

void event_free(struct action *a)
{
    free((void *)a->codes);
    free((void *)a->state);
    *a = (struct action){0};
}
