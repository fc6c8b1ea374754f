#!/bin/bash
# Ten minutes of a live session with a buffer of 20 ms, heard by nobody in real time, on JACK's dummy
# driver (48 kHz, 256 frames a period):
#   bash tests/app/soak.sh BUILD [SECONDS] [BUFFER_MS]
# On a machine that has other work, `chrt -r 5` before it shows what the program would do alone.
set -u
here=$(dirname "$(realpath "$0")")
build=$(realpath "$1")
command -v jackd >/dev/null || { echo "jackd2 is needed"; exit 77; }
export JACK_DEFAULT_SERVER=hiss-soak-$$
jackd -r -n "$JACK_DEFAULT_SERVER" -d dummy -r 48000 -p 256 >/dev/null 2>&1 &
jack=$!
trap 'kill $jack' EXIT
sleep 2
"$build/tests/app/soak" "$here/../../presets/digits.safetensors" system "${2:-600}" "${3:-20}"
