/*
 * The next code of each stream, as in kernels/cpu/sample.c: Gumbel-max with noise that is a
 * function of (seed, n, stream, code) alone. A block a stream, a thread a code.
 */
#include "base/random.h"
#include "kernels/cuda/cuda.h"

enum { SAMPLE_WARPS = PLAN_CODES / WARP };

/* Over all codes, known to every thread. Both end with the block together; `shared` has room for a
   float a warp. */
CUDA_DEV float codes_max(float v, float *shared)
{
    v = warp_max(v);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        shared[threadIdx.x / WARP] = v;
    __syncthreads();
    for (int i = 0; i < SAMPLE_WARPS; i++)
        v = fmaxf(v, shared[i]);
    return v;
}

CUDA_DEV float codes_sum(float v, float *shared)
{
    v = warp_sum(v);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        shared[threadIdx.x / WARP] = v;
    __syncthreads();
    v = shared[0];
    for (int i = 1; i < SAMPLE_WARPS; i++)
        v += shared[i];
    return v;
}

/* Philox4x32-10, as in base/random.c (Salmon et al. 2011): the block of a counter. */
CUDA_DEV void philox_block(uint32_t (&out)[4], uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                           uint64_t key)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

CUDA_DEV float gumbel_of(uint32_t word)
{
    float u = ((float)(word >> 9) + 0.5f) * 0x1p-23f;
    return -logf(-logf(u));
}

CUDA_DEV float gumbel(uint64_t seed, uint64_t n, uint32_t stream, uint32_t code)
{
    uint32_t r[4];
    philox_block(r, (uint32_t)n, (uint32_t)(n >> 32), stream,
                 (uint32_t)RANDOM_SAMPLE << 8 | code / 4, seed);
    return gumbel_of(code % 4 == 0 ? r[0] : code % 4 == 1 ? r[1] : code % 4 == 2 ? r[2] : r[3]);
}

/* Is this thread's code in the smallest set whose probability reaches top_p? The least probability
   kept is found by halving the range of its bits, which as integers are in the order of the
   numbers; of the codes that have just that, the first are kept. `tie` has room for all codes. */
CUDA_DEV bool in_top_p(float x, float top_p, float *shared, float *tie)
{
    int code = (int)threadIdx.x;
    float e = expf(x - codes_max(x, shared));
    float wanted = fmaxf(top_p * codes_sum(e, shared), 1e-37f);
    uint32_t low = 0, high = 0x3f800001u; /* mass from low >= wanted > mass from high */
    for (int i = 0; i < 31 && high - low > 1; i++) {
        uint32_t middle = low + (high - low) / 2;
        float mass = codes_sum(e >= __uint_as_float(middle) ? e : 0.0f, shared);
        if (mass >= wanted)
            low = middle;
        else
            high = middle;
    }
    float least = __uint_as_float(low);
    float mass = codes_sum(e >= __uint_as_float(high) ? e : 0.0f, shared);
    tie[code] = e == least ? 1.0f : 0.0f;
    __syncthreads();
    bool keep = e > least;
    for (int c = 0; c <= code; c++) {
        if (c == code && e == least)
            keep = mass < wanted;
        if (tie[c] != 0.0f && mass < wanted)
            mass += least;
    }
    return keep;
}

/* Where the largest entry is; of equal ones the first. */
CUDA_DEV int codes_argmax(float v, float *shared, int *places)
{
    int place = v > -INFINITY ? (int)threadIdx.x : 0;
    v = v > -INFINITY ? v : -INFINITY; /* NaN too */
    for (int lanes = WARP / 2; lanes > 0; lanes /= 2) {
        float other = __shfl_xor_sync((unsigned)ALL_LANES, v, lanes);
        int at = __shfl_xor_sync((unsigned)ALL_LANES, place, lanes);
        if (other > v || (other == v && at < place)) {
            v = other;
            place = at;
        }
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
        shared[threadIdx.x / WARP] = v;
        places[threadIdx.x / WARP] = place;
    }
    __syncthreads();
    for (int i = 0; i < SAMPLE_WARPS; i++)
        if (shared[i] > v || (shared[i] == v && places[i] < place)) {
            v = shared[i];
            place = places[i];
        }
    return place;
}

static __global__ void __launch_bounds__(PLAN_CODES) sample_kernel(struct sample_args a)
{
    GPU_SMEM(float, shared); /* SAMPLE_WARPS floats, as many places, a float a code */
    int *places = reinterpret_cast<int *>(shared + SAMPLE_WARPS);
    float *tie = shared + 2 * SAMPLE_WARPS;
    const struct sampling *s = &a.sampling;
    int64_t b = blockIdx.x;
    int code = (int)threadIdx.x;
    float with = a.logits[b * PLAN_CODES + code], x = with;
    if (a.without_label) {
        float without = a.without_label[b * PLAN_CODES + code];
        x = without + s->guidance * (with - without);
    }
    if (s->top_p < 1.0f && !in_top_p(x, s->top_p, shared, tie))
        x = -INFINITY;
    if (s->temperature > 0.0f)
        x = x / s->temperature +
            gumbel(s->seed, (uint64_t)a.n, a.first_stream + (uint32_t)b, (uint32_t)code);
    int best = codes_argmax(x, shared, places);
    float max = codes_max(with, shared), sum = codes_sum(expf(with - max), shared);
    if (code == best) {
        a.codes[b] = (uint8_t)code;
        a.nats[b] = logf(sum) - (with - max);
    }
}

static void op_sample(struct backend *be, const struct sample_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_batch == 0)
        return;
    GPU_LAUNCH(sample_kernel, (unsigned)a->n_batch, PLAN_CODES,
               (2 * SAMPLE_WARPS + PLAN_CODES) * sizeof(float), cuda->stream, *a);
    cuda_launched(cuda, "sample");
}
