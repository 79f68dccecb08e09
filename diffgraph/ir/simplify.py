"""Constructors of scalar expressions that simplify. `rewrite.py` applies them from the bottom up.

What they promise. Sums and products are flat and sorted by content. Numbers are folded exactly: `Fraction`s stay
rational, so 49 * (1/49) is 1. `where(c, a, 0)` leaves products, so that a product is never 0 * inf. The kind of a
result is that of the unsimplified one: a neutral float constant stays where nothing else shows that the result is a
float.

`kinds` gives the kind of the operand in each slot, where it is known: then more can be done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from diffgraph.ir import scalar
from diffgraph.ir.affine import affine, as_affine, divide
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent
from diffgraph.ir.numbers import (
    FALSE,
    ONE,
    TRUE,
    ZERO,
    Kinds,
    Number,
    as_float,
    certain_kind,
    combine,
    constant,
    is_zero,
    simple,
)

# ------------------------------------------------------------------------------------------------ sums


def add(*xs: Expr, kinds: Kinds = ()) -> Expr:
    """The sum. Like terms merge, addends under the same guard share it, and ints are one `Affine`."""
    total = _Sum(kinds)
    for x in xs:
        total.include(x, 1)
    return total.result()


class _Sum:
    """Addends while they are collected: coefficient times expression."""

    def __init__(self, kinds: Kinds):
        self.kinds = kinds
        self.number: Number = 0
        self.coefficients: dict[Expr, Number] = {}

    def include(self, x: Expr, factor: Number) -> None:
        """Adds a multiple of an expression."""
        match x:
            case Const(value):
                value = int(value) if isinstance(value, bool) else value
                self._number(combine(factor, value, lambda a, b: a * b))
            case Call("add", args) if factor in (1, -1):
                for a in args:
                    self.include(a, factor)
            case Call("mul", (Const(value), *rest)) if not isinstance(value, bool):
                inner = rest[0] if len(rest) == 1 else Call("mul", tuple(rest))
                self._term(inner, combine(factor, value, lambda a, b: a * b))
            case Affine(number, terms):
                self._number(combine(factor, number, lambda a, b: a * b))
                for atom, c in terms:
                    self._term(atom, combine(factor, c, lambda a, b: a * b))
            case Call("int", (a,)) if certain_kind(a, self.kinds) in ("int", "bool"):
                self.include(a, factor)
            case _:
                self._term(x, factor)

    def _number(self, value: Number) -> None:
        self.number = combine(self.number, value, lambda a, b: a + b)

    def _term(self, x: Expr, coefficient: Number) -> None:
        before = self.coefficients.get(x, 0)
        self.coefficients[x] = combine(before, coefficient, lambda a, b: a + b)

    def result(self) -> Expr:
        terms = {x: c for x, c in self.coefficients.items() if c != 0 or _is_nan(c)}
        is_int = all(certain_kind(x, self.kinds) in ("int", "bool") for x in terms)
        if is_int and all(type(c) is int for c in (self.number, *terms.values())) and not self._lost_float(terms):
            return as_value(affine(self.number, terms.items()), self.kinds)
        addends = [*_integers(terms, self.kinds), *(_scaled(x, c, self.kinds) for x, c in terms.items())]
        addends = _share_guards(addends, self.kinds)
        return self._joined(addends, terms)

    def _lost_float(self, terms) -> bool:
        """Terms of a float cancelled: what is left must stay a float."""
        gone = [x for x in self.coefficients if x not in terms]
        return any(certain_kind(x, self.kinds) == "float" for x in gone)

    def _joined(self, addends: list[Expr], terms) -> Expr:
        kinds = [certain_kind(a, self.kinds) for a in addends]
        is_float = "float" in kinds
        must_be = isinstance(self.number, (float, Fraction)) or self._lost_float(terms)
        if not addends:
            return constant(float(self.number) if must_be and isinstance(self.number, int) else self.number)
        if self.number != 0 or _is_nan(self.number) or (must_be and not is_float):
            number = self.number
            if (is_float or must_be) and isinstance(number, int):
                number = float(number)
            if number != 0 or _is_nan(number) or None in kinds:
                addends.append(constant(number))
            else:
                addends = [as_float(addends[0], self.kinds), *addends[1:]]
        if len(addends) == 1:
            return _as_number(addends[0], self.kinds)
        return Call("add", _sorted(addends))


def _as_number(expr: Expr, kinds: Kinds) -> Expr:
    """What arithmetic makes of a single value: a bool becomes an int."""
    return Call("int", (expr,)) if certain_kind(expr, kinds) == "bool" else expr


def _is_nan(value: Number) -> bool:
    return isinstance(value, float) and value != value


def as_value(place: Affine, kinds: Kinds = ()) -> Expr:
    """An affine form as a value: a constant or an atom where it is no more than that."""
    if not place.terms:
        return Const(place.constant)
    if place.constant == 0 and len(place.terms) == 1 and place.terms[0][1] == 1:
        return _as_number(place.terms[0][0], kinds)
    return place


def _integers(terms: dict[Expr, Number], kinds: Kinds) -> list[Expr]:
    """Takes the addends that are whole multiples of ints out of `terms`, as one affine form."""
    whole = [(x, c) for x, c in terms.items() if type(c) is int and certain_kind(x, kinds) in ("int", "bool")]
    if len(whole) < 2:
        return []
    for x, _ in whole:
        del terms[x]
    joined = affine(0, whole)
    return [] if not joined.terms and joined.constant == 0 else [as_value(joined, kinds)]


def _scaled(x: Expr, coefficient: Number, kinds: Kinds) -> Expr:
    return x if type(coefficient) is int and coefficient == 1 else mul(constant(coefficient), x, kinds=kinds)


def _share_guards(addends: list[Expr], kinds: Kinds) -> list[Expr]:
    """where(c, a, 0) + where(c, b, 0) is where(c, a + b, 0)."""
    guarded: dict[Expr, list[Expr]] = {}
    for a in addends:
        if type(a) is Call and a.function == "where" and is_zero(a.args[2]):
            guarded.setdefault(a.args[0], []).append(a)
    if all(len(same) == 1 for same in guarded.values()):
        return addends
    joined = [a for a in addends if not (type(a) is Call and a.function == "where" and is_zero(a.args[2]))]
    for condition, same in guarded.items():
        if len(same) == 1:
            joined += same
        else:
            joined.append(where(condition, add(*(a.args[1] for a in same), kinds=kinds), same[0].args[2], kinds=kinds))
    return joined


def _sorted(args: Sequence[Expr]) -> tuple[Expr, ...]:
    """By content; a constant first."""
    return tuple(sorted(args, key=lambda e: (type(e) is not Const, e.digest)))


# ------------------------------------------------------------------------------------------------ products


def mul(*xs: Expr, kinds: Kinds = ()) -> Expr:
    """The product. Guards float out: where(c, a, 0) * b is where(c, a * b, 0), never c * a * b."""
    number: Number = 1
    factors: list[Expr] = []
    conditions: list[Expr] = []
    left = list(xs)
    while left:
        x = left.pop()
        match x:
            case Const(value):
                number = combine(number, int(value) if isinstance(value, bool) else value, lambda a, b: a * b)
            case Call("mul", args):
                left.extend(args)
            case Call("where", (condition, a, zero)) if is_zero(zero):
                conditions.append(condition)
                left.append(a)
                # The kind of the zero counts: where(c, 1, 0.0) is a float.
                left.append(ONE if type(zero.value) is float else Const(1))
            case Affine(0, ((atom, c),)):
                number = combine(number, c, lambda a, b: a * b)
                factors.append(atom)
            case Call("int", (a,)) if certain_kind(a, kinds) in ("int", "bool"):
                left.append(a)
            case _:
                factors.append(x)
    body = _product(number, factors, kinds)
    if not conditions:
        return body
    return where(conjunction(*conditions, kinds=kinds), body, zero_like(body, kinds), kinds=kinds)


def zero_like(expr: Expr, kinds: Kinds = ()) -> Const:
    """The 0 of an expression's kind, an int where that is not known to be a float."""
    return ZERO if certain_kind(expr, kinds) == "float" else Const(0)


