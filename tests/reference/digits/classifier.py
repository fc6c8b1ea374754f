"""A small spoken-digit classifier: the ear that judges generated digits.

    classifier.py CACHE_DIR --data DIGITS_DIR

trains on the real clips of DIGITS_DIR/train, states the accuracy on those of
DIGITS_DIR/test, and writes CACHE_DIR/digits.npz.  With that file there already
it only measures.  Exit status 1 if the accuracy is below 95 %.

Log-mel frames go through three convolutions over time and are pooled (mean and
maximum) over the clip, so a digit counts wherever in the second it is spoken.
Two nets of different seeds are averaged.  Training is plain numpy with Adam;
same numpy and BLAS, same weights.

Besides digits the nets see noise and buzzes, labelled "any digit, equally
likely".  Without that a net is sure of itself on everything, and the mean
confidence of a broken generator would look good.
"""
import argparse
import os
import sys
import time

import numpy as np

import audio

VERSION = 1             # of features and net together: older caches are refused
LAYERS = ((5, 2, 64), (5, 2, 96), (3, 1, 96))   # window, stride, channels
SEEDS = (1, 2)
POOL = 10               # augmented copies of each clip, drawn once
PASSES = 3              # times the whole pool is gone through
BATCH = 64
SPREAD = 15.0           # dB, brings features to about unit variance
DROPOUT = 0.3
REQUIRED = 0.95


def features(x):
    """Clips (N, LENGTH) to net input: log-mel, mean of each clip removed."""
    f = audio.log_mel(x)
    return ((f - f.mean(axis=(1, 2), keepdims=True)) / SPREAD).astype(np.float32)


# ---- augmentation ---------------------------------------------------------

def vary(clip, rng):
    """One real clip spoken a little faster or slower, elsewhere in the second,
    through another microphone, with some noise."""
    end = np.flatnonzero(np.abs(clip) > 0)
    n = end[-1] + 1 if end.size else clip.size
    rate = rng.uniform(0.9, 1.1)
    speech = np.interp(np.arange(0, n - 1, rate), np.arange(n), clip[:n])[:audio.LENGTH]
    room = audio.LENGTH - speech.size
    # Half of them close to the start, where recordings and takes usually are.
    at = rng.integers(0, (min(room, 500) if rng.random() < 0.5 else room) + 1)
    out = np.zeros(audio.LENGTH, np.float32)
    out[at:at + speech.size] = speech
    tilt = rng.uniform(-0.3, 0.3)
    out[1:] += tilt * out[:-1]
    level = np.sqrt(np.mean(speech ** 2)) * 10 ** (-rng.uniform(15, 60) / 20)
    return out + level * rng.standard_normal(audio.LENGTH).astype(np.float32)


