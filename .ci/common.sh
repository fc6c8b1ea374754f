# What the two commands and .ci/run share: packages, the build, stages with their seconds.
# Sourced by scripts that have set `top` to the root of the tree.

packages_build="gcc libc6-dev meson ninja-build pkg-config libsndfile1-dev libsoxr-dev libfftw3-dev
    libjansson-dev libinih-dev libpopt-dev libmd-dev"
packages_test="libcmocka-dev python3-minimal python3-numpy sox libsox-fmt-all espeak-ng flac"
packages_ci="clang clang-format libclang-rt-dev shellcheck"

# install PACKAGE...: only what is missing, as root or by sudo; nothing if all is there.
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
    $as_root apt-get update -qq &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            $missing >/dev/null
}

# build FOLDER [MESON OPTIONS]: sets up and builds; an existing folder is used again.
build_tree() {
    folder=$1
    shift
    [ -f "$folder/build.ninja" ] || meson setup "$folder" "$top" "$@" >"$folder.setup.log" 2>&1 || {
        cat "$folder.setup.log" >&2
        return 1
    }
    ninja -C "$folder" --quiet
}

# Seconds since the epoch, and how long ago that was.
now() { date +%s; }
