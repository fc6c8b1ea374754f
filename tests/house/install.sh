#!/bin/sh
# What `meson install` puts down is enough to build and run another project's program, and the
# installed program finds its presets. usage: install.sh BUILD SOURCE MODEL LABEL
set -eu
build=$1 source=$2 model=$3 label=$4
emulator=${MESON_EXE_WRAPPER:-} # set where it was built for another machine
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

DESTDIR=$root meson install -C "$build" --no-rebuild --quiet
pc=$(find "$root" -name hiss.pc)
lib=$(dirname "$(find "$root" -name 'libhiss.so')")
PKG_CONFIG_PATH=$(dirname "$pc") PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
# shellcheck disable=SC2046
${CC:-cc} -std=c17 -Wall -Wextra -Werror "$source/tests/house/example.c" -o "$root/example" \
    $(pkg-config --cflags --libs hiss)
for take in a b; do
    LD_LIBRARY_PATH=$lib $emulator "$root/example" "$model" "$label" >"$root/$take.raw"
done
test "$(wc -c <"$root/a.raw")" -eq 16000
cmp "$root/a.raw" "$root/b.raw"

# Only hiss_* is visible: nothing of ours can clash with another program's names.
if nm -D --defined-only "$lib/libhiss.so" | grep -v ' hiss_'; then exit 1; fi
# The library needs no audio library.
if readelf -d "$lib/libhiss.so" |
    grep -E 'NEEDED.*(sndfile|soxr|fftw|portaudio|cairo|ncurses)'; then exit 1; fi

installed=$(find "$root" -type f -name hiss -perm -u+x)
test -f "$(dirname "$installed")/../share/hiss/presets/digits.ini"
$emulator "$installed" presets | grep -q digits
echo "installed, linked, sang"
