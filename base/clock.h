/*
 * Time that passes.
 *
 * Any thread; no state.
 */
#ifndef HISS_BASE_CLOCK_H
#define HISS_BASE_CLOCK_H

/* Seconds since some moment, never running backwards. */
double clock_s(void);

#endif