def _product(number: Number, factors: list[Expr], kinds: Kinds) -> Expr:
    of = [certain_kind(f, kinds) for f in factors]
    is_float = "float" in of or not isinstance(number, int)
    if number == 0:
        return ZERO if is_float else Const(0)
    if not factors:
        return constant(number)
    if number == 1:
        if len(factors) > 1 and (isinstance(number, int) or "float" in of):
            return Call("mul", _sorted(factors))
        if len(factors) == 1 and (isinstance(number, int) or of[0] == "float"):
            return _as_number(factors[0], kinds)
        if len(factors) == 1 and of[0] is not None:
            return Call("float", (factors[0],))
    if "float" in of and isinstance(number, int):
        number = float(number)
    if number == -1 and len(factors) == 1 and type(factors[0]) is Call and factors[0].function == "add":
        return add(*(mul(constant(number), a, kinds=kinds) for a in factors[0].args), kinds=kinds)
    if type(number) is int and len(factors) == 1 and of[0] in ("int", "bool"):
        return as_value(affine(0, ((factors[0], number),)), kinds)
    return Call("mul", (constant(number), *_sorted(factors)))


# ------------------------------------------------------------------------------------------------ logic


def conjunction(*conditions: Expr, kinds: Kinds = ()) -> Expr:
    """All of the conditions. Of one it is that one, whatever its kind."""
    return _junction("and", TRUE, FALSE, conditions)


