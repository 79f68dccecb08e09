"""Kernels as they are walked by a device: neighbouring axes that memory does not tell apart are one.

    y[n, c, i, j] = relu(x[n, c, i, j]) * s[n]       units n and (c, i, j)
    w[o, c, p, q] = w[o, c, p, q] - g[o, c, p, q]    one unit axis, whatever its length: kernels of all sizes are one kernel

So rows of 3 are as good as rows of 4, and indices are divided out of a number only where they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffgraph.ir.dimension import Size, product, symbol
from diffgraph.ir.expression import Call, Expr, Index, digest_of
from diffgraph.kernels.buffers import Rewriter, renumbered
from diffgraph.kernels.loops import Address, Contraction, Kernel, Let, Load, Local, Store, Unit

#: The length of the one axis of a kernel that works for any.
ELEMENTS = symbol("elements of a flat kernel")

#: Functions whose arguments may be in any order.
COMMUTATIVE = frozenset(("add", "mul"))


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
    return Flat(_ordered(_renamed(kernel, unit.axis)), unit.extent)


def _renamed(kernel: Kernel, axis: int) -> Kernel:
    """The kernel for any number of elements, its axis and its scalars numbered from 0."""
    numbers = {s.local.number: n for n, s in enumerate(s for s in kernel.body if isinstance(s, Let))}
    body = _Renamed(axis, numbers, len(kernel.buffers)).statements(kernel.body)
    return replace(kernel, units=(Unit(0, ELEMENTS),), body=body)


def _ordered(kernel: Kernel) -> Kernel:
    """The kernel with sums, products and buffers in an order that follows from what they are, not from the shapes of tensors
    or from their names: kernels that do the same are equal."""
    count = len(kernel.buffers)
    plain = _Digests([f"{b.kind} {b.written}" for b in kernel.buffers])
    # What a buffer is for the kernel: the whole of it, with this buffer marked.
    marked = [_Digests([*plain.buffers[:n], "marked", *plain.buffers[n + 1 :]]) for n in range(count)]
    digests = _Digests([f"{plain.buffers[n]} {m.body(kernel.body)}" for n, m in enumerate(marked)])
    body = _Sorted(digests, count).statements(kernel.body)
    order = list(dict.fromkeys(_met(body)))
    order += [n for n in range(count) if n not in order]
    numbers = {old: new for new, old in enumerate(order)}
    return replace(kernel, buffers=tuple(kernel.buffers[n] for n in order), body=renumbered(body, numbers))


def _met(value):
    """The buffers that statements load from and store to, in order."""
    if isinstance(value, Store):
        yield from _met(value.value)
        yield value.buffer
    elif isinstance(value, Load):
        yield value.buffer
    elif isinstance(value, tuple):
        for item in value:
            yield from _met(item)
    elif isinstance(value, Let):
        yield from _met(value.value)
    elif isinstance(value, Expr):
        yield from _met(value.children)


class _Digests:
    """Content hashes of what a kernel computes, where `buffers` says what each buffer is."""

    def __init__(self, buffers: list[str]):
        self.buffers = buffers
        self._known: dict[Expr, str] = {}

    def body(self, statements) -> str:
        """The hash of all statements."""
        return digest_of(*(
            ("let", self.of(s.value)) if isinstance(s, Let) else ("store", self.buffers[s.buffer], self.of(s.value))
            for s in statements
        ))  # fmt: skip

    def of(self, e: Expr) -> str:
        """The hash of a value; the order of what is added or multiplied does not count."""
        found = self._known.get(e)
        if found is None:
            found = self._known[e] = self._digest(e)
        return found

    def _digest(self, e: Expr) -> str:
        if type(e) is Load:
            return digest_of("load", self.buffers[e.buffer], bool(e.address.terms), str(e.address.constant))
        if type(e) is Call:
            args = [self.of(a) for a in e.args]
            return digest_of(e.function, sorted(args) if e.function in COMMUTATIVE else args)
        return e.digest


class _Sorted(Rewriter):
    """Sorts what is added and multiplied."""

    def __init__(self, digests: _Digests, buffers: int):
        super().__init__({n: n for n in range(buffers)})
        self.digests = digests

    def _expression(self, e: Expr) -> Expr:
        if type(e) is Call and e.function in COMMUTATIVE:
            return Call(e.function, tuple(self.expression(a) for a in sorted(e.args, key=self.digests.of)))
        return super()._expression(e)


class _Renamed(Rewriter):
    """Other numbers for an axis (0) and for the scalars."""

    def __init__(self, axis: int, locals: dict[int, int], buffers: int):
        super().__init__({n: n for n in range(buffers)})
        self.axis = axis
        self.locals = locals

    def _statement(self, s):
        if isinstance(s, Let):
            return Let(self.expression(s.local), self.expression(s.value))
        return super()._statement(s)

    def _expression(self, e: Expr) -> Expr:
        match e:
            case Index(axis) if axis == self.axis:
                return Index(0)
            case Local(number, kind):
                return Local(self.locals[number], kind)
        return super()._expression(e)


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
