"""The audio U-Net (unet, pools 4,4, expand 2, selective and real) in PyTorch, twice: as modules that
train on whole clips, and as an eager recurrent step. Tensors have the names of hiss's model files.
"""
import math

import torch
import torch.nn.functional as F

CODES, STATES, TAPS, POOL, TIERS, EPS = 256, 16, 4, 4, 3, 1e-5


def config(width, layers):
    """The configuration of a model file of this shape, for the reference."""
    tier = {"layers": layers, "mixer": "selective", "state": "real", "d_state": STATES,
            "d_conv": TAPS, "mixer_expand": 2, "ff": 0}
    return {"format": 1, "sample_rate": 16000, "quantizer": "mu-law-256", "normalize": "peak",
            "clip": {"mode": "whole", "samples": 16000}, "layout": "unet", "d_model": width,
            "expand": 2, "pool": [POOL] * (TIERS - 1), "up_shift": 1, "norm_eps": EPS,
            "embedding": "learned", "labels": [], "tiers": [tier] * TIERS}


# --- the recurrence over a clip -------------------------------------------------------------------

class Scan(torch.autograd.Function):
    """y_t = C_t h_t, h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t.

    u, dt (T,B,E); A (E,N); Bm, Cm (T,B,N) -> (T,B,E). What is of size T*E*N exists for one chunk of
    time at a time: one fused multiply-add a step inside, everything else for the whole chunk. The
    backward makes the states of a chunk again, then runs through it the other way. Sums are products
    and then a sum: PyTorch's batched products of such narrow matrices take two to four times as long.
    """
    floats = 1 << 18        # of a chunk: its handful of tensors stay in the caches

    @staticmethod
    def chunk(u, a):
        return max(8, Scan.floats // (u.shape[1] * a.numel()))

    @staticmethod
    def over_states(x, y, scratch):
        """sum_n x y, for x and scratch (T,B,E,N)."""
        x = torch.mul(x, y, out=scratch[:len(x)])
        return torch.mv(x.view(-1, STATES), x.new_ones(STATES)).view(x.shape[:-1])

    @staticmethod
    def states(h, u, dt, a, b):
        """exp(dt A) and h of every step of a chunk that is entered with h."""
        decay = torch.exp_(dt.unsqueeze(-1) * a)
        states = (dt * u).unsqueeze(-1) * b.unsqueeze(2)
        for a_t, h_t in zip(decay.unbind(0), states.unbind(0)):
            h = h_t.addcmul_(a_t, h)
        return decay, states

    @staticmethod
    def forward(ctx, u, dt, a, b, c):
        h = u.new_zeros(u.shape[1], *a.shape)
        size, entering, y = Scan.chunk(u, a), [], []
        for i in range(0, len(u), size):
            at = slice(i, i + size)
            entering.append(h)
            decay, states = Scan.states(h, u[at], dt[at], a, b[at])
            y.append(Scan.over_states(states, c[at].unsqueeze(2), decay))
            h = states[-1].clone()
        ctx.save_for_backward(u, dt, a, b, c)
        ctx.entering = entering
        return torch.cat(y)

    @staticmethod
    def backward(ctx, dy):
        u, dt, a, b, c = ctx.saved_tensors
        du, ddt, db, dc = (torch.empty_like(x) for x in (u, dt, b, c))
        da = torch.zeros_like(a)
        size, carry = Scan.chunk(u, a), torch.zeros_like(ctx.entering[0])
        scratch = u.new_empty(size, *carry.shape)
        for k in reversed(range(len(ctx.entering))):
            at = slice(k * size, k * size + size)
            decay, states = Scan.states(ctx.entering[k], u[at], dt[at], a, b[at])
            out = scratch[:len(states)]
            dc[at] = torch.mul(states, dy[at].unsqueeze(-1), out=out).sum(2)
            dstates = dy[at].unsqueeze(-1) * c[at].unsqueeze(2)
            last = dstates[-1].add_(carry)
            for a_next, d in zip(reversed(decay.unbind(0)), reversed(dstates.unbind(0)[:-1])):
                last = d.addcmul_(a_next, last)
            carry = decay[0] * last
            from_b = Scan.over_states(dstates, b[at].unsqueeze(2), scratch)
            db[at] = torch.mul(dstates, (dt[at] * u[at]).unsqueeze(-1), out=out).sum(2)
            du[at] = from_b * dt[at]
            dstates *= decay                # from here on: gradient of dt A
            dstates[1:] *= states[:-1]
            dstates[0] *= ctx.entering[k]
            ddt[at] = from_b * u[at] + Scan.over_states(dstates, a, scratch)
            da += torch.mul(dstates, dt[at].unsqueeze(-1), out=out).sum((0, 1))
        return du, ddt, da, db, dc


# --- modules --------------------------------------------------------------------------------------

class Mixer(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        inner, rank = 2 * width, -(-width // 16)
        self.rank = rank
        self.in_proj = torch.nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = torch.nn.Conv1d(inner, inner, TAPS, groups=inner)
        self.x_proj = torch.nn.Linear(inner, rank + 2 * STATES, bias=False)
        self.dt_proj = torch.nn.Linear(rank, inner)
        n = torch.arange(1, STATES + 1, dtype=torch.float32)
        self.A_log = torch.nn.Parameter(torch.log(n).repeat(inner, 1))
        self.D = torch.nn.Parameter(torch.ones(inner))
        self.out_proj = torch.nn.Linear(inner, width, bias=False)
        with torch.no_grad():
            dt = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(0.1)))
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, x):
        xs, z = self.in_proj(x).chunk(2, -1)
        # four multiply-adds of shifted clips: faster than a grouped convolution on a CPU
        padded, w = F.pad(xs, (0, 0, 0, 0, TAPS - 1, 0)), self.conv1d.weight.squeeze(1)
        u = self.conv1d.bias
        for k in range(TAPS):
            u = torch.addcmul(u, padded[k:k + len(xs)], w[:, k])
        u = F.silu(u)
        dt, b, c = self.x_proj(u).split((self.rank, STATES, STATES), -1)
        dt = F.softplus(self.dt_proj(dt))
        y = Scan.apply(u, dt, -torch.exp(self.A_log), b, c)
        return self.out_proj((y + self.D * u) * F.silu(z))


