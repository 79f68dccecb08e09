"""Sums over filters that are larger than the nearest cache, strip by strip.

    for panel: for group of tiles:                     units
        for tile of group: lay zeros aside
        for strip of the reduction:                    its part of the filter stays in the nearest cache
            for tile of group:
                take the results up again
                for step of strip: step                what the next strip reads of the filter is prefetched
                lay the results aside
        for tile of group: take the results up again, store

Otherwise each tile goes over the whole filter, and all of it comes from a further cache for each (layers of ResNet-50 with
7 x 7 places: 1.6 times slower).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Expr, Index, Read
from diffgraph.ir.form import Form
from diffgraph.kernels.access import address, usual
from diffgraph.kernels.blocks import Block, joined, of_each, size_expr
from diffgraph.kernels.chunks import LARGE_FILTER, guards_of_factors
from diffgraph.kernels.loops import Loop, Prefetch, Scratch, Slot, Statement, Tile, TilePause, TileStart, When
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import Access, Choice, Machine, accesses_of, loop_order

#: Bytes of a filter that one strip goes over: they stay in the nearest cache beside what else is read.
STRIP = 1 << 15

#: Bytes of the results of a group of tiles.
GROUP = 13 << 10

#: Where a single sample has fewer units than these, groups are made smaller: threads could not share them evenly.
FEW_UNITS = 8

#: Fewer tiles than these do not pay for laying their results aside.
FEW_TILES = 3

FLOAT = 4
LINE = 16


@dataclass(frozen=True)
class Strips:
    """Where a reduction is cut. outer: the axes outside of strips, from the outermost loop inwards; inner: those of which a
    strip has everything, but for the one of `cut`: (axis, how much of it at a time). filter: the read of the filter.
    follows: elements from one strip to the next in memory, where each follows upon the one before, else None."""

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    cut: tuple[int, int] | None
    filter: Read
    follows: int | None

    @property
    def is_one(self) -> bool:
        """Whether one strip is everything."""
        return not self.outer and self.cut is None


def strips_of(member: Member, choice: Choice, machine: Machine) -> Strips | None:
    """The strips of a reduction; None for one that has no large filter, or few tiles that go over it."""
    reducing = [p for p in member.pieces if p.form.reduced]
    if choice.along or choice.column is not None or len(reducing) != 1 or not _is_known(member, choice):
        return None
    (piece,) = reducing
    form, lane = piece.form, piece.axes[choice.lane]
    width = machine.lanes * choice.columns
    if guards_of_factors(piece, lane) or not all(isinstance(form.domain[k], int) for k in form.reduced):
        return None
    filters = [a for a in accesses_of(form) if a.read.indices & form.written == {lane}]
    if len(filters) != 1 or not set(form.reduced) <= filters[0].read.indices:
        return None
    (found,) = filters
    size = FLOAT * product(form.domain[k] for k in found.read.indices)
    if size <= LARGE_FILTER or member.extents[choice.lane] <= width:
        return None
    if product(usual(e) for p, e in enumerate(member.extents) if p != choice.lane) < FEW_TILES * choice.rows:
        return None
    return _cut(form, found, width)


def _is_known(member: Member, choice: Choice) -> bool:
    """Whether rows and lanes have a known length."""
    axes = (choice.lane, *(() if choice.row is None else (choice.row,)))
    return all(isinstance(member.extents[p], int) for p in axes)


def _cut(form: Form, filter: Access, width: int) -> Strips:
    order = loop_order(form)
    most = STRIP // (FLOAT * width)
    inmost = form.domain[order[-1]]
    if inmost > most:
        size = next((d for d in range(most, most // 2, -1) if inmost % d == 0), most)
        inner, cut, steps = order[-1:], (order[-1], size), size
    else:
        inner, cut, steps = order[-1:], None, inmost
        while len(inner) < len(order) and steps * form.domain[order[-len(inner) - 1]] <= most:
            inner = order[-len(inner) - 1 :]
            steps *= form.domain[inner[0]]
    follows = steps * width if _is_dense(form, filter, order, width) else None
    return Strips(order[: len(order) - len(inner)], inner, cut, filter.read, follows)


def _is_dense(form: Form, filter: Access, order: Sequence[int], width: int) -> bool:
    """Whether what the steps of a reduction read for a block of lanes lies one after the other in memory."""
    distance = width
    for axis in reversed(order):
        if filter.strides[axis] != distance:
            return False
        distance *= form.domain[axis]
    return True


class StripWriter:
    """Writes the loops of a tiled member in strips (`tiling` is its `Tiling`)."""

    def __init__(self, tiling, strips: Strips, plain: Sequence[int]):
        self.tiling = tiling
        self.nest = tiling.nest
        self.strips = strips
        self.choice: Choice = tiling.choice
        self.shape = tiling.shape
        self.plain = tuple(plain)
        (self.piece,) = (p for p in tiling.members[0].pieces if p.form.reduced)
        self._arrange()

    def _arrange(self) -> None:
        """Tiles are grouped along the rows, and where these are few also along the last plain axis of known length."""
        choice, lanes = self.choice, self.tiling.machine.lanes
        self.vectors = choice.rows * choice.columns
        most = max(1, GROUP // (self.vectors * lanes * FLOAT))
        self.row_blocks = 1 if choice.row is None else -(-self.shape[choice.row] // choice.rows)
        known = [p for p in self.plain if isinstance(self.shape[p], int)]
        tiles = self.row_blocks * product(self.shape[p] for p in known)
        panels = -(-self.shape[choice.lane] // (lanes * choice.columns))
        while most > 2 and panels * -(-tiles // most) < FEW_UNITS:
            most -= 1
        self.grouped: int | None = None
        self.group_of_rows = _even(self.row_blocks, most)
        self.group_of_plain = 1
        if self.group_of_rows == self.row_blocks and known and most // self.row_blocks > 1:
            self.grouped = known[-1]
            self.group_of_plain = _even(self.shape[self.grouped], most // self.row_blocks)
        self.tiles = self.group_of_rows * self.group_of_plain

    def statements(self):
        """(parallel loops from the outside in, as axis and extent; the statements inside them)."""
        blocks = self.tiling.blocks
        levels = [blocks.lanes, *(blocks.plain(p) for p in self.plain if p != self.grouped), self._groups]
        return blocks.inside(levels, self._group)

    def _groups(self):
        """The level of groups: which group it is, along the grouped axes."""
        loops: list[tuple[int, Size]] = []
        self.first_row = self.first_plain = affine(0)
        for blocks, size, name in (
            (1 if self.grouped is None else self.shape[self.grouped], self.group_of_plain, "first_plain"),
            (self.row_blocks, self.group_of_rows, "first_row"),
        ):
            count = -(-blocks // size)
            if count > 1:
                axis = self.nest.new_axis()
                loops.append((axis, count))
                setattr(self, name, affine(0, ((Index(axis), size),)))
        return loops, [Block({})]

    def _group(self, block: Block) -> tuple[Statement, ...]:
        """The statements of a group of tiles. What is known of them is in the block: lanes, and plain places."""
        strips, tiling = self.strips, self.tiling
        if strips.is_one:

            def whole(tile: Tile, of: Block, slot: Expr) -> tuple[Statement, ...]:
                steps = self._steps(tile, of, slot, {}, None)
                return (TileStart(tile), *steps, tiling.end(tile, of.places, of.active))

            return self._each(block, whole)
        scratch = Scratch(self.nest.new_tile(), self.tiles, self.vectors, tiling.machine.lanes)

        def begin(tile: Tile, of: Block, slot: Expr) -> tuple[Statement, ...]:
            return TileStart(tile), TilePause(tile, Slot(scratch, slot))

        def end(tile: Tile, of: Block, slot: Expr) -> tuple[Statement, ...]:
            return TileStart(tile, Slot(scratch, slot)), tiling.end(tile, of.places, of.active)

        return (*self._each(block, begin), *self._in_strips(block, scratch), *self._each(block, end))

    def _in_strips(self, block: Block, scratch: Scratch) -> tuple[Statement, ...]:
        """The loops over strips; where an axis is not cut evenly, the last strip is a shorter one."""
        domain = self.piece.form.domain
        outer = [(self.nest.new_axis(), k) for k in self.strips.outer]
        where = {k: index(axis) for axis, k in outer}

        def go(start: Affine | None, extent: int | None) -> tuple[Statement, ...]:
            def strip(tile: Tile, of: Block, slot: Expr) -> tuple[Statement, ...]:
                part = None if start is None else (start, extent)
                steps = self._steps(tile, of, slot, where, part)
                return (TileStart(tile, Slot(scratch, slot)), *steps, TilePause(tile, Slot(scratch, slot)))

            return self._each(block, strip)

        if self.strips.cut is None:
            body = go(None, None)
        else:
            axis, size = self.strips.cut
            count, rest = divmod(domain[axis], size)
            number = self.nest.new_axis()
            body = (Loop(number, count, go(affine(0, ((Index(number), size),)), size)),)
            body += go(affine(count * size), rest) if rest else ()
        for axis, k in reversed(outer):
            body = (Loop(axis, domain[k], body),)
        return body

    def _each(self, block: Block, statements_of: Callable) -> tuple[Statement, ...]:
        """Statements for each tile of a group: `statements_of(tile, block, slot)`."""
        loops: list[tuple[int, int]] = []
        conditions: list[Expr] = []

        def numbered(first: Affine, size: int, blocks: int) -> tuple[Affine, Affine]:
            if size == 1:
                return affine(0), first
            axis = self.nest.new_axis()
            loops.append((axis, size))
            number = affine(0, ((first, 1), (Index(axis), 1)))
            if blocks % size:
                conditions.append(Call("lt", (number, size_expr(blocks))))
            return index(axis), number

        plain_extent = 1 if self.grouped is None else self.shape[self.grouped]
        plain_at, plain = numbered(self.first_plain, self.group_of_plain, plain_extent)
        row_at, row = numbered(self.first_row, self.group_of_rows, self.row_blocks)
        slot = affine(0, ((plain_at, self.group_of_rows), (row_at, 1)))
        kinds = [block if self.grouped is None else joined([block], [Block({self.grouped: plain})])[0]]
        # The conditions of the block are those under which all of this happens.
        kinds = [Block(k.places, k.rows, k.columns, k.active) for k in kinds]
        if self.choice.row is not None:
            kinds = joined(kinds, self.tiling.blocks.rows_at(row))

        def tile(of: Block) -> tuple[Statement, ...]:
            choice, op = self.choice, self.piece.form.op
            made = Tile(self.nest.new_tile(), of.rows, of.columns, self.tiling.machine.lanes, choice.along, op)
            return statements_of(made, of, slot)

        body = of_each(kinds, tile)
        if conditions:
            body = (When(conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions)), body),)
        for axis, extent in reversed(loops):
            body = (Loop(axis, extent, body),)
        return body

    def _steps(self, tile: Tile, of: Block, slot: Expr, where: Mapping[int, Affine], part) -> tuple[Statement, ...]:
        """The steps of a strip. part: (start, extent) of the axis that is cut."""
        piece, domain = self.piece, self.piece.form.domain
        at = {piece.axes[p]: place for p, place in of.places.items()} | where
        loops = [(self.nest.new_axis(), k) for k in self.strips.inner]
        extents = {k: domain[k] for k in self.strips.inner}
        begins = {k: affine(0) for k in self.strips.inner}
        if part is not None:
            begins[self.strips.cut[0]], extents[self.strips.cut[0]] = part
        places = {k: affine(0, ((begins[k], 1), (Index(axis), 1))) for axis, k in loops}
        body = self.tiling.step(tile, piece, at | places, of.active)
        if self.strips.follows is not None and self.tiles > 1:
            body = (self._prefetch(piece, at | begins, slot, loops), *body)
        for axis, k in reversed(loops):
            body = (Loop(axis, extents[k], body),)
        return body

    def _prefetch(self, piece: Piece, where: Mapping[int, Affine], slot: Expr, loops) -> Prefetch:
        """What the next strip reads of the filter, shared out evenly among the tiles of a group, and the steps of each."""
        read, follows = self.strips.filter, self.strips.follows
        place = [self.nest.lower_at(p, piece, where) for p in read.place]
        base = address(place, piece.form.operands[read.slot].shape)
        width = self.tiling.machine.lanes * self.choice.columns
        share, step = -(-follows // self.tiles), min(LINE, -(-width // self.tiles))
        terms = [*base.terms, (slot, share)]
        for axis, k in reversed(loops):
            terms.append((Index(axis), step))
            step *= piece.form.domain[k]
        return Prefetch(self.nest.number(piece.operands[read.slot]), type(base)(base.constant + follows, tuple(terms)))


def _even(count: int, most: int) -> int:
    """The size of groups of at most so many that are as equal as can be."""
    if count <= most:
        return count
    fitting = [d for d in range(most, most // 2, -1) if count % d == 0]
    return fitting[0] if fitting else -(-count // -(-count // most))
