"""Kernels that check every index: right programs pass, a wrong address is caught, in loops and in tiles."""

from dataclasses import replace

import numpy as np
import pytest
from agreement import check, program_of
from test_forms import CASES

from diffgraph.diagnostics import CompilerBug
from diffgraph.kernels import access
from diffgraph.runtime.executable import build


@pytest.fixture(autouse=True)
def checked(monkeypatch):
    monkeypatch.setenv("DIFFGRAPH_DEBUG_BOUNDS", "1")


@pytest.mark.parametrize("name", ["matrix product", "convolutions", "guards", "pooling", "gather and scatter", "reductions"])
def test_right_programs_pass(name, rng):
    check(program_of(CASES[name]), 5, rng)


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("input x[N, 5]\noutput y = tanh(x)", {"x": np.ones((3, 5))}),
        ("input x[N, 100]\nparam w[80, 100] = 0\ny[n, u] = sum[d](w[u, d] * x[n, d])\noutput y", {"x": np.ones((9, 100))}),
    ],
    ids=["loop", "tile"],
)
def test_a_wrong_address_is_caught(text, inputs, monkeypatch):
    def shifted(place, shape, right=access.address):
        found = right(place, shape)
        return replace(found, constant=found.constant + 7)

    monkeypatch.setattr("diffgraph.kernels.nest.address", shifted)
    executable = build(program_of(text), "cpu", "f64")
    executable.bind({p: np.ones(i.tensor.shape) for p, i in executable.stored.items()})
    with pytest.raises(CompilerBug, match="outside"):
        executable.run(inputs)


def test_what_is_refused_is_not_touched(monkeypatch):
    """The sums of a tile go into the memory of a state, which lies in the middle of an array of ours."""

    def shifted(place, shape, right=access.address):
        found = right(place, shape)
        return replace(found, constant=found.constant + 7)

    monkeypatch.setattr("diffgraph.kernels.nest.address", shifted)
    text = "input x[N, 80]\ninput d[N, 100]\nstate g[80, 100] = 0\ns[u, k] = sum[n](x[n, u] * d[n, k])\ng <- s\noutput y = x"
    executable = build(program_of(text, training=True), "cpu", "f64")
    around = np.full(80 * 100 + 128, 0.5)
    executable.bind({"g": around[64:-64].reshape(80, 100)})
    with pytest.raises(CompilerBug, match="outside"):
        executable.run({"x": np.ones((9, 80)), "d": np.ones((9, 100))}, commit=True)
    assert (around[64:-64] != 0.5).any()
    assert (around[:64] == 0.5).all() and (around[-64:] == 0.5).all()
