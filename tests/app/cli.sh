#!/bin/bash
# The program from the outside: cli.sh HISS PRESETS cairo|no-cairo. Makes its own sound (sox), trains a model of a
# few hundred weights on it, and holds every command to its exit code, its files and its messages.
set -u
hiss=$(realpath "$1")
HISS_PRESETS=$(realpath "$2") LC_ALL=C pictures=$3
export HISS_PRESETS LC_ALL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

bad() {
    echo "FAILED: $*"
    [ -s out ] && tr -cd '[:print:]\n' <out | cut -c 1-200 | sed 's/^/  out: /' | head -5
    [ -s err ] && sed 's/^/  err: /' err | tail -5
    n_failed=$((n_failed + 1))
    [ $n_failed -lt 10 ] || { echo "ten failures: no more"; exit 1; }
}

# works COMMAND...: exit 0. Standard output is left in `out`, standard error in `err`.
works() { "$hiss" "$@" >out 2>err </dev/null || bad "exit $? of: hiss $*"; }

# fails CODE TEXT COMMAND...: that exit code, and TEXT in one line on standard error.
fails() {
    local code=$1 text=$2 got
    shift 2
    "$hiss" "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$code" ] || bad "exit $got, not $code, of: hiss $*"
    grep -v '^warning: ' err | grep -qF -- "$text" || bad "no '$text' from: hiss $*"
    [ "$(grep -c '^hiss' err)" = 1 ] || bad "not one line of error from: hiss $*"
    [ ! -s out ] || bad "an error on standard output: hiss $*"
}

says() { grep -qE -- "$1" "$2" || bad "no '$1' in $2"; }
same() { cmp -s "$1" "$2" || bad "$1 and $2 differ"; }
differ() { cmp -s "$1" "$2" && bad "$1 and $2 are the same"; }
there() { for f; do [ -e "$f" ] || bad "$f is not there"; done; }
gone() { for f; do [ ! -e "$f" ] || bad "$f is there"; done; }
samples() { [ "$(soxi -s "$1" 2>/dev/null)" = "$2" ] || bad "$1 has not $2 samples"; }

[ -x "$hiss" ] || { echo "there is no program $1"; exit 1; }
if [ -n "${MESON_EXE_WRAPPER:-}" ]; then # built for another machine, which that command emulates
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$MESON_EXE_WRAPPER" "$hiss" >emulated
    chmod +x emulated
    hiss=$work/emulated
fi
if ! command -v sox >/dev/null; then
    echo "sox is needed to make sound"
    exit 77
fi

# --- data, settings -------------------------------------------------------------------------------
for i in 1 2 3 4 5 6; do
    for split in train test; do
        mkdir -p data/$split/low data/$split/high
        sox -R -n -r 2000 -b 16 data/$split/low/$i.wav synth 0.2 sine $((100 + 5 * i)) vol 0.5
        sox -R -n -r 2000 -b 16 data/$split/high/$i.wav synth 0.2 sine $((600 + 9 * i)) vol 0.4
    done
done
mkdir empty plain && cp data/train/low/1.wav plain/
cat >micro.ini <<'INI'
[preset]
summary = for the tests
[audio]
sample_rate = 2000
clip = whole
clip_samples = 250ms
[model]
d_model = 4
layers = 1
pool = 4
d_state = 2
[data]
labels = folders
license = CC0-1.0
[train]
steps = 20
batch = 2
lr = 1e-2
min_lr = 1e-2 ; a constant rate: longer runs begin as shorter ones
warmup = 0
log_every = 5
valid_every = 10
valid_clips = 2
checkpoint_every = 5
sample_every = 20
[sample]
temperature = 0.9
INI
sed 's/clip = whole/clip = crop/; s/steps = 20/steps = 5/; s/folders/none/' micro.ini >crop.ini

# --- help, version, wrong words -------------------------------------------------------------------
works --version && says '^hiss [0-9]+\.[0-9]+' out
works --help && says 'generate' out
for command in generate again live train eval compare plot info presets bench; do
    works $command --help && says "usage: hiss $command" out