def rmsnorm(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


class Norm(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return rmsnorm(x, self.weight)


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mixer = Norm(width), Mixer(width)

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Stage(torch.nn.Module):
    def __init__(self, width, layers, pool=None):
        super().__init__()
        if pool:
            self.pool = torch.nn.Linear(*pool)
        self.blocks = torch.nn.ModuleList(Block(width) for _ in range(layers))


class Network(torch.nn.Module):
    """codes (T,B), inputs -> logits (T,B,256). T is a multiple of 16."""

    def __init__(self, width, layers):
        super().__init__()
        widths = [width << k for k in range(TIERS)]
        self.embedding = torch.nn.Embedding(CODES, width)
        self.down = torch.nn.ModuleList(Stage(h, layers, (h * POOL, 2 * h)) for h in widths[:-1])
        self.center = Stage(widths[-1], layers)
        self.up = torch.nn.ModuleList(Stage(h, layers, (2 * h, h * POOL)) for h in widths[:-1])
        self.norm = Norm(width)
        self.head = torch.nn.Linear(width, CODES)

    def forward(self, codes):
        x, skips = self.embedding(codes), []
        for stage in self.down:
            for block in stage.blocks:
                skips.append(x)
                x = block(x)
            skips.append(x)
            t, b, h = x.shape
            x = stage.pool(x.view(t // POOL, POOL, b, h).permute(0, 2, 3, 1).flatten(2))
        entered = x
        for block in self.center.blocks:
            x = block(x)
        x = x + entered
        for stage in reversed(self.up):
            t, b, h = x.shape
            x = stage.pool(x).view(t, b, h // 2, POOL).permute(0, 3, 1, 2).flatten(0, 1)
            x = F.pad(x[:-POOL], (0, 0, 0, 0, POOL, 0)) + skips.pop()   # a frame late
            for block in stage.blocks:
                x = block(x) + skips.pop()
        return self.head(self.norm(x))


# --- the eager step -------------------------------------------------------------------------------

class BlockStep:
    def __init__(self, p, name):
        m = name + "mixer."
        self.norm = p[name + "norm.weight"]
        self.in_proj, self.out_proj = p[m + "in_proj.weight"], p[m + "out_proj.weight"]
        self.conv, self.conv_bias = p[m + "conv1d.weight"].squeeze(1), p[m + "conv1d.bias"]
        self.x_proj = p[m + "x_proj.weight"]
        self.dt_proj, self.dt_bias = p[m + "dt_proj.weight"], p[m + "dt_proj.bias"]
        self.a, self.d = -torch.exp(p[m + "A_log"]), p[m + "D"]
        inner, self.rank = self.d.numel(), self.dt_proj.shape[1]
        self.taps = torch.zeros(inner, TAPS)
        self.h = torch.zeros(inner, STATES)

    def __call__(self, x):
        y = rmsnorm(x, self.norm)
        xs, z = torch.mv(self.in_proj, y).chunk(2)
        self.taps = torch.cat((self.taps[:, 1:], xs.unsqueeze(1)), 1)
        u = F.silu((self.taps * self.conv).sum(1) + self.conv_bias)
        dt, b, c = torch.mv(self.x_proj, u).split((self.rank, STATES, STATES))
        dt = F.softplus(torch.addmv(self.dt_bias, self.dt_proj, dt))
        self.h.mul_(torch.exp_(dt.unsqueeze(1) * self.a)).addr_(dt * u, b)
        y = torch.addcmul(torch.mv(self.h, c), self.d, u)
        return torch.addmv(x, self.out_proj, y * F.silu(z))


class Step:
    """One sample after the other: a code -> logits (256). p: tensors by name."""

    def __init__(self, p, layers):
        def blocks(stage):
            return [BlockStep(p, f"{stage}.blocks.{i}.") for i in range(layers)]

        self.p = p
        self.down = [blocks(f"down.{k}") for k in range(TIERS - 1)] + [blocks("center")]
        self.up = [blocks(f"up.{k}") for k in range(TIERS - 1)]
        self.frame = [[] for _ in self.up]
        width = p["embedding.weight"].shape[1]
        self.queue = [torch.zeros(width << k, POOL) for k in range(TIERS - 1)]

    def tier(self, k, x):
        if k == TIERS - 1:
            entered = x
            for block in self.down[k]:
                x = block(x)
            return x + entered
        kept = []
        for block in self.down[k]:
            kept.append(x)
            x = block(x)
        frame = self.frame[k]
        frame.append(x)
        x = x + self.queue[k][:, len(frame) - 1]
        if len(frame) == POOL:
            p = self.p
            below = torch.addmv(p[f"down.{k}.pool.bias"], p[f"down.{k}.pool.weight"],
                                torch.stack(frame, 1).flatten())
            frame.clear()
            below = self.tier(k + 1, below)
            self.queue[k] = torch.addmv(p[f"up.{k}.pool.bias"], p[f"up.{k}.pool.weight"],
                                        below).view(-1, POOL)
        for block in self.up[k]:
            x = block(x) + kept.pop()
        return x

    def __call__(self, code):
        x = self.tier(0, self.p["embedding.weight"][code])
        return torch.addmv(self.p["head.bias"], self.p["head.weight"],
                           rmsnorm(x, self.p["norm.weight"]))
