/* What there is of GPUs, and why they cannot be used. Needs no driver, and opens nothing but, where
   asked for, the device. */
#include "base/error.h"
#include "kernels/cuda/cuda.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Compute capabilities in tenths, and ptx for what is later than the last of them. */
#ifndef HISS_CUDA_ARCH
#define HISS_CUDA_ARCH 80 : ptx
#endif
#define TEXT_OF(x) #x
#define ARCH_TEXT(x) TEXT_OF(x)

/* Whether this program has code for such a device: for its generation and no later than itself, or
   PTX of the last it was compiled for, which is no later. *oldest: the first. */
static bool device_has_code(int capability, int *oldest)
{
    const char *arch = ARCH_TEXT(HISS_CUDA_ARCH);
    int last = 0;
    bool has = false, ptx = false;
    *oldest = 0;
    while (*arch) {
        char *end;
        int at = (int)strtol(arch, &end, 10);
        if (end == arch) {
            ptx = true;
            end += strcspn(end, ":");
        } else {
            has |= at / 10 == capability / 10 && at <= capability;
            *oldest = *oldest == 0 || at < *oldest ? at : *oldest;
            last = at;
        }
        arch = end + strspn(end, ":");
    }
    return has || (ptx && last <= capability);
}

static bool why_not(struct gpu_facts *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool why_not(struct gpu_facts *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(f->why_not, sizeof f->why_not, format, args);
    va_end(args);
    return false;
}

/* The driver's own number, where its module says it: the first word behind "Module" that begins
   with a digit. */
static void driver_release(char *release, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/driver/nvidia/version", "r");
    const char *word = file && fgets(line, sizeof line, file) ? strstr(line, "Module ") : NULL;
    while (word && !(*word >= '0' && *word <= '9'))
        word = (word = strchr(word, ' ')) ? word + strspn(word, " ") : NULL;
    if (word)
        snprintf(release, size, "%.*s", (int)strcspn(word, " \n"), word);
    if (file)
        fclose(file);
}

/* The first device there is; its architecture must be one the kernels were made for. */
static bool device_facts(struct gpu_facts *f)
{
    struct cudaDeviceProp device;
    int clock_khz = 0, oldest;
    memset(f, 0, sizeof *f);
    f->built = true;
    f->runtime = CUDART_VERSION;
    if (cudaDriverGetVersion(&f->driver) != cudaSuccess)
        f->driver = 0;
    driver_release(f->release, sizeof f->release);
    cudaError_t error = cudaGetDeviceCount(&f->n_devices);
    if (error != cudaSuccess)
        f->n_devices = 0;
    if (error != cudaSuccess && f->driver == 0)
        return why_not(f, "this machine has no NVIDIA driver");
    if (error == cudaErrorInsufficientDriver)
        return why_not(f,
                       "the NVIDIA driver is too old: it serves CUDA %d.%d, this program needs "
                       "%d.%d; install a newer driver",
                       f->driver / 1000, f->driver % 1000 / 10, f->runtime / 1000,
                       f->runtime % 1000 / 10);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && f->n_devices == 0))
        return why_not(f, "there is no device");
    if (error != cudaSuccess)
        return why_not(f, "the driver gives none (%s)", cudaGetErrorString(error));
    if ((error = cudaGetDeviceProperties(&device, 0)) != cudaSuccess)
        return why_not(f, "device 0 cannot be used: %s", cudaGetErrorString(error));
    snprintf(f->device, sizeof f->device, "%.100s", device.name);
    f->capability = 10 * device.major + device.minor;
    f->n_cores = device.multiProcessorCount;
    f->memory = device.totalGlobalMem;
    if (cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, 0) == cudaSuccess)
        f->clock_hz = 1e3 * clock_khz;
    if (!device_has_code(f->capability, &oldest))
        return f->capability < oldest
                   ? why_not(f,
                             "%s is too old: a device of compute capability %d.%d or later is "
                             "needed, it has %d.%d",
                             f->device, oldest / 10, oldest % 10, device.major, device.minor)
                   : why_not(f,
                             "this program has no code for %s (compute capability %d.%d): build it "
                             "with -Dgpu_arch=%d",
                             f->device, device.major, device.minor, f->capability);
    return true;
}

void cuda_describe(struct gpu_facts *f)
{
    bool has_blas = false;
    size_t total;
    if (!device_facts(f))
        return;
    cudaError_t error = cudaSetDevice(0);
    if (error == cudaSuccess)
        error = cudaMemGetInfo(&f->memory_free, &total);
    has_blas = blas_describe(f->blas, sizeof f->blas);
    if (error != cudaSuccess)
        why_not(f, "device 0 does not start: %s", cudaGetErrorString(error));
    else if (!has_blas)
        why_not(f, "%s", error_text());
    f->usable = error == cudaSuccess && has_blas;
}
