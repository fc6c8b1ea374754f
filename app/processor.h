/*
 * The processor this runs on.
 *
 * Any thread; no state.
 */
#ifndef HISS_APP_PROCESSOR_H
#define HISS_APP_PROCESSOR_H

#include <stddef.h>

/* What Linux calls it, as far as it says; else "unknown". */
void processor_name(char *name, size_t size);

/* Bytes of memory: all there is, and what programs can still have; 0: not known. */
void memory_sizes(double *total, double *available);

/* Bytes of this process that are in memory; 0: not known. */
double memory_resident(void);

#endif