done
says 'default tiny' <("$hiss" train --help)
"$hiss" >out 2>err
[ $? = 2 ] || bad "hiss alone is wrong usage"
for words in --help --version presets 'train --help' 'info sc09-6m'; do
    # shellcheck disable=SC2086
    "$hiss" $words 2>err >/dev/full
    [ $? = 1 ] || bad "exit 0 on a full disk: hiss $words"
    says '^hiss.*cannot write to standard output: No space' err
done
fails 2 'there is no command sing' sing
fails 2 'there is no option --loud' generate --loud
fails 2 '--seconds needs a value' generate --seconds
fails 2 '--seconds 5 apples: expected a time like 80ms' generate --seconds '5 apples'
fails 2 '--count 0: expected a whole number like 12, 16k or 2M, from 1' generate --count 0
fails 2 '--top-p 1.5: expected a number' generate --top-p 1.5
fails 2 '--keep 3 of --count 2' generate --count 2 --keep 3
fails 2 '--with-prompt needs a --prompt' generate --with-prompt
fails 2 'one word too many: b' generate ./a b
fails 2 'expected DATA' train
fails 2 '--set lr: expected section.key=value' train data --set lr
fails 2 'there is no setting train.rate; [train] has seed' train data --set train.rate=1
fails 2 'train.lr = fast: expected a number from 0 to 10' train data --set train.lr=fast
fails 2 'model.layers = 1 9,1,2: expected whole numbers' train data --set 'model.layers=1 9,1,2'
fails 2 'audio.normalize = none|peak: expected one of' train data --set 'audio.normalize=none|peak'
fails 2 'from 1 to 4096' train data --set model.d_model=65536
fails 2 '--steps 1.5: expected a whole number' train data --steps 1.5
fails 2 'expected MODEL DATA' eval data
fails 2 '--split no: expected train, valid, test or all' eval x data --split no
fails 2 '--context 5 apples: expected whole or a length' eval x data --context '5 apples'
fails 2 '--context 1k,,2k: expected whole' eval x data --context 1k,,2k
fails 2 'expected MODEL|PRESET' info
fails 2 'expected GENERATED REFERENCE' compare data
fails 2 'expected FILE...|RUN...' plot
fails 2 'expected -o FILE.png' plot x.wav
fails 2 'one word too many' presets all

# --- training -------------------------------------------------------------------------------------
works train data --preset ./micro.ini --run a --threads 1
there a/settings.ini a/log.ndjson a/index.ndjson a/samples/step-20.wav a/step-20/model.safetensors \
    a/step-20/train.safetensors a/best/model.safetensors a/data/train
gone a/step-5 a/step-20.part a/samples/.model.safetensors
samples a/samples/step-20.wav 500
says '^clip_samples = 500$' a/settings.ini
says '"step":10,.*"valid_bits":' a/log.ndjson
says '"fate":"padded".*"label":"low"' a/index.ndjson
[ "$(wc -l <a/log.ndjson)" = 4 ] || bad "log.ndjson has not 4 lines"
if [ $pictures = cairo ]; then there a/curve.png a/samples/step-20.png
else gone a/curve.png a/samples/step-20.png; fi
gone a/curve.png.part a/samples/step-20.png.part

# Ten steps, resumed for ten more, with another number of threads: the same bits as twenty.
works train data --preset ./micro.ini --run b --steps 10 --threads 2
printf '{"step":15,"bits":1}\n{"torn' >>b/log.ndjson # as a crash leaves it
works train --run b --steps 20 --set train.log_every=1
says 'resumed at step 10' err
grep -qE 'torn|"bits":1}' b/log.ndjson && bad "the log keeps lines from after the checkpoint"
for f in model.safetensors train.safetensors progress.json; do same a/step-20/$f b/step-20/$f; done
same a/samples/step-20.wav b/samples/step-20.wav
says '^steps = 20$' b/settings.ini
works train --run b && says 'done: 20 steps' err
works train data --preset ./micro.ini --run b && says 'done: 20 steps' err # the same command

