#!/usr/bin/env python3
"""Holds the compiled kernels to their budgets: registers.py BUDGETS RESOURCES...

BUDGETS is kernels/cuda/registers.txt; RESOURCES is what `ptxas -v` said. A spill, a kernel above its
budget, a kernel without one and a budget without kernel each fail. Then it breaks what it was given
in each of these ways and fails if that goes unnoticed.
"""
import fnmatch
import re
import subprocess
import sys


def budgets_of(text):
    """[(pattern, registers, stack)] in the order of the lines."""
    budgets = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            budgets.append((words[0], int(words[1]), int(words[2]) if len(words) > 2 else 0))
    return budgets


def kernels_of(text):
    """[(name, architecture, registers, stack, spilled)] of ptxas' words, names demangled."""
    text = subprocess.run(["c++filt", "-p"], input=text, capture_output=True, text=True, check=True)
    kernels = []
    entry = properties = None
    for line in text.stdout.splitlines():
        if found := re.search(r"Compiling entry function '(?:void )?(.*)' for '(\w+)'", line):
            entry = found[1].replace(" ", ""), found[2]
            properties = None
        elif found := re.search(
                r"^ +(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill", line):
            properties = int(found[1]), int(found[2]) + int(found[3])
        elif (found := re.search(r"Used (\d+) registers", line)) and entry:
            kernels.append((*entry, int(found[1]), *properties))
            entry = None
    assert text.stdout.count("Compiling entry function") == len(kernels), "not ptxas' words"
    return kernels


def complaints(budgets, kernels):
    said, used = [], set()
    for name, arch, registers, stack, spilled in kernels:
        at = f"{name} on {arch}"
        budget = next((b for b in budgets if fnmatch.fnmatchcase(name, b[0])), None)
        if spilled:
            said.append(f"{at} spills {spilled} bytes")
        if budget is None:
            said.append(f"{at} has no budget: it uses {registers} registers, {stack} bytes of stack")
            continue
        used.add(budget)
        if registers > budget[1]:
            said.append(f"{at} uses {registers} registers, its budget is {budget[1]}")
        if stack > budget[2]:
            said.append(f"{at} uses {stack} bytes of stack, its budget is {budget[2]}")
    for budget in budgets:
        if budget not in used:
            said.append(f"the budget of {budget[0]} fits no kernel, or stands behind one that does")
    return said


def unnoticed(budgets, kernels):
    """The planted faults that complaints() does not see."""
    name, arch, registers, stack, spilled = kernels[0]
    budget = next(b for b in budgets if fnmatch.fnmatchcase(name, b[0]))
    rest = [b for b in budgets if b != budget]
    planted = {
        "spills": (budgets, [(name, arch, registers, stack, 8), *kernels[1:]]),
        "registers": ([(budget[0], registers - 1, stack), *rest], kernels),
        "of stack": (budgets, [(name, arch, registers, budget[2] + 8, spilled), *kernels[1:]]),
        "has no budget": ([], kernels),
        "fits no kernel": ([*budgets, ("no_kernel", 32, 0)], kernels),
    }
    return [fault for fault, (b, k) in planted.items()
            if not any(fault in line for line in complaints(b, k))]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        budgets = budgets_of(file.read())
    kernels = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as file:
            kernels += kernels_of(file.read())
    assert kernels, "no kernel was compiled"
    said = complaints(budgets, kernels) or [f"a planted fault goes unnoticed: {fault}"
                                            for fault in unnoticed(budgets, kernels)]
    for line in said:
        print(line)
    if said:
        print(f"{len(said)} complaints; the budgets are in {sys.argv[1]}")
        return 1
    most = max(kernels, key=lambda kernel: kernel[2])
    print(f"{len(kernels)} kernels within their budgets; the most registers: {most[2]}, {most[0]}"
          f" on {most[1]}")
    return 0


sys.exit(main())
