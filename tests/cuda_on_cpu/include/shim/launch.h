/* Launches: the arguments become the kernel's parameters as in a call, and are kept with it. */
#ifndef SHIM_LAUNCH_H
#define SHIM_LAUNCH_H

#include "shim/runtime.h"

#include <tuple>
#include <type_traits>

struct shim_launch_config {
    struct dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
    unsigned cluster; /* blocks; 1: none */
    bool cooperative;
    const char *name;
};

/* Gives the launch of `kernel` to the stream; `run` calls it with what `size` bytes at `box` hold,
   once in every thread. */
extern "C" void shim_launch(const struct shim_launch_config *config, const void *kernel,
                            void (*run)(const void *box), const void *box, size_t size);

template <class... P> struct shim_launcher {
    struct shim_launch_config config;
    void (*kernel)(P...);

    struct box {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };

    static void run(const void *at)
    {
        const box *b = static_cast<const box *>(at);
        std::apply(b->kernel, b->arguments);
    }

    void operator()(P... arguments) const
    {
        static_assert((std::is_trivially_copyable_v<P> && ...), "parameters are copied as bytes");
        const box b = {kernel, std::tuple<P...>(arguments...)};
        shim_launch(&config, reinterpret_cast<const void *>(kernel), run, &b, sizeof b);
    }
};

template <class... P>
static inline struct shim_launcher<P...> shim_launch_of(struct shim_launch_config config,
                                                        void (*kernel)(P...)) {
    return {config, kernel};
}

#endif
