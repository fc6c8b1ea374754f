"""What arrived at a device is what should: heard.py HEARD.raw EXPECTED.raw CHANNELS [gaps].

Float samples, HEARD interleaved. All of EXPECTED must be there, bit for bit, in every channel, with
nothing but silence before it and a fall to silence behind."""

import sys

import numpy

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
if len(part) < len(expected) - skip:
    sys.exit(f"{len(part)} samples of {len(expected) - skip} were heard")
bad = numpy.nonzero(part != expected[skip:])[0]
if len(bad):
    i = bad[0]
    sys.exit(
        f"{len(bad)} of {len(part)} samples differ, the first is {i}: "
        f"{part[i]:.9g}, not {expected[skip + i]:.9g}"
    )
rest = numpy.abs(heard[begin + len(part) :])
if len(rest) and rest.max() > abs(part[-1]):
    sys.exit("there is sound behind the end")
print(f"{len(part)} samples, all as they should be")
