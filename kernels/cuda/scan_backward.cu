/*
 * The backward scan: see scan.h, and scan_reverse.h for the formulas.
 *
 * The gradient that enters a segment from behind is found as the forward finds states: a march
 * from zero, a recurrence over the segments. Then a block walks the chunks of its segment from the
 * last: it marches forward from the chunk's entering state and keeps the state every K::sub ticks,
 * then takes these stretches from the last, makes their states again, in registers, and goes back
 * over them.
 *
 * Sums over channels (dB, dC) are made a warp, a block, then over the blocks; those of parameters
 * a segment, then over all segments. No order depends on the device.
 */
#include "kernels/cuda/scan_ahead.h"

/* The gradient that each segment but the first sends to the one before it, if none comes from
   behind. */
template <class K>
static __global__ void __launch_bounds__(SCAN_THREADS, 4)
    scan_back_ends_kernel(struct scan_args a, struct scan_segments seg, const float *dy)
{
    GPU_SMEM(float, q);
    float *dt = q + K::tile, *bc = dt + K::tile;
    const struct scan_lane lane = scan_lane_of<K>();
    const int64_t b = blockIdx.z, segment = blockIdx.y + 1, begin = segment * seg.ticks;
    const int64_t end = begin + seg.ticks < a.n_time ? begin + seg.ticks : a.n_time;
    struct scan_numbers<K> k;
    struct scan_product<K> product;
    typename K::state g = {};
    scan_coef_read(k, lane, a);
    scan_product_begin(product);
    for (int64_t t0 = (end - 1) / SCAN_TICKS * SCAN_TICKS; t0 >= begin; t0 -= SCAN_TICKS) {
        const int n = scan_ticks_of(end - t0);
        const int64_t row = b * a.n_time + t0;
        __syncthreads();
        scan_stage<K, 8>({NULL, dt, q, NULL, bc}, a, dy, row, n);
        __syncthreads();
#pragma unroll 2
        for (int t = n - 1; t >= 0; t--) {
            const int at = t * K::channels + lane.channel;
            float delta[K::many], qt[K::many];
            scan_pick_dt<K>(delta, dt, at);
            scan_pick<K>(qt, q, at);
            scan_fetch_c(k, scan_bc_row<K>(bc, a, row, t), lane, a.n_state);
            scan_decay(k, delta);
#pragma unroll
            for (int w = 0; w < K::many; w++)
#pragma unroll
                for (int r = 0; r < K::states; r++) {
                    const int shared = K::selective ? 0 : w;
                    g[w][r][0] += K::parts * qt[w] * k.c[shared][0][r];
                    if constexpr (K::is_complex)
                        g[w][r][1] -= K::parts * qt[w] * k.c[shared][1][r];
                }
            scan_go_back<K>(g, k.a);
            scan_product_tick(product, k, delta);
        }
    }
    scan_product_end(product, k);
    const int64_t at = scan_segment_at(a, seg, b, segment);
    scan_write<K>(seg.ends + at, g, lane, a);
    scan_write<K>(seg.decays + at, product.a, lane, a);
}

/* --- the kernel ------------------------------------------------------------------------------- */

/* What a thread sums over the ticks of its own N channels, those from N threadIdx.x % K::channels
   on. */
template <int N> struct scan_channel_sums {
    float d[N], bias[N];
};

/* Gradients of the activations of a stretch from staged tick t0 on, of n staged ticks, from what
   the lanes found; N channels of a tick at once. */
