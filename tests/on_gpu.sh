#!/usr/bin/env bash
# hiss on a machine with a GPU and nvcc but without a network:
#
#   tests/on_gpu.sh pack              here, with a network: gathers in on-gpu/ (ignored by git, at most
#                                     45 MiB) the Debian packages that the build needs, and recordings
#   tests/on_gpu.sh run [RESULTS]     there, in a copy of this tree with on-gpu/: builds in build-gpu/,
#                                     runs the tests, compute-sanitizer, the bench and a short training
#                                     on the GPU, and leaves a folder (default on-gpu/results) with a
#                                     log of each stage; a short table comes last
#
# pack takes recordings of digits from the folder HISS_DATA/digits; without it, it makes tones. run
# needs gcc and Python with numpy, takes ten minutes at most (GPU_SECONDS=600); no stage stops the next.
# GPU_ARCH says what to compile for (default: what the device is, or 90), GPU_STAGES which stages to
# run (default: all of them, in this order: machine unpack build doctor tests bench train sanitizer).
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
. .ci/common.sh
box=$top/on-gpu
pack_limit=45  # MiB
files_a_word=24

# --- pack -----------------------------------------------------------------------------------------

# Packages with all they depend on, one a line.
closure_of() {
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$@" | grep -E '^[a-z0-9]' | sed 's/:.*//' | sort -u
}

