"""A schedule for known sizes, as a table that the dispatcher runs.

Every tensor that has memory of its own has a slot in a table of addresses. Slots of inputs are set by the caller; what a
step computes lies in an arena, at places planned from the lives of the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir.dimension import Size, evaluate, product
from diffgraph.kernels.commit import Commits, touched
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.steps import Apart, Copy, Launch, Repeat, Sort, Step, shares_of_samples
from diffgraph.passes.choices import ESTIMATED, THREADS, Choices, Point, point
from diffgraph.runtime.arena import Life, place
from diffgraph.runtime.plan_apart import write_apart
from diffgraph.targets.cpu.rows import APART, BEGIN, CALL, COPY, COUNT, END, LEVELS, LINK, MOVE, PUT, SWAP, WAIT, WIDTH

#: Scalar operations that are worth another thread: it costs about a microsecond to share them out.
WORK_PER_THREAD = 20_000

#: Units of a loop without inner loops are shared out in blocks: a multiple of the vector width, and of cache lines.
GRAIN = 64

BYTES = {"float32": 4, "float64": 8}

#: Numbers of threads by their names.
THREAD_COUNTS = {str(n): n for n in range(1, 257)}


@dataclass(frozen=True)
class Code:
    """A kernel as machine code: where it is, and which sizes it wants to be given."""

    address: int
    sizes: tuple[Size, ...]


def threads_point(kernel: Kernel, sizes: Mapping[str, int]) -> Point:
    """What measurements of how many threads are best for a kernel, for sizes of the symbols, are known by."""
    units = [evaluate(u.extent, sizes) for u in kernel.units]
    return point(THREADS, kernel.digest, units, evaluate(kernel.work, sizes))


@dataclass
class Plan:
    """What `start` runs.

    table: the rows. keep: the arrays that the rows point to. slots: the slot of each tensor with memory of its own (slot 0
    is the fault cell). offsets: the place in the arena of each tensor that lies there, parts of others too. threads: how many it can use.
    """

    table: np.ndarray
    slots: dict[str, int]
    offsets: dict[str, int]
    arena: int
    threads: int
    keep: list[np.ndarray] = field(default_factory=list)


class Planner:
    """Makes plans for the sizes of one batch.

    functions: machine code for each kernel, and for the common kernels by name. given: the tensors whose memory the
    caller provides. kept_aside: states that kernels overwrite, but that shall keep their values. choices: what was measured.
    """

    def __init__(
        self,
        commits: Commits,
        sizes: Mapping[str, int],
        real: str,
        threads: int,
        functions: Mapping[Kernel | str, Code],
        given: frozenset[str],
        commit: bool,
        kept_aside: frozenset[str],
        choices: Choices = ESTIMATED,
    ):
        self.choices = choices
        self.commits = commits
        self.tensors = commits.schedule.tensors
        self.memory = commits.schedule.memory
        self.parts = commits.schedule.parts
        self.sizes = dict(sizes)
        self.real = real
        self.threads = threads
        self.functions = functions
        self.given = given
        self.roots = commits.roots
        self.commit = commit
        self.kept_aside = kept_aside
        self.rows: list[list[int]] = []
        #: The step that is being written, None around them; and what is told of each row that takes time.
        self.now: Step | None = None
        self.watch: Callable[[Planner], None] | None = None
        self.slots: dict[str, int] = {"": 0}
        self.linked: set[str] = set()
        self.spare: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        self.clock = 0
        self.tables: list[np.ndarray] = []
        self._level = 0
        self._known: dict[Size, int] = {}
        for step in commits.schedule.steps:
            if isinstance(step, Apart):
                self.sizes[step.share], self.sizes[step.shares] = shares_of_samples(self.extent(step.samples))

    def take_one_share(self) -> None:
        """Lets all samples be one share, wherever they are apart."""
        for step in self.commits.schedule.steps:
            if isinstance(step, Apart):
                self.sizes[step.share], self.sizes[step.shares] = self.extent(step.samples), 1
        self._known.clear()

    # ------------------------------------------------------------------------------------------------ sizes

    def extent(self, size: Size) -> int:
        """A size as a number."""
        found = self._known.get(size)
        if found is None:
            found = self._known[size] = evaluate(size, self.sizes)
        return found

    def extent_of(self, symbol: str) -> int:
        """What a symbol stands for."""
        return self.sizes[symbol]

    def elements(self, name: str) -> int:
        """How many elements a tensor has."""
        return math.prod(self.extent(s) for s in self.tensors[name].shape)

    def element_bytes(self, name: str) -> int:
        """The size of an element."""
        return {"float": BYTES[self.real], "int": 8, "bool": 1}[self.tensors[name].kind]

    def bytes(self, name: str) -> int:
        """The size of a tensor, or of spare memory."""
        if name in self.spare:
            return self.spare[name]
        return self.elements(name) * self.element_bytes(name)

    # ------------------------------------------------------------------------------------------------ the plan

    def plan(self, around: Callable[[Planner], None] | None = None) -> Plan:
        """The plan of one step; `around(planner)` may write rows before and after `self.step()` instead."""
        (around or Planner.step)(self)
        for name in self.roots.values():
            self.touch(self.memory[name])
        if self.rows and self.rows[-1][0] == END:
            self.row(LINK, 0, 0, 0)
        self._wait_where_needed()
        lives = {
            n: Life(f, self.last[n]) for n, f in self.first.items() if n not in self.given and n not in self.linked
        }
        offsets, total = place(lives, {n: self.bytes(n) for n in lives})
        offsets |= {n: offsets[p.base] + self.part_offset(n) for n, p in self.parts.items() if p.base in offsets}
        threads = max([1, *(r[5] for r in self.rows if r[0] in (CALL, APART))])
        self._make_tables(threads)
        table = np.array(self.rows, np.int64).reshape(-1, WIDTH)
        return Plan(table, self.slots, offsets, total, threads, self.tables)

    def _make_tables(self, threads: int) -> None:
        """Tables of addresses for threads that go through shares alone."""
        apart = [r for r in self.rows if r[0] == APART]
        if not apart:
            return
        # No two on one cache line.
        words = -(-(len(self.slots) + 1) // 8) * 8
        tables = np.zeros(threads * words, np.int64)
        self.tables.append(tables)
        for row in apart:
            row[3:5] = [tables.ctypes.data, words]

    def step(self) -> None:
        """The rows of one step of the program, commits included if they are wanted."""
        for state in sorted(self.kept_aside):
            self.set_aside(state)
        for state, copy in self.commits.before.items():
            self.copy(copy, state)
        for step in self.commits.schedule.steps:
            self.write(step)
        for copy in self.commits.copies if self.commit else ():
            self.copy(copy.target, copy.source)

    def set_aside(self, state: str) -> None:
        """Lets the step write to a copy of a state."""
        self.touch(state)
        self.row(COPY, self.slot(state), self.slot(f"{state} (bound)"), self.bytes(state))

    def slot(self, name: str) -> int:
        """The slot of the memory of a tensor."""
        return self.slots.setdefault(self.memory.get(name, name), len(self.slots))

    def part_offset(self, name: str) -> int:
        """Bytes before a part of another memory."""
        part = self.parts[name]
        return self.extent(part.row) * math.prod(map(self.extent, self.tensors[part.base].shape[1:])) * self.element_bytes(part.base)

    def home(self, name: str) -> str:
        """The memory that a tensor lies in."""
        memory = self.memory.get(name, name)
        return self.parts[memory].base if memory in self.parts else memory

    def touch(self, name: str) -> None:
        """Notes that memory is in use now."""
        name = self.home(name)
        self.first.setdefault(name, self.clock)
        self.last[name] = self.clock

    def row(self, *words: int) -> None:
        """Adds a row."""
        self.rows.append([*words, *[0] * (WIDTH - len(words))])
        if self.watch is not None and words[0] in (CALL, COPY):
            self.watch(self)

    def write(self, step: Step) -> None:
        """The rows of a step of the schedule."""
        self.clock += 1
        around, self.now = self.now, step
        if not isinstance(step, (Apart, Repeat)):
            for name in touched(step):
                self.touch(self.memory[name])
        match step:
            case Launch(kernel=kernel):
                self._launch(kernel)
            case Sort(tensor, operand, descending):
                self._sort(tensor, operand, descending)
            case Copy(target, source):
                self.copy(target, source)
            case Repeat():
                self._repeat(step)
            case Apart():
                write_apart(self, step)
        self.now = around

    def copy(self, target: str, source: str) -> None:
        """target = source."""
        self.touch(self.memory[target])
        self.touch(self.memory[source])
        self.copy_bytes(self.slot(target), self.slot(source), self.bytes(target))

    def copy_bytes(self, target: int, source: int, size: int) -> None:
        """Copies between slots."""
        self.row(COPY, target, source, size)

    def _launch(self, kernel: Kernel) -> None:
        code = self.functions[kernel]
        units = self.extent(product([u.extent for u in kernel.units]))
        grain = GRAIN if kernel.is_flat else 1
        threads = self.threads_for(units, self.extent(kernel.work), grain)
        measured = self.choices.of(threads_point(kernel, self.sizes)) if self.choices else None
        if measured in THREAD_COUNTS:
            threads = self.threads_for(units, THREAD_COUNTS[measured] * WORK_PER_THREAD, grain)
        for buffer in kernel.buffers:
            if buffer.private:
                # Several kernels may use one memory.
                each = threads * buffer.size * BYTES[self.real]
                self.spare[buffer.name] = max(self.spare.get(buffer.name, 0), each)
        slots = [self.slot(b.name) for b in kernel.buffers]
        self._call(code, slots, [self.extent(s) for s in code.sizes], units, threads, grain)

    def call(self, code: Code, slots: list[int], sizes: list[int], units: int, work: int, grain: int = 1) -> None:
        """Runs a function on some slots, with as many threads as its work deserves."""
        self._call(code, slots, sizes, units, self.threads_for(units, work, grain), grain)

    def _call(self, code: Code, slots: list[int], sizes: list[int], units: int, threads: int, grain: int) -> None:
        self.row(CALL, code.address, self._table(slots), self._table(sizes), units, threads, grain)

    def threads_for(self, units: int, work: int, grain: int = 1) -> int:
        """How many threads the work of a function deserves."""
        return max(1, min(self.threads, -(-units // grain), work // WORK_PER_THREAD))

    def _table(self, values: list[int]) -> int:
        table = np.array(values or [0], np.int64)
        self.tables.append(table)
        return table.ctypes.data

    def _sort(self, tensor: str, operand: str, descending: bool) -> None:
        kind = self.tensors[operand].kind
        spare = f"{tensor} (spare)"
        self.spare[spare] = self.bytes(tensor)
        self.touch(spare)
        count = self.extent(self.tensors[tensor].shape[-1])
        rows = self.elements(tensor) // max(1, count)
        code = self.functions[{"float": f"sort_{self.real}", "int": "sort_int64", "bool": "sort_bool"}[kind]]
        slots = [self.slot(tensor), self.slot(operand), self.slot(spare)]
        work = 10 * self.elements(tensor) * max(1, count.bit_length())
        self.call(code, slots, [count, int(descending), self.element_bytes(operand)], rows, work)

    # ------------------------------------------------------------------------------------------------ loops

    def _repeat(self, loop: Repeat) -> None:
        length = self.extent(loop.length)
        outer = {self.home(n) for n in touched(loop)} - {r.inner for r in loop.rows}
        known = {n for n in outer if n in self.first or n in self.given}
        around = {self.memory[n] for s in loop.states for n in (s.inner, s.next)}
        around |= known | {self.home(r) for r in loop.results} | ({loop.index} - {""})
        for name in around:
            self.touch(name)
        self.begin(length)
        self._start_rows(loop, length)
        begin = self.open(length)
        for step in loop.steps:
            self.write(step)
        self._next_rows(loop)
        self.close(begin)
        self.clock += 1
        for name in around:
            self.touch(name)

    def begin(self, length: int) -> None:
        """Refuses loops that are nested too deep."""
        if self._level >= LEVELS:
            raise CompilerBug("runtime.plan", f"scans are nested more than {LEVELS} deep")

    def open(self, count: int) -> int:
        """Begins a loop; gives what `close` wants."""
        self.row(BEGIN, self._level, count, 0)
        self._level += 1
        return len(self.rows) - 1

    def close(self, begin: int) -> None:
        """Ends a loop."""
        self._level -= 1
        self.row(END, self._level, begin + 1)
        self.rows[begin][3] = len(self.rows)

    def _start_rows(self, loop: Repeat, length: int) -> None:
        for row in loop.rows:
            self.linked.add(row.inner)
            turn = row.start + (max(0, length - 1) if loop.reverse else 0)
            self.row(LINK, self.slot(row.inner), self.slot(row.outer), turn * self._row_bytes(row.outer))
        if loop.index:
            self.spare[loop.index] = 8
            self.row(PUT, self.slot(loop.index), max(0, length - 1) if loop.reverse else 0)

    def _row_bytes(self, outer: str) -> int:
        """How far the rows of a tensor are apart."""
        return math.prod(map(self.extent, self.tensors[outer].shape[1:])) * self.element_bytes(outer)

    def _next_rows(self, loop: Repeat) -> None:
        for row in loop.rows:
            size = self._row_bytes(row.outer)
            self.row(MOVE, self.slot(row.inner), -size if loop.reverse else size)
        for state in loop.states:
            self.row(SWAP, self.slot(state.inner), self.slot(state.next))
        if loop.index:
            self.row(COUNT, self.slot(loop.index), -1 if loop.reverse else 1)

    # ------------------------------------------------------------------------------------------------ waiting

    def _wait_where_needed(self) -> None:
        """The team waits between a kernel of several threads and whatever comes before and after it."""
        shared = [r[0] in (CALL, APART) and r[5] > 1 for r in self.rows]
        if not any(shared):
            return
        alone = {k for at, r in enumerate(self.rows) if r[0] == APART for k in range(at + 1, r[2])}
        for at in range(len(self.rows)):
            if self.rows[at][0] in (BEGIN, END) or at in alone:
                continue
            self.rows[at][WAIT] = int(shared[at] or any(shared[n] for n in self._followers(at)))
        if self.rows:
            self.rows[-1][WAIT] = 1

    def _followers(self, at: int) -> Iterator[int]:
        """The rows that do something and may come next."""
        seen = set()
        open_rows = [self.rows[at][2] if self.rows[at][0] == APART else at + 1]
        while open_rows:
            row = open_rows.pop()
            if row >= len(self.rows) or row in seen:
                continue
            seen.add(row)
            code = self.rows[row][0]
            if code == END:
                open_rows += [row + 1, self.rows[row][2]]
            elif code == BEGIN:
                open_rows += [row + 1, self.rows[row][3]]
            else:
                yield row
