#include "app/again.h"

#include "app/prompt.h"
#include "app/provenance.h"
#include "app/take.h"
#include "base/error.h"

#include <string.h>

/* The prompt, as it was. None: nothing. */
static bool prompt_find(const struct again *a, struct prompt *p)
{
    const char *was = json_string_value(json_object_get(a->said, "prompt"));
    const char *hash = json_string_value(json_object_get(a->said, "prompt_hash"));
    const char *path = a->prompt ? a->prompt : was;
    char now[PROVENANCE_HASH_MAX], why[ERROR_TEXT_MAX];
    if (!was)
        return true;
    if (!prompt_load(p, path, a->model)) {
        snprintf(why, sizeof(why), "%.300s", error_text());
        return error_set("%s was made with a prompt that cannot be read (%s): --prompt FILE names "
                         "it",
                         a->path, why);
    }
    provenance_hash(now, p->codes, p->n);
    return (hash && strcmp(hash, now) == 0) ||
           error_set("%s was made with another prompt than %s is now: --prompt FILE names it",
                     a->path, path);
}

static bool guard_find(const struct again *a, struct take_job *job, struct guard_limits *limits)
{
    const json_t *guard = json_object_get(a->said, "guard");
    if (!json_is_object(guard))
        return true;
    job->guard = limits;
    return json_unpack((json_t *)guard, "{s:F, s:F, s:F}", "bits", &limits->bits, "flatness",
                       &limits->flatness, "level_db", &limits->level_db) == 0 ||
           error_set("%s: its text does not say what its guard listened for", a->path);
}

bool again_take(const struct again *a, struct writer *w)
{
    struct prompt prompt = {0};
    struct guard_limits limits;
    struct take_result result;
    _Atomic int64_t made = 0;
    int labels[TAKE_LABELS_MAX];
    struct take_job job = {.labels = labels,
                           .stream =
                               (uint32_t)json_integer_value(json_object_get(a->said, "stream")),
                           .with_prompt = json_is_true(json_object_get(a->said, "with_prompt"))};
    bool ok = provenance_sampling(a->said, &job.sampling) &&
              labels_read(labels, &job.n_labels,
                          json_string_value(json_object_get(a->said, "label")), a->model) &&
              guard_find(a, &job, &limits) && prompt_find(a, &prompt);
    if (ok) {
        job.prompt = prompt.codes;
        job.n_prompt = prompt.n;
        job.n_samples = a->n_samples - (job.with_prompt ? prompt.n : 0);
        ok = (job.n_samples > 0 || error_set("%s holds nothing but its prompt", a->path)) &&
             takes_make(a->model, &job, 1, &w, &made, &result);
    }
    prompt_free(&prompt);
    return ok;
}