# The same where states are carried from clip to clip, interrupted between two of them.
carry='--set train.carry=3 --set audio.clip_samples=100'
# shellcheck disable=SC2086
works train data --preset ./crop.ini --run carry-a --steps 12 --threads 1 $carry
says 'states go on over 3 windows of 100 samples, 0.2 s' err
says '"carried_s":0\.[0-9]*,"carried_most_s":0\.1,"carried_most":2' carry-a/log.ndjson
# shellcheck disable=SC2086
works train data --preset ./crop.ini --run carry-b --steps 5 --threads 2 $carry
works train --run carry-b --steps 12
for f in model.safetensors train.safetensors; do same carry-a/step-12/$f carry-b/step-12/$f; done
fails 1 'needs audio.clip = crop' train data --preset ./micro.ini --run carry-c --set train.carry=2

# A run stopped by a signal ends in order, and goes on as if it had not.
"$hiss" train data --preset ./micro.ini --run c --steps 1M >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && ! compgen -G 'c/step-*/progress.json' >/dev/null; do sleep 0.05; done
fails 1 'c is in use by another hiss train' train --run c
kill -INT $pid # twice: a terminal and timeout(1) tell a program and its group
kill -INT $pid
wait $pid
[ $? = 130 ] || bad "Ctrl-C in train does not exit 130"
says 'stopped at step [0-9]+; hiss train --run .*c goes on' err
last=$(ls -d c/step-* | sed 's/.*-//' | sort -n | tail -1)
works train --run c --steps $((last + 5)) && there c/step-$((last + 5))/train.safetensors
[ "$(ls -d c/step-*.part 2>/dev/null)" = "" ] || bad "a half checkpoint stays"
"$hiss" train --run c --steps 1M >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && [ "$(wc -l <c/log.ndjson)" -lt 40 ]; do sleep 0.05; done
kill -KILL $pid
wait $pid 2>/dev/null
last=$(ls -d c/step-*[0-9] | sed 's/.*-//' | sort -n | tail -1)
works train --run c --steps $((last + 5)) && there c/step-$((last + 5))/train.safetensors

# Precedence: preset, --config, --set and options.
printf '[train]\nsteps = 4\nbatch = 3\nseed = 5\n' >over.ini
works train data --preset ./micro.ini --config over.ini --set train.batch=1 --seed 6 --run d
says '^steps = 4$' d/settings.ini
says '^batch = 1$' d/settings.ini
says '^seed = 6$' d/settings.ini

# Without labels, in crops, from a folder of one file; the default run is runs/ and its name.
works train plain --preset ./crop.ini && there runs/plain/best/model.safetensors

fails 1 'there is no bundled preset micro (for the file here write ./micro.ini)' \
    train data --preset micro --run x
fails 1 'mixer s4d needs state complex' train data --preset ./micro.ini --set model.mixer=s4d --run x
fails 1 'nix; bundled are digits, piano, sc09-24m, sc09-6m, sc09-s4d, tiny, youtubemix-3m' train data --preset nix --run x
fails 1 'no.ini: there is no such file' train data --preset ./no.ini --run x
fails 1 'nowhere: No such file or directory' train nowhere --run x
fails 1 'a was begun with train.lr = 0.01, not 0.02' train --run a --set train.lr=0.02
fails 1 'a was begun with the data' train plain --run a
fails 1 'nowhere holds no training run' train --run nowhere
fails 1 'is not empty and holds no training run' train data --preset ./micro.ini --run empty/..
fails 1 'lies inside the data' train data --preset ./micro.ini --run data/run
fails 1 'lies inside the data /:' train / --preset ./micro.ini
gone data/run runs/data
(cd plain && "$hiss" train . --preset ../crop.ini >out 2>err) && bad "a run inside its data"
gone plain/runs && rm -f plain/out plain/err
echo '[train]' >bad.ini && echo 'speed = 1' >>bad.ini
fails 1 './bad.ini:2: there is no setting train.speed' train data --preset ./bad.ini --run x
fails 1 'bad.ini:2: there is no setting train.speed' train data --config bad.ini --run x
fails 1 'model.layers has 3 values' train data --preset ./micro.ini --set model.layers=1,2,3 --run x
gone x
fails 1 '3 steps in a row had no finite gradient' train data --preset ./micro.ini --steps 500 --run nan \
    --set train.lr=10 --set train.min_lr=10 --set train.clip_norm=0 --set train.weight_decay=10 \
    --set train.max_skipped=3