template <class K, int N>
CUDA_DEV void scan_store_stretch(const float *smem, const float *found,
                                 const struct scan_backward_args &a,
                                 struct scan_channel_sums<N> &sums, int64_t row, int t0, int n)
{
    typedef scan_back_smem<K> M;
    const struct scan_args &f = a.forward;
    constexpr int shares = (M::found_size + N * SCAN_THREADS - 1) / (N * SCAN_THREADS);
    const int channel = (int)(N * threadIdx.x % K::channels);
    const int e = (int)blockIdx.x * K::channels + channel;
    if (e >= f.inner)
        return;
    float d[N];
    scan_get<N>(d, smem + M::d + channel);
#pragma unroll
    for (int j = 0; j < shares; j++) {
        const unsigned i = N * (threadIdx.x + (unsigned)j * SCAN_THREADS);
        const int tick = t0 + (int)(i / K::channels), staged = t0 * K::channels + (int)i;
        if (tick >= n || (M::found_size % (N * SCAN_THREADS) && i >= M::found_size))
            continue;
        const int64_t t = row + tick, at = t * f.inner + e;
        float u[N], q[N], input[N], du[N];
        scan_get<N>(u, smem + M::u + staged);
        scan_get<N>(q, smem + M::q + staged);
        scan_get<N>(input, found + M::input + i);
        if constexpr (K::selective) {
            float dt[N], pole[N], ddt[N];
            scan_get<N>(dt, smem + M::dt + staged);
            scan_get<N>(pole, found + M::pole + i);
#pragma unroll
            for (int w = 0; w < N; w++) {
                ddt[w] = (input[w] * u[w] + pole[w]) * scan_softplus_slope(dt[w]);
                du[w] = input[w] * dt[w] + d[w] * q[w];
                sums.bias[w] += ddt[w];
            }
            scan_put<N>(a.ddt_raw + at, ddt);
        } else {
#pragma unroll
            for (int w = 0; w < N; w++)
                du[w] = input[w] + d[w] * q[w];
        }
        scan_put<N>(a.du + at, du);
#pragma unroll
        for (int w = 0; w < N; w++)
            sums.d[w] += q[w] * u[w];
        if (f.z) {
            float gate[N];
            scan_get<N>(gate, smem + M::gate + staged);
            if (!f.rounded)
                scan_put<N>(a.dz + t * a.ld_dz + e, gate);
            else if constexpr (N == 2)
                reinterpret_cast<uint32_t *>(a.dz)[(t * a.ld_dz + e) / 2] =
                    gpu_bf16x2(gate[0], gate[1]);
            else
                rounded_write(a.dz, t * a.ld_dz + e, true, gate[0]);
        }
    }
}

/* The block's row of parameter gradients. */
template <class K, int N>
CUDA_DEV void scan_store_sums(float *smem, float *to, const typename K::sums &dcoef,
                              const struct scan_channel_sums<N> &own, struct scan_lane lane,
                              const struct scan_args &a)
{
    const int64_t size = (int64_t)a.inner * a.n_state * K::step;
#pragma unroll
    for (int w = 0; w < K::many; w++)
#pragma unroll
        for (int r = 0; r < K::states; r++)
#pragma unroll
            for (int i = 0; i < K::step; i++) {
                /* a selective tick's exponent is in units of ln 2 and quarter turns */
                const float unit = !K::selective ? 1.0f : i == 0 ? SCAN_LN2 : SCAN_QUARTER;
                const int64_t at = (int64_t)(lane.e + w) * a.n_state + lane.n0 + r;
                if (lane.e + w < a.inner && lane.n0 + r < a.n_state)
                    to[at * K::step + i] = dcoef[w][r][i] * unit;
            }
    const struct scan_channel_sums<N> sums = own; /* may lie where the next is written */
    __syncthreads();
    scan_put<N>(smem + N * threadIdx.x, sums.d);
    scan_put<N>(smem + N * (SCAN_THREADS + threadIdx.x), sums.bias);
    __syncthreads();
    const int e = (int)blockIdx.x * K::channels + (int)threadIdx.x;
    if ((int)threadIdx.x < K::channels && e < a.inner) {
        float d = 0.0f, bias = 0.0f;
        for (int i = (int)threadIdx.x; i < N * SCAN_THREADS; i += K::channels) {
            d += smem[i];
            bias += smem[N * SCAN_THREADS + i];
        }
        to[size + e] = d;
        to[size + a.inner + e] = bias;
    }
}

