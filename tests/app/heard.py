"""What arrived at a device is what should: heard.py HEARD.raw EXPECTED.raw CHANNELS [gaps].

Float samples, HEARD interleaved. All of EXPECTED must be there, bit for bit, in every channel, with
nothing but silence before it and a fall to silence behind. What else arrived is named; silence
between the samples, and nothing else, is named by itself."""

import sys

import numpy


def only_silence_between(heard, expected):
    """expected is all there, in its order, and besides it only zeros are."""
    heard, expected, at = heard.tolist(), expected.tolist(), 0
    for x in heard:
        if at < len(expected) and x == expected[at]:
            at += 1
        elif x != 0 and at < len(expected):
            return False
    return at == len(expected)


heard = numpy.fromfile(sys.argv[1], numpy.float32)
expected = numpy.fromfile(sys.argv[2], numpy.float32)
channels = int(sys.argv[3])
heard = heard[: len(heard) // channels * channels].reshape(-1, channels)
if not numpy.any(heard):
    sys.exit("nothing was heard")
if not (heard == heard[:, :1]).all():
    sys.exit("the channels differ")
heard = heard[:, 0]
begin = numpy.nonzero(heard)[0][0]
skip = numpy.nonzero(expected)[0][0]
part = heard[begin : begin + len(expected) - skip]
part = part[: numpy.nonzero(part)[0][-1] + 1] if len(part) < len(expected) - skip else part
if len(part) < len(expected) - skip and (part == expected[skip : skip + len(part)]).all():
    sys.exit(f"{len(part)} samples of {len(expected) - skip} were heard")
bad = numpy.nonzero(part != expected[skip : skip + len(part)])[0]
if len(bad):
    i = bad[0]
    if only_silence_between(heard[begin:], expected[skip:]):
        sys.exit("silence was put between samples")
    sys.exit(
        f"{len(bad)} of {len(part)} samples differ, the first is {i}: "
        f"{part[i]:.9g}, not {expected[skip + i]:.9g}"
    )
rest = numpy.abs(heard[begin + len(part) :])
if len(rest) and rest.max() > abs(part[-1]):
    sys.exit("there is sound behind the end")
print(f"{len(part)} samples, all as they should be")