fails 1 'empty' train empty --preset ./micro.ini --run x
fails 1 'backend' train data --preset ./micro.ini --run y --backend abacus
touch file && fails 1 'file' train data --preset ./micro.ini --run file/run

# Labels that --label could not say; names that are no text.
mkdir -p comma/a,b latin/caf$'\xe9' names && cp data/train/low/1.wav comma/a,b
cp data/train/low/1.wav latin/caf$'\xe9' && cp data/train/low/1.wav names/ni$'\xf1'o.wav
fails 1 'the label folder a,b has a comma in its name' train comma --preset ./micro.ini --run x
fails 1 'the label folder caf\xE9 has a name that is not UTF-8' train latin --preset ./micro.ini --run x
works train names --preset ./crop.ini --run names-run
says '"file":"ni\\\\xF1o.wav","split":"train","fate":"padded","start":0,' names-run/index.ndjson

# A resume that fails leaves the run as it was.
cp -r data changing && works train changing --preset ./micro.ini --run e --steps 5
cp e/settings.ini e/index.ndjson .
mv changing/train/high changing/train/noon
fails 1 'label high is gone; restore the folders' train --run e --steps 10
grep -q 'checkpoint before it' err && bad "there is no checkpoint before it"
same e/settings.ini settings.ini
same e/index.ndjson index.ndjson
mv changing/train/noon changing/train/high && works train --run e --steps 10
grep -q 'has changed' err && bad "the data has not changed"
sed 's/d_model = 4/d_model = 5/' settings.ini >e/settings.ini
fails 1 'was trained with another [model] configuration' train --run e
: >e/settings.ini && fails 1 'e/settings.ini holds no settings' train --run e
[ ! -s e/settings.ini ] || bad "a refused resume wrote settings"
cp settings.ini e/ && : >e/step-10/train.safetensors
fails 1 'e/step-10 training goes on from the checkpoint before it' train --run e --steps 10
rm -r e/step-10 && works train --run e --steps 10 && there e/step-10/train.safetensors

# --- generate -------------------------------------------------------------------------------------
works generate ./a --seed 7 --threads 1 -o 1.wav && says '1.wav: 0.25 s of sound' err
works generate ./a --seed 7 --threads 2 -o 2.wav
works generate a/step-20/model.safetensors --seed 8 -o 3.wav
samples 1.wav 500
same 1.wav 2.wav
differ 1.wav 3.wav
strings 1.wav | grep -q '"seed":7.*"temperature":0.9' || bad "no provenance in 1.wav"
gone 1.wav.part
works generate ./a --seconds 1 -o 4.flac && samples 4.flac 2000
works generate ./a --seconds 100ms --label high -o 5.wav && samples 5.wav 200
works generate ./a --label high,low,high --guidance 2 -o 6.wav && samples 6.wav 1500
(mkdir here && cd here && "$hiss" generate ../a --seed 5 2>/dev/null) && there here/take-5-0.wav
"$hiss" generate ./a --seed 7 -o - 2>err | sox -t wav - -t raw pipe.raw 2>/dev/null
sox 1.wav -t raw 1.raw && same 1.raw pipe.raw
works generate ./a --prompt data/test/low/1.wav -o 7.wav && samples 7.wav 100
works generate ./a --prompt data/test/low/1.wav --with-prompt --seconds 50ms -o 8.wav
samples 8.wav 500
works generate runs/plain --seconds 0.2 --temperature 0 -o 9.wav && samples 9.wav 400