def disjunction(*conditions: Expr, kinds: Kinds = ()) -> Expr:
    """Any of the conditions."""
    return _junction("or", FALSE, TRUE, conditions)


def _junction(function: str, neutral: Const, absorbing: Const, conditions: Sequence[Expr]) -> Expr:
    flat: dict[Expr, None] = {}
    left = list(reversed(conditions))
    while left:
        c = left.pop()
        if type(c) is Call and c.function == function:
            left.extend(reversed(c.args))
        elif type(c) is Const:
            if bool(c.value) is absorbing.value:
                return absorbing
        else:
            flat[c] = None
    if not flat:
        return neutral
    if len(flat) == 1:
        (only,) = flat
        return only
    return Call(function, _sorted(list(flat)))


def truth(condition: Expr, kinds: Kinds = ()) -> Expr:
    """A condition as a bool."""
    of = certain_kind(condition, kinds)
    if of is None:
        return Call("and", (condition,))
    if type(condition) is Const:
        return Const(bool(condition.value))
    return condition if of == "bool" else comparison("ne", condition, ZERO if of == "float" else Const(0), kinds)


def negation(condition: Expr, kinds: Kinds = ()) -> Expr:
    """The condition does not hold."""
    match condition:
        case Const(value):
            return Const(not value)
        case Call("not", (c,)):
            return truth(c, kinds)
        case Call("eq", args):
            return Call("ne", args)
        case Call("ne", args):
            return Call("eq", args)
        case Call("lt" | "le" | "gt" | "ge" as function, args):
            # With NaN neither a < b nor a >= b holds, so floats keep their `not`.
            if all(certain_kind(a, kinds) in ("int", "bool") for a in args):
                return call({"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}[function], *args, kinds=kinds)
    return Call("not", (condition,))


def where(condition: Expr, a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
    """a where the condition holds, else b. A zero goes to the other side: where(c, 0, b) is where(not c, b, 0)."""
    if type(condition) is Call and condition.function == "and" and len(condition.args) == 1:
        condition = condition.args[0]
    if type(condition) is Const:
        return _like(a, b, kinds) if condition.value else _like(b, a, kinds)
    if a is b:
        return a
    if is_zero(a) and is_zero(b):
        return ZERO if type(a.value) is float or type(b.value) is float else a
    if type(a) is Call and a.function == "where" and a.args[0] is condition:
        return where(condition, _like(a.args[1], a.args[2], kinds), b, kinds)
    if type(b) is Call and b.function == "where" and b.args[0] is condition:
        return where(condition, a, _like(b.args[2], b.args[1], kinds), kinds)
    if is_zero(a) and not is_zero(b):
        return where(negation(condition, kinds), b, a, kinds)
    if is_zero(b) and type(a) is Call and a.function == "where" and is_zero(a.args[2]):
        zero = a.args[2] if type(a.args[2].value) is float else b
        return where(conjunction(condition, a.args[0], kinds=kinds), a.args[1], zero, kinds)
    if is_zero(b) and certain_kind(a, kinds) == "float":
        b = ZERO
    return Call("where", (condition, a, b))


def _like(taken: Expr, other: Expr, kinds: Kinds) -> Expr:
    """One branch of a `where` in the kind of the whole."""
    of = certain_kind(taken, kinds), certain_kind(other, kinds)
    if of[0] == of[1] or of[0] == "float" or of[1] == "bool":
        return taken
    if of[1] == "float":
        return as_float(taken, kinds)
    if of[0] == "bool" and of[1] == "int":
        return Const(int(taken.value)) if type(taken) is Const else Call("int", (taken,))
    return taken


# ------------------------------------------------------------------------------------------------ everything


def negate(x: Expr, kinds: Kinds = ()) -> Expr:
    """-x"""
    return mul(Const(-1), x, kinds=kinds)


def subtract(a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
    """a - b"""
    return add(a, negate(b, kinds), kinds=kinds)


def divide_by(a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
    """a / b, as a times the reciprocal of b. Always a float."""
    return as_float_product(a, recip(b, kinds), kinds)


def as_float_product(a: Expr, b: Expr, kinds: Kinds) -> Expr:
    """a * b where b is a float."""
    product = mul(a, b, kinds=kinds)
    return product if certain_kind(product, kinds) == "float" else as_float(product, kinds)


def recip(x: Expr, kinds: Kinds = ()) -> Expr:
    """1 / x: exact on numbers, taken apart on numbers times something."""
    match x:
        case Const(int() | Fraction() as value) if value != 0:
            return constant(Fraction(1) / Fraction(int(value) if isinstance(value, bool) else value))
        case Const(float() as value) if isinstance(simple(value), Fraction) and value != 0:
            return constant(1 / simple(value))
        case Const():
            return _folded("recip", (x,))
        case Call("recip", (a,)) if certain_kind(a, kinds) == "float":
            return a
        case Call("mul", (Const(value), *rest)) if value != 0:
            inner = rest[0] if len(rest) == 1 else Call("mul", tuple(rest))
            return mul(recip(Const(value)), recip(inner, kinds), kinds=kinds)
        case Affine(0, ((atom, c),)) if c != 1:
            return mul(recip(Const(c)), recip(atom, kinds), kinds=kinds)
    return Call("recip", (x,))


def powi(x: Expr, n: Expr, kinds: Kinds = ()) -> Expr:
    """x to an int power: small ones are products."""
    if type(n) is not Const or type(x) is Const and type(n) is Const:
        return _plain("powi", (x, n))
    of = certain_kind(x, kinds)
    if of is None and n.value in (0, 1):
        return Call("powi", (x, n))
    if n.value == 0:
        return ONE if of == "float" else Const(1)
    if 1 <= n.value <= 3:
        return mul(*(x,) * n.value, kinds=kinds)
    if -3 <= n.value < 0 and of == "float":
        return recip(powi(x, Const(-n.value), kinds), kinds)
    return Call("powi", (x, n))


def power(x: Expr, p: Expr, kinds: Kinds = ()) -> Expr:
    """x to a float power; the whole ones from 1 to 3 are products and halves are roots, as they mean the same."""
    if type(p) is Const and type(x) is not Const and certain_kind(x, kinds) == "float":
        if p.value in (1, 2, 3):
            return mul(*(x,) * int(p.value), kinds=kinds)
        if p.value == -1:
            return recip(x, kinds)
        if p.value == 0:
            return ONE
    return _plain("pow", (x, p))


def floor_division(function: str, a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
    """a // b or a % b: on ints by a constant, as an atom of a place."""
    whole = all(certain_kind(x, kinds) in ("int", "bool") for x in (a, b))
    if whole and type(b) is Const and b.value != 0 and not (type(a) is Const):
        return as_value(divide(as_affine(a), int(b.value), None, function))
    if whole and type(b) is Extent:
        return as_value(divide(as_affine(a), b.size, None, function))
    return _plain(function, (a, b))


def comparison(function: str, a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
    """a == b, a < b, ... with a constant on the right."""
    if a is b and certain_kind(a, kinds) in ("int", "bool"):
        return Const(function in ("eq", "le", "ge"))
    if function == "gt" and type(b) is Const and b.value == 0 and type(a) is Call and a.function == "relu":
        a = a.args[0]
    if type(a) is Const and type(b) is not Const:
        mirrored = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
        return Call(mirrored.get(function, function), (b, a))
    return _plain(function, (a, b))


def _cast_float(x: Expr, kinds: Kinds = ()) -> Expr:
    return as_float(x.args[0] if type(x) is Call and x.function == "float" else x, kinds)


def _cast_int(x: Expr, kinds: Kinds = ()) -> Expr:
    return x if certain_kind(x, kinds) == "int" else _plain("int", (x,))


def _clamp(x: Expr, low: Expr, high: Expr, kinds: Kinds = ()) -> Expr:
    if all(certain_kind(e, kinds) == "int" for e in (x, low, high)) and type(x) is not Const:
        return Call("clamp", (as_affine(x), low, high))
    return _plain("clamp", (x, low, high))


def _idempotent(function: str) -> Callable:
    def build(a: Expr, b: Expr, kinds: Kinds = ()) -> Expr:
        if a is b and certain_kind(a, kinds) in ("int", "float"):
            return a
        args = (b, a) if type(a) is Const and type(b) is not Const else (a, b)
        return _plain(function, args)

    return build


def call(name: str, *args: Expr, kinds: Kinds = ()) -> Expr:
    """A scalar function of simplified arguments, simplified. Constants fold through the table of functions."""
    return _called(name, args, tuple(kinds))


@lru_cache(maxsize=1 << 16)
def _called(name: str, args: tuple[Expr, ...], kinds: Kinds) -> Expr:
    args = tuple(as_value(a, kinds) if type(a) is Affine else a for a in args)
    build = _BUILDERS.get(name)
    return build(*args, kinds=kinds) if build else _plain(name, args)


def _plain(name: str, args: tuple[Expr, ...]) -> Expr:
    if name != "random" and all(type(a) is Const for a in args):
        return _folded(name, args)
    return Call(name, tuple(args))


def _folded(name: str, args: tuple[Const, ...]) -> Const:
    """The value of a function of constants."""
    of = [scalar.kind_of(a, ()) for a in args]
    values = [float(a.value) if kind == "float" else a.value for a, kind in zip(args, of)]
    return Const(scalar.evaluate(name, values, of).item())


def _compare(function: str) -> Callable:
    return lambda a, b, kinds=(): comparison(function, a, b, kinds)


_BUILDERS: dict[str, Callable] = {
    "add": add,
    "mul": mul,
    "sub": lambda a, b, kinds=(): subtract(a, b, kinds),
    "div": lambda a, b, kinds=(): divide_by(a, b, kinds),
    "neg": negate,
    "recip": recip,
    "pow": power,
    "powi": powi,
    "floordiv": lambda a, b, kinds=(): floor_division("floordiv", a, b, kinds),
    "mod": lambda a, b, kinds=(): floor_division("mod", a, b, kinds),
    "where": where,
    "and": lambda *cs, kinds=(): truth(conjunction(*cs), kinds),
    "or": lambda *cs, kinds=(): truth(disjunction(*cs), kinds),
    "not": negation,
    "max": _idempotent("max"),
    "min": _idempotent("min"),
    "clamp": _clamp,
    "float": _cast_float,
    "int": _cast_int,
    **{name: _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
