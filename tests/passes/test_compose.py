"""Folding for inference: what vanishes, what stays and why, and that only rounding changes."""

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Definition
from diffgraph.ir.verify import verify
from diffgraph.passes.pipeline import PIPELINE, optimize
from diffgraph.passes.prepare import steady_tensors
from diffgraph.passes.report import Report


def compiled(text, **settings):
    """(program, optimized program, report) of the outputs of a net, in inference."""
    net = dg.loads(text if text.lstrip().startswith(("net", "layer", "use")) else f"net example {{\n{text}\n}}")
    program = net.forward([o.name for o in net.network().outputs])
    report = Report()
    # What moves elements only comes later.
    return program, optimize(program, report, until=[name for name, _ in PIPELINE].index("interleave")), report


def values_of(program, batch=2, seed=1):
    rng = np.random.default_rng(seed)
    found = {}
    for i in program.inputs:
        shape = [s if isinstance(s, int) else batch for s in i.tensor.shape]
        if i.tensor.kind == "int":
            found[i.tensor.name] = rng.integers(0, i.tensor.bound or 3, shape)
        else:
            found[i.tensor.name] = rng.uniform(0.5, 2, shape) if i.path.endswith("_var") else rng.standard_normal(shape)
    return found


def work(program) -> list[str]:
    """The names of what is computed in every run."""
    steady = steady_tensors(program)
    return [s.tensor.name for s in program.statements if isinstance(s, Definition) and s.tensor.name not in steady]


def reads_in_every_run(program) -> set[str]:
    steady = steady_tensors(program)
    made = [s for s in program.statements if not {t.name for t in s.results} <= steady]
    return {o for s in made for o in s.operands if o in steady}


def check(text, count=None):
    program, found, report = compiled(text)
    verify(found, "compose")
    values = values_of(program)
    expected, got = interpret(program, values), interpret(found, values)
    for a, b in zip(program.outputs, found.outputs, strict=True):
        scale = np.abs(expected[a.tensor]).max()
        assert scale > 0
        np.testing.assert_allclose(got[b.tensor], expected[a.tensor], rtol=1e-9, atol=1e-11 * scale)
    if count is not None:
        assert len(work(found)) == count, work(found)
    return report


X = "input x[N, 4, 9, 8]\n"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (X + "output y = x -> conv(6, 3, pad = 1, bias = false) -> batchnorm", 1),
        (X + "output y = x -> conv(6, 3, stride = 2, pad = 1) -> batchnorm -> relu", 2),
        (X + "h = x -> conv(6, 3, pad = 1, groups = 2) -> batchnorm\noutput y = silu(h)", 2),
        (X + "output y = x -> conv(4, 3, groups = 4, dilation = 2) -> batchnorm -> relu6", 2),
        (X + "output y = x -> conv_transpose(6, 4, stride = 2, pad = 1) -> batchnorm", 1),
        ("input x[N, 5]\noutput y = x -> linear(7) -> batchnorm -> tanh", 2),
        ("input x[N, 9]\noutput y = x -> linear(7) -> linear(3)", 1),
        ("input x[N, 9]\noutput y = x -> linear(7) -> linear(6) -> linear(2) -> batchnorm", 1),
        ("input x[N, 9]\noutput y = x -> linear(2) -> linear(9)", 2),
        ("input x[N, 9]\noutput y = x -> batchnorm -> linear(7)", 1),
        (X + "output y = x -> batchnorm -> conv(6, 3, pad = 1)", 1),
        (X + "output y = x -> batchnorm -> conv(6, 3, pad = 1, stride = 2, groups = 2)", 1),
        (X + "output y = x -> conv(12, 1) -> conv(6, 3, pad = 1)", 1),
        (X + "output y = x -> conv(5, 3, pad = 1) -> conv(3, 1)", 1),
        (X + "output y = x -> conv(5, 3, pad = 1) -> batchnorm -> conv(3, 1) -> batchnorm -> relu", 2),
        (X + "output y = x -> conv(5, 3, pad = 1) -> conv(3, 3, pad = 1)", 2),
        (X + "output y = relu((x -> conv(4, 3, pad = 1) -> batchnorm) + x)", None),
        ("input x[N, 9]\nparam s[7] = 2\nh = x -> linear(7)\ny = relu(3 * s * h + h[0, 0] * 0 + 1)\noutput y", None),
    ],
)
def test_what_is_linear_becomes_one(text, count):
    check(text, count)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        # The mean first, then the product: pixels times channels, and channels times channels.
        (X + "output y = x -> conv(16, 1, bias = false) -> global_avgpool", 4 * 72 + 4 * 16 + 16),
        ("input x[N, 4, 8, 8]\noutput y = x -> conv(6, 1, bias = false) -> avgpool(2)", 4 * 64 + 6 * 4 * 16 + 6 * 16),
    ],
)
def test_sums_that_became_one_are_put_in_order(text, most):
    check(text)
    _, found, _ = compiled(text)
    steady = steady_tensors(found)
    made = [s for s in found.statements if isinstance(s, Definition) and s.tensor.name not in steady]
    points = [np.prod([d for d in t.form.domain if isinstance(d, int)]) for s in made for t in s.terms]
    assert sum(points) <= most, [str(s.tensor) for s in made]


