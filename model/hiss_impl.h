/*
 * What libhiss keeps of models and streams: what hiss_model.c, hiss.c and hiss_state.c share.
 * Inside model/ only; the interface, with threads and ownership, is hiss.h.
 */
#ifndef HISS_MODEL_HISS_IMPL_H
#define HISS_MODEL_HISS_IMPL_H

#include "base/quantizer.h"
#include "model/chunk.h"
#include "model/hiss.h"
#include "model/model_file.h"

struct hiss_model {
    struct backend *be;
    struct model_file file; /* its weights are given back once they are in the net */
    struct net net;
    enum quantizer quantizer;
    enum precision precision; /* of streams opened from now on, as threads */
    enum decode_threads threads;
    float decode[PLAN_CODES];
};

struct hiss_stream {
    struct hiss_model *model;
    int n_streams;
    bool guided;
    int n_rows; /* n_streams, twice if guided: the second half hears no label */
    uint32_t first_stream;
    struct hiss_sampling sampling;
    int64_t noise_n;         /* samples heard and made since the beginning: restarts do not count */
    struct state state;      /* canonical, unless the engine has gone ahead */
    struct decoder *decoder; /* the recurrent engine; NULL: there is none, and `step` serves */
    bool state_is_old, decoder_is_old; /* the other one has what the stream remembers */
    struct chunk step;                 /* n_rows streams, one sample */
    uint8_t *codes;                    /* backend memory (n_rows): the next inputs */
    int32_t *labels;                   /* backend memory (n_rows) */
    float *nats;                       /* backend memory (n_streams) */
    uint8_t *host_codes;               /* (n_rows) */
    int32_t *host_labels;              /* (n_rows) */
    float *host_nats;                  /* (n_streams) */
};

/* Brings next inputs and labels of all rows to where the backend reads them. */
void stream_upload_inputs(struct hiss_stream *s);
/* Brings the canonical state up to what the engine made. What the stream remembers is the same. */
void stream_fetch_state(const struct hiss_stream *s);
/* The canonical state was changed: the engine takes it before it goes on. */
void stream_state_changed(struct hiss_stream *s);

#endif
