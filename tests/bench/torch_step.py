"""Yardstick: samples one after the other in eager PyTorch, batch 1.

    torch_step.py WIDTH LAYERS SECONDS [THREADS]      prints one line
"""
import sys
import time

import torch

import torch_net

PERIOD = torch_net.POOL ** (torch_net.TIERS - 1)    # samples in which every tier ticks


def draw(logits):
    return int(torch.multinomial(torch.softmax(logits, 0), 1))


@torch.inference_mode()
def main():
    width, layers, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    torch.manual_seed(1)
    net = torch_net.Network(width, layers)
    step = torch_net.Step(dict(net.named_parameters()), layers)
    code, times = torch_net.CODES // 2, []
    start = time.perf_counter()
    while len(times) < 6 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        for _ in range(PERIOD):
            code = draw(step(code))
        times.append((time.perf_counter() - begin) / PERIOD * 1e6)
    times = sorted(times[2:])
    print(f"us_per_sample {times[len(times) // 2]:.1f} best_tenth {times[len(times) // 10]:.1f} "
          f"parameters {sum(p.numel() for p in net.parameters())}")


main()
