#!/bin/bash
# Ten minutes of hiss live with a small buffer, on a sound server of its own:
#   bash tests/audio/server.sh bash tests/app/soak.sh HISS [SECONDS] [BUFFER]
# Prints the session's own figures, and beside them how often a thread that sleeps a millisecond was
# left waiting for more than 15 ms: a gap that no buffer of 20 ms survives is the machine's.
set -u
hiss=$1 seconds=${2:-600} buffer=${3:-20ms}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O1 -o "$work/gaps" "$(dirname "$0")/gaps.c" || exit 1
pactl load-module module-null-sink sink_name=ear rate=48000 channels=2 format=float32le \
    norewinds=1 >/dev/null
"$work/gaps" "$seconds" >"$work/gaps.txt" &
gaps=$!
"$hiss" live --device ear --rate 48000 --buffer "$buffer" --seconds "$seconds" --seed 1 --anyway \
    </dev/null 2>"$work/err"
status=$?
wait $gaps
sed -n '1,3p;$p' "$work/err"
cat "$work/gaps.txt"
exit $status
