"""A program as machine code: kernels, a plan for each batch size, and one native call for each run."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable

import numpy as np

from diffgraph.ir.program import Program
from diffgraph.kernels.commit import Commits, place_commits
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.reuse import reuse
from diffgraph.kernels.schedule import schedule
from diffgraph.kernels.tiles import Machine
from diffgraph.runtime import values
from diffgraph.runtime.arena import Arena
from diffgraph.runtime.executable import Block, Executable, Shown, every
from diffgraph.runtime.kept import LARGE, kept
from diffgraph.runtime.library import Named, bounds_are_checked, default_library
from diffgraph.runtime.measured import measured_machine
from diffgraph.runtime.plan import Code, Planner
from diffgraph.runtime.run import Run
from diffgraph.runtime.team import Team, available_threads
from diffgraph.targets.cpu.compile import ENTRIES, fingerprint
from diffgraph.targets.cpu.emit import emit

#: Plans are kept for so many different batch sizes.
MOST_PLANS = 32


class NativeExecutable(Executable):
    """A program run by kernels of this machine's own. machine: what they are made for; by default this one, and what was
    measured on it. runnable: False where it is only looked at, and its kernels are not compiled."""

    def __init__(
        self, program: Program, precision: str, threads: int | None, machine: Machine | None = None, runnable: bool = True
    ):
        super().__init__(program, precision)
        self.machine = machine or measured_machine(precision)
        self.threads = max(1, threads or available_threads())
        self.check_bounds = bounds_are_checked()
        library = default_library()
        self.commits, named = _scheduled(program, precision, self.check_bounds, self.machine)
        self._kernels = self.commits.schedule.kernels
        if runnable:
            codes = library.functions(self._kernels, precision, self.check_bounds, named)
        else:
            codes = {k: Code(0, n.sizes) for k, n in zip(self._kernels, named, strict=True)}
        entries = library.entries(ENTRIES)
        word = ctypes.c_int64
        self.start = ctypes.CFUNCTYPE(None, *(word,) * 7)(entries["start"])
        self.team = _team(entries["serve"])
        self.functions: dict[Kernel | str, Code] = {**codes, **{n: Code(a, ()) for n, a in entries.items()}}
        self.arena = Arena()
        #: Counts how often storage was bound: runs look whether their addresses are still right.
        self.bindings = 0
        self._runs: dict[tuple, Run] = {}
        real = values.DTYPES[precision]
        tables = self.commits.schedule.tables
        tensors = self.commits.schedule.tensors
        self.tables = {n: np.ascontiguousarray(t.array, real[tensors[n].kind]) for n, t in tables.items()}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self._kernels

    def source(self, shown: Shown = every) -> str:
        texts = (emit(k, self.precision, self.check_bounds).source for k in self._kernels if shown(k))
        return "\n\n".join(texts)

    def memory(self, sizes):
        run = Run(self, sizes, False, Planner.step, frozenset())
        planner, offsets = run.planner, run.plan.offsets
        own = [Block(n, planner.bytes(n)) for n in sorted(planner.given & run.plan.slots.keys())]
        return (*own, *(Block(n, planner.bytes(n), at, (planner.first[n], planner.last[n])) for n, at in offsets.items() if n in planner.first))

    def stepper(self, inputs, commit=False):
        arrays = self._arrays(inputs)
        shapes = tuple(a.shape for a in arrays.values())
        run = self.planned((shapes, commit), self._sizes(arrays), commit, Planner.step, lends=True)
        prepared = run.prepared({self.given[p].tensor.name: a for p, a in arrays.items()})
        if self.tracker is None:
            return lambda: run.call(prepared)

        def step():
            self._look_elsewhere()
            try:
                return run.call(prepared)
            finally:
                if commit:
                    self._note_commit()

        return step

    def planned(
        self, key: tuple, sizes, commit: bool, around: Callable, own: frozenset[str] = frozenset(), lends: bool = False
    ) -> Run:
        """The run of a key, planned if need be; see `Run`."""
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= MOST_PLANS:
                self._runs.pop(next(iter(self._runs)))
            run = self._runs[key] = Run(self, sizes, commit, around, own, lends)
        return run

    def dtype(self, tensor: str) -> np.dtype:
        """The type of the elements of a tensor."""
        return values.DTYPES[self.precision][self.commits.schedule.tensors[tensor].kind]

    def _rebound(self) -> None:
        self.bindings += 1

    def _epoch(self, columns, order, first_step, run, commit):
        from diffgraph.runtime.epoch import run_epoch

        self._look_elsewhere()
        try:
            return run_epoch(self, columns, order, first_step, run, commit)
        finally:
            if commit:
                self._note_commit()


def _scheduled(
    program: Program, precision: str, check_bounds: bool, machine: Machine
) -> tuple[Commits, tuple[Named, ...]]:
    """What a step of a program does, and what its kernels are known by."""

    def make():
        commits = reuse(place_commits(schedule(program, machine), program), program)
        return commits, default_library().named(commits.schedule.kernels, precision, check_bounds)

    of = (program, precision, check_bounds, machine, fingerprint())
    return kept().recall("schedule", of, make, lambda made: len(program.statements) >= LARGE)


def compiled_ahead(programs: Iterable[tuple[Program, Machine]], precision: str) -> None:
    """Compiles the kernels of many programs together, so that all cores take part."""
    kernels: dict[Kernel, Named] = {}
    for program, machine in programs:
        commits, named = _scheduled(program, precision, bounds_are_checked(), machine)
        kernels.update(zip(commits.schedule.kernels, named, strict=True))
    default_library().functions(list(kernels), precision, bounds_are_checked(), list(kernels.values()))


_teams: dict[int, Team] = {}


def _team(serve: int) -> Team:
    """The one team of this process."""
    if not _teams:
        _teams[serve] = Team(serve)
    return next(iter(_teams.values()))
