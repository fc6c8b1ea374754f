"""Time and memory a sample over lengths: does the cost stay flat?

usage: lengths.py LENGTHS MODEL OUT [--bits 12,14,16,18,20] [--threads N]

LENGTHS is build/tests/bench/lengths. Every length is run once a round, three rounds, then those
below the longest two more: medians of 5, of 3 at the longest. A training step is one clip; fixed
memory, which a clip of 64 samples has too, is told apart. Writes OUT.json and OUT.svg and prints a
table. Exit 1 if a median lies farther than 10 % from the middle of its row.
"""

import argparse
import json
import math
import os
import statistics
import subprocess

WORKS = ("train", "prefill", "decode")
NAMES = {"train": "training step", "prefill": "prompt", "decode": "one by one, fp16"}
COLOURS = {"train": "#0b6e99", "prefill": "#b5651d", "decode": "#3a7d44"}
LIMIT = 0.1
SHORT = 64


def once(o, work, n):
    run = subprocess.run([o.lengths, o.model, work, str(n), str(o.threads)], check=True,
                         stdout=subprocess.PIPE, text=True)
    seconds, size = run.stdout.split()
    return float(seconds), float(size)


def measure(o, bits):
    times = {(w, b): [] for w in WORKS for b in bits}
    size = {(w, 0): once(o, w, SHORT)[1] for w in WORKS}
    for turn in range(5):
        for b in bits:
            for w in WORKS:
                if turn < 3 or b < max(bits):
                    seconds, bytes_ = once(o, w, 1 << b)
                    times[w, b].append(seconds / (1 << b) * 1e6)
                    size[w, b] = max(size.get((w, b), 0), bytes_)
        print(f"round {turn + 1} of 5 done", flush=True)
    rows = []
    for w in WORKS:
        for b in bits:
            n, grown = 1 << b, size[w, b] - size[w, 0]
            rows.append({"work": w, "bits": b, "us": statistics.median(times[w, b]),
                         "us_least": min(times[w, b]), "us_most": max(times[w, b]),
                         "runs": len(times[w, b]), "MiB": size[w, b] / 2**20,
                         "fixed_MiB": size[w, 0] / 2**20, "bytes": grown / (n - SHORT)})
    return rows


def of(rows, work):
    return [r for r in rows if r["work"] == work]


def off(rows, work, key):
    """How far the farthest lies from the middle of the row, as a part."""
    values = [r[key] for r in of(rows, work)]
    middle = (max(values) + min(values)) / 2
    return max(values) / middle - 1


def table(rows):
    flat = True
    for w in WORKS:
        print(f"\n{NAMES[w]}: us a sample, median (least to most); memory")
        for r in of(rows, w):
            print(f"  2^{r['bits']:<3} {r['us']:8.3f}  ({r['us_least']:.3f} to {r['us_most']:.3f},"
                  f" {r['runs']} runs)  {r['MiB']:9.1f} MiB, {r['fixed_MiB']:.1f} of them fixed;"
                  f" {r['bytes']:8.1f} bytes a sample")
        apart = off(rows, w, "us")
        flat &= apart <= LIMIT
        print(f"  medians within {apart:.1%} of the middle" + ("" if apart <= LIMIT else
                                                               f": NOT within {LIMIT:.0%}"))
    return flat


def step_of(most):
    """Between lines of the grid: 1, 2 or 5 times a power of ten, about five of them."""
    power = 10 ** math.floor(math.log10(most / 5))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= most / 5)


def panel(rows, key, left, title, spread):
    """One plot: lengths to the right, values up, from 0."""
    width, height, top = 380, 260, 50
    bits = sorted({r["bits"] for r in rows})
    most = max(r[key + "_most" if spread else key] for r in rows)
    step = step_of(most) if most > 0 else 1
    n_steps = max(1, math.ceil(most / step))
    most = n_steps * step
    x = {b: left + 30 + i * (width - 60) / max(1, len(bits) - 1) for i, b in enumerate(bits)}

    def y(v):
        return top + height - v / most * height
    out = [f'<text x="{left}" y="{top - 22}" font-weight="bold">{title}</text>']
    for v in (i * step for i in range(n_steps + 1)):
        out.append(f'<line x1="{left}" x2="{left + width}" y1="{y(v):.1f}" y2="{y(v):.1f}" '
                   f'stroke="#ddd"/><text x="{left - 6}" y="{y(v) + 4:.1f}" '
                   f'text-anchor="end">{v:g}</text>')
    for b in bits:
        out.append(f'<text x="{x[b]:.1f}" y="{top + height + 18}" text-anchor="middle">2'
                   f'<tspan dy="-5" font-size="9">{b}</tspan></text>')
    out.append(f'<text x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle">'
               'samples in a clip, prompt or take</text>')
    for w in WORKS:
        line = of(rows, w)
        out.append(f'<polyline fill="none" stroke="{COLOURS[w]}" stroke-width="2" points="' +
                   " ".join(f'{x[r["bits"]]:.1f},{y(r[key]):.1f}' for r in line) + '"/>')
        for r in line:
            out.append(f'<circle cx="{x[r["bits"]]:.1f}" cy="{y(r[key]):.1f}" r="3" '
                       f'fill="{COLOURS[w]}"/>')
            if spread:
                out.append(f'<line x1="{x[r["bits"]]:.1f}" x2="{x[r["bits"]]:.1f}" '
                           f'y1="{y(r[key + "_least"]):.1f}" y2="{y(r[key + "_most"]):.1f}" '
                           f'stroke="{COLOURS[w]}"/>')
    return out


def picture(path, rows):
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="960" height="400" '
             'font-family="sans-serif" font-size="12"><rect width="960" height="400" '
             'fill="white"/>']
    parts += panel(rows, "us", 70, "time, µs a sample: medians, least to most", True)
    parts += panel(rows, "bytes", 550, "memory above that of 64 samples, bytes a sample", False)
    for i, w in enumerate(WORKS):
        parts.append(f'<rect x="{70 + 200 * i}" y="372" width="14" height="4" fill="{COLOURS[w]}"/>'
                     f'<text x="{90 + 200 * i}" y="378">{NAMES[w]}</text>')
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(parts + ["</svg>\n"]))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("lengths")
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--bits", default="12,14,16,18,20")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    o = p.parse_args()
    rows = measure(o, [int(x) for x in o.bits.split(",")])
    with open(o.out + ".json", "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
    picture(o.out + ".svg", rows)
    raise SystemExit(0 if table(rows) else 1)


main()
