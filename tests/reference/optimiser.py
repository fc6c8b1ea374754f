"""AdamW with clipping by the global norm, a warm-up and cosine schedule, and the
running average of the weights, exactly as training does them, in float64."""
import math

import numpy as np

EPS = 1e-8


def learning_rate(lr, min_lr, warmup, steps, t):
    """Learning rate of update t = 0, 1, ...: linear up to lr, then a cosine to min_lr."""
    if t < warmup:
        return lr * (t + 1) / warmup
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * (t - warmup) / (steps - warmup)))


class Optimiser:
    """`settings`: lr, beta1, beta2, weight_decay, clip, warmup, steps, min_lr, ema."""

    def __init__(self, net, params, settings):
        self.settings, self.t = settings, 0
        self.table = {name: q for name, q in net.parameters.items() if q.trainable}
        self.params = dict(params)
        self.average = {name: params[name].copy() for name in self.table}
        self.m = {name: np.zeros_like(params[name]) for name in self.table}
        self.v = {name: np.zeros_like(params[name]) for name in self.table}

    def step(self, grads):
        """One update; returns the norm of all gradients before clipping."""
        s, t = self.settings, self.t
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        scale = s["clip"] / norm if norm > s["clip"] else 1.0
        rate = learning_rate(s["lr"], s["min_lr"], s["warmup"], s["steps"], t)
        keep = min(s["ema"], (1.0 + t) / (10.0 + t))
        for name, q in self.table.items():
            g = grads[name] * scale
            self.m[name] = s["beta1"] * self.m[name] + (1.0 - s["beta1"]) * g
            self.v[name] = s["beta2"] * self.v[name] + (1.0 - s["beta2"]) * g * g
            m = self.m[name] / (1.0 - s["beta1"] ** (t + 1))
            v = self.v[name] / (1.0 - s["beta2"] ** (t + 1))
            # a fixed rate follows the schedule's shape, not its height
            own = rate if q.fixed_rate is None else q.fixed_rate * rate / s["lr"]
            decay = s["weight_decay"] if q.decays else 0.0
            old = self.params[name]
            self.params[name] = old - own * (m / (np.sqrt(v) + EPS) + decay * old)
            self.average[name] = keep * self.average[name] + (1.0 - keep) * self.params[name]
        self.t += 1
        return norm
