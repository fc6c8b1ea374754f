"""What surrounds the network, as scalar definitions: the two quantisers, Philox4x32-10,
Gumbel noise and the choice of a code."""
import math

import numpy as np

CODES = 256
WORD = 0xFFFFFFFF

# ---- quantiser "mu-law-256", in double -----------------------------------------------


def mu_encode(x):
    x = 0.0 if math.isnan(x) else min(1.0, max(-1.0, x))
    y = math.copysign(math.log(1.0 + 255.0 * abs(x)) / math.log(256.0), x)
    return math.floor((y + 1.0) / 2.0 * 255.0 + 0.5)


def mu_decode(code):
    y = (2 * code - 255) / 255.0
    return math.copysign((256.0 ** abs(y) - 1.0) / 255.0, y)


# ---- quantiser "s4-mu-law-256", in float32 as the published code ----------------------


def s4_rescale(x):
    """Min-max over the whole clip."""
    x = np.asarray(x, np.float32)
    low, high = x.min(), x.max()
    return (np.float32(-1) + np.float32(2) * (x - low) /
            (high - low + np.float32(1e-6))).astype(np.float32)


def s4_encode(a, real=np.float32):
    """Codes of values that were rescaled before; `real` allows a check in double."""
    a = np.asarray(a, real)
    e = np.sign(a) * np.log1p(real(255) * np.abs(a + real(1e-8))) / np.log1p(real(255))
    v = (e + real(1)) / real(2)
    return np.trunc(v * real(256 - 0.01) + real(0.005)).astype(np.int64)


def s4_decode(code):
    y = code / 128.0 - 1.0
    return (math.copysign(1.0, y) if y else 0.0) * (256.0 ** abs(y) - 1.0) / 255.0


# ---- random numbers -------------------------------------------------------------------


def philox(counter, key):
    """Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words from a counter of four
    words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 1 << 32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


# The vectors published with the authors' library: counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD,) * 4, (WORD,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
]


def noise_words(seed, n, stream):
    """The 256 words of sample n of a stream, purpose 0 (sampling), by code."""
    words = []
    for block in range(CODES // 4):
        words += philox((n & WORD, n >> 32, stream, 0 << 8 | block), (seed & WORD, seed >> 32))
    return np.array(words, dtype=np.uint64)


def gumbel(words):
    u = ((words >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0 ** -23
    return -np.log(-np.log(u))


# ---- the choice of a code -------------------------------------------------------------


def kept_codes(logits, top_p):
    """Mask of the smallest set of codes that reaches top_p; ties go to the lower code.
    Also how far, in probability, the decision is from a different one."""
    if top_p >= 1.0:
        return np.ones(CODES, bool), np.inf
    p = np.exp(logits - logits.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    total = np.cumsum(p[order])
    count = int(np.argmax(total >= top_p)) + 1
    keep = np.zeros(CODES, bool)
    keep[order[:count]] = True
    before = total[count - 2] if count > 1 else 0.0
    return keep, min(total[count - 1] - top_p, top_p - before)


def choose(logits, noise, temperature, top_p):
    """-> code, and the margins of the two decisions that led to it: by how much the winner
    leads, and how far the set of kept codes is from a different one."""
    keep, set_margin = kept_codes(logits, top_p)
    score = logits / temperature + noise if temperature > 0 else logits
    score = np.where(keep, score, -np.inf)
    best = int(np.argmax(score))            # the lowest code among equals
    second = np.max(np.delete(score, best))
    return best, score[best] - second, set_margin
