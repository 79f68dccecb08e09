"""From members to a loop nest: loops that several share are walked once, what one leaves the next one finds at hand.

m[n] = max[k](x[n, k]);  e[n] = sum[k](exp(x[n, k] - m[n]));  p[n, k] = exp(x[n, k] - m[n]) / e[n]

for n:                      shared by all three
    for k: m max= x[n, k]
    for k: e += exp(x[n, k] - m)
    for k: p[n, k] = exp(x[n, k] - m) / e
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from diffgraph.ir.affine import affine, divide, index, is_inside
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.evaluate import result_kind
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Provenance, Tensor
from diffgraph.ir.scalar import kind_of
from diffgraph.kernels.access import FEW, address, strides, usual
from diffgraph.kernels.banded import Banded
from diffgraph.kernels.bands import Chain
from diffgraph.kernels.blocking import contraction, joined
from diffgraph.kernels.buffers import collect_loads, renumbered, without_stores
from diffgraph.kernels.cases import Cases
from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import (
    ENOUGH_UNITS,
    Address,
    Best,
    Buffer,
    Inside,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Statement,
    Store,
    Unit,
    Update,
    nested,
)
from diffgraph.kernels.member import Member, Piece, can_share, preserved_axes, reduction_order
from diffgraph.kernels.resident import Resident
from diffgraph.kernels.roles import Space
from diffgraph.kernels.rows import Rows
from diffgraph.kernels.tiling import ENOUGH_KNOWN_UNITS, Tiling

#: What a reduction starts from, by op, for floats and for ints.
IDENTITY = {
    "sum": (0.0, 0),
    "prod": (1.0, 1),
    "max": (float("-inf"), -(2**63)),
    "min": (float("inf"), 2**63 - 1),
    "any": (False, False),
    "all": (True, True),
}


class Nest:
    """Builds one kernel out of members. `memory` gives the tensor whose memory a tensor is in (itself, or that of which it
    is a view); `kept` are those that something outside of the kernel reads."""

    def __init__(self, tensors: Mapping[str, Tensor], memory: Mapping[str, str], kept: frozenset[str], machine=None):
        self.machine = machine
        self.tensors = tensors
        self.memory = memory
        self.kept = kept
        self.buffers: list[Buffer] = []
        self._numbers: dict[str, int] = {}
        self._at_hand: dict[str, tuple[Local, tuple[int, ...]]] = {}
        #: Of tensors in memory of the thread's own: how many of their first axes are not in it, where on the next axis what
        #: is in it begins, and at which element of the buffer that is.
        self._own: dict[str, tuple[int, Affine, int]] = {}
        self._axes = 0
        self._locals = 0
        self._tiles = 0

    # ------------------------------------------------------------------------------------------ the whole kernel

    def kernel(
        self, name: str, members: Sequence[Member], shared: int, provenance: Provenance, parts: Tensor | None = None
    ) -> Kernel:
        """The kernel of members that share their first `shared` axes. parts: where parts of the sums of a contraction are
        already."""
        for member in members:
            self._buffer(member.tensor.name, written=True)
        work = sum((m.work for m in members), 0)
        if members[0].style == "tile":
            tiling = Tiling(self, members, self.machine)
            loops, body = tiling.statements()
            units = self._outer_units(loops)
            body = nested(loops[len(units) :], body)
            return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance, tiling.known_ways))
        if members[0].style == "cases":
            loops, body = Cases(self, members[0], self.machine).statements()
            units = self._outer_units(loops)
            body = nested(loops[len(units) :], body)
            return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance))
        if members[0].style == "transformed":
            units, body = Resident(self, members, self.machine).statements()
            return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance))
        if members[0].style == "contraction":
            units, body = joined(self, members, parts) if parts is not None else ((), (contraction(self, members),))
            return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance))
        shape = members[0].extents
        units = tuple(Unit(self._axis(), shape[k]) for k in range(self._unit_axes(members, shared)))
        body = self._tree(members, len(units), tuple(u.axis for u in units))
        return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance))

    def rows(
        self, name: str, members: Sequence[Member], space: Space, provenance: Provenance, parts: Mapping[str, Tensor]
    ) -> Kernel:
        """The kernel of members that share a space; see `Rows`."""
        return self._pruned(Rows(self, members, space, parts).kernel(name, provenance))

    def bands(self, name: str, chain: Chain, size: int, room: int, provenance: Provenance) -> Kernel:
        """The kernel of sums that are made in bands of a size, in so many elements of memory; see `Banded`."""
        for member in chain.members:
            self._buffer(member.tensor.name, written=True)
        work = sum((m.work for m in chain.members), 0)
        units, body = Banded(self, chain, size, room, self.machine).statements()
        return self._pruned(Kernel(name, tuple(self.buffers), units, body, work, provenance))

    def _outer_units(self, loops: Sequence[tuple[int, Size]]) -> tuple[Unit, ...]:
        """As many of the outer loops as give enough units, also where a symbolic extent turns out to be 1."""
        units: list[Unit] = []
        count = known = 1
        for axis, extent in loops:
            if count >= ENOUGH_UNITS and known >= ENOUGH_KNOWN_UNITS:
                break
            units.append(Unit(axis, extent))
            count *= usual(extent, FEW)
            known *= extent if isinstance(extent, int) else 1
        return tuple(units)

    def fill(self, name: str, tensor: Tensor, op: str, provenance: Provenance) -> Kernel:
        """The kernel that sets every element to the identity of a reduction."""
        number = self._buffer(tensor.name, written=True)
        unit = Unit(self._axis(), product(tensor.shape))
        start = Const(0) if op in ("argmax", "argmin") else identity(op, tensor.kind)
        store = Store(number, Address(0, ((Index(unit.axis), 1),)), start)
        return Kernel(name, tuple(self.buffers), (unit,), (store,), unit.extent, provenance)

    def _unit_axes(self, members: Sequence[Member], shared: int) -> int:
        """How many of the shared axes become units: one where that gives enough, never the loop that runs in vectors
        unless it is the only one."""
        if shared == 0 or isinstance(self.machine, Device):
            return shared
        inner = any(m.reduces or len(m.extents) > shared for m in members)
        most = shared if inner else max(1, shared - 1)
        count, units = 0, 1
        while count < most and units < ENOUGH_UNITS:
            extent = members[0].extents[count]
            units *= usual(extent, FEW)
            count += 1
        return count

    def _pruned(self, kernel: Kernel) -> Kernel:
        """Without the stores of what nobody loads, and without the buffers that are then left over."""
        loaded = {n for n, b in enumerate(self.buffers) if b.name in self.kept}
        collect_loads(kernel.body, loaded)
        body = without_stores(kernel.body, loaded)
        used = sorted(loaded)
        numbers = {old: new for new, old in enumerate(used)}
        return replace(kernel, buffers=tuple(self.buffers[k] for k in used), body=renumbered(body, numbers))

    # ------------------------------------------------------------------------------------------------- the tree

    def _tree(self, members: Sequence[Member], depth: int, axes: tuple[int, ...]) -> tuple[Statement, ...]:
        statements: list[Statement] = []
        for run in self._runs(members, depth):
            if run[0].depth == depth:
                statements += self._leaf(run[0], axes)
                continue
            axis = self._axis()
            body = self._tree(run, depth + 1, (*axes, axis))
            statements.append(Loop(axis, run[0].extents[depth], body, ", ".join(m.tensor.name for m in run)))
            for member in run:
                self._at_hand.pop(member.tensor.name, None)
        return tuple(statements)

    def _runs(self, members: Sequence[Member], depth: int) -> list[list[Member]]:
        """Neighbours that can share the next loop, together."""
        runs: list[list[Member]] = []
        for member in members:
            if runs and self._joins(member, runs[-1], depth):
                runs[-1].append(member)
            else:
                runs.append([member])
        return runs

    def _joins(self, member: Member, run: list[Member], depth: int) -> bool:
        if member.depth <= depth or run[0].depth <= depth:
            return False
        if member.extents[depth] != run[0].extents[depth]:
            return False
        made = {m.tensor.name for m in run}
        if any(self.memory[o] == m.tensor.name for o in member.operands for m in run if not m.is_whole):
            return False
        return all(self.shares(member, o, depth + 1) for o in member.operands if self.memory[o] in made)

    def shares(self, reader: Member, operand: str, depth: int) -> bool:
        """Whether a read of an operand made in the same kernel is served by loops shared to a depth."""
        tensor, source = self.tensors[operand], self.tensors[self.memory[operand]]
        return can_share(reader, operand, preserved_axes(tensor.shape, source.shape), depth)

    # ------------------------------------------------------------------------------------------------ one member

    def _leaf(self, member: Member, axes: tuple[int, ...]) -> list[Statement]:
        return self._row(member, axes) if member.style == "row" else self._element(member, axes)

    def _element(self, member: Member, axes: tuple[int, ...]) -> list[Statement]:
        statements: list[Statement] = []
        values: list[Expr] = []
        for piece in member.pieces:
            made, value = self.reduce(piece, dict(zip(member.axes_of(piece), axes)))
            statements += made
            values.append(value)
        total = values[0] if len(values) == 1 else Call("add", tuple(values))
        if type(total) is not Local or total.kind != member.tensor.kind:
            local = self._local(member.tensor.kind)
            statements.append(Let(local, total))
            total = local
        statements.append(Store(self._buffer(member.tensor.name), self._own_place(member, axes), total))
        if member.is_whole:
            self._at_hand[member.tensor.name] = (total, axes)
        return statements

    def reduce(self, piece: Piece, where: dict[int, int]) -> tuple[list[Statement], Expr]:
        """Statements that reduce a term at a place (domain axis -> kernel axis), and the value they leave."""
        form = piece.form
        order = reduction_order(form)
        loops = [(self._axis(), k) for k in order]
        where.update((k, axis) for axis, k in loops)
        value = self.lower(form.body, piece, where)
        if not loops:
            return [], value
        if form.op in ("argmax", "argmin"):
            return self._extreme_place(form, where, loops, value)
        local = self._local(result_kind(form))
        start, inner = identity(form.op, local.kind), Update(local, form.op, value)
        return [Let(local, start), *wrap(loops, form.domain, (inner,))], local

    def _extreme_place(self, form: Form, where, loops, value: Expr) -> tuple[list[Statement], Expr]:
        kind = kind_of(form.body, [o.kind for o in form.operands])
        best, rank = self._local("float" if kind == "float" else "int"), self._local("int")
        sizes = strides([form.domain[k] for k in form.reduced])
        at = affine(0, ()) if not sizes else _flat_rank(form, where, sizes)
        start = identity(form.op.removeprefix("arg"), best.kind)
        inner = Best(best, rank, form.op, value, at)
        statements = [Let(best, start), Let(rank, Const(0)), *wrap(loops, form.domain, (inner,))]
        return statements, rank

    def _row(self, member: Member, axes: tuple[int, ...]) -> list[Statement]:
        """The last axis innermost: first what does not reduce (or the identity) is set, then each term is joined to it."""
        extent = member.extents[-1]
        number = self._buffer(member.tensor.name)
        plain = [p for p in member.pieces if not p.form.reduced]
        axis = self._axis()
        values = [self.lower(p.form.body, p, dict(zip(member.axes_of(p), (*axes, axis)))) for p in plain]
        op = next(p.form.op for p in member.pieces if p.form.reduced)
        start = (
            Call("add", tuple(values)) if len(values) > 1 else values[0] if values else identity(op, member.tensor.kind)
        )
        place = self._own_place(member, (*axes, axis))
        statements: list[Statement] = [Loop(axis, extent, (Store(number, place, start),))]
        for piece in member.pieces:
            if piece.form.reduced:
                statements += self._row_piece(member, piece, axes)
        return statements

    def _row_piece(self, member: Member, piece: Piece, axes: tuple[int, ...]) -> list[Statement]:
        form = piece.form
        loops = [(self._axis(), k) for k in form.reduced]
        inner = self._axis()
        where = dict(zip(member.axes_of(piece), (*axes, inner))) | {k: axis for axis, k in loops}
        place = self._own_place(member, (*axes, inner))
        store = Store(self._buffer(member.tensor.name), place, self.lower(form.body, piece, where), form.op)
        return list(wrap(loops, form.domain, (Loop(inner, member.extents[-1], (store,)),)))

    def new_local(self, kind: str) -> Local:
        """A scalar of the kernel that is not in use."""
        return self._local(kind)

    def element(self, member: Member, axes: tuple[int, ...]) -> list[Statement]:
        """The statements of a member at a point of its loops."""
        return self._element(member, axes)

    def store(self, member: Member, axes: tuple[int, ...], value: Expr) -> Store:
        """The store of an element of a member; those that follow find it at hand."""
        if member.is_whole:
            self._at_hand[member.tensor.name] = (value, axes)
        return Store(self._buffer(member.tensor.name), self._own_place(member, axes), value)

    def _own_place(self, member: Member, axes: tuple[int, ...]) -> Address:
        return address(member.place([index(a) for a in axes]), member.tensor.shape)

    # ------------------------------------------------------------------------------------------------ expressions

    def lower(self, body: Expr, piece: Piece, where: Mapping[int, int]) -> Expr:
        """The body over the axes of the kernel, its reads as loads or as scalars at hand."""
        return self._lowered(body, piece, lambda axis: Index(where[axis]))

    def _lowered(self, body: Expr, piece: Piece, place_of) -> Expr:
        done: dict[Expr, Expr] = {}

        def visit(e: Expr) -> Expr:
            found = done.get(e)
            if found is None:
                found = done[e] = step(e)
            return found

        def step(e: Expr) -> Expr:
            match e:
                case Index(axis):
                    return place_of(axis)
                case Affine(constant, terms):
                    return affine(constant, tuple((visit(atom), c) for atom, c in terms))
                case Call("floordiv" | "mod" as function, (of, Const(q))) if type(of) is Affine and type(q) is int and q:
                    return divide(visit(of), q, None, function)
                case Call(function, args):
                    return Call(function, tuple(visit(a) for a in args))
                case Read():
                    return self._read(e, piece, visit)
            return e

        return visit(body)

    def _read(self, read: Read, piece: Piece, visit) -> Expr:
        name, operand = piece.operands[read.slot], piece.form.operands[read.slot]
        place = tuple(visit(p) for p in read.place)
        conditions: tuple[Inside, ...] = ()
        if read.otherwise is not None:
            pairs = zip(read.place, place, operand.shape)
            conditions = tuple(Inside(p, s) for r, p, s in pairs if not is_inside(r, s, piece.form.domain))
        at_hand = self._at_hand.get(name)
        if at_hand and not conditions and all(
            extent == 1 or alone_index(p) == axis for p, axis, extent in zip(place, at_hand[1], operand.shape, strict=True)
        ):
            return at_hand[0]
        otherwise = visit(read.otherwise) if conditions else None
        return Load(self._buffer(name), self.address_in(name, place, operand.shape), conditions, otherwise)

    def _buffer(self, name: str, written: bool = False) -> int:
        source = self.tensors[self.memory[name]]
        number = self._numbers.get(source.name)
        if number is None:
            number = self._numbers[source.name] = len(self.buffers)
            self.buffers.append(Buffer(source.name, source.kind, product(source.shape), written))
        return number

    def private(self, name: str, size: int) -> int:
        """A buffer of floats that each thread has for itself."""
        self.buffers.append(Buffer(name, "float", size, True, True))
        return len(self.buffers) - 1

    def keep_private(self, name: str, outer: int, size: int) -> None:
        """Keeps a tensor in memory of the thread's own: a part at a time, that of one place on its `outer` first axes."""
        self._own[name] = outer, affine(0), 0
        self._numbers[name] = self.private(name, size)

    def keep_band(self, name: str, outer: int, start: Affine, buffer: int, offset: int) -> None:
        """Keeps a tensor in a buffer of the thread's own, from one of its elements on: of one place on its `outer` first
        axes what follows from `start` on along the next axis."""
        self._own[name] = outer, start, offset
        self._numbers[name] = buffer

    def address_in(self, name: str, place: Sequence[Affine], shape: Sequence[Size]) -> Address:
        """Where an element of a tensor is in its buffer."""
        if name not in self._own:
            return address(place, shape)
        outer, start, offset = self._own[name]
        own = list(place[outer:])
        if start.terms or start.constant:
            own[0] = affine(0, ((own[0], 1), (start, -1)))
        found = address(own, shape[outer:])
        return Address(found.constant + offset, found.terms) if offset else found

    def lower_at(self, e: Expr, piece: Piece, where: Mapping[int, Affine]) -> Expr:
        """An expression with the indices of its form at places of the kernel."""
        return self._lowered(e, piece, lambda axis: where[axis])

    def number(self, name: str, written: bool = False) -> int:
        """The buffer that a tensor is in."""
        return self._buffer(name, written)

    def new_axis(self) -> int:
        """An axis of the kernel that is not in use."""
        return self._axis()

    def new_tile(self) -> int:
        """A number for a tile."""
        self._tiles += 1
        return self._tiles

    def _axis(self) -> int:
        self._axes += 1
        return self._axes - 1

    def _local(self, kind: str) -> Local:
        self._locals += 1
        return Local(self._locals - 1, kind)


def _as_expr(size: Size) -> Expr:
    return Const(size) if isinstance(size, int) else Extent(size)


def only_index(place: Affine) -> int | None:
    """The axis k if the place is a multiple of Index(k) plus a constant, else None."""
    if len(place.terms) == 1 and type(place.terms[0][0]) is Index:
        return place.terms[0][0].axis
    return None


def identity(op: str, kind: str) -> Const:
    """What a reduction of a kind starts from."""
    return Const(IDENTITY[op][kind != "float"])


def wrap(
    loops: Sequence[tuple[int, int]], domain: Sequence[Size], body: tuple[Statement, ...]
) -> tuple[Statement, ...]:
    """The body inside loops (kernel axis, domain axis), the first outermost."""
    for axis, k in reversed(loops):
        body = (Loop(axis, domain[k], body),)
    return body


def _flat_rank(form: Form, where: Mapping[int, int], sizes: Sequence[Size]) -> Expr:
    terms = []
    for k, size in zip(form.reduced, sizes):
        factor = Const(size) if isinstance(size, int) else Extent(size)
        terms.append(Call("mul", (Index(where[k]), factor)))
    return terms[0] if len(terms) == 1 else Call("add", tuple(terms))
