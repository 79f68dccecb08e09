"""A reduction in registers, as statements: blocks of results, the reductions inside, and what is done with each block.

    for n: for i: for block of o:                        loops over what is not in the tile
        start
        for c, p, q: step                                 result[o, j] += w[o, c, p, q] * x[n, c, i + p, j + q]
        store                                             y[n, o, i, j] = tanh(result + bias[o])

The last block along an axis may be smaller: it is a tile of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, floor_divide
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.kernels.access import address, reads, step, strides
from diffgraph.kernels.loops import (
    Lanes,
    Loop,
    Statement,
    Tile,
    TileLoad,
    TileOperand,
    TileStart,
    TileStep,
    TileStore,
    TileValue,
    When,
)
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import Choice, Machine, is_factor, unsafe


class Tiling:
    """Writes the loops of a tiled member and of the pointwise members that follow it (`nest` is the kernel's `Nest`)."""

    def __init__(self, nest, members: Sequence[Member], machine: Machine):
        self.nest = nest
        self.members = members
        self.machine = machine
        self.choice: Choice = members[0].choice
        self.shape = members[0].extents

    def statements(self) -> tuple[list[tuple[int, Size]], tuple[Statement, ...]]:
        """(parallel loops from the outside in, as axis and extent; the statements inside them)."""
        choice = self.choice
        tiled = {choice.row, choice.column} | (set() if choice.along else {choice.lane})
        loops: list[tuple[int, Size]] = []
        places: dict[int, Affine] = {}
        for position in range(len(self.shape)):
            if position not in tiled:
                axis = self.nest.new_axis()
                loops.append((axis, self.shape[position]))
                places[position] = index(axis)
        if choice.row is None:
            return loops, self._along_columns(places, 1)
        block, body = self._along_rows(places)
        return [*loops, block], body

    # ------------------------------------------------------------------------------------------------ blocks

    def _along_rows(self, places) -> tuple[tuple[int, Size], tuple[Statement, ...]]:
        """(the loop over the blocks of rows; its body). Where the last block is smaller, it has statements of its own."""
        position, size = self.choice.row, self.choice.rows
        extent = self.shape[position]
        full = floor_divide(extent, size)
        rest = extent - full * size
        axis = self.nest.new_axis()
        whole = self._along_columns({**places, position: affine(0, ((Index(axis), size),))}, size)
        if rest == 0:
            return (axis, full), whole
        last = self._last_rows(position, full * size, rest, places)
        is_whole = Call("lt", (Index(axis), _size(full)))
        body = (When(is_whole, whole), When(Call("not", (is_whole,)), last))
        return (axis, floor_divide(extent + size - 1, size)), body

    def _last_rows(self, position: int, start: Size, rest: Size, places) -> tuple[Statement, ...]:
        if isinstance(rest, int):
            return self._along_columns({**places, position: _place(start)}, rest)
        one = self.nest.new_axis()
        place = affine(0, ((Index(one), 1), (_size(start), 1)))
        return (Loop(one, rest, self._along_columns({**places, position: place}, 1)),)

    def _along_columns(self, places, rows: int) -> tuple[Statement, ...]:
        choice = self.choice
        if not choice.along:
            return self._along_lanes(places, rows)
        if choice.column is None:
            return self._tile(places, rows, 1, None)
        axis = self.nest.new_axis()
        start = affine(0, ((Index(axis), choice.columns),))
        count = floor_divide(self.shape[choice.column], choice.columns)
        if count == 1:
            return self._tile({**places, choice.column: _place(0)}, rows, choice.columns, None)
        return (Loop(axis, count, self._tile({**places, choice.column: start}, rows, choice.columns, None)),)

    def _along_lanes(self, places, rows: int) -> tuple[Statement, ...]:
        """Blocks of whole vectors across the lanes; in the last one only some lanes are active."""
        choice, lanes = self.choice, self.machine.lanes
        extent = self.shape[choice.lane]
        size = lanes * choice.columns
        full = floor_divide(extent, size)
        rest = extent - full * size
        axis = self.nest.new_axis()
        statements: list[Statement] = []
        if full == 1:
            statements += self._tile({**places, choice.lane: _place(0)}, rows, choice.columns, None)
        elif full != 0:
            start = affine(0, ((Index(axis), size),))
            body = self._tile({**places, choice.lane: start}, rows, choice.columns, None)
            statements.append(Loop(axis, full, body))
        if isinstance(rest, int) and rest:
            columns = -(-rest // lanes)
            active = None if rest == columns * lanes else Lanes(None, Const(rest), True)
            statements += self._tile({**places, choice.lane: _place(full * size)}, rows, columns, active)
        elif not isinstance(rest, int):
            statements.append(self._open_rest(places, rows, full * size, rest))
        return tuple(statements)

    def _open_rest(self, places, rows: int, start: Size, rest: Size) -> Statement:
        """What is left of an axis of unknown length, vector by vector."""
        lanes = self.machine.lanes
        axis = self.nest.new_axis()
        place = affine(0, ((Index(axis), lanes), (_size(start), 1)))
        left = affine(0, ((_size(rest), 1), (Index(axis), -lanes)))
        body = self._tile({**places, self.choice.lane: place}, rows, 1, Lanes(None, left, True))
        return Loop(axis, floor_divide(rest + lanes - 1, lanes), body)

    # ------------------------------------------------------------------------------------------------ one tile

    def _tile(
        self, places: Mapping[int, Affine], rows: int, columns: int, active: Lanes | None
    ) -> tuple[Statement, ...]:
        choice, first = self.choice, self.members[0]
        reducing = [p for p in first.pieces if p.form.reduced]
        op = reducing[0].form.op
        tile = Tile(self.nest.new_tile(), rows, columns, self.machine.lanes, choice.along, op)
        statements: list[Statement] = [TileStart(tile)]
        for piece in reducing:
            statements += self._reduction(tile, piece, places, active)
        return (*statements, self._end(tile, places, active))

    def _reduction(self, tile: Tile, piece: Piece, places, active) -> tuple[Statement, ...]:
        """The loops of a term around its step. Where a guard does not depend on the lanes, and nothing is added outside of
        it, the loops that it depends on come first, and the others run only inside."""
        form, choice = piece.form, self.choice
        where = {piece.axes[p]: place for p, place in places.items()}
        guards = _guards_of_factors(piece, self.lane_axis(piece))
        guarding = frozenset().union(*(p.indices for p, _ in guards))
        order = [k for k in form.reduced if not (choice.along and k == choice.lane)]
        outer = [(self.nest.new_axis(), k) for k in order if k in guarding]
        inner = [(self.nest.new_axis(), k) for k in order if k not in guarding]
        where |= {k: index(axis) for axis, k in (*outer, *inner)}
        if choice.along:
            body = self._along_the_reduction(tile, piece, where)
        else:
            body = self._step(tile, piece, where, active)
        body = _in_loops(inner, form.domain, body)
        if guards:
            lowered = [(self.nest.lower_at(p, piece, where), extent) for p, extent in guards]
            conditions = [c for p, extent in lowered for c in _inside(p, extent)]
            body = (When(conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions)), body),)
        return _in_loops(outer, form.domain, body)

    def _along_the_reduction(self, tile: Tile, piece: Piece, where) -> tuple[Statement, ...]:
        """Vectors along the reduced axis: whole ones in a loop, then what is left."""
        lane, lanes = self.choice.lane, self.machine.lanes
        extent = piece.form.domain[lane]
        full = floor_divide(extent, lanes)
        rest = extent - full * lanes
        statements: list[Statement] = []
        if full != 0:
            axis = self.nest.new_axis()
            start = affine(0, ((Index(axis), lanes),))
            statements.append(Loop(axis, full, self._step(tile, piece, {**where, lane: start}, None)))
        if rest != 0:
            start = _place(full * lanes)
            active = Lanes(None, _size(rest), False)
            statements += self._step(tile, piece, {**where, lane: start}, active)
        return tuple(statements)

    def _step(self, tile: Tile, piece: Piece, where: Mapping[int, Affine], active) -> tuple[Statement, ...]:
        operands = _Operands(self, piece, where)
        body = operands.lower(piece.form.body)
        step = TileStep(tile, tuple(operands.found), body, active)
        return (step,)

    def _end(self, tile: Tile, places: Mapping[int, Affine], active) -> TileStore:
        """The results plus the terms that reduce nothing, then the members that follow, and the stores."""
        operands: list[TileOperand] = []
        values: list[Expr] = []
        stores: list[tuple[int, TileLoad]] = []
        known: dict[str, Expr] = {}
        bodies: list[list[Expr]] = []
        for member in self.members:
            parts: list[Expr] = [TileValue(0)] if member is self.members[0] else []
            for piece in member.pieces:
                if piece.form.reduced:
                    continue
                where = {piece.axes[p]: place for p, place in places.items()}
                found = _Operands(self, piece, where, operands, known)
                parts.append(found.lower(piece.form.body))
            bodies.append(parts)
            known[member.tensor.name] = TileValue(-1 - len(bodies))
        shift = len(operands) + 1
        for number, (member, parts) in enumerate(zip(self.members, bodies)):
            body = parts[0] if len(parts) == 1 else Call("add", tuple(parts))
            values.append(_settled(body, shift))
            stores.append((number, self._target(member, places)))
        active = None if self.choice.along else active
        return TileStore(tile, tuple(operands), tuple(values), tuple(stores), active)

    def _target(self, member: Member, places: Mapping[int, Affine]) -> TileLoad:
        lattice = member.lattice
        sizes = [s * step for s, step in zip(strides(member.tensor.shape), lattice.steps)]
        choice = self.choice
        step = {
            p: sizes[p] for p in (choice.row, choice.column, None if choice.along else choice.lane) if p is not None
        }
        place = address(lattice.at([places[p] for p in range(len(sizes))]), member.tensor.shape)
        lane = 0 if choice.along else step[choice.lane]
        column = step.get(choice.column, 0) if choice.column is not None else lane * self.machine.lanes
        return TileLoad(self.nest.number(member.tensor.name), place, step.get(choice.row, 0), column, lane)

    def lane_axis(self, piece: Piece) -> int | None:
        """The axis of the piece's domain that runs in the lanes."""
        if self.choice.along:
            return self.choice.lane if piece.form.reduced else None
        return piece.axes[self.choice.lane]


