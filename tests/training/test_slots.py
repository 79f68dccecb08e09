"""Columns of data to the inputs and targets of a net."""

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.ir.dimension import symbol
from diffgraph.training.data.dataset import Dataset
from diffgraph.training.data.made import table
from diffgraph.training.data.slots import Slot, fill

N, H, D = symbol("N"), symbol("H"), symbol("D")
X = Slot("x", (N, 2), "float", None, False, True)
Y = Slot("y", (N, 1), "float", None, True, True)
LABEL = Slot("label", (N,), "int", 3, True, True)
IMAGE = Slot("image", (N, 1, 2, 2), "float", None, False, True)
F32 = np.dtype(np.float32)


def test_by_name_then_in_order():
    data = Dataset("d", {"b": np.zeros((4, 2)), "y": np.ones(4), "extra": np.zeros(4)})
    train, test, _ = fill(data, (X, Y), F32)
    assert train["x"].shape == (4, 2) and train["y"].shape == (4, 1) and test is None
    assert train["y"].dtype == np.float32 and train["y"].flags.c_contiguous


def test_a_table_by_width():
    train, _, _ = fill(table([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]), (X, Y), F32)
    assert train["x"].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert train["y"].tolist() == [[0], [1], [1], [0]]


def test_a_table_with_one_open_width():
    wide = Slot("x", (N, D), "float", None, False, True)
    train, _, sizes = fill(table([[1, 2, 3, 0], [4, 5, 6, 1]]), (wide, LABEL), F32)
    assert train["x"].shape == (2, 3) and train["label"].tolist() == [0, 1] and sizes["D"] == 3


@pytest.mark.parametrize("rows", [[[1, 2]], [[1, 2, 3, 4]]])
def test_a_table_of_another_width(rows):
    with pytest.raises(DiffgraphError, match="2 numbers a row for `x` and 1 number a row for `y`"):
        fill(table(rows), (X, Y), F32)


def test_rows_are_reshaped():
    train, _, _ = fill(
        Dataset("d", {"image": np.arange(8.0).reshape(2, 4), "label": np.array([0, 2])}), (IMAGE, LABEL), F32
    )
    assert train["image"].shape == (2, 1, 2, 2) and train["image"][1, 0, 1, 1] == 7


def test_symbols_are_decided_by_the_data():
    image = Slot("noisy", (N, 1, H, symbol("W")), "float", None, False, True)
    _, _, sizes = fill(Dataset("d", {"noisy": np.zeros((3, 1, 8, 6))}), (image,), F32)
    assert sizes["H"] == 8 and sizes["W"] == 6
    other = Slot("clean", (N, 1, H, H), "float", None, True, True)
    with pytest.raises(DiffgraphError, match=r"\[1, 8, 6\] in each row"):
        fill(Dataset("d", {"noisy": np.zeros((3, 1, 8, 6)), "clean": np.zeros((3, 1, 8, 6))}), (image, other), F32)


def test_a_net_without_a_batch_takes_whole_columns():
    observed = Slot("observed", (4, 2), "float", None, True, False)
    train, _, _ = fill(Dataset("d", {"observed": np.arange(8.0)}), (observed,), F32)
    assert train["observed"].shape == (4, 2)


def test_targets_never_fill_inputs():
    data = Dataset("d", {"a": np.zeros((4, 2)), "species": np.array([0, 1, 2, 0])}, targets=("species",))
    train, _, _ = fill(data, (X, LABEL), F32)
    assert train["label"].tolist() == [0, 1, 2, 0]
    with pytest.raises(DiffgraphError, match="nothing in `d` fills input x"):
        fill(Dataset("d", {"species": np.array([0, 1])}, targets=("species",)), (X, LABEL), F32)


def test_an_empty_slot_is_an_error_with_the_columns():
    with pytest.raises(DiffgraphError, match=r"nothing in `d` fills target y\[N, 1\](.|\n)*x \[4, 2\]"):
        fill(Dataset("d", {"x": np.zeros((4, 2))}), (X, Y), F32)


@pytest.mark.parametrize(
    "labels, message",
    [
        ([0, 1, 3], "3 in row 3, but `label` is an int from 0 to 2"),
        ([0, -1, 1], "-1 in row 2"),
        ([0.5, 1, 2], "not whole"),
        ([1, 2, 3], "number classes from 0"),
        (["a", "b", "c"], "takes ints"),
    ],
)
def test_ints_in_their_range(labels, message):
    with pytest.raises(DiffgraphError, match=message):
        fill(Dataset("d", {"x": np.zeros((3, 2)), "label": np.array(labels)}), (X, LABEL), F32)


def test_whole_floats_are_ints():
    train, _, _ = fill(Dataset("d", {"x": np.zeros((3, 2)), "label": np.array([0.0, 2.0, 1.0])}), (X, LABEL), F32)
    assert train["label"].dtype == np.int64


def test_columns_of_different_lengths():
    with pytest.raises(DiffgraphError, match="different numbers of rows: x 4, y 3"):
        fill(Dataset("d", {"x": np.zeros((4, 2)), "y": np.zeros(3)}), (X, Y), F32)


def test_held_out_columns_are_filled_alike():
    data = Dataset("d", {"x": np.zeros((4, 2)), "y": np.zeros(4)}, {"x": np.ones((1, 2)), "y": np.ones(1)})
    _, test, _ = fill(data, (X, Y), F32)
    assert test["y"].shape == (1, 1)


def test_numbers_of_other_sources_fill_by_width_where_they_are_just_enough():
    columns = {name: np.arange(4.0) for name in "abc"}
    train, _, _ = fill(Dataset("d", columns), (X, Y), F32)
    assert train["x"].shape == (4, 2) and train["y"].shape == (4, 1)
    with pytest.raises(DiffgraphError):
        fill(Dataset("d", columns | {"d": np.zeros(4)}), (X,), F32)


def test_a_number_stays_one():
    power = Slot("power", (), "float", None, True, False)
    train, _, _ = fill(table([[2.5]]), (power,), F32)
    assert train["power"].shape == () and train["power"] == 2.5