/* Ahead: the chunk is staged as scan_ahead.h says; without it a selective scan has to hold more. */
template <class K, bool Ahead>
static __global__ void
__launch_bounds__(SCAN_THREADS, K::is_complex || K::lanes > 4 || (K::selective && !Ahead) ? 2 : 3)
    scan_backward_kernel(struct scan_backward_args a, struct scan_segments ends, int every,
                         struct scan_sums sums)
{
    GPU_SMEM(float, smem);
    typedef scan_back_smem<K> M;
    const struct scan_args &f = a.forward;
    const struct scan_lane lane = scan_lane_of<K>();
    const int64_t b = blockIdx.z, ticks = every * ends.ticks, begin = blockIdx.y * ticks;
    const int64_t end = begin + ticks < f.n_time ? begin + ticks : f.n_time;
    const int next = (int)(blockIdx.y + 1) * every, last = (next < ends.n ? next : ends.n) - 1;
    const int64_t chunks = (f.n_time + SCAN_TICKS - 1) / SCAN_TICKS;
    float *dstate = a.dstate + b * f.ld_state;
    struct scan_numbers<K> k;
    constexpr int some = Ahead ? K::many : 1; /* channels that a thread stores at once */
    typedef struct scan_channel_sums<some> channel_sums;
    channel_sums local;
    channel_sums &own =
        M::holds_sums ? reinterpret_cast<channel_sums *>(smem + M::sums)[threadIdx.x] : local;
    typename K::state g;
    typename K::sums dcoef = {};
    own = {};
    scan_coef_read(k, lane, f);
    scan_read<K>(g, ends.n > 1 ? ends.ends + scan_segment_at(f, ends, b, last) : dstate, lane, f);
    const int64_t start = (end - 1) / SCAN_TICKS * SCAN_TICKS, n_entering = f.inner * f.n_state;
    if (Ahead && ((int)(blockIdx.x + 1) * K::channels > f.inner || end % SCAN_TICKS)) {
        /* channels and ticks that are never copied to */
        for (int i = (int)threadIdx.x; i < M::found; i += SCAN_THREADS)
            smem[i] = 0.0f;
        __syncthreads();
    }
    float *dbc = sums.dbc + blockIdx.x * f.n_batch * f.n_time * sums.ld_dbc;
    if ((int)threadIdx.x < K::channels) {
        const int e = (int)blockIdx.x * K::channels + (int)threadIdx.x;
        smem[M::d + threadIdx.x] = e < f.inner ? f.d[e] : 0.0f;
    }
    for (int64_t t0 = start; t0 >= begin; t0 -= SCAN_TICKS) {
        const int n = scan_ticks_of(end - t0);
        const int64_t row = b * f.n_time + t0;
        const float *entering = f.entering + (b * chunks + t0 / SCAN_TICKS) * n_entering * K::parts;
        typename K::state h;
        if constexpr (Ahead) {
            if (t0 == start) {
                for (int t = 0; t < n; t += scan_ahead<K>::ticks)
                    scan_ahead_copy<K>(smem, f, a.dy, row, t, n);
                scan_ahead_state<K>(smem, entering, lane, f);
                gpu_cp_async_commit();
            }
            gpu_cp_async_wait<0>();
            scan_ahead_read<K>(smem, h, lane, f);
            scan_ahead_turn<K>(smem, f, n);
        } else {
            scan_stage<K, 4>({smem + M::u, smem + M::dt, smem + M::q, smem + M::gate, smem + M::bc},
                             f, a.dy, row, n);
            scan_read<K>(h, entering, lane, f);
        }
        __syncthreads();
        scan_keep<K>(smem, h, k, f, lane, row, n);
        const int last_stretch = (n - 1) / K::sub * K::sub;
        for (int t = last_stretch; t >= 0; t -= K::sub) {
            scan_stretch_back<K, Ahead>(smem, h, g, dcoef, k, f, lane, row, t, n);
            __syncthreads();
            if constexpr (Ahead)
                if (t0 > begin)
                    scan_ahead_free<K>(smem, f, a.dy, entering - n_entering, lane, row - SCAN_TICKS,
                                       t, last_stretch);
            if constexpr (K::selective)
                scan_store_dbc<K>(dbc, sums.ld_dbc, scan_found_at<K>(smem, t), f, row, t, n);
            scan_store_stretch<K, some>(smem, scan_found_at<K>(smem, t), a, own, row, t, n);
            if (!M::two)
                __syncthreads();
        }
        __syncthreads();
        if constexpr (Ahead)
            if (t0 > begin) {
                scan_ahead_copy<K>(smem, f, a.dy, row - SCAN_TICKS, 0, SCAN_TICKS);
                gpu_cp_async_commit();
            }
    }
    if (begin == 0)
        scan_write<K>(dstate, g, lane, f);
    const int64_t row = (int64_t)f.inner * (f.n_state * K::step + 2);
    scan_store_sums<K, some>(smem, sums.parameters + (b * gridDim.y + blockIdx.y) * row, dcoef, own,
                             lane, f);
}

