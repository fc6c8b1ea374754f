"""The kinds of network that the fixtures and the self-test cover, all of them small,
with random parameters and random batches.

The numbers of a case are chosen so that every path carries weight: norm gains around
1, time constants of a few samples to a hundred, biases that are not zero.  Everything
is rounded to float32 first, so that a program that computes in float32 starts from
the very same numbers.
"""
from collections import namedtuple

import numpy as np

from network import CODES, Network, sinusoidal_table

START = 128     # the input before the first sample

Case = namedtuple("Case", "name config batch samples n0 carried optimise")


def tier(layers=1, mixer="selective", state="real", d_state=4, d_conv=4, mixer_expand=2, ff=0):
    return {"layers": layers, "mixer": mixer, "state": state, "d_state": d_state,
            "d_conv": d_conv, "mixer_expand": mixer_expand, "ff": ff}


def case(name, pool, tiers, layout="unet", d_model=4, expand=2, batch=2, samples=37, n0=0,
         carried=False, optimise=False, labels=(), embedding="learned", up_shift=1):
    """`carried`: starts from a state that is not zero and receives a gradient for the final
    state.  One entry in `tiers` serves all tiers."""
    tiers = tiers if isinstance(tiers, list) else [tiers] * (len(pool) + 1)
    config = {"format": 1, "sample_rate": 8000, "quantizer": "mu-law-256", "normalize": "peak",
              "clip": {"mode": "crop", "samples": samples}, "layout": layout, "d_model": d_model,
              "expand": expand, "pool": list(pool), "up_shift": up_shift, "norm_eps": 1e-5,
              "embedding": embedding, "labels": list(labels), "tiers": tiers}
    return Case(name, config, batch, samples, n0, carried, optimise)


def all_cases():
    lti, s4d = {"mixer": "lti"}, {"mixer": "s4d", "state": "complex"}
    names = ["one", "three", "two"]
    return [
        case("unet-selective", [4, 4], tier(2, d_state=4), d_model=5, samples=48, optimise=True),
        case("unet-pools-2-3", [2, 3], tier(2, d_state=3), d_model=6, batch=3, optimise=True),
        case("plain-selective", [4, 4], tier(2, d_state=16), layout="plain", samples=50,
             optimise=True),
        case("lti-real", [2, 4], tier(1, **lti, d_conv=3)),
        case("lti-complex", [4], tier(2, **lti, state="complex"), d_model=6, optimise=True),
        case("selective-complex", [4, 2], tier(1, state="complex", d_state=3), d_model=6),
        case("s4d-ff", [4], tier(2, **s4d, d_state=5, ff=2), d_model=6, optimise=True),
        case("selective-ff", [2, 2], tier(2, d_state=3, d_conv=2, ff=2), d_model=5),
        case("mixed-tiers", [3, 4], [tier(2, **lti, state="complex", d_state=3),
                                     tier(1, state="complex", d_conv=2, mixer_expand=1),
                                     tier(3, **s4d, ff=2)], d_model=5, batch=3, samples=61),
        case("labels-unet", [4, 2], tier(1), batch=3, labels=names, optimise=True),
        case("labels-plain", [2, 4], tier(1, ff=2), layout="plain", batch=3, labels=names,
             d_model=6),
        case("up-shift-2", [4, 2], tier(1), up_shift=2, samples=45),
        case("sinusoidal", [2, 2, 2], tier(1, d_state=3), d_model=5, embedding="sinusoidal",
             optimise=True),
        case("no-pools", [], tier(3, d_state=8), d_model=8, samples=20),
        case("pool-8", [8], tier(1, d_state=6, mixer_expand=3), d_model=6, expand=1, samples=70),
        case("carried-unet", [4, 4], tier(1), n0=7, carried=True, samples=41),
        case("carried-plain", [4, 2], [tier(1, **lti, ff=2), tier(1, **s4d, d_state=3),
                                       tier(2, state="complex")], layout="plain", n0=23,
             carried=True, up_shift=2, labels=names, samples=29),
        # the middle tier ticks once, the centre not at all: its gradients are zero
        case("short-chunk", [4, 4], tier(1), n0=5, carried=True, samples=6),
    ]


def to_float32(x):
    return np.asarray(x, np.float32).astype(np.float64)


def random_parameter(rng, name, shape, config):
    """One tensor, by the last part of its name."""
    last = name.split(".")[-1]
    normal, uniform = rng.standard_normal, rng.uniform
    if name == "embedding.weight":
        return sinusoidal_table(shape[1]) if config["embedding"] == "sinusoidal" else normal(shape)
    if name.endswith("norm.weight"):
        return 1.0 + 0.2 * normal(shape)
    if name.endswith("label.weight"):
        return 0.5 * normal(shape)
    if last == "A_log":
        n = np.arange(shape[-1])
        # real: ln(n + 1); complex modes (they have A_imag, drawn below): ln 1/2
        tiers = {"down": lambda k: int(k), "up": lambda k: int(k), "center": lambda _: -1}
        parts = name.split(".")
        t = config["tiers"][tiers[parts[0]](parts[1])]
        middle = np.log(n + 1.0) if t["state"] == "real" else np.full(len(n), np.log(0.5))
        return middle + 0.2 * normal(shape)
    if last == "A_imag":
        return np.pi * np.arange(shape[-1]) + 0.2 * normal(shape)
    if last in ("dt_bias", "log_dt") or name.endswith("dt_proj.bias"):
        dt = np.exp(uniform(np.log(0.01), np.log(0.5), shape))
        return np.log(dt) if last == "log_dt" else dt + np.log(-np.expm1(-dt))
    if last == "B":
        return 1.0 + 0.3 * normal(shape)
    if last == "C":
        return normal(shape)
    if last == "D":
        return 1.0 + 0.5 * normal(shape)
    if last == "bias" or "conv1d" in name:
        return uniform(-0.5, 0.5, shape)
    bound = 1.5 / np.sqrt(shape[-1])        # a little above the usual initialisation
    return uniform(-bound, bound, shape)


def make(case, seed, samples=None):
    """-> network, parameters, state, batch, dstate_out of a case, all of float32 values."""
    rng = np.random.default_rng([2024, seed])
    net = Network(case.config)
    params = {name: to_float32(random_parameter(rng, name, q.shape, case.config))
              for name, q in net.parameters.items()}
    steps = samples or case.samples
    # a restless walk through the codes that also touches both ends
    walk = np.cumsum(rng.integers(-40, 41, (case.batch, steps + 1)), axis=1) + START
    codes = np.abs((walk + 255) % 510 - 255).clip(0, CODES - 1)
    if case.n0 == 0:
        codes[:, 0] = START
    labels = np.full(case.batch, -1)
    count = len(case.config["labels"])
    if count:                               # the second stream of a batch has none
        labels = (np.arange(case.batch) * 2) % count
        labels[1] = -1
    mask = (rng.uniform(size=(case.batch, steps)) < 0.85).astype(np.float64)
    mask[0, -1] = 1.0
    batch = {"in": codes[:, :-1], "target": codes[:, 1:], "mask": mask, "labels": labels,
             "n0": case.n0}
    state = np.zeros((case.batch, net.state_size))
    dstate_out = np.zeros_like(state)
    if case.carried:
        state = to_float32(rng.standard_normal(state.shape) * 0.7 * net.live(case.n0))
        dstate_out = to_float32(rng.standard_normal(state.shape) * 0.1 *
                                net.live(case.n0 + steps))
    return net, params, state, batch, dstate_out