# The precision of the weights is part of the sound, and told in it; halves are the default.
for precision in fp32 fp16 int8; do
    works generate ./a --seed 7 --precision $precision -t 1 -o $precision-1.wav
    works generate ./a --seed 7 --precision $precision -t 2 -o $precision-2.wav
    same $precision-1.wav $precision-2.wav
    strings $precision-1.wav | grep -q "\"precision\":\"$precision\"" ||
        bad "no precision in $precision-1.wav"
done
same fp16-1.wav 1.wav
fails 2 '--precision fp8: expected fp32, fp16 or int8' generate ./a --precision fp8

# Takes: one at a time or by several workers, alone or in company.
works generate ./a --seed 7 --count 5 --threads 1 -o t1/ && works generate ./a --seed 7 -n 5 -t 2 -o t2/
for i in 0 1 2 3 4; do same t1/take-7-$i.wav t2/take-7-$i.wav; done
cmp -s <(tail -c 1000 1.wav) <(tail -c 1000 t1/take-7-0.wav) || bad "take 0 is not the single take"
works generate ./a --seed 7 --count 5 --keep 2 -o t3/
[ "$(ls t3 | wc -l)" = 2 ] || bad "--keep 2 kept $(ls t3 | wc -l)"
[ "$(grep -c 'bits a sample, dropped' err)" = 3 ] || bad "no scores"

# The guard: on for long takes, silent while all is well, and the same for any number of threads.
# A model of a tone, much too hot, makes noise.
mkdir long && sox -R -n -r 2000 -b 16 long/1.wav synth 10 sine 330 vol 0.5
works train long --preset ./crop.ini --run tone --steps 150 --set train.valid_clips=20
for t in 1 2; do
    works generate ./tone --seed 3 --seconds 25 --temperature 8 --threads $t -o hot-$t.wav
    says 'take 0, [0-9.]+ s: noise; it goes on from [0-9.]+ s, otherwise, for a while at temperature' err
    says 'the guard stepped in [0-9]+ times' err
    samples hot-$t.wav 50000
done
same hot-1.wav hot-2.wav
works generate ./tone --seed 3 --seconds 25 --temperature 8 --count 3 --threads 2 -o hots/
cmp -s <(tail -c 100000 hot-1.wav) <(tail -c 100000 hots/take-3-0.wav) || bad "guarded takes differ in company"
works generate ./tone --seed 3 --seconds 25 --temperature 8 --no-guard -o cold.wav
grep -q 'stepped in' err && bad "the guard cannot be sent away"
cmp -s <(tail -c 100000 hot-1.wav) <(tail -c 100000 cold.wav) && bad "the guard changed nothing"
works generate ./tone --seed 3 --seconds 2 --temperature 8 -o short.wav
grep -q 'stepped in' err && bad "the guard comes to short takes by itself"
works generate ./tone --seed 3 --seconds 3 --temperature 8 --guard -o short.wav && says 'stepped in' err
works generate ./tone --seed 3 --seconds 25 -o calm-1.wav
grep -q 'stepped in' err && bad "the guard steps in where nothing is wrong"
works generate ./tone --seed 3 --seconds 25 --no-guard -o calm-2.wav
cmp -s <(tail -c 100000 calm-1.wav) <(tail -c 100000 calm-2.wav) || bad "an idle guard changes the sound"
fails 2 '--guard and --no-guard: expected one of them' generate ./tone --guard --no-guard

# Ctrl-C leaves what there is, as a whole file.
"$hiss" generate ./a --seconds 1h -o long.wav >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -s long.wav.part ]; do sleep 0.05; done
sleep 0.3
kill -INT $pid
wait $pid
[ $? = 130 ] || bad "Ctrl-C in generate does not exit 130"
gone long.wav.part
sox long.wav -n stat 2>/dev/null || bad "long.wav is no sound file"
"$hiss" generate ./a --seconds 1h -o long.wav >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && [ ! -s long.wav.part ]; do sleep 0.05; done
kill -TERM $pid
wait $pid
[ $? = 143 ] || bad "SIGTERM in generate does not exit 143"

