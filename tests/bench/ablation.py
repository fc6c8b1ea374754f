#!/usr/bin/python3
"""The table of ablation.sh: what its runs left in OUT, as OUT/TABLE.md and OUT/TABLE.json, and what
was and was not shown; for the table `context` a picture besides, OUT/context.svg.

usage: ablation.py --out OUT --variants "A B ..." --seeds "0 1 ..." [--check]
--check: only whether the variants are as equal as the table says, before anything is trained.

A difference is called one where it has the same sign for every seed (at least two) and its mean is
larger than the larger of both variants' standard deviations over seeds. Anything else is called no
difference: with few seeds this is a rule of thumb, no test."""
import argparse
import html
import json
import pathlib
import re
import sys

import numpy as np

EQUAL = {'mixers': ('weights', 0.02), 'inputs': ('multiply-adds', 0.05)}
COLOURS = ('#1f5fa8', '#c4541a', '#2f7d3b', '#7a4a9e', '#5c5c5c')


def size(out, name):
    """Weights and multiply-adds a sample, as `hiss info` counts them."""
    text = (out / f'{name}.info').read_text()
    weights = int(re.search(r'^(\d+) weights', text, re.M)[1])
    return {'weights': weights, 'multiply-adds': 1e6 * float(re.search(
        r'a sample: (\S+) M multiply-adds', text)[1])}


def decode(out, name):
    """Microseconds a sample on one core in fp16, or nothing."""
    path = out / f'{name}.decode'
    if not path.exists():
        return None
    for section, rows in json.loads(path.read_text())['figures'].items():
        if section.endswith(': decode') and 'fp16 spread out' in rows:
            return rows['fp16 spread out']['mean_us']
    return None


def speed(out, name, seed):
    """Median samples a second of training."""
    lines = (out / f'{name}-{seed}' / 'log.ndjson').read_text().splitlines()
    rates = [json.loads(line).get('samples_per_s') for line in lines]
    return float(np.median([r for r in rates if r]))


def gather(out, name, seeds):
    v = {'name': name, **size(out, name), 'decode_us': decode(out, name), 'bits': {}, 'contexts': {}}
    for seed in seeds:
        path = out / f'{name}-{seed}.json'
        if path.exists():
            e = json.loads(path.read_text())
            v['contexts'][seed] = {c['context']: c['bits'] for c in e['contexts']}
            v['bits'][seed] = v['contexts'][seed][0]  # 0: whole recordings
            v['samples'], v['files'] = e['samples'], e['files']
    rates = [speed(out, name, s) for s in v['bits']]
    v['train_samples_per_s'] = float(np.median(rates)) if rates else None
    return v


def spread(values):
    return float(np.std(values, ddof=1)) if len(values) > 1 else float('nan')


def verdict(v, to):
    """Whether a variant is better or worse than another: (word, mean difference)."""
    seeds = [s for s in v['bits'] if s in to['bits']]
    if len(seeds) < 2:
        return 'nothing shown', None
    a, b = (np.array([x['bits'][s] for s in seeds]) for x in (v, to))
    mean = float(np.mean(a - b))
    noise = max(spread(a), spread(b))
    if np.all(a < b) and -mean > noise:
        return 'better', mean
    if np.all(a > b) and mean > noise:
        return 'worse', mean
    return 'no difference', mean


def number(value, form):
    return '' if value is None else format(value, form)


def table(variants, seeds):
    lines = ['| variant | ' + ' | '.join(f'seed {s}' for s in seeds)
             + ' | mean | spread | beside the first | weights | multiply-adds | µs a sample | samples/s, training |',
             '|---' * (8 + len(seeds)) + '|']
    for v in variants:
        bits = list(v['bits'].values())
        word = ''
        if v is not variants[0] and bits:
            word, mean = verdict(v, variants[0])
            word += '' if mean is None else f' ({mean:+.3f})'
        lines.append(f"| {v['name']} | "
                     + ' | '.join(number(v['bits'].get(s), '.4f') for s in seeds)
                     + f" | {number(np.mean(bits) if bits else None, '.4f')}"
                     + f" | {number(spread(bits) if len(bits) > 1 else None, '.4f')} | {word}"
                     + f" | {v['weights']:,} | {v['multiply-adds'] / 1e3:,.0f} k"
                     + f" | {number(v['decode_us'], '.1f')} | {number(v['train_samples_per_s'], ',.0f')} |")
    return lines


def context_table(variants):
    keys = list(next(iter(variants[0]['contexts'].values())))
    lines = ['', 'Mean bits over seeds, recordings cut to a context (the state begins anew):', '',
             '| trained on | ' + ' | '.join('whole' if k == 0 else str(k) for k in keys) + ' |',
             '|---' * (1 + len(keys)) + '|']
    for v in variants:
        if v['contexts']:
            lines.append(f"| {v['name']} | " + ' | '.join(
                f"{np.mean([c[k] for c in v['contexts'].values()]):.4f}" for k in keys) + ' |')
    return lines


def shown(variants):
    lines = ['', 'Shown: a difference of the same sign for every seed and larger than the larger standard',
             'deviation of both over seeds; everything else counts as no difference.', '']
    unseen = 0
    for i, v in enumerate(variants):
        for to in variants[:i]:
            word, mean = verdict(v, to)
            if mean is None:
                unseen += 1
            elif word == 'no difference':
                lines.append(f"- {v['name']} and {to['name']}: no difference shown ({mean:+.3f}).")
            else:
                lines.append(f"- {v['name']} is {word} than {to['name']} by {abs(mean):.3f} bits a sample.")
    if unseen:
        lines.append(f'- {unseen} pairs: nothing shown, fewer than two seeds of both are finished.')
    return lines


