#!/bin/bash
# hiss beside the yardsticks on this machine, in turns (A B C A B C ...), medians: figures of
# different minutes have no ratio. usage: against.sh HISS [decode] [train]
# In the environment: ROUNDS (5), SECONDS_EACH (3), and BEFORE, a command to go before each that is
# timed, say "taskset -c 2". See README.md.
set -eu
hiss=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
shift
parts=${*:-decode train}
rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3}
read -r -a before <<<"${BEFORE:-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The presets with the yardsticks' shapes: width, layers, name.
shapes="64:8:sc09-6m 32:4:digits"

"${CC:-cc}" -Ofast -march=native "$here/plain_step.c" -o "$work/plain_step" -lm
/usr/bin/python3 "$here/check.py" "$work/plain_step" >"$work/check" || { cat "$work/check"; exit 1; }

timed() { "${before[@]}" "$@" 2>"$work/err" || { cat "$work/err" >&2; exit 1; }; }

# field NAME: the value behind a name in a yardstick's line.
field() { awk -v name="$1" '{for (i = 1; i < NF; i++) if ($i == name) print $(i + 1)}'; }

# figure FILE SECTION ROW COLUMN: of hiss bench --json.
figure() {
    /usr/bin/python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["figures"][sys.argv[2]][sys.argv[3]][sys.argv[4]])' "$@"
}

median() { sort -g "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# ratio A B: of two files' medians.
ratio() { awk -v a="$(median "$1")" -v b="$(median "$2")" 'BEGIN {printf "%.2f", a / b}'; }

decode() {
    local width=$1 layers=$2 name=$3 precision way at=$work/$3.decode
    for ((i = 0; i < rounds; i++)); do
        timed "$work/plain_step" "$width" "$layers" "$seconds" | field us_per_sample >>"$at.plain"
        timed "$hiss" bench "$name" --only decode --threads 1 --json >"$at.json"
        for precision in fp32 fp16 int8; do
            for way in 'at once' 'spread out'; do
                figure "$at.json" "$name: decode" "$precision $way" mean_us \
                    >>"$at.$precision $way"
            done
        done
        timed /usr/bin/python3 "$here/torch_step.py" "$width" "$layers" "$seconds" |
            field us_per_sample >>"$at.torch"
    done
    echo "$name (width $width), one thread, us a sample:" \
        "plain C $(median "$at.plain"), PyTorch eager $(median "$at.torch")"
    for precision in fp32 fp16 int8; do
        for way in 'at once' 'spread out'; do
            echo "  hiss $precision $way $(median "$at.$precision $way"):" \
                "$(ratio "$at.plain" "$at.$precision $way") x plain C," \
                "$(ratio "$at.torch" "$at.$precision $way") x PyTorch"
        done
    done
}

train() {
    local width=$1 layers=$2 name=$3 clip=$4 threads row at=$work/$3.train.$4
    for ((i = 0; i < (rounds + 1) / 2; i++)); do
        timed "$hiss" bench "$name" --only train --clip "$clip" --threads 2 --json >"$at.json"
        for threads in 1 2; do
            row="$threads thread"
            [ "$threads" = 1 ] || row+=s
            figure "$at.json" "$name: training" "$row" samples/s >>"$at.hiss.$threads"
            # OpenBLAS's own threads and PyTorch's would wait for each other
            OPENBLAS_NUM_THREADS=1 timed /usr/bin/python3 "$here/torch_train.py" "$width" \
                "$layers" "$clip" 1 "$threads" | field samples_per_s >>"$at.torch.$threads"
        done
    done
    echo "$name (width $width), training on clips of $clip, samples/s:"
    for threads in 1 2; do
        echo "  $threads thread(s): hiss $(median "$at.hiss.$threads")," \
            "PyTorch $(median "$at.torch.$threads"):" \
            "$(ratio "$at.hiss.$threads" "$at.torch.$threads") x"
    done
    for threads in 1 2; do
        echo "  hiss on 2 threads is $(ratio "$at.hiss.2" "$at.torch.$threads") x" \
            "PyTorch on $threads"
    done
}

for part in $parts; do
    for shape in $shapes; do
        IFS=: read -r width layers name <<<"$shape"
        case $part in
            decode) decode "$width" "$layers" "$name" ;;
            train)
                train "$width" "$layers" "$name" 4096
                [ "$width" = 32 ] || train "$width" "$layers" "$name" 16384
                ;;
            *)
                echo "against.sh: there is no part $part: decode, train" >&2
                exit 2
                ;;
        esac
    done
done
