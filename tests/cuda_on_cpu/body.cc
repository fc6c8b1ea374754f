/* The CUDA backend, compiled for the CPU: its own sources, against the headers in include/. */
#include "kernels/cuda/body.cu"

/* Linked with the program, the library is what dlopen finds by its name. */
extern "C" const void *const cuda_on_cpu_blas;
const void *const cuda_on_cpu_blas = reinterpret_cast<const void *>(cublasCreate_v2);
