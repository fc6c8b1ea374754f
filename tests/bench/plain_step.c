/*
 * Yardstick: the recurrent step of the audio U-Net in plain C, as somebody would write it from the
 * papers: loops over rows, one function an equation, and the compiler asked for the rest
 * (cc -Ofast -march=native plain_step.c -o plain_step -lm). fp32, one thread, no library.
 * The tiers run as they really do: with pools 4,4 the outermost every sample, the middle one every
 * 4th, the centre every 16th, so each finds its weights where the others left them.
 *
 *   plain_step WIDTH LAYERS SECONDS                  times samples for so long; prints one line
 *   plain_step WIDTH LAYERS check WEIGHTS CODES      float32 logits of each input on standard
 * output
 *
 * WEIGHTS: float32, every parameter in the order of the model file; CODES: one byte an input.
 * Network: unet, pools 4,4, expand 2, selective and real, 16 states, 4 taps (as
 * presets/sc09-6m.ini).
 */
#define _GNU_SOURCE
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CODES = 256,
    STATES = 16,
    TAPS = 4,
    TIERS = 3,
    POOL = 4,
    LAYERS_MAX = 16,
    WIDTH_MAX = 256,
    CHUNK = 256
};

struct block {
    int width, inner, rank;
    float *norm;              /* (H) */
    float *in_proj;           /* (2E,H) */
    float *conv, *conv_bias;  /* (E,K), (E) */
    float *x_proj;            /* (R+2N,E) */
    float *dt_proj, *dt_bias; /* (E,R), (E) */
    float *a;                 /* (E,N): -exp(A_log) */
    float *d;                 /* (E) */
    float *out_proj;          /* (H,E) */
    float *taps;              /* state (E,K): the last inputs, oldest first */
    float *h;                 /* state (E,N) */
};

struct tier {
    int width;
    struct block down[LAYERS_MAX], up[LAYERS_MAX]; /* the centre has only down */
    float *pool_down, *pool_down_bias;             /* (H',Hp), (H') */
    float *pool_up, *pool_up_bias;                 /* (Hp,H'), (Hp) */
    float *frame; /* state (H,p): what comes in until a frame is full */
    float *queue; /* state (H,p): what comes out of the tier below */
    int filled;
    float *kept;  /* (layers + 1, H): the inputs on the way down, added on the way up */
    float *below; /* (H'): the tier below's value */
};

struct network {
    int n_layers;
    struct tier tier[TIERS];
    float *embedding, *norm, *head, *head_bias;
};

