"""Programs whose elements are moved (channels innermost, margins, panels, chunks, parts), with their derivatives, against
the interpreter; and vectors narrower than this machine's."""

import numpy as np
import pytest
from agreement import check, program_of
from test_forms import CASES

import diffgraph as dg
from diffgraph.kernels.tiles import Machine
from diffgraph.passes.pipeline import stages
from diffgraph.passes.report import Report
from diffgraph.runtime import native

NETS = {
    "a residual block": """
        x = image -> conv(32, 3, pad = 1, bias = false) -> batchnorm -> relu
        y = x -> conv(32, 3, pad = 1) -> batchnorm -> relu -> conv(32, 3, pad = 1)
        z = relu(x + y) -> conv(48, 3, stride = 2, pad = 1) -> relu -> global_avgpool""",
    "panels that are not full": """
        x = image -> conv(40, 5, stride = 2, pad = 2) -> hard_swish -> conv(70, 1) -> relu6
        z = x -> conv(33, 3, dilation = 2, pad = 2) -> tanh -> global_avgpool""",
    "filters in panels": """
        x = image -> conv(64, 3, stride = 2, pad = 1) -> relu
        z = x -> conv(512, 3, stride = 3, pad = 1) -> tanh -> conv(32, 2) -> global_avgpool""",
    "a shortcut that pads channels": """
        x = image -> conv(32, 3, pad = 1) -> relu
        s[n, c < 64, i < 6, j < 6] = (x[n, c - 16, 2 * i, 2 * j] else 0)
        z = relu(s + (x -> conv(64, 3, stride = 2, pad = 1))) -> global_avgpool""",
    "depthwise and groups": """
        x = image -> conv(32, 1) -> relu -> conv(32, 3, pad = 1, groups = 32) -> relu6
        z = x -> conv(64, 3, pad = 1, groups = 4) -> conv(16, 1) -> global_avgpool""",
    "pools and what is beside them": """
        x = image -> conv(32, 3, pad = 1) -> relu
        a = x -> maxpool(3, stride = 2, pad = 1)
        b = x -> avgpool(2) -> conv(32, 3, pad = 1)
        z = concat(a, b, axis = 1) -> conv(32, 3, pad = 1) -> global_avgpool""",
    "up again": """
        x = image -> conv(32, 3, stride = 2, pad = 1) -> relu -> conv_transpose(24, 4, stride = 2, pad = 1)
        z = (x + image[:, 0:1]) -> conv(32, 3, pad = 1) -> global_avgpool""",
    "branches with other windows": """
        x = image -> conv(32, 3, pad = 1) -> relu
        z = concat(x -> conv(128, 1) -> relu, x -> conv(128, 3, pad = 1) -> relu, axis = 1) -> global_avgpool""",
    "a branch that goes two steps at a time": """
        x = image -> conv(64, 1) -> relu
        a = x -> conv(32, 1) -> relu
        z = concat(a -> global_avgpool, x -> conv(48, 1, stride = 2) -> relu -> global_avgpool, axis = 1)""",
}


def net_of(name, target, size, precision="f64"):
    text = f"""net example {{
        input image[N, 16, {size}, {size}]
        target t[N, 3]
        {NETS[name]}
        y = z -> linear(3)
        output y
        loss mean((y - t)^2)
    }}"""
    return dg.loads(text, target=target, precision=precision)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [1, 5])
def test_gradients_agree_with_the_interpreter(name, batch, rng):
    size = 12
    ours, theirs = (net_of(name, target, size) for target in ("cpu", "reference"))
    x, t = rng.standard_normal((batch, 16, size, size)), rng.standard_normal((batch, 3))
    (loss, found), (expected_loss, expected) = (n.gradients(image=x, t=t) for n in (ours, theirs))
    assert loss == pytest.approx(expected_loss, rel=1e-11)
    for path, gradient in expected.items():
        scale = max(1e-3, float(np.abs(gradient).max()))
        np.testing.assert_allclose(found[path], gradient, 1e-9, 1e-9 * scale, err_msg=path)
    np.testing.assert_allclose(ours(image=x)["y"], theirs(image=x)["y"], 1e-10, 1e-12)


def test_each_way_to_move_elements_is_taken():
    network = net_of("a residual block", "cpu", 12)
    report = Report()
    stages(network.gradient([v.path for v in network.network(True).parameters]), report)
    assert {"layout", "halo", "split"} <= {entry.step for entry in report.entries if entry.done}


@pytest.mark.parametrize(("lanes", "registers"), [(4, 16), (8, 16)], ids=["128 bits", "256 bits"])
@pytest.mark.parametrize("name", ["matrix product", "convolutions", "products added", "softmax and norms"])
def test_narrower_vectors(name, lanes, registers, rng, monkeypatch):
    monkeypatch.setattr(native, "measured_machine", lambda precision: Machine(lanes, registers))
    check(program_of(CASES[name]), 5, rng, "f32", optimized=True)
