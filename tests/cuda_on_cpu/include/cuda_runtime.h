/* What kernels and the code around them find under CUDA's name when they run without a GPU. */
#ifndef SHIM_CUDA_RUNTIME_H
#define SHIM_CUDA_RUNTIME_H

#include "shim/launch.h"
#include "shim/math.h"
#include "shim/memory.h"
#include "shim/runtime.h"
#include "shim/thread.h"
#include "shim/types.h"

#endif
