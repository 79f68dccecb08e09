"""Writing through a window, taken apart into phases.

    dx[2 * i + p - 1] += w[p] * dy[i]                       (p < 3)

    dx[2 * u]     += w[1] * dy[u]
    dx[2 * u + 1] += w[0] * dy[u + 1] + w[2] * dy[u]

Each phase writes every s-th element at once, and reads with stride 1: a contraction without divisibility guards.
"""

from __future__ import annotations

import math
from functools import cache

from diffgraph.ir.affine import affine, is_injective, is_inside
from diffgraph.ir.dimension import Size, floor_divide
from diffgraph.ir.expression import Affine, Expr, Index
from diffgraph.ir.form import Form
from diffgraph.ir.guards import inside, only_where
from diffgraph.ir.settle import settle


@cache
def phases(form: Form) -> tuple[Form, ...] | None:
    """Forms with the same slots whose sum is the form, each writing s * u + constant where it wrote through a window;
    None where it writes through none."""
    if form.op != "sum":
        return None
    for axis, place in enumerate(form.write):
        window = _window(form, place)
        others = frozenset().union(*(w.indices for w in form.write if w is not place), *_repeated(form, place))
        # Axes that share their indices have no phases of their own.
        if window is not None and others.isdisjoint(window):
            outer, inner = window
            made = _phases_of(form, axis, outer, inner)
            return tuple(deeper for phase in made for deeper in phases(phase) or (phase,))
    return None


def _repeated(form: Form, place: Affine) -> list[frozenset[int]]:
    """The indices of a place that is written on several axes."""
    return [place.indices] if form.write.count(place) > 1 else []


def _window(form: Form, place: Affine) -> tuple[int, int] | None:
    """(outer, inner) for a place that two indices share so that several pairs give one place; the outer one is
    longer."""
    if len(place.terms) != 2 or any(type(a) is not Index for a, _ in place.terms):
        return None
    if is_injective(place, form.domain):
        return None
    axes = sorted((a.axis for a, _ in place.terms), key=lambda k: _length(form.domain[k]), reverse=True)
    outer, inner = axes
    known = [isinstance(form.domain[k], int) for k in axes]
    backwards = {a.axis: c < 0 for a, c in place.terms}[outer]
    return (outer, inner) if known[1] and (known[0] or not backwards) else None


def _length(extent: Size) -> tuple:
    return (0, extent) if isinstance(extent, int) else (1, 0)


def _phases_of(form: Form, axis: int, outer: int, inner: int) -> list[Form]:
    for k in (inner, outer):
        if _coefficients(form, axis)[k] < 0:
            form = _mirrored(form, k)
    place, coefficients = form.write[axis], _coefficients(form, axis)
    stride, dilation = coefficients[outer], coefficients[inner]
    made = []
    for phase in range(stride):
        taps = [p for p in range(form.domain[inner]) if (dilation * p + place.constant - phase) % stride == 0]
        # Elements phase, phase + stride, ... below the extent.
        count = floor_divide(form.shape[axis] - phase + stride - 1, stride)
        if taps and not (isinstance(count, int) and count <= 0):
            made.append(_phase(form, axis, outer, inner, phase, taps[0], len(taps), count))
    return made


def _phase(form: Form, axis: int, outer: int, inner: int, phase: int, first: int, taps: int, count: Size) -> Form:
    """What is written at stride * u + phase, for u < count: there inner = first + step * p for p < taps."""
    place, coefficients = form.write[axis], _coefficients(form, axis)
    stride, dilation = coefficients[outer], coefficients[inner]
    common = math.gcd(stride, dilation)
    start = (dilation * first + place.constant - phase) // stride
    values: dict[int, Expr] = {
        inner: affine(first, ((Index(inner), stride // common),)),
        outer: affine(-start, ((Index(outer), 1), (Index(inner), -(dilation // common)))),
    }
    domain = list(form.domain)
    domain[outer], domain[inner] = count, taps
    old_extent = form.domain[outer]
    moved = settle(Form(tuple(domain), "sum", form.write, form.shape, form.operands, form.body), values)
    write = list(moved.write)
    write[axis] = affine(phase, ((Index(outer), stride),))
    moved = Form(moved.domain, "sum", tuple(write), form.shape, form.operands, moved.body)
    if is_inside(values[outer], old_extent, moved.domain):
        return settle(moved)
    return settle(only_where(moved, inside(values[outer], old_extent, moved)))


def _coefficients(form: Form, axis: int) -> dict[int, int]:
    """Index -> its coefficient in the place written on an axis."""
    return {a.axis: c for a, c in form.write[axis].terms}


def _mirrored(form: Form, k: int) -> Form:
    """Index k runs the other way round."""
    return settle(form, {k: affine(form.domain[k] - 1, ((Index(k), -1),))})
