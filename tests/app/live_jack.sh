#!/bin/bash
# hiss live on JACK's dummy driver, at a period that is no power of two: it plays into the port of
# another client (jack_rec); what arrives there is what hiss generate writes for the same seed. By
# hand, on an idle machine (beside three busy processes on two cores it failed in four of five runs):
#   bash tests/app/live_jack.sh build/app/hiss presets/digits.safetensors build/tests/app/live_expected tests/app/heard.py
set -u
hiss=$(realpath "$1") model=$(realpath "$2") expected=$(realpath "$3") heard=$(realpath "$4")
if ! command -v jackd jack_rec jack_lsp >/dev/null; then
    echo "jackd2 is needed for JACK's dummy driver"
    exit 77
fi
work=$(mktemp -d)
cd "$work" || exit 1
rate=44100 period=441 bad=no
export LC_ALL=C JACK_DEFAULT_SERVER=hiss-test-$$ JACK_NO_AUDIO_RESERVATION=1
# Synchronous: it waits for its clients where the machine is busy, and drops nothing.
jackd -r -n "$JACK_DEFAULT_SERVER" -S -t 5000 -d dummy -r $rate -p $period >jackd.log 2>&1 &
jackd=$!
trap 'kill $jackd; wait $jackd 2>/dev/null; rm -rf "$work"' EXIT

# there PORT: within some seconds.
there() {
    for _ in $(seq 100); do
        jack_lsp 2>/dev/null | grep -qx "$1" && return
        sleep 0.05
    done
    echo "FAILED: there is no port $1"
    cat jackd.log
    exit 1
}
there system:capture_1
"$hiss" generate "$model" --seconds 1.2 --seed 6 --temperature 0.9 -o take.wav 2>err || exit 1
"$expected" "$model" take.wav $rate >expected.raw || exit 1

# It hears silence, and what else is put into its port.
jack_rec -f ear.wav -d 3 -b 32 system:capture_1 >rec.log 2>&1 &
recorder=$!
there jackrec:input1
timeout 60 "$hiss" live "$model" --device jackrec --buffer 500ms --anyway --seconds 1.2 --seed 6 --temperature 0.9 \
    >out 2>err </dev/null || bad=yes
wait $recorder || bad=yes
grep -q ' 0 underruns' err || bad=yes
grep -qE 'key to ear [0-9]{3,4} ms' err || bad=yes # PortAudio's own figure is 27 hours there
# It writes 32 bits a sample, as integers: the same is done to what is expected.
/usr/bin/python3 - <<'PYTHON' || bad=yes
import numpy

data = open("ear.wav", "rb").read()
data = data[data.index(b"data") + 8 :]
data = numpy.frombuffer(data[: len(data) // 4 * 4], "<i4")
(data / 2.0**31).astype("f").tofile("ear.raw")
expected = numpy.fromfile("expected.raw", "f").astype("d")
(numpy.rint(expected * 2**31) / 2**31).astype("f").tofile("expected.raw")
PYTHON
/usr/bin/python3 -B "$heard" ear.raw expected.raw 1 || bad=yes
[ $bad = no ] || {
    echo "FAILED: $(cat err rec.log jackd.log)"
    exit 1
}
