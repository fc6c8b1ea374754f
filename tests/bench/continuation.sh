#!/bin/bash
# A recording, cut: a part of it is the prompt, and what a model makes of it stands beside what really
# followed, as sound and as one sheet of spectrograms on the same scales.
# usage: HISS=build/app/hiss bash continuation.sh MODEL RECORDING OUT [FROM [SECONDS [SEEDS]]]
#   FROM: where the prompt begins, in seconds (0); SECONDS: of prompt and of continuation (4); SEEDS: one
#   continuation each ("1"). Choose none of them by ear, or say so.
# A model hears a prompt at full scale if it was trained so; its continuation is brought back to the
# prompt's level here, so that the three panels can be compared.
# Needs sox. Writes OUT/prompt.wav, continuation-SEED.wav, original.wav, the whole as whole-SEED.wav, and
# OUT/sheet.png.
set -eu
hiss=${HISS:-build/app/hiss}
if [ $# -lt 3 ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n 4,6p >&2
    exit 2
fi
model=$1 recording=$2 out=$3 from=${4:-0} seconds=${5:-4} seeds=${6:-1}
mkdir -p "$out"
sox "$recording" "$out/prompt.wav" trim "$from" "$seconds"
sox "$recording" "$out/original.wav" trim "$(awk "BEGIN {print $from + $seconds}")" "$seconds"
peak=$(sox "$out/prompt.wav" -n stat 2>&1 | awk '/^(Maximum|Minimum) amplitude/ {
    if ($3 < 0) $3 = -$3; if ($3 > peak) peak = $3 } END { print peak }')
sheet=("$out/prompt.wav")
for seed in $seeds; do
    "$hiss" generate "$model" --prompt "$out/prompt.wav" --seconds "$seconds" --seed "$seed" \
        -o "$out/full-scale-$seed.wav"
    sox "$out/full-scale-$seed.wav" "$out/continuation-$seed.wav" vol "$peak"
    rm "$out/full-scale-$seed.wav"
    sox "$out/prompt.wav" "$out/continuation-$seed.wav" "$out/whole-$seed.wav"
    sheet+=("$out/continuation-$seed.wav")
done
"$hiss" plot "${sheet[@]}" "$out/original.wav" -o "$out/sheet.png"
