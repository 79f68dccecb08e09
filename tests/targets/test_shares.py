"""Sums that each core takes a share of: gradients by weights, from many samples with few results."""

from collections import Counter

import pytest
from agreement import check, check_bits, program_of

from diffgraph.passes.pipeline import optimize
from diffgraph.runtime.executable import build
from diffgraph.targets.cpu.machine import machine

#: On machines of one core nothing is shared out, and on those of many not everything.
of_few_cores = pytest.mark.skipif(not 2 <= machine("f32").cores <= 8, reason="shares are for 2 to 8 cores")

#: What is left of the batch goes to the last share; positions beside samples; an update that follows the sum.
PROGRAM = """
    input x[N, 24, 48]
    input g[N, 24, 40]
    input w[40, 48]
    dw[u, d] = sum[n, t](g[n, t, u] * x[n, t, d])
    output after = w - 0.1 * dw"""

#: More results than are gone through for each part: group by group of rows, the last of which is not full.
GROUPS = """
    input x[N, 64, 256]
    input g[N, 64, 520]
    dw[u, d] = sum[n, t](g[n, t, u] * x[n, t, d])
    output dw"""

#: A product that goes down long rows of a matrix reads it in panels.
PANELS = """
    input g[N, 16, 96]
    input w[96, 320]
    y[n, t, d] = sum[u](g[n, t, u] * w[u, d])
    output y"""


def test_agrees_with_the_interpreter(rng):
    for samples in (1, 7, 45):
        check(program_of(PROGRAM), samples, rng, "f32", optimized=True)
    for samples in (2, 5):
        check(program_of(GROUPS), samples, rng, "f32", optimized=True)
        check(program_of(PANELS), samples, rng, "f32", optimized=True)


@of_few_cores
def test_there_are_as_many_shares_as_cores():
    kernels = build(optimize(program_of(PROGRAM))).kernels
    shares = [b for k in kernels for b in k.buffers if b.name.endswith(".shares")]
    assert len(kernels) == 2 and {b.size for b in shares} == {40 * 48 * machine("f32").cores}


@of_few_cores
def test_many_results_are_taken_group_by_group():
    kernel, _ = build(optimize(program_of(GROUPS))).kernels
    assert [u.extent for u in kernel.units] == [machine("f32").cores, 3]


def test_what_products_go_down_is_in_panels():
    program = optimize(program_of(PANELS))
    assert Counter(s.tensor.name for s in program.statements) == Counter(("w_packed", "y"))
    assert program.tensors["w_packed"].shape == (10, 96, 32)


def test_bits_do_not_depend_on_threads(rng):
    check_bits(program_of(PROGRAM), 45, rng)
