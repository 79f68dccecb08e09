"""Losses and metrics over a whole set, exactly: sums over the batch are accumulated, the rest is computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from diffgraph.ir.program import Program
from diffgraph.passes.accumulate import split_over_batch
from diffgraph.runtime.executable import Executable

#: How partial results of batches join, in float64 where they are floats.
JOIN = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all}

#: Samples in a batch of an evaluation. It does not change the result beyond rounding.
BATCH = 256

Build = Callable[[Program], Executable]
Columns = Mapping[str, np.ndarray]


class Evaluation:
    """A program whose outputs are rank-0 numbers over a set of samples, ready to be run on any set.

    program: in inference mode, its outputs the losses and metrics. batch: the symbol of the batch, or None. build:
    makes an executable and binds the parameters and states. A program that cannot be cut at its reductions over the
    batch (a variance in two passes) is run on the set as one batch.
    """

    def __init__(self, program: Program, batch: str | None, build: Build):
        self.accumulation = split_over_batch(program, batch) if batch is not None else None
        if self.accumulation is None:
            self.whole = build(program)
        else:
            self.per_batch = build(self.accumulation.per_batch)
            self.final = build(self.accumulation.final)

    def run(self, columns: Columns, samples: int) -> dict[str, float]:
        """Each output by name. columns: all `samples` rows (or one whole sample), by the path of the input."""
        if self.accumulation is None:
            given = {path: columns[path] for path in self.whole.given if path in columns}
            return _numbers(self.whole.run(given))
        given = {path: columns[path] for path in self.per_batch.given if path in columns}
        partial = [self.per_batch.epoch(given, rows, 0, commit=False) for rows in _batches(samples)]
        joined = {name: _join(partial, name, how) for name, how in self.accumulation.combine.items()}
        count = {self.accumulation.count: np.int64(samples)} if self.accumulation.count in self.final.given else {}
        return _numbers(self.final.run({**joined, **count}))


def _batches(samples: int) -> list[np.ndarray]:
    """The samples in order as blocks [steps, batch]; the rest is a block of its own."""
    whole = samples // BATCH * BATCH
    order = np.arange(samples, dtype=np.int64)
    blocks = [order[:whole].reshape(-1, BATCH), order[None, whole:]]
    return [b for b in blocks if b.size]


def _join(partial: Sequence[Mapping[str, np.ndarray]], name: str, how: str) -> np.ndarray:
    values = np.concatenate([p[name] for p in partial])
    wide = np.float64 if values.dtype.kind == "f" else None
    return JOIN[how](values, axis=0) if wide is None or how in ("max", "min") else JOIN[how](values, axis=0, dtype=wide)


def _numbers(results: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value) for name, value in results.items()}


def confusion(predicted: np.ndarray, actual: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was taken for each class (column): counts [classes, classes]."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (actual.ravel(), predicted.ravel()), 1)
    return counts


def class_confusion(net, columns: Columns) -> np.ndarray | None:
    """The confusion matrix of a net that gives one score for each class [N, classes, ...] of its only bounded int
    target [N, ...]; None for any other net. `net` is a `compiler.Net`."""
    network = net.network()
    targets = [p for p in network.targets if p.tensor.kind == "int" and isinstance(p.tensor.bound, int)]
    if len(targets) != 1 or network.batch is None:
        return None
    target = targets[0]
    for output in network.outputs:
        tensor = network.program.tensors[output.tensor]
        wanted = (*target.tensor.shape[:1], target.tensor.bound, *target.tensor.shape[1:])
        if tensor.kind == "float" and tensor.shape == wanted:
            break
    else:
        return None
    counts = np.zeros((target.tensor.bound, target.tensor.bound), np.int64)
    samples = len(columns[target.name])
    for first in range(0, samples, BATCH):
        given = {p.name: columns[p.name][first : first + BATCH] for p in network.inputs}
        predicted = np.argmax(net(**given)[output.name], axis=1)
        counts += confusion(predicted, columns[target.name][first : first + BATCH], target.tensor.bound)
    return counts
