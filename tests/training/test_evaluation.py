"""Numbers over a whole set."""

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.training import evaluation

CLASSES = """
net classes {
    input  x[N, 2]
    target label[N]: int < 3
    logits = x -> linear(3)
    output probability = softmax(logits)
    loss   cross_entropy(logits, label)
    metric accuracy(logits, label)
    metric spread = SPREAD
}
"""


def net(spread="max[n](x[n, 0]) - min[n](x[n, 0])"):
    return dg.loads(CLASSES.replace("SPREAD", spread), target="reference", precision="f64")


@pytest.fixture
def columns():
    generator = np.random.default_rng(0)
    return {"x": generator.standard_normal((50, 2)), "label": generator.integers(0, 3, 50)}


@pytest.mark.parametrize("size", [1, 7, 50, 64])
def test_the_size_of_batches_changes_nothing(columns, monkeypatch, size):
    whole = net().evaluate(columns)
    monkeypatch.setattr(evaluation, "BATCH", size)
    assert net().evaluate(columns) == pytest.approx(whole, rel=1e-12)
    assert whole["spread"] == np.ptp(columns["x"][:, 0])


def test_what_cannot_be_cut_is_run_as_one_batch(columns, monkeypatch):
    """A variance in two passes: the second reads the mean of all samples."""
    monkeypatch.setattr(evaluation, "BATCH", 8)
    two_passes = net("mean[n]((x[n, 0] - mean[m](x[m, 0]))^2)")
    assert two_passes.evaluate(columns)["spread"] == pytest.approx(np.var(columns["x"][:, 0]), rel=1e-12)


def test_single_precision_sums_do_not_drift(columns, monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 20)
    many = {k: np.concatenate([v] * 40) for k, v in columns.items()}
    single = dg.loads(CLASSES.replace("SPREAD", "mean(x)"), target="reference", precision="f32")
    exact = net("mean(x)").evaluate(many)
    assert single.evaluate(many)["loss"] == pytest.approx(exact["loss"], rel=2e-6)


def test_confusion(columns):
    model = net()
    counts = evaluation.class_confusion(model, columns)
    predicted = model(x=columns["x"])["probability"].argmax(axis=1)
    assert counts.sum() == 50 and counts.shape == (3, 3)
    assert all(counts[a, b] == np.sum((columns["label"] == a) & (predicted == b)) for a in range(3) for b in range(3))
    assert np.trace(counts) / 50 == pytest.approx(model.evaluate(columns)["accuracy"])


def test_no_confusion_without_classes():
    model = dg.loads("net n { input x[N]; target y[N]; output x; loss mean((x - y)^2) }", target="reference")
    assert evaluation.class_confusion(model, {"x": np.zeros(3), "y": np.zeros(3)}) is None
