"""Constructors that simplify, once for each distinct expression.

Sums and products are n-ary, flat and sorted by content; constants are folded exactly (Fractions stay rational);
`where(c, a, 0)` floats out of products, because 0 times what stands on the side not taken might be 0 * infinity: nothing
else ever multiplies by a condition. What is simplified here keeps its value for every input, NaN and infinity included,
but for one licence: `0 * x` with a literal 0 is 0, since such a product is a derivative that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction

import numpy as np

from diffgraph.ir.affine import affine, as_affine, at_least, interval
from diffgraph.ir.affine import divide as divide_affine
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.scalar import FUNCTIONS, argument_kinds, cast, kind_of

ZERO = Const(0.0)
ONE = Const(1.0)
TRUE = Const(True)
FALSE = Const(False)

#: Functions whose value is never folded: they mark something, or depend on more than their arguments.
_OPAQUE = frozenset({"stop_gradient", "random"})


def is_zero(e: Expr) -> bool:
    """A literal zero of any kind (False excepted)."""
    return type(e) is Const and not isinstance(e.value, bool) and e.value == 0


def is_one(e: Expr) -> bool:
    """A literal one of any kind (True excepted)."""
    return type(e) is Const and not isinstance(e.value, bool) and e.value == 1


def number(value) -> Const:
    """A float constant; exact rationals stay rational, whole ones become floats."""
    if isinstance(value, Fraction):
        return Const(float(value)) if value.denominator == 1 else Const(value)
    return Const(float(value))


def _sorted(items: Iterable[Expr]) -> tuple[Expr, ...]:
    return tuple(sorted(items, key=lambda e: e.digest))


def _exact(value):
    """A constant's number such that + and * with others stay exact where they can."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return Fraction(int(value))
    return value


def _settle(value, as_int: bool) -> Const:
    if as_int:
        return Const(int(value))
    return number(value)


def _is_int(e: Expr) -> bool:
    return type(e) in (Affine, Index, Extent) or type(e) is Const and isinstance(e.value, int)


def add(*terms: Expr) -> Expr:
    """Their sum: flat, constants joined, like terms collected."""
    if all(_is_int(t) for t in terms):
        return int_value(affine(0, [(t, 1) for t in terms]))
    counts: dict[Expr, object] = {}
    constant = Fraction(0)
    stack = list(terms)
    seen_int = True
    while stack:
        x = stack.pop()
        if type(x) is Const:
            seen_int = seen_int and isinstance(x.value, int)
            constant = constant + _exact(x.value)
        elif type(x) is Call and x.function == "add":
            stack.extend(x.args)
        elif type(x) is Call and x.function == "sub":
            stack += [x.args[0], negate(x.args[1])]
        else:
            times, rest = _coefficient(x)
            counts[rest] = counts.get(rest, Fraction(0)) + times
    out = [rest if c == 1 else _scaled(c, rest) for rest, c in counts.items() if c != 0]
    if constant != 0 or not out:
        as_int = seen_int and bool(terms) and all(_is_int(o) for o in out) and _whole(constant)
        out.append(_settle(constant, as_int))
    return out[0] if len(out) == 1 else Call("add", _sorted(out))


def _whole(value) -> bool:
    return isinstance(value, Fraction) and value.denominator == 1


def int_value(place: Affine) -> Expr:
    """An affine value, plain where it is a constant or one atom."""
    if not place.terms:
        return Const(place.constant)
    if place.constant == 0 and len(place.terms) == 1 and place.terms[0][1] == 1:
        return place.terms[0][0]
    return place


def _coefficient(x: Expr):
    if type(x) is Call and x.function == "mul" and type(x.args[0]) is Const and not isinstance(x.args[0].value, bool):
        rest = x.args[1] if len(x.args) == 2 else Call("mul", x.args[1:])
        return _exact(x.args[0].value), rest
    if type(x) is Call and x.function == "neg":
        times, rest = _coefficient(x.args[0])
        return -times, rest
    return Fraction(1), x


def _scaled(times, rest: Expr) -> Expr:
    factors = rest.args if type(rest) is Call and rest.function == "mul" else (rest,)
    return Call("mul", (_settle(times, False), *factors))


def mul(*factors: Expr) -> Expr:
    """Their product: flat, constants joined in front, guards floated out."""
    constant = Fraction(1)
    rest: list[Expr] = []
    guards: list[Expr] = []
    stack = list(reversed(factors))
    only_ints = True
    while stack:
        x = stack.pop()
        if type(x) is Const:
            only_ints = only_ints and isinstance(x.value, int)
            constant = constant * _exact(x.value)
        elif type(x) is Call and x.function == "mul":
            stack.extend(reversed(x.args))
        elif type(x) is Call and x.function == "neg":
            constant = -constant
            stack.append(x.args[0])
        elif type(x) is Call and x.function == "div":
            stack += [call("recip", x.args[1]), x.args[0]]
        elif type(x) is Call and x.function == "where" and is_zero(x.args[2]):
            guards.append(x.args[0])
            stack.append(x.args[1])
        else:
            only_ints = only_ints and _is_int(x)
            rest.append(x)
    if constant == 0:
        return Const(0) if only_ints and factors else ZERO
    if only_ints and len(rest) == 1 and _whole(constant):
        product: Expr = int_value(affine(0, ((rest[0], int(constant)),)))
    else:
        product = _product(constant, rest, only_ints)
    return product if not guards else where(conjunction(*guards), product, ZERO)


