"""A form decided by what is known of it: extents, kinds, bounds. Indices and slots keep their numbers.

Guards are proved by intervals, `//` and `%` simplified, comparisons of ints written in one way, constants given the
kind in which they are used. A pure function of the form as a whole; `canonical.py` puts it together with renumbering.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir import scalar
from diffgraph.ir.affine import affine, as_affine, difference, divide, divided_anew, interval, is_inside
from diffgraph.ir.dimension import is_nonnegative
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.simplify import (
    FALSE,
    TRUE,
    as_float,
    as_value,
    call,
    certain_kind,
    conjunction,
    is_zero,
    mul,
    where,
    zero_like,
)


def settle(form: Form, indices: Mapping[int, Expr] = {}, slots: Mapping[int, int] | None = None) -> Form:
    """The form with its body and places decided. `indices` and `slots` replace those of the body and the places first:
    `form` has the domain and the operands that then apply."""
    decide = _Decision(form, indices, slots)
    write = tuple(as_affine(decide(w)) for w in form.write)
    body = decide(form.body)
    body = as_value(body, decide.kinds) if type(body) is Affine else body
    body = _without_implied_guards(body, form, write)
    if _falls_outside(write, form):
        body = zero_like(body, decide.kinds)
    return Form(form.domain, form.op, write, form.shape, form.operands, body)


def _falls_outside(write: tuple[Affine, ...], form: Form) -> bool:
    """Nothing is written at all."""
    return any(_is_outside(w, s, form) for w, s in zip(write, form.shape))


def _is_outside(place: Affine, extent, form: Form) -> bool:
    axis = alone_index(place)
    if axis is not None and isinstance(extent, int) and extent > 0 and form.domain[axis] == extent:
        return False
    low, high = interval(place, form.domain, form.operands)
    return (high is not None and is_nonnegative(-1 - high)) or (low is not None and is_nonnegative(low - extent))


class _Decision:
    """Rewrites expressions of one form."""

    def __init__(self, form: Form, indices: Mapping[int, Expr], slots: Mapping[int, int] | None):
        self.form = form
        self.domain = form.domain
        self.operands = form.operands
        self.kinds = tuple(o.kind for o in form.operands)
        self.indices = indices
        self.slots = slots
        self._memo: dict[Expr, Expr] = {}

    def __call__(self, expr: Expr) -> Expr:
        return rewrite(expr, self._replace, self.kinds, self._memo, self._operands_first)

    def _operands_first(self, e: Expr) -> Expr:
        """Slots are renumbered on the way down, so that kinds are those of the new slots at once."""
        if type(e) is Read and self.slots is not None:
            return Read(self.slots[e.slot], e.place, e.otherwise)
        return e

    def _replace(self, e: Expr) -> Expr:
        match e:
            case Index(axis):
                return self.indices.get(axis, e)
            case Extent(size) if isinstance(size, int):
                return Const(size)
            case Affine():
                return divided_anew(e, self.domain, self.operands)
            case Read():
                return self._read(e)
            case Call("floordiv" | "mod" as function, (Affine() as a, Const(int() as q))) if q:
                return as_value(divide(a, q, self.domain, function, self.operands), self.kinds)
            case Call("clamp", (Affine() as a, low, high)):
                return self._clamp(e, a, low, high)
            case Call("eq" | "ne" | "lt" | "le" | "gt" | "ge" as function, (a, b)):
                return self._compare(function, a, b)
            case Call():
                return self._with_kinds(e)
        return e

    def _read(self, read: Read) -> Expr:
        operand = self.operands[read.slot]
        if read.otherwise is None:
            return read
        otherwise = _cast(read.otherwise, operand.kind, self.kinds)
        places = list(zip(read.place, operand.shape))
        if any(_is_outside(p, s, self.form) for p, s in places):
            return otherwise
        if all(is_inside(p, s, self.domain, self.operands) for p, s in places):
            return Read(read.slot, read.place, None)
        return Read(read.slot, read.place, otherwise)

    def _clamp(self, e: Call, a: Affine, low: Expr, high: Expr) -> Expr:
        least, most = interval(a, self.domain, self.operands)
        floor, _ = interval(low, self.domain, self.operands)
        _, ceiling = interval(high, self.domain, self.operands)
        if None in (least, most, floor, ceiling):
            return e
        return as_value(a, self.kinds) if is_nonnegative(least - floor) and is_nonnegative(ceiling - most) else e

    def _compare(self, function: str, a: Expr, b: Expr) -> Expr:
        if all(certain_kind(x, self.kinds) in ("int", "bool") for x in (a, b)):
            return compare_ints(function, a, b, self.form)
        a, b = (as_float(x, self.kinds) if type(x) is Const else x for x in (a, b))
        if type(a) is Const:
            return call(function, a, b, kinds=self.kinds)
        mirrored = {"gt": "lt", "ge": "le"}.get(function)
        if mirrored and type(b) is not Const:
            return Call(mirrored, (b, a))
        if function in ("eq", "ne") and type(b) is not Const:
            return Call(function, tuple(sorted((a, b), key=lambda e: e.digest)))
        return call(function, a, b, kinds=self.kinds)

    def _with_kinds(self, e: Call) -> Expr:
        """Constants and casts in the kind in which the function takes them."""
        if e.function in ("and", "or", "not"):
            return e
        of = [scalar.kind_of(a, self.kinds) for a in e.args]
        wanted = scalar.argument_kinds(e.function, of)
        args = tuple(_taken_as(a, kind) for a, kind in zip(e.args, wanted))
        if args == e.args:
            return e
        again = call(e.function, *args, kinds=self.kinds)
        return again if certain_kind(again, self.kinds) == certain_kind(e, self.kinds) else e


def _cast(expr: Expr, kind: str, kinds) -> Expr:
    """A value in a kind. Casts of constants are constants."""
    if certain_kind(expr, kinds) == kind:
        return expr
    if type(expr) is Const:
        return Const({"float": float, "int": int, "bool": bool}[kind](expr.value))
    return Call(kind, (expr,)) if kind != "bool" else expr


def _taken_as(arg: Expr, kind: str) -> Expr:
    """An argument that is about to be cast to a kind anyway."""
    if kind != "float":
        return arg
    if type(arg) is Const and isinstance(arg.value, int):
        return Const(float(arg.value))
    return arg.args[0] if type(arg) is Call and arg.function == "float" else arg


# ------------------------------------------------------------------------------------------------ comparisons of ints


def compare_ints(function: str, a: Expr, b: Expr, form: Form) -> Expr:
    """A comparison of ints: decided by intervals, or written in one way, such as `i < n`, `i >= n`, `i == j + n`.

    What is positive in a - b stands on the left, what is negative on the right together with the constant.
    """
    d = difference(a, b)
    if function == "gt" or function == "ge":
        d, function = affine(0, ((d, -1),)), {"gt": "lt", "ge": "le"}[function]
    decided = _decided(function, *interval(d, form.domain, form.operands))
    if decided is not None:
        return decided
    common = math.gcd(*(c for _, c in d.terms))
    sum_ = affine(0, [(t, c // common) for t, c in d.terms])
    if function in ("eq", "ne"):
        if d.constant % common:
            return Const(function == "ne")
        return _equation(function, sum_, -d.constant // common, tuple(o.kind for o in form.operands))
    # sum * common + constant <= 0 (or < 0) is sum < bound.
    bound = (-d.constant - (function == "lt")) // common + 1
    return _order(sum_, bound, tuple(o.kind for o in form.operands))


def _decided(function: str, low, high) -> Const | None:
    """a - b in [low, high] is enough to tell."""
    positive = low is not None and is_nonnegative(low - 1)
    negative = high is not None and is_nonnegative(-1 - high)
    if function in ("eq", "ne"):
        if positive or negative:
            return Const(function == "ne")
        return Const(function == "eq") if low == 0 and high == 0 else None
    slack = 1 if function == "lt" else 0
    if high is not None and is_nonnegative(-slack - high):
        return TRUE
    if low is not None and is_nonnegative(low - 1 + slack):
        return FALSE
    return None


def _sides(sum_: Affine) -> tuple[Affine, Affine]:
    """(positive, negative): sum = positive - negative."""
    positive = affine(0, [(t, c) for t, c in sum_.terms if c > 0])
    return positive, affine(0, ((positive, 1), (sum_, -1)))


def _varies(place: Affine) -> bool:
    return any(type(t) is not Extent for t, _ in place.terms)


def _order(sum_: Affine, bound: int, kinds) -> Expr:
    """sum < bound"""
    left, right = _sides(sum_)
    if _varies(left):
        return Call("lt", (as_value(left, kinds), as_value(affine(bound, ((right, 1),)), kinds)))
    # left - right < bound is right >= left - bound + 1.
    return Call("ge", (as_value(right, kinds), as_value(affine(1 - bound, ((left, 1),)), kinds)))


def _equation(function: str, sum_: Affine, constant: int, kinds) -> Expr:
    """sum == constant, the side with fewer terms on the left."""
    left, right = _sides(sum_)
    pairs = [(left, affine(constant, ((right, 1),))), (right, affine(-constant, ((left, 1),)))]
    pairs = [(a, b) for a, b in pairs if _varies(a)]
    a, b = min(pairs, key=lambda p: (len(p[0].terms), p[0].digest))
    return Call(function, (as_value(a, kinds), as_value(b, kinds)))


# ------------------------------------------------------------------------------------------------ guards


def bounds_of(place: Affine, extent, form: Form) -> tuple[Expr, ...]:
    """The conditions under which a place is inside, those that always hold left out."""
    conditions = compare_ints("ge", place, Const(0), form), compare_ints("lt", place, Extent(extent), form)
    return tuple(c for c in conditions if c is not TRUE)


def _without_implied_guards(body: Expr, form: Form, write: tuple[Affine, ...]) -> Expr:
    """Leaves out conditions of the body that a read already makes, or that writes outside being dropped makes.

    A read that is 0 where the condition fails makes it only in a product of reads and numbers, which are finite.
    """
    conditions, factors = conditions_and_factors(body)
    if not conditions:
        return body
    implied = {c for w, s in zip(write, form.shape) for c in bounds_of(w, s, form)}
    if all(type(f) in (Read, Const) for f in factors):
        for f in factors:
            if type(f) is Read and f.otherwise is not None and is_zero(f.otherwise):
                pairs = zip(f.place, form.operands[f.slot].shape)
                implied.update(c for p, s in pairs for c in bounds_of(p, s, form))
    left = [c for c in conditions if c not in implied]
    if len(left) == len(conditions):
        return body
    kinds = tuple(o.kind for o in form.operands)
    product = mul(*factors, kinds=kinds)
    return where(conjunction(*left), product, zero_like(product, kinds), kinds=kinds)


@cache
def settled(form: Form) -> Form:
    """`settle` until nothing changes."""
    for _ in range(20):
        better = settle(form)
        if better is form:
            return form
        form = better
    raise CompilerBug("settle", f"no end of changes to {form!r}")
