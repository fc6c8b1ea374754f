#!/usr/bin/env bash
# CUDA's kernels on 64-bit ARM: the scheduler, the test of the wrappers and the CUDA backend compiled
# for it, without CUDA's own headers; the test run under qemu in a few orders. No cuBLAS: its
# stand-in needs OpenBLAS, which is not there.
# Ends with a line "N passed, N failed". usage: aarch64.sh [FOLDER]   (packages: those of .ci/run)
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
machine=aarch64-linux-gnu
folder=${1:-build-aarch64-cuda}
shim=tests/cuda_on_cpu
flags="-std=c++17 -O1 -g1 -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-unused-parameter
    -Wno-missing-field-initializers -I$shim/include -I."
mkdir -p "$folder"

# compile FILE: into the folder. What it includes is ours or the system's.
compile() {
    # shellcheck disable=SC2086
    $machine-g++ $flags -MD -c "$1" -o "$folder/$(basename "$1").o"
}
export -f compile
export machine flags folder
printf '%s\n' $shim/*.cc | grep -v /blas.cc | xargs -P "$(nproc)" -I{} bash -c 'compile {}'
if cat "$folder"/*.d | tr ' ' '\n' | grep '/cuda' | grep -vE "^($shim/|kernels/|\./kernels/)"; then
    echo "CUDA's own headers were included"
    exit 1
fi
parts=$(cd "$folder" && printf '%s\n' *.o | grep -vE '^(body|bugs|test_.*)\.cc\.o$')
passed=0 failed=0
# shellcheck disable=SC2086
(cd "$folder" && $machine-g++ -pthread test_gpu.cc.o $parts -o test_gpu)
for seed in 0 1 2; do
    if CUDA_ON_CPU_SEED=$seed qemu-aarch64 -L /usr/$machine "$folder/test_gpu"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