/* --- the operation ---------------------------------------------------------------------------- */

/* dbc = the sum over the groups of channels. Quads: of all entries there are whole ones. */
template <bool Quads>
static __global__ void __launch_bounds__(ENTRY_THREADS)
    scan_dbc_kernel(float *dbc, int64_t ld_dbc, const float *parts, int n_parts, int64_t n_rows,
                    int width)
{
    constexpr int step = Quads ? 4 : 1;
    const int64_t n = n_rows * width;
    for (int64_t i = step * first_entry(); i < n; i += step * entry_stride()) {
        float *to = dbc + (ld_dbc == width ? i : i / width * ld_dbc + i % width);
        if constexpr (Quads) {
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 2
            for (int p = 0; p < n_parts; p++) {
                const float4 v = *reinterpret_cast<const float4 *>(parts + p * n + i);
                sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
            }
            *reinterpret_cast<float4 *>(to) = sum;
        } else {
            float sum = 0.0f;
            for (int p = 0; p < n_parts; p++)
                sum += parts[p * n + i];
            *to = sum;
        }
    }
}

static void scan_dbc_add(struct cuda_backend *cuda, float *dbc, int64_t ld_dbc, const float *parts,
                         int n_parts, int64_t n_rows, int width)
{
    const uintptr_t odd = (uintptr_t)dbc | (uintptr_t)parts;
    if (odd % 16 == 0 && ld_dbc % 4 == 0 && width % 4 == 0)
        GPU_LAUNCH(scan_dbc_kernel<true>, entry_grid(n_rows * width / 4), ENTRY_THREADS, 0,
                   cuda->stream, dbc, ld_dbc, parts, n_parts, n_rows, width);
    else
        GPU_LAUNCH(scan_dbc_kernel<false>, entry_grid(n_rows * width), ENTRY_THREADS, 0,
                   cuda->stream, dbc, ld_dbc, parts, n_parts, n_rows, width);
    cuda_launched(cuda, "scan_dbc");
}

static void scan_back_launch(struct cuda_backend *cuda,
                             void (*kernel)(struct scan_backward_args, struct scan_segments, int,
                                            struct scan_sums),
                             dim3 grid, size_t floats, const struct scan_backward_args *a,
                             struct scan_segments ends, int every, struct scan_sums sums)
{
    const size_t smem = floats * sizeof(float);
    if (smem > 48 * 1024) /* what a kernel may have without asking */
        cuda_keep_error(
            cuda,
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem),
            "scan_backward: shared memory");
    GPU_LAUNCH(kernel, grid, SCAN_THREADS, smem, cuda->stream, *a, ends, every, sums);
    cuda_launched(cuda, "scan_backward");
}

