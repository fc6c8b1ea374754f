/*
 * The forward scan: see scan.h. With more than one segment, three launches: what each segment
 * leaves from zero, the states that enter them, the outputs.
 */
#include "kernels/cuda/scan_pair.h"

/* What each segment but the last leaves from zero, and the product of its decays. */
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
            const float out = scan_output_of<K>(h, k);
            if (lane.state % (K::lanes / K::many) == 0)
                s[at + lane.state / (K::lanes / K::many)] = out;
        }
        __syncthreads();
        constexpr int batch = scan_share<K>::size < 8 ? scan_share<K>::size : 8;
        for (int first = 0; first < scan_share<K>::size; first += batch) {
            float z[batch];
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int t = ((int)threadIdx.x + (first + j) * SCAN_THREADS) / K::channels;
                z[j] = a.z && e < a.inner && t < n
                           ? rounded_read(a.z, (row + t) * a.ld_z + e, a.rounded)
                           : 0.0f;
            }
#pragma unroll
            for (int j = 0; j < batch; j++) {
                const int i = (int)threadIdx.x + (first + j) * SCAN_THREADS, t = i / K::channels;
                const float gate = a.z ? z[j] * cuda_sigmoid(z[j]) : 1.0f;
                if (e < a.inner && t < n)
                    rounded_write(a.y, (row + t) * a.inner + e, a.rounded,
                                  (s[i] + d * u[i]) * gate);
            }
        }
    }
    if (end == a.n_time)
        scan_write<K>(state, h, lane, a);
}

/* Memory for what `seg` says of its segments. */
static void scan_place(struct scan_segments *seg, float *at, const struct scan_args *a)
{
    const int64_t parts = a->complex_state ? 2 : 1;
    seg->ends = at;
    seg->decays = at + a->n_batch * (int64_t)seg->n * a->inner * a->n_state * parts;
}

template <class K> static void scan_run(struct cuda_backend *cuda, const struct scan_args *a)
{
    struct scan_segments seg = scan_cut(a);
    dim3 grid((unsigned)scan_groups(a->inner, a->n_state, a->complex_state), (unsigned)(seg.n - 1),
              (unsigned)a->n_batch);
    if (seg.n > 1) {
        scan_place(&seg, reinterpret_cast<float *>(cuda->scratch), a);
        GPU_LAUNCH((scan_ends_kernel<K>), grid, SCAN_THREADS,
                   (2 * K::tile + K::bc_size) * sizeof(float), cuda->stream, *a, seg);
        cuda_launched(cuda, "scan_ends");
        scan_carry(cuda, a, seg, a->state, false);
    }
    grid.y++;
    GPU_LAUNCH((scan_kernel<K>), grid, SCAN_THREADS, (3 * K::tile + K::bc_size) * sizeof(float),
               cuda->stream, *a, seg);
    cuda_launched(cuda, "scan");
}

static void scan_run_pairs(struct cuda_backend *cuda, const struct scan_args *a)
{
    struct scan_segments seg = pair_cut(a);
    dim3 grid((unsigned)pair_groups(a->inner), (unsigned)(seg.n - 1), (unsigned)a->n_batch);
    if (seg.n > 1) {
        scan_place(&seg, reinterpret_cast<float *>(cuda->scratch), a);
        GPU_LAUNCH((scan_pair_ends_kernel<false, false>), grid, WARP, pair_room<2>(), cuda->stream,
                   *a, seg, NULL);
        cuda_launched(cuda, "scan_pair_ends");
        scan_carry(cuda, a, seg, a->state, false);
    }
    grid.y++;
    GPU_LAUNCH(a->rounded ? scan_pair_kernel<true> : scan_pair_kernel<false>, grid, WARP,
               pair_room<3>(), cuda->stream, *a, seg);
    cuda_launched(cuda, "scan_pair");
}

template <bool Selective, bool Complex>
static void scan_run_width(struct cuda_backend *cuda, const struct scan_args *a)
{
    switch (scan_lanes_of(a->n_state)) {
    case 4:
        if constexpr (Selective && !Complex)
            scan_run_pairs(cuda, a);
        else
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

static void op_scan(struct backend *be, const struct scan_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct scan_args resolved = *args, *a = &resolved;
    a->rounded = cuda_rounded(cuda, a->rounded);
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
