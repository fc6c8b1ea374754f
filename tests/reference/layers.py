"""The causal operators of the network in float64, each forward with its backward.

Every operator works on a chunk: x is (B, T, width), T may be 0, state goes in and
state comes out.  The forward returns what the backward needs as a `tape`.  The
gradients are derived by hand; no automatic differentiation stands behind them, and
`selftest.py` compares every one with central differences.

Complex numbers: the gradient of a real loss L with respect to z is
dz = dL/dRe(z) + i dL/dIm(z).  With it, for w = a*b:  da = conj(b) dw, and the same
formulas serve real state, where conj does nothing.

`p` is a dictionary of the operator's own parameters by their local names, `g` one
of the same kind that receives the gradients.
"""
import math

import numpy as np

_erf = np.frompyfunc(math.erf, 1, 1)    # numpy has no erf; sizes here are small


def sigmoid(x):
    return 0.5 * (1.0 + np.tanh(0.5 * x))   # this form cannot overflow


def softplus(x):
    return np.where(x > 20.0, x, np.log1p(np.exp(np.minimum(x, 20.0))))


def softplus_slope(x):
    return np.where(x > 20.0, 1.0, sigmoid(x))


def silu_slope(x):
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def gelu(x):
    """The erf form, x * Phi(x), not the tanh approximation."""
    return x * 0.5 * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))


def gelu_slope(x):
    phi = 0.5 * (1.0 + _erf(x / math.sqrt(2.0)).astype(np.float64))
    return phi + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def flat(x):
    return x.reshape(-1, x.shape[-1])


def linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(x, weight, dy):
    """dx, dweight, dbias of y = x weight^T + bias."""
    return dy @ weight, flat(dy).T @ flat(x), flat(dy).sum(0)


def rmsnorm(x, weight, eps):
    scale = 1.0 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    return x * scale * weight, (x, scale)


def rmsnorm_backward(tape, weight, dy):
    x, scale = tape
    v = dy * weight
    dx = scale * v - x * scale ** 3 * (v * x).mean(-1, keepdims=True)
    return dx, flat(dy * x * scale).sum(0)


def scan(a, b, h_in):
    """h_t = a_t h_(t-1) + b_t along axis 1; returns every h_t and the last one."""
    h, now = np.empty(b.shape, b.dtype), h_in
    for t in range(b.shape[1]):
        now = a[:, t] * now + b[:, t]
        h[:, t] = now
    return h, now


def scan_backward(a, h, h_in, dh_direct, dh_out):
    """dh_direct: what each h_t receives from its output; dh_out: from the final state."""
    steps = h.shape[1]
    before = np.concatenate([h_in[:, None], h], axis=1)[:, :steps]
    db, carry = np.empty(h.shape, h.dtype), dh_out
    for t in reversed(range(steps)):
        db[:, t] = dh_direct[:, t] + carry
        carry = np.conj(a[:, t]) * db[:, t]
    return db * np.conj(before), db, carry          # da, db, dh_in


def poles(p):
    """A = -exp(A_log) + i A_imag; real where there is no A_imag."""
    real = -np.exp(p["A_log"])
    return real + 1j * p["A_imag"] if "A_imag" in p else real


def poles_backward(p, g, da):
    g["A_log"] = da.real * -np.exp(p["A_log"])
    if "A_imag" in p:
        g["A_imag"] = da.imag


def as_complex(x):
    """(..., 2) of re, im -> complex."""
    return x[..., 0] + 1j * x[..., 1]


def as_pairs(x):
    return np.stack([x.real, x.imag], axis=-1)


