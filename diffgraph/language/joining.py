"""Parts of tensors, and tensors of parts: `split`, `concat`, `stack`."""

from __future__ import annotations

from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Const, Read
from diffgraph.ir.form import Form
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call
from diffgraph.language import sizes
from diffgraph.language.arithmetic import (
    apply_scalar,
    as_pending,
    materialize,
    show_shape,
)
from diffgraph.language.budget import STEPS_OF_JOIN
from diffgraph.language.reductions import axis_of
from diffgraph.language.session import Session
from diffgraph.language.slicing import WHOLE, at, take
from diffgraph.language.tensors import as_size, moved
from diffgraph.language.values import Pending, TensorValue


def split(value: Any, parts: Any, axis: int, session: Session, span: Span | None) -> tuple:
    """Equal parts (a count) or parts of given sizes (a list) along an axis."""
    x = as_pending(value, session, span)
    axis = axis_of(axis, len(x.shape), span)
    size = x.shape[axis]
    if isinstance(parts, (list, range)):
        lengths = [as_size(p, session, span) for p in parts]
        total: Size = 0
        for length in lengths:
            total = total + length
        problem = lambda: error("DG356", f"parts of {lengths} do not make {size}", span)  # noqa: E731
        session.require_equal(total, size, problem, span)
    else:

        def problem():
            help = f"give their lengths: split(x, [...]), which make {size}"
            return error("DG356", f"an axis of {size} does not split into {parts} equal parts", span, help=help)

        if not isinstance(parts, int) or parts <= 0 or isinstance(size, int) and parts > size:
            raise problem()
        session.expect_steps(span, parts)
        lengths = [session.whole(sizes.divide(size, parts), problem, span)] * parts
    pieces = []
    start: Size = 0
    for length in lengths:
        whole: list = [WHOLE] * len(x.shape)
        whole[axis] = (start, start + length, None)
        pieces.append(take(x, whole, session, span))
        start = start + length
    return tuple(pieces)


def concat(values: list, axis: Any, session: Session, span: Span | None) -> Any:
    """Tensors one after the other along an axis: one definition, a term for each."""
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = list(values[0])
    if not values:
        raise error("DG357", "concat wants at least one tensor", span)
    parts = [as_pending(v, session, span) for v in values]
    rank = len(parts[0].shape)
    axis = axis_of(axis, rank, span)
    for part in parts[1:]:
        _agree_beside(parts[0], part, axis, session, span)
    offset: Size = 0
    places = []
    for part in parts:
        places.append((part, offset))
        offset = offset + part.shape[axis]
    shape = (*parts[0].shape[:axis], offset, *parts[0].shape[axis + 1 :])
    return _joined(places, axis, shape, session, span)


def _agree_beside(first: Pending, other: Pending, axis: int, session: Session, span) -> None:
    """Tensors that are joined agree on all axes but one (`axis`; -1 for all)."""
    name = "concat" if axis >= 0 else "stack"
    shapes = f"{show_shape(first.shape)} and {show_shape(other.shape)}"
    notes = [Note(f"this is {show_shape(x.shape)}", x.span) for x in (first, other) if x.span]
    if len(first.shape) != len(other.shape):
        raise error("DG358", f"{name} of {shapes}: the ranks differ", span, *notes)
    differing = [k for k, (a, b) in enumerate(zip(first.shape, other.shape)) if a != b and k != axis]
    for k in differing:

        def problem(k=k):
            where = f" along axis {axis}" if axis >= 0 else ""
            return error(
                "DG358",
                f"{name}{where} of {shapes}: {first.shape[k]} against {other.shape[k]} on axis {k}",
                span,
                *notes,
                Note("all other axes must be equal" if axis >= 0 else "all shapes must be equal"),
                help=_join_repair(name, differing, first, other, axis),
            )

        session.require_equal(first.shape[k], other.shape[k], problem, span, f"from {name}")


def _join_repair(name: str, differing: list[int], first: Pending, other: Pending, axis: int) -> str | None:
    if len(differing) == 1 and (axis < 0 or first.shape[axis] == other.shape[axis]):
        return f"they can be joined along axis {differing[0]}: concat(..., axis = {differing[0]})"
    return None


def _joined(places, axis: int, shape, session: Session, span) -> TensorValue:
    session.count_step(span, STEPS_OF_JOIN * len(places))
    session.at(span)
    kinds = {part.kind for part, _ in places}
    kind = "float" if "float" in kinds else "bool" if kinds == {"bool"} else "int"
    if kind != "float":
        return _joined_ints(places, axis, shape, kind, session, span)
    terms = []
    for part, offset in places:
        used = sorted(part.body.slots)
        body = substitute(part.body, {}, part.shape, {old: new for new, old in enumerate(used)})
        operands = [part.operands[s] for s in used]
        write = tuple(affine(0, ((index(k), 1), (at(offset), 1))) if k == axis else index(k) for k in range(len(shape)))
        form = Form(part.shape, "sum", write, tuple(shape), tuple(t.operand for t in operands), body)
        terms.append((form, tuple(session.operand(t, span) for t in operands)))
    if len(terms) == 1:
        return materialize(places[0][0], session, "joined", span)
    return TensorValue(session.builder.define("joined", *terms, kind="float"), span)


def _joined_ints(places, axis: int, shape, kind: str, session: Session, span) -> TensorValue:
    """Ints and bools have no sum of terms: each element asks which part it belongs to."""
    result = None
    for part, offset in reversed(places):
        tensor = materialize(part, session, "part", span).tensor
        place = tuple(
            affine(0, ((index(k), 1), (at(offset), -1))) if k == axis else index(k) for k in range(len(shape))
        )
        zero = Const(False) if kind == "bool" else Const(0)
        read = Pending(tuple(shape), tensor.kind, Read(0, place, zero), (tensor,), tensor.bound, span)
        if result is None:
            result = read
            continue
        before = Pending(tuple(shape), "bool", call("lt", index(axis), at(offset + part.shape[axis])), ())
        result = apply_scalar("where", (before, read, result), session, span)
    return materialize(result, session, "joined", span)


def stack(values: list, axis: Any, session: Session, span: Span | None) -> Any:
    """Tensors of one shape along a new axis."""
    if len(values) == 1 and isinstance(values[0], (list, tuple)):
        values = list(values[0])
    parts = [as_pending(v, session, span) for v in values]
    if not parts:
        raise error("DG357", "stack wants at least one tensor", span)
    rank = len(parts[0].shape) + 1
    axis = axis_of(axis, rank, span)
    for part in parts[1:]:
        _agree_beside(parts[0], part, -1, session, span)
    wide = []
    for part in parts:
        shape = (*part.shape[:axis], 1, *part.shape[axis:])
        places = {k: index(k if k < axis else k + 1) for k in range(len(part.shape))}
        wide.append(moved(part, shape, places))
    return concat(wide, axis, session, span)