class _Operands:
    """Turns a body into one over the operands of a tile: reads that move with it are loads, all else that is the same for
    all of it is a scalar."""

    def __init__(self, tiling: Tiling, piece: Piece, where, found=None, known=None):
        self.tiling = tiling
        self.piece = piece
        self.where = where
        self.found: list[TileOperand] = [] if found is None else found
        self.known = known or {}
        choice = tiling.choice
        self.offset = 1 if known is not None else 0
        self.lane = tiling.lane_axis(piece)
        self.row = None if choice.row is None else piece.axes[choice.row]
        self.column = None if choice.column is None else piece.axes[choice.column]
        self.axes = frozenset(k for k in (self.lane, self.row, self.column) if k is not None)

    def lower(self, e: Expr) -> Expr:
        """The body."""
        if type(e) is Read and self.piece.operands[e.slot] in self.known:
            return self.known[self.piece.operands[e.slot]]
        if type(e) is Const:
            return e
        if not (e.indices & self.axes) and not self._reads_known(e):
            return self._operand(self.tiling.nest.lower_at(e, self.piece, self.where))
        if type(e) is Read:
            return self._operand(self._load(e))
        return Call(e.function, tuple(self.lower(a) for a in e.args))

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
        nest, shape = self.tiling.nest, self.piece.form.operands[read.slot].shape
        place = [nest.lower_at(p, self.piece, self.where) for p in read.place]
        steps = [self._stride(read, shape, k) for k in (self.row, self.column, self.lane)]
        row, column, lane = steps
        if self.column is None and not self.tiling.choice.along:
            column = lane * self.tiling.machine.lanes
        inside, otherwise = self._inside(read, place, shape)
        number = nest.number(self.piece.operands[read.slot])
        return TileLoad(number, address(place, shape), row, column, lane, inside, otherwise)

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
        skipped = {p for p, _ in _guards_of_factors(self.piece, self.lane)}
        for p, lowered, extent in zip(read.place, place, shape):
            if p not in risky or p in skipped:
                continue
            if self.lane is not None and self.lane in p.indices:
                lows.append(affine(0, ((lowered, -1),)))
                highs.append(affine(0, ((_size(extent), 1), (lowered, -1))))
            else:
                scalar.append(Call("and", _inside(lowered, extent)))
        if not (lows or highs or scalar):
            return None, 0.0
        low = _extreme("max", lows) if lows else None
        high = _extreme("min", highs) if highs else Const(1 << 30)
        for condition in scalar:
            high = Call("where", (condition, high, Const(-(1 << 30))))
        return Lanes(low, high, self.column is None), float(read.otherwise.value)


