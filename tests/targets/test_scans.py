"""Scans as native loops: carries, sequences, yields, both directions, nested, and what passes through unchanged."""

import pytest
from agreement import check, program_of

from diffgraph.autodiff.differentiate import gradients
from diffgraph.ir.program import Builder, Output

CASES = {
    "carry": """
        input x[N, 3]
        output last = scan t in 0..5 from h = x { next h = tanh(h) * 0.9 + 0.01 * t }""",
    "yield": """
        input x[N, 3]
        output path = scan t in 0..4 from h = x, v = x * 2 {
            a = -h
            next h = h + 0.1 * v
            next v = v + 0.1 * a
            yield h
        }""",
    "sequence": """
        input x[N, 6, 3]
        param w[5, 3] = 0
        param u[5, 5] = 0
        output states = scan t in 0..6 from h = zeros([N, 5]) {
            s = x[:, t, :] @ transpose(w, 0, 1) + h @ transpose(u, 0, 1)
            next h = tanh(s)
            yield next_h = tanh(s)
        }""",
    "carries that change places": """
        input x[N, 3]
        a, b = scan t in 0..5 from p = x, q = x + 1 {
            next p = q
            next q = p
        }
        output a
        output b""",
    "steps of a batch": """
        input x[N, 3]
        output total = scan t in 0..N from h = zeros([3]) { next h = h * 0.5 + x[t] }""",
    "nested": """
        input x[N, 2]
        output y = scan t in 0..3 from h = x {
            inner = scan s in 0..4 from g = h { next g = g * 0.9 + 0.1 * s }
            next h = inner + t
        }""",
    "layers": """
        input x[N, 5, 4]
        output h = x -> lstm(6)
        output g = x -> gru(6)""",
}


def cases():
    for name, text in CASES.items():
        yield pytest.param(text.replace("yield next_h = tanh(s)", "yield tanh(s)"), id=name)


@pytest.mark.parametrize("text", list(cases()))
def test_agrees_with_the_interpreter(text, rng):
    check(program_of(text), 3, rng)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_length_may_be_the_batch(batch, rng):
    check(program_of(CASES["steps of a batch"]), batch, rng)


def test_a_scan_without_steps(rng):
    check(program_of("input x[N, 3]\noutput y = scan t in 0..0 from h = x { next h = h * 2 }"), 2, rng)


@pytest.mark.parametrize("text", list(cases()))
def test_derivatives(text, rng):
    program = program_of(text, training=True)
    builder = Builder(program)
    wrt = [i.tensor.name for i in program.inputs if i.tensor.kind == "float" and i.role in ("input", "parameter")]
    outputs = [o.tensor for o in program.outputs]
    found = gradients(builder, [(o, None) for o in outputs], wrt)
    builder.outputs += [Output(f"d_{n}", d) for n, d in found.items() if d is not None]
    check(builder.program(), 3, rng)
