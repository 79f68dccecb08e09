"""A plan that can be started: its table of addresses, and what it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from diffgraph.diagnostics import CompilerBug
from diffgraph.kernels.steps import Apart, Repeat, Step
from diffgraph.runtime import values
from diffgraph.runtime.executable import fail_unless
from diffgraph.runtime.plan import Plan, Planner
from diffgraph.runtime.results import LARGE, Loan, Pool


@dataclass(frozen=True)
class Prepared:
    """Arrays by tensor name, and where they are: their slots and addresses. The arrays must stay where they are."""

    arrays: Mapping[str, np.ndarray]
    slots: np.ndarray
    addresses: np.ndarray


class Run:
    """A plan with its table of addresses, ready to be started again and again.

    `own`: paths of inputs that the plan itself provides memory for. `around` writes the plan (see `Planner.plan`).
    `lends`: large outputs get memory of their own in each run, which only `call` provides.
    """

    def __init__(
        self, owner, sizes: Mapping[str, int], commit: bool, around: Callable, own: frozenset[str], lends: bool = False
    ):
        self.owner = owner
        commits = owner.commits
        stored = {i.tensor.name for i in owner.stored.values()}
        given = stored | set(owner.tables) | {i.tensor.name for p, i in owner.given.items() if p not in own}
        self.kept_aside = frozenset() if commit else commits.in_place
        self.planner = Planner(
            commits,
            sizes,
            values.DTYPES[owner.precision]["float"].name,
            owner.threads,
            owner.functions,
            frozenset(given - self.kept_aside),
            commit,
            self.kept_aside,
            owner.machine.choices,
        )
        self._lending = self._find_lending() if lends else {}
        self._pools = self._make_pools()
        self.planner.given |= frozenset(self._pools)
        self.plan: Plan = self.planner.plan(around)
        self.addresses = np.zeros(len(self.plan.slots) + 1, np.int64)
        self.fault = np.zeros(1, np.int64)
        self.addresses[0] = self.fault.ctypes.data
        placed = [n for n in self.plan.offsets if n in self.plan.slots]
        self._placed = np.array([self.plan.slots[n] for n in placed], np.int64)
        self._offsets = np.array([self.plan.offsets[n] for n in placed], np.int64)
        team = owner.team
        self._arguments = (
            self.plan.table.ctypes.data,
            len(self.plan.table),
            self.addresses.ctypes.data,
            team.counters.ctypes.data,
            team.barrier.ctypes.data,
            self.plan.threads,
            team.mailboxes.ctypes.data,
        )
        self._settled: tuple[int, int] | None = None
        self._prepared: Prepared | None = None
        self._views: dict[str, np.ndarray] = {}

    def _find_lending(self) -> dict[str, tuple[str, str, np.dtype, tuple[int, ...]]]:
        """The outputs that are given in the very memory that kernels write: by name (root, memory, type, shape). They are
        large and computed in the step, and no two of them share memory."""
        owner, planner = self.owner, self.planner
        schedule = owner.commits.schedule
        taken = planner.given | self.kept_aside | set(_carried(schedule.steps))
        found = {}
        for output in owner.program.outputs:
            name = owner.commits.roots[output.tensor]
            memory = schedule.memory[name]
            if memory not in taken and planner.bytes(memory) >= LARGE:
                shape = tuple(planner.extent(s) for s in schedule.tensors[name].shape)
                found[output.name] = (output.tensor, memory, owner.dtype(name), shape)
        shared = Counter(memory for _, memory, _, _ in found.values())
        return {name: place for name, place in found.items() if shared[place[1]] == 1}

    def _make_pools(self) -> dict[str, Pool]:
        """The pool for each memory that is lent; one for each size."""
        sizes = {memory: self.planner.bytes(memory) for _, memory, _, _ in self._lending.values()}
        pools = {size: Pool(size, most) for size, most in Counter(sizes.values()).items()}
        return {memory: pools[size] for memory, size in sizes.items()}

    def prepared(self, arrays: Mapping[str, np.ndarray]) -> Prepared:
        """Arrays for the inputs, by tensor name, looked up once."""
        known = {n: a for n, a in arrays.items() if n in self.plan.slots}
        slots = np.array([self.plan.slots[n] for n in known], np.int64)
        return Prepared(dict(arrays), slots, np.array([a.ctypes.data for a in known.values()], np.int64))

    def call(self, prepared: Prepared) -> dict[str, np.ndarray]:
        """Runs the plan on inputs; the outputs by name, in memory that belongs to the caller. RunFailed if a check fails."""
        with self.owner.team.lock:
            loans = {memory: pool.lend() for memory, pool in self._pools.items()}
            for memory, loan in loans.items():
                self.addresses[self.plan.slots[memory]] = loan.address
            self._start(prepared)
            program, views = self.owner.program, self._views
            if program.checks:
                fail_unless(program.checks, [views[c.tensor] for c in program.checks])
            if loans:
                views = views | self._lent(loans)
            return {o.name: views[o.tensor] if o.name in self._lending else views[o.tensor].copy() for o in program.outputs}

    def _lent(self, loans: Mapping[str, Loan]) -> dict[str, np.ndarray]:
        """What is in lent memory, by root."""
        found = {}
        for root, memory, dtype, shape in self._lending.values():
            found[root] = loans[memory].array(dtype, shape)
        return found

    def execute(self, prepared: Prepared) -> None:
        """Runs the plan; what it gives is in memory that the caller knows."""
        with self.owner.team.lock:
            self._start(prepared)

    def _start(self, prepared: Prepared) -> None:
        owner = self.owner
        if self._settled != (owner.arena.base, owner.bindings):
            self._settle()
        if prepared is not self._prepared:
            self.addresses[prepared.slots] = prepared.addresses
            self._prepared = prepared
            self._views = {root: self._view(name) for root, name in owner.commits.roots.items()}
        if self.plan.threads > 1:
            owner.team.summon(self.plan.threads)
            try:
                owner.start(*self._arguments)
            finally:
                owner.team.dismiss()
        else:
            owner.start(*self._arguments)
        if self.fault[0]:
            self._report_fault()

    def _settle(self) -> None:
        """Sets the addresses of everything but the inputs."""
        owner, slots = self.owner, self.plan.slots
        owner.arena.reserve(self.plan.arena)
        self.addresses[self._placed] = owner.arena.base + self._offsets
        for path, given in owner.stored.items():
            name = given.tensor.name
            slot = slots.get(f"{name} (bound)" if name in self.kept_aside else name)
            if slot is not None:
                self.addresses[slot] = owner.storage[path].ctypes.data
        for name, table in owner.tables.items():
            if name in slots:
                self.addresses[slots[name]] = table.ctypes.data
        self._settled = (owner.arena.base, owner.bindings)
        self._prepared = None

    def _view(self, name: str) -> np.ndarray:
        """What a tensor is after a run: a view of memory that the next run overwrites."""
        owner = self.owner
        memory = owner.commits.schedule.memory[name]
        shape = tuple(self.planner.extent(s) for s in owner.commits.schedule.tensors[name].shape)
        if memory in self.plan.offsets:
            return owner.arena.view(self.plan.offsets[memory], owner.dtype(name), shape)
        for path, given in owner.stored.items():
            if given.tensor.name == memory:
                return owner.storage[path].reshape(shape)
        if memory in owner.tables:
            return owner.tables[memory].reshape(shape)
        return self._prepared.arrays[memory].reshape(shape) if memory in self._prepared.arrays else np.empty(0)

    def _report_fault(self) -> None:
        number = int(self.fault[0])
        self.fault[0] = 0
        raise CompilerBug("targets.cpu", f"a kernel reached outside of its buffer {number - 1}")


def _carried(steps: Iterable[Step]) -> Iterator[str]:
    """The memories that change places in scans."""
    for step in steps:
        if isinstance(step, Repeat):
            for state in step.states:
                yield from (state.inner, state.next)
        if isinstance(step, (Apart, Repeat)):
            yield from _carried(step.steps)
