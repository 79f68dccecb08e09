"""What a step does on a device, as operations on places: which of them need each other, and which may be one.

Operations that touch one place, at least one of them writing, stay in order; all others may be moved past each other.
The turns of a scan are one operation, whose places move with a counter; they can be written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from diffgraph.ir.dimension import Size
from diffgraph.kernels.loops import Kernel


@dataclass(frozen=True)
class Place:
    """Bytes of a memory, from an offset on. moves: in each turn of the loop of a counter, so many bytes further on."""

    memory: str
    offset: int = 0
    moves: tuple[tuple[str, int], ...] = ()

    @property
    def memories(self) -> tuple[str, ...]:
        return (self.memory,)

    def further(self, size: int, counter: str | None = None, each: int = 0) -> Place:
        """The place some bytes further on, and `each` more in each turn of a loop."""
        moves = self.moves if counter is None else (*self.moves, (counter, each))
        return Place(self.memory, self.offset + size, moves)

    def at(self, counter: str, turn: int) -> Place:
        """The place in one turn of a loop."""
        more = sum(each for name, each in self.moves if name == counter)
        return Place(self.memory, self.offset + turn * more, tuple(m for m in self.moves if m[0] != counter))


@dataclass(frozen=True)
class Either:
    """One place in the even turns of a loop, counted from 0, and another in the odd ones."""

    counter: str
    even: Place | Either
    odd: Place | Either

    @property
    def memories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.even.memories, *self.odd.memories)))

    def further(self, size: int, counter: str | None = None, each: int = 0) -> Either:
        """See `Place.further`."""
        even, odd = (p.further(size, counter, each) for p in (self.even, self.odd))
        return Either(self.counter, even, odd)

    def at(self, counter: str, turn: int) -> Place | Either:
        """See `Place.at`."""
        even, odd = (p.at(counter, turn) for p in (self.even, self.odd))
        if counter == self.counter:
            return odd if turn % 2 else even
        return Either(self.counter, even, odd)


def _pairs(a: Place | Either, b: Place | Either) -> Iterator[tuple[Place, Place]]:
    """The places that two may be at once."""
    if isinstance(a, Either):
        if isinstance(b, Either) and b.counter == a.counter:
            yield from _pairs(a.even, b.even)
            yield from _pairs(a.odd, b.odd)
        else:
            yield from _pairs(a.even, b)
            yield from _pairs(a.odd, b)
    elif isinstance(b, Either):
        yield from ((one, other) for other, one in _pairs(b, a))
    else:
        yield a, b


@dataclass(frozen=True)
class Access:
    """What an operation touches: so many bytes from a place on (None: all that follow)."""

    place: Place | Either
    size: int | None
    written: bool

    def meets(self, other: Access) -> bool:
        """Whether the two must stay in order, in one turn of the loops that they are in."""
        if not (self.written or other.written):
            return False
        return any(_overlap(a, self.size, b, other.size) for a, b in _pairs(self.place, other.place))

    def at(self, counter: str, turn: int) -> Access:
        """The access in one turn of a loop."""
        return Access(self.place.at(counter, turn), self.size, self.written)


def _overlap(a: Place, size_of_a: int | None, b: Place, size_of_b: int | None) -> bool:
    """Whether two places may have a byte in common."""
    if a.memory != b.memory:
        return False
    if a.moves != b.moves:
        return True
    (low, size), (high, _) = ((a, size_of_a), (b, size_of_b)) if a.offset <= b.offset else ((b, size_of_b), (a, size_of_a))
    return size is None or high.offset < low.offset + size


@dataclass(frozen=True)
class Start:
    """A kernel of the program, or one of `common.ENTRIES` by name. work: scalar operations, roughly."""

    function: Kernel | str
    blocks: Size
    threads: int
    places: tuple[Place | Either, ...]
    sizes: tuple[Size, ...]
    accesses: tuple[Access, ...] = field(compare=False)
    shared: int = 0
    work: int = 0

    def at(self, counter: str, turn: int) -> Start:
        """The start in one turn of a loop."""
        places = tuple(p.at(counter, turn) for p in self.places)
        return replace(self, places=places, accesses=tuple(a.at(counter, turn) for a in self.accesses))


@dataclass(frozen=True)
class Transfer:
    """So many bytes from one place to another."""

    target: Place | Either
    source: Place | Either
    size: int

    @property
    def accesses(self) -> tuple[Access, ...]:
        return Access(self.target, self.size, True), Access(self.source, self.size, False)

    @property
    def work(self) -> int:
        """Scalar operations, roughly."""
        return self.size // 4

    def at(self, counter: str, turn: int) -> Transfer:
        """The transfer in one turn of a loop."""
        return Transfer(self.target.at(counter, turn), self.source.at(counter, turn), self.size)


@dataclass(frozen=True)
class Looped:
    """for counter in range(length): the stages, one after the other; the operations of a stage at once."""

    counter: str
    length: int
    stages: tuple[tuple[Single | Looped, ...], ...]

    @property
    def accesses(self) -> tuple[Access, ...]:
        """All turns together: the whole of each memory."""
        written: dict[str, bool] = {}
        for access in (a for stage in self.stages for o in stage for a in o.accesses):
            for memory in access.place.memories:
                written[memory] = written.get(memory, False) or access.written
        return tuple(Access(Place(memory), None, w) for memory, w in written.items())

    @property
    def work(self) -> int:
        """Scalar operations, roughly."""
        return self.length * sum(o.work for stage in self.stages for o in stage)

    def at(self, counter: str, turn: int) -> Looped:
        """The loop in one turn of another one around it."""
        stages = tuple(tuple(o.at(counter, turn) for o in stage) for stage in self.stages)
        return Looped(self.counter, self.length, stages)

    def turns(self) -> Iterator[Single]:
        """All turns, written out."""
        for turn in range(self.length):
            yield from written_out(o.at(self.counter, turn) for stage in self.stages for o in stage)


@dataclass(frozen=True)
class Many:
    """Starts of one kernel, whatever they work on, none of which needs another: one launch."""

    starts: tuple[Start, ...]


@dataclass(frozen=True)
class Together:
    """Everything as one launch: stages one after the other, the starts of a stage at once."""

    stages: tuple[tuple[Start | Looped, ...], ...]

    @property
    def starts(self) -> tuple[Start, ...]:
        """Each start once, those in loops too."""
        return tuple(s for stage in self.at_once for s in stage)

    @property
    def at_once(self) -> list[tuple[Start, ...]]:
        """The starts of each stage, those of loops too."""
        return _at_once(self.stages)

    @property
    def work(self) -> int:
        """Scalar operations of a step, roughly."""
        return sum(o.work for stage in self.stages for o in stage)


Single = Start | Transfer
Operation = Single | Looped
Item = Single | Many | Together


def _at_once(stages: Sequence[Sequence[Operation]]) -> list[tuple[Start, ...]]:
    found = []
    for stage in stages:
        found.append(tuple(o for o in stage if not isinstance(o, Looped)))
        found += [inner for o in stage if isinstance(o, Looped) for inner in _at_once(o.stages)]
    return found


def meetings(stages: Sequence[Sequence[Operation]]) -> int:
    """How often all that is at once ends, turn by turn."""
    inside = sum(o.length * meetings(o.stages) for stage in stages for o in stage if isinstance(o, Looped))
    return len(stages) + inside


def written_out(operations) -> Iterator[Single]:
    """The operations without loops, one after the other."""
    for operation in operations:
        if isinstance(operation, Looped):
            yield from operation.turns()
        else:
            yield operation


def singles(operations: Sequence[Operation]) -> Iterator[Single]:
    """Each operation once, those in loops too."""
    for operation in operations:
        if isinstance(operation, Looped):
            for stage in operation.stages:
                yield from singles(stage)
        else:
            yield operation


def needs(later: Operation, earlier: Operation) -> bool:
    """Whether an operation must come after another."""
    return any(a.meets(b) for a in later.accesses for b in earlier.accesses)


class _Levels:
    """The last levels at which each memory was touched."""

    def __init__(self):
        self._touched: dict[str, list[tuple[Access, int]]] = {}

    def level(self, operation: Operation) -> int:
        """The first level at which an operation may be: behind everything that it needs."""
        found = 0
        for access in operation.accesses:
            for memory in access.place.memories:
                for before, level in self._touched.get(memory, ()):
                    if level >= found and access.meets(before):
                        found = level + 1
        return found

    def note(self, operation: Operation, level: int) -> None:
        for access in operation.accesses:
            for memory in access.place.memories:
                self._touched.setdefault(memory, []).append((access, level))


def stages(operations: Sequence[Operation]) -> list[list[Operation]]:
    """The operations in as few stages as there may be: those of one stage do not need each other."""
    levels = _Levels()
    found: list[list[Operation]] = []
    for operation in operations:
        level = levels.level(operation)
        levels.note(operation, level)
        if level == len(found):
            found.append([])
        found[level].append(operation)
    return found


def merged(operations: Sequence[Single], code_of) -> list[Single | Many]:
    """Starts of one kernel that do not need each other as one, at the place of the last of them. code_of(operation): what
    tells kernels apart; None for operations that stay alone."""
    result: list[Single | Many] = []
    waiting: dict[object, list[Start]] = {}

    def leave(code) -> None:
        starts = waiting.pop(code)
        result.append(starts[0] if len(starts) == 1 else Many(tuple(starts)))

    for operation in operations:
        for code in [c for c, starts in waiting.items() if any(needs(operation, s) for s in starts)]:
            leave(code)
        code = code_of(operation)
        if code is None:
            result.append(operation)
        else:
            waiting.setdefault(code, []).append(operation)
    for code in list(waiting):
        leave(code)
    return result


def parts_of(item: Item) -> list[Sequence[Operation]]:
    """The operations of an item, those that run at once together."""
    if isinstance(item, Many):
        return [item.starts]
    return list(item.stages) if isinstance(item, Together) else [(item,)]
