/* The CUDA backend, compiled for the CPU: its own sources, against the headers in include/. */
#include "kernels/cuda/body.cu"
