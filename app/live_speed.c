#include "app/live_speed.h"

#include "app/performance.h"
#include "base/clock.h"
#include "base/error.h"

#include <math.h>
#include <time.h>

void speed_note(struct speed_meter *m, double sound_s, double work_s)
{
    m->sound += sound_s;
    m->work += work_s;
    if (m->sound < SPEED_PART_S)
        return;
    m->work_s[m->n_parts++ % SPEED_PARTS] = m->work / m->sound * SPEED_PART_S;
    m->sound = m->work = 0;
}

void speed_read(const struct speed_meter *m, float *mean, float *worst)
{
    int n = m->n_parts < SPEED_PARTS ? m->n_parts : SPEED_PARTS;
    double sum = 0, most = 0;
    for (int i = 0; i < n; i++) {
        sum += m->work_s[i];
        most = fmax(most, m->work_s[i]);
    }
    *mean = sum > 0 ? (float)(n * SPEED_PART_S / sum) : 0;
    *worst = most > 0 ? (float)(SPEED_PART_S / most) : 0;
}

/* Seconds that the calling thread had a processor. */
static double thread_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool speed_measure(struct live_speed *s, const char *model_path, const char *backend, int n_threads,
                   const char *precision, const struct hiss_sampling *sampling, int label,
                   double seconds)
{
    struct performance *p = NULL;
    struct hiss_model *m = hiss_model_open(model_path, backend, n_threads);
    bool ok = m && hiss_model_set_decode(m, precision, "auto");
    if (ok)
        p = performance_open(
            &(struct performance_options){.model = m, .sampling = *sampling, .label = label});
    ok = p != NULL;
    struct speed_meter meter = {0};
    double block_s = ok ? (double)PERFORMANCE_BLOCK / hiss_model_rate(m) : 0;
    double begin = clock_s(), warm = begin + seconds / 4, now = begin;
    double work_s = 0, made_s = 0;
    while (ok && now - begin < seconds) {
        float x[PERFORMANCE_BLOCK];
        double worked = thread_s();
        ok = performance_block(p, x) == PERFORMANCE_BLOCK;
        work_s += thread_s() - worked;
        made_s += block_s;
        double then = now;
        now = clock_s();
        if (then > warm) /* the engine has tried its ways by then */
            speed_note(&meter, block_s, now - then);
    }
    if (ok && meter.n_parts == 0) /* slower than a part in all that time */
        meter = (struct speed_meter){.work_s = {meter.work / meter.sound * SPEED_PART_S},
                                     .n_parts = meter.sound > 0};
    if (ok) {
        speed_read(&meter, &s->mean, &s->worst);
        s->alone = work_s > 0 ? (float)(made_s / work_s) : s->mean;
        struct performance_facts facts = performance_look(p);
        s->guided = facts.guided;
        s->threads = facts.threads;
    }
    performance_close(p);
    hiss_model_close(m);
    return ok;
}
