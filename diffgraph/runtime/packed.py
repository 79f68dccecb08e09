"""A program whose many steps keep parameters and states in an order of their own, in memory that belongs to it.

The arrays that were bound are brought into that order before the steps of an epoch, unless nobody has changed them since.
Afterwards they are brought back when somebody looks at them: their storage asks for it (see `storage`), or at once where
they are lent to somebody, or where no storage knows who looks. A single step is not worth that: it runs the program as it
is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from diffgraph.ir.program import Program
from diffgraph.passes.pack import Packing
from diffgraph.passes.prepare import PREPARED
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable, Shown, every
from diffgraph.runtime.freshness import Freshness
from diffgraph.runtime.results import arrays


class PackedExecutable(Executable):
    """`packing` of a program, as executables that share the storage and what is packed; `make` makes those."""

    def __init__(self, program: Program, packing: Packing, precision: str, make: Callable[[Program], Executable]):
        super().__init__(program, precision)
        self.pack = make(packing.pack)
        self.steps = make(packing.steps)
        self.unpack = make(packing.unpack)
        self._make = make
        self._plain: Executable | None = None
        self._packed = {p: i for p, i in self.pack.stored.items() if i.role == PREPARED}
        self._moves: tuple[Callable, Callable] | None = None
        self._freshness: Freshness | None = None
        #: The packed states are newer than the arrays that were bound.
        self._is_newer = False
        self._lock = threading.RLock()

    @property
    def kernels(self):
        return self.steps.kernels

    def source(self, shown: Shown = every) -> str:
        return self.steps.source(shown)

    def memory(self, sizes):
        return self.steps.memory(sizes)

    def settled(self) -> Executable:
        """What runs the steps of an epoch, on copies of the states in order: the arrays that were bound stay as they are."""
        with self._lock:
            self.bring_back()
            self._refresh()
            self._freshness.forget()
        return self.steps

    def _rebound(self) -> None:
        self._moves = None
        self._freshness = None
        if self._plain is not None:
            self._plain.bind(self.storage if self.tracker is None else self.tracker)

    def bind(self, storage) -> None:
        with self._lock:
            self.bring_back()
            super().bind(storage)

    def stepper(self, inputs, commit=False):
        with self._lock:
            if self._plain is None:
                self._plain = self._make(self.program)
                self._plain.bind(self.storage if self.tracker is None else self.tracker)
        return self._plain.stepper(inputs, commit)

    def _epoch(self, columns, order, first_step, run, commit):
        with self._lock:
            self._refresh()
            if not commit:
                return self.steps._epoch(columns, order, first_step, run, False)
            try:
                return self.steps._epoch(columns, order, first_step, run, True)
            finally:
                self._changed()

    def _changed(self) -> None:
        """The packed states are newer than the arrays that were bound."""
        self._is_newer = True
        self._note_commit()
        lent = () if self.tracker is None else {id(a) for a in self.tracker.lent}
        if self.tracker is None or not lent.isdisjoint(map(id, self.storage.values())):
            self.bring_back()
        else:
            self.tracker.elsewhere = self

    def bring_back(self) -> None:
        """Brings to the arrays that were bound what is newer in order."""
        with self._lock:
            if not self._is_newer:
                return
            self._is_newer = False
            self._moves[1]()
            self._freshness.note()
            if self.tracker is not None and self.tracker.elsewhere is self:
                self.tracker.elsewhere = None

    def _refresh(self) -> None:
        """Packs, unless that was done and nothing has changed since."""
        if self._is_newer:
            return
        self._look_elsewhere()
        if self._moves is None:
            self._bind_parts()
        if self._freshness.is_fresh():
            return
        self._freshness.note()
        try:
            self._moves[0]()
        except BaseException:
            self._freshness.forget()
            raise

    def _bind_parts(self) -> None:
        """Makes the memory of what is packed, and the parts ready."""
        for path, given in self.stored.items():
            if path not in self.storage:
                raise values.missing(given)
        shared = dict(self.storage)
        types = values.DTYPES[self.precision]
        shared |= arrays({p: (i.tensor.shape, types[i.tensor.kind]) for p, i in self._packed.items()})
        for part in (self.pack, self.steps, self.unpack):
            part.bind(shared)
        read = [self.storage[p] for p in self.pack.stored if p in self.storage]
        self._freshness = Freshness(self.tracker, read)
        self._moves = self.pack.stepper({}, commit=True), self.unpack.stepper({}, commit=True)
