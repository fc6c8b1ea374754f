#include "app/processor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void processor_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    snprintf(name, size, "unknown");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (!colon || (strncmp(line, "model name", 10) != 0 && strncmp(line, "Model", 5) != 0))
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(name, size, "%.100s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    if (file)
        fclose(file);
}

void memory_sizes(double *total, double *available)
{
    char line[128];
    double kib;
    FILE *file = fopen("/proc/meminfo", "r");
    *total = *available = 0;
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemTotal: %lf", &kib) == 1)
            *total = kib * 1024;
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1)
            *available = kib * 1024;
    }
    if (file)
        fclose(file);
}

double memory_resident(void)
{
    long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%*s %lld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}
