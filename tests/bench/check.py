"""The yardsticks compute the network that hiss does: plain_step, the eager step and the training
modules against the float64 reference on the same weights; gradients too.

    check.py PLAIN_STEP
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

import torch_net

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
import cases                                                            # noqa: E402
from network import Network, loss_and_gradients                         # noqa: E402

SAMPLES = 80            # the centre is heard from sample 20 on
KNOWN = {(64, 8): 6255040, (32, 4): 906848}


def plain_logits(program, width, layers, params, codes):
    with tempfile.TemporaryDirectory() as folder:
        weights, inputs = pathlib.Path(folder, "weights"), pathlib.Path(folder, "codes")
        weights.write_bytes(b"".join(p.astype("<f4").tobytes() for p in params.values()))
        inputs.write_bytes(bytes(codes.tolist()))
        out = subprocess.run([program, str(width), str(layers), "check", weights, inputs],
                             check=True, capture_output=True).stdout
    return np.frombuffer(out, "<f4").reshape(-1, torch_net.CODES)


def compare(what, got, wanted, bound):
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    print(f"  {what}: largest difference {error:.1e} of the largest value")
    if not error < bound:
        sys.exit(f"{what} differ: more than {bound:.0e}")


def check(program, width, layers):
    rng = np.random.default_rng(width)
    config = torch_net.config(width, layers)
    reference = Network(config)
    params = {name: cases.to_float32(cases.random_parameter(rng, name, p.shape, config))
              for name, p in reference.parameters.items()}
    codes = rng.integers(0, torch_net.CODES, SAMPLES + 1)
    state = np.zeros((1, reference.state_size))
    batch = {"in": codes[None, :-1], "target": codes[None, 1:], "mask": np.ones((1, SAMPLES)),
             "labels": np.full(1, -1), "n0": 0}
    wanted = loss_and_gradients(reference, params, state, batch, np.zeros_like(state))
    logits = wanted["logits"][0]

    net = torch_net.Network(width, layers)
    own = dict(net.named_parameters())
    count = sum(p.numel() for p in own.values())
    print(f"width {width}, {layers} layers: {count} parameters")
    if set(own) != set(params) or count != sum(p.size for p in params.values()):
        sys.exit("the parameters are others than the reference's")
    if count != KNOWN.get((width, layers), count):
        sys.exit(f"{KNOWN[width, layers]} parameters were expected")
    net.load_state_dict({name: torch.tensor(p, dtype=torch.float32).view(own[name].shape)
                         for name, p in params.items()})
    inputs = torch.tensor(codes)
    got = net(inputs[:-1, None])
    F.cross_entropy(got[:, 0], inputs[1:]).backward()
    compare("torch, whole clip", got[:, 0].detach().numpy(), logits, 1e-4)
    for name, p in own.items():
        error = np.abs(p.grad.numpy() - wanted["grads"][name]).max()
        if not error < 2e-4 * np.abs(wanted["grads"][name]).max():
            sys.exit(f"the gradient of {name} differs by {error:.1e}")
    print(f"  torch, gradients of {len(own)} tensors: the same to 2e-4")
    with torch.inference_mode():
        step = torch_net.Step(own, layers)
        got = torch.stack([step(int(code)) for code in codes[:-1]]).numpy()
    compare("torch, step by step", got, logits, 1e-4)
    compare("plain C", plain_logits(program, width, layers, params, codes[:-1]), logits, 1e-4)


for shape in ((8, 1), (32, 4), (64, 8)):
    check(sys.argv[1], *shape)
