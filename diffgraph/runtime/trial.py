"""A small program in one way, on memory of its own, to be run many times in one native call: what tuning looks at the clock
for.

Where a step of the whole program goes through more memory than the second cache holds, a kernel finds nothing there that an
earlier run of it has left: its tensors are then there many times, one copy after the other, and each run takes the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from diffgraph.ir.dimension import evaluate
from diffgraph.ir.program import Input, Program
from diffgraph.kernels.tiles import Machine
from diffgraph.runtime import values
from diffgraph.runtime.native import NativeExecutable
from diffgraph.runtime.plan import Planner
from diffgraph.runtime.results import LINE, allocate
from diffgraph.targets.cpu.rows import MOVE

#: Bytes that a core's second cache holds, with room to spare.
SECOND_CACHE = 1 << 22

#: Copies together are so many times as large; more than so many bytes are not taken.
SPREAD, MOST_BYTES, MOST_COPIES = 3, 1 << 27, 64

#: Seconds that one look at the clock is worth, and runs in it at most.
SECONDS, MOST_RUNS = 1.5e-3, 1000


class Trial:
    """A program of kernels without commits, on random numbers. spread: its tensors shall not be found in a near cache.
    shared: memory of trials that never run at once, by name and size."""

    def __init__(
        self, program: Program, sizes: Mapping[str, int], precision: str, threads: int, machine: Machine, spread: bool,
        shared: dict[tuple[str, int], tuple[np.ndarray, int]],
    ):  # fmt: skip
        self.executable = NativeExecutable(program, precision, threads, machine)
        self._sizes = sizes
        self._bytes = self._sizes_of_memories()
        self._copies = self._count_copies() if spread else 1
        self._memory = {n: self._allocated(n, size * self._copies, shared) for n, size in self._bytes.items()}
        self._runs = self._copies
        self._plan()
        if not spread:
            self._runs = int(np.clip(SECONDS / max(1e-9, min(self.seconds() for _ in range(3))), 1, MOST_RUNS))
            self._plan()

    @property
    def identity(self) -> tuple:
        """What two trials have in common that run the same code."""
        return tuple(k.digest for k in self.executable.kernels), self._planned.threads

    def seconds(self) -> float:
        """Seconds of a run, in a call that makes many of them."""
        owner, plan = self.executable, self._planned
        owner.arena.reserve(plan.arena)
        addresses = self._addresses
        addresses[self._placed] = owner.arena.base + self._offsets
        addresses[self._slots] = self._starts
        with owner.team.lock:
            if plan.threads > 1:
                owner.team.summon(plan.threads)
            began = time.perf_counter()
            owner.start(*self._arguments)
            taken = time.perf_counter() - began
            owner.team.dismiss()
        return taken / self._runs

    def _planner(self) -> Planner:
        owner = self.executable
        real = values.DTYPES[owner.precision]["float"].name
        tables = frozenset(owner.tables)
        given = frozenset(self._bytes) | tables if hasattr(self, "_bytes") else tables
        of = (owner.commits, self._sizes, real, owner.threads, owner.functions, given, False, frozenset())
        return Planner(*of, owner.machine.choices)

    def _sizes_of_memories(self) -> dict[str, int]:
        """Bytes of each memory that is given or left, a multiple of cache lines."""
        owner, planner = self.executable, self._planner()
        roots = [planner.memory[name] for name in owner.commits.roots.values()]
        names = dict.fromkeys([*(i.tensor.name for i in owner.program.inputs if i.table is None), *roots])
        return {n: -(-max(1, planner.bytes(n)) // LINE) * LINE for n in names if n not in owner.tables}

    def _count_copies(self) -> int:
        whole = max(1, sum(self._bytes.values()))
        most = max(1, min(MOST_COPIES, MOST_BYTES // whole))
        return int(np.clip(-(-SPREAD * SECOND_CACHE // whole), 2, most)) if most > 1 else 1

    def _allocated(self, name: str, size: int, shared) -> tuple[np.ndarray, int]:
        """The copies of a memory, filled if it is an input."""
        found = shared.get((name, size))
        if found is not None:
            return found
        block, start = shared[name, size] = allocate(size)
        given = next((i for i in self.executable.program.inputs if i.tensor.name == name), None)
        if given is not None:
            array = _random(given, self._sizes, self.executable.dtype(name))
            for at in range(start, start + size, self._bytes[name]):
                block[at : at + array.nbytes] = array.reshape(-1).view(np.uint8)
        return block, start

    def _plan(self) -> None:
        """A plan of many runs, each on the next copies."""

        def around(planner: Planner) -> None:
            begin = planner.open(self._runs)
            planner.step()
            for name in self._bytes if self._copies > 1 else ():
                planner.row(MOVE, planner.slot(name), self._bytes[name])
            planner.close(begin)

        owner = self.executable
        self._planned = plan = self._planner().plan(around)
        self._addresses = np.zeros(len(plan.slots) + 1, np.int64)
        self._fault = np.zeros(1, np.int64)
        self._addresses[0] = self._fault.ctypes.data
        for name, table in owner.tables.items():
            if name in plan.slots:
                self._addresses[plan.slots[name]] = table.ctypes.data
        placed = [n for n in plan.offsets if n in plan.slots]
        self._placed = np.array([plan.slots[n] for n in placed], np.int64)
        self._offsets = np.array([plan.offsets[n] for n in placed], np.int64)
        used = [n for n in self._memory if n in plan.slots]
        self._slots = np.array([plan.slots[n] for n in used], np.int64)
        starts = (self._memory[n] for n in used)
        self._starts = np.array([block.ctypes.data + start for block, start in starts], np.int64)
        team = owner.team
        self._arguments = (
            plan.table.ctypes.data,
            len(plan.table),
            self._addresses.ctypes.data,
            team.counters.ctypes.data,
            team.barrier.ctypes.data,
            plan.threads,
            team.mailboxes.ctypes.data,
        )


def _random(given: Input, sizes: Mapping[str, int], dtype: np.dtype) -> np.ndarray:
    """Numbers that an input may hold: places of a tensor are inside of it."""
    draw = np.random.default_rng(0)
    shape = tuple(evaluate(s, sizes) for s in given.tensor.shape)
    if given.tensor.kind == "float":
        return draw.standard_normal(shape).astype(dtype)
    bound = 2 if given.tensor.kind == "bool" else 1
    if given.tensor.kind == "int" and given.tensor.bound is not None:
        bound = max(1, evaluate(given.tensor.bound, sizes))
    return np.asarray(draw.integers(0, bound, shape)).astype(dtype)


def timed(trials: Sequence[Trial], rounds: int) -> list[list[float]]:
    """Seconds of a run of each trial, in each of some rounds in which they take turns."""
    taken: list[list[float]] = [[] for _ in trials]
    for trial in trials:
        trial.seconds()
    for number in range(rounds):
        # In turn forwards and backwards: what one leaves in the caches is not always the same one's gain.
        order = range(len(trials)) if number % 2 == 0 else range(len(trials) - 1, -1, -1)
        for k in order:
            taken[k].append(trials[k].seconds())
    return taken
