"""A program that can be run: `build(program)`, then `bind` its parameters and states, then `run`.

executable = build(program, target="cpu", precision="f32")
executable.bind({"layer.weight": w, ...})          used, and by commits changed, in place
executable.run({"image": x}, commit=True)          {output name: array}
executable.epoch({"image": xs}, order, 1)          many steps, without Python between them
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diffgraph.diagnostics import Diagnostic, RunFailed, error
from diffgraph.ir.dimension import symbols
from diffgraph.ir.program import Check, Input, Program
from diffgraph.kernels.loops import Kernel
from diffgraph.passes.pack import split_packed
from diffgraph.passes.prepare import STEADY, split_prepared
from diffgraph.passes.report import Report
from diffgraph.runtime import values
from diffgraph.runtime.storage import Storage
from diffgraph.targets.reference import run_reference

#: Says of a kernel whether it is meant.
Shown = Callable[[Kernel], bool]


def every(kernel: Kernel) -> bool:
    """All kernels are meant."""
    return True


#: Where programs can run.
TARGETS = ("cpu", "cuda", "reference")

#: What a runner may give to any program; those that do not use it take no notice.
RUN_SCALARS = frozenset(("seed", "step", "total_steps"))


def refuse_unknown(target: str, precision: str) -> None:
    """An error for a target or a precision that does not exist, or that do not go together."""
    if target not in TARGETS:
        raise error("DG810", f"no target is named {target}", help="the targets are cpu, cuda and reference")
    if precision not in values.DTYPES:
        raise error("DG810", f"no precision is named {precision}", help="the precisions are f32, f64, tf32 and bf16")
    if precision in values.OF_CORES and target != "cuda":
        raise error("DG810", f"the target {target} has no precision {precision}", help="use f32, or --target cuda")


def build(
    program: Program, target: str = "cpu", precision: str = "f32", threads: int | None = None, prepare: bool = True,
    runnable: bool = True,
) -> Executable:  # fmt: skip
    """An executable of a program.

    target: `cpu`, `cuda`, or `reference` (the interpreter). precision: `f32` or `f64`; on cuda also `tf32` and `bf16`, what
    matrix units multiply where memory and sums are f32. threads: at most so many; None: as many as the process may use.
    prepare: what depends on parameters only is computed when they change, rather than in every run; good where they
    rarely do. runnable: False where its kernels and its memory are only looked at, for which nothing is compiled.
    """
    refuse_unknown(target, precision)
    if target == "reference":
        return ReferenceExecutable(program, precision)
    if target == "cuda":
        from diffgraph.runtime.device import DeviceExecutable

        return DeviceExecutable(program, precision)
    from diffgraph.runtime.prepared import PreparedExecutable

    make = partial(_native, precision=precision, threads=threads, runnable=runnable)
    split = split_prepared(program, Report()) if prepare else None
    return make(program) if split is None else PreparedExecutable(program, split, precision, make)


def _native(program: Program, precision: str, threads: int | None, runnable: bool) -> Executable:
    """An executable of machine code; states that its steps want in another order are kept so over many steps."""
    from diffgraph.runtime.native import NativeExecutable
    from diffgraph.runtime.packed import PackedExecutable

    make = partial(NativeExecutable, precision=precision, threads=threads, runnable=runnable)
    packing = split_packed(program, Report()) if program.commits else None
    return make(program) if packing is None else PackedExecutable(program, packing, precision, make)


@dataclass(frozen=True)
class Block:
    """The memory of a tensor during a step. offset: its place in the arena, None where it has memory of its own
    (parameters, states, inputs, constants). lives: the first and the last row of the plan that touch it."""

    tensor: str
    size: int
    offset: int | None = None
    lives: tuple[int, int] = (0, 0)


class Executable(ABC):
    """What every target offers.

    given: the inputs that a caller gives for each run, by path (inputs, targets, and `run` scalars, which are 0 unless
    given). stored: parameters and states (and what was prepared of them), by path.
    """

    is_on_device = False

    def __init__(self, program: Program, precision: str):
        self.program = program
        self.precision = precision
        self.given: dict[str, Input] = {}
        self.stored: dict[str, Input] = {}
        for i in program.inputs:
            if i.table is None:
                kind = self.stored if i.role in STEADY else self.given
                kind[i.path or i.tensor.name] = i
        # The shapes of the others were checked when they were bound.
        self.open_shapes = {p for p, i in self.stored.items() if any(symbols(s) for s in i.tensor.shape)}
        self.storage: dict[str, np.ndarray] = {}
        #: What knows of writes to the storage, where that is a `Storage`.
        self.tracker: Storage | None = None

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels of a step, in order; none for the interpreter."""
        return ()

    def for_inputs(self, inputs: Mapping[str, np.ndarray]) -> Executable:
        """What runs on some inputs: itself, unless it was compiled in several ways."""
        return self

    def source(self, shown: Shown = every) -> str:
        """The generated text of those kernels that shall be shown; empty for the interpreter."""
        return ""

    def listing(self, shown: Shown = every) -> str:
        """The generated text with what its machine code takes, where a target knows."""
        return self.source(shown)

    def memory(self, sizes: Mapping[str, int]) -> tuple[Block, ...]:
        """The memory of a step for given sizes of the symbols; nothing for the interpreter."""
        return ()

    def bind(self, storage: Mapping[str, np.ndarray]) -> None:
        """Gives the memory of parameters and states, by path: arrays of the right type and shape, contiguous and
        writable, which are used in place. What the program does not have is ignored. Where some of the program is
        prepared, a `Storage` is better than a dict: it knows when that has to be done again."""
        self.tracker = storage if isinstance(storage, Storage) else None
        for path, given in self.stored.items():
            if path not in storage:
                continue
            array = storage.own(path) if self.tracker is not None else storage[path]
            wanted = values.DTYPES[self.precision][given.tensor.kind]
            if not isinstance(array, np.ndarray) or array.dtype != wanted or not array.flags.carray:
                found = f"{array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
                message = f"{values.label(given)} must be a contiguous, writable array of {wanted}, not of {found}"
                raise error("DG812", message, given.span)
            values.solve([(given, array.shape)])
            self.storage[path] = array
        self._rebound()

    def run(self, inputs: Mapping[str, np.ndarray] = {}, commit: bool = False) -> dict[str, np.ndarray]:
        """One step. The outputs by name; with `commit`, parameters and states take their new values.

        DiffgraphError if an input is missing, does not fit, or a check fails (then nothing is promised of the states).
        """
        return self.stepper(inputs, commit)()

    @abstractmethod
    def stepper(self, inputs: Mapping[str, np.ndarray], commit: bool = False) -> Callable[[], dict[str, np.ndarray]]:
        """A function that runs a step on these very arrays, checked once: what is written into them is seen."""

    def epoch(
        self,
        columns: Mapping[str, np.ndarray],
        order: np.ndarray,
        first_step: int = 1,
        run: Mapping[str, np.ndarray] = {},
        commit: bool = True,
    ) -> dict[str, np.ndarray]:
        """As many steps as `order` has rows, on batches of rows of the columns.

        columns: by path; those of batched inputs are read at `order[step]`, others are passed whole. order: int64
        [steps, batch]. The input `step` counts from `first_step`; `run` gives other run scalars. The outputs by name,
        stacked over the steps. A failed check is reported when all steps have run.
        """
        order = np.ascontiguousarray(order, np.int64)
        for path, column in columns.items():
            if path in self.given and self.is_batched(path):
                _check_order(path, order, len(column))
        return self._epoch(columns, order, first_step, run, commit)

    def is_batched(self, path: str) -> bool:
        """Whether an input has one row for each sample of a batch."""
        shape = self.given[path].tensor.shape
        return bool(shape) and bool(symbols(shape[0]))

    @abstractmethod
    def _epoch(self, columns, order, first_step, run, commit) -> dict[str, np.ndarray]: ...

    def _rebound(self) -> None:
        """Called when storage was bound."""

    def _look_elsewhere(self) -> None:
        """Called before what was bound is read: newer values of it may be elsewhere."""
        if self.tracker is not None and self.tracker.elsewhere is not None:
            self.tracker.elsewhere.bring_back()

    def _note_commit(self) -> None:
        """Called after a run that has changed parameters and states."""
        if self.tracker is not None:
            self.tracker.note_write()

    def _arrays(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """An array of the right type for each given input, by path."""
        for path in inputs:
            if path not in self.given and path not in RUN_SCALARS:
                raise values.unknown(path, self.given)
        found = {}
        for path, given in self.given.items():
            if path in inputs:
                found[path] = values.as_array(given, inputs[path], self.precision)
            elif given.role == "run":
                found[path] = np.zeros((), values.DTYPES[self.precision][given.tensor.kind])
            else:
                raise values.missing(given)
        for path, given in self.stored.items():
            if path not in self.storage:
                raise values.missing(given)
        return found

    def _sizes(self, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
        """The symbols for some arrays, and a check of the ranges of ints."""
        pairs = [(given, arrays[path].shape) for path, given in self.given.items()]
        pairs += [(given, self.storage[path].shape) for path, given in self.stored.items() if path in self.open_shapes]
        sizes = values.solve(pairs)
        for path, given in self.given.items():
            values.check_range(given, arrays[path], sizes)
        return sizes


class ReferenceExecutable(Executable):
    """A program run by the interpreter."""

    def stepper(self, inputs, commit=False):
        arrays = self._arrays(inputs)
        self._sizes(arrays)
        return lambda: self._step(arrays, commit)

    def _step(self, arrays: Mapping[str, np.ndarray], commit: bool) -> dict[str, np.ndarray]:
        self._look_elsewhere()
        given = {self.given[p].tensor.name: a for p, a in arrays.items()}
        stored = {self.stored[p].tensor.name: a for p, a in self.storage.items()}
        roots = run_reference(self.program, given | stored, self.precision)
        fail_unless(self.program.checks, [roots[c.tensor] for c in self.program.checks])
        results = {o.name: np.array(roots[o.tensor]) for o in self.program.outputs}
        if commit:
            new = {c.state: np.array(roots[c.tensor]) for c in self.program.commits}
            for name, value in new.items():
                stored[name][...] = value
            self._note_commit()
        return results

    def _epoch(self, columns, order, first_step, run, commit):
        steps = []
        for number, rows in enumerate(order):
            batch = {p: np.asarray(c)[rows] if self.is_batched(p) else c for p, c in columns.items()}
            counted = {"step": np.int64(first_step + number)} if "step" in self.given else {}
            steps.append(self.run({**batch, **run, **counted}, commit))
        return {o.name: np.array([s[o.name] for s in steps]) for o in self.program.outputs}


def fail_unless(checks: Sequence[Check], passed: Sequence) -> None:
    """RunFailed for the checks that did not pass."""
    failed = [c for c, ok in zip(checks, passed) if not np.all(ok)]
    if failed:
        raise RunFailed(*(Diagnostic("DG801", c.message, c.span) for c in failed))


def _check_order(path: str, order: np.ndarray, rows: int) -> None:
    if order.ndim != 2:
        raise error("DG813", f"the order of an epoch has the shape {list(order.shape)}, not [steps, batch]")
    if order.size and (order.min() < 0 or order.max() >= rows):
        raise error("DG814", f"the order of an epoch names rows that `{path}` does not have: it has {rows}")