static float *floats(size_t n)
{
    float *p = calloc(n, sizeof *p);
    if (!p) {
        fprintf(stderr, "plain_step: out of memory\n");
        exit(1);
    }
    return p;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* The next n weights: from the file, or made up, about as large as a trained model's. */
static float *weights(FILE *file, size_t n, float scale, float offset)
{
    static uint32_t random = 1;
    float *w = floats(n);
    if (file) {
        if (fread(w, sizeof *w, n, file) != n) {
            fprintf(stderr, "plain_step: the file of weights is too short\n");
            exit(1);
        }
        return w;
    }
    for (size_t i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        w[i] = offset + scale * ((float)(random >> 8) / (1 << 23) - 1);
    }
    return w;
}

static void block_open(struct block *b, FILE *file, int width)
{
    size_t h = (size_t)width, e = 2 * h, r = (h + 15) / 16;
    *b = (struct block){.width = width, .inner = (int)e, .rank = (int)r};
    b->norm = weights(file, h, 0, 1);
    b->in_proj = weights(file, 2 * e * h, 1 / sqrtf((float)h), 0);
    b->conv = weights(file, e * TAPS, 0.5f, 0);
    b->conv_bias = weights(file, e, 0.5f, 0);
    b->x_proj = weights(file, (r + 2 * STATES) * e, 1 / sqrtf((float)e), 0);
    b->dt_proj = weights(file, e * r, 1 / sqrtf((float)r), 0);
    b->dt_bias = weights(file, e, 2, -4);
    b->a = weights(file, e * STATES, 1.3f, 1.3f);
    b->d = weights(file, e, 0, 1);
    b->out_proj = weights(file, h * e, 0.15f / sqrtf((float)e), 0);
    for (size_t i = 0; i < e * STATES; i++)
        b->a[i] = -expf(b->a[i]);
    b->taps = floats(e * TAPS);
    b->h = floats(e * STATES);
}

static void network_open(struct network *net, FILE *file, int width, int n_layers)
{
    net->n_layers = n_layers;
    net->embedding = weights(file, (size_t)CODES * (size_t)width, 1, 0);
    for (int k = 0; k < TIERS; k++) {
        struct tier *t = &net->tier[k];
        size_t h = (size_t)(t->width = width << k);
        for (int i = 0; i < n_layers; i++)
            block_open(&t->down[i], file, t->width);
        t->kept = floats((size_t)(n_layers + 1) * h);
        if (k == TIERS - 1)
            break;
        t->below = floats(2 * h);
        t->pool_down = weights(file, 2 * h * h * POOL, 0.5f / sqrtf((float)h), 0);
        t->pool_down_bias = weights(file, 2 * h, 0.1f, 0);
        t->frame = floats(h * POOL);
        t->queue = floats(h * POOL);
    }
    for (int k = TIERS - 2; k >= 0; k--) {
        struct tier *t = &net->tier[k];
        size_t h = (size_t)t->width;
        t->pool_up = weights(file, h * POOL * 2 * h, 0.7f / sqrtf((float)h), 0);
        t->pool_up_bias = weights(file, h * POOL, 0.1f, 0);
        for (int i = 0; i < n_layers; i++)
            block_open(&t->up[i], file, t->width);
    }
    net->norm = weights(file, (size_t)width, 0, 1);
    net->head = weights(file, (size_t)CODES * (size_t)width, 1 / sqrtf((float)width), 0);
    net->head_bias = weights(file, CODES, 0.1f, 0);
    if (file && fgetc(file) != EOF) {
        fprintf(stderr, "plain_step: the file of weights is too long\n");
        exit(1);
    }
}

/* Multiply-adds of a sample: products, 4 a channel and state, the convolution. */
static double multiply_adds(const struct network *net)
{
    double sum = CODES * net->tier[0].width;
    for (int k = 0; k < TIERS; k++) {
        double h = net->tier[k].width, e = 2 * h, r = ceil(h / 16);
        double block = 2 * e * h + (r + 2 * STATES) * e + e * r + h * e + 4 * e * STATES + TAPS * e;
        int n = k == TIERS - 1 ? net->n_layers : 2 * net->n_layers;
        sum += n * block / (1 << 2 * k);
        if (k < TIERS - 1)
            sum += 2 * (2 * h * h * POOL) / (1 << 2 * (k + 1));
    }
    return sum;
}

/* --- one step --------------------------------------------------------------------------------- */

/* y = W x, W (n_out, n_in) */
static void matvec(float *restrict y, const float *restrict w, const float *restrict x, int n_out,
                   int n_in)
{
    for (int i = 0; i < n_out; i++) {
        const float *row = w + (size_t)i * (size_t)n_in;
        float sum = 0;
        for (int j = 0; j < n_in; j++)
            sum += row[j] * x[j];
        y[i] = sum;
    }
}

static void rmsnorm(float *restrict y, const float *restrict x, const float *restrict w, int n)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    float r = 1 / sqrtf(sum / (float)n + 1e-5f);
    for (int i = 0; i < n; i++)
        y[i] = x[i] * r * w[i];
}

static float silu(float x)
{
    return x / (1 + expf(-x));
}

/* u = silu(conv(x)) */
static void convolution(struct block *b, float *restrict u, const float *restrict x)
{
    for (int e = 0; e < b->inner; e++) {
        float *taps = b->taps + e * TAPS, sum = b->conv_bias[e];
        for (int k = 0; k < TAPS - 1; k++)
            taps[k] = taps[k + 1];
        taps[TAPS - 1] = x[e];
        for (int k = 0; k < TAPS; k++)
            sum += b->conv[e * TAPS + k] * taps[k];
        u[e] = sum;
    }
    for (int e = 0; e < b->inner; e++)
        u[e] = silu(u[e]);
}

/* h = exp(dt A) h + dt B u;  y = C h + D u */
static void recurrence(struct block *b, float *restrict y, const float *restrict u,
                       const float *restrict dt, const float *restrict bt, const float *restrict ct)
{
    for (int e = 0; e < b->inner; e++) {
        float *restrict h = b->h + e * STATES, sum = b->d[e] * u[e], du = dt[e] * u[e];
        const float *restrict a = b->a + e * STATES;
        for (int n = 0; n < STATES; n++) {
            h[n] = expf(dt[e] * a[n]) * h[n] + du * bt[n];
            sum += ct[n] * h[n];
        }
        y[e] = sum;
    }
}

/* x += mixer(rmsnorm(x)) */
static void block_step(struct block *b, float *restrict x)
{
    enum { H_MAX = WIDTH_MAX << (TIERS - 1), E_MAX = 2 * H_MAX };
    static float normed[H_MAX], xz[2 * E_MAX], u[E_MAX], x_dbl[H_MAX], dt[E_MAX], y[E_MAX];
    int e = b->inner, r = b->rank;
    rmsnorm(normed, x, b->norm, b->width);
    matvec(xz, b->in_proj, normed, 2 * e, b->width);
    convolution(b, u, xz);
    matvec(x_dbl, b->x_proj, u, r + 2 * STATES, e);
    matvec(dt, b->dt_proj, x_dbl, e, r);
    for (int i = 0; i < e; i++) {
        float raw = dt[i] + b->dt_bias[i];
        dt[i] = raw > 20 ? raw : log1pf(expf(raw));
    }
    recurrence(b, y, u, dt, x_dbl + r, x_dbl + r + STATES);
    for (int i = 0; i < e; i++)
        y[i] *= silu(xz[e + i]);
    matvec(normed, b->out_proj, y, b->width, e);
    for (int i = 0; i < b->width; i++)
        x[i] += normed[i];
}

