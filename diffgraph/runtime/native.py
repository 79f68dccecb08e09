"""A program as machine code: kernels, a plan for each batch size, and one native call for each run."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir.program import Program
from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.schedule import schedule
from diffgraph.runtime import values
from diffgraph.runtime.executable import Executable, fail_unless
from diffgraph.runtime.library import bounds_are_checked, default_library
from diffgraph.runtime.plan import Code, Plan, Planner
from diffgraph.runtime.team import Team
from diffgraph.targets.cpu.compile import ENTRIES
from diffgraph.targets.cpu.emit import emit
from diffgraph.targets.cpu.machine import machine

#: Plans are kept for so many different batch sizes.
MOST_PLANS = 32

REALS = {"f32": "float32", "f64": "float64"}


class NativeExecutable(Executable):
    """A program run by kernels of this machine's own."""

    def __init__(self, program: Program, precision: str, threads: int | None):
        super().__init__(program, precision)
        self.threads = max(1, threads or _available_threads())
        self.commits = place_commits(schedule(program, machine(precision)), program)
        self.check_bounds = bounds_are_checked()
        library = default_library()
        self._kernels = self.commits.schedule.kernels
        codes = library.functions(self._kernels, precision, self.check_bounds)
        entries = library.entries(ENTRIES)
        self.functions: dict[Kernel | str, Code] = {**codes, **{n: Code(a, ()) for n, a in entries.items()}}
        word = ctypes.c_int64
        self._start = ctypes.CFUNCTYPE(None, *(word,) * 7)(entries["start"])
        self._team = _team(entries["serve"])
        self._runs: dict[tuple, Run] = {}
        self._arena = _Arena()
        real = values.DTYPES[precision]
        tables = self.commits.schedule.tables
        tensors = self.commits.schedule.tensors
        self.tables = {n: np.ascontiguousarray(t.array, real[tensors[n].kind]) for n, t in tables.items()}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        return self._kernels

    def source(self) -> str:
        return "\n\n".join(emit(k, self.precision, self.check_bounds).source for k in self._kernels)

    def stepper(self, inputs, commit=False):
        arrays = self._arrays(inputs)
        shapes = tuple(a.shape for a in arrays.values())
        run = self.planned((shapes, commit), self._sizes(arrays), commit, Planner.step)
        pointers = {self.given[p].tensor.name: a for p, a in arrays.items()}
        return lambda: run.call(pointers)

    def planned(self, key: tuple, sizes, commit: bool, around: Callable, own: frozenset[str] = frozenset()) -> Run:
        """The run of a key, planned if need be. `own`: paths of inputs that the plan itself provides memory for."""
        run = self._runs.get(key)
        if run is None:
            if len(self._runs) >= MOST_PLANS:
                self._runs.pop(next(iter(self._runs)))
            run = self._runs[key] = Run(self, sizes, commit, around, own)
        return run

    def dtype(self, tensor: str) -> np.dtype:
        """The type of the elements of a tensor."""
        return values.DTYPES[self.precision][self.commits.schedule.tensors[tensor].kind]

    def _rebound(self) -> None:
        for run in self._runs.values():
            run.base = 0

    def _epoch(self, columns, order, first_step, run, commit):
        from diffgraph.runtime.epoch import run_epoch

        return run_epoch(self, columns, order, first_step, run, commit)


