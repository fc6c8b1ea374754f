/* What a performance keeps for going back: moments, their history, the loop. */
#include "app/performance_impl.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool moment_keep(struct performance *p, struct moment *m)
{
    m->sampling = p->sampling;
    m->label = p->label;
    m->label_heard = p->label_heard;
    m->line_at = p->line_at;
    return hiss_stream_save(p->stream, m->state);
}

bool moment_become(struct performance *p, const struct moment *m)
{
    p->sampling = m->sampling;
    p->label = m->label;
    p->label_heard = m->label_heard;
    return hiss_stream_load(p->stream, m->state, p->state_size) && performance_sampling_set(p);
}

bool history_open(struct performance *p)
{
    size_t n = (size_t)HISTORY_BYTES_MAX / p->state_size;
    p->n_history = n > HISTORY_MAX ? HISTORY_MAX : n > 0 ? (int)n : 1;
    p->history_bytes = malloc((size_t)p->n_history * p->state_size);
    if (!p->history_bytes)
        return error_set("out of memory for the states of %d moments", p->n_history);
    for (int i = 0; i < p->n_history; i++)
        p->history[i].state = p->history_bytes + (size_t)i * p->state_size;
    int blocks = (int)lroundf(PERFORMANCE_HISTORY_S * (float)p->rate / PERFORMANCE_BLOCK);
    p->history_step = (blocks > 0 ? blocks : 1) * PERFORMANCE_BLOCK;
    return true;
}

void history_close(struct performance *p)
{
    free(p->history_bytes);
}

static struct moment *history_moment(struct performance *p, int i)
{
    return &p->history[(p->history_first + i) % p->n_history];
}

bool history_note(struct performance *p)
{
    if (p->frozen || p->at % p->history_step != 0)
        return true;
    if (p->history_used == p->n_history) {
        p->history_first = (p->history_first + 1) % p->n_history;
        p->history_used--;
    }
    return moment_keep(p, history_moment(p, p->history_used++));
}

float history_s(const struct performance *p)
{
    if (p->history_used == 0)
        return 0;
    int64_t back = p->line_at - p->history[p->history_first].line_at;
    return (float)back / (float)p->rate;
}

bool history_rewind(struct performance *p, float seconds)
{
    if (p->history_used == 0)
        return error_set("there is nothing to rewind to yet");
    /* Before the jump: its tail is of the line that is left. */
    int64_t goal = p->line_at - (int64_t)((double)seconds * p->rate);
    if (!performance_jump(p))
        return false;
    int i = p->history_used - 1;
    while (i > 0 && history_moment(p, i)->line_at > goal)
        i--;
    struct moment *m = history_moment(p, i);
    p->history_used = i + 1;
    p->line_at = m->line_at;
    p->frozen = false;
    if (!hiss_stream_load(p->stream, m->state, p->state_size))
        return false;
    /* The hands on it stay as they are now: only the music goes back. A clip under way keeps the
       label it began with. */
    p->label_heard = p->clip > 0 ? m->label_heard : p->label;
    return hiss_stream_set_label(p->stream, 0, p->label_heard);
}

bool loop_cut(struct performance *p, float seconds)
{
    int64_t have = p->n_heard < p->n_recent ? p->n_heard : p->n_recent;
    int64_t n = llround((double)seconds * p->rate);
    int64_t least = 2 * (int64_t)p->n_fade;
    n = n < have - p->n_fade ? n : have - p->n_fade;
    if (n < least)
        return error_set("a loop needs %.0f ms of sound or more",
                         1000.0 * (double)(least + p->n_fade) / p->rate);
    int64_t first = p->n_heard - n;
    for (int64_t i = 0; i < n; i++)
        p->loop[i] = p->recent[(first + i) % p->n_recent];
    /* The end turns into what came before the beginning, so that the beginning follows it. */
    for (int i = 0; i < p->n_fade; i++) {
        float *x = &p->loop[n - p->n_fade + i];
        float before = p->recent[(first - p->n_fade + i) % p->n_recent];
        *x = *x * p->fade[p->n_fade - 1 - i] + before * p->fade[i];
    }
    p->n_loop = (int)n;
    p->loop_at = 0;
    return true;
}
