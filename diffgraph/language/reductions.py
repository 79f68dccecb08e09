"""Reductions along axes, matrix products and norms of whole tensors."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Const, Expr, Extent, Read
from diffgraph.ir.form import Form
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call, constant, mul, where
from diffgraph.language.arithmetic import (
    apply_scalar,
    as_pending,
    describe,
    binary,
    broadcast_shapes,
    int_bound,
    materialize,
    show_shape,
)
from diffgraph.language.session import Session
from diffgraph.language.values import Indexed, Pending, TensorValue

#: Reductions of the language.
REDUCTIONS = ("sum", "prod", "max", "min", "mean", "argmax", "argmin", "any", "all")


def axis_of(axis: Any, rank: int, span: Span | None) -> int:
    """`axis = 1` or `axis = -1` as a number from 0."""
    if axis is None or isinstance(axis, (list, range, tuple)):
        raise error("DG340", "one axis is wanted here", span, help="axis = 0, for example")
    return axes_of(axis, rank, span)[0]


def axes_of(axis: Any, rank: int, span: Span | None) -> list[int]:
    """`axis = 1`, `axis = [0, 2]`, `axis = -2..0` or None for all, as sorted numbers from 0."""
    if axis is None:
        return list(range(rank))
    given = list(axis) if isinstance(axis, (list, range, tuple)) else [axis]
    found = []
    for a in given:
        if isinstance(a, bool) or not isinstance(a, int) or not -rank <= a < rank:
            hint = f"its axes are 0 to {rank - 1}, or -{rank} to -1 from behind" if rank else None
            what = f"axis {a}" if isinstance(a, int) else f"axis like {describe(a)}"
            raise error("DG340", f"there is no {what} in a tensor of {rank} axes", span, help=hint)
        found.append(a % rank)
    if len(set(found)) != len(found):
        raise error("DG341", "an axis is named twice", span)
    return sorted(found)


def reduce_axes(op: str, value: Any, axis: Any, keep: bool, session: Session, span: Span | None) -> Any:
    """A reduction over some axes; `keep` leaves them with size 1."""
    if isinstance(value, Indexed):
        raise error(
            "DG344",
            f"`{op}` of a single element",
            span,
            help=f"reduce over an index, `{op}[i](...)`; a call takes whole tensors" if op != "norm" else None,
        )
    x = as_pending(value, session, span)
    rank = len(x.shape)
    axes = axes_of(axis, rank, span)
    kept = [k for k in range(rank) if k not in axes]
    order = kept + axes
    domain = tuple(x.shape[k] for k in order)
    used = sorted(x.body.slots)
    places = {old: index(new) for new, old in enumerate(order)}
    body = substitute(x.body, places, domain, {old: new for new, old in enumerate(used)})
    operands = [x.operands[s] for s in used]
    kinds = [t.kind for t in operands]
    kind = reduced_kind(op, x.kind)
    body = prepared(op, body, x.kind, kinds)
    if op == "mean":
        body, op = mul(reciprocal(product(x.shape[k] for k in axes)), body, kinds=kinds), "sum"
    write = tuple(index(k) for k in range(len(kept)))
    form = Form(domain, op, write, domain[: len(kept)], tuple(t.operand for t in operands), body)
    session.at(span)
    session.count_definitions(span)
    names = tuple(session.operand(t, span) for t in operands)
    bound = int_bound(form) if kind == "int" else None
    result = TensorValue(session.builder.define(op, (form, names), kind=kind, bound=bound), span)
    return _with_ones(result, axes, rank) if keep else result


def reduced_kind(op: str, kind: str) -> str:
    """The kind of a reduction of elements of a kind."""
    if op in ("argmax", "argmin"):
        return "int"
    if op in ("any", "all"):
        return "bool"
    return "float" if op == "mean" else "int" if kind == "bool" else kind


def prepared(op: str, body: Expr, kind: str, kinds) -> Expr:
    """The body as it is reduced: `any` and `all` want bools; bools count as 0 and 1."""
    if op in ("any", "all"):
        return body if kind == "bool" else call("ne", body, Const(0), kinds=kinds)
    if kind == "bool" and op not in ("argmax", "argmin"):
        return where(body, Const(1), Const(0), kinds)
    return body


def reciprocal(count: Size) -> Expr:
    """1 / count, exact where the count is known."""
    if not isinstance(count, int):
        return call("recip", Extent(count))
    return constant(Fraction(1, count)) if count else Const(float("nan"))


def _with_ones(value: TensorValue, axes: list[int], rank: int) -> Pending:
    """The tensor with axes of size 1 put back."""
    places = []
    for k in range(rank):
        if k not in axes:
            places.append(k)
    shape = []
    kept = iter(value.shape)
    for k in range(rank):
        shape.append(1 if k in axes else next(kept))
    at = tuple(index(k) if shape[k] != 1 else affine() for k in places)
    return Pending(tuple(shape), value.kind, Read(0, at, None), (value.tensor,), value.tensor.bound, value.span)


def norm(value: Any, axis: Any, keep: bool, session: Session, span: Span | None) -> Any:
    """The Euclidean norm; its derivative at 0 is 0."""
    x = materialize(value, session, "x", span)
    square = reduce_axes("sum", binary("*", x, x, session, span), axis, keep, session, span)
    zero = binary("==", square, 0, session, span)
    safe = apply_scalar("sqrt", (apply_scalar("where", (zero, 1.0, square), session, span),), session, span)
    return apply_scalar("where", (zero, 0.0, safe), session, span)


def matmul(a: Any, b: Any, session: Session, span: Span | None) -> TensorValue:
    """`a @ b` as NumPy does: vectors, matrices, and leading axes that broadcast."""
    left, right = as_pending(a, session, span), as_pending(b, session, span)
    if not left.shape or not right.shape:
        raise error("DG342", "`@` multiplies vectors and matrices, not numbers", span, help="write `*`")
    inner, other = left.shape[-1], right.shape[-2 if len(right.shape) > 1 else 0]

    def problem():
        notes = [Note(f"this is {show_shape(x.shape)}", x.span) for x in (left, right) if x.span]
        return error(
            "DG343",
            f"`@` sums over the last axis of {show_shape(left.shape)} and the"
            f" {'second to last' if len(right.shape) > 1 else 'only'} one of {show_shape(right.shape)}:"
            f" {inner} against {other}",
            span,
            *notes,
            help=_product_repair(left.shape, right.shape),
        )

    session.require_equal(inner, other, problem, span)
    lead = broadcast_shapes([left.shape[:-2], right.shape[:-2]], session, span)
    rows = left.shape[-2:-1]
    columns = right.shape[-1:] if len(right.shape) > 1 else ()
    shape = (*lead, *rows, *columns)
    domain = (*shape, inner)
    k = len(shape)
    operands: list = []
    first = _factor(left, [*_lead_axes(left, lead, 2), *range(len(lead), len(lead) + len(rows)), k], domain, operands)
    column_axes = range(k - len(columns), k)
    second = _factor(right, [*_lead_axes(right, lead, 2), k, *column_axes], domain, operands)
    write = tuple(index(j) for j in range(len(shape)))
    form = Form(domain, "sum", write, shape, tuple(t.operand for t in operands), mul(first, second))
    session.at(span)
    names = tuple(session.operand(t, span) for t in operands)
    kind = "float" if "float" in (left.kind, right.kind) else "int"
    return TensorValue(session.builder.define("product", (form, names), kind=kind), span)


def _product_repair(left, right) -> str | None:
    if len(right) > 1 and right[-1] == left[-1]:
        return "transpose the second: a @ transpose(b, -1, -2)"
    if len(left) > 1 and left[-2] == right[-2 if len(right) > 1 else 0]:
        return "transpose the first: transpose(a, -1, -2) @ b"
    return None


def _lead_axes(x: Pending, lead, matrix: int) -> list[int]:
    count = max(0, len(x.shape) - matrix)
    return list(range(len(lead) - count, len(lead)))


def _factor(x: Pending, axes: list[int], domain, operands: list):
    """The body of x with its axes moved to those of the product's domain."""
    slots = {}
    for old, tensor in enumerate(x.operands):
        if tensor not in operands:
            operands.append(tensor)
        slots[old] = operands.index(tensor)
    places = {old: (index(new) if x.shape[old] != 1 else affine()) for old, new in enumerate(axes)}
    return substitute(x.body, places, domain, slots)
