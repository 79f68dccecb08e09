"""What definitions do with the rows of one space, so that a kernel can do all of it while a row is near.

    mu[n] = mean[k](x[n, k]);  v[n] = sum[k]((x[n, k] - mu[n])^2);  y[n, k] = (x[n, k] - mu[n]) * rsqrt(v[n])
    db[k] = sum[n](dy[n, k])

A space is some outer extents (n) and some inner ones (k). A definition makes rows of it (y), or reduces each row to a
number (mu, v), or computes with such numbers, or sums rows over the outer extents (db). Told from access maps alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.scalar import kind_of
from diffgraph.kernels.access import coefficient, reads, step, strides, usual
from diffgraph.kernels.member import Member
from diffgraph.kernels.tiles import unsafe
from diffgraph.kernels.vectorizable import COMPARISONS, CONDITIONS, VECTOR_FUNCTIONS

ROW, NUMBER, SCALAR, ACROSS = "row", "number", "scalar", "across"

#: A row shorter than this is not gone through in vectors (of 16 lanes, half are busy then: ten classes take 50 ns a row,
#: and 120 one by one); one of more elements does not stay near.
SHORTEST, LONGEST = 8, 1 << 16

#: So many rows give threads enough to share; a space of fewer elements is not worth it.
FEWEST_ROWS, SMALL = 8, 512

#: Sums of rows are joined from parts, which is worth it from so many elements on.
LARGE = 40_000


@dataclass(frozen=True)
class Space:
    """The extents that a kernel walks row by row, and those of a row."""

    outer: tuple[Size, ...]
    inner: tuple[Size, ...]

    @property
    def is_worthwhile(self) -> bool:
        """Rows are long enough for vectors, short enough to stay near, and enough to share."""
        length, count = (product(usual(s) for s in extents) for extents in (self.inner, self.outer))
        lanes = usual(self.inner[-1]) >= SHORTEST
        return lanes and length <= LONGEST and count >= FEWEST_ROWS and length * count >= SMALL


@dataclass(frozen=True)
class Role:
    """What a member does in a space. outer, inner: the axes of the domain of each of its pieces that go along the outer and
    the inner extents; none where it does not move along them."""

    kind: str
    outer: tuple[tuple[int, ...], ...]
    inner: tuple[tuple[int, ...], ...]

    @property
    def runs_in_rows(self) -> bool:
        """It goes through rows, rather than computing with single numbers."""
        return bool(self.inner[0])


def spaces_of(member: Member) -> list[Space]:
    """The spaces that a member may be a part of, told from itself alone: those that a reduction has, or that a map may
    have; the longest rows last."""
    if any(p.form.reduced for p in member.pieces):
        if len(member.pieces) != 1 or member.lattice is None:
            return []
        (piece,) = member.pieces
        order = _order(piece.form, piece.form.reduced)
        if order is None:
            return []
        reduced = tuple(piece.form.domain[k] for k in order)
        written = _without_ones(member.extents)
        return [Space(written, reduced)] if written else []
    extents = member.extents
    return [Space(extents[:k], extents[k:]) for k in range(len(extents) - 1, 0, -1)]


@lru_cache(maxsize=1 << 14)
def role_of(member: Member, space: Space) -> Role | None:
    """What a member does in a space; None if nothing that rows can be made of."""
    if member.style == "transformed" or member.order is not None or not member.is_whole:
        return None
    if not any(p.form.reduced for p in member.pieces):
        return _map(member, space)
    if len(member.pieces) != 1:
        return None
    (piece,) = member.pieces
    order = _order(piece.form, piece.form.reduced)
    if order is None:
        return None
    reduced = tuple(piece.form.domain[k] for k in order)
    written = _without_ones(member.extents)
    if member.extents[: len(written)] != written:
        return None
    kept = piece.axes[: len(written)]
    if written == space.outer and reduced == space.inner and piece.form.op in ("sum", "max", "min"):
        return _checked(member, Role(NUMBER, (kept,), (order,)), space)
    if piece.form.op != "sum" or reduced != space.outer or written not in (space.inner, ()):
        return None
    if written and product(usual(s) for s in (*space.outer, *space.inner)) < LARGE:
        return None
    return _checked(member, Role(ACROSS, (order,), (kept,)), space)


def _map(member: Member, space: Space) -> Role | None:
    rank = len(space.outer)
    axes = tuple(member.axes_of(p) for p in member.pieces)
    if member.extents == (*space.outer, *space.inner):
        role = Role(ROW, tuple(a[:rank] for a in axes), tuple(a[rank:] for a in axes))
        return _checked(member, role, space)
    if _without_ones(member.extents) == space.outer and member.extents[:rank] == space.outer:
        return Role(SCALAR, tuple(a[:rank] for a in axes), ((),) * len(axes))
    return None


def _checked(member: Member, role: Role, space: Space) -> Role | None:
    """The role, if what runs in rows can run in vectors."""
    if member.tensor.kind != "float":
        return None
    for piece, inner in zip(member.pieces, role.inner):
        if inner and not runs_in_lanes(piece.form, inner[-1]):
            return None
    return role


def _without_ones(extents: Sequence[Size]) -> tuple[Size, ...]:
    return tuple(e for e in extents if e != 1)


def _order(form: Form, axes: Sequence[int]) -> tuple[int, ...] | None:
    """The axes in the order in which some read has all of them as places of their own; None where none has."""
    for read in reads(form.body):
        alone = [alone_index(p) for p in read.place]
        found = tuple(k for k in alone if k in axes)
        if len(set(found)) == len(found) == len(axes):
            return found
    return None


@lru_cache(maxsize=1 << 14)
def runs_in_lanes(form: Form, lane: int) -> bool:
    """Whether a body can be computed for neighbours along an axis at once."""
    kinds = tuple(o.kind for o in form.operands)
    return kind_of(form.body, kinds) == "float" and _Lanes(form, lane, kinds).value(form.body)


class _Lanes:
    """Looks at the expressions of one form."""

    def __init__(self, form: Form, lane: int, kinds: tuple[str, ...]):
        self.form = form
        self.lane = lane
        self.kinds = kinds
        self._done: dict[Expr, bool] = {}

    def value(self, e: Expr) -> bool:
        """Whether a float can be computed in lanes; anything can that is the same for all of them."""
        found = self._done.get(e)
        if found is None:
            found = self._done[e] = self.lane not in e.indices or self._value(e)
        return found

    def _value(self, e: Expr) -> bool:
        match e:
            case Read():
                return self._read(e)
            case Call("powi", (base, power)):
                return type(power) is Const and abs(power.value) < 9 and self._float(base)
            case Call("float", (of,)) if kind_of(of, self.kinds) == "bool":
                return self._condition(of)
            case Call("where", (condition, *values)):
                return self._condition(condition) and all(map(self._float, values))
            case Call(function, args) if function in VECTOR_FUNCTIONS:
                return all(map(self._float, args))
        return False

    def _float(self, e: Expr) -> bool:
        return type(e) is Const or kind_of(e, self.kinds) == "float" and self.value(e)

    def _condition(self, e: Expr) -> bool:
        if self.lane not in e.indices:
            return True
        match e:
            case Call(function, args) if function in CONDITIONS:
                return all(map(self._condition, args))
            case Call(function, (a, b)) if function in COMPARISONS:
                return self._float(a) and self._float(b) or place_compared(e, self.lane) is not None
        return False

    def _read(self, read: Read) -> bool:
        operand = self.form.operands[read.slot]
        distance, panel = step(read.place, strides(operand.shape), self.lane)
        if operand.kind != "float" or distance != 1 or panel is not None:
            return False
        guarded = [] if read.otherwise is None else unsafe(read, self.form)
        if read.otherwise is not None and type(read.otherwise) is not Const:
            return False
        return all(self.lane not in p.indices or coefficient(p, self.lane) == 1 for p in guarded)


def place_compared(e: Call, lane: int) -> Expr | None:
    """What the place along the lanes is compared with by a condition `place == other` or `other < place` and the like; None
    for another condition."""
    a, b = e.args
    for place, other in ((a, b), (b, a)):
        if _is_index(place, lane) and lane not in other.indices:
            return other
    return None


def _is_index(e: Expr, axis: int) -> bool:
    return alone_index(e) == axis if type(e) is Affine else type(e) is Index and e.axis == axis


def reads_own_row(role: Role, member: Member, tensor: str, preserved: int) -> bool:
    """Whether a member reads a tensor only in the row where it is itself. preserved: see `member.can_share`."""
    rank = len(role.outer[0])
    return preserved >= rank and all(
        [alone_index(p) for p in read.place[:rank]] == list(outer)
        for piece, outer in zip(member.pieces, role.outer)
        for read in reads(piece.form.body)
        if piece.operands[read.slot] == tensor
    )


def reads_own_place(role: Role, member: Member, tensor: str) -> bool:
    """Whether a member reads a tensor only at the place of the space where it is itself."""
    return all(
        [alone_index(p) for p in read.place] == [*outer, *inner]
        for piece, outer, inner in zip(member.pieces, role.outer, role.inner)
        for read in reads(piece.form.body)
        if piece.operands[read.slot] == tensor
    )
