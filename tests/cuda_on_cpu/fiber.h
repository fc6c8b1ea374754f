/* Stacks, and going from one to another. */
#ifndef SHIM_FIBER_H
#define SHIM_FIBER_H

#include <stddef.h>

#include <vector>

/* A stack has its own thread in the thread sanitizer's eyes: what one CUDA thread left there is no
   race with the next. */
struct fiber_stack {
    char *memory; /* its lowest page is a guard */
    void *tsan;
};

/* Stacks that nobody uses; a worker's own. */
struct fiber_pool {
    std::vector<struct fiber_stack *> spare;
    size_t n; /* that there are, in use or not */
    unsigned long long random;
};

size_t fiber_stack_size(void);

/* By the worker, before n CUDA threads begin: what one of them made would be ordered after it in
   the thread sanitizer's eyes. */
void fiber_reserve(struct fiber_pool *pool, size_t n);
struct fiber_stack *fiber_take(struct fiber_pool *pool);
void fiber_give(struct fiber_pool *pool, struct fiber_stack *stack);

/* A stack pointer from which fiber_switch enters `entry`, which never returns. */
void *fiber_prepare(struct fiber_stack *stack, void (*entry)(void));

/* Keeps this stack's pointer in *save and goes on where `to` was kept. */
extern "C" void fiber_switch(void **save, void *to);

#endif
