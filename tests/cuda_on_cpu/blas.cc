/*
 * cuBLAS's products by OpenBLAS, on one thread of the processor: half-precision matrices are
 * widened to float, sums are float's. Built as a library of cuBLAS's own name, so that it is found
 * as cuBLAS is.
 */
#include "tests/cuda_on_cpu/include/cublas_v2.h"

#include "tests/cuda_on_cpu/include/cuda_bf16.h"
#include "tests/cuda_on_cpu/include/cuda_fp16.h"
#include "tests/cuda_on_cpu/memory.h"
#include "tests/cuda_on_cpu/stream.h"

#include <cblas.h>
#include <stdlib.h>

struct cublasContext {
    cudaStream_t stream;
};

/* As stored: columns first, `ld` entries between columns. */
struct matrix {
    void *at;
    cudaDataType_t type;
    int rows, columns, ld;
    long long step; /* entries, from a product to the next */
};

struct product {
    struct matrix a, b, c;
    bool a_transposed, b_transposed;
    int m, n, k, count;
    float alpha, beta;
};

static size_t size_of(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static char *entry(const struct matrix *x, int which, long long i)
{
    return static_cast<char *>(x->at) +
           ((long long)which * x->step + i) * (long long)size_of(x->type);
}

static float load(const char *at, cudaDataType_t type)
{
    uint16_t bits;
    float v;
    if (type == CUDA_R_32F) {
        memcpy(&v, at, sizeof v);
        return v;
    }
    memcpy(&bits, at, sizeof bits);
    return type == CUDA_R_16F ? __half2float({bits}) : __bfloat162float({bits});
}

static void store(char *at, cudaDataType_t type, float v)
{
    const uint16_t bits = type == CUDA_R_16F ? __float2half(v).bits : __float2bfloat16(v).bits;
    if (type == CUDA_R_32F)
        memcpy(at, &v, sizeof v);
    else
        memcpy(at, &bits, sizeof bits);
}

static void use(const struct matrix *x, int which, bool write)
{
    const size_t n = (size_t)(x->columns - 1) * (size_t)x->ld + (size_t)x->rows;
    if (x->rows && x->columns)
        memory_use("a product of cuBLAS", entry(x, which, 0), n * size_of(x->type), write);
}

/* A float matrix with the same entries: its own, or one that is made, and to be freed. */
static float *widen(const struct matrix *x, int which, bool needed, int *ld, void **made)
{
    *ld = x->ld;
    *made = nullptr;
    if (x->type == CUDA_R_32F)
        return reinterpret_cast<float *>(entry(x, which, 0));
    float *wide =
        static_cast<float *>(malloc((size_t)x->rows * (size_t)x->columns * sizeof(float) + 1));
    if (!wide)
        abort();
    for (int j = 0; needed && j < x->columns; j++)
        for (int i = 0; i < x->rows; i++)
            wide[(size_t)j * (size_t)x->rows + (size_t)i] =
                load(entry(x, which, (long long)j * x->ld + i), x->type);
    *ld = x->rows;
    *made = wide;
    return wide;
}

static void product_run(void *payload)
{
    const struct product *p = static_cast<const struct product *>(payload);
    for (int which = 0; which < p->count; which++) {
        int ld_a, ld_b, ld_c;
        void *made_a, *made_b, *made_c;
        use(&p->a, which, false);
        use(&p->b, which, false);
        use(&p->c, which, true);
        const float *a = widen(&p->a, which, true, &ld_a, &made_a);
        const float *b = widen(&p->b, which, true, &ld_b, &made_b);
        float *c = widen(&p->c, which, p->beta != 0, &ld_c, &made_c);
        cblas_sgemm(CblasColMajor, p->a_transposed ? CblasTrans : CblasNoTrans,
                    p->b_transposed ? CblasTrans : CblasNoTrans, p->m, p->n, p->k, p->alpha, a,
                    ld_a, b, ld_b, p->beta, c, ld_c);
        for (int j = 0; made_c && j < p->n; j++)
            for (int i = 0; i < p->m; i++)
                store(entry(&p->c, which, (long long)j * p->c.ld + i), p->c.type,
                      c[(size_t)j * (size_t)ld_c + (size_t)i]);
        free(made_a);
        free(made_b);
        free(made_c);
    }
}

static bool fits(const struct matrix *x)
{
    const bool known = x->type == CUDA_R_32F || x->type == CUDA_R_16F || x->type == CUDA_R_16BF;
    return known && x->rows >= 0 && x->columns >= 0 && x->ld >= (x->rows > 1 ? x->rows : 1);
}

/* Alpha and beta are the host's, read now. */
static cublasStatus_t product_add(cublasHandle_t handle, struct product p)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (!fits(&p.a) || !fits(&p.b) || !fits(&p.c) || p.k < 0 || p.count < 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (p.a.type != p.b.type || (p.a.type == CUDA_R_32F && p.c.type != CUDA_R_32F) ||
        (p.c.type != CUDA_R_32F && p.c.type != p.a.type))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.m == 0 || p.n == 0 || p.count == 0)
        return CUBLAS_STATUS_SUCCESS;
    device_lock();
    const cudaError_t error =
        stream_add(stream_of(handle->stream),
                   operation_new("a product of cuBLAS", product_run, nullptr, &p, sizeof p));
    device_unlock();
    return error == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

static struct matrix matrix_of(const void *at, cudaDataType_t type, int rows, int columns,
                               bool transposed, int ld, long long step)
{
    if (transposed)
        return {const_cast<void *>(at), type, columns, rows, ld, step};
    return {const_cast<void *>(at), type, rows, columns, ld, step};
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t op_a,
                                          cublasOperation_t op_b, int m, int n, int k,
                                          const void *alpha, const void *a, cudaDataType_t type_a,
                                          int ld_a, long long step_a, const void *b,
                                          cudaDataType_t type_b, int ld_b, long long step_b,
                                          const void *beta, void *c, cudaDataType_t type_c,
                                          int ld_c, long long step_c, int count,
                                          cublasComputeType_t compute, cublasGemmAlgo_t)
{
    struct product p = {};
    if (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_PEDANTIC &&
        compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    p.a_transposed = op_a == CUBLAS_OP_T;
    p.b_transposed = op_b == CUBLAS_OP_T;
    p.m = m, p.n = n, p.k = k, p.count = count;
    p.a = matrix_of(a, type_a, m, k, p.a_transposed, ld_a, step_a);
    p.b = matrix_of(b, type_b, k, n, p.b_transposed, ld_b, step_b);
    p.c = matrix_of(c, type_c, m, n, false, ld_c, step_c);
    p.alpha = *static_cast<const float *>(alpha);
    p.beta = *static_cast<const float *>(beta);
    return product_add(handle, p);
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType_t type_a, int ld_a, const void *b, cudaDataType_t type_b,
                            int ld_b, const void *beta, void *c, cudaDataType_t type_c, int ld_c,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, ld_a, 0, b,
                                      type_b, ld_b, 0, beta, c, type_c, ld_c, 0, 1, compute,
                                      algorithm);
}

cublasStatus_t cublasSgemmStridedBatched(cublasHandle_t handle, cublasOperation_t op_a,
                                         cublasOperation_t op_b, int m, int n, int k,
                                         const float *alpha, const float *a, int ld_a,
                                         long long step_a, const float *b, int ld_b,
                                         long long step_b, const float *beta, float *c, int ld_c,
                                         long long step_c, int count)
{
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, CUDA_R_32F, ld_a,
                                      step_a, b, CUDA_R_32F, ld_b, step_b, beta, c, CUDA_R_32F,
                                      ld_c, step_c, count, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                              int m, int n, int k, const float *alpha, const float *a, int ld_a,
                              const float *b, int ld_b, const float *beta, float *c, int ld_c)
{
    return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, ld_a, 0, b, ld_b, 0,
                                     beta, c, ld_c, 0, 1);
}

cublasStatus_t cublasGetProperty(libraryPropertyType which, int *value)
{
    *value = which == MAJOR_VERSION ? CUDART_VERSION / 1000 : 0;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    openblas_set_num_threads(1); /* a sum's order does not depend on the machine */
    *handle = new struct cublasContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *, size_t)
{
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t)
{
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
