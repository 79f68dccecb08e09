"""How expressions read memory: strides, costs, what is contiguous."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from diffgraph.ir.dimension import Size, evaluate, symbols
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.kernels.loops import Address

#: A symbol counts as this many when kernels are planned; as so few where they should have work enough for all threads.
USUAL_EXTENT, FEW = 64, 8

_CHEAP = frozenset(
    "add mul sub neg div recip relu abs sign max min where eq ne lt le gt ge and or not clamp float int stop_gradient"
    " floordiv mod powi floor".split()
)


def strides(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Row-major distances between neighbours, in elements."""
    result: list[Size] = [1]
    for extent in reversed(shape[1:]):
        result.append(result[-1] * extent)
    return tuple(reversed(result))[-len(shape) :] if shape else ()


@lru_cache(maxsize=1 << 14)
def usual(size: Size, symbol: int = USUAL_EXTENT) -> int:
    """A plain number for an extent, each symbol counting as `symbol`."""
    return size if isinstance(size, int) else evaluate(size, dict.fromkeys(symbols(size), symbol))


def coefficient(place: Affine, axis: int) -> int | None:
    """The factor of an index in a place, None if the index occurs in any other way."""
    found = 0
    for atom, factor in place.terms:
        if type(atom) is Index and atom.axis == axis:
            found = factor
        elif axis in atom.indices:
            return None
    return found


def step(place: Sequence[Affine], sizes: Sequence[Size], axis: int) -> tuple[int | None, int | None]:
    """(distance, panel): how far apart the elements are that neighbouring values of an index read, None where that is
    uneven or not known. With a panel it holds only between multiples of it: the index occurs in `//` and `%` by it."""
    total: Size = 0
    panels = set()
    for p, size in zip(place, sizes):
        for atom, factor in p.terms:
            if axis not in atom.indices:
                continue
            if type(atom) is Index:
                total = total + factor * size
                continue
            of = _digit_of(atom)
            if of is None or of[0] != axis:
                return None, None
            panels.add(of[1])
            total = total + (factor * size if atom.function == "mod" else 0)
    if len(panels) > 1 or not isinstance(total, int):
        return None, None
    return total, next(iter(panels), None)


def usual_step(place: Sequence[Affine], shape: Sequence[Size], axis: int) -> int:
    """How far apart neighbouring values of an index read, where symbolic extents are usual ones: 0 where that is uneven."""
    distances = strides(tuple(usual(s) for s in shape))
    found = step(place, distances, axis)[0]
    return 0 if found is None else abs(found)


def _digit_of(atom: Expr) -> tuple[int, int] | None:
    """(axis, radix) of index // radix or index % radix."""
    match atom:
        case Call("floordiv" | "mod", (Affine(0, ((Index(axis), 1),)), Const(radix))) if type(radix) is int:
            return axis, radix
    return None


@lru_cache(maxsize=1 << 14)
def cost(body: Expr) -> int:
    """Scalar operations of one evaluation, roughly; a call of a function like `exp` counts as ten. Places are free."""
    total = 0
    seen: set[Expr] = set()
    stack = [body]
    while stack:
        node = stack.pop()
        if node in seen or type(node) is Affine:
            continue
        seen.add(node)
        stack.extend(() if type(node) is Read else node.children)
        function = getattr(node, "function", None)
        if function is not None:
            total += max(1, len(node.args) - 1) if function in _CHEAP else 10
    return max(1, total)


def nodes(body: Expr) -> Iterator[Expr]:
    """Every distinct node of an expression."""
    seen: set[Expr] = set()
    stack = [body]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(node.children)


@lru_cache(maxsize=1 << 14)
def reads(body: Expr) -> tuple[Read, ...]:
    """Every distinct read of an expression, in a fixed order."""
    return tuple(sorted((n for n in nodes(body) if type(n) is Read), key=lambda r: r.digest))


def address(place: Sequence[Affine], shape: Sequence[Size]) -> Address:
    """The row-major address of a place."""
    constant: Size = 0
    factors: dict[Expr, Size] = {}
    for at, stride in zip(place, strides(shape)):
        constant = constant + at.constant * stride
        for atom, factor in at.terms:
            factors[atom] = factors.get(atom, 0) + factor * stride
    return Address(constant, tuple((a, f) for a, f in factors.items() if f != 0))
