"""Basis functions, against formulas of their own."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

ONE, TWO = {"x": (6, 1)}, {"x": (4, 2, 2)}


def powers(x, degree):
    return torch.stack([x**k for k in range(degree + 1)], -1).flatten(-2)


def waves(x, order, period):
    w = 2 * np.pi / period
    parts = [torch.ones_like(x)]
    for k in range(1, order + 1):
        parts += [torch.sin(w * k * x), torch.cos(w * k * x)]
    return torch.stack(parts, -1).flatten(-2)


def hats(x, knots, low, high):
    step = (high - low) / (knots - 1)
    at = torch.linspace(low, high, knots, dtype=torch.float64)
    return torch.relu(1 - (x[..., None] - at).abs() / step).flatten(-2)


def bumps(x, p):
    distance = ((x[..., None, :] - p["center"]) ** 2).sum(-1)
    return torch.exp(-(p["sharpness"] ** 2) * distance)


CASES = [
    ("polynomial(3)", ONE, lambda x, p: powers(x, 3), True),
    ("polynomial(2)", TWO, lambda x, p: powers(x, 2), True),
    ("fourier(2)", ONE, lambda x, p: waves(x, 2, 2 * np.pi), True),
    ("fourier(3, period = 1.5)", TWO, lambda x, p: waves(x, 3, 1.5), True),
    ("hat_spline(6, -2, 3)", ONE, lambda x, p: hats(x, 6, -2, 3), False),
    ("hat_spline(4)", TWO, lambda x, p: hats(x, 4, -1, 1), False),
    ("radial(5)", {"x": (4, 3)}, bumps, True),
    ("radial(2, -3, 3, sharpness = 2)", TWO, bumps, True),
]


@pytest.mark.parametrize("text, inputs, function, second", CASES, ids=[t for t, *_ in CASES])
def test_basis(agrees, text, inputs, function, second):
    agrees(f"x -> {text} as f", inputs, function, second=second, single=True)


@pytest.mark.parametrize("degree, expected", [
    (1, lambda t: torch.relu(1 - (t - 1).abs())),
    (2, lambda t: torch.where(t.abs() > 3, 0 * t, torch.relu(t) ** 2 / 2 - 1.5 * torch.relu(t - 1) ** 2
                              + 1.5 * torch.relu(t - 2) ** 2 - torch.relu(t - 3) ** 2 / 2)),
    (3, lambda t: (torch.relu(t) ** 3 - 4 * torch.relu(t - 1) ** 3 + 6 * torch.relu(t - 2) ** 3
                   - 4 * torch.relu(t - 3) ** 3 + torch.relu(t - 4) ** 3) / 6),
])  # fmt: skip
def test_b_spline_is_the_cardinal_spline(agrees, degree, expected):
    """Function k is the cardinal B-spline of its degree, moved to the k-th knot: here written with truncated powers."""
    x = np.random.default_rng(1).uniform(-2, 3, (7, 1))

    def columns(x, p):
        t = (x - -2) / 5 * 5 + degree
        return torch.cat([expected(t - k) for k in range(5 + degree)], 1)

    ours = agrees(f"x -> b_spline(6, {degree}, -2, 3)", {"x": x}, columns, second=degree > 2)
    np.testing.assert_allclose(ours.value.sum(1), 1, rtol=1e-12)