# A prompt can be as long as it likes: it is heard in parts, and a signal is heard between them.
sox -R -n -r 2000 -b 16 hours.wav synth 100 sine 200 vol 0.5
works generate runs/plain --prompt hours.wav --seconds 0.1 -o heard.wav && samples heard.wav 200
"$hiss" generate runs/plain --prompt hours.wav --with-prompt --count 1000 -o heard/ >out 2>err &
pid=$!
while kill -0 $pid 2>/dev/null && ! compgen -G 'heard/*.part' >/dev/null; do sleep 0.01; done
kill -INT $pid
wait $pid
[ $? = 130 ] || bad "Ctrl-C while a prompt is heard does not exit 130"
[ -z "$(ls heard/*.part 2>/dev/null)" ] || bad "a take of which nothing was made stays"

fails 1 'there is no bundled model nix' generate nix
fails 1 'no.safetensors: there is no such file' generate no.safetensors
fails 1 'micro.ini' generate ./micro.ini -o x.wav
fails 1 "there is no label 'middle'; this model knows high, low" generate ./a --label middle -o x.wav
fails 1 'trained without labels' generate runs/plain --label low -o x.wav
fails 1 'a prompt must be shorter than a clip' generate ./a --prompt 6.wav -o x.wav
sox -R -n -r 1 -b 16 1hz.wav synth 100 sine 0.1
fails 1 '1hz.wav: its rate of 1 Hz is too far below 2000 Hz' generate ./a --prompt 1hz.wav -o x.wav
fails 1 'a wav file ends at 4 GiB: write flac' generate ./a --seconds 20000h -o x.wav
fails 1 'a wav file ends at 4 GiB: write flac' generate ./a --seconds 20000h --count 2 -o x/
gone x/take-7-0.wav x/take-7-0.wav.part
fails 1 'nix.wav' generate ./a --prompt nix.wav -o x.wav
fails 1 'no/where' generate ./a -o no/where/x.wav
fails 2 'x.xyz' generate ./a -o x.xyz
fails 2 '2 takes need a folder: -o x.wav/' generate ./a --count 2 -o x.wav
fails 2 '-o - takes one take' generate ./a --count 2 -o -
fails 1 'less than a sample' generate ./a --seconds 0.1ms -o x.wav
gone x.wav x.wav.part

# --- again ----------------------------------------------------------------------------------------
fails 2 'expected TAKE' again
for take in 1.wav 3.wav 4.flac 5.wav 6.wav fp32-1.wav int8-2.wav t1/take-7-3.wav hot-2.wav hots/take-3-2.wav 9.wav \
    7.wav 8.wav; do
    works again $take --threads 2 && says "^$take: the same bytes" out
done
says '"guard":\{"bits":' <(strings hot-1.wav)
says '"prompt_hash":"[0-9a-f]{64}"' <(strings 7.wav)
works generate ./a --seconds 0.2 --seed 1 -o take.aiff && works again take.aiff && says 'the same' out
works again 1.wav -o copy.wav && same 1.wav copy.wav
# Ctrl-C cut it short: it is the beginning of what it would have been.
works again long.wav && says 'the same' out
cp -r a moved && mv a away
fails 1 './a' again 1.wav
works again 1.wav --model ./moved && says 'the same bytes' out
mv away a
fails 1 'was made by model' again 1.wav --model ./tone
fails 1 'does not say how it was made' again data/train/low/1.wav
fails 1 'nix.wav' again nix.wav
fails 1 'does not say how it was made' again a/samples/step-20.wav
# A sample is changed: the text is as it was, the sound is not.
size=$(stat -c %s 1.wav)
head -c $((size - 402)) 1.wav >changed.wav && printf '\x11\x11' >>changed.wav && tail -c 400 1.wav >>changed.wav
"$hiss" again changed.wav >out 2>err
[ $? = 1 ] || bad "a changed take is not told by the exit code"
says 'not the same: from sample 299' out
# A prompt that is another now, or gone.
cp data/test/low/1.wav p.wav && works generate ./a --prompt p.wav -o q.wav && works again q.wav
cp data/test/low/2.wav p.wav && fails 1 'was made with another prompt than p.wav is now' again q.wav
rm p.wav && fails 1 'was made with a prompt that cannot be read (p.wav' again q.wav
works again q.wav --prompt data/test/low/1.wav && says 'the same bytes' out

