#!/bin/sh
# How well a model's digits are recognised: TAKES takes a digit, seeds 1 to TAKES, default settings,
# none left out, heard by the classifier that was trained on the real training clips.
# usage: bundled.sh HISS MODEL DATA TAKES OUT [generate options]; DATA holds train/ and test/
set -eu
hiss=$1 model=$2 data=$3 takes=$4 out=$5
shift 5
here=$(dirname "$(realpath "$0")")

for digit in zero one two three four five six seven eight nine; do
    mkdir -p "$out/takes/$digit"
    for seed in $(seq "$takes"); do
        echo "$digit $seed"
    done
done | xargs -P "$(nproc)" -L 1 sh -c '
    "$1" generate "$2" --label "$5" --seed "$6" --threads 1 $4 -o "$3/takes/$5/seed-$6.wav" \
        2>>"$3/log" || exit 255' sh "$hiss" "$model" "$out" "$*"

export OPENBLAS_NUM_THREADS=1
/usr/bin/python3 -B "$here/classifier.py" "$out/classifier" --data "$data" >"$out/classifier.txt"
/usr/bin/python3 -B "$here/score.py" "$out/takes" --data "$data" \
    --weights "$out/classifier/digits.npz" | tee "$out/score.txt"
