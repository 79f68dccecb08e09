"""Rearranging whole tensors: views, slices, joins, order, tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.affine import Affine, affine, as_affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Const, Index, Read
from diffgraph.ir.program import Argsort, Tensor
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call
from diffgraph.language import sizes
from diffgraph.language.arithmetic import (
    as_pending,
    constant_expr,
    constant_kind,
    describe,
    materialize,
    only_output,
    show_shape,
)
from diffgraph.language.budget import STEPS_OF_NOTATION
from diffgraph.language.numbers import is_exact
from diffgraph.language.reductions import axis_of
from diffgraph.language.session import Session
from diffgraph.language.slicing import WHOLE, at, known_by_the_run, take
from diffgraph.language.values import Pending, TensorValue


def as_size(value: Any, session: Session, span: Span | None) -> Size:
    """A value as the size of an axis. That `T / 2` is whole is asked of T."""
    value = only_output(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)

    def problem():
        text = f"{described(value, span)}, not a size: a whole number is wanted"
        return error("DG350", text, span, help=known_by_the_run(value))

    if not is_exact(value):
        raise problem()
    value = session.whole(value, problem, span)
    if sizes.at_least(value, 0) is False:
        raise error("DG350", f"{described(value, span)}, not a size: one of at least 0 is wanted", span)
    return value


def described(value: Any, span: Span | None) -> str:
    """`width is the number 8.5`: a value, with the text that it comes from where that says more."""
    text = " ".join(span.text.split()) if span is not None else ""
    if not re.fullmatch(r"[^\W\d][\w.]*", text):
        return f"this is {describe(value)}"
    return f"`{text}` is {describe(value)}"


def moved(x: Pending, shape, places: dict[int, Affine]) -> Pending:
    """A view: axis k of x is read at a place of the new shape."""
    body = substitute(x.body, places, tuple(shape))
    return Pending(tuple(shape), x.kind, body, x.operands, x.bound, x.span)


# ---------------------------------------------------------------- views


def reshape(value: Any, shape: Any, session: Session, span: Span | None) -> TensorValue:
    """The same elements under another shape; one size may be -1."""
    x = materialize(value, session, "x", span)
    wanted = list(shape) if isinstance(shape, (list, range, tuple)) else [shape]
    total = product(x.shape)
    if any(s == -1 for s in wanted if isinstance(s, int)):
        wanted = _with_open_size(wanted, total, x, session, span)
    wanted = [as_size(s, session, span) for s in wanted]

    def problem():
        return error(
            "DG351",
            f"a tensor {show_shape(x.shape)} of {total} elements has no shape {show_shape(wanted)}"
            f" of {product(wanted)}",
            span,
            *([Note(f"this is {show_shape(x.shape)}", x.span)] if x.span else ()),
            help=_open_size_repair(wanted, total),
        )

    session.require_equal(product(wanted), total, problem, span)
    if tuple(wanted) == x.shape:
        return x
    session.at(span)
    return TensorValue(session.builder.reshape("reshaped", session.operand(x.tensor, span), wanted), span)


def _with_open_size(wanted: list, total: Size, x: TensorValue, session: Session, span) -> list:
    known = product(as_size(s, session, span) for s in wanted if not (isinstance(s, int) and s == -1))
    if sum(1 for s in wanted if isinstance(s, int) and s == -1) > 1:
        raise error("DG352", "only one size can be -1", span)
    rest = sizes.divide(total, known) if known != 0 else 0

    def problem():
        return error(
            "DG353", f"the {total} elements of {show_shape(x.shape)} do not divide by {known}", span,
            *([Note(f"this is {show_shape(x.shape)}", x.span)] if x.span else ()),
            help=f"{_factors(x.shape)} elements are there to share out",
        )  # fmt: skip

    if rest is None:
        raise problem()
    rest = session.whole(rest, problem, span)
    return [rest if isinstance(s, int) and s == -1 else s for s in wanted]


def _open_size_repair(wanted: list, total: Size) -> str:
    """Which one size, computed instead, makes the elements fit."""
    for k in reversed(range(len(wanted))):
        others = product(s for j, s in enumerate(wanted) if j != k)
        rest = sizes.divide(total, others) if others != 0 else None
        if rest is not None and sizes.is_whole(rest):
            fitting = [*wanted[:k], -1, *wanted[k + 1 :]]
            return f"write {show_shape(fitting)}: -1 is computed, and is {rest} here"
    return "the product of the sizes must stay the same"


def _factors(shape: Sequence[Size]) -> str:
    return " * ".join(f"({s})" if " " in str(s) else str(s) for s in shape) or "1"


def transpose(value: Any, a: Any, b: Any, session: Session, span: Span | None) -> Pending:
    """Two axes exchanged."""
    x = as_pending(value, session, span)
    rank = len(x.shape)
    if rank < 2 and (a, b) == (-2, -1):
        raise error("DG340", f"transpose wants two axes, and the tensor has {rank}", span)
    axes = list(range(rank))
    first, second = (axis_of(k, rank, span) for k in (a, b))
    axes[first], axes[second] = second, first
    shape = [x.shape[k] for k in axes]
    return moved(x, shape, {old: index(new) for new, old in enumerate(axes)})


def last_row(value: Any, session: Session, span: Span | None) -> Any:
    """The last element along the first axis; of a list, its last element."""
    value = only_output(value)
    if isinstance(value, (list, tuple, range)):
        if not value:
            raise error("DG330", "an empty list has no last element", span)
        return value[-1]
    x = as_pending(value, session, span)
    if not x.shape:
        raise error("DG330", "a tensor of rank 0 has no last row", span)
    return take(x, [-1, *[WHOLE] * (len(x.shape) - 1)], session, span)


def permuted(value: Any, axes: list, session: Session, span: Span | None) -> Pending:
    """All axes in another order: axis k of the result is `axes[k]`."""
    x = as_pending(value, session, span)
    order = [axis_of(k, len(x.shape), span) for k in axes]
    if sorted(order) != list(range(len(x.shape))):
        help = f"name each of its {len(x.shape)} axes once, or the two to be exchanged: transpose(x, 1, 2)"
        raise error("DG340", f"{show_shape(order)} is no order of the axes of {describe(x)}", span, help=help)
    return moved(x, [x.shape[k] for k in order], {old: index(new) for new, old in enumerate(order)})


def pad(value: Any, widths: Any, fill: Any, session: Session, span: Span | None) -> Pending:
    """`pad(x, [[1, 1], [2, 0]])`: places before and behind, for the last axes; an int is both sides of the last axis.

    The new places hold `value`."""
    x = materialize(value, session, "x", span)
    pairs = [list(w) if isinstance(w, (list, tuple, range)) else [w, w] for w in _width_list(widths)]
    rank = len(x.shape)
    if len(pairs) > rank or any(len(p) != 2 for p in pairs):
        raise error("DG359", f"pad wants [before, behind] for at most {rank} axes", span)
    pairs = [[as_width(w, span) for w in pair] for pair in pairs]
    pairs = [[0, 0]] * (rank - len(pairs)) + pairs
    filling = constant_expr(fill)
    if filling is None:
        raise error("DG359", "pad fills with a number that is known when compiling", span)
    filling = call("float", filling) if x.kind == "float" else filling
    shape = [as_size(s + before + behind, session, span) for s, (before, behind) in zip(x.shape, pairs)]
    place = tuple(affine(0, ((index(k), 1), (at(before), -1))) for k, (before, _) in enumerate(pairs))
    return Pending(tuple(shape), x.kind, Read(0, place, filling), (x.tensor,), None, span)


def as_width(value: Any, span: Span | None) -> Size:
    """How many places are added on one side."""
    value = only_output(value)
    if not is_exact(value) or not sizes.is_whole(value):
        raise error("DG359", f"pad adds whole numbers of places, not {describe(value)}", span)
    return value


def _width_list(widths) -> list:
    if not isinstance(widths, (list, range)):
        return [widths]
    if len(widths) == 2 and all(isinstance(w, int) for w in widths):
        return [list(widths)]
    return list(widths)


# ---------------------------------------------------------------- making


def filled(shape: list, value: Any, session: Session, span: Span | None) -> Pending:
    """A tensor of one number."""
    expression = constant_expr(value)
    if expression is None:
        raise error("DG360", f"{describe(value)} is not a number that is known when compiling", span)
    kind = constant_kind(value)
    return Pending(tuple(as_size(s, session, span) for s in shape), kind, expression, (), None, span)


def eye(n: Any, m: Any, session: Session, span: Span | None) -> Pending:
    """The unit matrix; with m columns where that is given."""
    shape = tuple(as_size(k, session, span) for k in (n, n if m is None else m))
    body = call("where", call("eq", index(0), index(1)), Const(1.0), Const(0.0))
    return Pending(shape, "float", body, (), None, span)


def range_tensor(start: Any, stop: Any, step: Any, session: Session, span: Span | None) -> Pending:
    """The ints 0, 1, ..., start - 1; or with `stop` those from start up to, not including, stop, counting by `step`."""
    if stop is None:
        size = as_size(start, session, span)
        return Pending((size,), "int", index(0), (), size, span)
    known = [only_output(v) for v in (start, stop, step)]
    if not all(is_exact(v) and sizes.is_whole(v) for v in known) or not isinstance(known[2], int) or known[2] == 0:
        raise error("DG350", "`range` counts from int to int by an int other than 0, all known when compiling", span)
    first, end, by = known
    reach = sizes.multiply(sizes.add(end, sizes.multiply(first, -1)), 1 if by > 0 else -1)
    count = sizes.larger(sizes.floor_of(sizes.add(reach, abs(by) - 1), abs(by)), 0)
    size = as_size(sizes.floor_of(sizes.add(reach, abs(by) - 1), abs(by)) if count is None else count, session, span)
    place = affine(0, ((index(0), by), (at(first), 1)))
    return Pending((size,), "int", place, (), end if by > 0 and sizes.at_least(first, 0) is True else None, span)


def counted_range(x: Pending) -> range | None:
    """The ints of `range(4)` while it is no tensor yet, for a loop that runs over them when compiling."""
    if x.operands or x.kind != "int" or len(x.shape) != 1 or not isinstance(x.shape[0], int):
        return None
    place = as_affine(x.body)
    if len(place.terms) != 1 or place.terms[0][0] != Index(0):
        return None
    step = place.terms[0][1]
    return range(place.constant, place.constant + step * x.shape[0], step)


def one_hot(label: Any, classes: Any, session: Session, span: Span | None) -> Pending:
    """1.0 at the place of the label on a new last axis, else 0.0."""
    x = as_pending(label, session, span)
    if x.kind != "int":
        raise error("DG361", "one_hot wants ints", span)
    shape = (*x.shape, as_size(classes, session, span))
    wide = substitute(x.body, {}, shape)
    body = call("where", call("eq", wide, index(len(x.shape))), Const(1.0), Const(0.0))
    return Pending(shape, "float", body, x.operands, None, span)


# ---------------------------------------------------------------- order


def order(value: Any, axis: Any, descending: bool, values_too: bool, session: Session, span: Span | None) -> Any:
    """The places that sort an axis, or the sorted elements themselves."""
    x = as_pending(value, session, span)
    if not x.shape:
        raise error("DG340", "a tensor of rank 0 has nothing to sort", span)
    axis = axis_of(axis, len(x.shape), span)
    swapped = materialize(transpose(x, axis, -1, session, span) if axis != len(x.shape) - 1 else x, session, "x", span)
    session.at(span)
    tensor = Tensor(session.builder.fresh("order"), swapped.shape, "int", swapped.shape[-1])
    name = session.operand(swapped.tensor, span)
    places = session.builder.append(Argsort(tensor, name, bool(descending), (session.builder.origin,)))
    found: Any = TensorValue(places, span)
    if values_too:
        found = _picked(swapped, places, span)
    return transpose(found, axis, -1, session, span) if axis != len(x.shape) - 1 else found


def _picked(x: TensorValue, places: Tensor, span) -> Pending:
    """x[..., places[..., i]]"""
    rank = len(x.shape)
    here = tuple(index(k) for k in range(len(places.shape)))
    place = (*(index(k) for k in range(rank - 1)), affine(0, ((Read(1, here, None), 1),)))
    return Pending(places.shape, x.kind, Read(0, place, None), (x.tensor, places), x.tensor.bound, span)


def top_k(value: Any, k: Any, axis: Any, session: Session, span: Span | None) -> tuple:
    """(the k largest elements, in descending order; their places) along an axis."""
    x = as_pending(value, session, span)
    session.count_step(span, 4 * STEPS_OF_NOTATION)
    rank = len(x.shape)
    axis = axis_of(axis, rank, span)
    count = as_size(k, session, span)
    if sizes.at_least(x.shape[axis], count) is False:
        raise error("DG362", f"there are no {count} largest elements on an axis of {x.shape[axis]}", span)
    whole: list = [WHOLE] * rank
    whole[axis] = (0, count, None)
    places = order(x, axis, True, False, session, span)
    elements = order(x, axis, True, True, session, span)
    return tuple(take(as_pending(v, session, span), whole, session, span) for v in (elements, places))
