"""How the elements of a tensor are in memory, and forms over tensors that are in memory in other ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import affine, index
from diffgraph.ir.digits import split_index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.guards import ZERO_OF
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.settle import settle


@dataclass(frozen=True)
class Stored:
    """A tensor with its axes in an order. With a panel, the last of them is cut into panels of that length, and which panel
    it is comes first: w[o, c, p, q] in the order p, q, c, o with panels of 32 is v[o // 32, p, q, c, o % 32]."""

    order: tuple[int, ...]
    panel: int | None = None

    def shape(self, shape: Sequence[Size]) -> tuple[Size, ...]:
        """The shape in memory of a tensor of a shape; the last panel may be longer than what is left for it."""
        ordered = tuple(shape[k] for k in self.order)
        if self.panel is None:
            return ordered
        return (-(-ordered[-1] // self.panel), *ordered[:-1], self.panel)

    def place(self, place: Sequence[Affine]) -> tuple[Affine, ...]:
        """Where an element is in memory."""
        ordered = tuple(place[k] for k in self.order)
        if self.panel is None:
            return ordered
        high, low = (affine(0, ((Call(f, (ordered[-1], Const(self.panel))), 1),)) for f in ("floordiv", "mod"))
        return (high, *ordered[:-1], low)

    @property
    def is_plain(self) -> bool:
        """Nothing is moved."""
        return self.panel is None and self.order == tuple(range(len(self.order)))


def moved_last(axis: int, rank: int) -> Stored:
    """All axes as they come, but one of them last."""
    return Stored((*(k for k in range(rank) if k != axis), axis))


@cache
def stored_form(form: Form, write: Stored | None, reads: tuple[Stored | None, ...]) -> Form:
    """The form with its result, and what it reads, stored in other ways. A result in panels is written by an index alone
    on that axis, whose extent is a multiple of the panel."""
    if write is not None and write.panel is not None:
        form, places = _written_in_panels(form, write)
    else:
        places = form.write if write is None else write.place(form.write)
    shape = form.shape if write is None else write.shape(form.shape)
    operands = tuple(o if r is None else replace(o, shape=r.shape(o.shape)) for o, r in zip(form.operands, reads))

    def moved(e: Expr) -> Expr:
        if type(e) is not Read or reads[e.slot] is None:
            return e
        return Read(e.slot, reads[e.slot].place(e.place), e.otherwise)

    body = rewrite(form.body, moved, tuple(o.kind for o in form.operands))
    found = Form(form.domain, form.op, places, shape, operands, body)
    # An index in two digits makes places in panels plain again.
    return found if write is None or write.panel is None else settle(found)


def _written_in_panels(form: Form, write: Stored) -> tuple[Form, tuple[Affine, ...]]:
    """The form with the index of the panelled axis as two, and the places that it then writes."""
    axis = alone_index(form.write[write.order[-1]])
    form = split_index(form, axis, write.panel)
    return form, (index(axis), *(form.write[k] for k in write.order[:-1]), index(axis + 1))


@cache
def stored_copy(operand: Operand, stored: Stored) -> Form:
    """The form that copies a tensor into memory stored in another way; the last panel is filled up with zeros."""
    shape = stored.shape(operand.shape)
    places = tuple(index(k) for k in range(len(shape)))
    if stored.panel is None:
        ordered = places
    else:
        ordered = (*places[1:-1], affine(0, ((Index(0), stored.panel), (Index(len(shape) - 1), 1))))
    place = [places[0]] * len(operand.shape)
    for at, axis in zip(ordered, stored.order):
        place[axis] = at
    whole = stored.panel is None or operand.shape[stored.order[-1]] % stored.panel == 0
    body = Read(0, tuple(place), None if whole else ZERO_OF[operand.kind])
    return Form(shape, "sum", places, shape, (operand,), body)


@cache
def copy_of(form: Form) -> Stored | None:
    """How a form stores what it copies whole into another order; None for any other form."""
    body = form.body
    if type(body) is not Read or form.reduced or len(form.operands) != 1:
        return None
    (operand,) = form.operands
    extra = len(form.shape) - len(operand.shape)
    if extra not in (0, 1):
        return None
    order: dict[int, int] = {}
    for axis, place in enumerate(body.place):
        first = min((a.axis for a, _ in place.terms if type(a) is Index), default=None)
        if first is None:
            return None
        order[len(form.shape) - 1 if extra and first == 0 else first] = axis
    stored = Stored(tuple(order[k] for k in sorted(order)), form.shape[-1] if extra else None)
    is_whole = len(order) == len(operand.shape) and not stored.is_plain
    return stored if is_whole and isinstance(stored.panel, int | None) and stored_copy(operand, stored) == form else None
