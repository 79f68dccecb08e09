"""What every side computes on: the same samples, and the initial values of the net as a file of arrays in order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.workloads import Tokens, Workload

#: Steps whose losses are compared before anything is timed: the third depends on two updates.
COMPARED = 3


def samples(work: Workload) -> dict[str, np.ndarray]:
    """Columns of random samples by name: a batch for each step of a call, and for each that is compared."""
    generator = np.random.default_rng(0)
    count = work.batch * (max(work.steps, COMPARED) if work.kind == "train" else 1)
    columns = {}
    for name, column in work.columns.items():
        if isinstance(column, int):
            columns[name] = generator.integers(0, column, count)
        elif isinstance(column, Tokens):
            columns[name] = generator.integers(0, column.below, (count, column.count))
        else:
            columns[name] = generator.standard_normal((count, *column), np.float32)
    return columns


def write_arrays(path: Path, parameters: Sequence[np.ndarray], states: Sequence[np.ndarray]) -> None:
    """Keeps initial values for the peers."""
    named = {f"p{n:05}": a for n, a in enumerate(parameters)} | {f"s{n:05}": a for n, a in enumerate(states)}
    np.savez(path, **named)


def read_arrays(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(parameters, states) in order."""
    with np.load(path) as file:
        names = sorted(file.files)
        return [file[n] for n in names if n[0] == "p"], [file[n] for n in names if n[0] == "s"]
