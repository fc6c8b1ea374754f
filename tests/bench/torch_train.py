"""Yardstick: whole optimiser steps in PyTorch: one clip, AdamW, the gradient clipped.

    torch_train.py WIDTH LAYERS CLIP STEPS [THREADS [BATCH]]      prints one line
"""
import ctypes
import sys
import time

import torch
import torch.nn.functional as F

import torch_net


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4      # of glibc's mallopt


def keep_memory():
    """Freed memory is used again: else each large tensor is zeroed pages from the kernel."""
    libc = ctypes.CDLL(None)
    if not libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1) or not libc.mallopt(M_MMAP_MAX, 0):
        sys.exit("mallopt failed")


def main():
    keep_memory()
    width, layers, clip, steps = (int(x) for x in sys.argv[1:5])
    torch.set_num_threads(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
    batch = int(sys.argv[6]) if len(sys.argv) > 6 else 1
    torch.manual_seed(1)
    net = torch_net.Network(width, layers)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    codes = torch.randint(torch_net.CODES, (clip + 1, batch))
    times = []
    for _ in range(steps + 1):
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        logits = net(codes[:-1])
        F.cross_entropy(logits.flatten(0, 1), codes[1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        times.append(time.perf_counter() - begin)
    times = sorted(times[1:])       # the first warms up
    seconds = times[len(times) // 2]
    print(f"samples_per_s {clip * batch / seconds:.1f} s_per_step {seconds:.3f} "
          f"parameters {sum(p.numel() for p in net.parameters())}")


main()
