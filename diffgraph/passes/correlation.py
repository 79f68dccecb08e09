"""Sums through a window of unit stride, and those that are their derivatives by the filter: what their indices are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from diffgraph.ir.expression import Call, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.guards import ZERO_OF


@dataclass(frozen=True)
class Sliding:
    """An axis of the signal that a filter moves along: it is read at `place` + `tap`, or - `tap` if `flipped`."""

    axis: int
    place: int
    tap: int
    flipped: bool
    constant: int


@dataclass(frozen=True)
class Correlation:
    """y[rows, places, columns] = sum[taps, depth](filter[taps, depth, columns] * signal[rows, places + taps, depth])."""

    signal: Read
    filter: Read
    windows: tuple[Sliding, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depth: tuple[int, ...]


@cache
def correlation(form: Form) -> Correlation | None:
    """The form as a correlation of unit stride and dilation with more than one channel, if it is one."""
    reads = form.body.args if type(form.body) is Call and form.body.function == "mul" else ()
    if form.op != "sum" or not form.is_projection or len(reads) != 2 or not all(type(r) is Read for r in reads):
        return None
    if any(form.operands[r.slot].kind != "float" for r in reads) or len({r.slot for r in reads}) != 2:
        return None
    for signal, filters in (reads, reversed(reads)):
        found = [_sliding(form, signal, filters, axis) for axis in range(len(signal.place))]
        windows = tuple(w for w in found if w is not None)
        if windows and filters.otherwise is None and signal.otherwise in (None, ZERO_OF["float"]):
            return _with_roles(form, signal, filters, windows)
    return None


def _sliding(form: Form, signal: Read, filters: Read, axis: int, summed: bool = False) -> Sliding | None:
    """How the filter moves along an axis of the signal; None if it does not. summed: the places are, not the taps."""
    place = signal.place[axis]
    if len(place.terms) != 2 or not all(type(a) is Index for a, _ in place.terms):
        return None
    (a, x), (b, y) = ((atom.axis, c) for atom, c in place.terms)
    (at, step), (tap, sign) = ((a, x), (b, y)) if (a in form.written) != summed else ((b, y), (a, x))
    if (at in form.written) == summed or (tap in form.written) != summed or step != 1 or abs(sign) != 1:
        return None
    if not all(isinstance(form.domain[k], int) for k in (at, tap)) or form.domain[tap] < 2:
        return None
    of_other, not_of_other = (at, tap) if summed else (tap, at)
    taken = [p for p in filters.place if of_other in p.indices]
    if len(taken) != 1 or alone_index(taken[0]) != of_other or not_of_other in filters.indices:
        return None
    return Sliding(axis, at, tap, sign < 0, place.constant)


def _with_roles(form: Form, signal: Read, filters: Read, windows: tuple[Sliding, ...]) -> Correlation | None:
    """What the other indices are; None where some are neither channels of one side nor summed."""
    moving = frozenset(k for w in windows for k in (w.place, w.tap))
    others = [p for axis, p in enumerate(signal.place) if axis not in {w.axis for w in windows}]
    if any(moving & p.indices for p in others) or len(moving) != 2 * len(windows):
        return None
    if any(len(p.indices) > 1 for p in (*others, *filters.place)):
        return None
    of_signal, of_filter = signal.indices - moving, filters.indices - moving
    rows, columns = (tuple(sorted((s & form.written) - t)) for s, t in ((of_signal, of_filter), (of_filter, of_signal)))
    depth = tuple(k for k in form.reduced if k not in moving)
    if len(columns) != 1 or len(depth) != 1 or not set(depth) <= of_signal & of_filter:
        return None
    if {*rows, *columns, *depth} != set(range(len(form.domain))) - moving or len(rows) > 1:
        return None
    if not all(isinstance(form.domain[k], int) for k in (*columns, *depth)):
        return None
    return Correlation(signal, filters, windows, rows, columns, depth)


def in_order(found: Correlation) -> bool:
    """The channels of the signal are innermost in memory, or can be put there."""
    (depth,) = found.depth
    windows = {w.axis for w in found.windows}
    last = len(found.signal.place) - 1
    return depth in found.signal.place[last].indices or last in windows and depth_axis(found) is not None


def depth_axis(found: Correlation) -> int | None:
    """The axis of the signal that is its channels."""
    at = [k for k, p in enumerate(found.signal.place) if found.depth[0] in p.indices]
    return at[0] if len(at) == 1 and alone_index(found.signal.place[at[0]]) is not None else None


@cache
def filter_gradient(form: Form) -> Correlation | None:
    """The form as the derivative of a correlation by its filter, if it is one: the places are summed, the taps written, and
    `filter` is what the derivative by the result is read through."""
    reads = form.body.args if type(form.body) is Call and form.body.function == "mul" else ()
    if form.op != "sum" or not form.is_projection or len(reads) != 2 or not all(type(r) is Read for r in reads):
        return None
    if any(form.operands[r.slot].kind != "float" for r in reads) or len({r.slot for r in reads}) != 2:
        return None
    for signal, other in (reads, reads[::-1]):
        found = [_sliding(form, signal, other, axis, summed=True) for axis in range(len(signal.place))]
        windows = tuple(w for w in found if w is not None)
        if windows and other.otherwise is None and signal.otherwise in (None, ZERO_OF["float"]):
            return _with_summed_roles(form, signal, other, windows)
    return None


def _with_summed_roles(form: Form, signal: Read, other: Read, windows: tuple[Sliding, ...]) -> Correlation | None:
    """What the other indices are: rows are summed, the channels of both sides written."""
    moving = frozenset(k for w in windows for k in (w.place, w.tap))
    others = [p for axis, p in enumerate(signal.place) if axis not in {w.axis for w in windows}]
    if any(moving & p.indices for p in others) or len(moving) != 2 * len(windows):
        return None
    if any(len(p.indices) > 1 for p in others):
        return None
    rows = tuple(k for k in form.reduced if k not in moving)
    depth = tuple(sorted((signal.indices - other.indices) & form.written - moving))
    columns = tuple(sorted(other.indices & form.written - moving))
    if any(len(p.indices) > 1 and not p.indices <= {*columns} for p in other.place):
        return None
    if not columns or len(depth) != 1 or len(rows) > 1 or not set(rows) <= signal.indices & other.indices:
        return None
    if {*rows, *columns, *depth} != set(range(len(form.domain))) - moving or signal.indices & {*columns}:
        return None
    if not all(isinstance(form.domain[k], int) for k in (*columns, *depth)):
        return None
    # The innermost of the columns comes last.
    inner = {a.axis for a, step in other.place[-1].terms if step == 1 and type(a) is Index} & {*columns}
    columns = (*(k for k in columns if k not in inner), *inner)
    return Correlation(signal, other, windows, rows, columns, depth) if len(inner) == 1 else None
