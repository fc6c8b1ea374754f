#!/bin/bash
# hiss live on the sinks of a sound server, run by tests/audio/server.sh: live.sh HISS MODEL EXPECTED
# HEARD.py [AUDIT.so]. What arrives there is compared with what hiss generate writes for the same seed.
set -u
hiss=$(realpath "$1") expected=$(realpath "$3") heard=$(realpath "$4")
audit=${5:+$(realpath "$5")}
model=$(realpath "$2") LC_ALL=C
export LC_ALL
work=$(mktemp -d)
# The program drops what libraries print to standard error, and sanitizers with them.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:log_path=$work/found"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:log_path=$work/found"
export TSAN_OPTIONS="${TSAN_OPTIONS:-} log_path=$work/found"
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

bad() {
    echo "FAILED: $*"
    [ -s err ] && sed 's/^/  err: /' err | tail -5
    cat found.* 2>/dev/null
    n_failed=$((n_failed + 1))
}

# ear RATE CHANNELS: a sink, its monitor being recorded to ear.raw.
ear() {
    module=$(pactl load-module module-null-sink sink_name=ear rate="$1" channels="$2" \
        format=float32le norewinds=1)
    parec --device=ear.monitor --raw --format=float32le --rate="$1" --channels="$2" \
        --latency-msec=50 >ear.raw &
    recorder=$!
    sleep 0.3
}
ear_end() {
    sleep 0.5
    kill $recorder
    wait $recorder 2>/dev/null
    pactl unload-module "$module"
}

# same RATE CHANNELS TAKE ARGUMENTS: heard at that device is the take, sample for sample. Tried again, twice,
# for one cause alone: the sound server did not run in time, so that nothing or too little arrived, or silence
# between the samples, while the program played without an underrun. A sample that differs fails at once.
same() {
    local try before=$n_failed
    for try in 1 2 3; do
        same_once "$@" >tried
        [ $n_failed = "$before" ] && return
        starved || break
        [ $try = 3 ] || n_failed=$before
    done
    cat tried
}
starved() {
    [ "$(grep -c '^FAILED' tried)" = 1 ] &&
        grep -qE 'channels: (nothing was heard|silence was put between samples|[0-9]+ samples of [0-9]+ were heard)$' tried
}
same_once() {
    local rate=$1 channels=$2 take=$3
    shift 3
    ear "$rate" "$channels"
    timeout 60 "$hiss" live "$model" --device ear --rate "$rate" --channels "$channels" --buffer 1s --anyway "$@" \
        >out 2>err </dev/null || bad "exit $? of hiss live $*"
    ear_end
    grep -q ' 0 underruns' err || bad "underruns in hiss live $*"
    "$expected" "$model" "$take" "$rate" >expected.raw ||
        bad "no expectation"
    /usr/bin/python3 -B "$heard" ear.raw expected.raw "$channels" >said 2>&1 ||
        bad "$rate Hz, $channels channels: $(cat said)"
}

"$hiss" generate "$model" --label three --seconds 1.5 --seed 5 -o three.wav 2>err || bad "no take"
"$hiss" generate "$model" --seconds 1.2 --seed 6 --temperature 0.9 -o free.wav 2>err || bad "no take"
sox three.wav start.wav trim 0 0.3
"$hiss" generate "$model" --prompt start.wav --seconds 1.0 --seed 9 -o after.wav 2>err || bad "no take"

same 8000 1 free.wav --prerender 1.2s --seed 6 --temperature 0.9
same 8000 1 three.wav --label three --seconds 1.5 --seed 5
same 48000 2 three.wav --label three --seconds 1.5 --seed 5 --threads 2
same 44100 1 free.wav --seconds 1.2 --seed 6 --temperature 0.9
same 192000 1 free.wav --seconds 1.2 --seed 6 --temperature 0.9 --threads 1
same 11025 4 free.wav --seconds 1.2 --seed 6 --temperature 0.9
same 16000 6 after.wav --prompt start.wav --seconds 1.0 --seed 9

# --- the callback: no memory, lock, file or sleep, also where sound is missing ----------------------
if [ -n "$audit" ]; then
    ear 48000 2
    timeout 60 env LD_PRELOAD="$audit" HISS_AUDIT_LOG=audit.log "$hiss" live "$model" --device ear --rate 48000 \
        --seconds 1.5 --anyway --buffer 5ms >out 2>err </dev/null ||
        bad "exit $? under audit"
    n=$(sed -n 's/ callbacks$//p' audit.log)
    [ "${n:-0}" -gt 30 ] || bad "only ${n:-no} callbacks were audited"
    for what in malloc lock write open sleep free; do
        timeout 60 env HISS_AUDIT_PROVOKE=$what LD_PRELOAD="$audit" "$hiss" live "$model" --device ear \
            --rate 48000 --seconds 0.6 --anyway >out 2>err </dev/null
        [ $? = 99 ] || bad "the audit does not notice $what"
    done
    ear_end
fi

# --- what is asked of it, and what it says ---------------------------------------------------------
# fails CODE TEXT ARGUMENTS: that exit code, one line that says TEXT.
fails() {
    local code=$1 text=$2 got
    shift 2
    timeout 30 "$hiss" live "$model" "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$code" ] || bad "exit $got, not $code, of: hiss live $*"
    grep -qF -- "$text" err || bad "no '$text' from: hiss live $*"
    [ "$(grep -c '^hiss' err)" = 1 ] || bad "not one line of error from: hiss live $*"
}
fails 1 'there is no sound device gramophone' --device gramophone
fails 2 'live' nowhere.safetensors # two models
fails 1 'there is no label' --label eleventy
fails 2 'from 1 to 64' --channels 129
fails 1 'Hz in 3 channels' --device ear --rate 700000 --channels 3
fails 2 'expected fp32' --precision fp7
fails 2 'choose one' --prompt start.wav --from start.wav
echo "no state" >state
fails 1 'bytes' --device tofile --anyway --from state
[ $n_failed = 0 ]
