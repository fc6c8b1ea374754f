"""The network of the model configuration, in float64, as a list of steps.

`Network(config)` turns the JSON config of a model file into
  program       what is executed, in order: (kind, prefix of its parameters, tier)
  parameters    name -> Parameter(shape, decays, fixed learning rate, trainable)
  state_size    floats of the canonical state of one stream
The same program serves the unet and the plain layout: a skip is a `push` of the
stream's value and a later `pop` that adds the value pushed last.  Walking it
backwards, a pop hands its gradient on and a push collects it.

The canonical state is one flat vector a stream, in the order of the program:
  mixer      last K-1 conv inputs (E,K-1), oldest first; then h (E,N) or (E,N,2)
  s4d        h (H,N,2)
  down-pool  its frame (p,H); slots of the current frame live, the rest zero
  up-pool    its last up_shift frames (up_shift,p,H), frame l in slot l mod up_shift
"""
from collections import namedtuple

import numpy as np

import layers

CODES = 256
S4D_RATE = 1e-3     # s4d's dt, A and B learn at this rate, whatever the others do

Parameter = namedtuple("Parameter", "shape decays fixed_rate trainable")


def sinusoidal_table(width):
    """Row c: column 2i sin and 2i+1 cos of y_c 2^i pi/2, y_c the code in -1..1."""
    y = (2.0 * np.arange(CODES) - 255.0) / 255.0
    column = np.arange(width)
    angle = y[:, None] * 2.0 ** (column // 2) * np.pi / 2.0
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle))


def local(params, prefix):
    """The parameters below a prefix, by the rest of their names."""
    size = len(prefix)
    return {name[size:]: value for name, value in params.items() if name[:size] == prefix}