static void add(float *restrict x, const float *restrict y, int n)
{
    for (int i = 0; i < n; i++)
        x[i] += y[i];
}

/* One tick of tier k on x, in place; the tier below when its frame is full. */
static void tier_step(struct network *net, int k, float *restrict x)
{
    struct tier *t = &net->tier[k];
    int h = t->width, n = net->n_layers;
    for (int i = 0; i < n; i++) {
        memcpy(t->kept + i * h, x, (size_t)h * sizeof *x);
        block_step(&t->down[i], x);
    }
    if (k == TIERS - 1) {
        add(x, t->kept, h);
        return;
    }
    int slot = t->filled++;
    for (int i = 0; i < h; i++) {
        t->frame[i * POOL + slot] = x[i];
        x[i] += t->queue[i * POOL + slot]; /* made a frame ago */
    }
    if (t->filled == POOL) {
        t->filled = 0;
        matvec(t->below, t->pool_down, t->frame, 2 * h, h * POOL);
        add(t->below, t->pool_down_bias, 2 * h);
        tier_step(net, k + 1, t->below);
        matvec(t->queue, t->pool_up, t->below, h * POOL, 2 * h);
        add(t->queue, t->pool_up_bias, h * POOL);
    }
    for (int i = n - 1; i >= 0; i--) {
        block_step(&t->up[n - 1 - i], x);
        add(x, t->kept + i * h, h);
    }
}

/* logits (CODES) of the next sample */
static void network_step(struct network *net, float *restrict logits, int code)
{
    static float x[WIDTH_MAX], normed[WIDTH_MAX];
    int width = net->tier[0].width;
    memcpy(x, net->embedding + (size_t)code * (size_t)width, (size_t)width * sizeof *x);
    tier_step(net, 0, x);
    rmsnorm(normed, x, net->norm, width);
    matvec(logits, net->head, normed, CODES, width);
    add(logits, net->head_bias, CODES);
}

static int draw(const float *logits)
{
    static uint32_t random = 1;
    float p[CODES], most = logits[0], sum = 0;
    for (int i = 1; i < CODES; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int i = 0; i < CODES; i++) {
        p[i] = expf(logits[i] - most);
        sum += p[i];
    }
    random = random * 1664525u + 1013904223u;
    float left = sum * (float)(random >> 8) / (1 << 24);
    int code = 0;
    while (code < CODES - 1 && (left -= p[code]) > 0)
        code++;
    return code;
}

/* --- what is asked for ------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median and the lowest tenth of chunks of CHUNK samples. */
static void run(struct network *net, double seconds)
{
    enum { CHUNKS_MAX = 100000 };
    static double us[CHUNKS_MAX];
    float logits[CODES];
    int code = CODES / 2, n = 0;
    double macs = multiply_adds(net);
    for (int i = 0; i < CHUNK; i++, code = draw(logits))
        network_step(net, logits, code);
    for (double start = now(); n < 3 || (now() - start < seconds && n < CHUNKS_MAX); n++) {
        double begin = now();
        for (int i = 0; i < CHUNK; i++, code = draw(logits))
            network_step(net, logits, code);
        us[n] = (now() - begin) / CHUNK * 1e6;
    }
    qsort(us, (size_t)n, sizeof *us, by_value);
    printf("us_per_sample %.3f best_tenth %.3f ns_per_multiply_add %.4f multiply_adds %.0f\n",
           us[n / 2], us[n / 10], us[n / 2] * 1e3 / macs, macs);
}

static int check(struct network *net, const char *path)
{
    FILE *file = fopen(path, "rb");
    float logits[CODES];
    if (!file) {
        fprintf(stderr, "plain_step: cannot open %s\n", path);
        return 1;
    }
    for (int code; (code = fgetc(file)) != EOF;) {
        network_step(net, logits, code);
        fwrite(logits, sizeof *logits, CODES, stdout);
    }
    fclose(file);
    return 0;
}

int main(int argc, char **argv)
{
    static struct network net;
    int width = argc > 3 ? atoi(argv[1]) : 0, n_layers = argc > 3 ? atoi(argv[2]) : 0;
    int checks = argc == 6 && strcmp(argv[3], "check") == 0;
    FILE *file = checks ? fopen(argv[4], "rb") : NULL;
    if (width < 8 || width > WIDTH_MAX || n_layers < 1 || n_layers > LAYERS_MAX ||
        (argc != 4 && !file)) {
        fprintf(stderr, "usage: plain_step WIDTH LAYERS SECONDS | check WEIGHTS CODES\n");
        return 2;
    }
    network_open(&net, file, width, n_layers);
    if (checks)
        return check(&net, argv[5]);
    run(&net, atof(argv[3]));
    return 0;
}
