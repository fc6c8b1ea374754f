#!/bin/bash
# Which parts of a network are worth what: variants of one shape, trained equally long, in bits a
# sample on held-out recordings. A run that is finished is not repeated and one that was interrupted
# goes on, so the same command makes the table in as many slices as it takes.
# usage: HISS=build/app/hiss bash ablation.sh --table mixers|inputs|context --data DIR --out DIR
#   --preset NAME      what is heard and how (default: digits for mixers, else piano)
#   --budget N         samples a run, such as 8M (default) or 100M
#   --seeds "0 1 2"    of weights, order and crops; all variants hear the same clips
#   --step N           samples an optimiser step (default 16384; context 65536)
#   --clip N           samples a training clip (default: digits 4096, else 16384)
#   --lr X             highest learning rate, of all variants (default: the preset's)
#   --split NAME       of the data, for the bits (default valid)
#   --backend NAME     cpu (default) or cuda; --threads N of the processor (default 1)
#   --jobs N           runs at once (default 1), as where small networks share a GPU
#   --deadline N       seconds: what is not finished by then waits for the next call (exit status 3)
# Needs bash, coreutils, python3 and python3-numpy. Writes OUT/TABLE.md and OUT/TABLE.json, context a
# picture besides. Speed of decoding is measured once a variant, when no run is left: where the machine
# was busy then, remove OUT/NAME.decode and call again.
set -eu
exec 3>&2
here=$(cd "$(dirname "$0")" && pwd)
hiss=${HISS:-build/app/hiss}
table='' data='' out='' preset='' budget=8M seeds='0 1 2' step='' clip='' lr='' split=valid
backend=cpu threads=1 jobs=1 deadline=0
while [ $# -gt 1 ]; do
    case $1 in
    --table | --data | --out | --preset | --budget | --seeds | --step | --clip | --lr | --split | \
        --backend | --threads | --jobs | --deadline) printf -v "${1#--}" '%s' "$2" ;;
    *) break ;;
    esac
    shift 2
