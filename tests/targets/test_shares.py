"""Sums that each core takes a share of: gradients by weights, from many samples with few results."""

import numpy as np
from agreement import check, program_of, random_value

from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.executable import build
from diffgraph.targets.cpu.machine import machine

#: What is left of the batch goes to the last share; positions beside samples; an update that follows the sum.
PROGRAM = """
    input x[N, 24, 48]
    input g[N, 24, 40]
    input w[40, 48]
    dw[u, d] = sum[n, t](g[n, t, u] * x[n, t, d])
    output after = w - 0.1 * dw"""


def test_agrees_with_the_interpreter(rng):
    for samples in (1, 7, 32, 45):
        check(program_of(PROGRAM), samples, rng, "f32", optimized=True)


def test_there_are_as_many_shares_as_cores():
    kernels = build(optimize(program_of(PROGRAM))).kernels
    shares = [b for k in kernels for b in k.buffers if b.name.endswith(".shares")]
    assert len(kernels) == 2 and {b.size for b in shares} == {40 * 48 * machine("f32").cores}


def test_bits_do_not_depend_on_threads(rng):
    program = optimize(program_of(PROGRAM))
    results = []
    for threads in (1, 2):
        executable = build(program, threads=threads)
        if threads == 1:
            given = {p: random_value(i, 45, rng) for p, i in executable.given.items()}
        results.append(executable.run(given)["after"])
    assert results[0].tobytes() == results[1].tobytes() and np.isfinite(results[0]).all()
