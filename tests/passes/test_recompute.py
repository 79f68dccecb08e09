"""Less memory for more arithmetic: the limit is kept, the numbers are the same, and nothing is done without need."""

import numpy as np
import pytest
from examples import examples, signature
from program_maker import BATCH, random_program

from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.interpret import interpret
from diffgraph.ir.verify import verify
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.passes.pipeline import optimize
from diffgraph.passes.recompute import peak_of, recompute
from diffgraph.passes.report import Report

DEEP = """
net example {
    input  x[N, 3, 8, 8]
    target t[N, 2]
    h = x -> conv(8, 3, pad = 1) -> batchnorm -> relu
    for k in 0..5 { h = h -> conv(8, 3, pad = 1) -> batchnorm -> silu -> dropout(0.2) }
    y = h -> maxpool(2) -> flatten -> linear(2)
    output y
    loss mse(y, t)
}"""


def deep():
    program = optimize(gradient_program(elaborate(load_text(DEEP), training=True)))
    rng = np.random.default_rng(1)
    sizes = {"N": 3}
    values = {}
    for i in program.inputs:
        shape = [s if isinstance(s, int) else 3 for s in i.tensor.shape]
        values[i.tensor.name] = np.int64(5) if i.role == "run" else rng.standard_normal(shape)
    return program, sizes, values


def test_the_example():
    before, after = examples(recompute)
    report = Report()
    found = recompute(before, {"N": 8}, 0, report)
    verify(found, "recompute")
    assert signature(found) == signature(after) and report.entries
    assert peak_of(found, {"N": 8}) < peak_of(before, {"N": 8})
    assert recompute(before, {"N": 8}, peak_of(before, {"N": 8}), Report()) is before


@pytest.mark.parametrize("part", [0.8, 0.6, 0.45])
def test_a_deep_network_fits(part):
    program, sizes, values = deep()
    limit = int(part * peak_of(program, sizes))
    report = Report()
    found = recompute(program, sizes, limit, report)
    verify(found, "recompute")
    assert peak_of(found, sizes) <= limit
    assert all(e.done and "made again" in e.text for e in report.entries)
    expected, got = interpret(program, values), interpret(found, values)
    for a, b in zip(program.outputs, found.outputs, strict=True):
        np.testing.assert_array_equal(got[b.tensor], expected[a.tensor], err_msg=a.name)


def test_what_is_cheap_comes_first():
    program, sizes, _ = deep()
    found = recompute(program, sizes, int(0.9 * peak_of(program, sizes)), Report())
    again = [s for s in found.statements if s not in program.statements and "again" in s.results[0].name]
    assert again and not any(t.form.reduced for s in again for t in s.terms)


@pytest.mark.parametrize("seed", range(10))
def test_random_programs_mean_the_same(seed):
    program, values = random_program(seed)
    sizes = {"N": BATCH}
    found = recompute(program, sizes, 0, Report())
    verify(found, "recompute")
    assert peak_of(found, sizes) <= peak_of(program, sizes)
    expected, got = interpret(program, values), interpret(found, values)
    for a, b in zip((*program.outputs, *program.commits), (*found.outputs, *found.commits), strict=True):
        np.testing.assert_array_equal(got[b.tensor], expected[a.tensor])
