/*
 * cuBLAS, found when the backend is opened: the program itself needs no CUDA library, so it starts
 * on machines that have none. What its products round their factors to is an option of the
 * backend; the sums are float. With a workspace of its own and one stream cuBLAS gives the same
 * bits on every run.
 */
#include "base/error.h"
#include "kernels/cuda/cuda.h"

#include <dlfcn.h>
#include <stdio.h>

enum { BLAS_WORKSPACE = 32 << 20 }; /* bytes: what cuBLAS takes by itself on sm_90 */

/* The functions, by the names they have in the library. */
static struct {
    cublasStatus_t (*create)(cublasHandle_t *);
    cublasStatus_t (*destroy)(cublasHandle_t);
    cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
    cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
    cublasStatus_t (*set_math_mode)(cublasHandle_t, cublasMath_t);
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                           const void *, const void *, cudaDataType, int, const void *,
                           cudaDataType, int, const void *, void *, cudaDataType, int,
                           cublasComputeType_t, cublasGemmAlgo_t);
    cublasStatus_t (*gemm_batched)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                   int, const void *, const void *, cudaDataType, int, long long,
                                   const void *, cudaDataType, int, long long, const void *, void *,
                                   cudaDataType, int, long long, int, cublasComputeType_t,
                                   cublasGemmAlgo_t);
} blas;

static void *blas_library(void)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so",
                                        "/usr/local/cuda/lib64/libcublas.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    return NULL;
}

static bool blas_missing(void)
{
    return error_set("cuBLAS is not installed: libcublas.so.13 or .12 was not found; install it or "
                     "set LD_LIBRARY_PATH to where it is");
}

static bool blas_symbol(void *library, void *function, const char *name)
{
    void *symbol = dlsym(library, name);
    if (!symbol)
        return error_set("cuBLAS has no %s: it is too old, install CUDA 12 or later", name);
    *static_cast<void **>(function) = symbol;
    return true;
}

/* The library stays loaded to the end of the process: the functions are the same for every
   backend. */
static bool blas_load(void)
{
    if (blas.gemm_batched)
        return true;
    void *library = blas_library();
    if (!library)
        return blas_missing();
    return blas_symbol(library, &blas.create, "cublasCreate_v2") &&
           blas_symbol(library, &blas.destroy, "cublasDestroy_v2") &&
           blas_symbol(library, &blas.set_stream, "cublasSetStream_v2") &&
           blas_symbol(library, &blas.set_workspace, "cublasSetWorkspace_v2") &&
           blas_symbol(library, &blas.set_math_mode, "cublasSetMathMode") &&
           blas_symbol(library, &blas.gemm, "cublasGemmEx") &&
           blas_symbol(library, &blas.gemm_batched, "cublasGemmStridedBatchedEx");
}

/* The version of the cuBLAS that is found. */
static bool blas_describe(char *version, size_t size)
{
    int number[3] = {0, 0, 0};
    void *library = blas_library();
    if (!library)
        return blas_missing();
    cublasStatus_t (*get)(int part, int *number); /* part: an enumeration, major first */
    *reinterpret_cast<void **>(&get) = dlsym(library, "cublasGetProperty");
    for (int i = 0; get && i < 3; i++)
        get(i, &number[i]);
    snprintf(version, size, "%d.%d.%d", number[0], number[1], number[2]);
    return true;
}

/* After the stream: setting that takes the workspace away. */
static bool blas_open(struct cuda_backend *cuda)
{
    if (!blas_load())
        return false;
    if (blas.create(&cuda->blas) != CUBLAS_STATUS_SUCCESS) {
        cuda->blas = NULL;
        return error_set("cuBLAS does not start on this GPU (too little free memory?)");
    }
    if (cudaMalloc(&cuda->blas_workspace, BLAS_WORKSPACE) != cudaSuccess)
        return error_set("out of GPU memory for cuBLAS: %d MiB were asked for; end what else uses "
                         "the GPU, or use --backend cpu",
                         BLAS_WORKSPACE >> 20);
    if (blas.set_stream(cuda->blas, cuda->stream) != CUBLAS_STATUS_SUCCESS ||
        blas.set_workspace(cuda->blas, cuda->blas_workspace, BLAS_WORKSPACE) !=
            CUBLAS_STATUS_SUCCESS ||
        blas.set_math_mode(cuda->blas, CUBLAS_DEFAULT_MATH) != CUBLAS_STATUS_SUCCESS)
        return error_set("cuBLAS does not take its settings");
    return true;
}

static void blas_close(struct cuda_backend *cuda)
{
    if (cuda->blas)
        blas.destroy(cuda->blas);
    if (cuda->blas_workspace)
        cudaFree(cuda->blas_workspace);
}

static void blas_done(struct cuda_backend *cuda, cublasStatus_t status, const char *at)
{
    if (status != CUBLAS_STATUS_SUCCESS)
        cuda_keep_error(cuda,
                        status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation
                                                             : cudaErrorUnknown,
                        at);
}

/* A product of row-major matrices, c (m,n) = [c +] a (m,k) b (k,n), any of a and b given
   transposed: `ld` is then of what is stored. `batch` products lie `step` entries apart. */
struct blas_product {
    void *c;           /* float, or bf16 if c_bf16 */
    const void *a, *b; /* float, or bf16 */
    bool bf16, c_bf16;
    int64_t ld_c, ld_a, ld_b;
    int64_t step_c, step_a, step_b;
    int64_t m, n, k;
    bool a_transposed, b_transposed, add;
    int64_t batch; /* 0: one product */
};

static cublasComputeType_t blas_compute(const struct cuda_backend *cuda, bool bf16)
{
    /* factors in bf16 are what they are: nothing is left to be rounded */
    return bf16 || cuda->products == PRODUCTS_FP32 ? CUBLAS_COMPUTE_32F
                                                   : CUBLAS_COMPUTE_32F_FAST_TF32;
}

/* cuBLAS knows columns first, and so sees every matrix transposed: c^T = b^T a^T. Its sizes are
   ints, which no network's rows outgrow: 2^31 rows would not fit any device. */
static void blas_run(struct cuda_backend *cuda, const struct blas_product *p, const char *at)
{
    const float one = 1.0f, beta = p->add ? 1.0f : 0.0f;
    cublasOperation_t op_a = p->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = p->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    int m = (int)p->m, n = (int)p->n, k = (int)p->k;
    int ld_a = (int)p->ld_a, ld_b = (int)p->ld_b, ld_c = (int)p->ld_c;
    const cudaDataType real = p->c_bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cudaDataType factor = p->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const cublasComputeType_t compute = blas_compute(cuda, p->bf16);
    cublasStatus_t status;
    if (p->batch)
        status = blas.gemm_batched(cuda->blas, op_b, op_a, n, m, k, &one, p->b, factor, ld_b,
                                   p->step_b, p->a, factor, ld_a, p->step_a, &beta, p->c, real,
                                   ld_c, p->step_c, (int)p->batch, compute, CUBLAS_GEMM_DEFAULT);
    else
        status = blas.gemm(cuda->blas, op_b, op_a, n, m, k, &one, p->b, factor, ld_b, p->a, factor,
                           ld_a, &beta, p->c, real, ld_c, compute, CUBLAS_GEMM_DEFAULT);
    blas_done(cuda, status, at);
}
