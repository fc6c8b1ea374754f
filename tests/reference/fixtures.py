"""Writes the fixtures:  fixtures.py OUTDIR

OUTDIR/<case>/model.safetensors      a complete model file
OUTDIR/<case>/expected.safetensors   a batch and what the network must answer, all F32:
    in, target, mask (B,T)  labels (B)  n0 (1)  state_in, dstate_out (B,S)
    logits (B,T,256)  state_out (B,S)  loss (1), the cross-entropy alone in nats
    grad.<parameter>, grad.state_in: of loss + <dstate_out, state_out>
  and in cases with `opt` = lr, beta1, beta2, weight_decay, clip, warmup, steps, min_lr,
  ema: ten updates on this batch, each from zero state at n0 = 0, without dstate_out:
    losses (10), before each update  grad_norms (10), before clipping
    step10.<parameter>  ema10.<parameter>
OUTDIR/quantizer.safetensors         both quantisers
OUTDIR/philox.safetensors            random words, Gumbel noise, choices of codes
"""
import json
import os
import sys

import numpy as np

import cases
import optimiser
import sampling
import tensors
from network import loss_and_gradients

SETTINGS = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1, "clip": 0.5,
            "warmup": 3, "steps": 12, "min_lr": 0.001, "ema": 0.4}
UPDATES = 10


def optimise(net, params, state, batch):
    """Ten updates; the schedule is left unfinished so that its shape shows."""
    start, zero = dict(batch, n0=0), np.zeros_like(state)
    adam = optimiser.Optimiser(net, params, SETTINGS)
    losses, norms = [], []
    for _ in range(UPDATES):
        answer = loss_and_gradients(net, adam.params, zero, start, zero)
        losses.append(answer["loss"])
        norms.append(adam.step(answer["grads"]))
    out = {"opt": list(SETTINGS.values()), "losses": losses, "grad_norms": norms}
    out.update((f"step10.{name}", adam.params[name]) for name in adam.table)
    out.update((f"ema10.{name}", adam.average[name]) for name in adam.table)
    return out


def write_case(folder, case, seed):
    net, params, state, batch, dstate_out = cases.make(case, seed)
    answer = loss_and_gradients(net, params, state, batch, dstate_out)
    expected = {key: batch[key] for key in ("in", "target", "mask", "labels")}
    expected.update(n0=[batch["n0"]], state_in=state, dstate_out=dstate_out,
                    logits=answer["logits"], state_out=answer["state_out"], loss=[answer["loss"]])
    expected.update((f"grad.{name}", value) for name, value in answer["grads"].items())
    expected["grad.state_in"] = answer["dstate_in"]
    if case.optimise:
        expected.update(optimise(net, params, state, batch))
    os.makedirs(folder, exist_ok=True)
    tensors.save(os.path.join(folder, "model.safetensors"), params,
                 {"hiss.config": json.dumps(case.config), "hiss.license": "CC0-1.0",
                  "hiss.card": f"random weights, test case {case.name}", "hiss.data": "none",
                  "hiss.steps": "0", "hiss.version": "0"})
    tensors.save(os.path.join(folder, "expected.safetensors"), expected)
    return net, answer["loss"]


def quantizer_tensors():
    """mu.*: decode is the table of 256; encode.out are the codes of encode.in.
    s4.*: the same; encode takes values that are rescaled already, clip.in -> clip.rescaled
    -> clip.out starts from a clip; roundtrip is encode(decode(code))."""
    rng = np.random.default_rng(1)
    table = np.array([sampling.mu_decode(c) for c in range(sampling.CODES)])
    special = [0.0, -0.0, 1.0, -1.0, 1e-10, -1e-10, 1e-30, -1e-30, 1e-4, -1e-4, 0.5, -0.5,
               1.5, -1.5, 1e30, -1e30, np.inf, -np.inf, np.nan]
    values = np.concatenate([special, table, rng.uniform(-1, 1, 200),
                             rng.uniform(-1, 1, 200) ** 5]).astype(np.float32)
    out = {"mu.decode": table, "mu.encode.in": values,
           "mu.encode.out": [sampling.mu_encode(float(x)) for x in values]}

    table = np.array([sampling.s4_decode(c) for c in range(sampling.CODES)]).astype(np.float32)
    values = np.concatenate([[0.0, -1e-8, 1.0, -1.0, 1e-4, -1e-4, -1e-5], rng.uniform(-1, 1, 200),
                             rng.uniform(-1, 1, 200) ** 5]).astype(np.float32)
    clip = (0.3 * np.sin(np.arange(400) * 0.21) + 0.1 * rng.standard_normal(400)
            + 0.05).astype(np.float32)
    rescaled = sampling.s4_rescale(clip)
    out.update({"s4.decode": table, "s4.roundtrip": sampling.s4_encode(table),
                "s4.encode.in": values, "s4.encode.out": sampling.s4_encode(values),
                "s4.clip.in": clip, "s4.clip.rescaled": rescaled,
                "s4.clip.out": sampling.s4_encode(rescaled)})
    return out


