"""What is known of sizes that hold symbols: each symbol is an int of at least 1.

A `Dimension` with coefficients that are not whole (`N / 3`) is an exact number, but a size only where they come out
whole. Questions that the symbols leave open are answered with None.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, lcm

from diffgraph.diagnostics import error
from diffgraph.ir.dimension import Atom, Dimension, Floor, Monomial, Size, divide_exactly, floor_divide

Exact = int | Fraction | Dimension  # a number that is known exactly, up to the values of symbols

_Polynomial = dict[Monomial, Fraction]


# ---------------------------------------------------------------- arithmetic


def is_whole(value: Exact) -> bool:
    """Whether every coefficient is an int, so that the value is an int whatever the symbols are."""
    if isinstance(value, Dimension):
        return all(c.denominator == 1 for _, c in value.terms)
    return Fraction(value).denominator == 1


def ratio(value: Exact) -> tuple[Size, int]:
    """A size and a positive int whose quotient the value is; the int is 1 where the value is whole."""
    if type(value) is int:
        return value, 1
    if not isinstance(value, Dimension):
        value = Fraction(value)
        return value.numerator, value.denominator
    bottom = lcm(*(c.denominator for _, c in value.terms))
    return value * bottom, bottom


def quotient(top: Size, bottom: int) -> Exact:
    """top / bottom, an int where that is whole."""
    if isinstance(top, int):
        value = Fraction(top, bottom)
        return int(value) if value.denominator == 1 else value
    return top if bottom == 1 else Dimension(tuple((m, c / bottom) for m, c in top.terms))


def add(a: Exact, b: Exact) -> Exact:
    if type(a) is int and type(b) is int:
        return a + b
    (top, bottom), (other, under) = ratio(a), ratio(b)
    both = lcm(bottom, under)
    return quotient(top * (both // bottom) + other * (both // under), both)


def multiply(a: Exact, b: Exact) -> Exact:
    if type(a) is int and type(b) is int:
        return a * b
    (top, bottom), (other, under) = ratio(a), ratio(b)
    if _count(top) * _count(other) > MOST_TERMS:
        raise error("DG598", f"a size has more than {MOST_TERMS:,} terms")
    return quotient(top * other, bottom * under)


#: Divisions of one size that leave a remainder, those inside others included.
MOST_FLOORS = 100

#: Terms of one size, as a polynomial of its symbols, before they are collected.
MOST_TERMS = 2_000


def _count(value: Size) -> int:
    return 1 if isinstance(value, int) else len(value.terms)


def divide(a: Exact, b: Exact) -> Exact | None:
    """a / b where that is a polynomial; else None. b is not 0."""
    (top, bottom), (other, under) = ratio(a), ratio(b)
    top = top * under
    if isinstance(other, int):
        sign = -1 if other < 0 else 1
        return quotient(top * sign, bottom * abs(other))
    if top == other:
        return quotient(1, bottom)
    # Coefficients are divided apart from the rest: N / (2 * N) is 1/2.
    common = lcm(*(c.numerator for _, c in other.terms))
    exact = divide_exactly(top * common, other)
    return None if exact is None else quotient(exact, bottom * common)


def floor_of(a: Exact, divisor: int) -> Size:
    """floor(a / divisor) for an int that is not 0."""
    top, bottom = ratio(a)
    sign = -1 if divisor < 0 else 1
    if isinstance(top, Dimension) and top.floors > MOST_FLOORS:
        raise error("DG598", f"a size has more than {MOST_FLOORS} divisions in it")
    return floor_divide(top * sign, bottom * abs(divisor))


# ---------------------------------------------------------------- comparison


def at_least(a: Exact, b: Exact) -> bool | None:
    """Whether a >= b."""
    if type(a) is int and type(b) is int:
        return a >= b
    difference = add(a, multiply(b, -1))
    low, high = bounds(difference)
    if low is not None and low >= 0:
        return True
    return False if high is not None and high < 0 else None


def equal(a: Exact, b: Exact) -> bool | None:
    """Whether a == b."""
    difference = add(a, multiply(b, -1))
    if difference == 0:
        return True
    low, high = bounds(difference)
    apart = (low is not None and low > 0) or (high is not None and high < 0)
    return False if apart or _never_whole(difference) else None


def smaller(a: Size, b: Size) -> Size | None:
    """min(a, b), None where the symbols leave it open."""
    order = at_least(b, a)
    if order is None:
        order = at_least(a, b)
        return None if order is None else (b if order else a)
    return a if order else b


def larger(a: Size, b: Size) -> Size | None:
    """max(a, b), None where the symbols leave it open."""
    least = smaller(a, b)
    return None if least is None else b if least == a else a


@lru_cache(maxsize=1 << 14)
def bounds(value: Exact) -> tuple[Fraction | None, Fraction | None]:
    """A lower and an upper bound over all values of the symbols, None where none is found."""
    if not isinstance(value, Dimension):
        return Fraction(value), Fraction(value)
    low = _lower(dict(value.terms))
    high = _lower({m: -c for m, c in value.terms})
    return low, None if high is None else -high


def least_int(value: Exact) -> int | None:
    """The smallest int that the value, where it is whole, can be."""
    low = bounds(value)[0]
    return None if low is None else ceil(low)


def largest_int(value: Exact) -> int | None:
    """The largest int that the value, where it is whole, can be."""
    high = bounds(value)[1]
    return None if high is None else floor(high)


def difference(condition: tuple[str, Size, Size]) -> Exact:
    """left - right of a comparison (op, left, right)."""
    _, left, right = condition
    return add(left, multiply(right, -1))


def divisibility(difference: Exact) -> tuple[Size, int] | None:
    """(d, q) where `difference == 0` says that q divides d: a multiple of d - q * floor((d + r) / q) with 0 <= r < q."""
    if not isinstance(difference, Dimension):
        return None
    for monomial, coefficient in difference.terms:
        atom, power = monomial[0] if len(monomial) == 1 else (None, 0)
        if isinstance(atom, Floor) and power == 1:
            scaled = multiply(difference, -atom.divisor / coefficient)
            divided = add(scaled, Dimension(((monomial, Fraction(atom.divisor)),)))
            if _is_less(add(atom.dimension, multiply(divided, -1)), atom.divisor):
                return divided, atom.divisor
    return None


def _is_less(rest: Exact, divisor: int) -> bool:
    """Whether what is added before a division by the divisor is too little to change a multiple of it."""
    return isinstance(rest, int) and 0 <= rest < divisor


def where_divisible(value: Exact, known: Iterable[tuple[Size, int]]) -> Exact:
    """The value where each q divides its d: floor((d + r) / p) is d / p for every p > r that divides q."""
    if not isinstance(value, Dimension):
        return value
    known = tuple(known)
    total: Exact = 0
    for monomial, coefficient in value.terms:
        factor: Exact = quotient(coefficient.numerator, coefficient.denominator)
        for atom, power in monomial:
            whole: Exact = Dimension(((((atom, 1),), Fraction(1)),))
            if isinstance(atom, Floor):
                for d, q in known:
                    if q % atom.divisor == 0 and _is_less(add(atom.dimension, multiply(d, -1)), atom.divisor):
                        whole = quotient(d, atom.divisor)
            for _ in range(power):
                factor = multiply(factor, whole)
        total = add(total, factor)
    return total


def _never_whole(value: Exact) -> bool:
    """Whether a polynomial cannot be 0 for it would need a sum of multiples of g to be no multiple of g: 2 H == 3."""
    if not isinstance(value, Dimension):
        return value != 0
    from math import gcd

    top, _ = ratio(value)
    factors = gcd(*(int(c) for m, c in top.terms if m != ()))
    constant = sum(int(c) for m, c in top.terms if m == ())
    return constant % factors != 0


def _lower(polynomial: _Polynomial) -> Fraction | None:
    """A lower bound, found by writing each symbol as 1 + s with s >= 0; None where a term could fall without end."""
    while (floors := _first_floor(polynomial)) is not None:
        polynomial = _without_floor(polynomial, *floors)
    shifted: _Polynomial = {}
    for monomial, coefficient in polynomial.items():
        for key, c in _shift(monomial).items():
            shifted[key] = shifted.get(key, Fraction(0)) + c * coefficient
    if any(c < 0 for m, c in shifted.items() if m != ()):
        return None
    return shifted.get((), Fraction(0))


def _first_floor(polynomial: _Polynomial) -> tuple[Monomial, Floor] | None:
    for monomial, coefficient in polynomial.items():
        for atom, _ in monomial:
            if isinstance(atom, Floor):
                return monomial, atom
    return None


def _without_floor(polynomial: _Polynomial, monomial: Monomial, atom: Floor) -> _Polynomial:
    """(d - q + 1) / q <= floor(d / q) <= d / q: one factor of the monomial gives way to the bound that makes the whole
    smaller. The other factors are not negative, for sizes are not."""
    coefficient = polynomial[monomial]
    rest = dict(monomial)
    rest[atom] -= 1
    others = tuple((a, p) for a, p in monomial if a != atom) + (((atom, rest[atom]),) if rest[atom] else ())
    slack = Fraction(1 - atom.divisor, atom.divisor) if coefficient > 0 else Fraction(0)
    bound: _Polynomial = {m: c / atom.divisor for m, c in atom.dimension.terms}
    bound[()] = bound.get((), Fraction(0)) + slack
    result = {m: c for m, c in polynomial.items() if m != monomial}
    for m, c in bound.items():
        key = _times(m, others)
        result[key] = result.get(key, Fraction(0)) + c * coefficient
    return {m: c for m, c in result.items() if c}


def _times(a: Monomial, b: Monomial) -> Monomial:
    powers: dict[Atom, int] = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=str))


def _shift(monomial: Monomial) -> _Polynomial:
    """The monomial with each symbol s replaced by 1 + s."""
    result: _Polynomial = {(): Fraction(1)}
    for atom, power in monomial:
        for _ in range(power):
            grown: _Polynomial = dict(result)
            for m, c in result.items():
                key = _times(m, ((atom, 1),))
                grown[key] = grown.get(key, Fraction(0)) + c
            result = grown
    return result
