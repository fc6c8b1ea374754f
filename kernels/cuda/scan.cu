/*
 * The forward scan: see scan.h. With more than one segment, three launches: what each segment
 * leaves from zero, the states that enter them, the outputs.
 */
#include "kernels/cuda/scan_stage.h"

/* What each segment leaves from zero, and the product of its decays. */
template <class K>
static __global__ void __launch_bounds__(SCAN_THREADS, 4)
    scan_ends_kernel(struct scan_args a, struct scan_segments seg)
{
    GPU_SMEM(float, u);
    float *dt = u + K::tile, *bc = dt + K::tile;
    const struct scan_lane lane = scan_lane_of<K>();
    const int64_t b = blockIdx.z, begin = blockIdx.y * seg.ticks;
    const int64_t end = begin + seg.ticks < a.n_time ? begin + seg.ticks : a.n_time;
    struct scan_numbers<K> k;
    struct scan_product<K> product;
    typename K::state h = {};
    scan_coef_read(k, lane, a);
    scan_product_begin(product);
    for (int64_t t0 = begin; t0 < end; t0 += SCAN_TICKS) {
        const int n = scan_ticks_of(end - t0);
        const int64_t row = b * a.n_time + t0;
        __syncthreads();
        scan_stage<K, 8>({u, dt, NULL, NULL, bc}, a, NULL, row, n);
        __syncthreads();
#pragma unroll 2
        for (int t = 0; t < n; t++) {
            const int at = t * K::channels + lane.channel;
            float delta[K::many], in[K::many];
            scan_pick_dt<K>(delta, dt, at);
            scan_pick<K>(in, u, at);
            scan_fetch_b(k, scan_bc_row<K>(bc, a, row, t), lane, a.n_state);
            scan_decay(k, delta);
            scan_advance(h, k, delta, in);
            scan_product_tick(product, k, delta);
        }
    }
    scan_product_end(product, k);
    const int64_t at = scan_segment_at(a, seg, b, blockIdx.y);
    scan_write<K>(seg.ends + at, h, lane, a);
    scan_write<K>(seg.decays + at, product.a, lane, a);
}

enum { SCAN_CARRY = 8 }; /* segments read at once */

/* state after = decay state before + end over the segments, from the last if `back`, then with
   conj(decay); what enters a segment takes the place of its end. A thread a state. */
static __global__ void __launch_bounds__(SCAN_THREADS)
    scan_carry_kernel(struct scan_segments seg, const float *state, int64_t ld_state, int64_t size,
                      int n_batch, bool is_complex, bool back)
{
    const int parts = is_complex ? 2 : 1;
    for (int64_t i = first_entry(); i < n_batch * size; i += entry_stride()) {
        const int64_t b = i / size, at = i % size * parts;
        float re = state[b * ld_state + at], im = is_complex ? state[b * ld_state + at + 1] : 0.0f;
        for (int s0 = 0; s0 < seg.n; s0 += SCAN_CARRY) {
            float end[SCAN_CARRY][2], decay[SCAN_CARRY][2];
#pragma unroll
            for (int j = 0; j < SCAN_CARRY; j++) {
                const int s = back ? seg.n - 1 - s0 - j : s0 + j;
                const int64_t from = (b * seg.n + s) * size * parts + at;
                const bool live = s >= 0 && s < seg.n;
                end[j][0] = live ? seg.ends[from] : 0.0f;
                decay[j][0] = live ? seg.decays[from] : 0.0f;
                end[j][1] = live && is_complex ? seg.ends[from + 1] : 0.0f;
                decay[j][1] = live && is_complex ? seg.decays[from + 1] : 0.0f;
            }
#pragma unroll
            for (int j = 0; j < SCAN_CARRY; j++) {
                const int s = back ? seg.n - 1 - s0 - j : s0 + j;
                if (s < 0 || s >= seg.n)
                    continue;
                float *to = seg.ends + (b * seg.n + s) * size * parts + at;
                const float turn = back ? -decay[j][1] : decay[j][1], old = re;
                to[0] = re;
                if (is_complex)
                    to[1] = im;
                re = decay[j][0] * re - turn * im + end[j][0];
                im = decay[j][0] * im + turn * old + end[j][1];
            }
        }
    }
}

static void scan_carry(struct cuda_backend *cuda, const struct scan_args *a,
                       struct scan_segments seg, const float *state, bool back)
{
    const int64_t size = (int64_t)a->inner * a->n_state;
    GPU_LAUNCH(scan_carry_kernel, (unsigned)cuda_blocks(a->n_batch * size, SCAN_THREADS),
               SCAN_THREADS, 0, cuda->stream, seg, state, a->ld_state, size, a->n_batch,
               a->complex_state, back);
    cuda_launched(cuda, "scan_carry");
}

/* The outputs of a segment, and the states that enter its chunks. The last one's block leaves the
   state. */
