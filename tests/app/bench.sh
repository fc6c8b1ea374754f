#!/bin/bash
# hiss bench from the outside: bench.sh HISS PRESETS. Whether it measures, says so in both forms,
# compares, and fails well; how fast anything is, is nobody's business here.
set -u
hiss=$(realpath "$1")
HISS_PRESETS=$(realpath "$2") LC_ALL=C
export HISS_PRESETS LC_ALL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
n_failed=0

bad() {
    echo "FAILED: $*"
    [ -s err ] && sed 's/^/  err: /' err | tail -5
    n_failed=$((n_failed + 1))
}

works() { "$hiss" bench "$@" >out 2>err </dev/null || bad "exit $? of: hiss bench $*"; }

# fails CODE TEXT ARGUMENTS...: that exit code, and TEXT in the one line on standard error.
fails() {
    local code=$1 text=$2 got
    shift 2
    "$hiss" bench "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$code" ] || bad "exit $got, not $code, of: hiss bench $*"
    grep '^hiss' err | grep -qF -- "$text" || bad "no '$text' from: hiss bench $*"
    [ "$(grep -c '^hiss' err)" = 1 ] || bad "not one line of error from: hiss bench $*"
    [ ! -s out ] || bad "an error on standard output: hiss bench $*"
}

# holds FILE EXPRESSION: of the JSON `r`, and its list of all figures.
holds() {
    /usr/bin/python3 - "$1" "$2" <<'PYTHON' || bad "not so in $1: $2"
import json, math, sys

def leaves(x):
    return [v for k in x.values() for v in leaves(k)] if isinstance(x, dict) else [x]

r = json.load(open(sys.argv[1]))
numbers = leaves(r["figures"])
sys.exit(not eval(sys.argv[2], {"r": r, "numbers": numbers, "leaves": leaves, "math": math}))
PYTHON
}

cat >micro.ini <<'INI'
[audio]
sample_rate = 2000
[model]
d_model = 8
layers = 1
pool = 4,4
d_state = 4
mixer = selective,lti,s4d
state = real,real,complex
d_conv = 4
INI

# --- everything, and in JSON what the tables say --------------------------------------------------
works --quick --json && mv out all.json
holds all.json 'r["format"] == 1 and r["quick"] and r["threads"] >= 1 and r["processor"]'
holds all.json 'len(numbers) > 100 and all(math.isfinite(x) and x > 0 for x in numbers)'
for section in processor reading 'digits: decode' 'digits: prefill' 'digits: training' \
    copying 'kernels of decoding' 'digits: scan lengths' 'digits: scan' 'digits: products' \
    'digits: moving data'; do
    holds all.json "len(r['figures']['$section']) > 0 and r['notes']['$section']"
done
holds all.json 'all(row["worst_us"] >= row["p99.9_us"] >= row["p50_us"]
                    for row in r["figures"]["digits: decode"].values())'
holds all.json '"2^14 x 1" in r["figures"]["digits: scan lengths"]'
holds all.json 'all(0 < row["forward_of_exp"] < 1.2 and row["backward_clk"] > row["forward_clk"]
                    for row in r["figures"]["digits: scan lengths"].values())'
works --from all.json && mv out all.txt
for section in processor reading 'digits: decode' 'digits: products'; do
    grep -q "^$section " all.txt || bad "no table of $section"
done

# --- ratios ---------------------------------------------------------------------------------------
works --from all.json --compare all.json --json && mv out same.json
holds same.json 'r["figures"].keys() == r["ratios"].keys()'
holds same.json 'leaves(r["ratios"]) == [1.0] * len(numbers)'
works --from all.json --compare all.json
grep -q '^ratios, new over old' out || bad "no table of ratios"
/usr/bin/python3 - <<'PYTHON'
import json
r = json.load(open("all.json"))
r["figures"] = {"processor": {"1 thread": {"GMAC/s": r["figures"]["processor"]["1 thread"]["GMAC/s"] * 2}}}
json.dump(r, open("part.json", "w"))
r["figures"] = {"nothing": {"of": {"that": 1}}}
json.dump(r, open("other.json", "w"))
PYTHON
works --from all.json --compare part.json --json && mv out half.json
holds half.json 'r["ratios"] == {"processor": {"1 thread": {"GMAC/s": 0.5}}}'
fails 1 'no figure in common' --from all.json --compare other.json

# --- other networks, parts, threads ---------------------------------------------------------------
works ./micro.ini --quick --json --clip 37 --threads 1 && mv out micro.json
holds micro.json 'r["threads"] == 1 and "hand-over between threads" not in r["figures"]'
holds micro.json 'len(r["figures"]["./micro.ini: scan"]) == 3'
holds micro.json 'list(r["figures"]["./micro.ini: training"]) == ["1 thread"]'
holds micro.json '"1 clip of 37 samples" in r["notes"]["./micro.ini: training"]'
works ./micro.ini --quick --json --clip 37 --batch 3 --threads 1 --only train
holds out '"3 clips of 37 samples" in r["notes"]["./micro.ini: training"]'
works ./micro.ini tiny --quick --json --only prefill,train --set model.d_state=2 && mv out parts.json
holds parts.json 'sorted(r["figures"]) == ["./micro.ini: prefill", "./micro.ini: training",
                                           "tiny: prefill", "tiny: training"]'
works "$HISS_PRESETS/digits.safetensors" --quick --json --only prefill
holds out "list(r['figures']) == ['$HISS_PRESETS/digits.safetensors: prefill']"

# --- wrong words, wrong files ---------------------------------------------------------------------
works --help
grep -q 'usage: hiss bench' out || bad "no help"
fails 2 '--only speed: expected a list of machine' --only speed
fails 2 '--only train,: expected a list of machine' --only train,
fails 2 '--clip 0: expected a whole number' --clip 0
fails 2 'there is no option --loud' --loud
fails 2 '--from all.json measures nothing: without tiny' tiny --from all.json
fails 1 'there is no bundled preset nix' nix --quick --only train
fails 1 'no.safetensors: there is no such file' ./no.safetensors --quick --only train
fails 1 'there is no setting model.rate' tiny --quick --only train --set model.rate=1
fails 1 'abacus' --quick --backend abacus
fails 1 'no.json: No such file' --compare no.json
head -c 300 all.json >torn.json
fails 1 'torn.json is not what hiss bench --json prints: line' --compare torn.json
fails 1 'torn.json is not what hiss bench --json prints: line' --from torn.json
echo '{"format": 2}' >format.json
fails 1 'format.json is not what hiss bench --json prints: expected "format": 1' --compare format.json
sed 's/"GMAC\/s": [0-9.]*/"GMAC\/s": "fast"/' all.json >text.json
fails 1 'text.json is not what hiss bench --json prints: "GMAC/s" of "processor"' --compare text.json

"$hiss" bench --only decode >out 2>err </dev/null &
pid=$!
sleep 1
kill -INT $pid
wait $pid
[ $? = 130 ] || bad "Ctrl-C in bench does not exit 130"

[ $n_failed = 0 ] || { echo "$n_failed failed"; exit 1; }
echo "hiss bench: as said"
