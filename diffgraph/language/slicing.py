"""Subscripts of whole tensors, as in NumPy: `x[:, 1:-1]`, `x[..., ::2]`, `x[t]`, `x[:, token]`.

Each subscript becomes a place along its axis that is affine in the axes of the result: a slice, a range, one place, or
an int tensor that is read there (a gather).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.affine import Affine, affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Call, Const, Expr, Extent, Read
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call, conjunction
from diffgraph.language import sizes
from diffgraph.language.arithmetic import (
    as_pending,
    broadcast_shapes,
    choose,
    describe,
    is_tensor,
    materialize,
    only_output,
)
from diffgraph.language.budget import STEPS_OF_SLICE
from diffgraph.language.numbers import is_exact
from diffgraph.language.session import Session
from diffgraph.language.values import Pending, TensorValue

#: The slice `:`.
WHOLE = (None, None, None)


def at(value: Size) -> Affine:
    """A constant place."""
    return affine(0, ((Extent(value), 1),)) if not isinstance(value, int) else affine(value)


def take(x: Pending, subscripts: Sequence[Any], session: Session, span: Span | None) -> Pending:
    """`x[:, 1:-1, t]`: each subscript is a slice (start, stop, step), a range, an int, or ints (a list or a tensor).

    Int tensors of rank above 0 stand side by side; their axes, broadcast, are where the first of them stands. Inside of
    `guarding` what the run computes may be outside."""
    session.count_step(span, STEPS_OF_SLICE)
    subscripts = [_as_tensor(s, size, session, span) for s, size in zip(subscripts, x.shape)]
    guards = session.guards if any(isinstance(s, TensorValue) for s in subscripts) else None
    if guards is not None:
        x = as_pending(materialize(x, session, "x", span), session, span)
    picked = _picked_shape(subscripts, session, span)
    shape: list[Size] = []
    places: dict[int, Affine] = {}
    inside: list[Expr] = []
    operands = list(x.operands)
    first = None
    for axis, (subscript, size) in enumerate(zip(subscripts, x.shape)):
        if isinstance(subscript, TensorValue):
            session.count_step(span, STEPS_OF_SLICE)
            if guards is None:
                _refuse_outside(subscript, size, x.span, session, span)
            if subscript.shape and first is None:
                first = len(shape)
                shape += picked
            if subscript.tensor not in operands:
                operands.append(subscript.tensor)
            read = Read(operands.index(subscript.tensor), _aligned(subscript.shape, picked, first), None)
            places[axis] = affine(0, ((read, 1),))
            inside += _inside(places[axis], size)
        elif isinstance(subscript, (tuple, range)):
            start, length, step = _part(subscript, size, session, span)
            places[axis] = affine(0, ((index(len(shape)), step), (at(start), 1)))
            shape.append(length)
        else:
            places[axis] = at(_one_place(subscript, size, session, span))
    body = substitute(x.body, places, tuple(shape))
    if guards is not None:
        guards.append(Pending(tuple(shape), "bool", conjunction(*inside), tuple(operands), None, span))
        body = Read(body.slot, body.place, _ZEROS[x.kind])
    return Pending(tuple(shape), x.kind, body, tuple(operands), x.bound if guards is None else None, x.span)


_ZEROS = {"float": Const(0.0), "int": Const(0), "bool": Const(False)}


def _picked_shape(subscripts: list, session: Session, span: Span | None) -> list[Size]:
    """The axes that int tensors among the subscripts make, broadcast."""
    tensors = [k for k, s in enumerate(subscripts) if isinstance(s, TensorValue) and s.shape]
    if not tensors:
        return []
    fixed = [k for k, s in enumerate(subscripts) if not isinstance(s, (tuple, range))]
    if fixed != list(range(fixed[0], fixed[-1] + 1)):
        help = "write it by its elements: y[n, i] = x[k[n], i, m[n]]"
        raise error("DG354", "places stand on both sides of a slice, which says nothing of their order", span, help=help)
    parts = [subscripts[k] for k in tensors]
    return list(broadcast_shapes([p.shape for p in parts], session, span, [p.span for p in parts]))


def _aligned(own: Sequence[Size], shape: Sequence[Size], first: int | None) -> tuple[Affine, ...]:
    """The places of a tensor that is broadcast to the axes of the result from `first` on."""
    shift = len(shape) - len(own)
    return tuple(index((first or 0) + shift + k) if s != 1 else affine() for k, s in enumerate(own))


# ---------------------------------------------------------------- guards


@contextmanager
def guarding(session: Session) -> Iterator[list[Pending]]:
    """While the inside of a guard is read: the conditions under which what it reads is inside."""
    before, session.guards = session.guards, []
    try:
        yield session.guards
    finally:
        session.guards = before


def guarded(value: Any, conditions: list[Pending], otherwise: Any, session: Session, span: Span) -> Any:
    """`(x[:, t - 1] else 0)` of whole tensors: `otherwise` where a place that the run computes is outside."""
    if not conditions:
        help = "it holds a read at a place that the run computes: (x[:, t - 1] else 0)"
        raise error("DG407", "there is no read to guard here", span, help=help)
    for inside in conditions:
        value = choose(inside, value, otherwise, session, span)
    return value


def _inside(place: Affine, size: Size) -> list[Expr]:
    """The conditions under which a place is on an axis."""
    limit = Const(size) if isinstance(size, int) else Extent(size)
    return [Call("ge", (place, Const(0))), call("lt", place, limit)]


# ---------------------------------------------------------------- places


def _as_tensor(subscript: Any, size: Size, session: Session, span: Span | None) -> Any:
    """A subscript, with ints that are read from a tensor or a list as a tensor."""
    if isinstance(subscript, list):
        if not subscript or not all(isinstance(k, int) and not isinstance(k, bool) for k in subscript):
            raise error("DG354", f"{describe(subscript)} is not a list of places", span, help="places are ints: x[[0, 2]]")
        wrapped = [k + size if k < 0 and isinstance(size, int) else k for k in subscript]
        for given, place in zip(subscript, wrapped):
            _require_inside(place, _no_place(given, size, span), size, session, span)
        subscript = as_pending(wrapped, session, span)
    if not is_tensor(subscript):
        return subscript
    tensor = materialize(subscript, session, "place", span)
    if tensor.kind == "bool":
        help = "write where(mask, x, 0), or sum over what it chooses"
        raise error("DG354", "a mask chooses as many places as the run says, and shapes are known before", span, help=help)
    if tensor.kind != "int":
        help = "declare it as an int, `token[N]: int < 100`, or make one of it: int(...)"
        raise error("DG354", f"a place is an int, and this is {describe(tensor)} of floats", span, help=help)
    return tensor


def _part(part: tuple | range, size: Size, session: Session, span: Span | None) -> tuple[Size, Size, int]:
    """(start, length, step) of a slice or a range of places."""
    if isinstance(part, range):
        for place in (part[0], part[-1]) if part else ():
            _require_inside(place, _no_place(place, size, span), size, session, span)
        return part.start, len(part), part.step
    if part == WHOLE:
        return 0, size, 1
    step = counted_by(part[2], span)
    if step == 1:
        start, stop = _ends(part, (0, size), size, session, span)
        return start, sizes.add(stop, sizes.multiply(start, -1)), 1
    if isinstance(size, int) and all(e is None or isinstance(e, int) for e in part):
        places = range(size)[part[0] : part[1] : step]
        return places.start, len(places), step
    if step > 0:
        start, stop = _ends(part, (0, size), size, session, span)
        reach = sizes.add(stop, sizes.multiply(start, -1))
        return start, sizes.floor_of(sizes.add(reach, step - 1), step), step
    if part[0] is not None or part[1] is not None:
        help = "take the part first and turn it around then: x[a:b][::-1]"
        raise error("DG354", "the ends of a slice that counts down are known when compiling", span, help=help)
    return sizes.add(size, -1), sizes.floor_of(sizes.add(size, -step - 1), -step), step


def counted_by(step: Any, span: Span | None) -> int:
    """The step of a slice."""
    if step is None:
        return 1
    if isinstance(step, bool) or not isinstance(step, int) or step == 0:
        raise error("DG354", f"a slice counts by an int other than 0, not by {describe(step)}", span)
    return step


def _ends(part: tuple, defaults: tuple, size: Size, session: Session, span: Span | None) -> list[Size]:
    """[start, stop] of a slice. Ends that are outside are drawn in, as in Python; where symbols leave that open, they
    must be inside."""
    start, stop = (_place(end, size, default, session, span) for end, default in zip(part, defaults))
    drawn: list[Size] = []
    for end, low in ((start, 0), (stop, start)):
        inner = sizes.smaller(end, size)
        inner = None if inner is None else sizes.larger(inner, low)
        if inner is None:
            problem = _no_place(end, size, span)
            session.require_at_least(size, end, problem, span)
            session.require_at_least(end, low, problem, span)
        drawn.append(end if inner is None else inner)
    return drawn


def _one_place(subscript: Any, size: Size, session: Session, span: Span | None) -> Size:
    place = _place(subscript, size, 0, session, span)
    _require_inside(place, _no_place(subscript, size, span), size, session, span)
    return place


def _require_inside(place: Size, problem: Any, size: Size, session: Session, span: Span | None) -> None:
    session.require_at_least(place, 0, problem, span)
    session.require_at_least(size, sizes.add(place, 1), problem, span)


def _no_place(place: Any, size: Size, span: Span | None):
    likely = "is" if isinstance(size, int) else "may be"
    hint = "the batch may have any size from 1"
    if isinstance(size, int):
        hint = f"its places are 0 to {size - 1}, or -1 to -{size} from behind" if size else None
    return lambda: error("DG355", f"there {likely} no place {place} on an axis of {size}", span, help=hint)


def _refuse_outside(place: TensorValue, size: Size, made: Span | None, session: Session, span: Span | None) -> None:
    """A place that the run computes must have a range that is known to be inside."""
    bound = place.tensor.bound

    def problem():
        known = "may be any int" if bound is None else f"is below {bound}"
        guard = f"say what is read outside, `({span.text} else 0)`" if span is not None else "guard the read"
        if any(place.tensor is t for t, _ in session.iteration):
            help = f"let the scan run to {size}, or {guard}"
        else:
            help = f"give it a range, `% {size}` or `clamp(..., 0, {sizes.add(size, -1)})`, or {guard}"
        notes = [Note(f"the axis of {size} was made here", made)] if made is not None else []
        return error("DG422", f"`{place.tensor.name}` {known}, so it may be outside an axis of {size}", span, *notes, help=help)

    if bound is None:
        raise problem()
    session.require_at_least(size, bound, problem, span)


def _place(value: Any, size: Size, default: Size, session: Session, span) -> Size:
    """A place or end of a slice; negative ones count from the end."""
    if value is None:
        return default
    value = only_output(value)
    problem = lambda: error("DG354", f"{describe(value)} is not a place", span, help=known_by_the_run(value))  # noqa: E731
    if not is_exact(value):
        raise problem()
    value = session.whole(value, problem, span)
    return sizes.add(value, size) if sizes.at_least(value, 0) is False else value


def known_by_the_run(value: Any) -> str | None:
    """The repair of `min(T, 3)` or `sqrt(T)` as a size, where T is a symbol: only the run knows its number."""
    if not isinstance(value, (Pending, TensorValue)) or value.shape:
        return None
    return "only the run knows it; if it comes from a size, give that a number: net model(T = 16) { input x[N, T] ... }"
