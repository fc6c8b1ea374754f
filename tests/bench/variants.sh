#!/bin/sh
# What costs what: the digits shape and five others, trained equally long, in validation bits a
# sample. One line a run: variant, seed, bits; a run that is there already is not trained again,
# and one that was interrupted goes on.
# usage: variants.sh HISS DATA OUT [SEEDS] [STEPS]     (DATA: a folder with train/LABEL/*.flac)
set -eu
hiss=$1 data=$2 out=$3 seeds=${4:-0 1 2} steps=${5:-500}
mkdir -p "$out"

# run NAME SEED SETTING...: 4 clips of half a second a step, learning rate down to the end.
run() {
    name=$1 seed=$2
    shift 2
    folder=$out/$name-$seed
    result=$folder/validation
    if [ ! -s "$result" ]; then
        for setting in "$@"; do set -- "$@" --set "$setting"; shift; done
        "$hiss" train "$data" --preset digits --run "$folder" --steps "$steps" \
            --set "train.seed=$seed" --set train.batch=4 --set train.clip_samples=4096 \
            --set "train.warmup=$((steps / 10))" --set "train.valid_every=$steps" \
            --set "train.sample_every=$steps" --set "train.checkpoint_every=$steps" "$@" \
            >"$folder.out" 2>&1
        "$hiss" eval "$folder" "$data" --split valid --json >"$result.new" 2>>"$folder.out"
        mv "$result.new" "$result"
    fi
    echo "$name $seed $(sed -n 's/^ *"bits": \([0-9.]*\),/\1/p' "$result" | head -n 1)"
}

for seed in $seeds; do
    run as-it-is "$seed" model.up_shift=1
    run up-shift-2 "$seed" model.up_shift=2
    run plain "$seed" model.layout=plain
    run lti-outside "$seed" model.mixer=lti,selective,selective
    run lti-twice "$seed" model.mixer=lti,lti,selective
    run states-8 "$seed" model.d_state=8
done