def _product(constant, rest: list[Expr], only_ints: bool) -> Expr:
    ordered = list(_sorted(rest))
    if constant != 1 or not ordered:
        ordered.insert(0, _settle(constant, only_ints and _whole(constant)))
    return ordered[0] if len(ordered) == 1 else Call("mul", tuple(ordered))


def negate(x: Expr) -> Expr:
    """-x"""
    return mul(Const(-1), x)


def subtract(a: Expr, b: Expr) -> Expr:
    """a - b"""
    return add(a, negate(b))


def divide(a: Expr, b: Expr) -> Expr:
    """a / b, as a product with the reciprocal; exact for rational constants."""
    return mul(a, call("recip", b))


def conjunction(*conditions: Expr) -> Expr:
    """All of them: flat, without repetition, sorted."""
    flat: list[Expr] = []
    for c in conditions:
        flat += c.args if type(c) is Call and c.function == "and" else [c]
    kept = [c for c in dict.fromkeys(flat) if c is not TRUE]
    if any(c is FALSE for c in kept):
        return FALSE
    if not kept:
        return TRUE
    return kept[0] if len(kept) == 1 else Call("and", _sorted(kept))


def where(condition: Expr, a: Expr, b: Expr) -> Expr:
    """a where the condition holds, else b."""
    if type(condition) is Const:
        return a if condition.value else b
    if a is b:
        return a
    if is_zero(a) and is_zero(b):
        return ZERO
    if is_zero(a):
        # A zero stands last, so that products see the guard.
        return where(_negation(condition), b, a)
    if is_zero(b):
        if type(a) is Call and a.function == "where" and is_zero(a.args[2]):
            return where(conjunction(condition, a.args[0]), a.args[1], b)
    elif type(condition) is Call and condition.function == "not":
        return where(condition.args[0], b, a)
    return Call("where", (condition, a, b))


def _negation(x: Expr) -> Expr:
    if type(x) is Call and x.function == "not":
        return x.args[0]
    return Const(not x.value) if type(x) is Const else Call("not", (x,))


def _power(x: Expr, n: Expr) -> Expr:
    """x^n for an int n: small constant powers are products, so that they multiply out with the rest."""
    if type(n) is Const:
        count = int(n.value)
        if count == 0:
            return Const(1) if _is_int(x) else ONE
        if 0 < count <= 4:
            return mul(*[x] * count)
        if count == -1:
            return call("recip", x)
    return _folded("powi", (x, n))


def _reciprocal(x: Expr) -> Expr:
    if type(x) is Const and not isinstance(x.value, bool):
        exact = _exact(x.value)
        if isinstance(exact, (int, Fraction)) and exact != 0:
            return number(1 / Fraction(exact))
    if type(x) is Call and x.function == "recip" and type(x.args[0]) is Extent:
        return x.args[0]
    return _folded("recip", (x,))


def _disjunction(*conditions: Expr) -> Expr:
    kept = [c for c in dict.fromkeys(conditions) if c is not FALSE]
    if any(c is TRUE for c in kept):
        return TRUE
    if not kept:
        return FALSE
    return kept[0] if len(kept) == 1 else Call("or", _sorted(kept))


def _cast_float(x: Expr) -> Expr:
    if type(x) is Const:
        return x if isinstance(x.value, (float, Fraction)) else number(x.value)
    return x if type(x) is Call and x.function == "float" else Call("float", (x,))


def _quotient(function: str) -> Callable[[Expr, Expr], Expr]:
    def construct(x: Expr, divisor: Expr) -> Expr:
        if _is_int(x) and type(x) is not Const and _positive_int(divisor):
            return Call(function, (as_affine(x), divisor))
        return _folded(function, (x, divisor))

    return construct


def _stopped(x: Expr) -> Expr:
    return x if type(x) is Const else Call("stop_gradient", (x,))


_CONSTRUCTORS: dict[str, Callable[..., Expr]] = {
    "add": add,
    "mul": mul,
    "sub": subtract,
    "div": divide,
    "neg": negate,
    "recip": _reciprocal,
    "powi": _power,
    "where": where,
    "and": conjunction,
    "or": _disjunction,
    "not": _negation,
    "float": _cast_float,
    "stop_gradient": _stopped,
    "floordiv": _quotient("floordiv"),
    "mod": _quotient("mod"),
}


def call(name: str, *args: Expr) -> Expr:
    """A function applied to its arguments, simplified."""
    constructor = _CONSTRUCTORS.get(name)
    return constructor(*args) if constructor else _folded(name, args)


