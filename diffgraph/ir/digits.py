"""Splitting an index into digits: `//` and `%` of it become affine.

y[n, u] = sum[f < 32](w[u, f] * x[n, f // 16, f // 4 % 4, f % 4])
y[n, u] = sum[c < 2, h < 4, k < 4](w[u, c * 16 + h * 4 + k] * x[n, c, h, k])
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from functools import cache

from diffgraph.ir.affine import affine
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index
from diffgraph.ir.form import Form
from diffgraph.ir.settle import settle


@cache
def split_digits(form: Form) -> Form:
    """The form with every index split whose `//` and `%` by a constant vanish, wholly or in part, by that.

    A split index is followed by its digits, most significant first, so that row-major order is kept. An index of which
    a form that is not a sum writes stays, since such a form must write a projection.
    """
    kept = frozenset() if form.op == "sum" else form.written
    return split_axes(form, [k for k in range(len(form.domain)) if k not in kept])


def split_axes(form: Form, axes: Container[int]) -> Form:
    """`split_digits` for some of the indices only."""
    left = _measure(form)
    while left:
        for axis, radix in _candidates(form, axes):
            split = split_index(form, axis, radix)
            measure = _measure(split)
            if measure < left:
                form, left = split, measure
                axes = _Shifted(axes, axis)
                break
        else:
            return form
    return form


class _Shifted:
    """A set of axes after one of its axes became two."""

    def __init__(self, axes: Container[int], axis: int):
        self.axes = axes
        self.axis = axis

    def __contains__(self, k: int) -> bool:
        return (k if k <= self.axis else k - 1) in self.axes


def split_index(form: Form, axis: int, radix: int) -> Form:
    """Index `axis` as radix * itself + a new index after it. The radix divides its extent."""
    extent = form.domain[axis]
    domain = (*form.domain[:axis], extent // radix, radix, *form.domain[axis + 1 :])
    indices: dict[int, Expr] = {k: Index(k + 1) for k in range(axis + 1, len(form.domain))}
    indices[axis] = affine(0, ((Index(axis), radix), (Index(axis + 1), 1)))
    return settle(Form(domain, form.op, form.write, form.shape, form.operands, form.body), indices)


def quasi_affine_atoms(form: Form) -> set[Call]:
    """Every `//` and `%` by a constant in the form."""
    found: set[Call] = set()
    seen: set[Expr] = set()
    left: list[Expr] = [*form.write, form.body]
    while left:
        e = left.pop()
        if e not in seen:
            seen.add(e)
            left.extend(e.children)
            if type(e) is Call and e.function in ("floordiv", "mod") and type(e.args[1]) is Const:
                if type(e.args[0]) is Affine:
                    found.add(e)
    return found


def _measure(form: Form) -> int:
    return len(quasi_affine_atoms(form))


def _candidates(form: Form, axes: Container[int]) -> Iterator[tuple[int, int]]:
    """(axis, radix) that may help, coarsest radix first: finer digits are found in the low one."""
    found: set[tuple[int, int]] = set()
    for atom in quasi_affine_atoms(form):
        place, q = atom.args[0], atom.args[1].value
        for term, coefficient in place.terms:
            if type(term) is not Index or term.axis not in axes:
                continue
            extent = form.domain[term.axis]
            radix = q // math.gcd(q, coefficient)
            if isinstance(extent, int) and 1 < radix < extent and extent % radix == 0:
                found.add((radix, term.axis))
    yield from ((axis, radix) for radix, axis in sorted(found, reverse=True))
