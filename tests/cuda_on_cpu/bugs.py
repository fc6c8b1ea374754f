"""Each planted bug of bugs.cc is seen, and how: in plain builds, under the address and undefined
behaviour sanitizers, under the thread sanitizer. What is correct is clean everywhere.

usage: bugs.py PROGRAM none|address,undefined|thread     ends with a line "N passed, N failed"
"""

import os
import re
import subprocess
import sys

W = "result WRONG"
A = "AddressSanitizer"
U = "runtime error: .*misaligned"
R = "ThreadSanitizer: data race"


def found(text):
    """The shim's own report."""
    return "cuda_on_cpu: .*" + text


def failed(text):
    """An error that a function of CUDA returned."""
    return "cuda.*: " + text


# Bug: what is seen with seed 0, seed 1, seed 2 of a plain build; under address and undefined, seed
# 1; under thread, seed 0. None: it is not seen there, and the run says that all is well. ANY: not
# looked at, for it may be seen or not.
ANY = "."
TABLE = {
    "none": (None, None, None, None, None),
    "streams-none": (None, None, None, None, None),
    "missing-barrier": (W, W, W, W, R),
    "warp-synchrony": (W, W, W, W, R),
    "overwrite": (W, W, W, W, R),
    "shared-beyond": (W, W, W, A, W),
    "global-beyond": (None, None, None, A, None),
    "misaligned": (ANY, ANY, ANY, U, ANY),
    "unwritten": (W, W, W, W, W),
    "absent-lanes": (*3 * [found("(waits for it|names lanes|collective)")], *2 * [found("")]),
    "shuffle-in-branch": (*5 * [found("which it names, waits at")],),
    "divergent-barrier": (*5 * [found("divergent __syncthreads")],),
    "barrier-of-some": (*5 * [found("(have ended|the thread ends while others wait)")],),
    "named-barrier": (*5 * [found("deadlock")],),
    "copy-unwaited": (None, W, W, A, ANY),
    "copy-unordered": (W, W, W, W, R),
    "copy-never-waited": (*3 * [found("without waiting")], A, found("without waiting")),
    "blocks-race": (None, None, None, None, R),
    "spin-on-last": (found("livelock"), None, ANY, None, found("livelock")),
    "spin-on-first": (None, found("livelock"), ANY, found("livelock"), None),
    "plain-flag": (None, None, None, None, R),
    "grid-sync-plain": (*5 * [found("not cooperative")],),
    "cluster-unsynced-read": (W, W, W, W, R),
    "cluster-leaves-early": (*2 * [found("which has ended")], ANY, ANY, ANY),
    "store-unwaited": (W, W, W, W, R),
    "shared-unasked": (*5 * [failed("cudaErrorInvalidValue")],),
    "read-early": (W, W, W, W, R),
    "reuse-early": (W, W, W, W, R),
    "missing-event": (W, W, ANY, W, R),
    "missing-event-hidden": (None, W, ANY, W, R),
    "overwritten-in-stream": (None, W, ANY, W, R),
    "graph-branches": (None, W, ANY, W, ANY),
    "host-touches-device": (*3 * [found("not the host's to touch")], ANY, ANY),
    "copy-beyond": (*5 * [failed("cudaErrorInvalidValue")],),
    "copy-from-host-as-device": (*5 * [failed("cudaErrorInvalidValue")],),
}
MODES = {"none": [(0, 0), (1, 1), (2, 2)], "address,undefined": [(3, 1)], "thread": [(4, 0)]}


def run(program, bug, seed):
    env = dict(
        os.environ,
        CUDA_ON_CPU_SEED=str(seed),
        CUDA_ON_CPU_THREADS="1",
        CUDA_ON_CPU_IDLE_MS="-1",
        CUDA_ON_CPU_STUCK_S="1",
        CUDA_ON_CPU_PROTECT=str(int(bug == "host-touches-device")),
        ASAN_OPTIONS="detect_leaks=0",
        UBSAN_OPTIONS="halt_on_error=1",
        TSAN_OPTIONS="halt_on_error=1",
    )
    done = subprocess.run(
        [program, bug], env=env, timeout=120, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def main():
    program, mode = sys.argv[1:]
    passed = n_failed = 0
    for bug, row in TABLE.items():
        for column, seed in MODES[mode]:
            want = row[column]
            status, said = run(program, bug, seed)
            if want is None:
                good = status == 0 and "result ok" in said
            else:
                good = status != 2 and re.search(want, said, re.DOTALL if want == ANY else 0)
                good = good and (want == ANY or status != 0)
            passed, n_failed = passed + bool(good), n_failed + (not good)
            if not good:
                print(f"{bug}, seed {seed}: expected {want or 'nothing'}; status {status}\n{said}")
    print(f"{passed} passed, {n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