def not_speech(rng):
    """Coloured noise or a buzz, steady or in bursts."""
    f = np.arange(audio.LENGTH // 2 + 1) + 1.0
    if rng.random() < 0.7:
        s = rng.standard_normal(f.size) + 1j * rng.standard_normal(f.size)
    else:
        s = np.fft.rfft(np.arange(audio.LENGTH) % rng.integers(20, 120) == 0)
    s = s * f ** rng.uniform(-1.5, 0.5)
    if rng.random() < 0.5:      # one broad resonance
        s = s * (0.02 + np.exp(-((f - rng.uniform(200, 3500)) / rng.uniform(100, 800)) ** 2))
    x = np.fft.irfft(s, audio.LENGTH)
    if rng.random() < 0.6:
        t = np.arange(audio.LENGTH) / audio.RATE
        x = x * np.exp(-((t - rng.uniform(0, 0.8)) / rng.uniform(0.03, 0.4)) ** 2)
    return x


def mask(f, rng):
    """Hide a few bands and frames, so that no single cue decides."""
    f = f.copy()
    for i in range(len(f)):
        b, t = rng.integers(0, audio.BANDS - 5), rng.integers(0, f.shape[1] - 10)
        f[i, :, b:b + rng.integers(0, 6)] = 0
        f[i, t:t + rng.integers(0, 11)] = 0
    return f


# ---- the net --------------------------------------------------------------

def fresh(rng):
    """Parameters in order: weight and bias of each convolution, then of the output."""
    p, width = [], audio.BANDS
    for k, _, c in LAYERS:
        p += [rng.standard_normal((k * width, c)) * np.sqrt(2 / (k * width)), np.zeros(c)]
        width = c
    p += [rng.standard_normal((2 * width, 10)) * np.sqrt(1 / (2 * width)), np.zeros(10)]
    return [a.astype(np.float32) for a in p]


def windows(x, k, stride):
    """(N, T, C) to (N, T', k*C): frames lie contiguous, so a window is one run of memory."""
    n, t, c = x.shape
    s = x.strides
    return np.lib.stride_tricks.as_strided(
        x, (n, (t - k) // stride + 1, k * c), (s[0], stride * s[1], s[2]))


def forward(p, x, keep=None):
    """Digit probabilities (N, 10), and what backward needs.  keep: dropout mask."""
    saved = []
    for i, (k, stride, _) in enumerate(LAYERS):
        cols = np.ascontiguousarray(windows(np.ascontiguousarray(x), k, stride))
        y = np.maximum(cols @ p[2 * i] + p[2 * i + 1], 0)
        saved.append((x.shape, cols, y))
        x = y
    top = x.argmax(axis=1)
    pooled = np.concatenate([x.mean(axis=1), x.max(axis=1)], axis=1)
    if keep is not None:
        pooled = pooled * keep
    z = pooled @ p[-2] + p[-1]
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True), (saved, top, pooled)


def backward(p, prob, target, state, keep):
    """Gradient of the mean cross-entropy, in the order of p."""
    saved, top, pooled = state
    dz = (prob - target) / len(prob)
    grads = [pooled.T @ dz, dz.sum(axis=0)]
    dpool = dz @ p[-2].T * keep
    y = saved[-1][2]
    width = y.shape[2]
    dy = np.repeat(dpool[:, None, :width] / y.shape[1], y.shape[1], axis=1)
    n, c = np.ogrid[:len(y), :width]
    dy[n, top, c] += dpool[:, width:]
    for i in reversed(range(len(LAYERS))):
        k, stride, _ = LAYERS[i]
        shape, cols, y = saved[i]
        dy = (dy * (y > 0)).reshape(-1, y.shape[2])
        grads[:0] = [cols.reshape(len(dy), -1).T @ dy, dy.sum(axis=0)]
        if i:
            dcols = (dy @ p[2 * i].T).reshape(y.shape[0], y.shape[1], k, shape[2])
            dx = np.zeros(shape, np.float32)
            for j in range(k):
                dx[:, j:j + stride * (y.shape[1] - 1) + 1:stride] += dcols[:, :, j]
            dy = dx
    return grads


def fit(x, target, seed, log):
    """Train one net; returns the running average of its weights, which is steadier."""
    rng = np.random.default_rng(seed)
    p = fresh(rng)
    m, v = [np.zeros_like(a) for a in p], [np.zeros_like(a) for a in p]
    mean = [a.copy() for a in p]
    steps, step = PASSES * (len(x) // BATCH), 0
    for _ in range(PASSES):
        order = rng.permutation(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            pick = order[i:i + BATCH]
            keep = ((rng.random((BATCH, p[-2].shape[0])) > DROPOUT) / (1 - DROPOUT)).astype(np.float32)
            prob, state = forward(p, mask(x[pick], rng), keep)
            grads = backward(p, prob, target[pick], state, keep)
            step += 1
            rate = 2e-3 * min(1, step / 50) * 0.5 * (1 + np.cos(np.pi * step / steps))
            decay = min(0.995, step / (step + 10))
            for a, g, b, c, d in zip(p, grads, m, v, mean):
                b += 0.1 * (g - b)
                c += 0.01 * (g * g - c)
                a -= rate * (b / (1 - 0.9 ** step) / (np.sqrt(c / (1 - 0.99 ** step)) + 1e-7) + 1e-3 * a)
                d += (1 - decay) * (a - d)
            if step % 100 == 0:
                log(f"  seed {seed} step {step}/{steps} loss {-(target[pick] * np.log(prob + 1e-9)).sum(1).mean():.3f}")
    return mean


# ---- the ear --------------------------------------------------------------

class Ear:
    """The averaged nets."""

    def __init__(self, nets):
        self.nets = nets

    def listen(self, x):
        """Probability of each digit for clips (N, LENGTH): (N, 10)."""
        f = features(x)
        return np.concatenate([np.mean([forward(p, f[i:i + 128])[0] for p in self.nets], axis=0)
                               for i in range(0, len(f), 128)])

    def save(self, path):
        np.savez(path, version=VERSION, **{f"{i}_{j}": a for i, p in enumerate(self.nets) for j, a in enumerate(p)})

    @classmethod
    def load(cls, path):
        with np.load(path) as z:
            if int(z["version"]) != VERSION:
                raise SystemExit(f"{path}: weights of another version; train again")
            return cls([[z[f"{i}_{j}"] for j in range(2 * len(LAYERS) + 2)] for i in range(len(SEEDS))])

    @classmethod
    def train(cls, clips, log=print):
        rng = np.random.default_rng(0)
        eye = np.eye(10, dtype=np.float32)
        x, target = [], []
        for _ in range(POOL):
            noise = [not_speech(rng) for _ in range(len(clips) // 12)]
            wave = [vary(c, rng) for c in clips.x] + noise
            x.append(features(np.stack([audio.prepare(w) for w in wave])))
            target += [eye[clips.labels], np.full((len(noise), 10), 0.1, np.float32)]
        x, target = np.concatenate(x), np.concatenate(target)
        log(f"{len(x)} training examples from {len(clips)} clips")
        return cls([fit(x, target, seed, log) for seed in SEEDS])


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("cache", help="folder for digits.npz")
    ap.add_argument("--data", required=True, help="folder with train/ and test/")
    args = ap.parse_args()
    path = os.path.join(args.cache, "digits.npz")
    if os.path.exists(path):
        ear = Ear.load(path)
    else:
        os.makedirs(args.cache, exist_ok=True)
        start = time.process_time()
        ear = Ear.train(audio.Clips(os.path.join(args.data, "train")))
        ear.save(path)
        print(f"trained in {time.process_time() - start:.0f} s of processor time: {path}")
    test = audio.Clips(os.path.join(args.data, "test"))
    prob = ear.listen(test.x)
    right = prob.argmax(axis=1) == test.labels
    print(f"real test clips: {right.sum()} of {len(test)} right, {100 * right.mean():.2f} %, "
          f"mean confidence {prob.max(axis=1).mean():.3f}")
    for who in np.unique(test.speakers):
        print(f"  {who:10s} {100 * right[test.speakers == who].mean():.1f} %")
    for i in np.flatnonzero(~right):
        print(f"  wrong: {test.name(i)} heard as {audio.NAMES[prob[i].argmax()]} ({prob[i].max():.2f})")
    return 0 if right.mean() >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
