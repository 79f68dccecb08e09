"""The operands of a tile: a body as one over what the tile reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diffgraph.ir.affine import affine
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Read
from diffgraph.kernels.access import step, strides
from diffgraph.kernels.blocks import size_expr
from diffgraph.kernels.chunks import guards_of_factors
from diffgraph.kernels.loops import LaneNumbers, Lanes, TileLoad, TileOperand, TileValue
from diffgraph.kernels.member import Piece
from diffgraph.kernels.roles import place_compared
from diffgraph.kernels.tiles import unsafe
from diffgraph.kernels.vectorizable import COMPARISONS


@dataclass(frozen=True)
class Along:
    """The axes of the domain of a piece that the lanes, the rows and the columns of a tile go along. lanes: where columns are
    further vectors along the lanes, how many lanes a vector has; else 0. in_loops: guards that do not depend on the lanes are
    looked at by the loops around the tile."""

    lane: int | None
    row: int | None = None
    column: int | None = None
    lanes: int = 0
    in_loops: bool = True


class Operands:
    """Turns a body into one over the operands of a tile: reads that move with it are loads, all else that is the same for
    all of it is a scalar."""

    def __init__(self, nest, piece: Piece, where: Mapping[int, Affine], along: Along, found=None, known=None):
        self.nest = nest
        self.piece = piece
        self.where = where
        self.along = along
        self.found: list[TileOperand] = [] if found is None else found
        self.known = known or {}
        self.offset = 1 if known is not None else 0
        self.lane = along.lane
        self.axes = frozenset(k for k in (along.lane, along.row, along.column) if k is not None)

    def lower(self, e: Expr) -> Expr:
        """The body."""
        if type(e) is Read and self.piece.operands[e.slot] in self.known:
            return self.known[self.piece.operands[e.slot]]
        if type(e) is Const:
            return e
        if not (e.indices & self.axes) and not self._reads_known(e):
            return self._operand(self.nest.lower_at(e, self.piece, self.where))
        if type(e) is Read:
            return self._operand(self._load(e))
        if e.function in COMPARISONS and (other := place_compared(e, self.lane)) is not None:
            return self._compared(e, other)
        return Call(e.function, tuple(self.lower(a) for a in e.args))

    def value(self, e: Expr) -> Expr:
        """The body as the value of an operand, where it is but a number."""
        lowered = self.lower(e)
        return self.scalar(lowered) if type(lowered) is Const else lowered

    def scalar(self, e: Expr) -> TileValue:
        """A value that is the same for all of the tile."""
        if e not in self.found:
            self.found.append(e)
        return TileValue(self.found.index(e) + self.offset)

    def _compared(self, e: Call, other: Expr) -> Expr:
        """A condition on the place along the lanes: the number of the lane against how far away the other is. As floats: what
        is too far to be exact is no lane's place."""
        start = self.where[self.lane]
        away = Call("sub", (self.nest.lower_at(other, self.piece, self.where), start))
        sides = (self._operand(LaneNumbers()), self.scalar(Call("float", (away,))))
        return Call(e.function, sides if e.args[1] is other else sides[::-1])

    def _reads_known(self, e: Expr) -> bool:
        if type(e) is Read:
            return self.piece.operands[e.slot] in self.known
        return any(self._reads_known(c) for c in e.children)

    def _operand(self, operand: TileOperand) -> Expr:
        if type(operand) is Const:
            return operand
        if operand not in self.found:
            self.found.append(operand)
        return TileValue(self.found.index(operand) + self.offset)

    def _load(self, read: Read) -> TileLoad:
        shape, name = self.piece.form.operands[read.slot].shape, self.piece.operands[read.slot]
        place = [self.nest.lower_at(p, self.piece, self.where) for p in read.place]
        row, column, lane = (self._stride(read, shape, k) for k in (self.along.row, self.along.column, self.lane))
        if self.along.lanes:
            column = lane * self.along.lanes
        inside, otherwise = self._inside(read, place, shape)
        at = self.nest.address_in(name, place, shape)
        return TileLoad(self.nest.number(name), at, row, column, lane, inside, otherwise)

    def _stride(self, read: Read, shape, axis: int | None) -> int:
        return 0 if axis is None else step(read.place, strides(shape), axis)[0]

    def _inside(self, read: Read, place, shape) -> tuple[Lanes | None, float]:
        """The lanes in which every guard holds, and what the others are."""
        if read.otherwise is None:
            return None, 0.0
        risky = unsafe(read, self.piece.form)
        if not risky:
            return None, 0.0
        lows: list[Expr] = []
        highs: list[Expr] = []
        scalar: list[Expr] = []
        skipped = {p for p, _ in guards_of_factors(self.piece, self.lane)} if self.along.in_loops else set()
        for p, lowered, extent in zip(read.place, place, shape):
            if p not in risky or p in skipped:
                continue
            if self.lane is not None and self.lane in p.indices:
                lows.append(affine(0, ((lowered, -1),)))
                highs.append(affine(0, ((size_expr(extent), 1), (lowered, -1))))
            else:
                scalar.append(Call("and", inside(lowered, extent)))
        if not (lows or highs or scalar):
            return None, 0.0
        low = _extreme("max", lows) if lows else None
        high = _extreme("min", highs) if highs else Const(1 << 30)
        for condition in scalar:
            high = Call("where", (condition, high, Const(-(1 << 30))))
        return Lanes(low, high, self.along.column is None), float(read.otherwise.value)


def inside(place: Expr, extent: Size) -> tuple[Expr, Expr]:
    """The conditions that a place is inside of an extent."""
    return Call("ge", (place, Const(0))), Call("lt", (place, size_expr(extent)))


def _extreme(name: str, values: list[Expr]) -> Expr:
    total = values[0]
    for value in values[1:]:
        total = Call(name, (total, value))
    return total


def settled(body: Expr, shift: int) -> Expr:
    """Values of earlier members follow the operands."""
    if type(body) is TileValue:
        return TileValue(shift - 2 - body.number) if body.number < 0 else body
    if type(body) is Call:
        return Call(body.function, tuple(settled(a, shift) for a in body.args))
    return body
