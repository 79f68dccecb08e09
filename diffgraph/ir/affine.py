"""Affine arithmetic over the indices of a form: building, intervals, division, injectivity."""

from __future__ import annotations

from collections.abc import Iterable

from diffgraph.ir.dimension import Size, symbols
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read

Domain = tuple[Size, ...]
#: An interval's ends are inclusive; an end is a Size, or None where nothing is known.
Interval = tuple[Size | None, Size | None]


def affine(constant: int = 0, terms: Iterable[tuple[Expr, int]] = ()) -> Affine:
    """constant + the sum of coefficient * atom: nested affines flattened, like atoms merged, sorted."""
    sums: dict[Expr, int] = {}
    for atom, coefficient in terms:
        if type(atom) is Affine:
            constant += coefficient * atom.constant
            for inner, c in atom.terms:
                sums[inner] = sums.get(inner, 0) + coefficient * c
        elif type(atom) is Const:
            constant += coefficient * int(atom.value)
        elif type(atom) is Extent and isinstance(atom.size, int):
            constant += coefficient * atom.size
        elif type(atom) is Call and atom.function == "int" and type(atom.args[0]) is Affine:
            return affine(constant, [*sums.items(), (atom.args[0], coefficient), *_after(terms, atom)])
        else:
            sums[atom] = sums.get(atom, 0) + coefficient
    kept = [(a, c) for a, c in sums.items() if c]
    kept.sort(key=lambda t: (t[0].axis if type(t[0]) is Index else 1 << 20, t[0].digest))
    return Affine(int(constant), tuple(kept))


def _after(terms, atom):
    terms = list(terms)
    return terms[[a for a, _ in terms].index(atom) + 1 :]


def index(axis: int) -> Affine:
    """The place that is exactly one index."""
    return Affine(0, ((Index(axis), 1),))


def as_affine(expression: Expr) -> Affine:
    """An int expression as an affine one."""
    return expression if type(expression) is Affine else affine(0, ((expression, 1),))


def plus(a: Affine, b: Affine, times: int = 1) -> Affine:
    """a + times * b"""
    return affine(0, ((a, 1), (b, times)))


def is_constant(place: Affine) -> bool:
    """Nothing varies in it."""
    return not place.terms


def interval(place: Affine, domain: Domain, bounds=None) -> Interval:
    """The smallest and the largest value over the domain, both reached unless atoms depend on each other.

    `bounds(read)` gives the exclusive upper bound of an int read, or None where it has none.
    """
    low: Size | None = place.constant
    high: Size | None = place.constant
    for atom, coefficient in place.terms:
        l, h = _atom_interval(atom, domain, bounds)
        if coefficient < 0:
            l, h = h, l
        low = None if low is None or l is None else low + coefficient * l
        high = None if high is None or h is None else high + coefficient * h
    return low, high


