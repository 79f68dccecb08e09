"""Weights that do not fit are refused, with all that is wrong."""

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
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
