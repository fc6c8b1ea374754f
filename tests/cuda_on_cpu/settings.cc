#include "tests/cuda_on_cpu/settings.h"

#include "tests/cuda_on_cpu/cuda_on_cpu.h"

#include <stdlib.h>
#include <unistd.h>

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static struct shim_settings settings_of_environment(void)
{
    struct shim_settings s = {};
    const int processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
    s.seed = number("CUDA_ON_CPU_SEED", 0);
    s.threads = number("CUDA_ON_CPU_THREADS", processors < 4 ? processors : 4);
    s.resident = number("CUDA_ON_CPU_RESIDENT", 1);
    s.sms = number("CUDA_ON_CPU_SMS", 16);
    s.memory_mib = number("CUDA_ON_CPU_MEMORY_MIB", 8192);
    s.capability = number("CUDA_ON_CPU_CAPABILITY", 90);
    s.idle_ms = number("CUDA_ON_CPU_IDLE_MS", 5);
    s.stuck_s = number("CUDA_ON_CPU_STUCK_S", 30);
    s.protect = number("CUDA_ON_CPU_PROTECT", 0) != 0;
    return s;
}

struct shim_settings shim_settings_now = settings_of_environment();

void cuda_on_cpu_set_seed(int seed)
{
    shim_settings_now.seed = seed;
}
