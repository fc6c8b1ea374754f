#!/bin/bash
# hiss bench and hiss doctor with a device: bench_cuda.sh HISS PRESETS, HISS with CUDA's kernels on
# the CPU. Whether everything is measured and said; the figures are not a device's.
set -u
hiss=$(realpath "$1")
HISS_PRESETS=$(realpath "$2") LC_ALL=C
export HISS_PRESETS LC_ALL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cat >micro.ini <<'INI'
[audio]
sample_rate = 2000
[model]
d_model = 4
layers = 1
pool = 4
d_state = 2
INI
export CUDA_ON_CPU_SMS=1 # the sizes are those of a small device
"$hiss" bench ./micro.ini --backend cuda --quick --json --clip 64 --batch 2 >bench.json 2>err || {
    cat err
    exit 1
}
"$hiss" doctor --threads 1 --json >doctor.json 2>err || {
    cat err
    exit 1
}
# A device that the kernels were not made for is named, and what it would have to be.
too_old='on the CPU is too old: a device of compute capability 8.0 or later is needed, it has 7.5'
CUDA_ON_CPU_CAPABILITY=75 "$hiss" doctor --threads 1 >old 2>err || exit 1
grep -qF "  not used $too_old" old || {
    cat old
    exit 1
}
CUDA_ON_CPU_CAPABILITY=75 "$hiss" bench ./micro.ini --backend cuda --only prefill >old 2>&1
if [ $? != 1 ] || [ "$(cat old)" != "hiss: CUDA: $too_old; use --backend cpu" ]; then
    cat old
    exit 1
fi
# One without room says what to lower, in a line.
CUDA_ON_CPU_MEMORY_MIB=64 "$hiss" bench digits --backend cuda --only train --clip 65536 >full 2>err
if [ $? != 1 ] || [ "$(grep -c '^hiss: .*lower train.micro_batch.*: out of GPU memory' err)" != 1 ]; then
    cat err
    exit 1
fi
# Nor has every device the shared memory for a wide model: the engine says so, and what serves.
CUDA_ON_CPU_CAPABILITY=86 "$hiss" bench ./micro.ini --set model.d_model=1024 --set model.pool= \
    --backend cuda --only decode --quick >wide 2>err
if [ $? != 1 ] || ! grep -q '^hiss: .*no room for this model: a block has 99 KiB.*--precision fp32' err; then
    cat err
    exit 1
fi
exec /usr/bin/python3 - <<'PYTHON'
import json

def leaves(x):
    return [v for k in x.values() for v in leaves(k)] if isinstance(x, dict) else [x]

r = json.load(open("bench.json"))
f = r["figures"]
numbers = leaves(f)
assert len(numbers) > 80 and all(0 < x < 1e15 for x in numbers)
assert r["backend"].startswith("cuda ")
device = f["device"]["device"]
clocks = device["multiprocessors"] * device["clock_GHz"]
assert abs(device["Gexp/s"] / clocks / device["exp/clk"] - 1) < 1e-3
assert f["copying"]["device"]["GB/s"] > 0 and device["product_GMAC/s"] > 0
assert all(row["forward_of_peak"] > 0 for row in f["./micro.ini: products"].values())
scans = f["./micro.ini: scan lengths"]
assert list(scans) == ["2^14 x 1"] and scans["2^14 x 1"]["backward_clk"] > 0
for n in "1 stream", "8 streams":
    assert f["./micro.ini: decode"]["walk " + n]["mean_us"] > 0
assert "2 clips of 64 samples" in r["notes"]["./micro.ini: training"]
assert list(f["./micro.ini: training"]) == ["device"]
assert 0.01 < f["./micro.ini: training"]["device"]["MiB"] < 1000
doctor = json.load(open("doctor.json"))
assert [e["backend"] for e in doctor["engines"]] == ["cpu", "cuda"]
assert all(e["measured"] and e["x_real_time"] > 0 for e in doctor["engines"])
assert all(e["threads"] in ("one", "pipeline") for e in doctor["engines"])
assert all(e["verdict"].startswith("live playback would") for e in doctor["engines"])
g = doctor["gpu"]
assert g["usable"] and g["device"] == "on the CPU" and g["capability"] == 9.0, g
assert g["memory_bytes"] >= g["free_bytes"] > 0 and g["multiprocessors"] > 0
print(f"{len(numbers)} figures of a device")
PYTHON
