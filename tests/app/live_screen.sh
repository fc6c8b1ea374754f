#!/bin/bash
# hiss live in a terminal (tmux), on ALSA's null device: keys are typed, the screen is read, the
# terminal comes back, and the recording can be made again. live_screen.sh HISS PRESETS
set -u
hiss=$(realpath "$1") HISS_PRESETS=$(realpath "$2")
export HISS_PRESETS
if ! command -v tmux >/dev/null; then
    echo "tmux is needed for a terminal"
    exit 77
fi
work=$(mktemp -d)
cd "$work" || exit 1
socket=$work/tmux
leave() {
    tmux -S "$socket" kill-server 2>/dev/null
    rm -rf "$work"
}
trap leave EXIT
printf 'pcm.!default { type null }\nctl.!default { type null }\n' >asound.conf
export ALSA_CONFIG_PATH=$work/asound.conf
# The program drops what libraries print to standard error, and sanitizers with them.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:log_path=$work/found"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:log_path=$work/found"
export TSAN_OPTIONS="${TSAN_OPTIONS:-} log_path=$work/found"
n_failed=0

screen() { tmux -S "$socket" capture-pane -p -t live; }
bad() {
    echo "FAILED: $*"
    screen 2>/dev/null | sed 's/^/  screen: /'
    [ -s err ] && sed 's/^/  err: /' err | tail -5
    cat found.* 2>/dev/null
    n_failed=$((n_failed + 1))
}
# shows TEXT: within some seconds (the machine may be busy) the screen says so.
shows() {
    for _ in $(seq 150); do
        screen | grep -qE -- "$1" && return
        sleep 0.1
    done
    bad "the screen does not show '$1'"
}
key() { tmux -S "$socket" send-keys -t live "$@"; }
# begin COLUMNS ROWS LOCALE ARGUMENTS: a session, in a shell that says how it ended.
begin() {
    local columns=$1 rows=$2 locale=$3
    shift 3
    tmux -S "$socket" -f /dev/null -u new-session -d -s live -x "$columns" -y "$rows" \
        "stty -a >before; LC_ALL=$locale '$hiss' live digits --anyway --buffer 300ms $* 2>err; echo left \$?; stty -a >after; sleep 60"
    shows 'hiss live  digits'
}
end() { tmux -S "$socket" kill-session -t live; }

begin 80 24 C.UTF-8 --label three --seed 5 --record set.wav
shows 'playing  REC set.wav'
shows 'label three'
shows 'seed 5'
for text in 'q leave' 'space pause' 's 1-9 snapshot' 'o prompt file' 'w save state' 'underruns' \
    'top-p 0.980' 'guidance 2.0' 'x real time, slowest' 'guard 0'; do shows "$text"; done
key T && shows 'temperature 1.05'
key t t && shows 'temperature 0.95'
key p && shows 'top-p 0.970'
key l && shows 'label two'
key n && shows 'seed 6'
key 4 && shows 'slot 4 is empty'
key s && shows 'snapshot into which slot'
key 1 && shows 'slots 1 '
key m && shows ' muted'
key m && shows ' playing'
key f && shows ' frozen'
key f && shows ' playing'
key r && shows 'seed 7'
key s 2 && shows 'slots 1 2 '
key x 1 2
key 1 && shows 'seed 6'
key o && shows 'prompt file .Enter hears it, Esc leaves it.: _'
key n i x && shows ': nix_'
key Enter && shows 'nix: cannot open'
key w && shows 'state-6-0.hiss'
key i && shows 'listening to the mic'
key i && shows 'the prompt is nearly silent|the first 0.50 s are heard'
key Space && shows ' paused'
key Space && shows ' playing'
tmux -S "$socket" resize-window -t live -x 120 -y 40 && shows 'key to ear'
tmux -S "$socket" resize-window -t live -x 30 -y 8 && shows 'too small; q leaves'
tmux -S "$socket" resize-window -t live -x 80 -y 24 && shows 'm mute'
screen | grep -q '█' || bad "no blocks on a UTF-8 terminal"
key c && shows 'set.wav: [0-9.]+ s'
key q && shows 'left 0'
cmp -s before after || bad "the terminal is not as it was"
end
"$hiss" again set.wav >out 2>err || bad "the recording cannot be made again"
grep -q 'set.wav: the same bytes' out || bad "the recording is not the same again: $(cat out)"
for action in temperature top-p label seed snapshot mute freeze rewind morph recall pause; do
    grep -q "\"action\":\"$action\"" set.wav.events || bad "no $action in the event log"
done
[ -s state-6-0.hiss ] || bad "no state was saved"

# The log is gone; it tells a recording that lost samples.
mv set.wav.events log
"$hiss" again set.wav >out 2>err && bad "again without a log"
grep -q 'without its event log set.wav.events it cannot be made again' err || bad "no word of the log"
sed 's/"begins"/"lost":true,"begins"/' log >set.wav.events
"$hiss" again set.wav >out 2>err && bad "again with a log that says samples were lost"
grep -q 'was lost while it was recorded' err || bad "no word of what was lost"

