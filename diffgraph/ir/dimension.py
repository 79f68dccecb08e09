"""Sizes of axes: ints, and exact polynomials in symbols such as the batch `N`.

A `Size` is an int or a `Dimension`. A `Dimension` is a polynomial with rational coefficients over atoms; an atom is a
symbol (a string) or `Floor(dimension, divisor)`, the whole part of a division that is not known to be exact. Constant
polynomials are always plain ints, so `isinstance(size, int)` asks "is it known?".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import lcm


@dataclass(frozen=True)
class Floor:
    """floor(dimension / divisor), an atom of a polynomial. The divisor is a positive int."""

    dimension: Dimension
    divisor: int

    def __str__(self) -> str:
        inside = str(self.dimension)
        return f"({inside}) // {self.divisor}" if " " in inside else f"{inside} // {self.divisor}"


Atom = str | Floor
Monomial = tuple[tuple[Atom, int], ...]  # ((atom, power), ...), sorted; () is the constant


@dataclass(frozen=True)
class Dimension:
    """A polynomial that is not constant: ((monomial, coefficient), ...), sorted. Make it with operators and `symbol`."""

    terms: tuple[tuple[Monomial, Fraction], ...]

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def floors(self) -> int:
        """How many whole parts of divisions it holds, those inside others included."""
        atoms = (atom for monomial, _ in self.terms for atom, _ in monomial if isinstance(atom, Floor))
        return sum(1 + atom.dimension.floors for atom in atoms)

    def __add__(self, other: Size) -> Size:
        return _sum(self, other)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        return _product(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Size:
        return floor_divide(self, divisor)

    def __mod__(self, divisor: int) -> Size:
        return self - divisor * floor_divide(self, divisor)

    def __pow__(self, power: int) -> Size:
        result: Size = 1
        for _ in range(power):
            result = result * self
        return result

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            alone = len(monomial) == 1 and monomial[0][1] == coefficient == 1
            factors = [_factor_text(a, p, alone) for a, p in monomial]
            size = abs(coefficient)
            numerator = [str(size.numerator)] if size.numerator != 1 or not factors else []
            piece = " * ".join(numerator + factors) + (f" / {size.denominator}" if size.denominator != 1 else "")
            sign = "-" if coefficient < 0 else "+"
            text += f" {sign} {piece}" if text else (f"-{piece}" if coefficient < 0 else piece)
        return text

    __repr__ = __str__


Size = int | Dimension


def _factor_text(atom: Atom, power: int, alone: bool) -> str:
    text = f"({atom})" if isinstance(atom, Floor) and not alone else str(atom)
    return f"{text}^{power}" if power > 1 else text


def symbol(name: str) -> Dimension:
    """The dimension that is just a symbol."""
    return Dimension(((((name, 1),), Fraction(1)),))


def symbols(size: Size) -> frozenset[str]:
    """Every symbol that a size depends on."""
    if isinstance(size, int):
        return frozenset()
    found: set[str] = set()
    for monomial, _ in size.terms:
        for atom, _ in monomial:
            found |= {atom} if isinstance(atom, str) else symbols(atom.dimension)
    return frozenset(found)


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """The size with symbols replaced by sizes; those not in `values` stay."""
    if isinstance(size, int) or not symbols(size) & values.keys():
        return size
    total: Size | Fraction = 0
    for monomial, coefficient in size.terms:
        product: list[tuple[Monomial, Fraction]] = [((), coefficient)]
        for atom, power in monomial:
            if isinstance(atom, str):
                factor = values.get(atom, symbol(atom))
            else:
                factor = floor_divide(substitute(atom.dimension, values), atom.divisor)
            for _ in range(power):
                product = [(_join(m, k), a * b) for m, a in product for k, b in _terms(factor)]
        total = _raw([*_terms_any(total), *product])
    return _settle(total)


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The int that a size is when every symbol has a value. KeyError names a symbol without one."""
    result = substitute(size, values)
    if not isinstance(result, int):
        raise KeyError(", ".join(sorted(symbols(result))))
    return result