def _guards_of_factors(piece: Piece, lane: int | None) -> list[tuple[Affine, Size]]:
    """The guarded places that do not depend on the lanes, of reads that make the whole body zero outside, with the extents
    that they must be inside of."""
    form = piece.form
    if form.op != "sum" or not form.reduced:
        return []
    found = []
    for read in reads(form.body):
        if read.otherwise is None or float(read.otherwise.value) != 0.0 or not is_factor(read, form.body):
            continue
        risky = unsafe(read, form)
        pairs = zip(read.place, form.operands[read.slot].shape)
        found += [(p, s) for p, s in pairs if p in risky and lane not in p.indices]
    return list(dict.fromkeys(found))


def _inside(place: Expr, extent: Size) -> tuple[Expr, Expr]:
    return Call("ge", (place, Const(0))), Call("lt", (place, _size(extent)))


def _in_loops(loops, domain, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    for axis, k in reversed(loops):
        body = (Loop(axis, domain[k], body),)
    return body


def _extreme(name: str, values: list[Expr]) -> Expr:
    total = values[0]
    for value in values[1:]:
        total = Call(name, (total, value))
    return total


def _settled(body: Expr, shift: int) -> Expr:
    """Values of earlier members follow the operands."""
    if type(body) is TileValue:
        return TileValue(shift - 2 - body.number) if body.number < 0 else body
    if type(body) is Call:
        return Call(body.function, tuple(_settled(a, shift) for a in body.args))
    return body


def _size(size: Size) -> Expr:
    return Const(size) if isinstance(size, int) else Extent(size)


def _place(start: Size) -> Affine:
    """A place that is the same for all."""
    return affine(start) if isinstance(start, int) else affine(0, ((Extent(start), 1),))
