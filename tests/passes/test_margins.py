"""Margins of zeros serve sums and maps alike: a tensor lies in memory once."""

import sys
from pathlib import Path

import numpy as np
import pytest

from diffgraph.passes.halo import halo
from diffgraph.passes.report import Report

sys.path.insert(0, str(Path(__file__).parents[1] / "targets"))
from agreement import check, program_of  # noqa: E402

SHARED = """input x[N, 64, 40]
    input w[3, 40]
    a[n, i, c] = exp(x[n, i, c])
    y[n, i < 64] = sum[p, c](w[p, c] * (a[n, i + p - 1, c] else 0))
    z[n, i < 64, c] = ({0}) * x[n, i, c]
    output y
    output z"""


@pytest.mark.parametrize(
    ("read", "extent"),
    [
        ("(a[n, i - 2, c] else 0) - (a[n, i + 1, c] else 0)", 67),
        ("a[n, i, c]", 66),
        ("(a[n, i + 1, c] else 1)", 64),
    ],
)
def test_maps_read_the_margins_of_sums(read, extent):
    program = program_of(SHARED.format(read))
    moved = halo(program, Report())
    assert moved.tensors["a"].shape[1] == extent, "margins are as wide as both need; other values outside forbid them"
    assert len(moved.statements) == len(program.statements), "nothing is copied"
    check(program, 3, np.random.default_rng(0), optimized=True)


def test_maps_alone_have_no_margins():
    program = program_of("input x[N, 64]\na[n, i] = exp(x[n, i])\nz[n, i < 64] = (a[n, i + 1] else 0) + a[n, i]\noutput z")
    assert halo(program, Report()) is program
