"""Sums that windows of others look at: made band by band, so that they never leave the cache of the core that needs them.

    e[n, i, j, c] = act(sum[k](w[c, k] * x[n, i, j, k]))                        first stage
    d[n, h, v, c] = act(sum[p, q](u[c, p, q] * e[n, 2 * h + p, 2 * v + q, c]))  next stage: rows 2 h .. 2 h + 2 of e
    y[n, h, v, o] = sum[c](t[o, c] * d[n, h, v, c])                             last stage

For a band of rows of the last stage, each stage before makes the rows that it needs; what neighbouring bands both need is
made twice. Which tensors are read so is told from access maps alone; whether it pays from the bytes that do not pass
through memory, and the arithmetic that is done twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from diffgraph.ir.affine import affine, interval
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Affine, Index, Read
from diffgraph.ir.form import alone_index
from diffgraph.kernels.access import coefficient, reads, usual
from diffgraph.kernels.chunks import LARGE_FILTER, chunks_of, filter_bytes
from diffgraph.kernels.member import Member, Piece, follows
from diffgraph.kernels.tiles import Machine, choose, imbalance

#: Bytes of the bands of all stages together: they stay in the second cache of a core beside filters.
NEAR = 3 << 18

#: Bytes that pass through memory, and multiply-adds, in the time of a microsecond, all cores together.
BYTES, POINTS = 70_000, 160_000

#: What a kernel that is not started saves, and what each band costs, in microseconds.
START, BAND = 2.0, 0.3

#: Bands pay from so many microseconds on, and from so much of the time of the arithmetic.
LEAST, LEAST_SHARE = 5.0, 0.04

#: Tiles of a single row may be so much slower.
SLOWER = 1.15

#: More stages make kernels that take long to compile.
MOST_STAGES = 3

#: More bands than these are not needed.
MOST_BANDS = 64

#: Bands begin at multiples of so many elements.
PAGE = 1 << 10

FLOAT = 4


#: For each kernel, by number: the memories of its results that something outside of it reads, each with who reads it: under
#: which name, and in which kernel (-1: whoever wants the results).
Outside = dict[int, dict[str, set[tuple[str, int]]]]


@dataclass(frozen=True)
class Reach:
    """Which rows of an operand are read for row h of a result: scale * h + low to scale * h + high."""

    scale: int
    low: int
    high: int


@dataclass(frozen=True)
class Rows:
    """The rows of a stage that a band needs, as its results count them: from scale * band + start, so many."""

    scale: int
    start: int
    count: int


@dataclass(frozen=True)
class Stage:
    """A sum in tiles and what follows from it. reach: of what the stage before makes."""

    members: tuple[Member, ...]
    reach: Reach | None

    @property
    def first(self) -> Member:
        """The sum."""
        return self.members[0]

    @property
    def work(self) -> int:
        """Multiply-adds of the usual sizes, for a single sample."""
        return sum(usual(m.work, 1) for m in self.members)


@dataclass(frozen=True)
class Chain:
    """Stages, each but the last read by the next one only. made: what the next stage reads, of each but the last. axis: the
    position of the rows, in every result."""

    stages: tuple[Stage, ...]
    made: tuple[Member, ...]
    axis: int

    @property
    def members(self) -> tuple[Member, ...]:
        """Those of all stages."""
        return tuple(m for s in self.stages for m in s.members)

    @cached_property
    def extent(self) -> int:
        """The rows of the last stage."""
        return self.stages[-1].first.extents[self.axis]

    def rows(self, size: int) -> list[Rows]:
        """The rows that each stage makes for a band of so many rows of the last one."""
        found = [Rows(size, 0, min(size, self.extent))]
        for stage, made in zip(self.stages[:0:-1], self.made[::-1]):
            after, reach, lattice = found[0], stage.reach, made.lattice
            start = reach.scale * after.start + reach.low - lattice.starts[self.axis]
            count = reach.scale * (after.count - 1) + reach.high - reach.low + 1
            found.insert(0, Rows(reach.scale * after.scale, start, count))
        return found

    def offsets(self, size: int) -> list[int]:
        """Where the bands of each stage but the last begin, in elements, and where all of them end."""
        found = [0]
        for made, rows in zip(self.made, self.rows(size)):
            elements = rows.count * product(made.tensor.shape[self.axis + 1 :])
            found.append(found[-1] + -(-elements // PAGE) * PAGE)
        return found

    def gain(self, size: int, machine: Machine) -> float:
        """Microseconds that bands of a size save for a single sample."""
        saved = 2 * FLOAT * sum(product(usual(e, 1) for e in m.tensor.shape) for m in self.made) / BYTES
        bands = -(-self.extent // size)
        again = sum(
            stage.work / POINTS * (self._computed(stage, rows, bands) / usual(stage.first.extents[self.axis]) - 1)
            for stage, rows in zip(self.stages, self.rows(size))
        )
        every = sum(s.work for s in self.stages) / POINTS
        full, rest = divmod(self.extent, size)
        uneven = every * (imbalance([1.0] * full + [rest / size] * (rest > 0), machine.cores) - 1)
        return saved + START * len(self.made) - again - uneven - BAND * bands

    def _computed(self, stage: Stage, rows: Rows, bands: int) -> int:
        """The rows of a stage that all bands together compute."""
        extent = stage.first.extents[self.axis]
        starts = (rows.scale * b + rows.start for b in range(bands))
        return sum(max(0, min(s + rows.count, extent) - max(s, 0)) for s in starts)

    def best(self, machine: Machine) -> tuple[float, int]:
        """(gain, size) of the best bands; a gain of 0 where none pays."""
        found = (0.0, 0)
        for size in sorted({-(-self.extent // bands) for bands in range(2, MOST_BANDS + 1)}):
            if FLOAT * self.offsets(size)[-1] <= NEAR:
                found = max(found, (self.gain(size, machine), size))
        every = sum(s.work for s in self.stages) / POINTS
        return found if found[0] > max(LEAST, LEAST_SHARE * every) else (0.0, 0)


def chains(
    kernels: Sequence[Sequence[Member]], outside: Outside, machine: Machine
) -> tuple[dict[int, tuple[Chain, int]], set[int]]:
    """(the chains that are better made band by band, with the rows of a band, by the number of their last kernel; the other
    kernels in them). kernels: the members of each, none for those that are not to be looked at."""
    makers: dict[str, list[int]] = {}
    for at, members in enumerate(kernels):
        for name in {m.tensor.name for m in members}:
            makers.setdefault(name, []).append(at)
    found: dict[int, Chain | Stage] = {}
    best: dict[int, tuple[float, int]] = {}
    within: set[int] = set()
    for at, members in enumerate(kernels):
        if (stage := starting(members, machine)) is None:
            continue
        found[at] = stage
        for operand in sorted(members[0].operands):
            (maker, *others) = makers.get(operand, (-1,))
            if maker not in found or others or outside.get(maker) != {operand: {(operand, at)}}:
                continue
            made = next(m for m in kernels[maker] if m.tensor.name == operand)
            chain = joined(found[maker], made, members, machine)
            known, _ = best.get(maker, (0.0, 0))
            if chain is not None and (gain := chain.best(machine))[0] > known:
                found[at], best[at] = chain, gain
                within.add(maker)
                break
    return {at: (found[at], size) for at, (_, size) in best.items() if at not in within}, within


def starting(members: Sequence[Member], machine: Machine) -> Stage | None:
    """A kernel as the first stage of a chain, if it may be one."""
    if not members:
        return None
    first = members[0]
    if first.style != "tile" or sum(bool(p.form.reduced) for p in first.pieces) != 1 or first.choice.along:
        return None
    if chunks_of(first, first.choice, machine) is not None or filter_bytes(first, first.choice) > LARGE_FILTER:
        return None
    return Stage(tuple(members), None)


def joined(chain: Chain | Stage, made: Member, members: Sequence[Member], machine: Machine) -> Chain | None:
    """A chain with a kernel after it that is all that reads `made`, a result of its last stage."""
    last = starting(members, machine)
    stages = (chain,) if isinstance(chain, Stage) else chain.stages
    if last is None or len(stages) >= MOST_STAGES or len(made.pieces) != 1 or made.tensor.kind != "float":
        return None
    others = [p for m in members for p in m.pieces if not p.form.reduced]
    if any(made.tensor.name in p.operands for p in others):
        return None
    (piece,) = (p for p in last.first.pieces if p.form.reduced)
    for axis in range(len(made.tensor.shape)) if isinstance(chain, Stage) else (chain.axis,):
        reach = reach_of(piece, made, axis)
        if reach is None or not all(isinstance(e, int) for e in made.tensor.shape[axis:]):
            continue
        found = [_in_rows(s, axis, machine) for s in (*stages, replace(last, reach=reach))]
        if None not in found:
            earlier = () if isinstance(chain, Stage) else chain.made
            return Chain(tuple(found), (*earlier, made), axis)
    return None


def _in_rows(stage: Stage, axis: int, machine: Machine) -> Stage | None:
    """The stage in tiles that have one row of an axis and one place on each of the axes before it, if they are as good."""
    first, *others = stage.members
    if any(m.extents != first.extents for m in others) or not all(isinstance(e, int) for e in first.extents[axis:]):
        return None
    if all(p is None or p > axis for p in first.choice.positions):
        return stage
    reducing = [p for p in first.pieces if p.form.reduced]
    choice = choose(tuple(p.form for p in reducing), tuple(p.axes for p in reducing), machine, axis + 1)
    if choice is None or choice.along or choice.cost > SLOWER * first.choice.cost:
        return None
    if not all(follows(p, choice) for m in stage.members for p in m.pieces if not p.form.reduced):
        return None
    return replace(stage, members=(replace(first, choice=choice), *others))


def reach_of(piece: Piece, made: Member, axis: int) -> Reach | None:
    """Which rows of an operand a sum reads for each of its own; None where axes before them are not the same in both, or
    the operand is read otherwise."""
    form, own = piece.form, piece.axes
    if any(s != 1 for s in made.lattice.steps) or any(made.lattice.starts[:axis]):
        return None
    if made.lattice.extents[:axis] != made.tensor.shape[:axis]:
        return None
    found: Reach | None = None
    for read in reads(form.body):
        if piece.operands[read.slot] != made.tensor.name:
            continue
        reach = _reach(read, form, own, axis)
        if reach is None:
            return None
        found = reach if found is None else _hull(found, reach)
        if found is None:
            return None
    return found


def _hull(a: Reach, b: Reach) -> Reach | None:
    return Reach(a.scale, min(a.low, b.low), max(a.high, b.high)) if a.scale == b.scale else None


def _reach(read: Read, form, own: Sequence[int], axis: int) -> Reach | None:
    if read.otherwise is not None:
        return None
    if any(alone_index(p) != own[k] for k, p in enumerate(read.place[:axis])):
        return None
    if any(own[k] in p.indices for k in range(axis + 1) for p in read.place[axis + 1 :]):
        return None
    place = read.place[axis]
    scale = coefficient(place, own[axis])
    if not scale or scale < 0 or not place.indices <= {own[axis], *form.reduced}:
        return None
    rest = affine(place.constant, tuple((a, c) for a, c in place.terms if not _is(a, own[axis])))
    low, high = interval(rest, form.domain, form.operands) if rest.terms else (rest.constant, rest.constant)
    return Reach(scale, low, high) if isinstance(low, int) and isinstance(high, int) else None


def _is(atom, axis: int) -> bool:
    return type(atom) is Index and atom.axis == axis


def start_of(rows: Rows, band: Affine, lattice_start: int) -> Affine:
    """The place in a tensor of the first of some rows."""
    return affine(rows.start + lattice_start, ((band, rows.scale),))
