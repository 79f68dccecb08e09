"""Equality guards become places: accumulation at computed places is a scatter, never a search.

    d[h < 15] = sum[i, p](w[p] * dy[i] if h == 2 * i + p - 1 else 0)      becomes      d[2 * i + p - 1] += w[p] * dy[i]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from diffgraph.ir.affine import Affine, affine, as_affine, index, is_inside
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.scalar import kind_of
from diffgraph.ir.rewrite import rewrite, substitute
from diffgraph.ir.simplify import call, conjunction, is_zero, where


@lru_cache(maxsize=None)
def absorb(form: Form) -> Form:
    """The same form with each equality that has one solution solved: an output index that occurs only in it becomes a place
    written, a summed index is replaced in what is read."""
    if form.op != "sum":
        return form
    while True:
        better = _absorb_one(form)
        if better is None:
            return form
        form = better


def guard_and_value(body: Expr) -> tuple[tuple[Expr, ...], Expr]:
    """(conditions, value) of a body `where(all conditions, value, 0)`; no conditions for any other body."""
    if type(body) is Call and body.function == "where" and is_zero(body.args[2]):
        condition = body.args[0]
        both = condition.args if type(condition) is Call and condition.function == "and" else (condition,)
        return tuple(both), body.args[1]
    return (), body


def _absorb_one(form: Form) -> Form | None:
    # Places written first: what they then depend on is no longer a summed index that an equality could replace.
    return _solve_one(form, _as_write) or _solve_one(form, _as_read)


def _solve_one(form: Form, solve: Callable[[Form, Expr, Affine], Form | None]) -> Form | None:
    conditions, value = guard_and_value(form.body)
    kinds = tuple(o.kind for o in form.operands)
    for condition in conditions:
        if not (type(condition) is Call and condition.function == "eq"):
            continue
        if any(kind_of(a, kinds) != "int" for a in condition.args):
            continue
        rest = [c for c in conditions if c is not condition]
        body = where(conjunction(*rest), value, form.body.args[2], kinds) if rest else value
        left, right = (as_affine(a) for a in condition.args)
        difference = affine(0, ((left, 1), (right, -1)))
        better = solve(form, body, difference)
        if better is not None:
            return better
    return None


def _solutions(difference: Affine):
    """(axis, what it must equal) for each index that the equation `difference == 0` gives in terms of the others."""
    for atom, coefficient in difference.terms:
        if type(atom) is Index and abs(coefficient) == 1:
            others = [(a, -coefficient * c) for a, c in difference.terms if a is not atom]
            if not any(atom.axis in a.indices for a, _ in others):
                yield atom.axis, affine(-coefficient * difference.constant, others)


def _as_write(form: Form, body: Expr, difference: Affine) -> Form | None:
    """An output index that occurs nowhere else becomes the place it must equal; outside the shape nothing is written."""
    for axis, place in _solutions(difference):
        outputs = [a for a, w in enumerate(form.write) if alone_index(w) == axis]
        if len(outputs) != 1 or axis in body.indices or form.domain[axis] != form.shape[outputs[0]]:
            continue
        write = list(form.write)
        write[outputs[0]] = place
        if any(axis in w.indices for w in write):
            continue
        return without_axis(Form(form.domain, form.op, tuple(write), form.shape, form.operands, body), axis)
    return None


def _as_read(form: Form, body: Expr, difference: Affine) -> Form | None:
    """A summed index with one solution is replaced by it; where that may be outside its range, a guard says so."""
    kinds = tuple(o.kind for o in form.operands)
    for axis, place in _solutions(difference):
        if axis not in form.reduced:
            continue
        if is_inside(place, form.domain[axis], form.domain, form.operands):
            replaced = substitute(body, {axis: place}, form.domain, None, kinds)
        else:
            guarded = rewrite(body, lambda e: _guarded(e, axis, form), kinds)
            inside = _range(place, form.domain[axis], kinds)
            zero = Const(0.0) if kind_of(form.body, kinds) == "float" else Const(0)
            replaced = where(inside, substitute(guarded, {axis: place}, form.domain, None, kinds), zero, kinds)
        if axis not in replaced.indices:
            return without_axis(Form(form.domain, form.op, form.write, form.shape, form.operands, replaced), axis)
    return None


def _guarded(expr: Expr, axis: int, form: Form) -> Expr:
    """A read that the axis moves, with a guard: outside of the axis' range it may be outside its operand."""
    if type(expr) is not Read or expr.otherwise is not None or axis not in expr.indices:
        return expr
    zero = {"float": Const(0.0), "int": Const(0), "bool": Const(False)}[form.operands[expr.slot].kind]
    return Read(expr.slot, expr.place, zero)


def _range(place: Affine, extent: Size, kinds) -> Expr:
    """0 <= place < extent"""
    limit = Const(extent) if isinstance(extent, int) else Extent(extent)
    return conjunction(call("ge", place, Const(0), kinds=kinds), call("lt", place, limit, kinds=kinds))


def without_axis(form: Form, axis: int) -> Form:
    """The form without an axis of its domain that nothing depends on and that is visited once."""
    domain = form.domain[:axis] + form.domain[axis + 1 :]
    places = {k: index(k - 1) for k in range(axis + 1, len(form.domain))}
    kinds = tuple(o.kind for o in form.operands)
    write = tuple(as_affine(substitute(w, places, domain, None, kinds)) for w in form.write)
    body = substitute(form.body, places, domain, None, kinds)
    return Form(domain, form.op, write, form.shape, form.operands, body)

