"""A program in two parts: what depends on parameters and states only runs when they may have changed."""

from __future__ import annotations

import threading
from collections.abc import Callable


from diffgraph.ir.dimension import evaluate
from diffgraph.ir.program import Program
from diffgraph.passes.prepare import PREPARED, Split
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable, Shown, every
from diffgraph.runtime.freshness import Freshness
from diffgraph.runtime.results import arrays

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
        self._freshness = self._new_freshness()
        self._lock = threading.RLock()

    @property
    def kernels(self):
        return self.rest.kernels

    def source(self, shown: Shown = every) -> str:
        return "\n\n".join(text for part in (self.preparation, self.rest) if (text := part.source(shown)))

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
        self._freshness = self._new_freshness()

    def _new_freshness(self) -> Freshness:
        stored = self.preparation.stored.items()
        read = [self.storage[p] for p, i in stored if i.role != PREPARED and p in self.storage]
        return Freshness(self.tracker, read)

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
        self._look_elsewhere()
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
        types = values.DTYPES[self.precision]
        shapes = {p: tuple(evaluate(s, sizes) for s in i.tensor.shape) for p, i in self._targets.items()}
        shared |= arrays({p: (shapes[p], types[i.tensor.kind]) for p, i in self._targets.items()})
        self.preparation.bind(shared)
        self.rest.bind(shared)
        self._prepare = self.preparation.stepper({}, commit=True)
