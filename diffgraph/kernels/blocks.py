"""Blocks of results, each of which is one tile: where they are, and which of them are smaller."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, floor_divide
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index
from diffgraph.kernels.loops import Lanes, Statement, When, nested
from diffgraph.kernels.tiles import Choice, Machine

Loops = list[tuple[int, Size]]


@dataclass(frozen=True)
class Block:
    """A block of results, as far as it is known: where it is on each axis of the result, how large the tile is, which of
    its lanes are active; the conditions under which it is that block, loops inside of these, and conditions inside of the
    loops."""

    places: Mapping[int, Affine]
    rows: int = 1
    columns: int = 1
    active: Lanes | None = None
    conditions: tuple[Expr, ...] = ()
    loops: tuple[tuple[int, Size], ...] = ()
    inner: tuple[Expr, ...] = ()


#: A level of loops: the loops, as axis and extent, and the kinds of blocks that there are in them.
Level = Callable[[], tuple[Loops, list[Block]]]


class Blocks:
    """The levels of loops over the results of a shape. `new_axis` gives axes of the kernel that are not in use."""

    def __init__(self, shape: Sequence[Size], choice: Choice, machine: Machine, new_axis: Callable[[], int]):
        self.shape = shape
        self.choice = choice
        self.machine = machine
        self.new_axis = new_axis

    def inside(
        self, levels: Sequence[Level], statements_of: Callable, within: Block = Block({})
    ) -> tuple[Loops, tuple[Statement, ...]]:
        """The loops of some levels, and in them the statements that `statements_of` gives for each kind of block. within:
        what is known of the blocks before; its own conditions and loops are around all of this."""
        loops: list[tuple[int, Size]] = []
        blocks = [replace(within, conditions=(), loops=(), inner=())]
        for level in levels:
            loop, made = level()
            loops += loop
            blocks = joined(blocks, made)
        return loops, of_each(blocks, statements_of)

    def level(self, position: int):
        """A level: the places on a position of the result, block by block where a tile has more than one of them."""
        choice = self.choice
        if position == choice.column:
            return self.even(position, choice.columns, choice.columns)
        if position == choice.lane and not choice.along:
            return self.lanes if choice.column is None else self.even(position, self.machine.lanes)
        return self.rows if position == choice.row else self.plain(position)

    def even(self, position: int, size: int, columns: int = 1):
        """A level: so many places at a time, which leaves nothing over."""

        def level():
            axis = self.new_axis()
            place = affine(0, ((Index(axis), size),))
            return [(axis, floor_divide(self.shape[position], size))], [Block({position: place}, columns=columns)]

        return level

    def plain(self, position: int):
        """A level: one place after the other."""

        def level():
            axis = self.new_axis()
            return [(axis, self.shape[position])], [Block({position: index(axis)})]

        return level

    def rows(self):
        """A level: blocks of rows; where the last one is smaller, it is of another kind."""
        axis = self.new_axis()
        extent = self.shape[self.choice.row]
        return [(axis, floor_divide(extent + self.choice.rows - 1, self.choice.rows))], self.rows_at(index(axis))

    def rows_at(self, number: Affine) -> list[Block]:
        """The kinds that the block of rows of a number may be of."""
        position, size = self.choice.row, self.choice.rows
        extent = self.shape[position]
        full = floor_divide(extent, size)
        rest = extent - full * size
        place = affine(0, ((number, size),))
        if rest == 0:
            return [Block({position: place}, rows=size)]
        whole, last = _whole_or_last(number, full)
        blocks = [Block({position: place}, rows=size, conditions=whole)]
        if isinstance(rest, int):
            return [*blocks, Block({position: fixed_place(full * size)}, rows=rest, conditions=last)]
        # What is left is not known: a half if there is one, and then one by one.
        half, once, one = size // 2, self.new_axis(), self.new_axis()
        halves = floor_divide(rest, half)
        blocks.append(Block({position: fixed_place(full * size)}, half, 1, None, last, ((once, halves),)))
        place = affine(0, ((Index(one), 1), (size_expr(full * size + half * halves), 1)))
        return [*blocks, Block({position: place}, conditions=last, loops=((one, rest - half * halves),))]

    def rows_in_groups(self, size: int):
        """Two levels: groups of so many blocks of rows, and the blocks of a group."""
        count = -(-self.shape[self.choice.row] // self.choice.rows)
        group = self.new_axis()

        def groups():
            return [(group, -(-count // size))], [Block({})]

        def rows():
            axis = self.new_axis()
            number = affine(0, ((Index(group), size), (Index(axis), 1)))
            there = () if count % size == 0 else (Call("lt", (number, Const(count))),)
            return [(axis, size)], [replace(b, conditions=(*there, *b.conditions)) for b in self.rows_at(number)]

        return groups, rows

    def lanes(self):
        """A level: blocks of whole vectors, of known length, across the lanes; in the last one only some may be active."""
        full, rest = divmod(self.shape[self.choice.lane], self.machine.lanes * self.choice.columns)
        if full == 0:
            return [], self._lanes_at(index(0))
        axis = self.new_axis()
        return [(axis, full + (rest > 0))], self._lanes_at(index(axis))

    def lanes_in_groups(self, wanted: int):
        """The same as a level of about so many groups, in each of which there is a loop over its blocks."""
        blocks = -(-self.shape[self.choice.lane] // (self.machine.lanes * self.choice.columns))
        groups = next((g for g in range(wanted, 2 * wanted) if blocks % g == 0), min(wanted, blocks))
        size = -(-blocks // groups)
        if size == 1:
            return self.lanes()
        group, axis = self.new_axis(), self.new_axis()
        number = affine(0, ((Index(group), size), (Index(axis), 1)))
        there = () if blocks % size == 0 else (Call("lt", (number, Const(blocks))),)
        made = [replace(b, inner=(*there, *b.conditions), conditions=()) for b in self._lanes_at(number)]
        return [(group, -(-blocks // size))], [replace(b, loops=((axis, size),)) for b in made]

    def _lanes_at(self, number: Affine) -> list[Block]:
        """The kinds that the block of lanes of a number may be of."""
        position, lanes = self.choice.lane, self.machine.lanes
        size = lanes * self.choice.columns
        full, rest = divmod(self.shape[position], size)
        columns = -(-rest // lanes)
        active = None if rest == columns * lanes else Lanes(None, Const(rest), True)
        last = Block({position: fixed_place(full * size)}, columns=columns, active=active)
        if full == 0:
            return [last]
        whole = Block({position: affine(0, ((number, size),))}, columns=self.choice.columns)
        if rest == 0:
            return [whole]
        is_whole, is_last = _whole_or_last(number, full)
        return [replace(whole, conditions=is_whole), replace(last, conditions=is_last)]


def _whole_or_last(number: Expr, full: Size) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    is_whole = Call("lt", (number, size_expr(full)))
    return (is_whole,), (Call("not", (is_whole,)),)


def joined(outer: Sequence[Block], inner: Sequence[Block]) -> list[Block]:
    """What blocks may be, from what is known of them at two levels."""
    return [_joined(a, b) for a in outer for b in inner]


def of_each(blocks: Sequence[Block], statements_of: Callable) -> tuple[Statement, ...]:
    """The statements that `statements_of` gives for each kind of block, where a block is of that kind."""
    statements: list[Statement] = []
    for block in blocks:
        body = statements_of(block)
        if block.inner:
            body = (When(_all(block.inner), body),)
        body = nested(block.loops, body)
        statements += body if not block.conditions else (When(_all(block.conditions), body),)
    return tuple(statements)


def _joined(a: Block, b: Block) -> Block:
    return Block(
        {**a.places, **b.places},
        max(a.rows, b.rows),
        max(a.columns, b.columns),
        a.active or b.active,
        (*a.conditions, *b.conditions),
        (*a.loops, *b.loops),
        (*a.inner, *b.inner),
    )


def _all(conditions: Sequence[Expr]) -> Expr:
    return conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions))


def size_expr(size: Size) -> Expr:
    """A size as a value."""
    return Const(size) if isinstance(size, int) else Extent(size)


def fixed_place(start: Size) -> Affine:
    """A place that is the same for all."""
    return affine(start) if isinstance(start, int) else affine(0, ((Extent(start), 1),))
