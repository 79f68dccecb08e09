"""A program in two parts: what depends on parameters and states only runs when they may have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from diffgraph.ir.dimension import evaluate
from diffgraph.ir.program import Program
from diffgraph.passes.prepare import PREPARED, Split
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable

#: Arrays that are lent are compared with what they were, which takes copies of them: where they are no more than this
#: part of all that is prepared from, ...
MOST_COMPARED = 0.25

#: ... or no more than so many bytes.
SMALL = 1 << 20


class PreparedExecutable(Executable):
    """`preparation` and `rest` of a program, as executables that share the storage and what is prepared.

    With a plain dict as storage, nobody knows who writes to its arrays: then everything is prepared in every run.
    """

    def __init__(self, program: Program, split: Split, precision: str, make: Callable[[Program], Executable]):
        super().__init__(program, precision)
        self.preparation = make(split.preparation)
        self.rest = make(split.rest)
        self._targets = {p: i for p, i in self.preparation.stored.items() if i.role == PREPARED}
        self._prepare: Callable | None = None
        self._freshness = Freshness(self)
        self._lock = threading.RLock()

    @property
    def kernels(self):
        return self.rest.kernels

    def source(self) -> str:
        return "\n\n".join(part.source() for part in (self.preparation, self.rest))

    def memory(self, sizes):
        blocks = self.rest.memory(sizes)
        known = {b.tensor for b in blocks}
        return (*(b for b in self.preparation.memory(sizes) if b.offset is None and b.tensor not in known), *blocks)

    def settled(self) -> Executable:
        """The rest, everything being prepared."""
        with self._lock:
            self._refresh()
        return self.rest

    def _rebound(self) -> None:
        self._prepare = None
        self._freshness = Freshness(self)

    def stepper(self, inputs, commit=False):
        with self._lock:
            if self._prepare is None:
                self._bind_parts()
            step = self.rest.stepper(inputs, commit)

        def run():
            with self._lock:
                self._refresh()
                return self._unchanged(step, commit)

        return run

    def _epoch(self, columns, order, first_step, run, commit):
        with self._lock:
            self._refresh()
            return self._unchanged(lambda: self.rest._epoch(columns, order, first_step, run, commit), commit)

    @property
    def prepared_now(self) -> bool:
        """Everything is prepared, and nothing has changed since."""
        return self._prepare is not None and self._freshness.is_fresh()

    def _refresh(self) -> None:
        """Prepares, unless that was done and nothing has changed since."""
        if self.prepared_now:
            return
        if self._prepare is None:
            self._bind_parts()
        self._freshness.note()
        try:
            self._prepare()
        except BaseException:
            self._freshness.forget()
            raise

    def _unchanged(self, step: Callable, commit: bool):
        """What a step gives. It changes nothing that the preparation reads."""
        try:
            return step()
        finally:
            if commit:
                self._note_commit()
                self._freshness.note_own_writes()

    def _bind_parts(self) -> None:
        """Makes the memory of what is prepared, and the parts ready."""
        for path, given in self.stored.items():
            if path not in self.storage:
                raise values.missing(given)
        sizes = values.solve([(given, self.storage[path].shape) for path, given in self.stored.items()])
        shared = dict(self.storage)
        for path, given in self._targets.items():
            shape = tuple(evaluate(s, sizes) for s in given.tensor.shape)
            shared[path] = np.zeros(shape, values.DTYPES[self.precision][given.tensor.kind])
        self.preparation.bind(shared)
        self.rest.bind(shared)
        self._prepare = self.preparation.stepper({}, commit=True)


class Freshness:
    """Whether what a preparation reads may have changed since it ran.

    Every write is counted by the storage but those through arrays that are lent right now; these are compared with what
    they were.
    """

    def __init__(self, owner: PreparedExecutable):
        self.tracker = owner.tracker
        read = [p for p, i in owner.preparation.stored.items() if i.role != PREPARED and p in owner.storage]
        self._arrays = {id(owner.storage[p]): owner.storage[p] for p in read}
        self._most = max(SMALL, MOST_COMPARED * sum(a.nbytes for a in self._arrays.values()))
        self._writes = -1
        self._copies: dict[int, np.ndarray] = {}

    def is_fresh(self) -> bool:
        """Nothing was written since `note`."""
        tracker = self.tracker
        if not self._arrays:
            return self._writes >= 0
        if tracker is None or tracker.writes != self._writes:
            return False
        return all(self._is_same(a) for a in tracker.lent if id(a) in self._arrays)

    def _is_same(self, array: np.ndarray) -> bool:
        copy = self._copies.get(id(array))
        return copy is not None and bool(np.array_equal(_bits(array), copy))

    def note(self) -> None:
        """What is read now is what will have been prepared."""
        if self.tracker is None:
            self._writes = 0
            return
        self._writes = self.tracker.writes
        lent = {id(a): a for a in self.tracker.lent if id(a) in self._arrays}
        compared = sum(a.nbytes for a in lent.values()) <= self._most
        self._copies = {key: _bits(a).copy() for key, a in lent.items()} if compared else {}

    def forget(self) -> None:
        """Nothing was prepared."""
        self._writes = -1

    def note_own_writes(self) -> None:
        """The program has written to what the preparation does not read."""
        if self.tracker is not None and self._writes >= 0:
            self._writes = self.tracker.writes


def _bits(array: np.ndarray) -> np.ndarray:
    """The memory of an array as whole numbers: values that are not numbers are equal to themselves."""
    return array.reshape(-1).view(np.uint64 if array.nbytes % 8 == 0 else np.uint8)