# --- eval -----------------------------------------------------------------------------------------
works eval ./a data --json --per-label --threads 1
says '"bits": [0-9]' out
says '"split": "test"' out
says '"files": 12' out
says '"samples": 4800' out
says '"labels": "used"' out
says '"low": \{' out
mv out 1.json
works eval ./a data --json --per-label --threads 2 && same 1.json out
works eval ./a data --precision fp32,int8 && says 'bits a sample as fp32 generates it: [+-]0.0000' out &&
    says 'bits a sample as int8 generates it: [+-]0.0' out
works eval ./a data --precision fp16 --json && says '"loss": ' out
fails 2 '--precision fp8: expected fp32, fp16, int8' eval ./a data --precision fp8
fails 2 '--precision fp16,fp16,fp16,fp16,fp16' eval ./a data --precision fp16,fp16,fp16,fp16,fp16
works eval ./a data --no-labels && says 'labels: not used' out
works eval ./a data --split all && says '24 files, 9600 samples' out
works eval ./a data/test/low/1.wav && says ' 1 file, 400 samples, 0.2 s;' out
works eval runs/plain data --context 100 && says 'zero state every 100 samples' out
works eval ./a data --split valid --logits l.npy
says "'shape': \([0-9]+, 256\)" <(head -c 128 l.npy | strings)
rows=$(head -c 128 l.npy | strings | sed -n "s/.*(\([0-9]*\), 256).*/\1/p")
[ "$(stat -c %s l.npy)" = $((128 + rows * 1024)) ] || bad "l.npy is not as long as it says"
fails 1 'nowhere' eval ./a nowhere
fails 1 'no/l.npy' eval ./a data --logits no/l.npy

works eval ./a data --json --context whole,50ms,20 && says '"context": 20,' out
says '"bits_of_others"' out
[ "$(grep -c '"context": ' out)" = 4 ] || bad "not three contexts and the first"
works eval ./a data --context 20,whole --precision int8 --per-file
says '^[0-9.]+ bits a sample \(95 %: [0-9.]+ to [0-9.]+\), whole files$' out
says 'as int8 generates it: .*, zero state every 20 samples$' out
[ "$(grep -c ' 400 samples  test/' out)" = 12 ] || bad "not a line a file"
works eval ./a data/test/low/1.wav --json && says '"interval": null' out # of one file there is none

# --- compare --------------------------------------------------------------------------------------
works compare data/test data/test --json && mv out 2.json
says '"frechet_log_mel_db2": 0.0' 2.json
says '"spectra_db": 0.0' 2.json
says '"loudness_lufs": null' 2.json # at 2 kHz there is none
works compare data/test data/test --json && same 2.json out
works compare t1 data/test --per-file && says '^Fréchet distance over log-mel frames +[0-9]' out
says 'at 2000 Hz$' out
says '^runaway \(% of files\) ' out
[ "$(grep -c 'take-7-[0-4].wav$' out)" = 5 ] || bad "not a line a take"
works compare data/test/low data/test/high --rate 8k --json && says '"rate": 8000' out
says '"loudness_lufs": -' out
fails 1 'nowhere' compare nowhere data
fails 1 'empty: there is no sound file in it' compare data empty
cp -r data/test/low mixed && echo text >mixed/note.txt
works compare mixed data/test/low && says 'warning: left out: mixed/note.txt' err

