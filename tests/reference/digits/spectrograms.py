"""A picture of real and generated digits, one above the other.

    spectrograms.py OUT.png TAKES_DIR DATA_DIR [--takes 4]

DATA_DIR is a folder of real clips (train or test, or one that holds train/).
For each digit, zero at the top to nine at the bottom, there are two rows of
log-mel spectrograms: real clips above, marked by a light bar at the left, and
generated takes below, marked by a dark one.  Time runs right over one second,
frequency up to 3.8 kHz; black is 50 dB under the loudest cell of each clip.
Clips are taken at even steps through the sorted files, so real rows show
several speakers.

The PNG is written with zlib alone.
"""
import argparse
import os
import struct
import zlib

import numpy as np

import audio

ZOOM = 2                # pixels a cell
GAP, MARGIN = 4, 10     # pixels between pictures; at the left, for the row's mark
RANGE_DB = 50.0
BACKGROUND = (60, 60, 70)
MARKS = {"real": (230, 230, 230), "take": (120, 60, 20)}

# Black, violet, orange, pale yellow: brightness rises throughout, so that the
# picture reads the same in grey.
COLOURS = np.array([(0, 0, 4), (80, 18, 123), (182, 54, 121), (251, 136, 97), (252, 253, 191)], float)


def colour(level):
    """Levels 0..1 of any shape to RGB bytes."""
    at = np.clip(level, 0, 1) * (len(COLOURS) - 1)
    rgb = [np.interp(at, np.arange(len(COLOURS)), COLOURS[:, c]) for c in range(3)]
    return np.stack(rgb, axis=-1).round().astype(np.uint8)


def write_png(path, image):
    """An (H, W, 3) array of bytes as PNG."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)     # a filter byte, 0 for none, starts every row
    rows[:, 1:] = image.reshape(height, -1)
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n")
        f.write(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)))
        f.write(chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)))
        f.write(chunk(b"IEND", b""))


def choose(clips, digit, count):
    """Up to `count` clips of a digit, spread over the sorted files."""
    mine = np.flatnonzero(clips.labels == digit)
    if not mine.size:
        return clips.x[:0]
    # Middles of equal parts: the first and last speaker get no more than the others.
    return clips.x[mine[np.unique(((np.arange(count) + 0.5) * mine.size / count).astype(int))]]


def picture(real, takes, count):
    frames = audio.log_mel(real.x[:1]).shape[1]
    tall, wide = audio.BANDS * ZOOM, frames * ZOOM
    image = np.empty((20 * (tall + GAP) + 10 * GAP + GAP, MARGIN + count * (wide + GAP) + GAP, 3), np.uint8)
    image[:] = BACKGROUND
    y = GAP
    for digit in range(10):
        for kind, clips in (("real", real), ("take", takes)):
            image[y:y + tall, 2:MARGIN - 2] = MARKS[kind]
            x = choose(clips, digit, count)
            # 20 dB further than shown, so that the floor is truly black.
            level = audio.log_mel(x, RANGE_DB + 20) / RANGE_DB + 1 if len(x) else []
            for i, cells in enumerate(level):
                block = np.kron(cells.T[::-1], np.ones((ZOOM, ZOOM)))
                left = MARGIN + i * (wide + GAP)
                image[y:y + tall, left:left + wide] = colour(block)
            y += tall + GAP
        y += GAP        # digits stand a little apart
    return image


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("out", help="PNG to write")
    ap.add_argument("takes", help="folder with a sub-folder of takes per digit")
    ap.add_argument("data", help="the same of real clips, or a folder that holds train/")
    ap.add_argument("--takes", dest="count", type=int, default=4, help="clips a row")
    args = ap.parse_args()
    inner = os.path.join(args.data, "train")
    image = picture(audio.Clips(inner if os.path.isdir(inner) else args.data), audio.Clips(args.takes), args.count)
    write_png(args.out, image)
    print(f"{args.out}: {image.shape[1]} x {image.shape[0]}; zero to nine downwards, "
          "light bar real, dark bar generated")


if __name__ == "__main__":
    main()
