"""Kernels as they are walked by a device: neighbouring axes that memory does not tell apart are one.

    y[n, c, i, j] = relu(x[n, c, i, j]) * s[n]       units n and (c, i, j)
    w[o, c, p, q] = w[o, c, p, q] - g[o, c, p, q]    one unit axis, whatever its length: kernels of all sizes are one kernel

So rows of 3 are as good as rows of 4, and indices are divided out of a number only where they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffgraph.ir.dimension import Size, product, symbol
from diffgraph.ir.expression import Expr, Index
from diffgraph.kernels.buffers import Rewriter
from diffgraph.kernels.loops import Address, Contraction, Kernel, Let, Load, Store, Unit

#: The length of the one axis of a kernel that works for any.
ELEMENTS = symbol("elements of a flat kernel")


@dataclass(frozen=True)
class Flat:
    """A kernel, and how many elements it has where it is one for any number of `ELEMENTS`; None where it is not."""

    kernel: Kernel
    elements: Size | None = None


def flat(kernel: Kernel) -> Flat:
    """The kernel with as few unit axes as tell its elements apart."""
    if not kernel.units or any(isinstance(s, Contraction) for s in kernel.body):
        return Flat(kernel)
    places, apart = _uses(kernel.body)
    units = list(kernel.units)
    for at in reversed(range(len(units) - 1)):
        outer, inner = units[at], units[at + 1]
        if {outer.axis, inner.axis} & apart:
            continue
        if all(_factor(a, outer.axis) == _factor(a, inner.axis) * inner.extent for a in places):
            kernel = _without(kernel, outer.axis)
            units[at : at + 2] = [Unit(inner.axis, product((outer.extent, inner.extent)))]
            places, apart = _uses(kernel.body)
    kernel = replace(kernel, units=tuple(units))
    if len(units) > 1 or units[0].axis in apart or not all(_is_plain(s) for s in kernel.body):
        return Flat(kernel)
    unit = units[0]
    if any(_factor(a, unit.axis) not in (0, 1) or (_factor(a, unit.axis) and a.constant != 0) for a in places):
        return Flat(kernel)
    return Flat(replace(kernel, units=(Unit(unit.axis, ELEMENTS),)), unit.extent)


def _is_plain(statement) -> bool:
    """Whether a statement only sets a scalar or an element."""
    return isinstance(statement, Let) or (
        isinstance(statement, Store) and statement.op is None and not statement.conditions
    )


def _factor(address: Address, axis: int) -> Size:
    return next((f for atom, f in address.terms if type(atom) is Index and atom.axis == axis), 0)


def _uses(body) -> tuple[set[Address], set[int]]:
    """The addresses in some statements, and the axes that occur other than as a term of an address."""
    places: set[Address] = set()
    apart: set[int] = set()
    stack: list = [body]
    seen: set[Expr] = set()
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Address):
            places.add(item)
            stack.extend(atom for atom, _ in item.terms if type(atom) is not Index)
        elif isinstance(item, Load):
            if item not in seen:
                seen.add(item)
                stack.extend((item.address, item.conditions, item.otherwise))
        elif isinstance(item, Expr):
            if type(item) is Index:
                apart.add(item.axis)
            elif item not in seen:
                seen.add(item)
                stack.extend(item.children)
        elif hasattr(item, "__dataclass_fields__"):
            stack.extend(getattr(item, f) for f in item.__dataclass_fields__)
    return places, apart


def _without(kernel: Kernel, axis: int) -> Kernel:
    """The kernel without the terms of an axis."""
    return replace(kernel, body=_Dropped(axis, len(kernel.buffers)).statements(kernel.body))


class _Dropped(Rewriter):
    """Drops the terms of an axis from every address."""

    def __init__(self, axis: int, buffers: int):
        super().__init__({n: n for n in range(buffers)})
        self.axis = axis

    def address(self, a: Address) -> Address:
        terms = tuple(t for t in a.terms if not (type(t[0]) is Index and t[0].axis == self.axis))
        return super().address(Address(a.constant, terms))
