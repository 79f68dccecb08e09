"""Parts of a concatenation lie in the memory of the whole: nothing is copied, nothing is read that is not there yet."""

import sys
from pathlib import Path

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.kernels.growth import growths
from diffgraph.kernels.schedule import schedule
from diffgraph.passes.join import join
from diffgraph.passes.pipeline import optimize, position
from diffgraph.passes.report import Report
from diffgraph.targets.cpu.machine import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "targets"))
from agreement import check, program_of  # noqa: E402

#: Each layer sees all that those before have made, and adds to it.
DENSE = """
input x[N, 12, 10, 10]
a = x -> conv({0}, 3, pad = 1)
b = concat(a, a -> relu -> conv({1}, 1), axis = 1)
c = concat(b, b -> tanh -> conv({1}, 3, pad = 1), axis = 1)
d = concat(c, c -> tanh -> conv({1}, 3, pad = 1, bias = false), axis = 1)
output y = d -> relu -> conv({1}, 1)
"""

OTHERS = {
    "the first one last": """input x[N, 40, 40]
        a[n, i, j] = exp(x[n, j, i])
        b[n, i, j] = sum[k](a[n, i, k] * a[n, k, j])
        c = concat(b, a, axis = 1)
        y[n, j] = sum[i](c[n, i, j]^2)
        output y""",
    "read beyond the part": """input x[N, 2048]
        a[n, i < 2048] = sum[j < 2048](x[n, j] * x[n, i])
        c = concat(a, x, axis = 1)
        z[n, i < 2048] = (a[n, i + 1] else 1) * c[n, i + 2048]
        y[n] = sum[i](z[n, i])
        output y
        s[n] = sum[h](c[n, h] * c[n, h])
        output s""",
    "added to where it is": """input x[N, 12]
        param w[12, 12] ~ normal(0, 0.3)
        a[n, i] = sum[j](w[i, j] * x[n, j])
        b[n, i] = a[n, i] + sum[j](w[j, i] * sin(a[n, j]))
        c[n, i] = b[n, i] + sum[j](w[i, j] * sin(b[n, j]))
        output c""",
    "twice in the whole": """input x[N, 1500]
        a[n, i] = sum[j](x[n, j] * x[n, i])
        b[n] = max[i](a[n, i])
        c = concat(a, a, axis = 1)
        y[n] = sum[h](c[n, h] * c[n, h]) * b[n]
        output y""",
    "in two wholes": """input x[N, 1500]
        a[n, i] = sum[j](x[n, j] * x[n, i])
        b[n, i] = sum[j](a[n, j] * x[n, i])
        c = concat(a, b, axis = 1)
        d = concat(b, a, axis = 1)
        y[n] = sum[h](c[n, h] * d[n, h]) * max[i](a[n, i])
        output y""",
    "read by another term of the whole": """input x[N, 40, 3]
        a = relu(x)
        b = a -> layernorm
        c = concat(b, tanh(max(a, b)), a, axis = 1)
        y[n] = sum[h, k](c[n, h, k]^3)
        output y""",
    "a whole that is asked for": """input x[N, 1500]
        a[n, i] = sum[j](x[n, j] * x[n, i])
        b[n, i] = sum[j](a[n, j] * x[n, i])
        output c = concat(a, b, axis = 1)""",
    "its maximum": """input x[N, 1500, 4]
        a[n, i] = max[j](x[n, i, j])
        b[n, i] = sum[j](a[n, j] * x[n, i, 0])
        c = concat(a, b, axis = 1)
        y[n] = sum[h](c[n, h] * c[n, h])
        output y""",
}


def dense(*sizes):
    return program_of(DENSE.format(*sizes))


@pytest.mark.parametrize(("sizes", "precision"), [((32, 16), "f32"), ((20, 12), "f64")])
def test_a_chain_of_concatenations_is_right(sizes, precision):
    check(dense(*sizes), 3, np.random.default_rng(0), precision, optimized=True)


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_right(name):
    check(program_of(OTHERS[name]), 3, np.random.default_rng(0), optimized=True)


def test_nothing_is_copied():
    program = optimize(dense(32, 16))
    before = optimize(dense(32, 16), until=position("join"))
    grown = growths(program.statements, frozenset(program.roots))
    assert len(grown) == 3 and not growths(before.statements, frozenset(before.roots))
    plan, copying = schedule(program, machine("f32")), schedule(before, machine("f32"))
    wholes = {plan.memory[name] for name in grown}
    assert len(wholes) == 1, "all of them are one memory"
    kernels = [k for k in plan.kernels if wholes & set(k.results)]
    assert all(not wholes & {b.name for b in k.buffers if not b.written} for k in kernels)
    assert len(kernels) == 4, "one for each part: none copies, none sets what is filled later to 0"

    def stored(schedule):
        return sum(1 for k in schedule.kernels for b in k.buffers if b.written and not b.private)

    assert stored(plan) < stored(copying)


def test_parts_are_read_where_they_are():
    program = program_of(OTHERS["the first one last"])
    report = Report()
    joined = join(program, report)
    assert any("in it" in e.text for e in report.entries)
    x = np.random.default_rng(0).standard_normal((2, 40, 40))
    given = {program.inputs[0].tensor.name: x}
    for name, value in interpret(program, given).items():
        np.testing.assert_allclose(interpret(joined, given)[name], value)