def test_a_plain_sum_stays_one():
    """Scales after a mean are not multiplied into what it sums."""
    text = X + "param s[4] = 2\nh = x -> avgpool(2)\ny[n, c, i, j] = h[n, c, i, j] * s[c]\noutput y"
    report = check(text)
    assert not any(e.done for e in report.entries if e.step == "compose")


def test_a_batch_normalization_costs_nothing():
    text = X + "h = x -> conv(4, 3, pad = 1, bias = false) -> batchnorm -> relu\noutput y = h"
    _, found, _ = compiled(text)
    assert len(reads_in_every_run(found)) == 2, "the filter and the shift"


def test_a_batch_normalization_inside_of_a_function():
    """Where a formula holds scale, shift and function, the linear part of it is folded all the same."""
    text = X + """
    param scale[5] = 2
    param shift[5] = 1
    h = x -> conv(5, 3, bias = false)
    y[n, c, i, j] = relu(scale[c] * h[n, c, i, j] + shift[c] + x[n, 0, i + 1, j + 1]) * 2
    output y"""
    _, found, report = compiled(text)
    check(text)
    assert any("folded into" in e.text for e in report.entries if e.step == "compose" and e.done)
    assert len(reads_in_every_run(found)) == 2


RESNET = """
layer block(width, stride = 1)(x[N, C, H, W]) {
    a = x -> conv(width, 3, stride, pad = 1, bias = false) -> batchnorm -> relu
    b = a -> conv(width, 3, pad = 1, bias = false) -> batchnorm
    s = x -> conv(width, 1, stride, bias = false) -> batchnorm
    return relu(b + s)
}
net example {
    input x[N, 3, 8, 8]
    output y = x -> block(4) -> block(6, 2) -> global_avgpool -> linear(3)
}"""

MOBILENET = """
layer inverted(width, t)(x[N, C, H, W]) {
    h = x -> conv(C * t, 1, bias = false) -> batchnorm -> relu6
    h = h -> conv(C * t, 3, pad = 1, groups = C * t, bias = false) -> batchnorm -> relu6
    return h -> conv(width, 1, bias = false) -> batchnorm
}
net example {
    input x[N, 4, 6, 6]
    h = x -> inverted(4, 3)
    output y = (x + h) -> inverted(5, 2) -> inverted(5, 2)
}"""

INCEPTION = """
layer unit(width, k)(x[N, C, H, W]) { return x -> conv(width, k, pad = k // 2, bias = false) -> batchnorm -> relu }
net example {
    input x[N, 6, 7, 7]
    a = x -> unit(4, 1)
    b = x -> unit(3, 1) -> unit(4, 3)
    c = x -> unit(2, 1) -> unit(3, 5)
    d = x -> maxpool(3, stride = 1, pad = 1) -> unit(2, 1)
    output y = concat(a, b, c, d, axis = 1)
}"""


