"""Activations, against PyTorch; those with corners without second derivatives."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

SMOOTH = [
    ("tanh(x)", torch.tanh),
    ("sigmoid(x)", torch.sigmoid),
    ("softplus(x)", F.softplus),
    ("silu(x)", F.silu),
    ("mish(x)", F.mish),
    ("gelu(x)", F.gelu),
    ("gelu(x, approximate = \"tanh\")", lambda x: F.gelu(x, approximate="tanh")),
    ("log_sigmoid(x)", F.logsigmoid),
    ("softmax(x)", lambda x: F.softmax(x, -1)),
    ("softmax(x, axis = 1)", lambda x: F.softmax(x, 1)),
    ("log_softmax(x)", lambda x: F.log_softmax(x, -1)),
    ("log_softmax(x, axis = 0)", lambda x: F.log_softmax(x, 0)),
    ("logsumexp(x)", lambda x: torch.logsumexp(x, -1)),
    ("logsumexp(x, 1, keep = true)", lambda x: torch.logsumexp(x, 1, True)),
    ("glu(x)", F.glu),
    ("glu(x, axis = 1)", lambda x: F.glu(x, 1)),
    ("elu(x)", F.elu),
    ("elu(x, alpha = 0.5)", lambda x: F.elu(x, 0.5)),
    ("celu(x, 0.5)", lambda x: F.celu(x, 0.5)),
    ("selu(x)", F.selu),
    ("softsign(x)", F.softsign),
    ("leaky_relu(x)", F.leaky_relu),
    ("leaky_relu(x, slope = 0.3)", lambda x: F.leaky_relu(x, 0.3)),
]

CORNERED = [
    ("relu(x)", F.relu),
    ("relu6(3 * x)", lambda x: F.relu6(3 * x)),
    ("hard_tanh(x)", F.hardtanh),
    ("hard_tanh(x, -0.5, 0.7)", lambda x: F.hardtanh(x, -0.5, 0.7)),
    # PyTorch's own hardsigmoid has 1/6 in float32 in its derivative.
    ("hard_sigmoid(3 * x)", lambda x: torch.clamp(3 * x + 3, 0, 6) / 6),
    ("hard_swish(3 * x)", lambda x: F.hardswish(3 * x)),
]


@pytest.mark.parametrize("text, function", SMOOTH, ids=[t for t, _ in SMOOTH])
def test_smooth(agrees, text, function):
    agrees(text, {"x": (3, 4, 6)}, lambda x, p: function(x))


@pytest.mark.parametrize("text, function", CORNERED, ids=[t for t, _ in CORNERED])
def test_cornered(agrees, text, function):
    agrees(text, {"x": (3, 4, 5)}, lambda x, p: function(x), second=False)


def test_all_at_once(agrees):
    """One program of all of them, so that the cpu target compiles few kernels."""
    rows = [(t, f) for t, f in SMOOTH + CORNERED if "logsumexp" not in t and "glu" not in t]
    text = ", ".join(t for t, _ in rows)
    agrees(f"stack({text}, axis = 0)", {"x": (3, 4, 5)}, lambda x, p: torch.stack([f(x) for _, f in rows]),
           second=False, single=True)  # fmt: skip


@pytest.mark.parametrize("text", ["prelu", "prelu(4)"])
def test_prelu(agrees, text):
    agrees(f"x -> {text} as f", {"x": (3, 4, 5)}, lambda x, p: F.prelu(x, p["weight"]), single=True)


def test_extremes_do_not_overflow(agrees):
    """Where a naive formula gives inf or nan: values and derivatives as PyTorch's."""
    x = np.array([[1e4, -1e4, 0.0], [-800.0, -800.0, 800.0], [-1e4, -1e4 + 1, -1e4 - 1]])
    for text, function in [
        ("softmax(x)", lambda x, p: F.softmax(x, -1)),
        ("log_softmax(x)", lambda x, p: F.log_softmax(x, -1)),
        ("logsumexp(x)", lambda x, p: torch.logsumexp(x, -1)),
        ("softplus(x)", lambda x, p: F.softplus(x)),
        ("log_sigmoid(x)", lambda x, p: F.logsigmoid(x)),
        ("elu(x)", lambda x, p: F.elu(x)),
        ("sigmoid(x)", lambda x, p: torch.sigmoid(x)),
        ("gelu(x)", lambda x, p: F.gelu(x)),
    ]:
        agrees(text, {"x": x}, function, second=False, differences=False)


def test_logsumexp_of_nothing(agrees):
    x = np.array([[-np.inf, -np.inf], [-np.inf, 1.0]])
    agrees("logsumexp(x)", {"x": x}, lambda x, p: torch.logsumexp(x, -1).clone(), second=False, differences=False)
