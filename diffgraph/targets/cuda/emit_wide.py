"""Pointwise kernels whose threads do four neighbours each, with accesses of 128 bits."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.affine import affine
from diffgraph.ir.dimension import floor_divide, product
from diffgraph.ir.expression import Affine, Call, Expr, Index
from diffgraph.kernels.access import nodes
from diffgraph.kernels.flat import ELEMENTS
from diffgraph.kernels.grid import Grid, _blocks
from diffgraph.kernels.loops import Address, Inside, Let, Load, Local, Statement, Store

WIDTH = 4

#: Longer bodies are not written out four times: compiling takes longer than linearly in the text.
MOST_STATEMENTS = 8


class WideWriter:
    """Writes a kernel, four neighbours along its last unit axis to a thread, where that fits."""

    def __init__(self, emitter):
        self.emitter = emitter
        self.kernel = emitter.kernel

    def fits(self) -> bool:
        """Whether the last axis is a multiple of four, nothing is in loops, and something is accessed by neighbours."""
        kernel = self.kernel
        if not kernel.units or self.emitter.precision != "f32" or len(kernel.body) > MOST_STATEMENTS:
            return False
        extent = kernel.units[-1].extent
        if extent != ELEMENTS and (not isinstance(extent, int) or extent % WIDTH):
            return False
        if not all(isinstance(s, (Let, Store)) for s in kernel.body):
            return False
        stores = [s for s in kernel.body if isinstance(s, Store)]
        return all(s.op is None and not s.conditions and self._is_wide(s.buffer, s.address) for s in stores)

    def write(self) -> Grid:
        """The text; gives the grid. What is left over of any number of elements is done one by one, as is everything where
        tensors do not begin at a multiple of 16 bytes: rows of others need not."""
        emitter, units = self.emitter, self.kernel.units
        last = units[-1]
        fours = floor_divide(last.extent, WIDTH)
        axes = [(u.axis, u.extent) for u in units[:-1]] + [(last.axis, fours)]
        count = product([extent for _, extent in axes])
        emitter.line(emitter.thread_of_grid)
        limit = emitter.size(count)
        if last.extent == ELEMENTS:
            buffers = sorted(self._wide_buffers())
            emitter.line(f"fours = {limit} if {' and '.join(f'is_aligned({emitter.buffers[b]})' for b in buffers)} else 0")
            limit = "fours"
        emitter.open(None)
        emitter.unpack("unit", axes)
        copies = [_Copy(last.axis, lane).statements(self.kernel.body) for lane in range(WIDTH)]
        for statement in copies[0]:
            for expression in _expressions(statement):
                for load in sorted((n for n in nodes(expression) if type(n) is Load), key=lambda n: n.digest):
                    self._load(load, last.axis)
        self.statements(copies)
        emitter.close(f"if unit < {limit}:")
        if last.extent == ELEMENTS:
            self._rest(last.axis)
            count = count + 1
        return replace(emitter.grid, blocks=_blocks(count, emitter.grid.threads), width=WIDTH)

    def _rest(self, axis: int) -> None:
        """One by one."""
        emitter = self.emitter
        emitter.locals.clear()
        emitter.open(None)
        emitter.open(axis)
        emitter.statements(self.kernel.body)
        end = emitter.size(ELEMENTS)
        first = f"int32(unit * {WIDTH})"
        emitter.close(f"for {emitter.axis(axis)} in range({first}, int32(min({first} + {WIDTH}, {end}))):")
        emitter.close("if unit >= fours:")

    def _wide_buffers(self) -> set[int]:
        """The buffers that are accessed by neighbours."""
        stores = {s.buffer for s in self.kernel.body if isinstance(s, Store)}
        values = [s.value for s in self.kernel.body]
        loads = (n for value in values for n in nodes(value) if type(n) is Load)
        return stores | {n.buffer for n in loads if not n.conditions and self._is_wide(n.buffer, n.address)}

    def _is_wide(self, buffer: int, address: Address) -> bool:
        """Whether four neighbours along the last axis are neighbours in memory, at a multiple of four."""
        if self.kernel.buffers[buffer].kind != "float":
            return False
        last = self.kernel.units[-1].axis
        moves = 0
        for atom, factor in address.terms:
            if type(atom) is Index and atom.axis == last:
                moves = factor
            elif last in atom.indices or not _is_multiple(factor):
                return False
        return moves == 1 and _is_multiple(address.constant)

    def _load(self, first: Load, axis: int) -> None:
        """Where a load is one of four neighbours, all four at once."""
        emitter = self.emitter
        original = _first_lane(first, axis)
        if original is None or first.conditions or not self._is_wide(first.buffer, original):
            return
        if any(first in scope.names for scope in emitter.scopes):
            return
        buffer, place = emitter.place(first.buffer, first.address)
        names = [emitter.fresh("v") for _ in range(WIDTH)]
        emitter.line(f"{', '.join(names)} = load4({buffer}, {place})")
        for lane, name in enumerate(names):
            address = _Copy(axis, lane).address(original)
            emitter.scopes[-1].names[Load(first.buffer, address, (), None)] = name

    def statements(self, copies: list[tuple[Statement, ...]]) -> None:
        emitter = self.emitter
        for four in zip(*copies):
            if isinstance(four[0], Let):
                for statement in four:
                    emitter.statement(statement)
                continue
            values = [emitter.cast(s.value, "float") for s in four]
            buffer, place = emitter.place(four[0].buffer, four[0].address)
            emitter.line(f"store4({buffer}, {place}, {', '.join(values)})")


class _Copy:
    """The statements of one of the four: the axis counts fours, and scalars have names of their own."""

    def __init__(self, axis: int, lane: int):
        self.axis = axis
        self.lane = lane
        self._done: dict[Expr, Expr] = {}

    def statements(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """All of them."""
        return tuple(self.statement(s) for s in body)

    def statement(self, s: Statement) -> Statement:
        if isinstance(s, Let):
            return Let(self.expression(s.local), self.expression(s.value))
        return Store(s.buffer, self.address(s.address), self.expression(s.value), s.op, ())

    def address(self, a: Address) -> Address:
        """The address of this one."""
        constant, terms = a.constant, []
        for atom, factor in a.terms:
            if type(atom) is Index and atom.axis == self.axis:
                constant = constant + factor * self.lane
                terms.append((atom, factor * WIDTH))
            else:
                terms.append((self.expression(atom), factor))
        return Address(constant, tuple(terms))

    def expression(self, e: Expr) -> Expr:
        """The value of this one."""
        found = self._done.get(e)
        if found is None:
            found = self._done[e] = self._expression(e)
        return found

    def _expression(self, e: Expr) -> Expr:
        match e:
            case Index(axis) if axis == self.axis:
                return affine(self.lane, ((e, WIDTH),))
            case Local(number, kind):
                return Local(WIDTH * number + self.lane, kind)
            case Affine(constant, terms):
                return affine(constant, tuple((self.expression(a), c) for a, c in terms))
            case Call(function, args):
                return Call(function, tuple(self.expression(a) for a in args))
            case Load():
                otherwise = None if e.otherwise is None else self.expression(e.otherwise)
                conditions = tuple(Inside(self.expression(c.place), c.extent) for c in e.conditions)
                return Load(e.buffer, self.address(e.address), conditions, otherwise)
        return e


def _first_lane(load: Load, axis: int) -> Address | None:
    """The address that a load of the first of four came from; None if it does not count fours."""
    terms = []
    for atom, factor in load.address.terms:
        if type(atom) is Index and atom.axis == axis:
            if not isinstance(factor, int) or factor % WIDTH:
                return None
            factor //= WIDTH
        elif axis in atom.indices:
            return None
        terms.append((atom, factor))
    return Address(load.address.constant, tuple(terms))


def _is_multiple(size) -> bool:
    """Whether a size is known to be a multiple of four."""
    if isinstance(size, int):
        return size % WIDTH == 0
    return all(coefficient.denominator == 1 and coefficient % WIDTH == 0 for _, coefficient in size.terms)


def _expressions(statement: Statement):
    """The values of a statement."""
    yield statement.value
