/*
 * What the tests of the decode engine share: a net of a kind of small networks with weights and
 * codes, engines of it, and what a run of one leaves. Each fails the running test where something
 * of the world fails.
 */
#ifndef HISS_TESTS_MODEL_ENGINE_H
#define HISS_TESTS_MODEL_ENGINE_H

#include "model/build.h"
#include "model/chunk.h"
#include "tests/model/kinds.h"

enum { N_STREAMS = 5, N_TIME = 91, N_ROWS_MAX = 2 * N_STREAMS };

struct fixture {
    const char *name;
    struct backend *be;
    struct net net;
    int n_labels;
    uint8_t codes[N_STREAMS * N_TIME]; /* (N_STREAMS, N_TIME) */
};

/* What a run leaves. */
struct trace {
    float logits[N_ROWS_MAX * N_TIME * PLAN_CODES]; /* (rows, N_TIME, V) */
    uint8_t codes[N_STREAMS * N_TIME];
    double nats[N_STREAMS];
    float *state; /* (rows, plan.state_size) */
};

void fixture_open(struct fixture *f, const struct kind *k);
void fixture_close(struct fixture *f);
int rows_of(const struct decoder_options *o);
struct decoder *engine_open(struct fixture *f, struct decoder_options o);
struct decoder *engine(struct fixture *f, struct decoder_options o);
void engine_close(struct fixture *f, struct decoder *d);
/* Whether the backend's engine does this at all. */
bool engine_fits(const struct fixture *f, const struct decoder_options *o);
bool precision_fits(const struct fixture *f, int precision);
/* The finest that the engine has. */
enum precision finest(const struct fixture *f);
struct trace *trace_new(const struct fixture *f);
void trace_free(struct trace *t);
/* The label of a row in the samples from t on: it changes on the way. */
int32_t label_at(const struct fixture *f, const struct decoder_options *o, int row, int t);
/* Samples [from, to) of a run on an engine that stands at `from`, in calls of at most `part`
   samples, none across the change of labels. */
void run_part(struct fixture *f, struct decoder *d, const struct decoder_options *o,
              struct trace *trace, bool forced, int from, int to, int part);
size_t state_bytes(const struct fixture *f, int rows);
/* The states of so many rows from host memory, and back to it. */
void import_states(struct fixture *f, struct decoder *d, int rows, const float *states, int64_t n,
                   const uint8_t *inputs);
void export_states(struct fixture *f, struct decoder *d, int rows, float *states);
void start(struct fixture *f, struct decoder *d, const struct decoder_options *o);
/* A whole run from the beginning. */
struct trace *run(struct fixture *f, struct decoder_options o, bool forced, int part);
void check_equal(const struct fixture *f, const char *what, const struct decoder_options *o,
                 const struct trace *a, const struct trace *b);

/* Starts the device; the group once on it, or on the CPU once for each instruction set that the
   processor has, or for the one HISS_ISA names. Returns how many tests failed. */
int on_each_isa(int (*group)(const char *isa, bool thorough), bool thorough);

#endif