class Network:
    def __init__(self, config):
        self.config = config
        self.pool = list(config["pool"])
        self.shift = config.get("up_shift", 1)
        self.eps = config["norm_eps"]
        self.tiers = config["tiers"]
        if len(self.tiers) != len(self.pool) + 1:
            raise ValueError("a configuration has one tier more than pools")
        depth = range(len(self.tiers))
        self.width = [config["d_model"] * config["expand"] ** k for k in depth]
        self.rate = [int(np.prod(self.pool[:k], dtype=int)) for k in depth]     # P_k
        self.parameters, self.program = {}, []
        self.slots = {}                 # step of the program -> [(offset, shape), ...]
        self.state_size = 0
        self._build()

    # ---- building ----------------------------------------------------------------

    def _add(self, name, *shape, decays=True, fixed_rate=None, trainable=True):
        self.parameters[name] = Parameter(shape, decays, fixed_rate, trainable)

    def _step(self, kind, prefix="", tier=0, states=()):
        here = self.slots.setdefault(len(self.program), [])
        for shape in states:
            here.append((self.state_size, shape))
            self.state_size += int(np.prod(shape))
        self.program.append((kind, prefix, tier))

    def _build(self):
        config, centre = self.config, len(self.pool)
        unet = config["layout"] == "unet"
        self._add("embedding.weight", CODES, self.width[0], decays=False,
                  trainable=config.get("embedding", "learned") == "learned")
        self._step("embedding", "embedding.")
        for k in range(centre):
            if unet or k == 0:          # plain: only the outermost input has a label here
                self._label(f"down.{k}.", k)
            if unet:
                self._blocks(f"down.{k}.", k, before="push")
            self._step("push", tier=k)
            self._pool_parameters(f"down.{k}.pool.", self.width[k + 1],
                                  self.width[k] * self.pool[k])
            self._step("down", f"down.{k}.pool.", k, [(self.pool[k], self.width[k])])
        self._label("center.", centre)
        self._step("push", tier=centre)
        self._blocks("center.", centre)
        self._step("pop", tier=centre)
        for k in reversed(range(centre)):
            self._pool_parameters(f"up.{k}.pool.", self.width[k] * self.pool[k],
                                  self.width[k + 1])
            self._step("up", f"up.{k}.pool.", k, [(self.shift, self.pool[k], self.width[k])])
            self._step("pop", tier=k)
            self._label(f"up.{k}.", k)
            if unet:
                self._blocks(f"up.{k}.", k, after="pop")
            else:                       # one long skip around the whole stage
                self._step("push", tier=k)
                self._blocks(f"up.{k}.", k)
                self._step("pop", tier=k)
        self._add("norm.weight", self.width[0], decays=False)
        self._step("norm", "norm.")
        self._add("head.weight", CODES, self.width[0])
        self._add("head.bias", CODES, decays=False)
        self._step("head", "head.")
        self.owned = [[(name[len(prefix):], name) for name in self.parameters
                       if prefix and name.startswith(prefix)] for _, prefix, _ in self.program]

    def _label(self, stage, tier):
        if self.config["labels"]:
            self._add(stage + "label.weight", len(self.config["labels"]), self.width[tier],
                      decays=False)
            self._step("label", stage + "label.", tier)

    def _pool_parameters(self, prefix, rows, columns):
        self._add(prefix + "weight", rows, columns)
        self._add(prefix + "bias", rows, decays=False)

    def _blocks(self, stage, tier, before=None, after=None):
        """All layers of a stage; unet skips stand before or after every sublayer."""
        c, width = self.tiers[tier], self.width[tier]
        for i in range(c["layers"]):
            block = f"{stage}blocks.{i}."
            sublayers = ["s4d" if c["mixer"] == "s4d" else "mixer"]
            for kind in sublayers + ["ff"] * (c.get("ff", 0) > 0):
                if before:
                    self._step(before, tier=tier)
                if kind == "s4d":
                    self._s4d(block, tier, width, c["d_state"])
                elif kind == "mixer":
                    self._mixer(block, tier, width, c)
                else:
                    inner = c["ff"] * width
                    self._add(block + "ff_norm.weight", width, decays=False)
                    self._pool_parameters(block + "ff.in.", inner, width)
                    self._pool_parameters(block + "ff.out.", width, inner)
                    self._step("ff", block, tier)
                if after:
                    self._step(after, tier=tier)

    def _mixer(self, block, tier, width, c):
        inner, n, taps = c["mixer_expand"] * width, c["d_state"], c["d_conv"]
        rank, pair = -(-width // 16), (2,) * (c["state"] == "complex")
        m = block + "mixer."
        self._add(block + "norm.weight", width, decays=False)
        self._add(m + "in_proj.weight", 2 * inner, width)
        self._add(m + "conv1d.weight", inner, 1, taps)
        self._add(m + "conv1d.bias", inner, decays=False)
        if c["mixer"] == "selective":
            self._add(m + "x_proj.weight", rank + (4 if pair else 2) * n, inner)
            self._add(m + "dt_proj.weight", inner, rank)
            self._add(m + "dt_proj.bias", inner, decays=False)
        else:
            self._add(m + "dt_bias", inner, decays=False)
            self._add(m + "B", inner, n, *pair)
            self._add(m + "C", inner, n, *pair)
        self._add(m + "A_log", inner, n, decays=False)
        if pair:
            self._add(m + "A_imag", inner, n, decays=False)
        self._add(m + "D", inner, decays=False)
        self._add(m + "out_proj.weight", width, inner)
        self._step("mixer", block, tier, [(inner, taps - 1), (inner, n) + pair])

    def _s4d(self, block, tier, width, n):
        m = block + "mixer."
        self._add(block + "norm.weight", width, decays=False)
        self._add(m + "log_dt", width, decays=False, fixed_rate=S4D_RATE)
        self._add(m + "A_log", width, n, decays=False, fixed_rate=S4D_RATE)
        self._add(m + "A_imag", width, n, decays=False, fixed_rate=S4D_RATE)
        self._add(m + "B", width, n, 2, decays=False, fixed_rate=S4D_RATE)
        self._add(m + "C", width, n, 2)
        self._add(m + "D", width, decays=False)
        self._pool_parameters(m + "out.", 2 * width, width)
        self._step("s4d", block, tier, [(width, n, 2)])

    # ---- state -------------------------------------------------------------------

    def live(self, n):
        """(S) of 0 and 1: 0 where the state is zero by definition before sample n."""
        mask = np.ones(self.state_size)
        for at, (kind, _, tier) in enumerate(self.program):
            if kind == "down":
                (offset, (pool, width)), = self.slots[at]
                first = n // self.rate[tier] % pool
                mask[offset + first * width:offset + pool * width] = 0.0
        return mask

    def _get(self, state, at):
        return [state[:, offset:offset + int(np.prod(shape))].reshape((-1,) + shape)
                for offset, shape in self.slots[at]]

    def _put(self, state, at, *values):
        for (offset, shape), value in zip(self.slots[at], values):
            state[:, offset:offset + int(np.prod(shape))] = value.reshape(len(state), -1)

    # ---- walking -----------------------------------------------------------------

    def forward(self, params, state, codes, labels, n0):
        """A chunk: state (B,S) before sample n0, codes (B,T) already shifted by one,
        labels (B) with -1 for none -> logits (B,T,256), state after it, tape."""
        steps = codes.shape[1]
        out, stack, tape = np.empty_like(state), [], []
        x = None
        for at, (kind, prefix, tier) in enumerate(self.program):
            p, kept = self._own(params, at), None
            first = n0 // self.rate[tier]               # index of this tier's next tick
            ticks = (n0 + steps) // self.rate[tier] - first
            if kind == "embedding":
                x, kept = p["weight"][codes], codes
            elif kind == "label":
                kept = labels
                x = x + np.where(labels[:, None] >= 0, p["weight"][labels], 0.0)[:, None]
            elif kind == "push":
                stack.append(x)
            elif kind == "pop":
                x = x + stack.pop()
            elif kind in ("mixer", "s4d"):
                y, norm = layers.rmsnorm(x, p["norm.weight"], self.eps)
                if kind == "s4d":
                    y, h, inner = layers.s4d(local(p, "mixer."), y, *self._get(state, at))
                    self._put(out, at, h)
                else:
                    y, conv, h, inner = layers.mixer(local(p, "mixer."), self._selective(tier), y,
                                                     *self._get(state, at))
                    self._put(out, at, conv, h)
                x, kept = x + y, (norm, inner)
            elif kind == "ff":
                y, norm = layers.rmsnorm(x, p["ff_norm.weight"], self.eps)
                y, inner = layers.feed_forward(local(p, "ff."), y)
                x, kept = x + y, (norm, inner)
            elif kind == "down":
                x, frame, kept = layers.down_pool(p, self.pool[tier], x, *self._get(state, at),
                                                  first)
                self._put(out, at, frame)
            elif kind == "up":
                x, frames, kept = layers.up_pool(p, self.pool[tier], self.shift, x,
                                                 *self._get(state, at), first, ticks)
                self._put(out, at, frames)
            elif kind == "norm":
                x, kept = layers.rmsnorm(x, p["weight"], self.eps)
            elif kind == "head":
                kept = x
                x = layers.linear(x, p["weight"], p["bias"])
            assert kind == "down" or x.shape[1] == ticks
            tape.append(kept)
        return x, out, tape

    def backward(self, params, tape, dlogits, dstate_out):
        """Gradients of <dlogits, logits> + <dstate_out, state_out>: every trainable
        parameter's by name, and the initial state's."""
        grads, dstate, stack = {}, np.zeros_like(dstate_out), []
        dx = dlogits
        for at in reversed(range(len(self.program))):
            kind, prefix, tier = self.program[at]
            p, g, kept = self._own(params, at), {}, tape[at]
            if kind == "embedding":
                g["weight"] = np.zeros_like(p["weight"])
                np.add.at(g["weight"], kept, dx)
            elif kind == "label":
                g["weight"] = np.zeros_like(p["weight"])
                known = kept >= 0
                np.add.at(g["weight"], kept[known], dx[known].sum(1))
            elif kind == "push":
                dx = dx + stack.pop()
            elif kind == "pop":
                stack.append(dx)
            elif kind in ("mixer", "s4d", "ff"):
                body, norm = ("ff.", "ff_norm.weight") if kind == "ff" else ("mixer.", "norm.weight")
                q, gq = local(p, body), {}
                if kind == "ff":
                    dy = layers.feed_forward_backward(q, gq, kept[1], dx)
                elif kind == "s4d":
                    dy, dh = layers.s4d_backward(q, gq, kept[1], dx, *self._get(dstate_out, at))
                    self._put(dstate, at, dh)
                else:
                    dy, dconv, dh = layers.mixer_backward(q, gq, self._selective(tier), kept[1], dx,
                                                          *self._get(dstate_out, at))
                    self._put(dstate, at, dconv, dh)
                dy, g[norm] = layers.rmsnorm_backward(kept[0], p[norm], dy)
                g.update((body + name, value) for name, value in gq.items())
                dx = dx + dy
            elif kind == "down":
                dx, dframe = layers.down_pool_backward(p, g, self.pool[tier], kept, dx,
                                                       *self._get(dstate_out, at))
                self._put(dstate, at, dframe)
            elif kind == "up":
                dx, dframes = layers.up_pool_backward(p, g, self.shift, kept, dx,
                                                      *self._get(dstate_out, at))
                self._put(dstate, at, dframes)
            elif kind == "norm":
                dx, g["weight"] = layers.rmsnorm_backward(kept, p["weight"], dx)
            elif kind == "head":
                dx, g["weight"], g["bias"] = layers.linear_backward(kept, p["weight"], dx)
            grads.update((prefix + name, value) for name, value in g.items())
        return {name: grads[name] for name, q in self.parameters.items() if q.trainable}, dstate

    def _own(self, params, at):
        """The parameters of a step of the program, by their local names."""
        return {name: params[full] for name, full in self.owned[at]}

    def _selective(self, tier):
        return self.tiers[tier]["mixer"] == "selective"


def cross_entropy(logits, target, mask):
    """Mean over the unmasked targets, in nats, and its gradient."""
    shifted = logits - logits.max(-1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    b, t = np.indices(target.shape)
    weight = mask / mask.sum()
    dlogits = np.exp(logp)
    dlogits[b, t, target] -= 1.0
    return -(weight * logp[b, t, target]).sum(), dlogits * weight[..., None]


def loss_and_gradients(net, params, state, batch, dstate_out):
    """batch: in, target, mask (B,T), labels (B), n0.  Returns a dictionary; `loss` is the
    cross-entropy alone, the gradients are those of loss + <dstate_out, state_out>."""
    logits, state_out, tape = net.forward(params, state, batch["in"], batch["labels"], batch["n0"])
    loss, dlogits = cross_entropy(logits, batch["target"], batch["mask"])
    grads, dstate = net.backward(params, tape, dlogits, dstate_out)
    return {"loss": loss, "logits": logits, "state_out": state_out, "grads": grads,
            "dstate_in": dstate}
