"""Does the reference agree with itself?  selftest.py [ENTRIES]

For every case: gradients against central differences, any partition of a sequence
against the whole, causality.  ENTRIES is the number of single entries a tensor that are
differentiated (default 1; 40 takes minutes); on top of them stand directions through
all entries of a tensor at once, so that none goes unseen.  Exits 1 on failure.
"""
import multiprocessing
import sys

import numpy as np

import cases
import fixtures
import sampling
from network import cross_entropy, loss_and_gradients

GRADIENT_BOUND, PARTITION_BOUND = 1e-6, 1e-12
STEPS = 26              # long enough for two frames of the slowest centre here
STEP_SIZE = 3e-4        # of a five-point difference, whose error goes with its 4th power
failures = []


def report(good, text):
    if not good:
        failures.append(text)
        print("FAILED", text)


def restless(case, seed):
    """A case with a start that is not zero and a gradient for the final state."""
    case = case._replace(carried=True, n0=case.n0 or 7)
    return cases.make(case, 1000 + seed, samples=max(min(STEPS, case.samples), 6))


def directions(rng, value, entries, mask=None):
    """Unit vectors: one through all entries, then single ones."""
    dense = rng.choice([-1.0, 1.0], value.shape)
    if mask is not None:
        dense = dense * mask
    yield dense / max(1.0, np.sqrt(np.abs(dense).sum()))
    for at in rng.choice(value.size, min(entries, value.size), replace=False):
        single = np.zeros(value.size)
        single[at] = 1.0
        yield single.reshape(value.shape)


def check_gradients(case, seed, entries):
    """-> the largest error, relative to the largest entry of its tensor's gradient."""
    net, params, state, batch, dstate_out = restless(case, seed)
    if case.config["labels"]:
        report(bool((batch["labels"] >= 0).any()), f"{case.name}: no label in the batch")
    rng = np.random.default_rng([7, seed])
    answer = loss_and_gradients(net, params, state, batch, dstate_out)

    def loss_at(name, value):
        here = params if name is None else {**params, name: value}
        start = value if name is None else state
        logits, out, _ = net.forward(here, start, batch["in"], batch["labels"], batch["n0"])
        return cross_entropy(logits, batch["target"], batch["mask"])[0] + (dstate_out * out).sum()

    tested = {name: (params[name], grad) for name, grad in answer["grads"].items()}
    tested[None] = (state, answer["dstate_in"])
    worst = 0.0
    for name, (value, grad) in tested.items():
        largest = np.abs(grad).max()
        for v in directions(rng, value, entries):
            e = STEP_SIZE
            one, two = ((loss_at(name, value + s * v) - loss_at(name, value - s * v)) / (2 * s)
                        for s in (e, 2 * e))
            error = abs((4.0 * one - two) / 3.0 - (grad * v).sum())
            # the floor: a difference of losses near 6 is itself good to about 1e-12 only
            error /= max(largest, 1e-5)
            report(error < GRADIENT_BOUND,
                   f"{case.name}: gradient of {name or 'state'} is off by {error:.1e}")
            worst = max(worst, error)
    return worst


