#!/usr/bin/env bash
# What is too long for CI, before a release: every test under every sanitizer, with gcc and clang,
# on the instruction set of any machine and on this one's; the emulated ARM's tests that learn (an
# hour); long fuzzing; the reference at length.
# Ends with a line "N passed, N failed". usage: sweep.sh   (packages: those of .ci/run)
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top" || exit 1
. .ci/common.sh
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1

# tree NAME COMPILER SANITIZERS: build-sweep-NAME. clang's sanitizers are resolved in the program.
tree() {
    CC=$2 build_tree "build-sweep-$1" -Db_sanitize="$3" -Db_lundef=false --werror \
        -Dtests=enabled -Dcuda=disabled
}

on_base() { HISS_ISA=base run_tests "$1"; }

# Damaged model files and damaged sounds, under the sanitizers; every seed damages differently.
fuzz_models() {
    for seed in 1 2 3 4 5 6 7 8; do
        "$1/tests/model/fuzz_model_file" 20000 $seed || return
    done
}
fuzz_sounds() { HISS_FUZZ_ROUNDS=20000 "$1/tests/audio/test_audio_fuzz"; }

for compiler in gcc clang; do
    folder=build-sweep-$compiler
    stage "$compiler, address and undefined: build" tree $compiler $compiler address,undefined
    stage "$compiler, address and undefined: tests" run_tests $folder
    stage "$compiler, address and undefined: tests, base instructions" on_base $folder
    stage "$compiler: damaged models" fuzz_models $folder
    stage "$compiler: damaged sounds" fuzz_sounds $folder
done
stage "thread sanitizer: build" tree thread gcc thread
stage "thread sanitizer: tests" run_tests build-sweep-thread
stage "thread sanitizer: tests, base instructions" on_base build-sweep-thread
for compiler in gcc clang; do
    stage "aarch64 by $compiler" \
        bash tests/house/aarch64.sh $compiler --timeout-multiplier 30
done
stage "reference checks itself, 40 entries" /usr/bin/python3 -B tests/reference/selftest.py 40
finish
