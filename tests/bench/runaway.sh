#!/bin/bash
# How long takes stay on the road, with and without the guard: runaway.sh HISS OUT [MINUTES] [SEEDS]
# Trains a small model on plucked strings (sox; a minute on two cores), makes takes of it and of the
# bundled model at temperatures far too hot, and has runaway.py, which knows nothing of the guard's
# own measures, say when each ran away. Prints a table; OUT/takes.txt has a line a take.
#   JOBS=16      so many takes at once, a thread each; the table is the same
#   PYTHON=...   one with numpy, if not Debian's
# OUT/plucks and OUT/run are made where they are not there yet: brought along, they need no sox.
set -eu
hiss=$(realpath "$1") out=$2 minutes=${3:-10} seeds=${4:-"1 2 3"} jobs=${JOBS:-1}
judge=$(realpath "$(dirname "$0")/runaway.py")
python=${PYTHON:-/usr/bin/python3}
mkdir -p "$out" && cd "$out"
notes=(220 247 262 294 330 349 392 440 523 587 659)
if [ ! -d plucks ]; then
    mkdir -p plucks.part
    for i in $(seq 24); do
        parts=()
        for j in $(seq 12); do
            sox -R -n -r 8000 -b 16 "part$j.wav" synth 0.$((2 + (i + j) % 4)) pluck \
                ${notes[$(((i * 7 + j * (3 + i % 5)) % 11))]} gain -3 fade 0 -0 0.02
            parts+=("part$j.wav")
        done
        sox "${parts[@]}" "plucks.part/$i.wav"
        rm "${parts[@]}"
    done
    mv plucks.part plucks
fi
[ -e run/best/model.safetensors ] || "$hiss" train plucks --preset tiny --run run 2>train.log
"$hiss" generate digits --count 20 --seed 1 -o words/ 2>/dev/null

# take MINUTES NAME MODEL DATA TEMPERATURE GUARD SEED: makes it, and leaves its line in takes/.
take() {
    local name=takes/$2-$5-$6-$7 count
    "$hiss" generate "$3" --seconds "$1min" --seed "$7" --temperature "$5" "--$6" \
        --threads "$threads" -o "$name.wav" 2>"$name.said"
    count=$(sed -n 's/.*stepped in \([0-9]*\) time.*/\1/p' "$name.said")
    echo "$2 $5 $6 $7 ${count:-0} $("$python" -B "$judge" "$4" "$name.wav")" >"$name.line"
    rm "$name.wav"
}
threads=0 # all there are
if [ "$jobs" -gt 1 ]; then threads=1; fi
export hiss judge python threads
export -f take

# takes NAME MODEL DATA TEMPERATURE...: of every temperature and seed one with and one without.
takes() {
    local name=$1 model=$2 data=$3 temperature seed guard
    shift 3
    for temperature; do
        for guard in no-guard guard; do
            for seed in $seeds; do
                echo "$minutes $name $model $data $temperature $guard $seed"
            done
        done
    done
}
{
    takes plucks ./run plucks 1 1.5 2
    takes digits digits words 1.5 2
} >wanted.txt
rm -rf takes && mkdir takes
xargs -P "$jobs" -L 1 bash -euc 'take "$@"' take <wanted.txt
while read -r _ name _ _ temperature guard seed; do
    cat "takes/$name-$temperature-$guard-$seed.line"
done <wanted.txt | tee takes.txt | awk '
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