done
if [ $# -gt 0 ] || [ -z "$data" ] || [ -z "$out" ]; then
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n 5,15p >&2
    exit 2
fi

count() { numfmt --from=si "${1/k/K}"; }
budget=$(count "$budget")
if [ -z "$preset" ]; then if [ "$table" = mixers ]; then preset=digits; else preset=piano; fi; fi
if [ -z "$step" ]; then if [ "$table" = context ]; then step=65536; else step=16384; fi; fi
if [ -z "$clip" ]; then if [ "$preset" = digits ]; then clip=4096; else clip=16384; fi; fi
step=$(count "$step") clip=$(count "$clip")
steps=$(((budget + step - 1) / step))
embedding=sinusoidal contexts=whole variants=''
if [ "$preset" = digits ]; then embedding=learned; fi
mkdir -p "$out"

# variant NAME CLIP KEY=VALUE...: a network of the table, over the one that all have in common.
variant() {
    local name=$1 of_clip=$2 line
    shift 2
    variants="$variants $name"
    declare -gA "clip_of[$name]=$of_clip"
    {
        printf '[model]\n'
        for line in layout=unet d_model=32 expand=2 up_shift=1 norm_eps=1e-5 d_conv=4 \
            mixer_expand=2 "$@"; do
            printf '%s = %s\n' "${line%%=*}" "${line#*=}"
        done
    } >"$out/$name.ini"
    "$hiss" info "$out/$name.ini" >"$out/$name.info"
}
declare -A clip_of

# States are chosen so that all have as many weights: s4 is S4D and a feed-forward layer, lti the
# Mamba block with an S4D inside, as the Mamba paper has them (arXiv 2312.00752, Table 5 and E.4.1).
mixers() {
    local shape=("pool=4,4" "layers=4" "embedding=$embedding")
    variant mamba-mamba "$clip" "${shape[@]}" mixer=selective state=real d_state=16 ff=0
    variant s4-s4 "$clip" "${shape[@]}" mixer=s4d state=complex d_state=18,20,22 ff=2
    variant s4-mamba "$clip" "${shape[@]}" mixer=s4d,s4d,selective state=complex,complex,real \
        d_state=18,20,16 ff=2,2,0
    variant mamba-s4 "$clip" "${shape[@]}" mixer=selective,selective,s4d state=real,real,complex \
        d_state=16,16,22 ff=0,0,2
    variant lti-lti "$clip" "${shape[@]}" mixer=lti state=complex d_state=9,10,11 ff=0
    variant lti-mamba "$clip" "${shape[@]}" mixer=lti,lti,selective state=complex,complex,real \
        d_state=9,10,16 ff=0
}

# Embedding and pools. Layers are chosen so that a sample costs all as many multiply-adds.
inputs() {
    local kind all=lti,lti,selective states=complex,complex,real
    for kind in learned sinusoidal; do
        variant "$kind-4-4" "$clip" pool=4,4 layers=4,4,4 mixer=$all state=$states d_state=16 ff=0 \
            embedding=$kind
        variant "$kind-16-16" "$clip" pool=16,16 layers=7,5,3 mixer=$all state=$states d_state=16 \
            ff=0 embedding=$kind
        variant "$kind-4-4-4" "$clip" pool=4,4,4 layers=4,3,2,2 mixer=lti,$all \
            state=complex,$states d_state=16 ff=0 embedding=$kind
        variant "$kind-2-4-4-2" "$clip" pool=2,4,4,2 layers=3,1,1,1,1 mixer=lti,lti,$all \
            state=complex,complex,$states d_state=16 ff=0 embedding=$kind
    done
}

# The length of training clips, at as many samples a step: the piano preset's network.
context() {
    local power
    contexts=1024,4096,16384,65536,whole
    for power in 10 12 14 16; do
        variant "clip-2^$power" $((1 << power)) pool=4,4,4 layers=4,4,2,1 \
            mixer=lti,lti,selective,selective state=complex,complex,real,real d_state=16 ff=0 \
            "embedding=$embedding"
    done
}

# What of a deadline is left, in seconds.
left() {
    if [ "$deadline" -eq 0 ]; then echo 1000000; else echo $((deadline - SECONDS)); fi
}

# bounded COMMAND...: false where the deadline came before its end.
bounded() {
    local time status=0
    time=$(left)
    if [ "$time" -lt 5 ]; then return 1; fi
    timeout -s INT -k 20 "$time" "$@" || status=$?
    if [ "$status" -eq 124 ]; then return 1; fi
    if [ "$status" -ne 0 ]; then
        echo "ablation: exit status $status of: $*" >&3
        tail -n 3 "$log" >&3
        exit 1
    fi
}

# run NAME SEED: trains and evaluates; false where the deadline came before.
run() {
    local name=$1 seed=$2 batch result folder log
    folder=$out/$name-$seed result=$out/$name-$seed.json log=$out/$name-$seed.out
    batch=$((step / clip_of[$name]))
    if [ "$batch" -lt 1 ]; then batch=1; fi
    if [ ! -s "$result" ]; then
        local length=("audio.clip_samples=${clip_of[$name]}")
        if [ "$preset" = digits ]; then length=("train.clip_samples=${clip_of[$name]}"); fi
        if [ -n "$lr" ]; then length+=("train.lr=$lr"); fi
        local sets=() setting ema=0.99
        if [ "$steps" -ge 5000 ]; then ema=0.999; fi
        for setting in "${length[@]}" "train.batch=$batch" "train.warmup=$((steps / 10))" \
            "train.ema=$ema" "train.log_every=$((steps / 40 + 1))" "train.valid_every=$steps" \
            train.valid_clips=16 train.sample_every=1000000000 train.checkpoint_every=1000000000; do
            sets+=(--set "$setting")
        done
        bounded "$hiss" train "$data" --preset "$preset" --config "$out/$name.ini" --run "$folder" \
            --steps "$steps" --seed "$seed" --backend "$backend" --threads "$threads" "${sets[@]}" \
            >>"$log" 2>&1 || return 1
        bounded "$hiss" eval "$folder" "$data" --split "$split" --context "$contexts" --json \
            --backend "$backend" --threads "$threads" >"$result.part" 2>>"$log" || return 1
        mv "$result.part" "$result"
    fi
}

# decode NAME: the speed of a network of this shape, sample by sample.
decode() {
    local decode=$out/$1.decode log=$out/$1.out
    if [ ! -s "$decode" ]; then
        bounded "$hiss" bench "$out/$1.ini" --only decode --threads 1 --backend cpu --quick --json \
            >"$decode.part" 2>>"$log" || return 1
        mv "$decode.part" "$decode"
    fi
}

# ended: waits for one of the runs.
ended() {
    local status=0
    wait -n || status=$?
    running=$((running - 1))
    case $status in
    0) ;;
    3) unfinished=$((unfinished + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
}

case $table in
mixers | inputs | context) "$table" ;;
*) echo "ablation: --table is mixers, inputs or context" >&2 && exit 2 ;;
esac

# Other settings would be other runs.
settings="$table $preset $split budget $budget step $step clip $clip lr ${lr:-preset} $backend"
if [ -s "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
    echo "ablation: $out was begun with: $(cat "$out/settings"); name another --out" >&2
    exit 2
fi
echo "$settings" >"$out/settings"
report() { "${PYTHON:-python3}" "$here/ablation.py" "$@" --out "$out" --variants "$variants" --seeds "$seeds"; }
report --check
unfinished=0 failed=0 running=0
for seed in $seeds; do
    for name in $variants; do
        if [ "$running" -ge "$jobs" ]; then ended; fi
        (run "$name" "$seed" || exit 3) &
        running=$((running + 1))
    done
done
while [ "$running" -gt 0 ]; do ended; done
if [ "$unfinished" -eq 0 ] && [ "$failed" -eq 0 ]; then
    for name in $variants; do
        decode "$name" || unfinished=$((unfinished + 1))
    done
fi
report
if [ "$failed" -gt 0 ]; then exit 1; fi
if [ "$unfinished" -gt 0 ]; then
    echo "ablation: $unfinished measurements wait for the next call" >&2
    exit 3
fi
