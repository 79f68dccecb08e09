"""Convolutions by minimal filtering: the matrices, what is recognised, the kernels against the interpreter, and the error."""

import random
from fractions import Fraction

import numpy as np
import pytest
from agreement import check, check_bits, program_of

import diffgraph as dg
from diffgraph.passes import winograd
from diffgraph.passes.cook_toom import minimal
from diffgraph.passes.pipeline import optimize, stages
from diffgraph.passes.report import Report
from diffgraph.passes.select import select
from diffgraph.runtime.executable import build

#: Odd sizes, sizes smaller than a tile, panels that are not full, flipped filters, channels first and last, what follows
#: and what is added. (Derivatives, and narrower vectors: `test_layouts`.)
CASES = {
    "added on the way": "x = relu(image) -> conv(32, 3, pad = 1)\n y = relu(x + image) -> conv(70, 2) -> relu",
    "by hand, flipped": """
        param w[48, 32, 3, 3] ~ he_uniform
        y[n, o, i < 9, j < 6] = sum[c, p, q](w[o, c, p, q] * (image[n, c, i + p - 1, j + 1 - q] else 0))""",
    "by hand, channels last": """
        param w[3, 3, 32, 48] ~ he_uniform
        x[n, i, j, c] = relu(image[n, c, i, j])
        y[n, i < 7, j < 4, o] = sum[c, p, q](w[p, q, c, o] * x[n, i + p, j + q, c])""",
}


def text_of(name):
    return f"input image[N, 32, 9, 6]\n{CASES[name]}\noutput y"


def rewritten(program, fast=False):
    report = Report()
    stages(program, report, fast=fast)
    return [e for e in report.entries if e.step == "winograd" and e.done]


@pytest.mark.parametrize("m, r", [(2, 3), (4, 3), (2, 2), (3, 2), (2, 5), (4, 5), (6, 3)])
def test_the_matrices_are_exact(m, r):
    made, rng = minimal(m, r), random.Random(m + 10 * r)
    filters, data = ([Fraction(rng.randint(-9, 9)) for _ in range(n)] for n in (r, m + r - 1))

    def times(matrix, vector):
        return [sum(a * b for a, b in zip(row, vector)) for row in matrix]

    products = [a * b for a, b in zip(times(made.filter, filters), times(made.data, data))]
    assert times(made.result, products) == [sum(filters[p] * data[i + p] for p in range(r)) for i in range(m)]


@pytest.mark.parametrize("name", CASES)
def test_kernels_agree_with_the_interpreter(name, rng):
    program = program_of(text_of(name))
    assert rewritten(select(program, ["y"])), "nothing is shown"
    for batch in (1, 3):
        check(select(program, ["y"]), batch, rng, optimized=True)


def test_filter_gradients_agree_with_the_interpreter(rng, monkeypatch):
    monkeypatch.setattr(winograd, "_gain_of_gradient", lambda *_: 2.0)
    text = "net test {\ninput x[N, 32, 7, 6]\ny = relu(x) -> conv(64, 3, pad = 1, bias = false)\nloss mean(sin(y))\n}"
    ours, theirs = (dg.loads(text, target=target, precision="f64") for target in ("cpu", "reference"))
    (path,) = ours.parameters
    assert any("d_conv1_weight" in e.text for e in rewritten(ours.gradient([path])))
    x = rng.standard_normal((3, 32, 7, 6))
    found, expected = (n.gradients(wrt=[path], x=x)[1][path] for n in (ours, theirs))
    np.testing.assert_allclose(found, expected, 1e-9, 1e-10 * float(np.abs(expected).max()))


@pytest.mark.parametrize("fast, most", [(False, 2e-6), (True, 5e-5)])
def test_the_error_is_small(fast, most, rng):
    text = "net test {\ninput x[N, 128, 16, 16]\ny = relu(x) -> conv(128, 3, pad = 1)\noutput y\n}"
    ours, exact = dg.loads(text, fast=fast), dg.loads(text, target="reference", precision="f64")
    for path in exact.parameters:
        exact.parameters[path] = ours.parameters[path]
    x = rng.standard_normal((1, 128, 16, 16)).astype(np.float32)
    assert rewritten(ours.forward(["y"]), fast)
    found, expected = ours(x=x)["y"], exact(x=x.astype(float))["y"]
    assert np.linalg.norm(found - expected) < most * np.linalg.norm(expected)


def test_the_same_bits_for_any_number_of_threads(rng):
    check_bits(program_of("input x[N, 32, 20, 20]\ny = relu(x) -> conv(256, 3, pad = 1)\noutput y"), 3, rng)


@pytest.mark.parametrize("layer", ["conv(32, 3, stride = 2)", "conv(32, 3, dilation = 2)", "conv(32, 3, groups = 4)",
                                   "conv(32, 1)", "conv(32, 5)", "conv(8, 3)"])  # fmt: skip
def test_what_does_not_pay_stays(layer):
    assert not rewritten(program_of(f"input x[N, 32, 9, 9]\ny = relu(x) -> {layer}\noutput y"))


def test_one_kernel_makes_it_all():
    text = "input x[N, 32, 8, 8]\ny = relu(x) -> conv(32, 3, pad = 1) -> relu -> global_avgpool\noutput y"
    made = {b.name for k in build(optimize(program_of(text)), "cpu", "f32").kernels for b in k.buffers if not b.private}
    assert any(s.tensor.name.endswith("tiles") for s in optimize(program_of(text)).statements)
    assert not any(name.endswith(("tiles", "tiles_2", "products", "rows")) for name in made)
    assert not any(s.tensor.name.endswith("tiles") for s in optimize(program_of(text), target="cuda").statements)


def test_a_map_that_another_reads_in_groups():
    """The gradient by the map is a sum: what is made between transforms, and what writes other places than its own axes."""
    body = """
        input x[N, 32, 4, 16]
        a = x -> conv(32, 3, pad = 2)
        b = x -> conv(16, 3, pad = 1, groups = 2)
        loss mean(a^2) + mean(b^3)"""
    gradient = dg.loads(f"net both {{{body}\n}}").gradient(["x"])
    assert any("products" in name for name in optimize(gradient).tensors), "one of them is made between transforms"
    nets = [dg.loads(f"net both {{{body}\n}}", target=target, precision="f64", seed=1) for target in ("cpu", "reference")]
    x = np.random.default_rng(0).standard_normal((3, 32, 4, 16))
    ours, theirs = (net.gradients(x=x, wrt=["x"])[1]["x"] for net in nets)
    np.testing.assert_allclose(ours, theirs, 1e-9, 1e-12 * float(np.abs(theirs).max()))
