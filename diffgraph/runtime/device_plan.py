"""A schedule for known sizes, as the operations of a device.

Everything is decided here: rows and states of scans are places in memory that move from turn to turn, what may be one launch
is one (with loops in it; otherwise they are written out), and what a step computes lies in one arena, at places planned from
the lives of the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from diffgraph.diagnostics import error
from diffgraph.ir.dimension import Size, evaluate, substitute
from diffgraph.kernels.commit import Commits
from diffgraph.kernels.flat import ELEMENTS
from diffgraph.kernels.loops import Kernel
from diffgraph.kernels.steps import Copy, Launch, Repeat, Sort, Step
from diffgraph.runtime.arena import Life, place
from diffgraph.runtime.device_launch import as_one, may_be_one, most_steps
from diffgraph.runtime.device_library import Texts
from diffgraph.runtime.device_program import (
    Access,
    Either,
    Item,
    Looped,
    Operation,
    Place,
    Single,
    Start,
    Together,
    Transfer,
    merged,
    parts_of,
    written_out,
)
from diffgraph.targets.cuda.common import THREADS

#: Places in a tensor are counted in 32 bits.
MOST_ELEMENTS = 2**31 - 1

#: A step may be so many operations where its scans are written out.
MOST_OPERATIONS = 200_000


@dataclass(frozen=True)
class DevicePlan:
    """items: in order. offsets: where in the arena each memory is that lies there; lives: the first and the last stage that
    touch it; arena: its bytes."""

    items: tuple[Item, ...]
    offsets: Mapping[str, int]
    lives: Mapping[str, Life]
    arena: int

    @property
    def is_one(self) -> bool:
        """Whether it is one launch."""
        return len(self.items) == 1 and isinstance(self.items[0], Together)

    @property
    def most_steps(self) -> int:
        """How many steps one start may make."""
        return most_steps(self.items[0]) if self.is_one else 1


class DevicePlanner:
    """Makes the plan for the sizes of one batch.

    bytes_of: the size of an element of each kind. texts: each kernel as text, with its grid and the sizes it takes. given: memories that the caller provides. commit: whether the commits are made. kept_aside: states that are written in
    place and must not change: the plan works on copies of them.
    """

    def __init__(
        self, commits: Commits, sizes: Mapping[str, int], bytes_of: Mapping[str, int], texts: Mapping[Kernel, Texts],
        given: frozenset[str], commit: bool, kept_aside: frozenset[str],
    ):  # fmt: skip
        self.commits = commits
        self.tensors = commits.schedule.tensors
        self.memory = commits.schedule.memory
        self.parts = commits.schedule.parts
        self.sizes = sizes
        self.bytes_of = bytes_of
        self.texts = texts
        self.given = given
        self.commit = commit
        self.kept_aside = kept_aside
        self.roots = commits.roots
        self.operations: list[Operation] = []
        self.indices = 0
        self._moved: dict[str, Place | Either] = {}
        self._loops = 0
        self._known: dict[Size, int] = {}

    # ------------------------------------------------------------------------------------------------ sizes

    def extent(self, size: Size) -> int:
        """A size as a number."""
        found = self._known.get(size)
        if found is None:
            found = self._known[size] = evaluate(size, self.sizes)
        return found

    def elements(self, name: str) -> int:
        """How many elements a tensor has. DiffgraphError if they are too many."""
        count = math.prod(self.extent(s) for s in self.tensors[name].shape)
        if count > MOST_ELEMENTS:
            text = f"`{name}` has {count:,} elements; a tensor on a CUDA device may have {MOST_ELEMENTS:,}"
            raise error("DG825", text, help="take a smaller batch, or --target cpu")
        return count

    def bytes(self, name: str) -> int:
        """The size of a tensor."""
        return self.elements(name) * self.bytes_of[self.tensors[name].kind]

    # ------------------------------------------------------------------------------------------------ the plan

    def plan(self, around: Callable[[DevicePlanner], None] | None = None, apart: bool = False) -> DevicePlan:
        """The plan of one step; `around(planner)` may add operations before and after `self.step()`. apart: each operation is
        an item of its own."""
        (around or DevicePlanner.step)(self)
        if apart:
            items: list[Item] = list(self._singles())
        elif may_be_one(self.operations):
            items = [as_one(self.operations)]
        else:
            items = merged(self._singles(), self._code)
        lives = self._lives(items)
        own = {n: life for n, life in lives.items() if n not in self.given}
        offsets, total = place(own, {n: self.bytes(n) for n in own})
        offsets |= {n: offsets[p.base] + self.place(n).offset for n, p in self.parts.items() if p.base in offsets}
        return DevicePlan(tuple(items), offsets, lives, total)

    def _singles(self) -> list[Single]:
        """The operations, loops written out. DiffgraphError if they are too many."""
        found = list(islice(written_out(self.operations), MOST_OPERATIONS + 1))
        if len(found) > MOST_OPERATIONS:
            raise error("DG826", f"a step has more than {MOST_OPERATIONS:,} operations on the device",
                        help="its scans are too long for --target cuda; use --target cpu")  # fmt: skip
        return found

    def _lives(self, items: list[Item]) -> dict[str, Life]:
        """When each memory is in use: what is touched by operations that run at once is in use at once."""
        lives: dict[str, Life] = {}
        now = 0
        for item in items:
            for together in parts_of(item):
                for access in (a for o in together for a in o.accesses):
                    name = access.place.memory
                    lives[name] = Life(lives[name].first if name in lives else now, now)
                now += 1
        for name in (self.place(n).memory for n in self.roots.values()):
            lives[name] = Life(lives[name].first if name in lives else now, now)
        return lives

    def _code(self, operation: Single) -> str | None:
        """What starts have in common that may be one launch: the text of a kernel for any number of elements."""
        if isinstance(operation, Transfer) or isinstance(operation.function, str):
            return None
        texts = self.texts[operation.function]
        return texts.plain.source if texts.plain.elements is not None else None

    def step(self) -> None:
        """One step of the program, commits included if they are wanted."""
        for state in sorted(self.kept_aside):
            self.move(Place(state), Place(f"{state} (bound)"), self.bytes(state))
        for state, copy in self.commits.before.items():
            self._copy(copy, state)
        for step in self.commits.schedule.steps:
            self._step(step)
        for copy in self.commits.copies if self.commit else ():
            self._copy(copy.target, copy.source)

    def place(self, name: str) -> Place | Either:
        """Where a tensor is now."""
        memory = self.memory.get(name, name)
        if memory in self.parts:
            part = self.parts[memory]
            row = math.prod(map(self.extent, self.tensors[part.base].shape[1:])) * self.bytes_of[self.tensors[memory].kind]
            return Place(part.base, self.extent(part.row) * row)
        return self._moved.get(memory, Place(memory))

    def move(self, target: Place | Either, source: Place | Either, size: int) -> None:
        """Copies bytes."""
        if size:
            self.operations.append(Transfer(target, source, size))

    def launch(self, function: str, units: int, places: tuple[Place | Either, ...], sizes: tuple[int, ...]) -> None:
        """Starts a common kernel, a thread for each unit; it writes to the first place."""
        if units:
            accesses = tuple(Access(p, None, n == 0) for n, p in enumerate(places))
            self.operations.append(Start(function, -(-units // THREADS), THREADS, places, sizes, accesses, 0, units))

    def _copy(self, target: str, source: str) -> None:
        self.move(self.place(target), self.place(source), self.bytes(target))

    def _step(self, step: Step) -> None:
        match step:
            case Launch(kernel):
                self._start(kernel)
            case Sort(tensor, operand, descending):
                self._sort(tensor, operand, descending)
            case Copy(target, source):
                self._copy(target, source)
            case Repeat():
                self._repeat(step)

    def _start(self, kernel: Kernel) -> None:
        text = self.texts[kernel].readable
        places = tuple(self.place(b.name) for b in text.buffers)
        accesses = tuple(Access(p, self.bytes(b.name), b.written) for p, b in zip(places, text.buffers))
        known = {} if text.elements is None else {str(ELEMENTS): text.elements}
        blocks, *sizes = (substitute(s, known) for s in (text.grid.blocks, *text.sizes))
        if self.extent(blocks) > 0:
            work = self.extent(kernel.work)
            self.operations.append(Start(kernel, blocks, text.grid.threads, places, tuple(sizes), accesses, text.shared, work))

    def _sort(self, tensor: str, operand: str, descending: bool) -> None:
        kind = self.tensors[operand].kind
        real = {4: "float32", 8: "float64"}[self.bytes_of["float"]]
        function = "sort_" + {"float": real, "int": "int64", "bool": "uint8"}[kind]
        count, total = self.extent(self.tensors[tensor].shape[-1]), self.elements(tensor)
        sizes = (total // max(1, count), count, int(descending))
        self.launch(function, total, (self.place(tensor), self.place(operand)), sizes)

    # ------------------------------------------------------------------------------------------------ scans

    def _repeat(self, loop: Repeat) -> None:
        """The steps of a turn, on places that move from turn to turn."""
        length = self.extent(loop.length)
        if length == 0:
            return
        self._loops += 1
        counter = f"turn{self._loops}"
        around, self.operations = self.operations, []
        self._enter(loop, length, counter)
        for step in loop.steps:
            self._step(step)
        stages, self.operations = tuple((o,) for o in self.operations), around
        # What a scan inside has left where is written anew in each turn, so that each turn may begin as the first does.
        self._moved = {name: place.at(counter, length - 1) for name, place in self._moved.items()}
        for state in loop.states:
            inner, following = (self.memory.get(n, n) for n in (state.inner, state.next))
            self._moved[inner], self._moved[following] = self._moved[following], self._moved[inner]
        self.operations.append(Looped(counter, length, stages))

    def _enter(self, loop: Repeat, length: int, counter: str) -> None:
        """Where the rows, the index and the states of a loop are in a turn of it."""
        first, sign = (length - 1, -1) if loop.reverse else (0, 1)
        for row in loop.rows:
            size = self.bytes(row.inner)
            place = self.place(row.outer).further((first + row.start) * size, counter, sign * size)
            self._moved[self.memory.get(row.inner, row.inner)] = place
        if loop.index:
            self.indices = max(self.indices, length)
            self._moved[loop.index] = Place("(indices)", 8 * first).further(0, counter, 8 * sign)
        for state in loop.states:
            inner, following = (self.memory.get(n, n) for n in (state.inner, state.next))
            now, then = self.place(inner), self.place(following)
            self._moved[inner], self._moved[following] = Either(counter, now, then), Either(counter, then, now)