def cuts_of(rng, steps):
    yield list(range(steps + 1))
    for _ in range(3):
        inner = rng.choice(np.arange(1, steps), min(5, steps - 1), replace=False)
        yield [0] + sorted(inner.tolist()) + [steps]
    yield [0, 0, steps // 2, steps // 2, steps]         # with chunks of no samples at all


def check_partition(case, seed):
    """Forward, and backward through the states, must not depend on where a chunk ends."""
    net, params, state, batch, dstate_out = restless(case, seed)
    steps, n0 = batch["in"].shape[1], batch["n0"]
    logits, state_out, tape = net.forward(params, state, batch["in"], batch["labels"], n0)
    _, dlogits = cross_entropy(logits, batch["target"], batch["mask"])
    grads, dstate = net.backward(params, tape, dlogits, dstate_out)
    report(np.array_equal(state_out, state_out * net.live(n0 + steps)),
           f"{case.name}: a dead slot of the state is not zero")
    rng, worst = np.random.default_rng([8, seed]), 0.0
    for cuts in cuts_of(rng, steps):
        spans, now, pieces, tapes = list(zip(cuts, cuts[1:])), state, [], []
        for begin, end in spans:
            part, now, kept = net.forward(params, now, batch["in"][:, begin:end], batch["labels"],
                                          n0 + begin)
            pieces.append(part)
            tapes.append(kept)
        back, total = dstate_out, {name: 0.0 for name in grads}
        for (begin, end), kept in zip(reversed(spans), reversed(tapes)):
            part, back = net.backward(params, kept, dlogits[:, begin:end], back)
            total = {name: total[name] + part[name] for name in total}
        errors = [np.abs(np.concatenate(pieces, axis=1) - logits).max(),
                  np.abs(now - state_out).max(), np.abs(back - dstate).max()]
        errors += [np.abs(total[name] - grads[name]).max() for name in grads]
        worst = max([worst] + errors)
    report(worst < PARTITION_BOUND, f"{case.name}: partition changes the answer by {worst:.1e}")
    return worst


def check_causality(case, seed):
    """Changing input n changes logits[n] and nothing before; streams do not mix."""
    net, params, state, batch, _ = restless(case, seed)
    logits = net.forward(params, state, batch["in"], batch["labels"], batch["n0"])[0]
    for n in range(batch["in"].shape[1]):
        codes = batch["in"].copy()
        codes[0, n] ^= 0x55
        other = net.forward(params, state, codes, batch["labels"], batch["n0"])[0]
        report(np.array_equal(other[0, :n], logits[0, :n]) and np.array_equal(other[1:], logits[1:]),
               f"{case.name}: input {n} changed what it must not")
        report(not np.array_equal(other[0, n], logits[0, n]),
               f"{case.name}: input {n} did not change its own logits")


def check_start(case, seed):
    """From zero state, tier k is first heard at up_shift (P_1 + ... + P_k): before that, no
    parameter inside it matters.  The up-pool's bias is the first that could be heard."""
    net, params, _, batch, _ = cases.make(case, seed)
    if case.n0 or case.name == "short-chunk":
        return
    zero = np.zeros((case.batch, net.state_size))
    logits = net.forward(params, zero, batch["in"], batch["labels"], 0)[0]
    for k in range(len(net.pool)):
        name = f"up.{k}.pool.bias"
        other = net.forward({**params, name: params[name] + 1.0}, zero, batch["in"],
                            batch["labels"], 0)[0]
        heard = np.nonzero(np.abs(other - logits).max((0, 2)) > 0)[0]
        first = net.shift * sum(net.rate[1:k + 2])
        report(heard.size > 0 and heard[0] == first,
               f"{case.name}: tier {k + 1} is first heard at {heard[:1]}, expected {first}")


def check_surroundings():
    for counter, key, answer in sampling.KNOWN_ANSWERS:
        report(sampling.philox(counter, key) == answer, "philox: known answers")
    codes = list(range(sampling.CODES))
    report([sampling.mu_encode(sampling.mu_decode(c)) for c in codes] == codes, "mu-law round trip")
    report(sampling.mu_encode(0.0) == 128, "mu-law: 0 is 128")
    shown = fixtures.quantizer_tensors()
    report(shown["s4.roundtrip"].tolist() == [c - (c >= 130) for c in codes], "s4 round trip")
    for values, out in ("s4.encode.in", "s4.encode.out"), ("s4.clip.rescaled", "s4.clip.out"):
        values, out = shown[values], shown[out]
        exact = sampling.s4_encode(values, np.float64) == out
        report(bool(exact[np.abs(values) > 1e-6].all()), "s4 encode hangs on rounding")
    report(sampling.s4_encode([0.0, -1e-8, -1e-5]).tolist() == [128, 128, 127], "s4 at zero")


def check_case(seed, case, entries):
    gradients, partition = check_gradients(case, seed, entries), check_partition(case, seed)
    check_causality(case, seed)
    check_start(case, seed)
    print(f"{case.name:18} gradients {gradients:.1e} partition {partition:.1e}", flush=True)
    return failures


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    check_surroundings()
    jobs = [(seed, case, entries) for seed, case in enumerate(cases.all_cases())]
    # a fresh process for each case, so that every one has its own list of failures
    with multiprocessing.Pool(2, maxtasksperchild=1) as pool:
        found = failures + sum(pool.starmap(check_case, jobs, chunksize=1), [])
    print("all is well" if not found else f"{len(found)} failures")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
