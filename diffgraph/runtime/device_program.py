"""What a step does on a device, as operations on places: which of them need each other, and which may be one.

Operations that touch one place, at least one of them writing, stay in order; all others may be moved past each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from diffgraph.ir.dimension import Size
from diffgraph.kernels.loops import Kernel


@dataclass(frozen=True)
class Place:
    """Bytes of a memory, from an offset on."""

    memory: str
    offset: int = 0


@dataclass(frozen=True)
class Access:
    """What an operation touches: so many bytes from a place on (None: all that follow)."""

    place: Place
    size: int | None
    written: bool

    def meets(self, other: Access) -> bool:
        """Whether the two must stay in order."""
        if self.place.memory != other.place.memory or not (self.written or other.written):
            return False
        low, high = (self, other) if self.place.offset <= other.place.offset else (other, self)
        return low.size is None or high.place.offset < low.place.offset + low.size


@dataclass(frozen=True)
class Start:
    """A kernel of the program, or one of `common.ENTRIES` by name. work: scalar operations, roughly."""

    function: Kernel | str
    blocks: Size
    threads: int
    places: tuple[Place, ...]
    sizes: tuple[Size, ...]
    accesses: tuple[Access, ...] = field(compare=False)
    shared: int = 0
    work: int = 0


@dataclass(frozen=True)
class Transfer:
    """So many bytes from one place to another."""

    target: Place
    source: Place
    size: int

    @property
    def accesses(self) -> tuple[Access, ...]:
        return Access(self.target, self.size, True), Access(self.source, self.size, False)


@dataclass(frozen=True)
class Many:
    """Starts of one kernel, whatever they work on, none of which needs another: one launch."""

    starts: tuple[Start, ...]


@dataclass(frozen=True)
class Together:
    """Everything as one launch: stages one after the other, the starts of a stage at once."""

    stages: tuple[tuple[Start, ...], ...]

    @property
    def starts(self) -> tuple[Start, ...]:
        return tuple(s for stage in self.stages for s in stage)


Single = Start | Transfer
Item = Single | Many | Together


def needs(later: Single, earlier: Single) -> bool:
    """Whether an operation must come after another."""
    return any(a.meets(b) for a in later.accesses for b in earlier.accesses)


class _Levels:
    """The last levels at which each memory was touched."""

    def __init__(self):
        self._touched: dict[str, list[tuple[Access, int]]] = {}

    def level(self, operation: Single) -> int:
        """The first level at which an operation may be: behind everything that it needs."""
        found = 0
        for access in operation.accesses:
            for before, level in self._touched.get(access.place.memory, ()):
                if level >= found and access.meets(before):
                    found = level + 1
        return found

    def note(self, operation: Single, level: int) -> None:
        for access in operation.accesses:
            self._touched.setdefault(access.place.memory, []).append((access, level))


def stages(operations: Sequence[Single]) -> list[list[Single]]:
    """The operations in as few stages as there may be: those of one stage do not need each other."""
    levels = _Levels()
    found: list[list[Single]] = []
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


def parts_of(item: Item) -> list[Sequence[Single]]:
    """The operations of an item, those that run at once together."""
    if isinstance(item, Many):
        return [item.starts]
    return list(item.stages) if isinstance(item, Together) else [(item,)]