class _Arena:
    """Memory that the runs of one executable share; it only grows."""

    def __init__(self):
        self._memory = np.empty(0, np.uint8)

    def address(self, size: int) -> int:
        """The start of at least so many bytes."""
        if self._memory.nbytes < size + 64:
            self._memory = np.zeros(size + 64, np.uint8)
        return -(-self._memory.ctypes.data // 64) * 64

    def view(self, address: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """An array at an address in this memory."""
        offset = address - self._memory.ctypes.data
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._memory[offset : offset + count].view(dtype).reshape(shape)


class Run:
    """A plan with its table of addresses, ready to be started again and again."""

    def __init__(
        self, owner: NativeExecutable, sizes: Mapping[str, int], commit: bool, around: Callable, own: frozenset[str]
    ):
        self.owner = owner
        program, commits = owner.program, owner.commits
        stored = {i.tensor.name for i in owner.stored.values()}
        given = stored | set(owner.tables) | {i.tensor.name for p, i in owner.given.items() if p not in own}
        self.kept_aside = frozenset() if commit else commits.in_place
        self.roots = {r: commits.before.get(commits.schedule.memory[r], r) for r in program.roots}
        self.roots = {
            r: (r if commits.schedule.memory[r] in commits.in_place and r not in stored else n)
            for r, n in self.roots.items()
        }
        self.planner = Planner(
            commits,
            sizes,
            REALS[owner.precision],
            owner.threads,
            owner.functions,
            frozenset(given - self.kept_aside),
            tuple(self.roots.values()),
        )
        self.planner.commit = commit
        self.planner.roots = self.roots
        self.planner.kept_aside = self.kept_aside
        self.plan: Plan = self.planner.plan(around)
        self.addresses = np.zeros(len(self.plan.slots) + 1, np.int64)
        self.fault = np.zeros(1, np.int64)
        self.base = 0

    @cached_property
    def _placed(self) -> tuple[np.ndarray, np.ndarray]:
        """Slots and offsets of what lies in the arena."""
        names = [n for n in self.plan.offsets if n in self.plan.slots]
        slots = np.array([self.plan.slots[n] for n in names], np.int64)
        return slots, np.array([self.plan.offsets[n] for n in names], np.int64)

    def settle(self) -> None:
        """Sets the addresses of everything but the inputs, if memory has moved since."""
        base = self.owner._arena.address(self.plan.arena)
        if base == self.base:
            return
        self.base = base
        slots, offsets = self._placed
        self.addresses[slots] = base + offsets
        self.addresses[0] = self.fault.ctypes.data
        for path, given in self.owner.stored.items():
            name = given.tensor.name
            slot = self.plan.slots.get(f"{name} (bound)" if name in self.kept_aside else name)
            if slot is not None:
                self.addresses[slot] = self.owner.storage[path].ctypes.data
        for name, table in self.owner.tables.items():
            if name in self.plan.slots:
                self.addresses[self.plan.slots[name]] = table.ctypes.data
        self.views = {r: self.view(n) for r, n in self.roots.items()}

    def view(self, name: str) -> np.ndarray:
        """What a tensor is after a run: a view of memory that the next run overwrites."""
        owner = self.owner
        memory = owner.commits.schedule.memory[name]
        tensor = owner.commits.schedule.tensors[name]
        shape = tuple(self.planner.extent(s) for s in tensor.shape)
        if memory in self.plan.offsets:
            dtype = values.DTYPES[owner.precision][tensor.kind]
            return owner._arena.view(self.base + self.plan.offsets[memory], dtype, shape)
        for path, given in owner.stored.items():
            if given.tensor.name == memory:
                return owner.storage[path].reshape(shape)
        if memory in owner.tables:
            return owner.tables[memory].reshape(shape)
        return self.inputs[memory].reshape(shape)

    def execute(self, pointers: Mapping[str, np.ndarray]) -> None:
        """Runs the plan; what it gives is in memory that the caller knows."""
        with self.owner._team.lock:
            self.inputs = pointers
            self.settle()
            self.start(pointers)

    def call(self, pointers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the plan on inputs by tensor name; copies of the outputs by name."""
        with self.owner._team.lock:
            self.inputs = pointers
            self.settle()
            self.start(pointers)
            program = self.owner.program
            if program.checks:
                fail_unless(program.checks, [self.views[c.tensor] for c in program.checks])
            return {o.name: self._result(o.tensor) for o in program.outputs}

    def _result(self, tensor: str) -> np.ndarray:
        view = self.views[tensor]
        return view.copy()

    def start(self, pointers: Mapping[str, np.ndarray]) -> None:
        """The native call."""
        slots, addresses = self.plan.slots, self.addresses
        for name, array in pointers.items():
            slot = slots.get(name)
            if slot is not None:
                addresses[slot] = array.ctypes.data
        team, plan = self.owner._team, self.plan
        arguments = (
            plan.table.ctypes.data,
            len(plan.table),
            addresses.ctypes.data,
            team.counters.ctypes.data,
            team.barrier.ctypes.data,
            plan.threads,
            team.mailboxes.ctypes.data,
        )
        if plan.threads > 1:
            team.summon(plan.threads)
            try:
                self.owner._start(*arguments)
            finally:
                team.dismiss()
        else:
            self.owner._start(*arguments)
        if self.fault[0]:
            number = int(self.fault[0])
            self.fault[0] = 0
            raise CompilerBug("targets.cpu", f"a kernel reached outside of its buffer {number - 1}")


def _available_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_teams: dict[int, Team] = {}


def _team(serve: int) -> Team:
    """The one team of this process."""
    if not _teams:
        _teams[serve] = Team(serve)
    return next(iter(_teams.values()))
