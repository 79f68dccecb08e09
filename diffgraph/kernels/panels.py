"""Sums along the lanes of panels (samples side by side), several results over one panel before the next one.

    for places of the result but one axis:             units
        for g: lay zeros aside
        for panel:                                     what is read of it stays in the nearest cache
            for g:
                take the results up again
                for the rest of the reduction: step
                lay the results aside
        for g: take the results up again, store

Otherwise every result goes through all panels, which come from a further cache for each.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.ir.affine import affine, index
from diffgraph.ir.expression import Index
from diffgraph.kernels.access import usual
from diffgraph.kernels.blocks import Block, fixed_place
from diffgraph.kernels.loops import Loop, Scratch, Slot, Statement, Tile, TilePause, TileStart, nested
from diffgraph.kernels.member import Member
from diffgraph.kernels.tiles import Choice, Machine, accesses_of

#: Bytes of the results that are laid aside.
GROUP = 13 << 10

#: Steps of a reduction within a panel that pay for laying results aside and taking them up again.
FEW_STEPS = 16


def grouped_position(member: Member, choice: Choice, plain: Sequence[int], machine: Machine) -> int | None:
    """The position of the result whose places go over a panel together; None where they had better not. Along it a window
    moves, so that most of what one place reads the next one reads too."""
    reducing = [p for p in member.pieces if p.form.reduced]
    if not choice.along or len(reducing) != 1:
        return None
    (piece,) = reducing
    form, lane = piece.form, choice.lane
    others = [k for k in form.reduced if k != lane]
    steps = 1
    for k in others:
        steps *= usual(form.domain[k])
    if steps < FEW_STEPS or not any(a.panels[lane] for a in accesses_of(form)):
        return None
    slot = 4 * machine.lanes * choice.rows * choice.columns
    for position in reversed(plain):
        extent, axis = member.extents[position], piece.axes[position]
        if isinstance(extent, int) and 1 < extent <= GROUP // slot and _slides(form, axis, others):
            return position
    return None


def _slides(form, axis: int, others: Sequence[int]) -> bool:
    """Whether an operand is moved through along an axis of the result as along one of the reduction."""
    return any(a.strides[axis] and a.strides[axis] in [a.strides[k] for k in others] for a in accesses_of(form))


class PanelWriter:
    """Writes the loops of a tiled member panel by panel (`tiling` is its `Tiling`, `group` the grouped position)."""

    def __init__(self, tiling, group: int, plain: Sequence[int]):
        self.tiling = tiling
        self.nest = tiling.nest
        self.group = group
        self.plain = [p for p in plain if p != group]
        self.choice: Choice = tiling.choice
        (self.piece,) = (p for p in tiling.members[0].pieces if p.form.reduced)

    def statements(self):
        """(parallel loops from the outside in, as axis and extent; the statements inside them)."""
        blocks = self.tiling.blocks
        rows = [] if self.choice.row is None else [blocks.rows]
        columns = [] if self.choice.column is None else [self._columns]
        return blocks.inside([*(blocks.plain(p) for p in self.plain), *columns, *rows], self._block)

    def _columns(self):
        """The level of blocks of columns."""
        count = self.tiling.shape[self.choice.column] // self.choice.columns
        if count == 1:
            return [], [Block({self.choice.column: fixed_place(0)}, columns=self.choice.columns)]
        axis = self.nest.new_axis()
        place = affine(0, ((Index(axis), self.choice.columns),))
        return [(axis, count)], [Block({self.choice.column: place}, columns=self.choice.columns)]

    def _block(self, block: Block) -> tuple[Statement, ...]:
        tiling, choice = self.tiling, self.choice
        extent = tiling.shape[self.group]
        lanes, op = tiling.machine.lanes, self.piece.form.op
        scratch = Scratch(self.nest.new_tile(), extent, choice.rows * choice.columns, lanes)

        def new():
            """One place of the group: its axis, a tile, where the results are laid aside, places."""
            axis = self.nest.new_axis()
            tile = Tile(self.nest.new_tile(), block.rows, block.columns, lanes, True, op)
            return axis, tile, Slot(scratch, index(axis)), {**block.places, self.group: index(axis)}

        axis, tile, slot, _ = new()
        statements: list[Statement] = [Loop(axis, extent, (TileStart(tile), TilePause(tile, slot)))]
        axis, tile, slot, places = new()
        for loops, body in tiling.parts(tile, self.piece, places):
            statements += nested([*loops, (axis, extent)], (TileStart(tile, slot), *body, TilePause(tile, slot)))
        axis, tile, slot, places = new()
        statements.append(Loop(axis, extent, (TileStart(tile, slot), tiling.end(tile, places, None))))
        return tuple(statements)