template <class K>
static void scan_back_run(struct cuda_backend *cuda, const struct scan_backward_args *a)
{
    const struct scan_args *f = &a->forward;
    const bool pairs = scan_in_pairs(f->mixer, f->complex_state, f->n_state);
    int every = 1; /* so many segments' ends for one of the march */
    struct scan_segments seg = pairs ? pair_back_cut(f, &every) : scan_cut(f);
    const int64_t n_segments = f->n_batch * cuda_blocks(seg.n, every);
    const int64_t groups = scan_groups(f->inner, f->n_state, f->complex_state);
    const int64_t states = f->n_batch * (int64_t)seg.n * f->inner * f->n_state * K::parts;
    const int64_t n_coef = (int64_t)f->inner * f->n_state * K::step;
    const int64_t row = n_coef + 2 * f->inner, n_rows = f->n_batch * f->n_time;
    const int width = 2 * K::parts * f->n_state;
    dim3 grid((unsigned)groups, (unsigned)(seg.n - 1), (unsigned)f->n_batch);
    scan_place(&seg, reinterpret_cast<float *>(cuda->scratch), f);
    struct scan_sums sums = {a->dbc, a->ld_dbc, seg.decays + states};
    if (K::selective && groups > 1) {
        sums.dbc = sums.parameters + n_segments * row;
        sums.ld_dbc = width;
    }
    if (seg.n > 1) {
        if constexpr (K::selective && !K::is_complex && K::lanes == 4) {
            grid.x = (unsigned)pair_groups(f->inner);
            GPU_LAUNCH((f->rounded ? scan_pair_ends_kernel<true, true>
                                   : scan_pair_ends_kernel<true, false>),
                       grid, WARP, pair_room<3>(), cuda->stream, *f, seg, a->dy);
        } else {
            GPU_LAUNCH((scan_back_ends_kernel<K>), grid, SCAN_THREADS,
                       (2 * K::tile + K::bc_size) * sizeof(float), cuda->stream, *f, seg, a->dy);
        }
        cuda_launched(cuda, "scan_back_ends");
        scan_carry(cuda, f, seg, a->dstate, true);
    }
    grid = dim3((unsigned)groups, (unsigned)cuda_blocks(seg.n, every), (unsigned)f->n_batch);
    if constexpr (K::selective && !K::is_complex && K::lanes == 4) {
        if (scan_ahead_fits(*a))
            scan_back_launch(cuda, scan_backward_kernel<K, true>, grid, scan_back_smem<K>::size, a,
                             seg, every, sums);
        else
            scan_back_launch(cuda, scan_backward_kernel<K, false>, grid, scan_back_smem<K>::size, a,
                             seg, every, sums);
    } else {
        scan_back_launch(cuda, scan_backward_kernel<K, false>, grid, scan_back_smem<K>::size, a,
                         seg, every, sums);
    }
    if (sums.dbc != a->dbc)
        scan_dbc_add(cuda, a->dbc, a->ld_dbc, sums.dbc, (int)groups, n_rows, width);
    const struct partials to = {{a->dcoef, a->dd, K::selective ? a->ddt_bias : NULL},
                                {n_coef, n_coef + f->inner, row}};
    partials_add_to(cuda, &to, sums.parameters, row, n_segments);
}

static size_t scan_backward_workspace(const struct layer *layer, int n_batch, int64_t n_time)
{
    const bool selective = layer->mixer == MIXER_SELECTIVE;
    const int parts = layer->complex_state ? 2 : 1;
    const int step = scan_step_of(selective, layer->complex_state);
    const int64_t groups = scan_groups(layer->inner, layer->n_state, layer->complex_state);
    int64_t floats = scan_segments_most(layer, n_batch, n_time) * layer->inner *
                     (layer->n_state * (2 * parts + step) + 2);
    if (selective && groups > 1)
        floats += groups * n_batch * n_time * 2 * parts * layer->n_state;
    return (size_t)floats * sizeof(float);
}

template <bool Selective, bool Complex>
static void scan_back_run_width(struct cuda_backend *cuda, const struct scan_backward_args *a)
{
    switch (scan_lanes_of(a->forward.n_state)) {
    case 4:
        scan_back_run<scan_kind<Selective, Complex, 4, 4, scan_many_of(4, Complex)>>(cuda, a);
        break;
    case 16:
        scan_back_run<scan_kind<Selective, Complex, 4, 16, 1>>(cuda, a);
        break;
    default:
        scan_back_run<scan_kind<Selective, Complex, 8, 32, 1>>(cuda, a);
    }
}

static void op_scan_backward(struct backend *be, const struct scan_backward_args *args)
{
    struct cuda_backend *cuda = cuda_of(be);
    struct scan_backward_args resolved = *args, *a = &resolved;
    a->forward.rounded = cuda_rounded(cuda, a->forward.rounded);
    const struct scan_args *f = &a->forward;
    if (f->n_batch == 0 || f->n_time == 0)
        return;
    if (f->n_state > SCAN_STATES_MAX)
        cuda_keep_error(cuda, cudaErrorInvalidValue, "scan_backward: too many states");
    else if (f->mixer == MIXER_SELECTIVE && f->complex_state)
        scan_back_run_width<true, true>(cuda, a);
    else if (f->mixer == MIXER_SELECTIVE)
        scan_back_run_width<true, false>(cuda, a);
    else if (f->complex_state)
        scan_back_run_width<false, true>(cuda, a);
    else
        scan_back_run_width<false, false>(cuda, a);
}
