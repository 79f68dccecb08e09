"""Nets as ONNX models, run by ONNX's own evaluator: they compute what the net does, with ONNX's operators."""

from collections import Counter

import numpy as np
import pytest
from evaluation import evaluated
from hypothesis import HealthCheck, assume, given, settings
from random_texts import programs

import diffgraph as dg
from diffgraph.cli import run
from diffgraph.interop.onnx.exporting import onnx_model
from diffgraph.ir.interpret import interpret

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")

QUIET = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck), "database": None}

#: What is written in a net over x, its shape, and the operators that compute.
RECOGNIZED = [
    ("x -> conv(6, 3, 2, 1, 2, groups = 2)", (2, 4, 9, 8), {"Conv": 1}),
    ("x -> conv(4, 3, groups = 4, bias = false)", (2, 4, 9, 8), {"Conv": 1}),
    ("x -> conv(5, [1, 3], pad = \"same\")", (2, 4, 7, 6), {"Conv": 1}),
    ("x -> conv(1, 1, bias = false)", (2, 4, 7, 6), {"Conv": 1}),
    ("x -> conv(3, 5)", (2, 4, 11), {"Conv": 1}),
    ("x -> conv(2, 2)", (2, 2, 4, 5, 3), {"Conv": 1}),
    ("x -> conv(5, 3, pad = 1) -> batchnorm -> relu", (2, 4, 7, 6), {"Conv": 1, "Relu": 1}),
    ("x -> conv_transpose(5, 3, 2, 1, 1)", (2, 4, 5, 6), {"ConvTranspose": 1}),
    ("x -> maxpool(3, 2, 1)", (2, 4, 7, 6), {"MaxPool": 1}),
    ("x -> avgpool(2)", (2, 4, 7, 6), {"AveragePool": 1}),
    ("x -> linear(3)", (2, 5, 4), {"MatMul": 1, "Add": 1}),
    ("concat(x, 2 * x, axis = 1)", (2, 3, 4), {"Mul": 1, "Concat": 1}),
    ("x[:, 1:3]", (2, 5), {"Slice": 1}),
]


def exported(text, **arrays):
    """(model, results, expected): of a net's outputs, by ONNX's evaluator and by the interpreter."""
    net = dg.loads(text, precision="f64", seed=3)
    net.fix(arrays)
    program = net.forward([o.name for o in net.network().outputs])
    model = onnx_model(program, net.storage, "net", "f64")
    evaluator = reference.ReferenceEvaluator(model)
    found = evaluator.run(None, {name: arrays[name] for name in evaluator.input_names})
    values = {i.tensor.name: arrays.get(i.path, net.storage.get(i.path)) for i in program.inputs if i.table is None}
    results = interpret(program, values)
    return model, found, [results[o.tensor] for o in program.outputs]


def agree(found, expected):
    for a, b in zip(found, expected, strict=True):
        scale = max(1.0, float(np.max(np.abs(b), initial=0)))
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * scale)


def of(expression, shape, declaration="N"):
    sizes = ", ".join([declaration, *map(str, shape[1:])])
    return f"net case {{\n    input x[{sizes}]\n    output y = {expression}\n}}\n"


@pytest.mark.parametrize("expression, shape, operators", RECOGNIZED, ids=[r[0] for r in RECOGNIZED])
def test_what_onnx_has_is_an_operator(expression, shape, operators):
    x = np.random.default_rng(0).standard_normal(shape)
    model, found, expected = exported(of(expression, shape), x=x)
    agree(found, expected)
    computing = Counter(n.op_type for n in model.graph.node) - Counter(["Identity", "Shape", "Squeeze"])
    assert computing == operators


def test_a_convolution_of_ones_own_is_one():
    text = """
net case {
    input x[N, 3, 8, 8]
    param w[3, 2, 5, 3] ~ normal(0, 1)
    y[h < 3, n, w_ < 7, o] = sum[c, p, q](w[p, q, o, c] * x[n, c, 2 * h + p, w_ + q])
    output y
}
"""
    model, found, expected = exported(text, x=np.random.default_rng(0).standard_normal((2, 3, 8, 8)))
    agree(found, expected)
    assert [n.op_type for n in model.graph.node] == ["Conv", "Transpose", "Identity"]