def picture(variants, path):
    """Bits against the length of training clips, a line for each context of the evaluation; bars reach
    from the lowest to the highest seed."""
    width, height, left, top, w, h = 720, 440, 70, 50, 460, 320
    lengths = [int(v['name'].split('^')[1]) for v in variants]
    keys = list(next(iter(variants[0]['contexts'].values())))
    values = [c[k] for v in variants for c in v['contexts'].values() for k in keys]
    step = 10 ** np.floor(np.log10(max(max(values) - min(values), 1e-3)))
    low, high = np.floor(min(values) / step) * step, np.ceil(max(values) / step) * step

    def at(power, bits):
        return (left + w * (power - min(lengths)) / max(max(lengths) - min(lengths), 1),
                top + h * (high - bits) / (high - low))

    def text(x, y, s, more=''):
        return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(s)}</text>'

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>',
           text(left, 28, 'Bits a sample on held-out music, equal samples heard', 'font-size="15"'),
           text(left + w / 2, top + h + 44, 'samples in a training clip', 'text-anchor="middle"'),
           text(0, 0, 'bits a sample', f'transform="translate(20 {top + h / 2}) rotate(-90)" text-anchor="middle"')]
    for bits in np.arange(low, high + step / 2, step):
        x, y = at(min(lengths), bits)
        svg += [f'<path d="M{left} {y:.1f}h{w}" stroke="#ddd"/>',
                text(left - 8, y + 4, f'{bits:.4g}', 'text-anchor="end"')]
    for power in lengths:
        x, y = at(power, low)
        svg += [f'<path d="M{x:.1f} {top}v{h}" stroke="#eee"/>',
                text(x, y + 20, f'{1 << power}', 'text-anchor="middle"')]
    svg.append(text(left + w + 24, top + 4, 'heard in evaluation:'))
    for i, key in enumerate(keys):
        colour, points = COLOURS[i % len(COLOURS)], []
        for power, v in zip(lengths, variants):
            bits = [c[key] for c in v['contexts'].values()]
            x, y = at(power, np.mean(bits))
            points.append(f'{x:.1f},{y:.1f}')
            svg += [f'<path d="M{x:.1f} {at(power, min(bits))[1]:.1f}V{at(power, max(bits))[1]:.1f}" '
                    f'stroke="{colour}" stroke-width="2"/>',
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>']
        svg += [f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"/>',
                f'<path d="M{left + w + 24} {top + 20 + 20 * i}h22" stroke="{colour}" stroke-width="2"/>',
                text(left + w + 52, top + 24 + 20 * i, 'whole recordings' if key == 0 else f'{key} samples')]
    path.write_text('\n'.join(svg + ['</svg>\n']))


def check(what, variants):
    """Are they as equal as the table claims?"""
    ok = True
    for v in variants:
        print(f"{v['name']:24} {v['weights']:>10,} weights {v['multiply-adds'] / 1e3:>8,.1f} k multiply-adds a sample")
    if what in EQUAL:
        key, bound = EQUAL[what]
        for v in variants[1:]:
            off = v[key] / variants[0][key] - 1
            if abs(off) > bound:
                print(f"ablation: {v['name']} has {off:+.1%} {key} beside {variants[0]['name']}; "
                      f'{bound:.0%} are allowed', file=sys.stderr)
                ok = False
    return ok


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', type=pathlib.Path, required=True)
    parser.add_argument('--variants', required=True)
    parser.add_argument('--seeds', required=True)
    parser.add_argument('--check', action='store_true')
    o = parser.parse_args()
    settings = (o.out / 'settings').read_text().split()
    what, names, seeds = settings[0], o.variants.split(), o.seeds.split()
    if o.check:
        return 0 if check(what, [{'name': n, **size(o.out, n)} for n in names]) else 1
    variants = [gather(o.out, n, seeds) for n in names]
    if not any(v['bits'] for v in variants):
        print('ablation: no run is finished yet')
        return 0
    done = sum(len(v['bits']) for v in variants)
    of = next(v for v in variants if v['bits'])
    about = (f"Preset {settings[1]}; {' '.join(settings[3:])}. {done} of {len(names) * len(seeds)} runs are "
             f"finished. Bits a sample of split {settings[2]}: {of['files']} recordings, {of['samples']:,} samples.")
    if what in EQUAL:
        key, bound = EQUAL[what]
        most = max(abs(v[key] / variants[0][key] - 1) for v in variants)
        about += f' Equal in {key}: at most {most:.1%} from the first (bound {bound:.0%}).'
    lines = [about, ''] + table(variants, seeds)
    if what == 'context' and variants[0]['contexts']:
        lines += context_table(variants)
    lines += shown(variants)
    text = '\n'.join(lines) + '\n'
    (o.out / f'{what}.md').write_text(text)
    (o.out / f'{what}.json').write_text(json.dumps({'settings': settings, 'variants': variants}, indent=1))
    if what == 'context' and all(v['contexts'] for v in variants):
        picture(variants, o.out / 'context.svg')
    print(text, end='')
    return 0


sys.exit(main())