def floor_divide(size: Size, divisor: int) -> Size:
    """floor(size / divisor) for a positive int divisor; what divides exactly leaves the floor."""
    if isinstance(size, int):
        return size // divisor
    if divisor == 1:
        return size
    whole = [(m, c / divisor) for m, c in size.terms if (c / divisor).denominator == 1]
    rest = [(m, c) for m, c in size.terms if (c / divisor).denominator != 1]
    if not rest:
        return _total(whole)
    if (nested := _nested_floor(size, divisor)) is not None:
        return nested
    # Only the constant is left over: (k * n + c) // k == n + c // k when k * n is a multiple of k.
    if all(m == () for m, _ in rest):
        return _total([*whole, ((), Fraction(int(rest[0][1]) // divisor))])
    constant = sum((int(c) for m, c in rest if m == ()), 0)
    moved, constant = divmod(constant, divisor)
    remainder = _total([*((m, c) for m, c in rest if m != ()), ((), Fraction(constant))])
    return _total([*whole, ((), Fraction(moved)), (((Floor(remainder, divisor), 1),), Fraction(1))])


def _nested_floor(size: Dimension, divisor: int) -> Size | None:
    """floor((floor(d / p) + c) / q) is floor((d + c p) / (p q)); None for any other dimension."""
    constant = sum((c for m, c in size.terms if m == ()), Fraction(0))
    rest = [(m, c) for m, c in size.terms if m != ()]
    if len(rest) != 1 or rest[0][1] != 1 or len(rest[0][0]) != 1 or constant.denominator != 1:
        return None
    atom, power = rest[0][0][0]
    if power != 1 or not isinstance(atom, Floor):
        return None
    return floor_divide(atom.dimension + int(constant) * atom.divisor, atom.divisor * divisor)


def most_quotient(size: Size, divisor: Size) -> Size | None:
    """An upper bound of floor(size / divisor) for a divisor of at least 1: (H W - 1) // W is at most H - 1. None where
    none is evident."""
    if isinstance(divisor, int):
        return floor_divide(size, divisor)
    if len(divisor.terms) != 1:
        return None
    ((monomial, coefficient),) = divisor.terms
    whole: list[tuple[Monomial, Fraction]] = []
    rest: list[tuple[Monomial, Fraction]] = []
    for m, c in _terms(size):
        powers = dict(m)
        for atom, power in monomial:
            powers[atom] = powers.get(atom, 0) - power
        if min(powers.values(), default=0) < 0:
            rest.append((m, c))
        else:
            whole.append((tuple(sorted(((a, p) for a, p in powers.items() if p), key=str)), c / coefficient))
    bottom = lcm(*(c.denominator for _, c in whole))
    remainder = _total(rest)
    quotient = floor_divide(_total([(m, c * bottom) for m, c in whole]), bottom)
    if is_nonnegative(remainder) and is_nonnegative(divisor - 1 - remainder) and (bottom == 1 or remainder == 0):
        return quotient
    below = is_nonnegative(-1 - remainder) and is_nonnegative(divisor + remainder)
    return (quotient - 1 if bottom == 1 else quotient) if below else None


def divide_exactly(size: Size, divisor: Size) -> Size | None:
    """size / divisor where that is again a size with whole coefficients; else None. The divisor has one term."""
    if isinstance(divisor, int):
        if divisor == 0:
            return None
        terms = [(m, c / divisor) for m, c in _terms(size)]
        return _total(terms) if all(c.denominator == 1 for _, c in terms) else None
    if size == 0:
        return 0
    if size == divisor:
        return 1
    if len(divisor.terms) != 1:
        return None
    (monomial, coefficient) = divisor.terms[0]
    terms = []
    for m, c in _terms(size):
        powers = dict(m)
        for atom, power in monomial:
            powers[atom] = powers.get(atom, 0) - power
        if any(p < 0 for p in powers.values()) or (c / coefficient).denominator != 1:
            return None
        terms.append((tuple(sorted(((a, p) for a, p in powers.items() if p), key=str)), c / coefficient))
    return _total(terms)


def is_nonnegative(size: Size) -> bool:
    """size >= 0 for all values of its symbols from 1 up. Cautious: False says that it could not be shown."""
    return size >= 0 if isinstance(size, int) else _is_nonnegative(size)


@lru_cache(maxsize=1 << 14)
def _is_nonnegative(size: Dimension) -> bool:
    return _all_positive(_lower_bound(size, linear=True)) or _all_positive(_lower_bound(size, linear=False))


def _lower_bound(size: Dimension, linear: bool) -> list[tuple[Monomial, Fraction]] | None:
    """Terms without `Floor` whose sum is at most the size, by (d - q + 1) / q <= d // q <= d / q; or by 0 <= d // q
    instead of the first where not `linear` (and d >= 0)."""
    found: list[tuple[Monomial, Fraction]] = []
    for monomial, coefficient in size.terms:
        floors = [(atom, power) for atom, power in monomial if isinstance(atom, Floor)]
        if not floors:
            found.append((monomial, coefficient))
            continue
        ((floor, power), *more) = floors
        if more or power != 1 or any(isinstance(a, Floor) for m, _ in _terms(floor.dimension) for a, _ in m):
            return None
        others = tuple((atom, power) for atom, power in monomial if atom is not floor)
        if coefficient > 0 and not linear:
            if not is_nonnegative(floor.dimension):
                return None
            continue
        of = floor.dimension if coefficient < 0 else floor.dimension - (floor.divisor - 1)
        found += [(_join(m, others), coefficient * c / floor.divisor) for m, c in _terms(of)]
    return found


def _all_positive(terms: list[tuple[Monomial, Fraction]] | None) -> bool:
    """The polynomial in n - 1 for every symbol n has no negative coefficient."""
    if terms is None:
        return False
    shifted: list[tuple[Monomial, Fraction]] = []
    for monomial, coefficient in terms:
        product = [((), coefficient)]
        for atom, power in monomial:
            for _ in range(power):
                product = [(_join(m, k), c) for m, c in product for k in ((), ((atom, 1),))]
        shifted += product
    return all(c >= 0 for _, c in _raw(shifted))


def product(sizes) -> Size:
    """The product of some sizes, 1 for none."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def _terms(size: Size) -> tuple[tuple[Monomial, Fraction], ...]:
    return size.terms if isinstance(size, Dimension) else (((), Fraction(size)),)


def _terms_any(size) -> tuple[tuple[Monomial, Fraction], ...]:
    return size if isinstance(size, tuple) else _terms(size)


def _join(a: Monomial, b: Monomial) -> Monomial:
    powers: dict[Atom, int] = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=str))


def _raw(terms) -> tuple[tuple[Monomial, Fraction], ...]:
    sums: dict[Monomial, Fraction] = {}
    for monomial, coefficient in terms:
        sums[monomial] = sums.get(monomial, Fraction(0)) + coefficient
    return tuple(sorted(((m, c) for m, c in sums.items() if c), key=lambda t: (-sum(p for _, p in t[0]), str(t[0]))))


def _settle(terms) -> Size:
    terms = _terms_any(terms)
    if not terms:
        return 0
    if len(terms) == 1 and terms[0][0] == ():
        value = terms[0][1]
        if value.denominator != 1:
            raise ValueError(f"{value} is not a size")
        return int(value)
    return Dimension(terms)


def _total(terms) -> Size:
    return _settle(_raw(terms))


@lru_cache(maxsize=1 << 14)
def _sum(a: Dimension, b: Size) -> Size:
    return _total([*_terms(a), *_terms(b)])


@lru_cache(maxsize=1 << 14)
def _product(a: Dimension, b: Size) -> Size:
    return _total([(_join(m, k), x * y) for m, x in _terms(a) for k, y in _terms(b)])
