/*
 * Streams: queues of operations that the device's own thread does one at a time, later.
 *
 * Everything here is called with the lock, which the functions of CUDA's runtime take, except where
 * said otherwise.
 */
#ifndef SHIM_STREAM_H
#define SHIM_STREAM_H

#include "tests/cuda_on_cpu/include/shim/runtime.h"

#include <deque>
#include <vector>

struct capture;

/* The operations of a stream up to and with number `seq`. */
struct moment {
    struct CUstream_st *stream;
    uint64_t seq;
};

/* Its payload lies behind it. `run` is called without the lock. */
struct operation {
    const char *what;
    void (*run)(void *payload);
    void (*drop)(void *payload); /* after the last run; NULL: nothing to do */
    size_t size;                 /* of the payload */
    uint64_t seq, issue;         /* its number in the stream, and of all */
    std::vector<struct moment> after;
    char key; /* what the host did before is seen by it */
};

struct CUstream_st {
    bool blocking; /* waits for the default stream, as that for it */
    bool destroyed;
    uint64_t issued, done, wanted; /* seq */
    std::deque<struct operation *> queue;
    std::vector<struct moment> after; /* of the next operation */
    char done_key;
    void *tsan;
    struct capture *capture;
    std::vector<size_t> capture_after; /* nodes, of the next operation */
};

struct CUevent_st {
    bool timed;
    bool recorded;
    struct moment moment;
    double time; /* seconds, of the record done last */
    struct capture *capture;
    std::vector<size_t> capture_after;
};

/* The lock, and the thread sanitizer's attention elsewhere. */
void device_lock(void);
void device_unlock(void);

/* NULL: the default stream. */
struct CUstream_st *stream_of(cudaStream_t stream);

struct operation *operation_new(const char *what, void (*run)(void *), void (*drop)(void *),
                                const void *payload, size_t size);
void *operation_payload(struct operation *op);
void operation_free(struct operation *op);

/* Adds to the stream, or to the graph that it captures; takes the operation. */
cudaError_t stream_add(struct CUstream_st *stream, struct operation *op);

/* Where the stream stands now. */
struct moment stream_now(struct CUstream_st *stream);
bool moment_is_past(struct moment m);
/* Gets everything up to m done. */
void moment_wait(struct moment m);
/* The same without waiting. */
void moment_want(struct moment m);
void wait_for_all(void);

/* Which of n the scheduler takes: the first, the last, or any, by the seed. */
size_t device_choice(size_t n);

/* --- graph.cc ----------------------------------------------------------------------------------
 */

cudaError_t capture_add(struct CUstream_st *stream, struct operation *op);
/* What waits while the stream captures is an error, and ends the capture. */
cudaError_t capture_refuses(struct CUstream_st *stream);
/* Some stream captures so that no thread may do what is unsafe meanwhile. */
bool capture_is_global(void);
void capture_record(struct CUevent_st *event, struct CUstream_st *stream);
cudaError_t capture_join(struct CUstream_st *stream, struct CUevent_st *event);

/* Keeps an error for cudaGetLastError, which is this thread's. Needs no lock. */
cudaError_t told(cudaError_t error);

#endif
