"""Layers with weights, against PyTorch: each option at least once, on odd sizes."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional


def conv(x, p, **options):
    rank = x.ndim - 2
    return (F.conv1d, F.conv2d, F.conv3d)[rank - 1](x, p["weight"], p.get("bias"), **options)


def conv_transpose(x, p, **options):
    rank = x.ndim - 2
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    return function(x, p["weight"], p.get("bias"), **options)


IMAGE = {"x": (2, 3, 8, 7)}
WIDE = {"x": (2, 4, 9, 6)}
LINE = {"x": (2, 4, 11)}
SOLID = {"x": (2, 2, 5, 4, 6)}

CASES = [
    ("linear(5)", {"x": (3, 4)}, lambda x, p: F.linear(x, p["weight"], p["bias"])),
    ("linear(5, bias = false)", {"x": (3, 2, 4)}, lambda x, p: F.linear(x, p["weight"])),
    ("conv(5, 3)", IMAGE, conv),
    ("conv(5, 1)", IMAGE, conv),
    ("conv(5, 3, 2)", IMAGE, lambda x, p: conv(x, p, stride=2)),
    ("conv(5, 3, pad = 1)", IMAGE, lambda x, p: conv(x, p, padding=1)),
    ("conv(5, 3, 2, 1, 2)", IMAGE, lambda x, p: conv(x, p, stride=2, padding=1, dilation=2)),
    ("conv(5, [3, 2], [2, 1], [1, 0], [1, 3])", IMAGE,
     lambda x, p: conv(x, p, stride=(2, 1), padding=(1, 0), dilation=(1, 3))),
    ("conv(5, 3, bias = false)", IMAGE, conv),
    ("conv(5, 5, 5)", {"x": (2, 3, 10, 10)}, lambda x, p: conv(x, p, stride=5)),
    ("conv(6, 3, groups = 2)", WIDE, lambda x, p: conv(x, p, groups=2)),
    ("conv(4, 3, 2, 1, groups = 4)", WIDE, lambda x, p: conv(x, p, stride=2, padding=1, groups=4)),
    ("conv(8, 3, groups = 4, pad = 2)", WIDE, lambda x, p: conv(x, p, padding=2, groups=4)),
    ("conv(5, 3, pad = \"same\")", IMAGE, lambda x, p: conv(x, p, padding="same")),
    ("conv(5, [4, 3], pad = \"same\", dilation = [1, 2])", IMAGE,
     lambda x, p: conv(x, p, padding="same", dilation=(1, 2))),
    ("conv(3, 3)", LINE, conv),
    ("conv(6, 3, 2, 1, 2, 2, false)", LINE, lambda x, p: conv(x, p, stride=2, padding=1, dilation=2, groups=2)),
    ("conv(3, 2)", SOLID, conv),
    ("conv(4, [3, 2, 3], [2, 1, 2], 1, groups = 2)", SOLID,
     lambda x, p: conv(x, p, stride=(2, 1, 2), padding=1, groups=2)),
    ("conv_transpose(5, 3)", IMAGE, conv_transpose),
    ("conv_transpose(5, 2, stride = 2)", IMAGE, lambda x, p: conv_transpose(x, p, stride=2)),
    ("conv_transpose(5, 3, 2, 1, 1)", IMAGE,
     lambda x, p: conv_transpose(x, p, stride=2, padding=1, output_padding=1)),
    ("conv_transpose(5, 3, [3, 2], [0, 1], [2, 0], dilation = [1, 2], bias = false)", IMAGE,
     lambda x, p: conv_transpose(x, p, stride=(3, 2), padding=(0, 1), output_padding=(2, 0), dilation=(1, 2))),
    ("conv_transpose(6, 3, 2, groups = 2)", WIDE, lambda x, p: conv_transpose(x, p, stride=2, groups=2)),
    ("conv_transpose(4, 3, groups = 4)", WIDE, lambda x, p: conv_transpose(x, p, groups=4)),
    ("conv_transpose(6, 4, 3, 2, 1, 2)", LINE,
     lambda x, p: conv_transpose(x, p, stride=3, padding=2, output_padding=1, groups=2)),
    ("conv_transpose(4, 2, 2, groups = 2)", SOLID, lambda x, p: conv_transpose(x, p, stride=2, groups=2)),
]  # fmt: skip


@pytest.mark.parametrize("text, inputs, function", CASES, ids=[f"{t} {len(i['x'])}" for t, i, _ in CASES])
def test_layer(agrees, text, inputs, function):
    agrees(f"x -> {text} as f", inputs, function, single=True)


def test_bilinear(agrees):
    agrees("(a, b) -> bilinear(4) as f", {"a": (3, 5), "b": (3, 2)},
           lambda a, b, p: F.bilinear(a, b, p["weight"], p["bias"]))  # fmt: skip


@pytest.mark.parametrize("token", [[3, 0, 3, 6], [[1, 2, 5], [6, 6, 0]]])
def test_embedding(agrees, token):
    agrees("token -> embedding(7, 4) as f", {"token": np.array(token)}, lambda t, p: F.embedding(t, p["weight"]),
           single=True)  # fmt: skip


@pytest.mark.parametrize("text, options", [("flatten", (1,)), ("flatten(from = 2)", (2,)), ("flatten(x, 1, 2)", (1, 2)),
                                           ("flatten(x, -2)", (-2,))])  # fmt: skip
def test_flatten(agrees, text, options):
    text = text if "x" in text else f"x -> {text}"
    agrees(text, {"x": (2, 3, 4, 5)}, lambda x, p: torch.flatten(x, *options))