def _atom_interval(atom: Expr, domain: Domain, bounds) -> Interval:
    if type(atom) is Index:
        return 0, domain[atom.axis] - 1
    if type(atom) is Extent:
        return atom.size, atom.size
    if type(atom) is Read:
        bound = bounds(atom) if bounds else None
        return (None, None) if bound is None else (0, bound - 1)
    if type(atom) is Call:
        if atom.function == "mod" and type(atom.args[1]) is Const:
            return 0, atom.args[1].value - 1
        if atom.function == "floordiv" and type(atom.args[1]) is Const:
            low, high = interval(as_affine(atom.args[0]), domain, bounds)
            divisor = atom.args[1].value
            return (None if low is None else low // divisor), (None if high is None else high // divisor)
        if atom.function == "clamp":
            return tuple(_known_size(a) for a in atom.args[1:3])
        if atom.function in ("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"):
            return 0, 1
        if atom.function == "int" and len(atom.args) == 1:
            return _atom_interval(atom.args[0], domain, bounds)
        if atom.function == "where":
            (l1, h1), (l2, h2) = (interval(as_affine(a), domain, bounds) for a in atom.args[1:])
            return _extreme(l1, l2, min), _extreme(h1, h2, max)
    if type(atom) is Affine:
        return interval(atom, domain, bounds)
    if type(atom) is Const and isinstance(atom.value, int):
        return int(atom.value), int(atom.value)
    return None, None


def _extreme(a, b, choose):
    if isinstance(a, int) and isinstance(b, int):
        return choose(a, b)
    return a if a == b else None


def _known_size(expression: Expr) -> Size | None:
    if type(expression) is Const:
        return int(expression.value)
    if type(expression) is Extent:
        return expression.size
    if type(expression) is Affine:
        total: Size = expression.constant
        for atom, coefficient in expression.terms:
            if type(atom) is not Extent:
                return None
            total = total + coefficient * atom.size
        return total
    return None


def at_least(a: Size | None, b: Size) -> bool:
    """a >= b for certain. Symbols are sizes of axes that exist when the program runs: at least 0; used only where an empty
    axis makes the statement vacuous, they are at least 1."""
    if a is None:
        return False
    difference = a - b
    if isinstance(difference, int):
        return difference >= 0
    return _lower_bound(difference) >= 0


def _lower_bound(size: Size):
    """A lower bound of a size whose symbols are all at least 1; -infinity where none is evident."""
    if isinstance(size, int):
        return size
    total = 0
    for monomial, coefficient in size.terms:
        if not monomial:
            total += coefficient
        elif coefficient < 0:
            return float("-inf")
        elif all(isinstance(atom, str) for atom, _ in monomial):
            total += coefficient
        # A floor of a non-negative size is at least 0.
    return total


def divide(place: Affine, divisor: int, domain: Domain, function: str) -> Affine:
    """floordiv or mod of a place by a positive constant, simplified by what is known of its range."""
    if divisor == 1:
        return place if function == "floordiv" else affine()
    whole = affine(place.constant // divisor, [(a, c // divisor) for a, c in place.terms if c % divisor == 0])
    rest = affine(place.constant % divisor, [(a, c) for a, c in place.terms if c % divisor])
    low, high = interval(rest, domain)
    if isinstance(low, int) and isinstance(high, int) and low // divisor == high // divisor:
        part = low // divisor
        if function == "floordiv":
            return affine(part, [(whole, 1)])
        return affine(-part * divisor, [(rest, 1)])
    if function == "floordiv":
        return affine(0, [(whole, 1), (_divided("floordiv", rest, divisor), 1)])
    if all(_is_mod_of(atom, divisor) for atom, _ in rest.terms):
        # (x mod kd) mod d is x mod d
        return divide(affine(rest.constant, [(a.args[0], c) for a, c in rest.terms]), divisor, domain, "mod")
    return affine(0, [(_divided("mod", rest, divisor), 1)])


def _divided(function: str, rest: Affine, divisor: int) -> Call:
    """floor(floor(x / a) / b) is floor(x / ab)."""
    if function == "floordiv" and rest.constant == 0 and len(rest.terms) == 1:
        atom, coefficient = rest.terms[0]
        if coefficient == 1 and type(atom) is Call and atom.function == "floordiv":
            return Call("floordiv", (atom.args[0], Const(atom.args[1].value * divisor)))
    return Call(function, (rest, Const(divisor)))


def _is_mod_of(atom: Expr, divisor: int) -> bool:
    return type(atom) is Call and atom.function == "mod" and atom.args[1].value % divisor == 0


def is_injective(place: Affine, domain: Domain) -> bool:
    """Different indices give different places: mixed radix, with gaps allowed."""
    reach: Size = 0
    for coefficient, atom in sorted(((abs(c), a) for a, c in place.terms), key=lambda t: t[0]):
        if type(atom) is not Index or reach is None:
            return False
        if not at_least(coefficient, reach + 1):
            return False
        extent = domain[atom.axis]
        reach = None if not isinstance(extent, int) else reach + coefficient * (extent - 1)
    return True


def is_inside(place: Affine, extent: Size, domain: Domain, bounds=None) -> bool:
    """0 <= place < extent over the whole domain, for certain. Over an empty domain everything is inside."""
    low, high = interval(place, domain, bounds)
    return low is not None and high is not None and at_least(low, 0) and at_least(extent, high + 1)


def symbols_of(place: Affine) -> frozenset[str]:
    """The symbols that a place depends on through extents."""
    return frozenset().union(*(symbols(a.size) for a, _ in place.terms if type(a) is Extent))
