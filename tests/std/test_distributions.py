"""What is drawn: moments, ranges, reproducibility, and the initial values of the standard layers."""

import numpy as np
import pytest

from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text


def drawn(distribution: str, shape="200, 150", seed=0, name="w") -> np.ndarray:
    """The initial value of a parameter."""
    network = elaborate(load_text(f"net d {{\n    param {name}[{shape}] ~ {distribution}\n    output {name}\n}}"))
    values = {i.tensor.name: {"seed": seed, "step": 0, "total_steps": 1}[i.path] for i in network.initial.inputs}
    return interpret(network.initial, values)[network.initial.output(name)]


@pytest.mark.parametrize("text, mean, std", [
    ("normal", 0, 1),
    ("normal(3, 0.5)", 3, 0.5),
    ("normal(std = 2)", 0, 2),
    ("uniform", 0.5, np.sqrt(1 / 12)),
    ("uniform(-2, 4)", 1, 6 * np.sqrt(1 / 12)),
    ("bernoulli", 0.5, 0.5),
    ("bernoulli(0.1)", 0.1, 0.3),
    ("truncated_normal", 0, 0.8796256610342398),
    ("truncated_normal(1, 2, -1, 1)", 1, 2 * 0.5396),
    ("he_normal", 0, np.sqrt(2 / 150)),
    ("he_uniform", 0, np.sqrt(2 / 150)),
    ("he_normal(fan_in = 8)", 0, 0.5),
    ("he_uniform(fan_in = 8)", 0, 0.5),
    ("glorot_normal", 0, np.sqrt(2 / 350)),
    ("glorot_uniform", 0, np.sqrt(2 / 350)),
    ("glorot_uniform(fan_in = 2, fan_out = 6)", 0, 0.5),
    ("lecun_normal", 0, np.sqrt(1 / 150)),
    ("lecun_normal(fan_in = 4)", 0, 0.5),
])  # fmt: skip
def test_moments(text, mean, std):
    w = drawn(text)
    assert w.shape == (200, 150)
    error = 5 * std / np.sqrt(w.size)
    assert w.mean() == pytest.approx(mean, abs=error)
    assert w.std() == pytest.approx(std, rel=0.03)


def test_fans_of_a_convolution():
    """[out, in, 3, 3]: each output sees in * 9, each input reaches out * 9."""
    assert drawn("he_normal", "64, 20, 3, 3").std() == pytest.approx(np.sqrt(2 / 180), rel=0.03)
    assert drawn("glorot_normal", "64, 20, 3, 3").std() == pytest.approx(np.sqrt(2 / (180 + 576)), rel=0.03)


def test_ranges():
    assert drawn("uniform(-2, 4)").min() >= -2 and drawn("uniform(-2, 4)").max() < 4
    assert np.abs(drawn("truncated_normal(0, 3)")).max() <= 6
    assert set(np.unique(drawn("bernoulli(0.3)"))) == {0, 1}
    assert np.abs(drawn("he_uniform")).max() <= np.sqrt(6 / 150)


@pytest.mark.parametrize("shape, rows", [("12, 20", 12), ("20, 12", 12), ("9, 9", 9), ("6, 3, 2, 2", 6), ("1, 1", 1)])
def test_orthogonal(shape, rows):
    w = drawn("orthogonal(gain = 2)", shape)
    matrix = w.reshape(w.shape[0], -1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(gram, 4 * np.eye(rows), atol=1e-9)


def test_a_seed_gives_the_same_values_and_another_gives_others():
    np.testing.assert_array_equal(drawn("normal", seed=3), drawn("normal", seed=3))
    assert np.mean(drawn("normal", seed=3) == drawn("normal", seed=4)) < 0.01


def test_paths_draw_independently():
    a, b = drawn("normal"), drawn("normal", name="v")
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05


def test_draws_have_no_correlation_along_rows():
    w = drawn("normal")
    assert abs(np.corrcoef(w[:, :-1].ravel(), w[:, 1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(w[:-1].ravel(), w[1:].ravel())[0, 1]) < 0.03


def test_a_distribution_of_ones_own():
    text = """
    fn exponential(u, rate = 1) = -log(1 - u) / rate
    net d { param w[200, 200] ~ exponential(rate = 4); output w }"""
    network = elaborate(load_text(text))
    values = {i.tensor.name: 0 for i in network.initial.inputs}
    w = interpret(network.initial, values)[network.initial.output("w")]
    assert w.min() >= 0 and w.mean() == pytest.approx(0.25, rel=0.02) and w.std() == pytest.approx(0.25, rel=0.03)
