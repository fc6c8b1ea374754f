"""Scores generated spoken digits against the real ones.

    score.py TAKES_DIR --data DIGITS_DIR --weights digits.npz [--json]

TAKES_DIR holds a folder per digit, zero to nine, with WAV takes in it.
DIGITS_DIR holds train/ and test/ of real recordings; digits.npz is what
classifier.py trained on train/.

Prints how many takes are recognised as the digit they should be, with which
confidence, what is mistaken for what, and how many are near copies of a
training clip (nearest.py says what that is).  The same is measured on the real
test clips: a perfect generator scores as they do, in every line.  A recognised
share is only worth something together with a low share of near copies, and
with nearest distances like those of the test clips: a good memory is
recognised too.
"""
import argparse
import json
import os

import numpy as np

import audio
from classifier import Ear
from nearest import CORRELATION, Nearest


def measure(clips, ear, nearest):
    """All the numbers about one set of clips, as plain values."""
    prob = ear.listen(clips.x)
    heard = prob.argmax(axis=1)
    right = (heard == clips.labels) & clips.x.any(axis=1)   # silence is no digit, whatever wins
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (clips.labels, heard), 1)
    near = nearest.compare(clips.x)
    # The mean over digits, so that a folder with more takes does not weigh more.
    per_digit = {audio.NAMES[d]: float(right[clips.labels == d].mean()) for d in np.unique(clips.labels)}

    def spread(v):
        return dict(zip(("p5", "median", "p95"), (float(q) for q in np.percentile(v, (5, 50, 95)))))

    return {
        "takes": len(clips),
        "silent": int((~clips.x.any(axis=1)).sum()),
        "recognised": float(right.mean()),
        "recognised_mean_of_digits": float(np.mean(list(per_digit.values()))),
        "recognised_per_digit": per_digit,
        "confusion": confusion.tolist(),
        "confidence": float(prob.max(axis=1).mean()),
        "confidence_in_right_digit": float(prob[np.arange(len(clips)), clips.labels].mean()),
        "near_copies": float(near["copy"].mean()),
        "near_copies_by_waveform": float(near["wave"].mean()),
        "near_copies_by_spectrum": float(near["spectrum"].mean()),
        "nearest_correlation": spread(near["correlation"]),
        "nearest_distance_db": spread(near["distance"]),
        "copied": [{"take": clips.name(i),
                    "of": nearest.train.name(near["clip"][i]),
                    "correlation": float(near["correlation"][i]),
                    "distance_db": float(near["distance"][i])}
                   for i in np.flatnonzero(near["copy"])],
    }


def report(takes, real, threshold):
    def line(name, key, scale=100.0, unit="%", sub=None):
        cells = [(m[key][sub] if sub else m[key]) * scale if m else None for m in (takes, real)]
        print(f"{name:38s}" + "".join(f"{c:10.2f} {unit:2s}" if c is not None else " " * 13 for c in cells))

    print(f"{'':38s}{'takes':>10s}" + (f"{'real test':>13s}" if real else ""))
    line("number", "takes", 1, "")
    line("silent", "silent", 1, "")
    line("recognised", "recognised")
    line("recognised, mean of digits", "recognised_mean_of_digits")
    for name in takes["recognised_per_digit"]:
        print(f"  {name:36s}" + "".join(
            f"{100 * m['recognised_per_digit'].get(name, np.nan):10.2f} % " for m in (takes, real) if m))
    line("mean confidence", "confidence")
    line("mean confidence in the right digit", "confidence_in_right_digit")
    line("near copies of training clips", "near_copies")
    line(f"  by waveform, correlation >= {CORRELATION}", "near_copies_by_waveform")
    line(f"  by spectrum, distance < {threshold:.2f} dB", "near_copies_by_spectrum")
    for sub in ("p5", "median", "p95"):
        line(f"nearest correlation, {sub}", "nearest_correlation", 1, "", sub)
    for sub in ("p5", "median", "p95"):
        line(f"nearest distance, {sub}", "nearest_distance_db", 1, "dB", sub)
    print("\nconfusion of the takes: a row for the digit meant, a column for the digit heard")
    print(" " * 7 + "".join(f"{n:>6s}" for n in audio.NAMES))
    for name, row in zip(audio.NAMES, takes["confusion"]):
        print(f"{name:7s}" + "".join(f"{n or '.':>6}" for n in row))
    for c in takes["copied"][:20]:
        print(f"near copy: {c['take']} of {c['of']} "
              f"(correlation {c['correlation']:.3f}, distance {c['distance_db']:.2f} dB)")
    if len(takes["copied"]) > 20:
        print(f"near copy: and {len(takes['copied']) - 20} more (--json lists all)")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("takes", help="folder with a sub-folder of takes per digit")
    ap.add_argument("--data", required=True, help="folder with train/ and test/ of real clips")
    ap.add_argument("--weights", required=True, help="digits.npz from classifier.py")
    ap.add_argument("--json", action="store_true", help="print one JSON object instead")
    ap.add_argument("--no-real", action="store_true", help="leave out the real test clips")
    args = ap.parse_args()
    takes = audio.Clips(args.takes)
    ear = Ear.load(args.weights)
    nearest = Nearest(audio.Clips(os.path.join(args.data, "train")))
    found = measure(takes, ear, nearest)
    real = None
    if not args.no_real:
        real = measure(audio.Clips(os.path.join(args.data, "test")), ear, nearest)
    if args.json:
        print(json.dumps({"takes": found, "real_test": real, "copy_correlation": CORRELATION,
                          "copy_distance_db": nearest.threshold}, indent=1))
    else:
        report(found, real, nearest.threshold)


if __name__ == "__main__":
    main()