LOOP = """
net case {
    input x[N, 7, 3]
    param w[3, 3] ~ normal(0, 1)
    path = scan t in 0..7 from h = zeros([N, 3]) {
        next h = tanh(x[:, t, :] + h @ w)
        yield h * t
    }
    output y = last(path)
    output z = path
}
"""


def test_a_loop_is_a_scan():
    model, found, expected = exported(LOOP, x=np.random.default_rng(0).standard_normal((2, 7, 3)))
    agree(found, expected)
    assert "Scan" in {n.op_type for n in model.graph.node}


def test_tables_have_names_of_their_own():
    text = "net case {\n    input x[N]\n    y[n] = sum[i < 3](a[i] * exp(b[i] * x[n]))\n    output y\n}\na = [1, 2, 4]\nb = [0.5, 0.1, -1]\n"
    _, found, expected = exported(text, x=np.array([0.5, -1, 2]))
    agree(found, expected)


def test_a_loop_over_nothing_gives_its_start():
    text = LOOP.replace("0..7", "3..3").replace("last(path)", "sum(path)")
    _, found, expected = exported(text, x=np.random.default_rng(0).standard_normal((2, 7, 3)))
    agree(found, expected)


@settings(max_examples=25, **QUIET)
@given(programs())
def test_random_programs_with_their_gradients(text):
    _, program, _, arrays, expected = evaluated(text)
    assume(all(np.all(np.isfinite(a)) for a in expected))
    evaluator = reference.ReferenceEvaluator(onnx_model(program, arrays, "net", "f64"))
    agree(evaluator.run(None, {name: arrays[name] for name in evaluator.input_names}), expected)


def test_batch_and_open_sizes_stay_open():
    text = of("x -> conv(3, 3, 2, 1) -> relu -> global_avgpool", (1, 2, 8, 8)).replace("8, 8", "H, W")
    net = dg.loads(text, precision="f64")
    model = onnx_model(net.forward(["y"]), net.storage, "net", "f64")
    evaluator = reference.ReferenceEvaluator(model)
    for shape in [(1, 2, 5, 8), (3, 2, 9, 6)]:
        x = np.random.default_rng(1).standard_normal(shape)
        net = dg.loads(text, precision="f64")
        np.testing.assert_allclose(evaluator.run(None, {"x": x})[0], net(x=x)["y"], rtol=1e-10)


def test_there_and_back(tmp_path):
    (tmp_path / "small.net").write_text(of("softmax(x -> conv(4, 3) -> relu -> flatten -> linear(5))", (1, 2, 6, 5)))
    small, there = str(tmp_path / "small.net"), str(tmp_path / "there.onnx")
    assert run(["export", small, "-o", there, "--seed", "1", "--quiet"]) == 0
    assert run(["import", there, "-o", str(tmp_path / "back.net")]) == 0
    back = dg.load(tmp_path / "back.net")
    back.load(tmp_path / "back.safetensors")
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 5)).astype(np.float32)
    (found,) = back(**{back.declared.inputs[0].name: x}).values()
    np.testing.assert_allclose(found, dg.load(small, seed=1)(x=x)["y"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("text, code", [
    ("net case {\n    input x[N, 3]\n    e[x.shape] ~ normal(0, 1)\n    output y = x + e\n}\n", "DG955"),
    ("net case {\n    input x[N, 3]\n    loss mean(x)\n}\n", "DG956"),
])  # fmt: skip
def test_what_cannot_be_exported_is_refused(text, code, tmp_path, capsys):
    (tmp_path / "case.net").write_text(text)
    assert run(["export", str(tmp_path / "case.net"), "-o", str(tmp_path / "case.onnx")]) == 2
    assert code in capsys.readouterr().err
