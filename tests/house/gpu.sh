#!/bin/bash
# The program with CUDA built in, where there is no GPU that it could use: gpu.sh HISS OLD NONE. OLD
# and NONE stand in for the driver: one that is too old, one without a device (fake_driver.c).
set -u
hiss=$(realpath "$1") old=$(realpath "$2") none=$(realpath "$3")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_failed=0
bad() {
    echo "FAILED: $*"
    n_failed=$((n_failed + 1))
}

# Nothing of CUDA is needed to start.
readelf -d "$hiss" >"$work/needs" || bad "readelf cannot read $hiss"
grep -q NEEDED "$work/needs" || bad "$hiss needs no library at all"
grep -E 'NEEDED.*lib(cuda|cudart|cublas|nvidia)' "$work/needs" && bad "$hiss needs a library of CUDA"

# says DRIVER TEXT: what doctor and a command that wants the GPU say with that driver.
says() {
    mkdir -p "$work/lib" && ln -sf "$1" "$work/lib/libcuda.so.1"
    LD_LIBRARY_PATH=$work/lib "$hiss" doctor --threads 1 >"$work/out" 2>"$work/err" ||
        bad "hiss doctor fails: $(cat "$work/err")"
    grep -qF "not used $2" "$work/out" || bad "hiss doctor does not say: $2"
    grep -q '^engine  *cpu ' "$work/out" || bad "hiss doctor has no engine"
    LD_LIBRARY_PATH=$work/lib "$hiss" bench --backend cuda --only prefill >"$work/out" 2>"$work/err"
    [ $? = 1 ] || bad "hiss bench --backend cuda does not exit 1"
    [ "$(cat "$work/err")" = "hiss: CUDA: $2; use --backend cpu" ] ||
        bad "hiss bench does not say: $2, but: $(cat "$work/err")"
}
says "$old" 'the NVIDIA driver is too old: it serves CUDA 11.4, this program needs '"$(
    "$hiss" doctor --threads 1 --json 2>/dev/null |
        sed -nE 's/.*"runtime_cuda": ([0-9.]+).*/\1/p')"'; install a newer driver'
says "$none" 'there is no device'

[ $n_failed = 0 ] || exit 1
echo "without a GPU: as said"
