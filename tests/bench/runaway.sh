#!/bin/bash
# How long takes stay on the road, with and without the guard: runaway.sh HISS OUT [MINUTES] [SEEDS]
# Trains a small model on plucked strings (sox; a minute on two cores), makes takes of it and of the
# bundled model at temperatures far too hot, and has runaway.py, which knows nothing of the guard's
# own measures, say when each ran away. Prints a table.
set -eu
hiss=$(realpath "$1") out=$2 minutes=${3:-10} seeds=${4:-"1 2 3"}
judge=$(realpath "$(dirname "$0")/runaway.py")
mkdir -p "$out/plucks" && cd "$out"
notes=(220 247 262 294 330 349 392 440 523 587 659)
if [ ! -e run/best/model.safetensors ]; then
    for i in $(seq 24); do
        parts=()
        for j in $(seq 12); do
            sox -R -n -r 8000 -b 16 "part$j.wav" synth 0.$((2 + (i + j) % 4)) pluck \
                ${notes[$(((i * 7 + j * (3 + i % 5)) % 11))]} gain -3 fade 0 -0 0.02
            parts+=("part$j.wav")
        done
        sox "${parts[@]}" "plucks/$i.wav"
        rm "${parts[@]}"
    done
    "$hiss" train plucks --preset tiny --run run 2>train.log
fi
"$hiss" generate digits --count 20 --seed 1 -o words/ 2>/dev/null

# takes NAME MODEL DATA TEMPERATURE...: of every temperature and seed one with and one without.
takes() {
    local name=$1 model=$2 data=$3 temperature seed guard
    shift 3
    for temperature; do
        for guard in no-guard guard; do
            for seed in $seeds; do
                "$hiss" generate "$model" --seconds "${minutes}min" --seed "$seed" \
                    --temperature "$temperature" --$guard -o take.wav 2>said
                count=$(sed -n 's/.*stepped in \([0-9]*\) time.*/\1/p' said)
                echo "$name $temperature $guard $seed ${count:-0} $(/usr/bin/python3 -B "$judge" "$data" take.wav)"
            done
        done
    done
}
{
    takes plucks ./run plucks 1 1.5 2
    takes digits digits words 1.5 2
} | tee takes.txt | awk '
{
    key = $1 " " $2 " " $3
    if (!(key in n)) order[++keys] = key
    n[key]++; count[key] += $5; first[key] += $6; off[key] += $7; held[key] += $8
}
END {
    print "model, temperature, guard | stepped in a take | minutes to the first 2 s off the road | takes never off | seconds off in a hundred"
    for (i = 1; i <= keys; i++) {
        k = order[i]
        printf "%s | %.1f | %.2f | %d of %d | %.1f\n", k, count[k] / n[k], first[k] / n[k] / 60, held[k], n[k], 100 * off[k] / n[k]
    }
}'
