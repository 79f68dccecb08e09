"""The algebra of places: quasi-affine forms over the indices of a domain.

An `Affine` is a constant plus whole multiples of atoms: indices, `//` and `%` by a constant, clamps, extents, and any
other int-valued expression. Everything here is exact. Where something cannot be shown, the answer is the cautious one:
an unknown bound is None, a place not shown to be inside is outside.

A `domain` gives the extent of each index (None where no domain is known: indices are then at least 0), `operands` what
is known of the tensors read (the `bound` of an int tensor).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache, lru_cache

from diffgraph.ir.dimension import Dimension, Size, floor_divide, is_nonnegative, most_quotient, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Operand, alone_index

Domain = tuple[Size, ...] | None
Interval = tuple[Size | None, Size | None]

UNKNOWN: Interval = (None, None)


# ------------------------------------------------------------------------------------------------ building


def affine(constant: int = 0, terms: Iterable[tuple[Expr, int]] = ()) -> Affine:
    """constant + sum of coefficient * expression, in normal form: flat, merged, sorted, digits put together again."""
    if terms == ():
        return Affine(int(constant), ())
    total = _Total(constant)
    for expr, coefficient in terms:
        total.add(expr, coefficient)
    return total.affine()


@cache
def index(axis: int) -> Affine:
    """The place that is one index."""
    return Affine(0, ((Index(axis), 1),))


def as_affine(expr: Expr) -> Affine:
    """An int-valued expression as a place."""
    return expr if type(expr) is Affine else affine(0, ((expr, 1),))


def difference(a: Expr, b: Expr) -> Affine:
    """a - b for int-valued expressions."""
    return affine(0, ((a, 1), (b, -1)))


class _Total:
    """A sum of multiples of expressions while it is collected."""

    def __init__(self, constant: int):
        self.constant = int(constant)
        self.atoms: dict[Expr, int] = {}
        self.size: Size = 0

    def add(self, expr: Expr, coefficient: int) -> None:
        """Adds a multiple of an int-valued expression, taken apart as far as it is affine."""
        match expr:
            case Affine(constant, terms):
                self.constant += coefficient * constant
                for atom, c in terms:
                    self.add(atom, coefficient * c)
            case Const(value):
                self.constant += coefficient * int(value)
            case Extent(size):
                self.size = self.size + size * coefficient
            case Call("add", args):
                for a in args:
                    self.add(a, coefficient)
            case Call("mul", (Const(value), *rest)) if type(value) is int and rest:
                factor = rest[0] if len(rest) == 1 else Call("mul", tuple(rest))
                self.add(factor, coefficient * value)
            case Call("floordiv" | "mod" as function, (a, Const(q))) if type(a) is not Affine and type(q) is int and q:
                self.add(divide(as_affine(a), q, None, function), coefficient)
            case _:
                self.atoms[expr] = self.atoms.get(expr, 0) + coefficient

    def affine(self) -> Affine:
        self._join_digits()
        self._split_size()
        terms = sorted(((a, c) for a, c in self.atoms.items() if c), key=_atom_order)
        return Affine(self.constant, tuple(terms))

    def _split_size(self) -> None:
        """A symbolic size as whole multiples of monomials, so that equal ones merge."""
        if isinstance(self.size, int):
            self.constant += self.size
            return
        rest = []
        for monomial, coefficient in self.size.terms:
            if coefficient.denominator != 1:
                rest.append((monomial, coefficient))
            elif monomial == ():
                self.constant += int(coefficient)
            else:
                self.atoms[Extent(Dimension(((monomial, Fraction(1)),)))] = int(coefficient)
        if rest:
            self.atoms[Extent(Dimension(tuple(rest)))] = 1

    def _join_digits(self) -> None:
        """q * (a // q) + a % q is a, and q * ((a // q) % r) + a % q is a % (q * r)."""
        changed = True
        while changed:
            changed = any(
                self._join(atom) for atom in list(self.atoms) if type(atom) is Call and atom.function == "mod"
            )

    def _join(self, low: Call) -> bool:
        coefficient = self.atoms.get(low, 0)
        if not coefficient or type(low.args[1]) is not Const:
            return False
        a, q = low.args[0], low.args[1].value
        quotient = Call("floordiv", low.args)
        if self.atoms.get(quotient) == coefficient * q:
            del self.atoms[low], self.atoms[quotient]
            self.add(a, coefficient)
            return True
        digit = Affine(0, ((quotient, 1),))
        for high in self.atoms:
            if type(high) is Call and high.function == "mod" and high.args[0] is digit:
                if type(high.args[1]) is Const and self.atoms[high] == coefficient * q:
                    del self.atoms[low], self.atoms[high]
                    self.add(Call("mod", (a, Const(q * high.args[1].value))), coefficient)
                    return True
        return False


def _atom_order(term: tuple[Expr, int]) -> tuple:
    atom, _ = term
    return (0, atom.axis, "") if type(atom) is Index else (1, 0, atom.digest)


# ------------------------------------------------------------------------------------------------ intervals


@lru_cache(maxsize=1 << 17)
def interval(expr: Expr, domain: Domain, operands: tuple[Operand, ...] = ()) -> Interval:
    """The least and the greatest value of an int-valued expression over the domain, each None where it is unknown.

    Symbolic extents give symbolic bounds. The interval is sound, and exact where every index occurs once.
    """
    match expr:
        case Affine(constant, terms):
            low: Size | None = constant
            high: Size | None = constant
            for atom, coefficient in terms:
                least, most = interval(atom, domain, operands)
                if coefficient < 0:
                    least, most = most, least
                low = None if low is None or least is None else low + coefficient * least
                high = None if high is None or most is None else high + coefficient * most
            return low, high
        case Index(axis):
            return 0, (None if domain is None else domain[axis] - 1)
        case Const(value):
            return (int(value), int(value)) if isinstance(value, int) else UNKNOWN
        case Extent(size):
            return size, size
        case Read():
            return _read_interval(expr, domain, operands)
        case Call():
            return _call_interval(expr, domain, operands)
    return UNKNOWN


def _read_interval(read: Read, domain: Domain, operands: tuple[Operand, ...]) -> Interval:
    if read.slot >= len(operands):
        return UNKNOWN
    operand = operands[read.slot]
    inside = (0, 1) if operand.kind == "bool" else UNKNOWN if operand.bound is None else (0, operand.bound - 1)
    if read.otherwise is None or inside is UNKNOWN:
        return inside
    return _either(inside, interval(read.otherwise, domain, operands))


def _call_interval(call: Call, domain: Domain, operands: tuple[Operand, ...]) -> Interval:
    of = [interval(a, domain, operands) for a in call.args]
    match call.function:
        case "floordiv" if _divisor(call):
            low, high = of[0]
            q = _divisor(call)
            return (
                None if low is None else floor_divide(low, q),
                None if high is None else floor_divide(high, q),
            )
        case "floordiv":
            return _quotient_interval(*of)
        case "mul":
            if all(low is not None and is_nonnegative(low) for low, _ in of):
                highs = [high for _, high in of]
                return product(low for low, _ in of), None if None in highs else product(highs)
        case "mod":
            low, high = of[1]
            if low is None or not is_nonnegative(low - 1):
                return UNKNOWN
            return 0, None if high is None else high - 1
        case "clamp":
            return of[1][0], of[2][1]
        case "max" | "relu":
            lows = [low for low, _ in (of if call.function == "max" else [*of, (0, 0)])]
            return _greatest([low for low in lows if low is not None]), _greatest([high for _, high in of])
        case "min":
            return _least([low for low, _ in of]), _least([high for _, high in of if high is not None])
        case "where":
            return _either(of[1], of[2])
        case "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "and" | "or" | "not" | "is_nan":
            return 0, 1
        case "stop_gradient":
            return of[0]
    return UNKNOWN


def _quotient_interval(a: Interval, q: Interval) -> Interval:
    """Of what is at least 0 by a symbolic size."""
    if a[0] is None or not is_nonnegative(a[0]) or q[0] is None or q[0] != q[1] or not is_nonnegative(q[0] - 1):
        return UNKNOWN
    return 0, None if a[1] is None else most_quotient(a[1], q[0])


def _divisor(call: Call) -> int | None:
    q = call.args[1]
    return q.value if type(q) is Const and type(q.value) is int and q.value > 0 else None


def _either(a: Interval, b: Interval) -> Interval:
    return _least([a[0], b[0]]), _greatest([a[1], b[1]])


def _least(sizes: Sequence[Size | None]) -> Size | None:
    """The smallest of some sizes if it can be told which one that is."""
    known = [s for s in sizes if s is not None]
    if not known or len(known) != len(sizes):
        return None
    return next((a for a in known if all(is_nonnegative(b - a) for b in known)), None)


def _greatest(sizes: Sequence[Size | None]) -> Size | None:
    known = [s for s in sizes if s is not None]
    if not known or len(known) != len(sizes):
        return None
    return next((a for a in known if all(is_nonnegative(a - b) for b in known)), None)


def is_inside(place: Affine, extent: Size, domain: Domain, operands: tuple[Operand, ...] = ()) -> bool:
    """0 <= place < extent everywhere in the domain, as far as intervals can show it."""
    axis = alone_index(place)
    if axis is not None and domain is not None and domain[axis] == extent:
        return True
    low, high = interval(place, domain, operands)
    return low is not None and high is not None and is_nonnegative(low) and is_nonnegative(extent - 1 - high)


def is_injective(place: Affine, domain: Domain) -> bool:
    """Different values of the indices that occur give different places: by mixed radix, with gaps.

    Sorted by coefficient, each must be more than what those before it can reach together. Only indices are judged.
    """
    reach: int | float = 0
    for coefficient, atom in sorted(((abs(c), a) for a, c in place.terms), key=lambda t: t[0]):
        if type(atom) is not Index or coefficient <= reach:
            return False
        extent = None if domain is None else domain[atom.axis]
        reach = reach + coefficient * (extent - 1) if isinstance(extent, int) else math.inf
    return True


# ------------------------------------------------------------------------------------------------ division


def divide(a: Affine, q: Size, domain: Domain, function: str, operands: tuple[Operand, ...] = ()) -> Affine:
    """a // q or a % q (`function` is "floordiv" or "mod"), simplified: whole multiples leave, intervals decide."""
    if not isinstance(q, int):
        return _divide_by_symbol(a, q, domain, function, operands)
    if q == 0:
        raise ZeroDivisionError("a place is divided by zero")
    if q < 0:
        flipped = divide(affine(0, ((a, -1),)), -q, domain, function, operands)
        return flipped if function == "floordiv" else affine(0, ((flipped, -1),))
    quotient, remainder = _divided(a, q, domain, operands, function == "mod")
    return quotient if function == "floordiv" else remainder


def divided_anew(place: Affine, domain: Domain, operands: tuple[Operand, ...] = ()) -> Affine:
    """The place with each `//` and `%` by a constant simplified for a domain."""
    if not any(_is_division(a) for a, _ in place.terms):
        return place
    return affine(
        place.constant,
        [
            (divide(a.args[0], a.args[1].value, domain, a.function, operands) if _is_division(a) else a, c)
            for a, c in place.terms
        ],
    )


def _is_division(atom: Expr) -> bool:
    if type(atom) is not Call or atom.function not in ("floordiv", "mod"):
        return False
    a, q = atom.args
    return type(a) is Affine and type(q) is Const and type(q.value) is int and q.value != 0


@lru_cache(maxsize=1 << 16)
def _divided(a: Affine, q: int, domain: Domain, operands, only_remainder: bool) -> tuple[Affine, Affine]:
    """(a // q, a % q); the quotient is not to be used where `only_remainder`."""
    whole = affine(a.constant // q, [(t, c // q) for t, c in a.terms if c % q == 0])
    rest = affine(a.constant % q, [(t, c) for t, c in a.terms if c % q])
    if only_remainder and (simpler := _without_inner_remainders(rest, q)) is not rest:
        return _divided(simpler, q, domain, operands, True)
    quotient, remainder = _reduced(rest, q, domain, operands, only_remainder)
    return affine(0, ((whole, 1), (quotient, 1))), remainder


def _reduced(a: Affine, q: int, domain: Domain, operands, only_remainder: bool) -> tuple[Affine, Affine]:
    """Like `_divided` for an `a` without whole multiples of q."""
    low, high = interval(a, domain, operands)
    if isinstance(low, int) and isinstance(high, int) and low // q == high // q:
        return affine(low // q), affine(-(low // q) * q, ((a, 1),))
    if (found := _low_digits(a, q, domain, operands)) is not None:
        radix, upper, lower = found
        quotient, remainder = _divided(upper, q // radix, domain, operands, only_remainder)
        return quotient, affine(0, ((remainder, radix), (lower, 1)))
    if len(a.terms) == 1 and a.terms[0][1] == 1:
        atom = a.terms[0][0]
        if type(atom) is Call and atom.function == "floordiv" and (p := _divisor(atom)) and not only_remainder:
            # (b // p + c) // q is (b + c * p) // (p * q); the remainder stays as it is.
            inner = affine(a.constant * p, ((atom.args[0], 1),))
            quotient, _ = _divided(inner, p * q, domain, operands, False)
            return quotient, affine(0, ((Call("mod", (a, Const(q))), 1),))
    return tuple(affine(0, ((Call(name, (a, Const(q))), 1),)) for name in ("floordiv", "mod"))


def _low_digits(a: Affine, q: int, domain: Domain, operands) -> tuple[int, Affine, Affine] | None:
    """(radix, upper, lower) with a = radix * upper + lower, 0 <= lower < radix, and the radix a divisor of q."""
    for size in sorted({abs(c) for _, c in a.terms}):
        radix = math.gcd(q, *(c for _, c in a.terms if abs(c) >= size))
        if radix == 1:
            continue
        upper = [(t, c // radix) for t, c in a.terms if c % radix == 0]
        lower = [(t, c) for t, c in a.terms if c % radix]
        # Of the constant, what makes the lower part start at 0 or above stays below.
        low, high = interval(affine(0, lower), domain, operands)
        if not isinstance(low, int) or not isinstance(high, int) or high - low >= radix:
            continue
        below = a.constant % radix
        if low + below < 0 or high + below >= radix:
            below = -low if (a.constant + low) % radix == 0 else None
        if below is None:
            continue
        return radix, affine((a.constant - below) // radix, upper), affine(below, lower)
    return None


def _without_inner_remainders(a: Affine, q: int) -> Affine:
    """c * (b % p) is c * b modulo q where q divides c * p."""
    terms = []
    for atom, c in a.terms:
        if type(atom) is Call and atom.function == "mod" and (p := _divisor(atom)) and (c * p) % q == 0:
            terms.append((atom.args[0], c))
        else:
            terms.append((atom, c))
    return affine(a.constant, terms)


def _divide_by_symbol(a: Affine, q: Dimension, domain: Domain, function: str, operands) -> Affine:
    if is_inside(a, q, domain, operands):
        return affine() if function == "floordiv" else a
    return affine(0, ((Call(function, (a, Extent(q))), 1),))
