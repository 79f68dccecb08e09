"""Kernels of products between transforms (`kernels/transformed.py`): loops over blocks of rows, and in each of them

    for row: for channels: v[cases, row, channels] = ...          vectors of all cases at once
    for case: for lanes: for rows: m[case, rows, lanes] = sum     tiles in registers
    for row: for lanes: y[around row, lanes] = ...                and what follows from it

v and m are memory of the thread's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from diffgraph.ir.affine import affine, divide, index
from diffgraph.ir.dimension import Size, floor_divide, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import alone_index
from diffgraph.kernels.access import address, nodes, strides
from diffgraph.kernels.blocks import size_expr
from diffgraph.kernels.loops import (
    Address,
    Loop,
    Prefetch,
    Statement,
    Tile,
    TileLoad,
    TileStart,
    TileStep,
    TileStore,
    TileValue,
    Unit,
    When,
)
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import Machine
from diffgraph.kernels.transformed import Transformed, every_case, made_cases, results_at, rows_domain
from diffgraph.kernels.vectors import Vectors, in_lanes

#: Bytes of v and m that a thread works on: most of what a core keeps close.
NEAR = 3 << 19

#: Bytes of filters of which each core keeps some in its caches, and the rows for which multiplying by a filter that comes
#: from further away takes as long as that.
KEPT, FETCHING = 1 << 21, 12

#: Rows of a block: more are no better for filters.
MOST_ROWS = 70

#: Lanes of results that are made at a time, where there are many: the transformed filters of so many stay close.
MOST_LANES = 128

#: Rows of a tile, and by how much a tile of so many is slower than the best.
ROWS = {14: 1.0, 12: 1.01, 10: 1.08, 8: 1.12, 7: 1.15, 6: 1.2, 5: 1.3, 4: 1.4}

#: Batches by which a way to cut rows into blocks is judged.
BATCHES = (1, 8, 64)

#: Elements of a cache line; neighbouring cases are an odd number of lines apart, so that they fall into all sets of a cache.
LINE = 16


@dataclass(frozen=True)
class Cut:
    """How rows and lanes are cut: `tile` rows in registers, `block` rows and `lanes` lanes in memory of the thread."""

    tile: int
    block: int
    lanes: int


def cut(rows: Sequence[Size], cases: int, depth: int, lanes: int, machine: Machine) -> Cut:
    """The cut with the least work for the busier of two threads, over some batches."""
    part = MOST_LANES if lanes > MOST_LANES and lanes % MOST_LANES == 0 else lanes
    most = 14 if machine.registers >= 32 else 6
    best, least = None, 0.0
    for tile, slow in ROWS.items():
        for count in range(1, 9):
            block = tile * count
            if tile > most or block > MOST_ROWS or count > 1 and 4 * cases * block * (depth + part) > NEAR:
                continue
            total = 0.0
            for batch in BATCHES:
                every = product(r if isinstance(r, int) else batch for r in rows)
                total += _share(every, block, tile, lanes // part) * slow / every
            # Filters that no near cache keeps come from further away again for each block.
            total *= 1 + min(1.0, 4 * cases * depth * part / KEPT) * FETCHING / block
            if best is None or total < least * 0.995:
                best, least = Cut(tile, block, part), total
    return best


def _share(rows: int, block: int, tile: int, parts: int) -> int:
    """The rows, rounded up to tiles, that the busier of two threads computes."""
    blocks = -(-rows // block)
    sizes = [block] * (blocks - 1) + [rows - (blocks - 1) * block] if blocks < 64 else []
    if not sizes:
        return -(-rows // tile) * tile * parts // 2
    units = [-(-s // tile) * tile for s in sizes] * parts
    half = len(units) // 2
    return max(sum(units[:half]), sum(units[half:]))


class Resident:
    """Writes the kernel of a transformed member and of those that follow it (`nest` is the kernel's `Nest`)."""

    def __init__(self, nest, members: Sequence[Member], machine: Machine):
        self.nest = nest
        self.members = members
        self.machine = machine
        self.made: Transformed = members[0].choice
        self.roles = self.made.roles
        form = self.made.products.piece.form
        self.form = form
        self.extents = [form.domain[k] for k in self.roles.rows]
        self.case_extents = [form.domain[k] for k in self.roles.cases]
        self.cases = product(self.case_extents)
        self.depth, self.lanes = form.domain[self.roles.depth], form.domain[self.roles.lane]
        self.cut = cut(self.extents, self.cases, self.depth, self.lanes, machine)
        self.total = product(self.extents)
        self.block, self.part = nest.new_axis(), nest.new_axis()
        self.signal = self._scratch("signal", self.depth)
        self.sums = self._scratch("sums", self.cut.lanes)

    def statements(self) -> tuple[tuple[Unit, ...], tuple[Statement, ...]]:
        """(units, the statements inside them)."""
        blocks = floor_divide(self.total + (self.cut.block - 1), self.cut.block)
        # Lanes outermost: then a thread has to do with few filters.
        units = (Unit(self.part, self.lanes // self.cut.lanes), Unit(self.block, blocks))
        return units, (self._forward(), self._products(), self._back())

    # ------------------------------------------------------------------------------------------------ memory

    def _scratch(self, what: str, width: int) -> _Scratch:
        """Memory of a thread for [cases, rows of a block, width]."""
        row = -(-width // LINE) * LINE
        case = self.cut.block * row
        case += LINE * (case // LINE % 2 == 0)
        number = self.nest.private(f"{self.members[0].tensor.name}.{what}", case * self.cases)
        return _Scratch(number, case, row)

    # ------------------------------------------------------------------------------------------------ rows

    def _in_rows(self, statements_of) -> Statement:
        """For each row of the block that there is: what `statements_of` gives for its indices (by axis of the products) and
        its number in the block."""
        axis = self.nest.new_axis()
        row = affine(0, ((Index(self.block), self.cut.block), (Index(axis), 1)))
        where, rest = {}, row
        for number, k in reversed(list(enumerate(self.roles.rows))):
            if number == 0:
                where[k] = rest
                break
            where[k] = divide(rest, self.extents[number], None, "mod")
            rest = divide(rest, self.extents[number], None, "floordiv")
        is_there = Call("lt", (row, size_expr(self.total)))
        return Loop(axis, self.cut.block, (When(is_there, statements_of(where, index(axis))),))

    # ------------------------------------------------------------------------------------------------ v

    def _forward(self) -> Statement:
        read = self.roles.signal
        axes = [alone_index(w) for w in self.made.signal[0].piece.form.write]
        piece, bodies = every_case(self.made.signal)
        # Indices of v by those of the products.
        by = {alone_index(p): axis for p, axis in zip(read.place, axes)}

        def row(where, at) -> tuple[Statement, ...]:
            def vector(lane: Affine, columns: int, active) -> list[Statement]:
                here = {by[k]: p for k, p in where.items()} | {by[self.roles.depth]: lane}
                writer = Vectors(self, active)
                lowered = writer.operands(piece, here, by[self.roles.depth])
                for case, body in enumerate(bodies):
                    writer.value(lowered.lower(body), self.signal.at(affine(case), at, lane))
                return writer.statements()

            return in_lanes(self, affine(0), self.depth, 1, vector)

        return self._in_rows(row)

    # ------------------------------------------------------------------------------------------------ m

    def _products(self) -> Statement:
        case, group, depth = (self.nest.new_axis() for _ in range(3))
        size = self.cut.tile
        first = affine(0, ((Index(group), size),))
        where = dict(zip(self.roles.cases, self._digits(case))) | {self.roles.depth: index(depth)}

        def tile(lane: Affine, columns: int, active) -> list[Statement]:
            made = Tile(self.nest.new_tile(), size, columns, self.machine.lanes, False, "sum")
            left = self.signal.at(index(case), first, index(depth))
            left = replace(left, row=self.signal.row, column=0, lane=0)
            at = where | {self.roles.lane: affine(0, ((lane, 1), (Index(self.part), self.cut.lanes)))}
            step = TileStep(made, (left, self._filter(at)), Call("mul", (TileValue(0), TileValue(1))), active)
            target = self.sums.at(index(case), first, lane)
            target = replace(target, row=self.sums.row, column=self.machine.lanes)
            end = TileStore(made, (), (TileValue(0),), ((0, target),), active)
            row = affine(0, ((Index(self.block), self.cut.block), (Index(group), size)))
            steps = (*self._prefetch(at, columns, group, depth), step)
            body = (TileStart(made), Loop(depth, self.depth, steps), end)
            is_there = Call("lt", (row, size_expr(self.total)))
            return [Loop(group, self.cut.block // size, (When(is_there, body),))]

        return Loop(case, self.cases, in_lanes(self, affine(0), self.cut.lanes, 2, tile))

    def _digits(self, case: int) -> list[Affine]:
        """The index of each axis of the cases, from the number of a case."""
        found, rest = [], index(case)
        for extent in reversed(self.case_extents[1:]):
            found.insert(0, divide(rest, extent, None, "mod"))
            rest = divide(rest, extent, None, "floordiv")
        return [rest, *found]

    def _filter(self, where: Mapping[int, Affine]) -> TileLoad:
        """The factor that does not depend on rows, from one lane on."""
        piece, read = self.made.products.piece, self.roles.filter
        shape = piece.form.operands[read.slot].shape
        place = [self.nest.lower_at(p, piece, where) for p in read.place]
        number = self.nest.number(piece.operands[read.slot])
        return TileLoad(number, address(place, shape), 0, self.machine.lanes, 1)

    def _prefetch(self, where: Mapping[int, Affine], columns: int, group: int, depth: int) -> tuple[Prefetch, ...]:
        """What the next lanes read of the filter, which follows in memory, shared out among the tiles and the steps of
        each."""
        tiles, width = self.cut.block // self.cut.tile, self.machine.lanes * columns
        load = self._filter({**where, self.roles.depth: affine(0)})
        if width != self.made.products.piece.form.operands[self.roles.filter.slot].shape[-1]:
            return ()
        share, step = -(-self.depth * width // tiles), max(1, width // tiles)
        terms = (*load.address.terms, (Index(group), share), (Index(depth), step))
        return (Prefetch(load.buffer, Address(load.address.constant + self.depth * width, terms)),)

    # ------------------------------------------------------------------------------------------------ y

    def _back(self) -> Statement:
        form = self.made.back[0].piece.form
        tiles = rows_domain(self.made)
        # What is left of the last row of each scaled index.
        rests = {k: form.domain[k] % s for k, s in self.made.scales.items() if form.domain[k] % s}

        def row(where, at) -> tuple[Statement, ...]:
            rows = self._result_rows(where)
            statements: list[Statement] = []
            for ends in itertools.product((False, True), repeat=len(rests)):
                last = {k for k, end in zip(rests, ends) if end}
                if any(tiles[k] == 1 for k in set(rests) - last):
                    continue
                conditions = [Call("lt", (rows[k], Const(tiles[k] - 1))) for k in rests if tiles[k] > 1]
                conditions = [c if k not in last else Call("not", (c,)) for k, c in zip([k for k in rests if tiles[k] > 1], conditions)]
                body = in_lanes(self, affine(0), self.cut.lanes, 1, lambda *a: self._results(rows, at, last, rests, *a))
                if conditions:
                    body = (When(conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions)), body),)
                statements += body
            return tuple(statements)

        return self._in_rows(row)

    def _result_rows(self, where: Mapping[int, Affine]) -> dict[int, Affine]:
        """The index of each axis of the result (for a scaled one, that of its row), from those of the products."""
        (read, *_) = [n for n in nodes(results_at(self.made, made_cases(self.made)[0])) if type(n) is Read]
        found = {}
        for axis, place in zip(self.form.write, read.place):
            if (k := alone_index(axis)) in where:
                found[alone_index(place)] = where[k]
        return found

    def _results(self, rows, at, last, rests, lane: Affine, columns: int, active) -> list[Statement]:
        """The results around a row, and what follows from them, for the lanes from one on."""
        writer = Vectors(self, active)
        full = affine(0, ((lane, 1), (Index(self.part), self.cut.lanes)))
        axis = self._axes()[self.made.choice.lane]
        for cases in made_cases(self.made):
            if any(k in last and r >= rests[k] for k, r in cases.items()):
                continue
            where = {k: affine(cases.get(k, 0), ((p, self.made.scales.get(k, 1)),)) for k, p in rows.items()} | {axis: full}
            known: dict[str, Expr] = {}
            for member in self.members:
                parts = []
                for piece in member.pieces:
                    here = dict(zip(piece.axes, (where[k] for k in self._axes())))
                    if piece is self._own_piece:
                        parts.append(writer.sums(results_at(self.made, cases), lambda p: self._sum_at(p, at, lane)))
                        continue
                    parts.append(writer.operands(piece, here, piece.axes[self.made.choice.lane], known).lower(piece.form.body))
                body = parts[0] if len(parts) == 1 else Call("add", tuple(parts))
                target = self._target(member, [where[k] for k in self._axes()])
                known[member.tensor.name] = writer.value(body, target)
        return writer.statements()

    def _sum_at(self, place: Sequence[Affine], at: Affine, lane: Affine) -> TileLoad:
        """The sums that are read at a place whose cases are numbers."""
        case = 0
        for axis, p in zip(self.form.write, place):
            if (k := alone_index(axis)) in self.roles.cases:
                case = case * self.form.domain[k] + p.constant
        return self.sums.at(affine(case), at, lane)

    @cached_property
    def _own_piece(self) -> Piece:
        own = self.made.back[0].piece
        return next(p for p in self.members[0].pieces if p.form is own.form and p.operands == own.operands)

    def _axes(self) -> tuple[int, ...]:
        """The axis of the domain of the result's own term for each axis of the result."""
        return self._own_piece.axes

    def _target(self, member: Member, places: Sequence[Affine]) -> TileLoad:
        shape = member.tensor.shape
        place = address(member.lattice.at(places), shape)
        step = strides(shape)[self.made.choice.lane] * member.lattice.steps[self.made.choice.lane]
        return TileLoad(self.nest.number(member.tensor.name), place, 0, step * self.machine.lanes, step)


@dataclass(frozen=True)
class _Scratch:
    """Memory of a thread for [cases, rows, lanes]: its buffer, and how far cases and rows are apart."""

    number: int
    case: int
    row: int

    def at(self, case: Affine, row: Affine, lane: Affine) -> TileLoad:
        """Vectors from a lane on."""
        place = affine(0, ((case, self.case), (row, self.row), (lane, 1)))
        return TileLoad(self.number, Address(place.constant, place.terms), 0, 0, 1)
