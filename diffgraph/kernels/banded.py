"""Kernels of sums that are made band by band (`kernels/bands.py`):

    for band:                                          units
        for row of the band, with what windows need:   e[row], in memory of the thread's own
        for row of the band, with what windows need:   d[row], likewise
        for row of the band:                           y[row]

What lies around the results of a stage, where the next one reads zeros, is set for each band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index
from diffgraph.kernels.bands import Chain, Rows, Stage, start_of
from diffgraph.kernels.blocks import Block
from diffgraph.kernels.lattice import Box, strips_around
from diffgraph.kernels.loops import Statement, Store, Unit, When, nested
from diffgraph.kernels.member import Member
from diffgraph.kernels.tiles import Machine
from diffgraph.kernels.tiling import Tiling

#: The memory that all kernels of a program use one after the other: it stays in the second cache of a core.
ROOM = "(bands)"


class Banded:
    """Writes the kernel of a chain in bands of `size` rows, which are in `room` elements of memory of the thread's own (`nest`
    is the kernel's `Nest`)."""

    def __init__(self, nest, chain: Chain, size: int, room: int, machine: Machine):
        self.nest = nest
        self.chain = chain
        self.machine = machine
        self.axis = chain.axis
        self.rows = chain.rows(size)
        self.bands = -(-chain.extent // size)
        last = chain.stages[-1].first
        self.units = [Unit(nest.new_axis(), last.extents[k]) for k in range(self.axis)]
        self.units.append(Unit(nest.new_axis(), self.bands))
        self.band = index(self.units[-1].axis)
        buffer = nest.private(ROOM, room)
        for made, rows, offset in zip(chain.made, self.rows, chain.offsets(size)):
            start = start_of(rows, self.band, made.lattice.starts[self.axis])
            nest.keep_band(made.tensor.name, self.axis, start, buffer, offset)

    def statements(self) -> tuple[tuple[Unit, ...], tuple[Statement, ...]]:
        """(units, the statements inside them)."""
        made: Sequence[Member | None] = (*self.chain.made, None)
        body = tuple(st for what in zip(self.chain.stages, self.rows, made) for st in self._stage(*what))
        return tuple(self.units), body

    def _stage(self, stage: Stage, rows: Rows, made: Member | None) -> tuple[Statement, ...]:
        """The rows of a stage, and zeros around those that the next one reads."""
        outer = {k: index(u.axis) for k, u in enumerate(self.units[:-1])}
        extent = stage.first.extents[self.axis]

        def row():
            """A loop over the rows, where each is, and the conditions under which it is there."""
            axis = self.nest.new_axis()
            place = affine(rows.start, ((self.band, rows.scale), (Index(axis), 1)))
            return [(axis, rows.count)], place, self._is_there(rows, place, extent)

        def band():
            loops, place, there = row()
            return loops, [Block({self.axis: place}, conditions=there)]

        body = Tiling(self.nest, stage.members, self.machine).in_band(Block(outer), self.axis, band)
        if made is None:
            return body
        loops, place, there = row()
        around = self._around(made, {**outer, self.axis: place}, there)
        return (*(nested(loops, around) if around else ()), *body)

    def _around(self, made: Member, place: Mapping[int, Affine], there: tuple[Expr, ...]) -> tuple[Statement, ...]:
        """Sets to 0 what lies around a row, or all of it where there is none."""
        box, shape = Box(made.lattice.starts, made.lattice.extents), made.tensor.shape
        first = self.axis + 1
        smaller = [k for k in range(first, len(shape)) if box.extents[k] != shape[k]]
        body: tuple[Statement, ...] = ()
        for starts, extents in strips_around(shape, box, smaller, first):
            body += self._zeros(made, place, starts, extents)
        if there:
            is_there = there[0] if len(there) == 1 else Call("and", there)
            missing = self._zeros(made, place, [0] * len(shape[first:]), shape[first:])
            body = (*((When(is_there, body),) if body else ()), When(Call("not", (is_there,)), missing))
        return body

    def _is_there(self, rows: Rows, place: Affine, extent: int) -> tuple[Expr, ...]:
        """The conditions under which a stage has a row, as far as they may fail."""
        last = rows.scale * (self.bands - 1) + rows.start + rows.count - 1
        found = (Call("ge", (place, Const(0))),) if rows.start < 0 else ()
        return found + ((Call("lt", (place, Const(extent))),) if last >= extent else ())

    def _zeros(
        self, made: Member, given: Mapping[int, Affine], starts: Sequence[Size], extents: Sequence[Size]
    ) -> tuple[Statement, ...]:
        """Sets some places of a row to 0."""
        loops = [(self.nest.new_axis(), e) for e in extents]
        inner = [affine(s, ((Index(axis), 1),)) for (axis, _), s in zip(loops, starts)]
        outer = [given[k] for k in range(self.axis)]
        row = affine(made.lattice.starts[self.axis], ((given[self.axis], 1),))
        name = made.tensor.name
        place = self.nest.address_in(name, [*outer, row, *inner], made.tensor.shape)
        return nested(loops, (Store(self.nest.number(name), place, Const(0.0)),))
