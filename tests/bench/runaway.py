"""When does a take run away? runaway.py DATA TAKE.wav

Half seconds of the take are held against the louder half of those in DATA. One is off the road if
its zero crossings and its flatness in octaves are both above what 95 of a hundred of them have
(noise), or if nothing moves in it though something does in all of DATA. Prints: seconds until the
first 2 s that are all off (or the whole length), the part of half seconds that are off, and 1 if the take
never ran away, else 0. What is measured here is not what the guard measures: it has no
likelihoods, and the spectrum only in octaves.
"""
import glob
import sys
import wave

import numpy as np


def read(path):
    with wave.open(path) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768, file.getframerate()


def halves(path):
    """(n, 3): level in dB, zero crossings a sample, flatness over octaves."""
    x, rate = read(path)
    n = rate // 2
    rows = []
    for at in range(0, len(x) - n + 1, n):
        y = x[at:at + n] - x[at:at + n].mean()
        power = np.abs(np.fft.rfft(y * np.hanning(n))) ** 2
        edges = [n // 2 >> k for k in range(6, -1, -1)]
        bands = np.array([power[a:b].mean() for a, b in zip(edges, edges[1:])]) + 1e-12
        rows.append((20 * np.log10(max(y.std(), 1e-6)), np.mean(y[1:] * y[:-1] < 0),
                     np.exp(np.log(bands).mean()) / bands.mean()))
    return np.array(rows)


data = np.concatenate([halves(path) for path in sorted(glob.glob(sys.argv[1] + "/*.wav"))])
loud = data[data[:, 0] >= np.median(data[:, 0])]
crossings, flat = np.quantile(loud[:, 1], 0.95), np.quantile(loud[:, 2], 0.95)
take = halves(sys.argv[2])
quiet = take[:, 0] < min(-75, data[:, 0].min())
off = (take[:, 1] > crossings) & (take[:, 2] > flat) | quiet
runs = np.convolve(off, np.ones(4), "valid") == 4
first = runs.argmax() / 2 if runs.any() else len(take) / 2
print(f"{first:.1f} {off.mean():.4f} {int(not runs.any())}")