pack_packages() {
    mkdir -p "$box/packages" || return
    # What a compiler and Python bring along is on the machine, or from another release than this;
    # but a library must be there beside what it is linked by.
    # shellcheck disable=SC2086
    packages=$(comm -23 <(closure_of $packages_build libcmocka-dev) \
        <(closure_of gcc g++ libc6-dev python3 perl python3-setuptools python3-distutils))
    [ -n "$packages" ] || return
    # Every font that could stand for another is in the closure: one is enough.
    packages=$(grep -vE '^x?fonts-' <<<"$packages")
    # shellcheck disable=SC2046
    libraries=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances $(grep -e '-dev$' <<<"$packages") |
        awk '/Depends: lib/ {print $2}' | grep -vE '^lib(c6|gcc|stdc)' | sort -u)
    # shellcheck disable=SC2046,SC2086
    (cd "$box/packages" && rm -f ./*.deb &&
        apt-get download -qq $(printf '%s\n' $packages $libraries fonts-dejavu-core | sort -u))
}

pack_data() {
    rm -rf "$box/data" && mkdir -p "$box/data" || return
    if [ -n "${HISS_DATA:-}" ]; then
        for folder in "$HISS_DATA"/digits/train/* "$HISS_DATA"/digits/test/*; do
            to=$box/data/${folder#"$HISS_DATA"/digits/}
            mkdir -p "$to" &&
                find "$folder" -maxdepth 1 -type f | sort | head -n $files_a_word |
                xargs cp -t "$to" || return
        done
    else
        python3 -B - "$box/data" <<'PYTHON'
import math, os, struct, sys, wave
for i in range(48):
    folder = os.path.join(sys.argv[1], "train" if i % 6 else "test", "low" if i % 2 else "high")
    os.makedirs(folder, exist_ok=True)
    with wave.open(os.path.join(folder, f"{i}.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        pitch = (100 if i % 2 else 900) * 1.02 ** i * 2 * math.pi / 8000
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(t * pitch)))
                                  for t in range(6000)))
PYTHON
    fi
}

pack() {
    stage "packages" pack_packages
    stage "data" pack_data
    size=$(($(find "$box/packages" "$box/data" -type f -printf '%s\n' | paste -sd+ | bc) / 1024))
    echo "$box: $((size / 1024)) MiB, $(find "$box/packages" -name '*.deb' | wc -l) packages"
    stage "at most $pack_limit MiB" test "$size" -le $((pack_limit * 1024))
    finish
}

# --- run: the stages, each in a process of its own ------------------------------------------------

root=$box/root
build=$top/build-gpu

# Puts the unpacked packages before the machine's own: headers, libraries, programs.
use_packages() {
    lib=$root/usr/lib/x86_64-linux-gnu
    export CPATH=$root/usr/include LIBRARY_PATH=$lib LD_LIBRARY_PATH=$lib:${LD_LIBRARY_PATH:-}
    export PKG_CONFIG=$root/usr/bin/pkgconf PKG_CONFIG_LIBDIR=$lib/pkgconfig:$root/usr/share/pkgconfig
    export PKG_CONFIG_SYSROOT_DIR=$root
    export PATH=$PATH:/usr/local/cuda/bin:$root/usr/bin
    export PYTHONPATH=$root/usr/lib/python3/dist-packages
    # The reference needs numpy, which may belong to another Python than the system's.
    if ! /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
        PYTHONPATH=$PYTHONPATH:$(python3 -c \
            'import numpy, os; print(os.path.dirname(numpy.__path__[0]))' 2>/dev/null)
    fi
}

# The machine's own meson, or the one that was brought along.
meson() {
    if [ -x /usr/bin/meson ]; then
        /usr/bin/meson "$@"
    else
        /usr/bin/python3 "$root/usr/bin/meson" "$@"
    fi
}

stage_machine() {
    grep -m 1 'model name' /proc/cpuinfo
    nproc
    PATH=$PATH:/usr/local/cuda/bin nvcc --version | tail -2
    nvidia-smi
}

stage_unpack() {
    mkdir -p "$root" || return
    for package in "$box"/packages/*.deb; do
        dpkg-deb -x "$package" "$root" || return
    done
}

stage_build() {
    arch=${GPU_ARCH:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        head -n 1 | tr -d .)}
    [ -f "$build/build.ninja" ] ||
        meson setup "$build" "$top" -Ddebug=false -Dtests=enabled -Dcuda=enabled \
            "-Dgpu_arch=${arch:-90}" || return
    ninja -C "$build"
}

stage_doctor() {
    "$build/app/hiss" doctor
}

# Without a GPU they are all skipped: nothing has passed then.
stage_tests() {
    # Into the log itself: through a pipe meson could not stop its tests once time is up.
    meson test -C "$build" --no-rebuild --print-errorlogs --suite cuda &&
        grep -qE '^Ok: +[1-9]' "$results/tests.log"
}

# What compute-sanitizer says of the kernels; whether their tests pass is another stage's business.
stage_sanitizer() {
    n=0 wrong=0
    for run in memcheck:scan memcheck:conv memcheck:linear memcheck:norm memcheck:frames \
        memcheck:optimiser memcheck:elementwise racecheck:scan racecheck:linear racecheck:norm \
        racecheck:frames racecheck:optimiser; do # the slowest, racecheck of scan, takes half a minute
        echo "=== $run"
        n=$((n + 1))
        if ! [ -x "$build/tests/kernels/test_${run#*:}" ]; then
            echo "not built"
            wrong=$((wrong + 1))
            continue
        fi
        HISS_TEST_BACKEND=cuda timeout 60 compute-sanitizer --tool ${run%:*} --report-api-errors no \
            --error-exitcode 9 "$build/tests/kernels/test_${run#*:}"
        status=$?
        # 77: the test was skipped; 127: there is no compute-sanitizer
        case $status in 9 | 77 | 12[4-7]) wrong=$((wrong + 1)) ;; esac
    done
    echo "compute-sanitizer: $((n - wrong)) of $n clean"
    [ $wrong -eq 0 ]
}

stage_bench() {
    "$build/app/hiss" bench digits sc09-6m --backend cuda --quick --json >"$results/bench.json" &&
        "$build/app/hiss" bench --from "$results/bench.json"
}

stage_train() {
    "$build/app/hiss" train "$box/data" --preset digits --backend cuda --steps 60 \
        --set train.batch=16 --run "$results/train" &&
        tail -n 3 "$results/train/log.ndjson"
    learned=$?
    find "$results/train" -name '*.safetensors' -delete
    return $learned
}

# --- run ------------------------------------------------------------------------------------------

# The seconds that each may take at most.
stages="machine:15 unpack:30 build:240 doctor:40 tests:200 bench:150 train:60 sanitizer:150"

run() {
    results=$(realpath -m "${1:-$box/results}")
    mkdir -p "$results" || exit 1
    export results
    began=$(now)
    table=$results/table.txt
    : >"$table"
    for stage in $stages; do
        name=${stage%:*} most=${stage#*:}
        case " ${GPU_STAGES:-$name} " in *" $name "*) ;; *) continue ;; esac
        left=$((${GPU_SECONDS:-600} - $(now) + began))
        if [ $left -lt "$most" ]; then most=$left; fi
        from=$(now)
        if [ "$most" -le 0 ]; then
            status=124
        else
            timeout -k 5 "$most" bash "$0" stage "$name" >"$results/$name.log" 2>&1 </dev/null
            status=$?
        fi
        case $status in 0) told=passed ;; 124 | 137) told="out of time" ;; *) told="failed ($status)" ;; esac
        printf '%-10s %5d s  %s\n' "$name" $(($(now) - from)) "$told" | tee -a "$table"
    done
    {
        grep -hE '^(Ok|Fail|Timeout|Skipped):' "$results/tests.log" | tr -s ' ' | paste -sd' '
        tail -n 1 "$results/sanitizer.log"
        tail -n 1 "$results/train.log"
    } 2>/dev/null | tee -a "$table"
    ! grep -qE 'failed \(|out of time' "$table"
}

case ${1:-} in
pack) pack ;;
run) run "${2:-}" ;;
stage)
    use_packages
    "stage_$2"
    ;;
*)
    sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'
    exit 2
    ;;
esac
