"""Launches of a device for the items of a plan: kernels alone, one kernel on many tensors, or a whole step as one launch.

Small programs are one launch, which makes as many steps as it is asked for: starting a kernel takes longer than most of
theirs run. The smallest are one block, whose threads meet at once; others are as many blocks as the device holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffgraph.kernels.loops import Kernel
from diffgraph.runtime.device_library import DeviceLibrary, Texts
from diffgraph.runtime.device_program import Item, Many, Place, Single, Start, Together, Transfer, stages
from diffgraph.targets.cuda import common, operations
from diffgraph.targets.cuda.module import Call, Part, many, together
from diffgraph.targets.cuda.words import NAMES

#: Programs of more scalar operations than this, or of more kernels, are a launch for each. Estimates, not measured: a
#: meeting of all blocks takes about as long as the start of a kernel in a graph, and large kernels want all registers.
MOST_WORK = 1 << 27
MOST_STARTS = 64

#: Up to so many scalar operations, one block does it all.
WORK_OF_ONE_BLOCK = 1 << 18

#: A launch takes 4096 bytes of arguments.
MOST_ARGUMENTS = 500

#: Steps of one launch: a device does nothing else meanwhile.
MOST_STEPS = 256

#: Where the blocks of a launch meet: a word that is 0 before the first launch.
MEETING = "(meeting)"


def may_be_one(planner) -> bool:
    """Whether the operations of a planner are small enough to be one launch."""
    found = planner.operations
    if not 1 < len(found) <= MOST_STARTS:
        return False
    places = {p for o in found for p in (o.places if isinstance(o, Start) else (o.target, o.source))}
    sizes = {s for o in found if isinstance(o, Start) for s in (*o.sizes, o.blocks)}
    work = sum(o.work if isinstance(o, Start) else o.size // 4 for o in found)
    return work <= MOST_WORK and len(places) + len(sizes) + 8 <= MOST_ARGUMENTS


def as_one(found: Sequence[Single]) -> Together:
    """Operations as one launch."""
    return Together(tuple(tuple(_start(o) for o in stage) for stage in stages(found)))


def _start(o: Single) -> Start:
    """An operation as a kernel."""
    if isinstance(o, Start):
        return o
    whole = o.size % 4 == 0 and o.target.offset % 4 == 0 and o.source.offset % 4 == 0
    kind, count = ("uint32", o.size // 4) if whole else ("uint8", o.size)
    blocks = -(-count // common.THREADS)
    return Start(f"move_{kind}", blocks, common.THREADS, (o.target, o.source), (count,), o.accesses, 0, count)


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
        return [self._item(item, steps) for item in items]

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
        function = start.function
        code = self.library.entry(function) if isinstance(function, str) else self.library.function(self.texts[function])
        places, sizes = tuple(map(self._at, start.places)), tuple(map(self.extent, start.sizes))
        return operations.Launch(code, self.extent(start.blocks), start.threads, places, sizes, start.shared)

    def _many(self, starts: Sequence[Start]) -> operations.Launch:
        """One kernel on many tensors: a table says which blocks work on which."""
        texts = [self.texts[s.function] for s in starts]
        readable, unnamed = (many(t.part, t.parameters) for t in (texts[0].readable, texts[0].plain))
        threads = starts[0].threads
        code = self.library.load(unnamed, readable, ("int64",), 1, threads)
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
        readable, unnamed = (Arguments(self, item, named) for named in (True, False))
        kinds = ("uint32", *readable.kinds.values())
        sizes = [self.extent(s) for s in readable.sizes]
        code = self.library.load(unnamed.text(threads), readable.text(threads), kinds, len(sizes) + 1, threads)
        places = [self.address(MEETING), *(self._at(place) for place, _ in readable.places)]
        blocks = 1
        if sum(s.work for s in starts) > WORK_OF_ONE_BLOCK:
            wanted = max(sum(self.extent(s.blocks) for s in stage) for stage in item.stages)
            blocks = max(1, min(wanted, self.library.driver.most_together(code, threads, shared)))
        return operations.Launch(code, blocks, threads, tuple(places), (*sizes, steps), shared, blocks > 1)


class Arguments:
    """The arguments of one launch: a name for each place (as a type) and for each size that is not a number."""

    def __init__(self, launches: Launches, item: Together, named: bool):
        self.launches = launches
        self.item = item
        self.named = named
        self.places: dict[tuple[Place, str], str] = {}
        self.kinds: dict[str, str] = {}
        self.sizes: dict[object, str] = {}
        self._taken = set(NAMES)
        self._parts: dict[str, int] = {}
        self._texts: list[Part] = []
        self.stages = [[self._call(s) for s in stage] for stage in item.stages]

    def text(self, threads: int) -> str:
        """The module."""
        arguments = (*self.places.values(), *self.sizes.values())
        return together(self._texts, self.stages, arguments, threads)

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

    def _place(self, place: Place, kind: str) -> str:
        key = place, kind
        if key not in self.places:
            name = self.places[key] = self._name(place.memory if self.named else f"a{len(self.places)}")
            self.kinds[name] = kind
        return self.places[key]

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