def split_words(values, pieces):
    """Integers as 16-bit pieces, low first: each is exact in F32."""
    return [[int(v) >> 16 * i & 0xFFFF for i in range(pieces)] for v in values]


def choice_rows(rng):
    """Rows of logits with temperature and top_p: plain ones, ties, narrow and wide ones."""
    rows = []
    for temperature, top_p in [(1, 1), (0.95, 0.98), (0.7, 0.9), (1.3, 0.5), (0, 1), (0, 0.9),
                               (0.5, 0.1), (2, 0.999)]:
        rows += [(scale * rng.standard_normal(sampling.CODES), temperature, top_p)
                 for scale in (0.5, 2.0, 6.0)]
    flat, pair = np.zeros(sampling.CODES), np.full(sampling.CODES, -3.0)
    pair[[30, 200]] = 5.0
    # equal probabilities: the lower codes are kept, and the lowest wins at T = 0
    return rows + [(flat, 1, 1), (flat, 1, 0.502), (flat, 0, 1), (pair, 0, 1), (pair, 1, 0.3),
                   (pair, 1, 0.9)]


def philox_tensors():
    """seed, n (M,4), stream (M,2): 16-bit pieces, low first; word (M,256,2) likewise;
    g (M,256): Gumbel noise of every code.
    sampling.*: logits (R,256); temperature, top_p (R); noise (R), the row of g that is used;
    code (R), what is chosen.  Except in the rows made of ties, the winner leads by 1e-3 and
    the set of kept codes is 1e-5 in probability away from a different one."""
    for counter, key, answer in sampling.KNOWN_ANSWERS:
        assert sampling.philox(counter, key) == answer
    places = [(0, 0, 0), (7, 0, 0), (7, 1, 0), (7, 0, 1), (2 ** 64 - 1, 2 ** 32 - 1, 2 ** 32 - 1),
              (0x0123456789ABCDEF, 0x1234567890, 3), (42, 16000 * 3600 * 100, 17), (1 << 32, 5, 2)]
    words = np.array([sampling.noise_words(*place) for place in places])
    noise = sampling.gumbel(words)
    seeds, counts, streams = zip(*places)
    out = {"seed": split_words(seeds, 4), "n": split_words(counts, 4),
           "stream": split_words(streams, 2), "g": noise,
           "word": np.stack([words & np.uint64(0xFFFF), words >> np.uint64(16)], axis=-1)}
    rng = np.random.default_rng(2)
    rows = []
    for logits, temperature, top_p in choice_rows(rng):
        logits = cases.to_float32(logits)
        exact = len(np.unique(logits)) <= 2
        while True:                         # keep away from what rounding could decide
            at = int(rng.integers(len(places)))
            code, lead, slack = sampling.choose(logits, noise[at], temperature, top_p)
            if exact or (lead > 1e-3 and slack > 1e-5):
                break
            logits = cases.to_float32(logits + 0.05 * rng.standard_normal(logits.shape))
        rows.append((logits, temperature, top_p, at, code))
    for name, column in zip(("logits", "temperature", "top_p", "noise", "code"), zip(*rows)):
        out["sampling." + name] = np.array(column)
    return out


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: fixtures.py OUTDIR")
    root = sys.argv[1]
    os.makedirs(root, exist_ok=True)
    for seed, case in enumerate(cases.all_cases()):
        net, loss = write_case(os.path.join(root, case.name), case, seed)
        size = sum(int(np.prod(q.shape)) for q in net.parameters.values())
        print(f"{case.name:18} {size:6} parameters {net.state_size:5} floats of state "
              f"loss {loss:.6f}")
    tensors.save(os.path.join(root, "quantizer.safetensors"), quantizer_tensors())
    tensors.save(os.path.join(root, "philox.safetensors"), philox_tensors())


if __name__ == "__main__":
    main()