# ASCII; begins with the saved state; a signal gives the terminal back, and finishes the recording.
begin 80 24 C --from state-6-0.hiss --seed 6 --record from.flac
shows 'REC from.flac'
screen | LC_ALL=C grep -q '[^ -~]' && bad "more than ASCII on an ASCII terminal"
pid=$(tmux -S "$socket" list-panes -t live -F '#{pane_pid}')
kill -TERM "$(pgrep -P "$pid" | head -1)"
shows 'left 143'
cmp -s before after || bad "the terminal is not as it was after a signal"
end
"$hiss" again from.flac >out 2>err || bad "what began with a state cannot be made again"
grep -q 'from.flac: the same' out || bad "what began with a state is not the same again: $(cat out)"

# Ctrl-C, typed.
begin 80 24 C.UTF-8 --seed 6 --record interrupted.wav
shows 'REC interrupted.wav'
key C-c && shows 'left 130'
cmp -s before after || bad "the terminal is not as it was after Ctrl-C"
[ -e interrupted.wav ] || bad "Ctrl-C leaves no recording"
end

# The terminal is closed: it ends, and the recording is whole.
begin 80 24 C.UTF-8 --seed 6 --record closed.wav
shows 'REC closed.wav'
end
for _ in $(seq 100); do [ -e closed.wav ] && break; sleep 0.1; done
[ -e closed.wav ] || bad "a closed terminal leaves no recording"

# Without a terminal: lines; for programs, JSON.
"$hiss" live digits --anyway --seconds 1 --buffer 300ms --json >out 2>err </dev/null || bad "--json fails"
/usr/bin/python3 -c '
import json, sys
lines = [json.loads(line) for line in open("out")]
assert lines and all(k in lines[0] for k in ("time_s", "level_db", "bits", "underruns", "seed")), lines
' || bad "--json is no JSON"
"$hiss" live digits --anyway --seconds 1 --buffer 300ms >out 2>err </dev/null || bad "live without a terminal fails"
grep -q 'bits a sample.*underruns' err || bad "no status line without a terminal"

# A model that no machine makes in time: refused in one line that says what would do; --anyway warns
# and plays, --prerender plays whole (a sanitizer can be too slow even for what is ready).
/usr/bin/python3 - "$HISS_PRESETS/digits.safetensors" fast.safetensors <<'PYTHON' || bad "no fast model"
import json, sys
data = open(sys.argv[1], "rb").read()
n = int.from_bytes(data[:8], "little")
header = json.loads(data[8 : 8 + n])
config = json.loads(header["__metadata__"]["hiss.config"]) | {"sample_rate": 384000}
header["__metadata__"]["hiss.config"] = json.dumps(config)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[2], "wb").write(len(text).to_bytes(8, "little") + text + data[8 + n :])
PYTHON
"$hiss" live ./fast.safetensors >out 2>err </dev/null
[ $? = 1 ] || bad "too slow a model is played"
[ "$(wc -l <err)" = 1 ] || bad "not one line about too slow a model"
for text in 'makes 0\.[0-9]* s of sound a second here, too slow' 'a smaller model, another --backend' \
    '--prerender 10s \([0-9]+ s of waiting\)' '--anyway plays with gaps'; do
    grep -qE -- "$text" err || bad "no '$text' about too slow a model"
done
"$hiss" live ./fast.safetensors --anyway --seconds 0.01 >out 2>err </dev/null || bad "--anyway fails"
grep -q 'too slow to play as it is made: the buffer lasts 0\.[0-9]* s' err || bad "--anyway does not warn"
"$hiss" live ./fast.safetensors --prerender 0.1s >out 2>err </dev/null || bad "--prerender fails"
whole='^0.1 s, .* 0 underruns'
if grep -qE '__(asan|tsan)_init' "$hiss"; then whole='^0.1 s, -'; fi
grep -q "$whole" err || bad "what was made before does not play whole"

# No device: one line. (Sound cards that this machine has would be found all the same.)
printf 'pcm.nothing { type hw\n card 99 }\nctl.nothing { type hw\n card 99 }\n' >nothing.conf
grep -q '\]: ' /proc/asound/cards 2>/dev/null || {
    ALSA_CONFIG_PATH=nothing.conf "$hiss" live digits >out 2>err </dev/null
    [ $? = 1 ] || bad "live without a device does not fail"
    [ "$(cat err)" = 'hiss: no sound device here: connect one or start a sound server (hiss live --list-devices shows what there is), or write a file with hiss generate' ] ||
        bad "not one line about no device"
}

# The guard winds a session back that ran away, and what it did is made again too.
"$hiss" live digits --anyway --temperature 4 --guidance 1 --seed 1 --seconds 8 --buffer 300ms \
    --record hot.wav >out 2>err </dev/null || bad "a hot session fails"
grep -q 'guard: noise; wound back' err || bad "the guard did not step in"
grep -q '"action":"rewind"' hot.wav.events || bad "the guard's rewind is not in the log"
grep -q '"action":"temperature"' hot.wav.events || bad "the guard's temperature is not in the log"
"$hiss" again hot.wav >out 2>err || bad "a guarded session cannot be made again"
grep -q 'hot.wav: the same bytes' out || bad "a guarded session is not the same again: $(cat out)"
"$hiss" live digits --anyway --temperature 4 --guidance 1 --seed 1 --seconds 8 --buffer 300ms \
    --no-guard >out 2>err </dev/null || bad "--no-guard fails"
grep -q 'guard: noise' err && bad "--no-guard guards"

[ $n_failed = 0 ] && echo "all well" || echo "$n_failed failed"
[ $n_failed = 0 ]
