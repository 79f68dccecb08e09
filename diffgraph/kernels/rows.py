"""A kernel that stays with a row: all that some definitions do with it is done while it is near.

    for n:                                      units: rows, or blocks of them where something is summed over rows
        for vectors of k: mu += x[n, k]         a sweep: everything that can be done in one walk along the row
        for vectors of k: v += (x[n, k] - mu)^2
        s = rsqrt(v)                            numbers between sweeps
        for vectors of k: y[n, k] = ...         a sweep

A sweep ends where a number is needed that it makes. What later sweeps read again, and nobody else, is a row of the
kernel's own, not a tensor. Sums over the rows are taken block by block, in order, and the sums of the blocks are joined
afterwards: so their bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import floor_divide, product
from diffgraph.ir.expression import Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Provenance, Tensor
from diffgraph.kernels.access import address, cost, usual
from diffgraph.kernels.blocks import fixed_place, size_expr
from diffgraph.kernels.loops import (
    ENOUGH_UNITS,
    Kernel,
    Lanes,
    Let,
    Loop,
    Statement,
    Store,
    Tile,
    TileLoad,
    TileOperand,
    TileStart,
    TileStep,
    TileStore,
    TileValue,
    Unit,
)
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.operands import Along, Operands, settled
from diffgraph.kernels.roles import ACROSS, NUMBER, ROW, SCALAR, Role, Space, reads_own_place, role_of

#: Rows whose sums are joined to one part.
BLOCK = 32

#: Rows of at most so many elements are kept in memory of the thread's own.
MOST_PRIVATE = 1 << 16

#: Vectors that a sweep goes through in step, so that none waits for itself; half as many of what is long enough to compile
#: as it is.
COLUMNS, LONG = 4, 160


def parts_of(member: Member, space: Space) -> Tensor:
    """The tensor of the sums of blocks of a sum over rows."""
    first = space.outer[0]
    count = floor_divide(first + BLOCK - 1, BLOCK) if len(space.outer) == 1 else first
    return replace(member.tensor, name=f"{member.tensor.name}.parts", shape=(count, *member.tensor.shape))


def joined_parts(parts: Tensor) -> Piece:
    """The sum of the parts."""
    places = tuple(index(k) for k in range(len(parts.shape)))
    form = Form(parts.shape, "sum", places[1:], parts.shape[1:], (parts.operand,), Read(0, places, None))
    return Piece(form, (parts.name,))


@dataclass
class _Sweep:
    """One walk along a row: the members that take part, and those that are computed once before it."""

    before: list[Member] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)


class Rows:
    """Writes the kernel of some members that share a space (`nest` is the kernel's `Nest`). parts: the tensors of the sums
    over rows, by name of the member."""

    def __init__(self, nest, members: Sequence[Member], space: Space, parts: dict[str, Tensor]):
        self.nest = nest
        self.space = space
        self.parts = parts
        self.lanes = nest.machine.lanes
        self.roles: dict[str, Role] = {m.tensor.name: role_of(m, space) for m in members}
        self.members = members
        self.sweeps = self._sweeps()
        self.outer: list[int] = []
        self.part_axis = 0

    # ------------------------------------------------------------------------------------------------- in order

    def _sweeps(self) -> list[_Sweep]:
        """Each member in the first sweep (or before it) that comes after what it needs."""
        place: dict[str, int] = {}
        sweeps: list[_Sweep] = []
        for member in self.members:
            role = self.roles[member.tensor.name]
            at = max((self._earliest(member, role, o, place) for o in member.operands), default=0)
            place[member.tensor.name] = at
            while len(sweeps) <= at:
                sweeps.append(_Sweep())
            (sweeps[at].members if role.runs_in_rows else sweeps[at].before).append(member)
        return sweeps

    def _earliest(self, member: Member, role: Role, operand: str, place: dict[str, int]) -> int:
        source = self.nest.memory[operand]
        at = place.get(source, 0)
        maker = self.roles.get(source)
        if maker is None or maker.kind == SCALAR:
            return at
        if maker.kind == ROW and role.runs_in_rows and operand == source:
            if reads_own_place(role, member, operand):
                return at
        return at + 1

    def _read_later(self) -> set[str]:
        """The rows that are read in memory: by what is not in the same sweep, or sums what it reads."""
        found: set[str] = set()
        for sweep in self.sweeps:
            known = {m.tensor.name for m in sweep.members if self.roles[m.tensor.name].kind != NUMBER}
            for member in (*sweep.before, *sweep.members):
                sums = self.roles[member.tensor.name].kind == NUMBER
                found |= {o for o in member.operands if sums or member in sweep.before or o not in known}
        return found

    def _own_rows(self) -> None:
        """Rows that only this kernel reads are memory of the thread's own."""
        length = product(self.space.inner)
        if not isinstance(length, int) or length > MOST_PRIVATE:
            return
        read = {self.nest.memory[o]: o for m in self.members for o in m.operands if self.nest.memory[o] != o}
        for name in self._read_later():
            role = self.roles.get(name)
            if role is not None and role.kind == ROW and name not in self.nest.kept and name not in read:
                self.nest.keep_private(name, len(self.space.outer), length)

    # ------------------------------------------------------------------------------------------------- the kernel

    def kernel(self, name: str, provenance: Provenance) -> Kernel:
        """The kernel."""
        nest, outer = self.nest, self.space.outer
        self._own_rows()
        for member in self.members:
            made = self.parts.get(member.tensor.name, member.tensor)
            nest.number(made.name, written=True)
        self.outer = [nest.new_axis() for _ in outer]
        if not self.parts:
            count = self._unit_axes()
            units = tuple(Unit(a, e) for a, e in zip(self.outer[:count], outer))
            body = self._inside(tuple(zip(self.outer[count:], outer[count:])), self._row())
        elif len(outer) == 1:
            self.part_axis = nest.new_axis()
            units = (Unit(self.part_axis, floor_divide(outer[0] + BLOCK - 1, BLOCK)),)
            start = affine(0, ((Index(self.part_axis), BLOCK),))
            loop = Loop(self.outer[0], BLOCK, self._row(), start=start, end=outer[0])
            body = (*self._no_sums(), loop)
        else:
            self.part_axis = self.outer[0]
            units = (Unit(self.part_axis, outer[0]),)
            body = (*self._no_sums(), *self._inside(tuple(zip(self.outer[1:], outer[1:])), self._row()))
        work = sum((m.work for m in self.members), 0)
        return Kernel(name, tuple(nest.buffers), units, body, work, provenance)

    def _unit_axes(self) -> int:
        """How many outer axes are shared out: as many as give enough units."""
        count, units = 1, usual(self.space.outer[0])
        while count < len(self.space.outer) and units < ENOUGH_UNITS:
            units *= usual(self.space.outer[count])
            count += 1
        return count

    def _inside(self, loops, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        for axis, extent in reversed(loops):
            body = (Loop(axis, extent, body),)
        return body

    def _no_sums(self) -> tuple[Statement, ...]:
        """Sets the sums of a block to 0."""
        statements: list[Statement] = []
        for member in self.members:
            parts = self.parts.get(member.tensor.name)
            if parts is None:
                continue
            if self.roles[member.tensor.name].runs_in_rows:
                statements += self._walk(COLUMNS, lambda walk, parts=parts: walk.nothing(parts))
            else:
                statements.append(Store(self.nest.number(parts.name), self._part_place(parts), Const(0.0)))
        return tuple(statements)

    def _part_place(self, parts: Tensor):
        """Where the sum of single numbers of a block is."""
        places = [index(self.part_axis), *(affine(0) for _ in parts.shape[1:])]
        return address(places, parts.shape)

    def _row(self) -> tuple[Statement, ...]:
        """All that is done with one row."""
        statements: list[Statement] = []
        for sweep in self.sweeps:
            for member in sweep.before:
                statements += self._number(member)
            if sweep.members:
                statements += self._sweep(sweep.members)
        return tuple(statements)

    # ------------------------------------------------------------------------------------------------- numbers

    def _number(self, member: Member) -> list[Statement]:
        """What is computed once for a row: a number, or one that is added to the sum of a block."""
        nest, role = self.nest, self.roles[member.tensor.name]
        values = [nest.lower_at(p.form.body, p, self.where(p, role, n)) for n, p in enumerate(member.pieces)]
        total = values[0] if len(values) == 1 else Call("add", tuple(values))
        if role.kind == ACROSS:
            parts = self.parts[member.tensor.name]
            return [Store(nest.number(parts.name), self._part_place(parts), total, "sum")]
        local = nest.new_local(member.tensor.kind)
        places = [index(self.outer[k]) for k in range(len(self.outer))]
        places += [affine(0)] * (len(member.extents) - len(places))
        place = nest.address_in(member.tensor.name, places, member.tensor.shape)
        return [Let(local, total), Store(nest.number(member.tensor.name), place, local)]

    def where(self, piece: Piece, role: Role, number: int) -> dict:
        """The places of the axes of a piece: its own axes of extent 1 are at 0."""
        where = {k: affine(0) for k in range(len(piece.form.domain))}
        where.update((k, index(a)) for k, a in zip(role.outer[number], self.outer))
        return where

    # ------------------------------------------------------------------------------------------------- sweeps

    def _sweep(self, members: Sequence[Member]) -> list[Statement]:
        """One walk along the row: rows and sums over rows first, then the sums of the row."""
        sums = [m for m in members if self.roles[m.tensor.name].kind == NUMBER]
        makers = [m for m in members if self.roles[m.tensor.name].kind != NUMBER]
        last = self.space.inner[-1]
        effort = sum(cost(p.form.body) for m in members for p in m.pieces)
        columns = COLUMNS if effort <= LONG else COLUMNS // 2
        columns = min(columns, _whole_vectors(last, self.lanes)) if isinstance(last, int) else columns
        tiles = {m.tensor.name: self._tile(m, columns) for m in sums}

        def body(walk: _Walk) -> tuple[Statement, ...]:
            made = walk.make(makers) if makers else ()
            return (*made, *(walk.join(m, tiles[m.tensor.name]) for m in sums))

        walked = self._walk(columns, body)
        ends = [self._end(m, tiles[m.tensor.name]) for m in sums]
        return [*(TileStart(t) for t in tiles.values()), *walked, *ends]

    def _tile(self, member: Member, columns: int) -> Tile:
        op = member.pieces[0].form.op
        return Tile(self.nest.new_tile(), 1, 1, columns * self.lanes, True, op)

    def _end(self, member: Member, tile: Tile) -> TileStore:
        """The sum of a row goes to its place."""
        places = [index(a) for a in self.outer]
        places += [affine(0)] * (len(member.extents) - len(places))
        place = self.nest.address_in(member.tensor.name, places, member.tensor.shape)
        target = TileLoad(self.nest.number(member.tensor.name), place, 0, 0, 0)
        return TileStore(tile, (), (TileValue(0),), ((0, target),), None)

    def _walk(self, columns: int, body) -> tuple[Statement, ...]:
        """The loops along a row around what `body` gives for a place: blocks of vectors, the last of which may be partly
        idle."""
        *leading, last = self.space.inner
        size = columns * self.lanes
        loops = [(self.nest.new_axis(), e) for e in leading]
        places = [index(a) for a, _ in loops]
        full = floor_divide(last, size)
        rest = last - full * size
        statements: list[Statement] = []
        if full != 0:
            axis = self.nest.new_axis()
            start = affine(0, ((Index(axis), size),))
            statements.append(Loop(axis, full, body(_Walk(self, (*places, start), columns, None))))
        if rest != 0:
            active = Lanes(None, size_expr(rest), True)
            fewer = _whole_vectors(rest, self.lanes) if isinstance(rest, int) else columns
            statements += body(_Walk(self, (*places, fixed_place(full * size)), columns, active, fewer))
        return self._inside(tuple(loops), tuple(statements))


class _Walk:
    """A place on the way along a row: some vectors, of which only some lanes may be active. busy: the vectors that have
    active lanes."""

    def __init__(
        self, rows: Rows, places: tuple[Expr, ...], columns: int, active: Lanes | None, busy: int | None = None
    ):
        self.rows = rows
        self.nest = rows.nest
        self.places = places
        self.columns = columns if busy is None else busy
        self.active = active

    def make(self, members: Sequence[Member]) -> tuple[Statement, ...]:
        """Computes rows, and adds to the sums over rows."""
        operands: list[TileOperand] = []
        bodies: list[list[Expr]] = []
        stores: list[tuple[int, TileLoad]] = []
        known: dict[str, Expr] = {}
        for number, member in enumerate(members):
            role = self.rows.roles[member.tensor.name]
            body = [self._operands(p, role, n, operands, known).value(p.form.body) for n, p in enumerate(member.pieces)]
            parts = self.rows.parts.get(member.tensor.name)
            target = self._target(member.tensor) if parts is None else self._part(parts)
            if parts is not None:
                operands.append(target)
                body.append(TileValue(len(operands)))
            bodies.append(body)
            stores.append((number, target))
            if role.kind == ROW:
                known[member.tensor.name] = TileValue(-1 - len(bodies))
        shift = len(operands) + 1
        values = [settled(b[0] if len(b) == 1 else Call("add", tuple(b)), shift) for b in bodies]
        return self._stored(operands, values, stores)

    def nothing(self, parts: Tensor) -> tuple[Statement, ...]:
        """Sets sums over rows to 0: to what a sum starts from."""
        return self._stored([], [TileValue(0)], [(0, self._part(parts))])

    def join(self, member: Member, tile: Tile) -> TileStep:
        """Adds to a sum of the row."""
        (piece,) = member.pieces
        operands = self._operands(piece, self.rows.roles[member.tensor.name], 0)
        body = operands.value(piece.form.body)
        return TileStep(tile, tuple(operands.found), body, self.active)

    def _stored(self, operands, values, stores) -> tuple[Statement, ...]:
        tile = Tile(self.nest.new_tile(), 1, 1, self.columns * self.rows.lanes, False, "sum")
        return TileStart(tile), TileStore(tile, tuple(operands), tuple(values), tuple(stores), self.active)

    def _operands(self, piece: Piece, role: Role, number: int, found=None, known=None) -> Operands:
        where = self.rows.where(piece, role, number)
        where.update(zip(role.inner[number], self.places))
        along = Along(role.inner[number][-1], in_loops=False)
        return Operands(self.nest, piece, where, along, found, known)

    def _target(self, tensor: Tensor) -> TileLoad:
        places = [*(index(a) for a in self.rows.outer), *self.places]
        at = self.nest.address_in(tensor.name, places, tensor.shape)
        return TileLoad(self.nest.number(tensor.name), at, 0, 0, 1)

    def _part(self, parts: Tensor) -> TileLoad:
        places = [index(self.rows.part_axis), *self.places]
        places += [affine(0)] * (len(parts.shape) - len(places))
        return TileLoad(self.nest.number(parts.name), address(places, parts.shape), 0, 0, 1)


def _whole_vectors(count: int, lanes: int) -> int:
    """How many vectors hold so many elements: a power of two."""
    vectors = 1
    while vectors * lanes < count:
        vectors *= 2
    return vectors
