#!/usr/bin/env bash
# CUDA's kernels on the CPU in more orders than CI has time for: plain, under the address and undefined
# behaviour sanitizers, under the thread sanitizer. The last result is in sweep.txt.
# Ends with a line "N passed, N failed". usage: sweep.sh   (packages: those of .ci/run)
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
. .ci/common.sh
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1

# tree SANITIZERS: build-sweep-cuda-SANITIZERS.
tree() {
    build_tree "build-sweep-cuda-$1" -Db_sanitize="$1" --werror -Dtests=enabled -Dcuda=disabled
}

# The programs of the shim's own tests, which do not choose their order themselves.
orders() {
    for program in gpu runtime; do
        seq 0 "$2" | xargs -P "$(nproc)" -I SEED env CUDA_ON_CPU_SEED=SEED \
            "build-sweep-cuda-$1/tests/cuda_on_cpu/cuda_on_cpu_$program" || return
    done >/dev/null
}

# The tests of operations and networks, each in so many orders.
kernels() {
    HISS_TEST_ORDERS=$2 run_tests "build-sweep-cuda-$1" --suite cuda-on-cpu
}

for mode in none address,undefined thread; do
    case $mode in
    none) seeds=200 n=12 ;;
    address,undefined) seeds=40 n=6 ;;
    *) seeds=20 n=3 ;;
    esac
    stage "$mode: build" tree $mode
    stage "$mode: wrappers and runtime, $seeds seeds" orders $mode $seeds
    stage "$mode: operations and networks, $n orders" kernels $mode $n
done
finish
