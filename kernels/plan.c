#include "kernels/plan.h"

#include <string.h>

static const char *const precisions[PRECISIONS] = {"fp32", "fp16", "int8"};
static const char *const threads[DECODE_THREADS] = {"one", "lockstep", "pipeline", "rows", "auto"};

const char *precision_name(enum precision precision)
{
    return precisions[precision];
}

bool precision_from_name(enum precision *precision, const char *name)
{
    for (int i = 0; i < PRECISIONS; i++)
        if (strcmp(name, precisions[i]) == 0) {
            *precision = (enum precision)i;
            return true;
        }
    return false;
}

const char *decode_threads_name(enum decode_threads mode)
{
    return threads[mode];
}

bool decode_threads_from_name(enum decode_threads *mode, const char *name)
{
    for (int i = 0; i < DECODE_THREADS; i++)
        if (strcmp(name, threads[i]) == 0) {
            *mode = (enum decode_threads)i;
            return true;
        }
    return false;
}
