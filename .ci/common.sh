# What the two commands and .ci/run share: packages, the build, the tests, stages and their count.
# Sourced by bash scripts that have set `top` to the root of the tree and stand in it.

packages_build="gcc libc6-dev meson ninja-build pkg-config libsndfile1-dev libsoxr-dev libfftw3-dev
    libcairo2-dev portaudio19-dev libncurses-dev
    libjansson-dev libinih-dev libpopt-dev libmd-dev"
packages_test="libcmocka-dev python3-numpy sox libsox-fmt-base locales libasound2-plugins pulseaudio
    pulseaudio-utils tmux g++ libopenblas-dev"
packages_ci="git clang clang-format libclang-rt-dev shellcheck espeak-ng flac
    gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

# install_packages PACKAGE...: only what is missing, as root or by sudo; nothing if all is there.
install_packages() {
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "missing packages, and neither root nor sudo to install them:$missing" >&2
            return 1
        fi
        as_root=sudo
    fi
    echo "installing:$missing"
    # shellcheck disable=SC2086
    $as_root apt-get update -qq &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            $missing >/dev/null
}

# build_tree FOLDER [MESON OPTIONS]: sets up and builds. An existing folder keeps its objects and
# the options that are not named.
build_tree() {
    folder=$1
    shift
    if [ -f "$folder/build.ninja" ]; then set -- --reconfigure "$@"; fi
    told=$(meson setup "$folder" "$top" "$@" 2>&1) || {
        echo "$told" >&2
        return 1
    }
    ninja -C "$folder" --quiet
}

# run_tests FOLDER [MESON TEST OPTIONS]: all but those for a GPU and the suite `orders`. A test that
# is skipped, or a case that a test had to leave out, is a failure.
run_tests() {
    folder=$1
    shift
    # Decimal commas must change nothing: such a locale, for the tests alone.
    mkdir -p "$folder/locale" &&
        localedef -i de_DE -f UTF-8 "$folder/locale/de_DE.UTF-8" &&
        LOCPATH=$top/$folder/locale meson test -C "$folder" --no-rebuild --print-errorlogs \
            --timeout-multiplier 5 --no-suite cuda --no-suite orders "$@" || return
    if grep -e 'SKIPPED ]' -e '^Skipped: *[1-9]' "$folder/meson-logs/testlog.txt"; then return 1; fi
}

# run_gpu_tests FOLDER: on a machine without a GPU meson skips them, one by one, and says so.
run_gpu_tests() {
    if ! meson test -C "$1" --no-rebuild --list --suite cuda 2>/dev/null | grep -q ' / '; then
        echo "Skipped: 1"
        echo "this build has no CUDA backend: nvcc is not here"
        return
    fi
    meson test -C "$1" --no-rebuild --print-errorlogs --suite cuda || return
    grep -m 1 -F 'SKIPPED, ' "$1/meson-logs/testlog.txt" || true
}

# Seconds since the epoch.
now() { date +%s; }

passed=0 failed=0 skipped=0

# stage NAME COMMAND...: runs it without input. What it counted itself, as meson or as one of these
# scripts, is added up; a stage that counted nothing is one test. No failure goes uncounted.
stage() {
    name=$1
    shift
    echo "=== $name"
    began=$(now)
    log=$(mktemp)
    "$@" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r n_ok n_bad n_out <<<"$(awk '
        /^Ok:/ {ok += $NF}
        /^(Fail|Timeout|Unexpected Pass):/ {bad += $NF}
        /^Skipped:/ {out += $NF}
        /^[0-9]+ passed, [0-9]+ failed$/ {ok = $1; bad = $3}
        END {print ok + 0, bad + 0, out + 0}' "$log")"
    rm -f "$log"
    if [ "$status" -ne 0 ] && [ "$n_bad" -eq 0 ]; then n_bad=1; fi
    if [ "$n_ok" -eq 0 ] && [ "$n_bad" -eq 0 ] && [ "$n_out" -eq 0 ]; then n_ok=1; fi
    passed=$((passed + n_ok)) failed=$((failed + n_bad)) skipped=$((skipped + n_out))
    told="$n_ok passed, $n_bad failed"
    if [ "$n_out" -gt 0 ]; then told="$told, $n_out SKIPPED"; fi
    echo "--- $name: $(($(now) - began)) s, $told"
}

# The last line of every run, and its exit status.
finish() {
    if [ "$skipped" -gt 0 ]; then echo "$skipped SKIPPED: the tests on a GPU"; fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