def _folded(name: str, args: tuple[Expr, ...]) -> Expr:
    """The call, computed now if all arguments are constants."""
    if name in _OPAQUE or not all(type(a) is Const for a in args):
        return Call(name, tuple(args))
    kinds = [kind_of(a, ()) for a in args]
    values = [
        cast(float(a.value) if isinstance(a.value, Fraction) else a.value, kind)
        for a, kind in zip(args, argument_kinds(name, kinds))
    ]
    with np.errstate(all="ignore"):
        value = np.asarray(FUNCTIONS[name].numpy(*values)).item()
    kind = kind_of(Call(name, tuple(args)), ())
    if kind == "int" and not np.isfinite(value):
        return Call(name, tuple(args))
    return Const({"float": float, "int": int, "bool": bool}[kind](value))


# ---------------------------------------------------------------- rewriting


def rewrite(expression: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Rebuilds an expression bottom-up, with simplifying constructors, each distinct node once; `change` maps a node whose
    children have been rewritten."""
    memo: dict[Expr, Expr] = {}

    def visit(e: Expr) -> Expr:
        found = memo.get(e)
        if found is None:
            found = memo[e] = change(_rebuilt(e, visit))
        return found

    return visit(expression)


def _rebuilt(e: Expr, visit: Callable[[Expr], Expr]) -> Expr:
    if type(e) is Affine:
        atoms = [(visit(atom), c) for atom, c in e.terms]
        return e if all(a is b for (a, _), (b, _) in zip(atoms, e.terms)) else affine(e.constant, atoms)
    if type(e) is Read:
        place = tuple(as_affine(visit(p)) for p in e.place)
        otherwise = None if e.otherwise is None else visit(e.otherwise)
        return Read(e.slot, place, otherwise)
    if type(e) is Call:
        args = tuple(visit(a) for a in e.args)
        return e if all(a is b for a, b in zip(args, e.args)) else call(e.function, *args)
    return e


def substitute(
    expression: Expr, places: Mapping[int, Affine], domain, slots: Mapping[int, int] | None = None
) -> Expr:
    """The expression with axes replaced by places of a new domain, and slots renumbered; divisions, remainders and
    comparisons of places are simplified by what the new domain says."""

    def change(e: Expr) -> Expr:
        if type(e) is Index:
            return places.get(e.axis, e)
        if type(e) is Read and slots is not None:
            return Read(slots.get(e.slot, e.slot), e.place, e.otherwise)
        return reduce_by_range(e, domain)

    return rewrite(expression, change)


def reduce_by_range(e: Expr, domain) -> Expr:
    """A division, remainder, clamp or comparison of places, decided or simplified by intervals over the domain."""
    if type(e) is not Call:
        return e
    if e.function in ("floordiv", "mod") and _is_place(e.args[0]) and _positive_int(e.args[1]):
        return int_value(divide_affine(as_affine(e.args[0]), int(e.args[1].value), domain, e.function))
    if e.function == "clamp" and _is_place(e.args[0]) and all(type(a) is Const for a in e.args[1:]):
        low, high = interval(as_affine(e.args[0]), domain)
        if isinstance(low, int) and isinstance(high, int) and e.args[1].value <= low and high <= e.args[2].value:
            return e.args[0]
    if e.function in _DECISIONS and all(_is_place(a) or _int_constant(a) for a in e.args):
        return decide(e, domain)
    return e


def _is_place(e: Expr) -> bool:
    return type(e) in (Affine, Index, Extent)


def _int_constant(e: Expr) -> bool:
    return type(e) is Const and isinstance(e.value, int) and not isinstance(e.value, bool)


def _positive_int(e: Expr) -> bool:
    return _int_constant(e) and e.value > 0


#: For the difference d of both sides, in [low, high]: (surely true, surely false).
_DECISIONS = {
    "lt": lambda low, high: (_below(high, 0), _least(low, 0)),
    "le": lambda low, high: (_below(high, 1), _least(low, 1)),
    "ge": lambda low, high: (_least(low, 0), _below(high, 0)),
    "gt": lambda low, high: (_least(low, 1), _below(high, 1)),
    "eq": lambda low, high: (_same(low, 0) and _same(high, 0), _least(low, 1) or _below(high, 0)),
    "ne": lambda low, high: (_least(low, 1) or _below(high, 0), _same(low, 0) and _same(high, 0)),
}


def _least(low, value: int) -> bool:
    return at_least(low, value)


def _below(high, value: int) -> bool:
    return high is not None and at_least(value - 1 - high, 0)


def _same(end, value: int) -> bool:
    return isinstance(end, int) and end == value


def decide(comparison: Call, domain) -> Expr:
    """The comparison of two places, or TRUE or FALSE where intervals decide it."""
    a, b = (as_affine(x) for x in comparison.args)
    low, high = interval(affine(0, ((a, 1), (b, -1))), domain)
    surely, never = _DECISIONS[comparison.function](low, high)
    return TRUE if surely else FALSE if never else comparison
