"""Launches of a device for the items of a plan: kernels alone, one kernel on many tensors, or a whole step as one launch.

Small programs are one launch, which makes as many steps as it is asked for: starting a kernel takes longer than most of
theirs run. The smallest are one block, whose threads meet at once; others are as many blocks as the device holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffgraph.kernels.loops import Kernel
from diffgraph.runtime.device_library import DeviceLibrary, Source, Texts
from diffgraph.runtime.device_program import (
    Either,
    Item,
    Looped,
    Many,
    Operation,
    Place,
    Start,
    Together,
    Transfer,
    meetings,
    singles,
    stages,
)
from diffgraph.targets.cuda import common, operations
from diffgraph.targets.cuda.module import Call, Loop, Part, many, together
from diffgraph.targets.cuda.words import NAMES

#: Programs of more scalar operations than this, or of more kernels, are a launch for each. Estimates, not measured: a
#: meeting of all blocks takes about as long as the start of a kernel in a graph, and large kernels want all registers.
MOST_WORK = 1 << 27
MOST_STARTS = 64

#: Up to so many scalar operations between two meetings of all, one block does it all; a few meetings count as so many.
WORK_OF_ONE_BLOCK = 1 << 13
FEW_MEETINGS = 32

#: A launch takes 4096 bytes of arguments.
MOST_ARGUMENTS = 500

#: Steps of one launch, and their scalar operations: a device does nothing else meanwhile.
MOST_STEPS = 256
MOST_WORK_OF_LAUNCH = 1 << 35

#: Where the blocks of a launch meet: a word that is 0 before the first launch.
MEETING = "(meeting)"


def may_be_one(found: Sequence[Operation]) -> bool:
    """Whether operations are small enough to be one launch: all together, or, where loops make them many, each."""
    once = list(singles(found))
    if not 1 < len(once) <= MOST_STARTS:
        return False
    places = {p for o in once for p in (o.places if isinstance(o, Start) else (o.target, o.source))}
    sizes = {s for o in once if isinstance(o, Start) for s in (*o.sizes, o.blocks)}
    if 2 * len(places) + len(sizes) + 8 > MOST_ARGUMENTS:
        return False
    work = sum(o.work for o in found)
    return work <= max(MOST_WORK, MOST_WORK // MOST_STARTS * meetings([[o] for o in found]))


def as_one(found: Sequence[Operation]) -> Together:
    """Operations as one launch."""
    return Together(_staged(found))


def _staged(found: Sequence[Operation]) -> tuple[tuple[Start | Looped, ...], ...]:
    return tuple(tuple(map(_in_launch, stage)) for stage in stages(found))


def _in_launch(o: Operation) -> Start | Looped:
    """An operation as what a launch is made of."""
    if isinstance(o, Looped):
        return Looped(o.counter, o.length, _staged([inner for stage in o.stages for inner in stage]))
    return o if isinstance(o, Start) else _start(o)


def most_steps(item: Together) -> int:
    """How many steps one launch may make."""
    return max(1, min(MOST_STEPS, MOST_WORK_OF_LAUNCH // max(1, item.work)))


def _start(o: Transfer) -> Start:
    """A transfer as a kernel."""
    whole = o.size % 4 == 0 and all(map(_is_word, (o.target, o.source)))
    kind, count = ("uint32", o.size // 4) if whole else ("uint8", o.size)
    blocks = -(-count // common.THREADS)
    return Start(f"move_{kind}", blocks, common.THREADS, (o.target, o.source), (count,), o.accesses, 0, count)


def _is_word(place: Place | Either) -> bool:
    """Whether a place is at a multiple of four bytes, always."""
    if isinstance(place, Either):
        return _is_word(place.even) and _is_word(place.odd)
    return place.offset % 4 == 0 and all(each % 4 == 0 for _, each in place.moves)


@dataclass(frozen=True)
class Launches:
    """What launches are made of. address: of each memory. extent: a size as a number. keep: puts an array on the device, and
    gives its address."""

    library: DeviceLibrary
    texts: Mapping[Kernel, Texts]
    address: Callable[[str], int]
    extent: Callable
    keep: Callable[[np.ndarray], int]

    def of(self, items: Sequence[Item], steps: int = 1) -> list[operations.Operation]:
        """The operations of a device for the items; `steps`: how often a single launch for all repeats itself."""
        self.library.ready(source for source in map(self.source, items) if source is not None)
        return [self._item(item, steps) for item in items]

    def source(self, item: Item) -> Source | None:
        """The kernel of an item; None for a transfer."""
        match item:
            case Transfer():
                return None
            case Start(function):
                return Source.of(function if isinstance(function, str) else self.texts[function])
            case Many(starts):
                texts = self.texts[starts[0].function]
                readable, unnamed = (many(t.part, t.parameters) for t in (texts.readable, texts.plain))
                return Source(unnamed, readable, ("int64",), 1, starts[0].threads)
        threads = max(s.threads for s in item.starts)
        readable, unnamed = (Arguments(self, item, named) for named in (True, False))
        kinds = ("uint32", *readable.kinds.values())
        return Source(unnamed.text(threads), readable.text(threads), kinds, len(readable.values) + 1, threads)

    def _item(self, item: Item, steps: int) -> operations.Operation:
        match item:
            case Transfer(target, source, size):
                return operations.Move(self._at(target), self._at(source), size)
            case Start():
                return self._alone(item)
            case Many(starts):
                return self._many(starts)
        return self._together(item, steps)

    def _at(self, place: Place) -> int:
        return self.address(place.memory) + place.offset

    def _alone(self, start: Start) -> operations.Launch:
        code = self.library.load(self.source(start))
        places, sizes = tuple(map(self._at, start.places)), tuple(map(self.extent, start.sizes))
        return operations.Launch(code, self.extent(start.blocks), start.threads, places, sizes, start.shared)

    def _many(self, starts: Sequence[Start]) -> operations.Launch:
        """One kernel on many tensors: a table says which blocks work on which."""
        code, threads = self.library.load(self.source(Many(tuple(starts)))), starts[0].threads
        rows = [[*map(self._at, s.places), *map(self.extent, s.sizes)] for s in starts]
        counts = [self.extent(s.blocks) for s in starts]
        width = len(rows[0])
        blocks = [(number * width << 32) | b for number, count in enumerate(counts) for b in range(count)]
        table = self.keep(np.array([*(w for row in rows for w in row), *blocks], np.int64))
        return operations.Launch(code, len(blocks), threads, (table,), (width * len(rows),), starts[0].shared)

    # ------------------------------------------------------------------------------------------------- together

    def _together(self, item: Together, steps: int) -> operations.Launch:
        starts = item.starts
        threads, shared = max(s.threads for s in starts), max(s.shared for s in starts)
        arguments, code = Arguments(self, item, True), self.library.load(self.source(item))
        sizes = arguments.values
        places = [self.address(MEETING), *(self._at(place) for place, _ in arguments.places)]
        blocks = 1
        if item.work > WORK_OF_ONE_BLOCK * max(FEW_MEETINGS, meetings(item.stages)):
            wanted = max(sum(self.extent(s.blocks) for s in stage) for stage in item.at_once)
            blocks = max(1, min(wanted, self.library.driver.most_together(code, threads, shared)))
        return operations.Launch(code, blocks, threads, tuple(places), (*sizes, steps), shared, blocks > 1)


class Arguments:
    """The arguments of one launch: a name for each place (as a type), for each size that is not a number, and for the lengths
    of loops and how far their places move."""

    def __init__(self, launches: Launches, item: Together, named: bool):
        self.launches = launches
        self.item = item
        self.named = named
        self.places: dict[tuple[Place, str], str] = {}
        self.kinds: dict[str, str] = {}
        self.sizes: dict[object, str] = {}
        self.numbers: dict[int, str] = {}
        self._counters: dict[str, str] = {}
        self._taken = set(NAMES)
        self._parts: dict[str, int] = {}
        self._texts: list[Part] = []
        self.stages = self._stages(item.stages)

    def text(self, threads: int) -> str:
        """The module."""
        arguments = (*self.places.values(), *self.sizes.values(), *self.numbers.values())
        return together(self._texts, self.stages, arguments, threads)

    @property
    def values(self) -> list[int]:
        """The numbers of the launch that follow the addresses; how many steps follows them."""
        return [*(self.launches.extent(s) for s in self.sizes), *self.numbers]

    def _stages(self, stages: Sequence[Sequence[Start | Looped]]) -> list[list[Call | Loop]]:
        return [[self._loop(o) if isinstance(o, Looped) else self._call(o) for o in stage] for stage in stages]

    def _loop(self, loop: Looped) -> Loop:
        counter = self._counters[loop.counter] = self._name(f"turn{len(self._counters)}")
        return Loop(counter, self._number(loop.length), self._stages(loop.stages))

    def _call(self, start: Start) -> Call:
        if isinstance(start.function, str):
            entry = common.ENTRIES[start.function]
            key, part, kinds = entry.source, entry.part, entry.parameters
        else:
            texts = self.launches.texts[start.function]
            key, kinds = texts.plain.source, texts.plain.parameters
            part = (texts.readable if self.named else texts.plain).part
        if key not in self._parts:
            self._parts[key] = len(self._texts)
            self._texts.append(part)
        places = (self._place(p, kind) for p, kind in zip(start.places, kinds))
        arguments = (*places, *map(self._size, start.sizes))
        return Call(self._parts[key], arguments, self._size(start.blocks), start.threads)

    def _place(self, place: Place | Either, kind: str) -> str:
        if isinstance(place, Either):
            even, odd = (self._place(p, kind) for p in (place.even, place.odd))
            return f"either({self._counters[place.counter]}, {even}, {odd})"
        key = Place(place.memory, place.offset), kind
        if key not in self.places:
            name = self.places[key] = self._name(place.memory if self.named else f"a{len(self.places)}")
            self.kinds[name] = kind
        text = self.places[key]
        for counter, each in place.moves:
            text = f"moved({text}, {self._counters[counter]}, {self._number(each)})"
        return text

    def _number(self, number: int) -> str:
        if number not in self.numbers:
            wanted = f"number_{number}".replace("-", "minus_") if self.named else f"m{len(self.numbers)}"
            self.numbers[number] = self._name(wanted)
        return self.numbers[number]

    def _size(self, size) -> str:
        if isinstance(size, int):
            return str(size)
        if size not in self.sizes:
            self.sizes[size] = self._name(str(size) if self.named else f"n{len(self.sizes)}")
        return self.sizes[size]

    def _name(self, wanted: str) -> str:
        name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in wanted).strip("_")[:60] or "a"
        name = f"t{name}" if name[0].isdigit() else name
        while name in self._taken or name.startswith("part_"):
            name += "_"
        self._taken.add(name)
        return name
