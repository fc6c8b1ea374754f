#include "app/guard.h"

#include "base/error.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Noise that lasts so many judgements beyond its first window (where clips are short there are not
   many), silence that lasts so long. */
enum { NOISE_HOPS = 7, NOISE_HOPS_IN_CLIPS = 1, SILENCE_S = 4 };

/* Seconds: how far behind the beginning of the trouble a first answer goes; how long it stays cool
   the first time, and at most; within what time trouble says that the answer before was none; how
   long it lets be, which is more than the tries before can take back. */
static const double back_s = 1, cool_s = 10, cool_max_s = 80, soon_s = 10, let_be_s = 15;

static const float cooler = 0.8f, coolest = 0.5f; /* times the temperature */

struct guard {
    struct guard_limits limits;
    int rate;
    bool clips;
    int64_t hop, window;
    float *x;              /* (window) the latest, a ring: sample i in slot i mod window */
    double *nats;          /* (window) as x; of a block each sample has its share */
    float *flat;           /* (window) the ring laid out, oldest first */
    int64_t heard, judged; /* since the last guard_forget; at the last judgement */
    int noise_hops;
    int64_t quiet;                /* samples since something moved */
    int64_t since_answer, let_be; /* samples */
    int in_row;
    float cooling; /* times the temperature, until cool_for seconds after the last answer */
    float depth;   /* what cooling was at the last answer */
    double cool_for;
    int64_t n_answers;
};

int64_t guard_hop(int rate)
{
    int64_t blocks = llround(rate / 8.0 / 256);
    return 256 * (blocks > 0 ? blocks : 1);
}

struct guard_window guard_window_measure(const float *x, int64_t n, double nats)
{
    return (struct guard_window){.bits = n > 0 ? nats / log(2) / (double)n : 0,
                                 .level_db = measure_swing_db(x, n),
                                 .flatness = measure_flatness(x, n)};
}

static json_t *quantiles_json(double *x, int64_t n)
{
    double out[MEASURE_QUANTILES];
    json_t *array = json_array();
    measure_quantiles(out, x, n);
    for (int q = 0; q < MEASURE_QUANTILES; q++)
        json_array_append_new(array, json_real(out[q]));
    return array;
}