# --- plot -----------------------------------------------------------------------------------------
png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ] || bad "$1 is no PNG"; }
if [ $pictures = cairo ]; then
    works plot 1.wav -o 1.png && png 1.png
    works plot 1.wav -o 2.png && same 1.png 2.png
    works plot 1.wav -o 3.png --linear --range 60 --frame 10ms --from 50ms --seconds 0.1 && png 3.png
    differ 1.png 3.png
    works plot 1.wav 4.flac hours.wav -o sheet.svg && says '</svg>' sheet.svg
    works plot a -o a.png && png a.png
    works plot a b runs/plain -o runs.png && png runs.png
    works eval ./a data -o eval.png && png eval.png
    works compare t1 data/test -o compare.png && png compare.png
    works plot names/ni$'\xf1'o.wav -o names.png && png names.png
    fails 2 'x.jpg: a picture' plot 1.wav -o x.jpg
    fails 2 'x.jpg: a picture' eval ./a data -o x.jpg
    fails 2 'x.jpg: a picture' compare t1 data/test -o x.jpg
    fails 2 'not both' plot 1.wav a -o x.png
    fails 1 'nix.wav' plot nix.wav -o x.png
    fails 1 'note.txt' plot mixed/note.txt -o x.png
    fails 1 'empty holds no training run' plot empty -o x.png
    fails 1 'it has ended before 9 s' plot 1.wav --from 9 -o x.png
    fails 1 'no/x.png' plot 1.wav -o no/x.png
    gone x.png x.png.part
    # A picture that cannot be drawn ends no training.
    mkdir -p f && works train data --preset ./micro.ini --run f --steps 5
    rm f/curve.png && mkdir f/curve.png
    works train --run f --steps 10 && says 'warning: no picture of the training' err
    there f/step-10/model.safetensors
else
    fails 1 'built without pictures: install libcairo2-dev' plot 1.wav -o 1.png
    fails 1 'built without pictures' eval ./a data -o 1.png
    fails 1 'built without pictures' compare t1 data/test -o 1.png
    gone 1.png 1.png.part
fi

# --- info, presets --------------------------------------------------------------------------------
works info ./a && says 'identity [0-9a-f]{64}' out && says 'labels: high, low' out
says 'hiss.license: CC0-1.0' out
says 'hiss.steps: (10|20)' out
works info sc09-6m && says '\(6.26 M,' out
works info sc09-s4d && says '\(6.23 M,' out && says 's4d complex, H 64' out
works info sc09-24m && says '\(24.85 M,' out
works info youtubemix-3m && says '\(3.74 M,' out
works info ./micro.ini && says 'for the tests' out
fails 1 'there is no bundled preset nix' info nix
works presets && says '^  tiny +[a-z]' out && says '^  digits ' out

# --- doctor ---------------------------------------------------------------------------------------
works doctor ./a --threads 1
for part in processor memory GPU libraries 'engine +cpu.*auto'; do says "^$part " out; done
says '^  ./a +[0-9.]+ us a sample in fp16, threads one.* x real time' out && says 'live playback would (not )?hold' out
works doctor ./a --threads 1 --precision int8 --json
/usr/bin/python3 - out <<'PYTHON' || bad "doctor --json is not as said"
import json, sys
r = json.load(open(sys.argv[1]))
cpu, cuda = r["engines"]
assert r["threads"] >= 1 and r["memory_bytes"] > r["available_bytes"] > 0 and r["rate"] == 2000
assert r["precision"] == "int8" and r["libraries"]["libsndfile"].startswith("libsndfile")
assert cpu["measured"] and cpu["usual"] and cpu["x_real_time"] >= cpu["x_real_time_worst"] > 0
assert abs(cpu["us_a_sample"] * cpu["x_real_time"] * r["rate"] / 1e6 - 1) < 1e-3
assert cuda["backend"] == "cuda" and (cuda["measured"] or cuda["why_not"])
assert r["gpu"]["usable"] or r["gpu"]["why_not"]
PYTHON
fails 1 'no.safetensors: there is no such file' doctor no.safetensors
fails 1 'micro.ini' doctor ./micro.ini
fails 2 '--precision fp8: expected fp32, fp16 or int8' doctor --precision fp8
fails 2 'one word too many' doctor ./a ./a

mkdir own && cp micro.ini own/micro.ini && cp micro.ini own/micro.v2.ini
HISS_PRESETS=$work/own "$hiss" presets >out 2>err
says '^  micro  ' out
grep -q 'v2' out && bad "a preset is listed that cannot be named"

[ $n_failed = 0 ] && echo "all well" || echo "$n_failed failed"
[ $n_failed = 0 ]
