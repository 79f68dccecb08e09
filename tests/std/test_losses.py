"""Losses, metrics, regularizers and functions, against PyTorch and against their own formulas."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(5)
SCORES = RNG.standard_normal((5, 4))
PIXELS = RNG.standard_normal((2, 4, 3, 2))
LABEL = np.array([3, 0, 1, 1, 2])
LABELS = RNG.integers(0, 4, (2, 3, 2))
LABELS.flat[0] = 3
SHARES = RNG.random((5, 4)) + 0.1
SHARES /= SHARES.sum(1, keepdims=True)
BITS = (RNG.random((5, 4)) > 0.5).astype(float)

PAIRS = [
    ("mse(x, y)", F.mse_loss),
    ("mae(x, y)", F.l1_loss),
    ("huber(x, y)", F.huber_loss),
    ("huber(x, y, delta = 0.3)", lambda x, y: F.huber_loss(x, y, delta=0.3)),
    ("smooth_l1(x, y)", F.smooth_l1_loss),
    ("smooth_l1(x, y, 0.5)", lambda x, y: F.smooth_l1_loss(x, y, beta=0.5)),
    ("cosine_similarity(x, y)", lambda x, y: F.cosine_similarity(x, y, -1)),
    ("cosine_similarity(x, y, axis = 0)", lambda x, y: F.cosine_similarity(x, y, 0)),
    ("gaussian_nll(x, y, exp(x))", lambda x, y: F.gaussian_nll_loss(x, y, torch.exp(x))),
    ("outer(x, y)", lambda x, y: x[:, :, None] * y[:, None, :]),
    ("psnr(x, y, 2)", lambda x, y: 10 * torch.log10(4 / F.mse_loss(x, y))),
    ("r2(x, y)", lambda x, y: 1 - ((x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()),
]

TARGETED = [
    ("cross_entropy(x, y)", SCORES, LABEL, F.cross_entropy),
    ("cross_entropy(x, y, smoothing = 0.1)", SCORES, LABEL, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1)),
    ("cross_entropy(x, y)", PIXELS, LABELS, F.cross_entropy),
    ("cross_entropy(x, y, 0.2)", PIXELS, LABELS, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.2)),
    ("cross_entropy(x, y)", SCORES, SHARES, F.cross_entropy),
    ("cross_entropy(x, y, 0.3)", SCORES, SHARES, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.3)),
    ("cross_entropy(x, y, axis = -1)", RNG.standard_normal((2, 3, 4)), np.array([[0, 3, 1], [2, 2, 0]]),
     lambda x, y: F.cross_entropy(x.transpose(1, 2), y)),
    ("nll(log_softmax(x, axis = 1), y)", PIXELS, LABELS, lambda x, y: F.nll_loss(F.log_softmax(x, 1), y)),
    ("binary_cross_entropy(x, y)", SCORES, BITS, F.binary_cross_entropy_with_logits),
    ("binary_cross_entropy(x, y, positive_weight = 3)", SCORES, SHARES,
     lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(3.0))),
    ("hinge(x, y)", SCORES, LABEL, F.multi_margin_loss),
    ("hinge(x, y, margin = 0.5)", SCORES, LABEL, lambda x, y: F.multi_margin_loss(x, y, margin=0.5)),
    ("hinge(x, y)", SCORES, BITS, lambda x, y: F.relu(1 - (2 * y - 1) * x).mean()),
    ("kl_div(log_softmax(x), y)", SCORES, SHARES, lambda x, y: F.kl_div(F.log_softmax(x, -1), y)),
    ("kl_div(x, y)", SCORES, BITS, F.kl_div),
]  # fmt: skip

ALONE = [
    ("variance(x)", lambda x: x.var(correction=0)),
    ("variance(x, axis = 1, correction = 1)", lambda x: x.var(1)),
    ("variance(x, axis = [0, 2], keep = true)", lambda x: x.var((0, 2), correction=0, keepdim=True)),
    ("std(x, axis = -1)", lambda x: x.std(-1, correction=0)),
    ("unit(x, axis = 1)", lambda x: F.normalize(x, dim=1)),
    ("attend(x, 2 * x, x^2)", lambda x: F.scaled_dot_product_attention(x, 2 * x, x**2)),
    ("attend(x, 2 * x, x^2, mask = causal(4))",
     lambda x: F.scaled_dot_product_attention(x, 2 * x, x**2, is_causal=True)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("text, function", PAIRS, ids=[t for t, _ in PAIRS])
def test_pair(agrees, text, function):
    agrees(text, {"x": (4, 3), "y": (4, 3)}, lambda x, y, p: function(x, y), second="huber" not in text)


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("text, x, y, function", TARGETED, ids=[f"{t} {x.ndim} {y.dtype}" for t, x, y, _ in TARGETED])
def test_target(agrees, text, x, y, function):
    agrees(text, {"x": x, "y": y}, lambda x, y, p: function(x, y), second="hinge" not in text, targets="y")


@pytest.mark.parametrize("text, function", ALONE, ids=[t for t, _ in ALONE])
def test_function(agrees, text, function):
    agrees(text, {"x": (2, 4, 3)}, lambda x, p: function(x))


@pytest.mark.filterwarnings("ignore:reduction")
def test_pairs_at_once(agrees):
    """One program of all scalar ones, so that the cpu target compiles few kernels."""
    rows = [(t, f) for t, f in PAIRS if not t.startswith(("cosine", "outer"))]
    agrees(f"stack({', '.join(t for t, _ in rows)})", {"x": (4, 3), "y": (4, 3)},
           lambda x, y, p: torch.stack([f(x, y) for _, f in rows]), second=False, single=True)  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("label", [LABEL, SHARES, LABELS], ids=["label", "shares", "labels"])
def test_targets_at_once(agrees, label):
    """One program of all that take the same target, so that the cpu target compiles few kernels."""
    rows = [(t, f) for t, _, y, f in TARGETED if y is label]
    x = PIXELS if label is LABELS else SCORES
    agrees(f"stack({', '.join(t for t, _ in rows)})", {"x": x, "y": label},
           lambda x, y, p: torch.stack([f(x, y) for _, f in rows]), second=False, targets="y", single=True)  # fmt: skip


@pytest.mark.parametrize("text, x, y, function", [t for t in TARGETED if t[2] is SHARES], ids=lambda t: str(t)[:40])
def test_target_that_is_itself_computed(agrees, text, x, y, function):
    agrees(text, {"x": x, "y": y}, lambda x, y, p: function(x, y))


def test_losses_do_not_overflow(agrees):
    x = np.array([[1e4, -1e4, 700.0, -700.0]])
    y = np.array([[1.0, 0.0, 0.0, 1.0]])
    agrees("binary_cross_entropy(x, y)", {"x": x, "y": y}, lambda x, y, p: F.binary_cross_entropy_with_logits(x, y),
           second=False, differences=False)  # fmt: skip
    agrees("cross_entropy(x, y)", {"x": x, "y": np.array([1])}, lambda x, y, p: F.cross_entropy(x, y),
           second=False, differences=False)  # fmt: skip


def test_small_losses_keep_their_digits(agrees):
    """log(1 + exp(-40)) is 4e-18, not 0: nothing cancels on the side of the right answer."""
    ours = agrees("binary_cross_entropy(x, y)", {"x": np.array([40.0, -40.0]), "y": np.array([1.0, 0.0])},
                  lambda x, y, p: (F.softplus(-x) * y + F.softplus(x) * (1 - y)).mean(),
                  second=False, differences=False)  # fmt: skip
    assert ours.value == pytest.approx(np.exp(-40.0), rel=1e-12)


@pytest.mark.parametrize("text, expected", [
    ("accuracy(x, y)", 0.6), ("accuracy(x, y, top = 2)", 0.8), ("accuracy(x, y, top = 4)", 1.0),
])  # fmt: skip
def test_accuracy(agrees, text, expected):
    x = np.array([[1, 9, 2, 3], [5, 4, 3, 2], [1, 2, 3, 4], [2, 2, 2, 2], [0, 1, 0, 1.0]])
    ours = agrees(text, {"x": x, "y": np.array([1, 0, 0, 1, 1])}, lambda x, y, p: torch.tensor(expected).to(x.dtype),
                  second=False, differences=False, tolerance=1e-7)  # fmt: skip
    assert float(ours.value) == pytest.approx(expected, rel=1e-12)


def test_accuracy_of_each_pixel(agrees):
    agrees("accuracy(x, y)", {"x": PIXELS, "y": LABELS}, lambda x, y, p: (x.argmax(1) == y).double().mean(),
           second=False, differences=False)  # fmt: skip


def test_accuracy_of_two_classes(agrees):
    agrees("accuracy(x, y)", {"x": SCORES, "y": BITS}, lambda x, y, p: ((x > 0) == (y > 0.5)).double().mean(),
           second=False, differences=False)  # fmt: skip


def test_what_is_not_a_number_is_not_right(agrees):
    agrees("accuracy(x, y)", {"x": np.full((3, 4), np.nan), "y": np.array([0, 1, 2])},
           lambda x, y, p: torch.tensor(0.0), second=False, differences=False)  # fmt: skip


TWO = """
    layer two()(x) { return x -> linear(3) as a -> linear(2, bias = false) as b }"""


@pytest.mark.parametrize("text, function, paths", [
    ("l1(parameters)", lambda w: w.abs().sum(), ["a.weight", "a.bias", "b.weight"]),
    ("l2(parameters)", lambda w: (w**2).sum(), ["a.weight", "a.bias", "b.weight"]),
    ("elastic(parameters)", lambda w: 0.5 * w.abs().sum() + 0.25 * (w**2).sum(), ["a.weight", "a.bias", "b.weight"]),
    ("elastic(parameters, ratio = 0.9)", lambda w: 0.9 * w.abs().sum() + 0.05 * (w**2).sum(),
     ["a.weight", "a.bias", "b.weight"]),
    ("l2(f.a)", lambda w: (w**2).sum(), ["a.weight", "a.bias"]),
    ("l1(f.b.weight)", lambda w: w.abs().sum(), ["b.weight"]),
    ("l2([f.a.weight, f.b.weight])", lambda w: (w**2).sum(), ["a.weight", "b.weight"]),
])  # fmt: skip
def test_regularizers(agrees, text, function, paths):
    def theirs(x, p):
        through = F.linear(F.linear(x, p["a.weight"], p["a.bias"]), p["b.weight"])
        return through.sum() + sum(function(p[path]) for path in paths)

    agrees(f"sum(x -> two as f) + {text}", {"x": (2, 4)}, theirs, declarations=TWO)