json_t *guard_windows_json(const struct guard_window *w, int64_t n)
{
    double *x = calloc((size_t)(n > 0 ? n : 1), sizeof(*x));
    if (!x || n == 0) {
        free(x);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        x[i] = w[i].bits;
    json_t *bits = quantiles_json(x, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = w[i].level_db;
    json_t *level = quantiles_json(x, n);
    double median = x[n / 2]; /* sorted now */
    int64_t n_loud = 0;
    for (int64_t i = 0; i < n; i++)
        if (w[i].level_db >= median)
            x[n_loud++] = w[i].flatness;
    json_t *flatness = quantiles_json(x, n_loud);
    free(x);
    return json_pack("{s:I, s:o, s:o, s:o}", "count", (json_int_t)n, "bits", bits, "level_db",
                     level, "flatness", flatness);
}

static bool quantiles_read(double out[MEASURE_QUANTILES], const json_t *windows, const char *key)
{
    const json_t *array = json_object_get(windows, key);
    if (json_array_size(array) != MEASURE_QUANTILES)
        return false;
    for (int q = 0; q < MEASURE_QUANTILES; q++) {
        const json_t *value = json_array_get(array, (size_t)q);
        if (!json_is_number(value))
            return false;
        out[q] = json_number_value(value);
    }
    return true;
}

bool guard_limits_read(struct guard_limits *l, const char *stats)
{
    double bits[MEASURE_QUANTILES], level[MEASURE_QUANTILES], flatness[MEASURE_QUANTILES];
    json_t *object = stats ? json_loads(stats, 0, NULL) : NULL;
    const json_t *windows = json_object_get(object, "windows");
    bool ok = quantiles_read(bits, windows, "bits") && quantiles_read(level, windows, "level_db") &&
              quantiles_read(flatness, windows, "flatness");
    json_decref(object);
    if (!ok)
        return false;
    /* From the worst window a quarter of the way to blind guessing, and three quarters, in
       decibels, to white noise: tones sampled hot surprise the model and have a floor of noise, and
       are tones still. */
    const double bits_max = bits[MEASURE_QUANTILES - 1], blind = 8;
    l->bits = bits_max + fmax(blind - bits_max, 0) / 4;
    l->flatness = sqrt(sqrt(flatness[MEASURE_QUANTILES - 1]));
    /* Data may have rests, which are short: below -70 dB even the smallest codes hardly move. */
    l->level_db = fmax(level[0] - 6, -70);
    /* Short numbers: a take says them in its text, and they must come back as they were. */
    l->bits = round(l->bits * 1e4) / 1e4;
    l->flatness = round(l->flatness * 1e4) / 1e4;
    l->level_db = round(l->level_db * 1e2) / 1e2;
    return true;
}

struct guard *guard_open(const struct guard_limits *limits, int rate, bool clips)
{
    struct guard *g = calloc(1, sizeof(*g));
    if (g) {
        *g = (struct guard){.limits = *limits, .rate = rate, .clips = clips, .cooling = 1};
        g->depth = 1;
        g->hop = guard_hop(rate);
        g->window = GUARD_WINDOW * g->hop;
        g->since_answer = INT64_MAX / 2;
        g->x = calloc((size_t)g->window, sizeof(*g->x));
        g->flat = calloc((size_t)g->window, sizeof(*g->flat));
        g->nats = calloc((size_t)g->window, sizeof(*g->nats));
        if (g->x && g->flat && g->nats)
            return g;
    }
    guard_close(g);
    error_set("out of memory for a guard");
    return NULL;
}

void guard_close(struct guard *g)
{
    if (!g)
        return;
    free(g->x);
    free(g->flat);
    free(g->nats);
    free(g);
}

void guard_forget(struct guard *g)
{
    g->heard = g->judged = 0;
    g->noise_hops = 0;
    g->quiet = 0;
}

static struct guard_window window_now(struct guard *g)
{
    double nats = 0;
    for (int64_t i = 0; i < g->window; i++) {
        int64_t slot = (g->heard + i) % g->window;
        g->flat[i] = g->x[slot];
        nats += g->nats[slot];
    }
    return guard_window_measure(g->flat, g->window, nats);
}

static int noise_hops_most(const struct guard *g)
{
    return g->clips ? NOISE_HOPS_IN_CLIPS : NOISE_HOPS;
}

static enum guard_verdict judge(struct guard *g)
{
    struct guard_window w = window_now(g);
    const struct guard_limits *l = &g->limits;
    bool noise = w.bits > l->bits && w.flatness > l->flatness;
    g->noise_hops = noise ? g->noise_hops + 1 : 0;
    g->quiet = w.level_db < l->level_db ? g->quiet + g->heard - g->judged : 0;
    if (g->noise_hops > noise_hops_most(g))
        return GUARD_NOISE;
    if (!g->clips && g->quiet >= (int64_t)SILENCE_S * g->rate)
        return GUARD_SILENCE;
    return GUARD_WELL;
}

enum guard_verdict guard_hear(struct guard *g, const float *x, int64_t n, double nats)
{
    for (int64_t i = 0; i < n; i++, g->heard++) {
        g->x[g->heard % g->window] = x[i];
        g->nats[g->heard % g->window] = nats / (double)n;
    }
    g->since_answer += n;
    g->let_be -= g->let_be < n ? g->let_be : n;
    if ((double)g->since_answer >= g->cool_for * g->rate)
        g->cooling = 1;
    if (g->heard < g->window || g->heard - g->judged < g->hop)
        return GUARD_WELL;
    enum guard_verdict verdict = judge(g);
    g->judged = g->heard;
    return g->let_be > 0 ? GUARD_WELL : verdict;
}

/* The noise of answer number k: a function of the seed (the finaliser of splitmix64; 32 bits are
   easier to note down). */
static uint64_t seed_of_answer(uint64_t seed, int64_t k)
{
    uint64_t z = seed + (uint64_t)k * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) & 0xffffffffu;
}

/* Cooler where it was cool and that was not enough; as cool as before, but twice as long, where the
   trouble came back with the heat. */
static void cool(struct guard *g)
{
    double since_s = (double)g->since_answer / g->rate;
    bool again = since_s < 2 * g->cool_for;
    if (!again)
        g->depth = cooler;
    else if (g->cooling < 1)
        g->depth = fmaxf(g->depth * cooler, coolest);
    g->cool_for = again ? fmin(2 * g->cool_for, cool_max_s) : cool_s;
    g->cooling = g->depth;
}

struct guard_answer guard_answer(struct guard *g, enum guard_verdict verdict, uint64_t seed)
{
    double lasted = verdict == GUARD_SILENCE
                        ? SILENCE_S
                        : (double)(g->window + noise_hops_most(g) * g->hop) / g->rate;
    g->in_row = (double)g->since_answer < soon_s * g->rate ? g->in_row + 1 : 1;
    double back = fmin(lasted + back_s * g->in_row, GUARD_BACK_S);
    if (g->in_row == GUARD_TRIES) { /* a take comes to its end */
        g->let_be = llround(let_be_s * g->rate);
        g->in_row = 0;
    }
    if (verdict == GUARD_NOISE)
        cool(g);
    g->n_answers++;
    g->since_answer = 0;
    guard_forget(g);
    return (struct guard_answer){.back_s = back, .seed = seed_of_answer(seed, g->n_answers)};
}

float guard_cooling(const struct guard *g)
{
    return g->cooling;
}

int64_t guard_count(const struct guard *g)
{
    return g->n_answers;
}

const char *guard_verdict_name(enum guard_verdict v)
{
    static const char *const names[] = {
        [GUARD_WELL] = "all well", [GUARD_NOISE] = "noise", [GUARD_SILENCE] = "silence"};
    return names[v];
}