template <class K>
static __global__ void __launch_bounds__(SCAN_THREADS, K::is_complex ? 3 : 4)
    scan_kernel(struct scan_args a, struct scan_segments seg)
{
    GPU_SMEM(float, u);
    float *dt = u + K::tile, *s = dt + K::tile, *bc = s + K::tile;
    const struct scan_lane lane = scan_lane_of<K>();
    const int64_t b = blockIdx.z, begin = blockIdx.y * seg.ticks;
    const int64_t end = begin + seg.ticks < a.n_time ? begin + seg.ticks : a.n_time;
    const int64_t chunks = (a.n_time + SCAN_TICKS - 1) / SCAN_TICKS;
    const int e = (int)blockIdx.x * K::channels + (int)threadIdx.x % K::channels;
    const float d = e < a.inner ? a.d[e] : 0.0f;
    float *state = a.state + b * a.ld_state;
    struct scan_numbers<K> k;
    typename K::state h;
    scan_coef_read(k, lane, a);
    scan_read<K>(h, seg.n > 1 ? seg.ends + scan_segment_at(a, seg, b, blockIdx.y) : state, lane, a);
    for (int64_t t0 = begin; t0 < end; t0 += SCAN_TICKS) {
        const int n = scan_ticks_of(end - t0);
        const int64_t row = b * a.n_time + t0;
        if (a.entering) {
            const int64_t chunk = b * chunks + t0 / SCAN_TICKS;
            scan_write<K>(a.entering + chunk * a.inner * a.n_state * K::parts, h, lane, a);
        }
        __syncthreads();
        scan_stage<K, 8>({u, dt, NULL, NULL, bc}, a, NULL, row, n);
        __syncthreads();
#pragma unroll 2
        for (int t = 0; t < n; t++) {
            const int at = t * K::channels + lane.channel;
            float delta[K::many], in[K::many];
            scan_pick_dt<K>(delta, dt, at);
            scan_pick<K>(in, u, at);
            const float *bc_row = scan_bc_row<K>(bc, a, row, t);
            scan_fetch_b(k, bc_row, lane, a.n_state);
            scan_fetch_c(k, bc_row, lane, a.n_state);
            scan_decay(k, delta);
            scan_advance(h, k, delta, in);
            scan_output<K>(s, at, h, k, lane);
        }
        __syncthreads();
        constexpr int batch = scan_share<K>::size < 8 ? scan_share<K>::size : 8;
        for (int first = 0; first < scan_share<K>::size; first += batch) {
            float z[batch];
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int t = ((int)threadIdx.x + (first + j) * SCAN_THREADS) / K::channels;
                z[j] = a.z && e < a.inner && t < n ? a.z[(row + t) * a.ld_z + e] : 0.0f;
            }
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int i = (int)threadIdx.x + (first + j) * SCAN_THREADS, t = i / K::channels;
                const float gate = a.z ? z[j] * scan_sigmoid(z[j]) : 1.0f;
                if (e < a.inner && t < n)
                    a.y[(row + t) * a.inner + e] = (s[i] + d * u[i]) * gate;
            }
        }
    }
    if (end == a.n_time)
        scan_write<K>(state, h, lane, a);
}

template <class K> static void scan_run(struct cuda_backend *cuda, const struct scan_args *a)
{
    struct scan_segments seg = scan_cut(a);
    const int64_t size =
        a->n_batch * (int64_t)seg.n * a->inner * a->n_state * (a->complex_state ? 2 : 1);
    const dim3 grid((unsigned)scan_groups(a->inner, a->n_state, a->complex_state), (unsigned)seg.n,
                    (unsigned)a->n_batch);
    if (seg.n > 1) {
        seg.ends = reinterpret_cast<float *>(cuda->scratch);
        seg.decays = seg.ends + size;
        GPU_LAUNCH((scan_ends_kernel<K>), grid, SCAN_THREADS,
                   (2 * K::tile + K::bc_size) * sizeof(float), cuda->stream, *a, seg);
        cuda_launched(cuda, "scan_ends");
        scan_carry(cuda, a, seg, a->state, false);
    }
    GPU_LAUNCH((scan_kernel<K>), grid, SCAN_THREADS, (3 * K::tile + K::bc_size) * sizeof(float),
               cuda->stream, *a, seg);
    cuda_launched(cuda, "scan");
}

template <bool Selective, bool Complex>
static void scan_run_width(struct cuda_backend *cuda, const struct scan_args *a)
{
    switch (scan_lanes_of(a->n_state)) {
    case 4:
        scan_run<scan_kind<Selective, Complex, 4, 4, scan_many_of(4, Complex)>>(cuda, a);
        break;
    case 16:
        scan_run<scan_kind<Selective, Complex, 4, 16, 1>>(cuda, a);
        break;
    default:
        scan_run<scan_kind<Selective, Complex, 8, 32, 1>>(cuda, a);
    }
}

static size_t scan_workspace(const struct layer *layer, int n_batch, int64_t n_time)
{
    const int64_t state = (int64_t)layer->inner * layer->n_state * (layer->complex_state ? 2 : 1);
    return (size_t)(2 * scan_segments_most(layer, n_batch, n_time) * state) * sizeof(float);
}

static void op_scan(struct backend *be, const struct scan_args *a)
{
    struct cuda_backend *cuda = cuda_of(be);
    if (a->n_batch == 0 || a->n_time == 0)
        return;
    if (a->n_state > SCAN_STATES_MAX)
        cuda_keep_error(cuda, cudaErrorInvalidValue, "scan: too many states");
    else if (a->mixer == MIXER_SELECTIVE && a->complex_state)
        scan_run_width<true, true>(cuda, a);
    else if (a->mixer == MIXER_SELECTIVE)
        scan_run_width<true, false>(cuda, a);
    else if (a->complex_state)
        scan_run_width<false, true>(cuda, a);
    else
        scan_run_width<false, false>(cuda, a);
}