@pytest.mark.parametrize("text", [RESNET, MOBILENET, INCEPTION], ids=["resnet", "mobilenet", "inception"])
def test_blocks_of_networks(text):
    check(text)
    _, found, _ = compiled(text)
    states = {i.tensor.name for i in found.inputs if i.role == "state"}
    assert states and not states & reads_in_every_run(found), "no statistics are left in what runs"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("input x[N, 9]\noutput y = x -> linear(7) -> relu -> linear(3)", "linear1 and linear2 not folded: relu between them"),
        ("input x[N, 9]\noutput y = x -> linear(2) -> linear(9)", "it would take"),
        (X + "output y = x -> conv(5, 3, pad = 1) -> conv(3, 3, pad = 1)", "the padding between them"),
        ("input x[N, 9]\nh = x -> linear(7)\noutput h\noutput y = h -> linear(3)", None),
    ],
)
def test_what_is_declined_and_why(text, reason):
    report = check(text)
    entries = [e for e in report.entries if e.step == "compose"]
    assert not any(e.done for e in entries)
    if reason is not None:
        assert any(reason in e.text and e.provenance for e in entries), [e.text for e in entries]


def test_training_folds_nothing():
    net = dg.loads(RESNET.replace("output y", "target t[N, 3]\n    output y") + "\n", precision="f64")
    network = net.network(True)
    report = Report()
    optimize(network.program, report)
    assert not any(e.done and e.step == "compose" for e in report.entries)


# ------------------------------------------------------------------------------------------------ one sum of several


def merged(report) -> list[str]:
    return [e.text for e in report.entries if e.step == "merge" and e.done]


JOINED = "\noutput y = concat(a, b, axis = 1)"


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("input x[N, 9]\noutput a = x -> linear(3)\noutput b = x -> linear(2)", 1),
        ("input x[N, 9]\na = x -> linear(3, bias = false) -> tanh\nb = x -> linear(4) -> tanh" + JOINED, 1),
        ("input x[N, 9]\nq = x -> linear(4)\nk = x -> linear(4)\nv = x -> linear(6)\n"
         "s[n, m] = sum[d](q[n, d] * k[m, d])\ny[n, d] = sum[m](s[n, m] * v[m, d])\noutput y", 1),
        (X + "a = x -> conv(3, 1) -> relu\nb = x -> conv(2, 1) -> relu -> conv(5, 3, pad = 1)" + JOINED, 1),
        (X + "output a = x -> conv(3, 3, pad = 1)\noutput b = x -> conv(2, 1)", 0),
        ("input x[N, 9]\na = x -> linear(3) -> tanh\nb = x -> linear(4) -> relu" + JOINED, 0),
        ("input x[N, 9]\noutput a = x -> linear(300)\noutput b = x -> linear(200)", 0),
    ],
)
def test_narrow_sums_of_one_tensor_become_one(text, sums):
    assert len(merged(check(text))) == sums


def test_narrow_branches_of_an_inception_block():
    report = check(INCEPTION)
    assert len(merged(report)) == 1
    _, found, _ = compiled(INCEPTION)
    names = work(found)
    terms = [t for s in found.statements if s.results[0].name in names for t in s.terms if t.form.op == "sum"]
    assert sum(bool(t.form.reduced) for t in terms) == 4, "three branches begin as one"


@pytest.mark.parametrize("text", [RESNET, MOBILENET, INCEPTION], ids=["resnet", "mobilenet", "inception"])
def test_blocks_run_as_they_are_meant(text):
    ours, theirs = (dg.loads(text, target=target, precision="f64", seed=3) for target in ("cpu", "reference"))
    (port,) = ours.network().inputs
    x = np.random.default_rng(2).standard_normal((3, *port.tensor.shape[1:]))
    np.testing.assert_allclose(ours(x=x)["y"], theirs(x=x)["y"], rtol=1e-9, atol=1e-12)
