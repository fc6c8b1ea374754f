/* Stands in for NVIDIA's driver, libcuda.so.1: one that serves the version FAKE_CUDA, too old or
   new enough, on a machine without a device. The runtime asks it for no more than this. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

enum { NO_DEVICE = 100, NOT_FOUND = 500 };

int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags);
int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags,
                        int *status);

int cuInit(unsigned flags)
{
    return NO_DEVICE;
}

int cuDriverGetVersion(int *version)
{
    *version = FAKE_CUDA;
    return 0;
}

int cuGetProcAddress(const char *name, void **function, int version, unsigned long long flags)
{
    *function = dlsym(RTLD_DEFAULT, name);
    return *function ? 0 : NOT_FOUND;
}

int cuGetProcAddress_v2(const char *name, void **function, int version, unsigned long long flags,
                        int *status)
{
    if (status)
        *status = 0;
    return cuGetProcAddress(name, function, version, flags);
}
