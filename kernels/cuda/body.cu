/*
 * The CUDA backend, one unit of compilation: see cuda.h.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/blas.cu"
#include "kernels/cuda/reduce.cu"
#include "kernels/cuda/linear.cu"
#include "kernels/cuda/norm.cu"
#include "kernels/cuda/activation.cu"
#include "kernels/cuda/embed.cu"
#include "kernels/cuda/frames.cu"
#include "kernels/cuda/conv.cu"
#include "kernels/cuda/coef.cu"
#include "kernels/cuda/scan.cu"
#include "kernels/cuda/scan_backward.cu"
#include "kernels/cuda/loss.cu"
#include "kernels/cuda/sample.cu"
#include "kernels/cuda/optimiser.cu"
#include "kernels/cuda/workspace.cu"
#include "kernels/cuda/limits.cu"
#include "kernels/cuda/describe.cu"
#include "kernels/cuda/backend.cu"
