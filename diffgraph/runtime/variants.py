"""A program that is compiled in one way for a few samples and in another for many, each when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import numpy as np

from diffgraph.ir.program import Program
from diffgraph.runtime.executable import Executable, Shown, every

#: From so many samples on it pays to have them side by side in memory (`passes/interleave`): half of a block is filled.
MANY = 8


def is_many(samples: int | None) -> bool:
    """Whether a number of samples, if it is known, is many."""
    return samples is not None and samples >= MANY


class BySamples(Executable):
    """`few` and `many` are one program after the passes, without and with interleaved samples; `batch` is the symbol of
    their number. Where nothing says how many there are, it is taken to be many."""

    def __init__(
        self, few: Program, many: Program, batch: str, precision: str, make: Callable[[Program], Executable]
    ):
        super().__init__(many, precision)
        self.batch = batch
        self._programs = {False: few, True: many}
        self._make = make
        self._made: dict[bool, Executable] = {}
        self._bound: Mapping[str, np.ndarray] | None = None
        self._lock = threading.Lock()
        self._batched = [p for p, i in self.given.items() if i.tensor.shape and str(i.tensor.shape[0]) == batch]

    def part(self, samples: int) -> Executable:
        """What runs for a number of samples."""
        many = is_many(samples)
        with self._lock:
            if many not in self._made:
                made = self._make(self._programs[many])
                if self._bound is not None:
                    made.bind(self._bound)
                self._made[many] = made
            return self._made[many]

    def for_inputs(self, inputs):
        return self.part(self._samples(inputs)).for_inputs(inputs)

    def _samples(self, inputs: Mapping[str, np.ndarray]) -> int:
        """As many as the first batched input has; what does not fit is for the part to say."""
        shapes = (np.shape(inputs[p]) for p in self._batched if p in inputs)
        return next((shape[0] for shape in shapes if shape), MANY)

    @property
    def kernels(self):
        return self.part(MANY).kernels

    def source(self, shown: Shown = every) -> str:
        return self.part(MANY).source(shown)

    def listing(self, shown: Shown = every) -> str:
        return self.part(MANY).listing(shown)

    def memory(self, sizes):
        return self.part(sizes.get(self.batch, MANY)).memory(sizes)

    def bind(self, storage: Mapping[str, np.ndarray]) -> None:
        with self._lock:
            self._bound = storage
            parts = list(self._made.values())
        super().bind(storage)
        for part in parts:
            part.bind(storage)

    def stepper(self, inputs, commit=False):
        return self.part(self._samples(inputs)).stepper(inputs, commit)

    def epoch(self, columns, order: np.ndarray, first_step: int = 1, run={}, commit: bool = True):
        samples = order.shape[1] if np.ndim(order) == 2 else MANY
        return self.part(samples).epoch(columns, order, first_step, run, commit)

    def _epoch(self, columns, order, first_step, run, commit):
        return self.part(order.shape[1])._epoch(columns, order, first_step, run, commit)
