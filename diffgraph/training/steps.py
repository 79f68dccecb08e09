"""How a run moves: steps of a compiled program that updates the weights itself, or iterations of L-BFGS around one that
gives the loss and its gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from diffgraph.runtime.executable import Executable
from diffgraph.training import lbfgs

Arrays = Mapping[str, np.ndarray]


class Steps(Protocol):
    """Something that makes steps on batches of rows."""

    def advance(self, order: np.ndarray, first: int) -> np.ndarray:
        """Makes a step for each row of `order` [steps, batch], numbered from `first`. Gives the loss before each."""

    @property
    def finished(self) -> bool:
        """Nothing more is to be gained."""

    def state(self) -> dict[str, np.ndarray]:
        """What it remembers between steps beside the weights, by name."""

    def restore(self, state: Arrays) -> None:
        """Takes up what `state` gave."""


class Descent:
    """Steps of a program that commits the new weights and the states of its optimizers."""

    finished = False

    def __init__(self, executable: Executable, columns: Arrays, losses: Sequence[str], scalars: Mapping[str, int]):
        self.executable = executable
        self.columns = {path: _unchanging(column) for path, column in columns.items() if path in executable.given}
        self.losses = tuple(losses)
        self.scalars = {n: np.int64(v) for n, v in scalars.items() if n in executable.given}

    def advance(self, order: np.ndarray, first: int) -> np.ndarray:
        found = self.executable.epoch(self.columns, order, first, self.scalars, commit=True)
        return sum(np.asarray(found[name], np.float64) for name in self.losses)

    def state(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, state: Arrays) -> None:
        pass


def _unchanging(column: np.ndarray) -> np.ndarray:
    """A column as one that nobody writes to while a run lasts: it need go to a device once."""
    view = np.asarray(column).view()
    view.flags.writeable = False
    return view


class QuasiNewton:
    """Iterations of L-BFGS over the trained parameters as one vector.

    gradient: a program that gives the losses, and by path the gradients. update: a program that commits the states of
    the layers (running means) after a step, or None where they have none.
    """

    def __init__(
        self, gradient: Executable, columns: Arrays, losses: Sequence[str], trained: Mapping[str, np.ndarray],
        scalars: Mapping[str, int], memory: int | None = None, update: Executable | None = None,
    ):  # fmt: skip
        self.gradient = gradient
        self.update = update
        self.columns = {path: column for path, column in columns.items() if path in gradient.given}
        self.losses = tuple(losses)
        self.trained = dict(trained)
        self.scalars = dict(scalars)
        self.memory = memory
        self.search: lbfgs.State | None = None
        self.rows: np.ndarray | None = None

    @property
    def finished(self) -> bool:
        return self.search is not None and self.search.finished

    def advance(self, order: np.ndarray, first: int) -> np.ndarray:
        return np.array([self._step(rows, first + k) for k, rows in enumerate(order)])

    def _step(self, rows: np.ndarray, number: int) -> float:
        given = self._given(rows, number)

        def function(point: np.ndarray) -> tuple[float, np.ndarray]:
            self._write(point)
            found = self.gradient.run(given)
            slopes = [np.ravel(found[path]) if path in found else np.zeros(a.size) for path, a in self.trained.items()]
            return float(sum(found[name] for name in self.losses)), np.concatenate(slopes).astype(np.float64)

        before = self._begin(function, rows)
        self.search = lbfgs.step(before, function, self.memory)
        self._write(self.search.point)
        if self.update is not None:
            self.update.run({path: a for path, a in given.items() if path in self.update.given}, commit=True)
        return before.value

    def _begin(self, function, rows: np.ndarray) -> lbfgs.State:
        """The state on these rows: on others than before, value and gradient are not what they were."""
        if self.search is None:
            self.rows = rows.copy()
            return lbfgs.begin(function, self._read())
        if not np.array_equal(np.sort(rows), np.sort(self.rows)):
            self.rows = rows.copy()
            value, gradient = function(self.search.point)
            search = self.search
            return lbfgs.State(search.point, value, gradient, search.moves, search.turns)
        return self.search

    def _given(self, rows: np.ndarray, number: int) -> dict[str, np.ndarray]:
        # In the order of the rows of the data, so that an epoch's shuffle does not change a full batch's rounding.
        rows = np.sort(rows)
        batched = self.gradient.is_batched
        given = {path: column[rows] if batched(path) else column for path, column in self.columns.items()}
        scalars = {**self.scalars, "step": number}
        return given | {n: np.int64(v) for n, v in scalars.items() if n in self.gradient.given}

    def _read(self) -> np.ndarray:
        return np.concatenate([a.ravel() for a in self.trained.values()] or [np.zeros(0)]).astype(np.float64)

    def _write(self, point: np.ndarray) -> None:
        start = 0
        for array in self.trained.values():
            array[...] = point[start : start + array.size].reshape(array.shape)
            start += array.size

    def state(self) -> dict[str, np.ndarray]:
        if self.search is None:
            return {}
        search = self.search
        size = search.point.size
        return {
            "lbfgs.point": search.point,
            "lbfgs.value": np.float64(search.value),
            "lbfgs.gradient": search.gradient,
            "lbfgs.moves": np.array(search.moves).reshape(-1, size),
            "lbfgs.turns": np.array(search.turns).reshape(-1, size),
            "lbfgs.finished": np.bool_(search.finished),
            "lbfgs.rows": self.rows,
        }

    def restore(self, state: Arrays) -> None:
        if "lbfgs.point" not in state:
            return
        self.search = lbfgs.State(
            state["lbfgs.point"], float(state["lbfgs.value"]), state["lbfgs.gradient"],
            tuple(state["lbfgs.moves"]), tuple(state["lbfgs.turns"]), bool(state["lbfgs.finished"]),
        )  # fmt: skip
        self.rows = state["lbfgs.rows"]
