/*
 * libhiss: open a trained model and let it sing. The whole public interface; the hiss program is
 * its first user.
 *
 * A model is read-only once open. A stream is a group of one or more performances of one model that
 * run in step: each has its own state, label and noise. Functions return false or NULL on failure
 * and hiss_error() then has one line of text that says what and what to do.
 *
 * One thread at a time per model and its streams; different models on different threads are fine.
 */
#ifndef HISS_H
#define HISS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hiss_model;
struct hiss_stream;

/* How a stream chooses its next code (design: "Sampling"). */
struct hiss_sampling {
    uint64_t seed;
    float temperature; /* 0: always the likeliest code */
    float top_p;       /* (0, 1] */
    float guidance;    /* 1: none; w: without label + w (with label - without) */
};

/* The calling thread's last error. */
const char *hiss_error(void);

/* Opens a model file or a checkpoint directory. backend: "auto" or "cpu"; n_threads: 0 for all.
   Closing closes no streams: close those first. */
struct hiss_model *hiss_model_open(const char *path, const char *backend, int n_threads);
void hiss_model_close(struct hiss_model *m);

int hiss_model_rate(const struct hiss_model *m);              /* Hz */
const char *hiss_model_id(const struct hiss_model *m);        /* SHA-256 in hex */
const char *hiss_model_backend(const struct hiss_model *m);   /* "cpu avx2", ... */
const char *hiss_model_normalize(const struct hiss_model *m); /* "none", "peak", "minmax" */
const char *hiss_model_metadata(const struct hiss_model *m, const char *key); /* or NULL */
int64_t hiss_model_clip(const struct hiss_model *m); /* samples of a clip if the model sings clip by
                                                        clip; 0 if it goes on and on */
int hiss_model_n_labels(const struct hiss_model *m);
const char *hiss_model_label(const struct hiss_model *m, int label); /* NULL: there is none */
/* The label's number, or -1 with an error that lists the names. */
int hiss_model_find_label(const struct hiss_model *m, const char *name);
/* The settings the model recommends, seed 0. */
struct hiss_sampling hiss_model_sampling(const struct hiss_model *m);
/* Sound to code (x in [-1, 1]) and back. */
uint8_t hiss_model_encode(const struct hiss_model *m, float x);
float hiss_model_decode(const struct hiss_model *m, uint8_t code);

/* How streams opened from now on are decoded. precision, of the weights of matrices: "fp16" (the
   default: half the memory to read), "fp32" or "int8"; threads: "auto" (the default: what suits
   model, streams and processor), "one", "lockstep", "pipeline" or "rows". What is sung depends on
   the precision, never on the threads. False for any other name. */
bool hiss_model_set_decode(struct hiss_model *m, const char *precision, const char *threads);
const char *hiss_model_precision(const struct hiss_model *m);

/* Opens n_streams performances, at their beginning, label -1, recommended sampling. Stream i draws
   the noise (seed, first_stream + i): what a stream sings does not depend on its neighbours.
   `guided` keeps a second state a stream, without label, for a guidance other than 1. */
struct hiss_stream *hiss_stream_open(struct hiss_model *m, int n_streams, uint32_t first_stream,
                                     bool guided);
void hiss_stream_close(struct hiss_stream *s);

/* From the next sample on. False if guidance is not 1 and the stream is not guided, or a value
   makes no sense. */
bool hiss_stream_set_sampling(struct hiss_stream *s, const struct hiss_sampling *sampling);
/* label of stream i; -1: none. */
bool hiss_stream_set_label(struct hiss_stream *s, int i, int label);

/* Zero state and the start code, as at the beginning of a clip; the noise goes on. */
void hiss_stream_restart(struct hiss_stream *s);

/* Hears n codes of given sound, all streams the same, in large chunks; the continuation follows. */
bool hiss_stream_prompt(struct hiss_stream *s, const uint8_t *codes, int64_t n);

/* Makes the next n codes of every stream (some tens or hundreds at once cost least): codes
   (n_streams, n). nats (n_streams): the sum of -ln p of the codes made, untempered, untruncated,
   unguided, is added to each; may be NULL. */
bool hiss_stream_generate(struct hiss_stream *s, uint8_t *codes, int64_t n, double *nats);

/* How the next samples are made, as hiss_model_set_decode names it: of "auto", what it has become;
   "walk": operation by operation, where there is no engine for what was asked. */
const char *hiss_stream_threads(const struct hiss_stream *s);

/* Samples heard and made since the beginning (or restart). */
int64_t hiss_stream_position(const struct hiss_stream *s);

/* to becomes what from is; the same model, n_streams and guided, else false. */
bool hiss_stream_copy(struct hiss_stream *to, const struct hiss_stream *from);

/* The state as bytes that outlive the program: format version, model identity, position, code,
   labels, floats. hiss_stream_state_size bytes; loading refuses another model's. */
size_t hiss_stream_state_size(const struct hiss_stream *s);
bool hiss_stream_save(const struct hiss_stream *s, void *bytes);
bool hiss_stream_load(struct hiss_stream *s, const void *bytes, size_t size);

/* Experimental: loads a mix of two saved states: what mixers remember is (1 - weight) a + weight b,
   everything else (position, code, labels, frames of pools) is that of the nearer one; weight in
   [0, 1]. At 0 and 1 it is a or b itself. */
bool hiss_stream_load_mix(struct hiss_stream *s, const void *a, const void *b, size_t size,
                          float weight);

#ifdef __cplusplus
}
#endif

#endif
