#include "tests/cuda_on_cpu/fiber.h"

#include "tests/cuda_on_cpu/include/shim/thread.h"
#include "tests/cuda_on_cpu/sanitizer.h"
#include "tests/cuda_on_cpu/settings.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <utility>

/* What a called function has to keep is kept on the stack that is left. */
#if defined(__x86_64__)
enum { KEPT_WORDS = 6 };
asm(".text\n"
    ".globl fiber_switch\n"
    ".type fiber_switch, @function\n"
    "fiber_switch:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size fiber_switch, .-fiber_switch\n");

void *fiber_prepare(struct fiber_stack *stack, void (*entry)(void))
{
    uintptr_t *sp = reinterpret_cast<uintptr_t *>(stack->memory + fiber_stack_size());
    *--sp = 0; /* nowhere to return to */
    *--sp = reinterpret_cast<uintptr_t>(entry);
    for (int i = 0; i < KEPT_WORDS; i++)
        *--sp = 0;
    return sp;
}
#elif defined(__aarch64__)
enum { KEPT_WORDS = 20, LINK_WORD = 11 };
asm(".text\n"
    ".globl fiber_switch\n"
    ".type fiber_switch, %function\n"
    "fiber_switch:\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n"
    "    str x9, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n"
    ".size fiber_switch, .-fiber_switch\n");

void *fiber_prepare(struct fiber_stack *stack, void (*entry)(void))
{
    uintptr_t *sp = reinterpret_cast<uintptr_t *>(stack->memory + fiber_stack_size());
    for (int i = 0; i < KEPT_WORDS; i++)
        *--sp = 0;
    sp[LINK_WORD] = reinterpret_cast<uintptr_t>(entry);
    return sp;
}
#else
#error "fiber_switch has to be written for this processor"
#endif

enum {
    PLAIN_SIZE = 64 << 10,
    CHECKED_SIZE = 256 << 10, /* sanitizers' frames are larger */
    GUARD_SIZE = 4096,
    COLOURS = 32, /* stacks in use at the same time begin at different lines of the cache */
    COLOUR_SIZE = 128,
    TSAN_SPARE = 64,  /* threads that the sanitizer knows beyond those needed, */
    TSAN_MOST = 3000, /* as far as it can have them */
};

static size_t mapped_size(void)
{
    return has_asan() || has_tsan() ? CHECKED_SIZE : PLAIN_SIZE;
}

size_t fiber_stack_size(void)
{
    return mapped_size() - COLOURS * COLOUR_SIZE;
}

static struct fiber_stack *stack_new(struct fiber_pool *pool)
{
    struct fiber_stack *stack =
        static_cast<struct fiber_stack *>(calloc(1, sizeof(struct fiber_stack)));
    void *memory = mmap(nullptr, mapped_size(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!stack || memory == MAP_FAILED || mprotect(memory, GUARD_SIZE, PROT_NONE) != 0)
        shim_fail("no memory for stack %zu of CUDA's threads (fewer at the same time?)", pool->n);
    stack->memory = static_cast<char *>(memory) + pool->n % COLOURS * COLOUR_SIZE;
    if (has_tsan())
        stack->tsan = __tsan_create_fiber(0);
    pool->n++;
    return stack;
}

void fiber_reserve(struct fiber_pool *pool, size_t n)
{
    if (!has_tsan())
        return;
    while (pool->spare.size() < n || (pool->spare.size() < n + TSAN_SPARE && pool->n < TSAN_MOST))
        pool->spare.push_back(stack_new(pool));
    pool->spare.reserve(pool->n);
}

/* The thread sanitizer sees no race between two CUDA threads that it takes for one: so the next is
   any of many. */
struct fiber_stack *fiber_take(struct fiber_pool *pool)
{
    if (pool->spare.empty())
        return stack_new(pool);
    if (has_tsan()) {
        pool->random = shim_mix(pool->random + 1);
        std::swap(pool->spare[pool->random % pool->spare.size()], pool->spare.back());
    }
    struct fiber_stack *stack = pool->spare.back();
    pool->spare.pop_back();
    return stack;
}

void fiber_give(struct fiber_pool *pool, struct fiber_stack *stack)
{
    pool->spare.push_back(stack);
}
