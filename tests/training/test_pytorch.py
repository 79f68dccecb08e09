"""Weights of PyTorch: what is read, what is left out, what is refused."""

import pickle

import numpy as np
import pytest

import diffgraph as dg
from diffgraph.interop.pytorch import without_counts

TEXT = "net f() {\ninput x[N, 3]\noutput y = x -> linear(2) -> batchnorm\n}"


def weights(**more):
    found = {"linear1.weight": np.ones((2, 3)), "linear1.bias": np.zeros(2)}
    found |= {f"batchnorm1.{n}": np.full(2, 2.0) for n in ("weight", "bias", "running_mean", "running_var")}
    return found | more


def test_a_state_dict_of_arrays_is_taken_and_copied():
    net, given = dg.loads(TEXT), weights()
    net.load(given)
    given["linear1.weight"][...] = 7
    assert (net.parameters["linear1.weight"] == 1).all() and (net.state["batchnorm1.running_var"] == 2).all()
    net.load(weights(**{"linear1.bias": [5.0, 6.0]}))
    assert net.parameters["linear1.bias"].tolist() == [5, 6]


def test_counts_of_batches_are_left_out_where_there_are_running_means():
    count = {"batchnorm1.num_batches_tracked": np.array(5)}
    assert "batchnorm1.num_batches_tracked" not in without_counts(weights(**count), weights())
    other = {"linear1.num_batches_tracked": np.array(5)}
    assert "linear1.num_batches_tracked" in without_counts(weights(**other), weights())
    with pytest.raises(dg.DiffgraphError, match="no `linear1.num_batches_tracked`"):
        dg.loads(TEXT).load(weights(**other))


def test_what_does_not_fit_changes_nothing():
    for seen in (False, True):
        net = dg.loads(TEXT, seed=3)
        if seen:
            net.parameters["linear1.bias"] = [8, 9]
        with pytest.raises(dg.DiffgraphError, match="is \\[3\\] in the file"):
            net.load(weights(**{"linear1.bias": np.zeros(3)}))
        assert net.parameters["linear1.bias"].tolist() == ([8, 9] if seen else [0, 0])
        initial = dg.loads(TEXT, seed=3).parameters["linear1.weight"]
        np.testing.assert_array_equal(net.parameters["linear1.weight"], initial)


class Hostile:
    """What would print if it were unpickled."""

    def __reduce__(self):
        return print, ("run",)


def test_files_are_read_without_running_what_is_in_them(tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.as_tensor(a, dtype=torch.bfloat16) for name, a in weights().items()}
    state["linear1.weight"] = torch.arange(6.0).reshape(3, 2).T  # not contiguous, and a view of what comes next
    state["linear1.bias"] = state["linear1.weight"][1, 1:]
    for zipped in (True, False):
        torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        net = dg.loads(TEXT)
        net.load(tmp_path / "w.pth")
        assert (net.state["batchnorm1.running_mean"] == 2).all()
        assert net.parameters["linear1.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
        assert net.parameters["linear1.bias"].tolist() == [3, 5]
    torch.save(torch.nn.Linear(3, 2), tmp_path / "module.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK nothing")
    (tmp_path / "short.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:-3])
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps(Hostile()))
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in [("module.pth", "not a file of weights"), ("broken.pth", "not a file of weights"), ("short.pth", "too early"),
                          ("hostile.pth", "not only tensors"),
                          ("list.pt", "no tensors by name"), ("absent.pth", "cannot be read")]:  # fmt: skip
        with pytest.raises(dg.DiffgraphError, match=message):
            net.load(tmp_path / name)