def mixer(p, selective, x, conv, h_in):
    """Mamba's mixer; static dt, B and C where not selective.

    x (B,T,H); conv (B,E,K-1), the previous inputs of the convolution, oldest first;
    h_in (B,E,N), or (B,E,N,2) for complex state.
    """
    steps, inner = x.shape[1], p["D"].size
    is_complex = "A_imag" in p
    if is_complex:
        h_in = as_complex(h_in)
    xz = linear(x, p["in_proj.weight"])
    xs, z = xz[..., :inner], xz[..., inner:]            # rows x, then z

    taps = p["conv1d.weight"][:, 0, :]                  # (E,K), the last tap is now
    padded = np.concatenate([conv.transpose(0, 2, 1), xs], axis=1)
    c = p["conv1d.bias"] + sum(taps[:, k] * padded[:, k:k + steps]
                               for k in range(taps.shape[1]))
    u = c * sigmoid(c)

    a_pole, n = poles(p), p["A_log"].shape[1]
    if selective:
        proj = linear(u, p["x_proj.weight"])
        rank = p["dt_proj.weight"].shape[1]
        dtr, rest = proj[..., :rank], proj[..., rank:]
        raw = linear(dtr, p["dt_proj.weight"], p["dt_proj.bias"])
        if is_complex:                                  # blocks Re B, Im B, Re C, Im C
            bm = rest[..., :n] + 1j * rest[..., n:2 * n]
            cm = rest[..., 2 * n:3 * n] + 1j * rest[..., 3 * n:]
        else:
            bm, cm = rest[..., :n], rest[..., n:]
        bm, cm = bm[:, :, None, :], cm[:, :, None, :]   # shared by all channels
    else:
        dtr = None
        raw = np.broadcast_to(p["dt_bias"], u.shape)
        bm, cm = (as_complex(p["B"]), as_complex(p["C"])) if is_complex else (p["B"], p["C"])
    delta = softplus(raw)
    a = np.exp(delta[..., None] * a_pole)               # exact for A,
    h, h_out = scan(a, (delta * u)[..., None] * bm, h_in)   # Euler for B
    gain = 2.0 if is_complex else 1.0                   # the conjugate half is implied
    y = gain * (cm * h).sum(-1).real + p["D"] * u
    gate = z * sigmoid(z)
    out = linear(y * gate, p["out_proj.weight"])
    tape = (x, z, padded, c, u, a_pole, dtr, raw, delta, bm, cm, a, h, h_in, y, gate, gain)
    conv_out = padded[:, steps:].transpose(0, 2, 1)
    return out, conv_out, as_pairs(h_out) if is_complex else h_out, tape


