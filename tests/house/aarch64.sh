#!/usr/bin/env bash
# The program for 64-bit ARM: cross-compiled, its tests run under qemu. That orders memory as this
# machine does, so races of weaker orders stay unseen. What Debian has for ARM is unpacked into a
# folder of the trees' own: this system stays as it is.
# usage: aarch64.sh gcc|clang [MESON TEST OPTIONS]   (packages: those of .ci/run)
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
. .ci/common.sh
machine=aarch64-linux-gnu
root=$top/build-aarch64-root

# apt for that machine: nothing is installed there yet, and nothing is asked of this system's apt.
arm_apt() {
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
        -o Dir::State::Lists="$root/apt/lists" -o Dir::State::status="$root/apt/status" \
        -o Dir::Cache="$root/apt" -o APT::Sandbox::User="$(id -un)" "$@"
}

# The libraries, with all that they need. usage: libraries PACKAGE...
libraries() {
    [ ! -f "$root/complete" ] || return 0
    mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial"
    : >"$root/apt/status"
    arm_apt update
    arm_apt install --download-only --no-install-recommends "$@"
    for package in "$root"/apt/archives/*.deb; do dpkg -x "$package" "$root"; done
    [ -e "$root/lib" ] || ln -s usr/lib "$root/lib"
    rm -r "$root/apt"
    touch "$root/complete"
}

# What Meson has to know. usage: cross_file COMPILER
cross_file() {
    cat <<EOF
[binaries]
c = [$1, '--sysroot=$root']
ar = '$machine-ar'
strip = '$machine-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '$root']
[properties]
sys_root = '$root'
pkg_config_libdir = '$root/usr/lib/$machine/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
EOF
}

case $1 in
gcc) compiler="'$machine-gcc'" ;;
clang) compiler="'clang', '--target=$machine'" ;;
*) echo "gcc or clang, not $1" >&2 && exit 2 ;;
esac
tree=build-aarch64-$1
shift
# shellcheck disable=SC2046,SC2086
libraries $(printf '%s\n' $packages_build $packages_test | grep '^lib.*-dev$' |
    grep -v openblas) # kernels of CUDA are not run there
cross_file "$compiler" >"$root/$tree.ini"
build_tree "$tree" --cross-file "$root/$tree.ini" -Ddebug=false --werror \
    -Dtests=enabled -Dcuda=disabled
# Meson itself says this only to tests that have a program among their arguments.
export MESON_EXE_WRAPPER="qemu-aarch64 -L $root"
run_tests "$tree" "$@"
