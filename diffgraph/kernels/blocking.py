"""Contractions as kernels: their operands lowered, their sums in one piece or in parts, and what follows them.

`nest` is the kernel's `Nest`; the first member is the contraction, the others are computed from its results.
"""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.ir.affine import index
from diffgraph.ir.expression import Call, Const
from diffgraph.ir.program import Tensor
from diffgraph.kernels.access import address
from diffgraph.kernels.loops import (
    Contraction,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Product,
    Statement,
    Store,
    Unit,
    Update,
)
from diffgraph.kernels.member import Member


def contraction(nest, members: Sequence[Member]) -> Contraction:
    """The sums of products of the first member, and what is computed from each: its other terms, the other members."""
    first, choice = members[0], members[0].choice
    axes = tuple(nest.new_axis() for _ in first.extents)
    products = _products(nest, first, axes)
    result = nest.new_local("float")
    body = _following(nest, members, axes, result)
    units = (_units(first, axes, p) for p in (choice.batch, choice.rows, choice.columns))
    return Contraction(*units, products, result, tuple(body), choice.block)


def in_parts(nest, name: str, member: Member, tensor: Tensor) -> Kernel:
    """The kernel that leaves the sums of a contraction over each part of its depth in a tensor [parts, ...]."""
    choice = member.choice
    number = nest.number(tensor.name, written=True)
    part, axes = Unit(nest.new_axis(), choice.parts), tuple(nest.new_axis() for _ in member.extents)
    products = _products(nest, member, axes)
    result = nest.new_local("float")
    store = Store(number, address([index(part.axis), *map(index, axes)], tensor.shape), result)
    batch, rows, columns = (_units(member, axes, p) for p in (choice.batch, choice.rows, choice.columns))
    body = Contraction((part, *batch), rows, columns, products, result, (store,), choice.block, part)
    return Kernel(name, tuple(nest.buffers), (), (body,), member.work, member.provenance)


def joined(nest, members: Sequence[Member], parts: Tensor) -> tuple[tuple[Unit, ...], tuple[Statement, ...]]:
    """The units and the body of the kernel that sums the parts, and goes on as the contraction would."""
    units = tuple(Unit(nest.new_axis(), extent) for extent in members[0].extents)
    axes = tuple(u.axis for u in units)
    part, result = nest.new_axis(), nest.new_local("float")
    load = Load(nest.number(parts.name), address([index(part), *map(index, axes)], parts.shape), (), None)
    sums = (Let(result, Const(0.0)), Loop(part, parts.shape[0], (Update(result, "sum", load),)))
    return units, (*sums, *_following(nest, members, axes, result))


def _following(nest, members: Sequence[Member], axes: tuple[int, ...], result: Local) -> list[Statement]:
    """The result plus the terms of the first member that reduce nothing; then the other members."""
    first = members[0]
    plain = [p for p in first.pieces if not p.form.reduced]
    total, statements = result, []
    if plain:
        total = nest.new_local("float")
        values = (result, *(nest.lower(p.form.body, p, dict(zip(p.axes, axes))) for p in plain))
        statements.append(Let(total, Call("add", values)))
    statements.append(nest.store(first, axes, total))
    for member in members[1:]:
        statements += nest.element(member, axes)
    return statements


def _products(nest, member: Member, axes: tuple[int, ...]) -> tuple[Product, ...]:
    """The terms of a contraction as products of what moves with its rows and what moves with its columns."""
    products: list[Product] = []
    for piece, sides in zip((p for p in member.pieces if p.form.reduced), member.choice.factors):
        depth = [(nest.new_axis(), k) for k in piece.form.reduced]
        where = dict(zip(piece.axes, axes)) | {k: axis for axis, k in depth}
        left, right = (nest.lower(f[0] if len(f) == 1 else Call("mul", f), piece, where) for f in sides)
        products.append(Product(tuple(Unit(axis, piece.form.domain[k]) for axis, k in depth), left, right))
    return tuple(products)


def _units(member: Member, axes: tuple[int, ...], positions: tuple[int, ...]) -> tuple[Unit, ...]:
    return tuple(Unit(axes[p], member.extents[p]) for p in positions)