def mixer_backward(p, g, selective, tape, dout, dconv, dh_out):
    x, z, padded, c, u, a_pole, dtr, raw, delta, bm, cm, a, h, h_in, y, gate, gain = tape
    steps, is_complex = x.shape[1], "A_imag" in p
    if is_complex:
        dh_out = as_complex(dh_out)
    dgated, g["out_proj.weight"], _ = linear_backward(y * gate, p["out_proj.weight"], dout)
    dz = dgated * y * silu_slope(z)
    dy = dgated * gate
    g["D"] = flat(dy * u).sum(0)
    du = dy * p["D"]

    dcm = gain * dy[..., None] * np.conj(h)             # (B,T,E,N), summed below
    da, db, dh_in = scan_backward(a, h, h_in, gain * dy[..., None] * np.conj(cm), dh_out)
    dlog = da * np.conj(a)                              # a = exp(delta A)
    poles_backward(p, g, (dlog * delta[..., None]).sum((0, 1)))
    ddelta = (dlog * np.conj(a_pole)).real.sum(-1)
    dbm = db * (delta * u)[..., None]
    dproduct = (db * np.conj(bm)).real.sum(-1)          # of delta * u
    ddelta = ddelta + dproduct * u
    du = du + dproduct * delta
    draw = ddelta * softplus_slope(raw)
    if selective:
        ddtr, g["dt_proj.weight"], g["dt_proj.bias"] = linear_backward(
            dtr, p["dt_proj.weight"], draw)
        dbm, dcm = dbm.sum(2), dcm.sum(2)
        parts = [dbm.real, dbm.imag, dcm.real, dcm.imag] if is_complex else [dbm, dcm]
        dproj = np.concatenate([ddtr] + parts, axis=-1)
        du_proj, g["x_proj.weight"], _ = linear_backward(u, p["x_proj.weight"], dproj)
        du = du + du_proj
    else:
        g["dt_bias"] = draw.sum((0, 1))
        dbm, dcm = dbm.sum((0, 1)), dcm.sum((0, 1))
        g["B"], g["C"] = (as_pairs(dbm), as_pairs(dcm)) if is_complex else (dbm, dcm)

    dc = du * silu_slope(c)
    taps = p["conv1d.weight"][:, 0, :]
    g["conv1d.bias"] = dc.sum((0, 1))
    g["conv1d.weight"] = np.zeros_like(p["conv1d.weight"])
    dpadded = np.zeros_like(padded)
    dpadded[:, steps:] += dconv.transpose(0, 2, 1)      # the last K-1 inputs are the state
    for k in range(taps.shape[1]):
        dpadded[:, k:k + steps] += taps[:, k] * dc
        g["conv1d.weight"][:, 0, k] = (dc * padded[:, k:k + steps]).sum((0, 1))
    history = padded.shape[1] - steps
    dconv_in = dpadded[:, :history].transpose(0, 2, 1)
    dxz = np.concatenate([dpadded[:, history:], dz], axis=-1)
    dx, g["in_proj.weight"], _ = linear_backward(x, p["in_proj.weight"], dxz)
    return dx, dconv_in, as_pairs(dh_in) if is_complex else dh_in


def s4d(p, x, h_in):
    """S4D + GELU + linear + GLU.  x (B,T,H); h_in (B,H,N,2)."""
    h_in = as_complex(h_in)
    a_pole, b_raw, cm = poles(p), as_complex(p["B"]), as_complex(p["C"])
    delta = np.exp(p["log_dt"])[:, None]
    a = np.exp(delta * a_pole)
    bm = b_raw * (a - 1.0) / a_pole                     # zero-order hold
    a_all = np.broadcast_to(a, x.shape + (a.shape[1],))
    h, h_out = scan(a_all, bm * x[..., None], h_in)
    y = 2.0 * (cm * h).sum(-1).real + p["D"] * x
    v = gelu(y)
    w = linear(v, p["out.weight"], p["out.bias"])
    first, second = np.split(w, 2, axis=-1)
    s = sigmoid(second)
    tape = (x, a_pole, b_raw, cm, delta, a, bm, a_all, h, h_in, y, v, first, s)
    return first * s, as_pairs(h_out), tape


def s4d_backward(p, g, tape, dout, dh_out):
    x, a_pole, b_raw, cm, delta, a, bm, a_all, h, h_in, y, v, first, s = tape
    dw = np.concatenate([dout * s, dout * first * s * (1.0 - s)], axis=-1)
    dv, g["out.weight"], g["out.bias"] = linear_backward(v, p["out.weight"], dw)
    dy = dv * gelu_slope(y)
    g["D"] = (dy * x).sum((0, 1))
    g["C"] = as_pairs((2.0 * dy[..., None] * np.conj(h)).sum((0, 1)))
    da, db, dh_in = scan_backward(a_all, h, h_in, 2.0 * dy[..., None] * np.conj(cm),
                                  as_complex(dh_out))
    dx = dy * p["D"] + (db * np.conj(bm)).real.sum(-1)
    dbm = (db * x[..., None]).sum((0, 1))
    g["B"] = as_pairs(dbm * np.conj((a - 1.0) / a_pole))
    dhold = dbm * np.conj(b_raw)                        # of (a - 1) / A
    da = da.sum((0, 1)) + dhold * np.conj(1.0 / a_pole)
    dlog = da * np.conj(a)
    poles_backward(p, g, dlog * delta - dhold * np.conj((a - 1.0) / a_pole ** 2))
    g["log_dt"] = ((dlog * np.conj(a_pole)).real * delta).sum(-1)
    return dx, as_pairs(dh_in)


