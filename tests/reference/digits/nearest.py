"""Is a generated take a near copy of a training clip?

A take is a near copy if, for any one training clip of any digit, either holds:

waveform   The normalised cross-correlation of the two waveforms, at the best
           lag and in either polarity, is at least CORRELATION.  Both are first
           pre-emphasised, x[t] - PRE x[t-1]: without that, two vowels of the
           same pitch correlate at 0.8 by their first harmonics alone, and one
           real held-out clip in nine would count as a copy.  This finds the
           same samples again, whatever their gain and start, with moderate
           noise or filtering.

spectrum   The log-mel distance is below the smallest distance between any two
           different training takes of one speaker: closer than a person comes
           to repeating himself.  The distance is the RMS difference in dB over
           all cells, 50 dB range below each clip's loudest cell, speech cut
           free of the silence around it, at the best of a few alignments in
           steps of half a frame.  This finds a copy whose phase is different,
           or that runs one or two percent faster or slower, where correlation
           of samples fails.

The threshold of the second is taken from the training clips at hand; that of
the first is fixed.  What they mean is told by real clips that were held out:
they are no copies, so the share of them that is flagged is the rate of false
alarms.  score.py prints it beside every result.  With the 2700 training and 300
test clips of the Free Spoken Digit Dataset it is 1 in 300, by waveform; the
second threshold is 2.79 dB, and no test clip comes nearer than 3.6 dB.

How much of a copy is still found (200 training clips, each altered):
all of them if shifted and made quieter, passed through mu-law, or with noise
20 dB down; 83 % low-passed at 2.5 kHz; 80 % with a smoothly scrambled phase;
92 % played 1 % faster, 70 % at 2 %, 6 % at 4 %; 24 % with noise 10 dB down.
Beyond that the measure is blind, so the distribution of the nearest
correlation and distance is reported too: a generator that leans on its memory
shows there first, as values better than those of the test clips.
"""
import numpy as np

import audio

CORRELATION = 0.85
PRE = 0.7
SIZE = 8192             # of the FFT: lags wrap, which only matters for clips of a full second
AT_LEAST = 100          # training clips correlated with every take, the likeliest first
RANGE_DB = 50.0
SHIFTS = range(-8, 9)   # frames
PAD = max(SHIFTS)


def spectra(x):
    """Spectra whose product gives normalised correlation.  Silence gives zero."""
    y = x.astype(np.float64)
    y[:, 1:] -= PRE * x[:, :-1]
    y /= np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    return np.fft.rfft(y, SIZE)


def canvas(x):
    """Log-mel of the speech alone, above the floor, at frame PAD of an empty canvas.

    Returns it flat, (N, cells), with the number of speech frames of each clip."""
    level = np.maximum(audio.log_mel(x, RANGE_DB + 20) + RANGE_DB, 0)
    loud = level.max(axis=2)
    out = np.zeros((len(x), level.shape[1] + 2 * PAD, level.shape[2]), np.float32)
    frames = np.ones(len(x))
    for i in range(len(x)):
        speech = np.flatnonzero(loud[i] > RANGE_DB - 35)
        if x[i].any():
            a, b = speech[0], speech[-1] + 1
            out[i, PAD:PAD + b - a] = level[i, a:b]
            frames[i] = b - a
    return out, frames


def late(x):
    """The clips half a frame later."""
    return np.pad(x, ((0, 0), (audio.HOP // 2, 0)))[:, :x.shape[1]]


def distances(x, other, frames):
    """dB distances (N, M) of clips x to canvases `other` at the best alignment."""
    flat = other.reshape(len(other), -1)
    energy = (flat ** 2).sum(axis=1)
    best = np.full((len(x), len(other)), np.inf, np.float32)
    for moved in (x, late(x)):
        c, n = canvas(moved)
        own = (c ** 2).sum(axis=(1, 2))
        # |a-b|^2 = |a|^2 + |b|^2 - 2ab, so the best alignment has the largest product.
        product = np.full(best.shape, -np.inf, np.float32)
        for s in SHIFTS:
            np.maximum(product, np.roll(c, s, axis=1).reshape(len(c), -1) @ flat.T, out=product)
        square = np.maximum(own[:, None] + energy - 2 * product, 0)
        cells = np.maximum(n[:, None], frames) * audio.BANDS
        np.minimum(best, np.sqrt(square / cells), out=best)
    return best


class Nearest:
    """The training clips, ready to be compared with."""

    def __init__(self, train):
        self.train = train
        self.spectra = spectra(train.x)
        weight = np.full(SIZE // 2 + 1, 2 / SIZE)   # both halves of a real signal's spectrum
        weight[[0, -1]] = 1 / SIZE
        self.magnitudes = (np.abs(self.spectra) * weight).astype(np.float32)
        self.canvas, self.frames = canvas(train.x)
        pairs = [self._closest_pair(who) for who in np.unique(train.speakers)]
        self.threshold = min(pairs) if np.isfinite(min(pairs)) else 0.0     # 0 flags nothing

    def _closest_pair(self, speaker):
        mine = np.flatnonzero(self.train.speakers == speaker)
        if len(mine) < 2:
            return np.inf
        d = distances(self.train.x[mine], self.canvas[mine], self.frames[mine])
        np.fill_diagonal(d, np.inf)
        return float(d.min())

    def _correlation(self, x):
        """Largest correlation of each take, and the training clip that has it.

        No lag can correlate more than the product of the two magnitude spectra,
        so every clip whose bound reaches the threshold is tried, and the
        AT_LEAST likeliest: values above the threshold are exact, lower ones
        may miss a slightly better clip."""
        best, which = np.zeros(len(x)), np.zeros(len(x), int)
        for i in range(0, len(x), 64):
            s = spectra(x[i:i + 64])
            bounds = np.abs(s).astype(np.float32) @ self.magnitudes.T
            for j, bound in enumerate(bounds):
                count = max(AT_LEAST, np.count_nonzero(bound >= CORRELATION - 1e-3))
                pick = np.argsort(-bound)[:count]
                c = np.abs(np.fft.irfft(self.spectra[pick] * s[j].conj(), SIZE)).max(axis=1)
                best[i + j], which[i + j] = c.max(), pick[c.argmax()]
        return best, which

    def compare(self, x):
        """For clips (N, LENGTH): a dictionary of arrays of length N."""
        correlation, by_wave = self._correlation(x)
        distance, by_sound = np.zeros(len(x)), np.zeros(len(x), int)
        for i in range(0, len(x), 256):
            d = distances(x[i:i + 256], self.canvas, self.frames)
            distance[i:i + 256], by_sound[i:i + 256] = d.min(axis=1), d.argmin(axis=1)
        # A silent take would be "near" a nearly empty clip; it is a copy of nothing.
        heard = x.any(axis=1)
        wave = heard & (correlation >= CORRELATION)
        spectrum = heard & (distance < self.threshold)
        return {"correlation": correlation, "distance": distance, "wave": wave, "spectrum": spectrum,
                "copy": wave | spectrum, "clip": np.where(wave, by_wave, by_sound)}
