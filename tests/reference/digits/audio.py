"""Reading spoken digits and turning them into log-mel spectrograms.

Everything that looks at a clip goes through here, so that real recordings and
generated takes are prepared in exactly the same way: mono, 8 kHz, no offset,
cut or padded to one second, peak 1.

Uses numpy alone.  FLAC is decoded by `flac`, plain WAV by the standard library,
and anything of another rate, width or channel count is converted by `sox`.
"""
import io
import os
import subprocess
import wave

import numpy as np

NAMES = "zero one two three four five six seven eight nine".split()
RATE = 8000
LENGTH = RATE           # every clip is one second long after loading
WINDOW, HOP, FFT = 200, 80, 256     # 25 ms windows every 10 ms
BANDS = 32              # more would leave the lowest ones narrower than one FFT bin


def run(*command):
    # close_fds=False lets Python start the program without copying this
    # process first, which halves the time to read a few thousand files.
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, close_fds=False).stdout


def decode(path):
    """Samples of one file as float32 at 8 kHz, on whatever scale the file has."""
    try:
        flac = path.lower().endswith(".flac")
        source = io.BytesIO(run("flac", "-d", "-s", "-c", path)) if flac else path
        with wave.open(source, "rb") as f:
            if (f.getframerate(), f.getnchannels(), f.getsampwidth()) == (RATE, 1, 2):
                return np.frombuffer(f.readframes(f.getnframes()), "<i2").astype(np.float32)
    except wave.Error:
        pass            # float or extensible WAV: sox reads those
    # -D: no dither, so that decoding is exact and repeatable.
    raw = run("sox", "-D", path, "-t", "raw", "-e", "signed", "-b", "16", "-L",
              "-r", str(RATE), "-c", "1", "-")
    return np.frombuffer(raw, "<i2").astype(np.float32)


def prepare(x):
    """One second, no offset, peak 1.  Silence stays silence."""
    if x.size:
        x = x - x.mean()
    x = x[:LENGTH]
    x = np.pad(x, (0, LENGTH - x.size))
    peak = np.abs(x).max()
    return (x / peak if peak > 0 else x).astype(np.float32)


class Clips:
    """The clips of a folder that has one sub-folder per digit name."""

    def __init__(self, folder):
        self.folder, self.paths, labels = folder, [], []
        for label, name in enumerate(NAMES):
            sub = os.path.join(folder, name)
            files = sorted(os.listdir(sub)) if os.path.isdir(sub) else []
            for f in files:
                if f.lower().endswith((".wav", ".flac")):
                    self.paths.append(os.path.join(sub, f))
                    labels.append(label)
        if not self.paths:
            raise SystemExit(f"{folder}: no WAV or FLAC files in folders named {NAMES[0]}..{NAMES[-1]}")
        self.labels = np.array(labels)
        # Recordings are named SPEAKER_TAKE; for generated takes this means nothing.
        self.speakers = np.array([os.path.basename(p).split("_")[0] for p in self.paths])
        self.x = np.stack([prepare(decode(p)) for p in self.paths])

    def __len__(self):
        return len(self.paths)

    def name(self, i):
        """Path of clip i inside the folder: DIGIT/FILE."""
        return os.path.relpath(self.paths[i], self.folder)


def mel_bank(bands=BANDS, low=60.0, high=3800.0):
    """Triangular filters, equally spaced on the mel scale: (FFT/2+1, bands)."""
    top = 2595 * np.log10(1 + np.array([low, high]) / 700)
    edges = 700 * (10 ** (np.linspace(top[0], top[1], bands + 2) / 2595) - 1)
    f = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    up = (f - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - f) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(up, down)).astype(np.float32)


def mel_power(x, batch=128):
    """Mel-band power of clips (N, LENGTH): (N, frames, BANDS), frames = 98."""
    bank, window = mel_bank(), np.hanning(WINDOW).astype(np.float32)
    out = []
    for i in range(0, len(x), batch):
        frames = np.lib.stride_tricks.sliding_window_view(x[i:i + batch], WINDOW, axis=1)[:, ::HOP]
        spectrum = np.fft.rfft(frames * window, FFT)
        power = (spectrum.real ** 2 + spectrum.imag ** 2).astype(np.float32)
        out.append(power @ bank)
    return np.concatenate(out)


def log_mel(x, floor_db=50.0):
    """Log-mel in dB below the clip's loudest cell, softly floored at -floor_db.

    Relative to the clip itself, so gain does not matter; the floor keeps
    digital silence and a quiet room from looking different.
    """
    p = mel_power(x)
    p /= np.maximum(p.max(axis=(1, 2), keepdims=True), 1e-12)
    return 10 * np.log10(p + 10 ** (-floor_db / 10))