def feed_forward(p, x):
    v = linear(x, p["in.weight"], p["in.bias"])
    e = gelu(v)
    return linear(e, p["out.weight"], p["out.bias"]), (x, v, e)


def feed_forward_backward(p, g, tape, dout):
    x, v, e = tape
    de, g["out.weight"], g["out.bias"] = linear_backward(e, p["out.weight"], dout)
    dx, g["in.weight"], g["in.bias"] = linear_backward(x, p["in.weight"], de * gelu_slope(v))
    return dx


def down_pool(p, pool, x, frame, first):
    """x: ticks first, first+1, ...; frame (B,p,H): only slots below first mod p are live."""
    batch, _, width = x.shape
    live = first % pool
    ticks = np.concatenate([frame[:, :live], x], axis=1)
    whole = ticks.shape[1] // pool
    # (B,frames,p,H) -> features h*p + s
    v = ticks[:, :whole * pool].reshape(batch, whole, pool, width)
    v = v.transpose(0, 1, 3, 2).reshape(batch, whole, width * pool)
    rest = ticks[:, whole * pool:]
    frame_out = np.zeros_like(frame)
    frame_out[:, :rest.shape[1]] = rest
    return linear(v, p["weight"], p["bias"]), frame_out, (v, live, rest.shape[1])


def down_pool_backward(p, g, pool, tape, dy, dframe_out):
    v, live, rest = tape
    batch, whole, _ = v.shape
    dv, g["weight"], g["bias"] = linear_backward(v, p["weight"], dy)
    width = v.shape[2] // pool
    dticks = dv.reshape(batch, whole, width, pool).transpose(0, 1, 3, 2)
    dticks = np.concatenate([dticks.reshape(batch, whole * pool, width), dframe_out[:, :rest]],
                            axis=1)
    dframe_in = np.zeros_like(dframe_out)               # dead slots influence nothing
    dframe_in[:, :live] = dticks[:, :live]
    return dticks[:, live:], dframe_in


def up_pool(p, pool, shift, x, frames, first, steps):
    """x (B,F,H'): the frames finished in this chunk; frames (B,shift,p,H): those before.

    Tick f emits frame floor(f/p) - shift, position f mod p.  In the line of all frames,
    old ones first, that is entry floor(f/p) - floor(first/p).  Frame l is kept in slot
    l mod shift.
    """
    batch, count = x.shape[:2]
    oldest = first // pool - shift
    slots = (oldest + np.arange(shift)) % shift
    u = linear(x, p["weight"], p["bias"])
    u = u.reshape(batch, count, u.shape[2] // pool, pool).transpose(0, 1, 3, 2)
    line = np.concatenate([frames[:, slots], u], axis=1)
    ticks = first + np.arange(steps)
    where = (ticks // pool - first // pool, ticks % pool)
    slots_out = (oldest + count + np.arange(shift)) % shift
    frames_out = np.empty_like(frames)
    frames_out[:, slots_out] = line[:, count:]
    return line[:, where[0], where[1]], frames_out, (x, line.shape, where, slots, slots_out)


def up_pool_backward(p, g, shift, tape, dy, dframes_out):
    x, shape, where, slots, slots_out = tape
    batch, count = x.shape[:2]
    dline = np.zeros(shape)
    dline[:, where[0], where[1]] = dy                   # every (frame, position) at most once
    dline[:, count:] += dframes_out[:, slots_out]
    dframes_in = np.empty_like(dframes_out)
    dframes_in[:, slots] = dline[:, :shift]
    du = dline[:, shift:].transpose(0, 1, 3, 2).reshape(batch, count, shape[2] * shape[3])
    dx, g["weight"], g["bias"] = linear_backward(x, p["weight"], du)
    return dx, dframes_in
