"""Weights that do not fit are refused, with all that is wrong."""

import numpy as np
import pytest

from diffgraph.cli.options import trained_as
from diffgraph.compiler import Net, loads
from diffgraph.diagnostics import DiffgraphError
from diffgraph.interop import safetensors
from diffgraph.language.module import load_text
from diffgraph.training.variables import Variables
from diffgraph.training.weights import fit

WANTED = {"conv1.weight": np.zeros((6, 1, 5, 5), np.float32), "conv1.bias": np.zeros(6, np.float32)}


def test_what_fits_takes_the_type_of_the_net():
    found = fit({k: np.ones(v.shape) for k, v in WANTED.items()}, WANTED, "w")
    assert found["conv1.weight"].dtype == np.float32 and found["conv1.weight"].shape == (6, 1, 5, 5)


def test_everything_wrong_is_said_at_once():
    stored = {"conv.weight": np.ones((6, 1, 5, 5)), "conv1.bias": np.ones(7)}
    with pytest.raises(DiffgraphError) as caught:
        fit(stored, WANTED, "w.safetensors")
    text = str(caught.value)
    assert "lacks `conv1.weight`" in text
    assert "no `conv.weight`" in text
    assert "did you mean `conv.weight`" in text
    assert "`conv1.bias` is [7] in the file, [6] in the net" in text


def test_ints_are_no_floats_and_nan_is_no_number():
    whole = {k: np.ones(v.shape, np.int64) for k, v in WANTED.items()}
    with pytest.raises(DiffgraphError, match="int64 in the file"):
        fit(whole, WANTED, "w")
    bad = {k: np.full(v.shape, np.nan) for k, v in WANTED.items()}
    with pytest.raises(DiffgraphError, match="not numbers"):
        fit(bad, WANTED, "w")


def test_assignment_checks_the_shape_and_changes_in_place():
    arrays = {"a.bias": np.zeros(3, np.float32)}
    variables = Variables("parameter", arrays)
    own = arrays["a.bias"]
    variables["a.bias"] = [1, 2, 3]
    assert own.tolist() == [1, 2, 3]
    with pytest.raises(DiffgraphError, match=r"\[3\], not \[4\]"):
        variables["a.bias"] = np.zeros(4)
    with pytest.raises(DiffgraphError, match="did you mean `a.bias`"):
        variables["a.bais"] = np.zeros(3)
    with pytest.raises(KeyError):
        variables["nothing"]
    with pytest.raises(DiffgraphError, match="takes numbers"):
        variables["a.bias"] = ["x", "y", "z"]


PROGRAM = """
net fit(width = 4, basis = polynomial(2)) {
    input  x[N, 1]
    target y[N, 1]
    p = x -> basis -> linear(width) -> linear(1)
    output p
    loss   mse(p, y)
}
train fit { data table([[0, 1], [1, 3]]); steps 1; optimizer adam }
train fit(basis = fourier(3)) as wave { data table([[0, 1], [1, 3]]); steps 1; optimizer adam }
"""


def test_a_file_says_what_net_its_weights_are_for(tmp_path):
    """Settings and train block come from the file of the weights, unless the command says others."""
    net = loads(PROGRAM, settings={"width": 7}, train="wave", target="reference")
    net.save(tmp_path / "w.safetensors")
    module = load_text(PROGRAM)
    assert trained_as(tmp_path / "w.safetensors", module, None, {}, None) == ("fit", {"width": "7"}, "wave")
    assert trained_as(tmp_path / "w.safetensors", module, None, {"width": "5"}, None)[1] == {"width": "5"}
    assert trained_as(tmp_path / "w.safetensors", module, "fit", {}, "fit") == ("fit", {}, "fit")
    assert trained_as(tmp_path / "nothing", module, None, {}, None) == (None, {}, None)
    again = Net(module, *trained_as(tmp_path / "w.safetensors", module, None, {}, None), target="reference")
    again.load(tmp_path / "w.safetensors")
    assert again.parameters["linear1.weight"].shape == (7, 7)


def test_what_a_file_says_is_not_trusted(tmp_path):
    module = load_text(PROGRAM)
    for about in ({"net": "fit", "settings": "[1"}, {"net": "fit", "settings": '{"depth": "2", "width": 3}'}):
        safetensors.write(tmp_path / "w", {"a": np.zeros(1, np.float32)}, about)
        assert trained_as(tmp_path / "w", module, None, {}, None) == ("fit", {}, None)
    safetensors.write(tmp_path / "w", {"a": np.zeros(1, np.float32)}, {"net": "other", "train": "wave"})
    assert trained_as(tmp_path / "w", module, None, {}, None) == (None, {}, None)
