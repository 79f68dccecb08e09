"""Reductions in registers, as functions of kernels.

    tile_1 = tile(rows=6, columns=2, lanes=16, real=float32, op="sum", along=False)
    step_1 = tile_1.step([at(25, 0, 0), at(0, 16, 1)], lambda a, b: a * b)
    store_1 = tile_1.store([], [lambda sums: sums], [(0, at(784, 16, 1))])

    def kernel(...):
        sums = tile_1.start()
        for c in range(6): step_1(sums, 0, 0, w, i, x, j)
        store_1(sums, 0, 0, y, k)

Results can be laid aside, and taken up again:

    scratch_1 = scratch(slots=7, vectors=12, lanes=16, real=float32)
    tile_1.pause(scratch_1)(sums, room, 3);  sums = tile_1.resume(scratch_1)(room, 3)

Each call is written out for all rows and columns. The results live in an array on the stack that LLVM turns into registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from diffgraph.targets.cpu.algebra import Real, constant, declared
from diffgraph.targets.cpu.memory import BYTE, Memory, mark

INT = ir.IntType(32)
WORD = ir.IntType(64)
BIT = ir.IntType(1)

#: Elements in the widest vector.
WIDEST = 16


@dataclass(frozen=True)
class at:
    """Strides, in elements, from one row, column and lane to the next. guarded: lanes outside of a range, given with the
    call, are not loaded but are `otherwise`; `columns_go_on`: the range counts on from one column to the next."""

    row: int
    column: int
    lane: int
    guarded: bool = False
    otherwise: float = 0.0
    columns_go_on: bool = True


scalar = None  # an operand that is the same for all
numbers = "numbers"  # an operand that is, in each lane, how far that is from the first one


@dataclass(frozen=True)
class scratch:
    """Room on the stack for the results of `slots` tiles, each of at most `vectors` vectors."""

    slots: int
    vectors: int
    lanes: int
    real: object

    def room(self):
        """A function that gives the room."""

        @intrinsic
        def room(typing_context):
            def code(context, builder, sig, args):
                vector = ir.VectorType(_element(self.real), self.lanes)
                memory = cgutils.alloca_once(builder, ir.ArrayType(vector, self.slots * self.vectors))
                memory.align = 4 * WIDEST
                return builder.bitcast(memory, BYTE.as_pointer())

            return types.voidptr(), code

        return room


@dataclass(frozen=True)
class tile:
    """rows x columns vectors of results; see `diffgraph.kernels.loops.Tile`. checked: each call is also given the table of
    addresses, and with each place in memory the size and the number of the buffer; a lane outside of it is a fault."""

    rows: int
    columns: int
    lanes: int
    real: object
    op: str
    along: bool
    checked: bool = False

    @property
    def element(self):
        """The type of an element."""
        return _element(self.real)

    @property
    def vector(self):
        """The type of a vector."""
        return ir.VectorType(self.element, self.lanes)

    @property
    def identity(self) -> float:
        """What a reduction starts from."""
        return {"sum": 0.0, "max": float("-inf"), "min": float("inf")}[self.op]

    def cells(self):
        """Every (row, column), row by row."""
        return [(r, c) for r in range(self.rows) for c in range(self.columns)]

    def start(self):
        """A function that gives the results, at the identity."""

        @intrinsic
        def start(typing_context):
            def code(context, builder, sig, args):
                memory = cgutils.alloca_once(builder, ir.ArrayType(self.vector, self.rows * self.columns))
                for number in range(self.rows * self.columns):
                    builder.store(constant(self.vector, self.identity), self.cell(builder, memory, number))
                return builder.bitcast(memory, BYTE.as_pointer())

            return types.voidptr(), code

        return start

    def resume(self, aside: scratch):
        """A function of a room and a slot that gives the results as they were laid aside there."""

        @intrinsic
        def resume(typing_context, room, slot):
            def code(context, builder, sig, args):
                memory = cgutils.alloca_once(builder, ir.ArrayType(self.vector, self.rows * self.columns))
                for number in range(self.rows * self.columns):
                    found = builder.load(self._aside(builder, aside, *args, number))
                    builder.store(found, self.cell(builder, memory, number))
                return builder.bitcast(memory, BYTE.as_pointer())

            return types.voidptr(types.voidptr, types.int64), code

        return resume

    def pause(self, aside: scratch):
        """A function of results, a room and a slot that lays the results aside there."""

        @intrinsic
        def pause(typing_context, results, room, slot):
            def code(context, builder, sig, args):
                memory = self.results(builder, args[0])
                for number in range(self.rows * self.columns):
                    found = builder.load(self.cell(builder, memory, number))
                    builder.store(found, self._aside(builder, aside, *args[1:], number))
                return context.get_dummy_value()

            return types.void(types.voidptr, types.voidptr, types.int64), code

        return pause

    def _aside(self, builder, aside: scratch, room, slot, number: int):
        """The address of a vector in a slot."""
        first = builder.mul(slot, ir.Constant(WORD, aside.vectors))
        vectors = builder.bitcast(room, self.vector.as_pointer())
        return builder.gep(vectors, [builder.add(first, ir.Constant(WORD, number))])

    def cell(self, builder, memory, number: int):
        """The address of one vector of results."""
        return builder.gep(memory, [ir.Constant(INT, 0), ir.Constant(INT, number)])

    def results(self, builder, pointer):
        """The array of the results."""
        return builder.bitcast(pointer, ir.ArrayType(self.vector, self.rows * self.columns).as_pointer())

    def join(self, a: Real, b: Real) -> Real:
        """a op b."""
        return a + b if self.op == "sum" else a.intrinsic(f"{self.op}imum", b)

    def step(self, operands: Sequence, body: Callable, active: bool = False, columns_go_on: bool = True):
        """A function (results, low, high, operands...) that joins a body to every result, in the lanes from `low` to `high`
        if `active`. An operand is memory and the index of its first element (and a range, if guarded), or a scalar."""

        @intrinsic
        def step(typing_context, results, low, high, *rest):
            rest = _flat(rest)

            def code(context, builder, sig, args):
                given = _Given(
                    self, context, builder, operands, rest, cgutils.unpack_tuple(builder, args[3], len(rest))
                )
                if active:
                    given.limit(args[1], args[2], columns_go_on)
                memory = self.results(builder, args[0])
                for number, (row, column) in enumerate(self.cells()):
                    cell = self.cell(builder, memory, number)
                    known = Real(builder, builder.load(cell))
                    value = self.join(known, body(*given.at(row, column)))
                    # Across, nothing is made of lanes that are not active.
                    if active and self.along:
                        value = value.choose(given.mask(column), known)
                    builder.store(value.value, cell)
                return context.get_dummy_value()

            return types.void(results, types.int64, types.int64, types.StarArgTuple(rest)), code

        return step

    def store(
        self, operands: Sequence, values: Sequence[Callable], targets: Sequence[tuple[int, at]], active: bool = False
    ):
        """A function (results, low, high, operands..., targets...) that computes values from the results, the operands and
        the values before, and stores those that have a target: memory and the index of its first element."""

        @intrinsic
        def store(typing_context, results, low, high, *rest):
            rest = _flat(rest)

            def code(context, builder, sig, args):
                parts = cgutils.unpack_tuple(builder, args[3], len(rest))
                size = 4 if self.checked else 2
                count = len(rest) - size * len(targets) - self.checked
                given = _Given(self, context, builder, operands, rest, parts, scalars=self.along)
                if active:
                    given.limit(args[1], args[2], True)
                memory = self.results(builder, args[0])
                for number, (row, column) in enumerate(self.cells()):
                    found = Real(builder, builder.load(self.cell(builder, memory, number)))
                    known = [self.joined_lanes(found) if self.along else found, *given.at(row, column)]
                    made = []
                    for value in values:
                        made.append(value(*known))
                        known.append(made[-1])
                    for n, (which, place) in enumerate(targets):
                        first = count + size * n
                        given.put(made[which], rest[first], parts[first : first + size], place, row, column)
                return context.get_dummy_value()

            return types.void(results, types.int64, types.int64, types.StarArgTuple(rest)), code

        return store

    def joined_lanes(self, vector: Real) -> Real:
        """All lanes joined into one element."""
        builder, bits = vector.builder, self.element.intrinsic_name
        if self.op == "sum":
            shape = ir.FunctionType(self.element, (self.element, self.vector))
            function = declared(builder.module, f"llvm.vector.reduce.fadd.v{self.lanes}{bits}", shape)
            arguments = (constant(self.element, -0.0), vector.value)
            return Real(builder, builder.call(function, arguments, fastmath=("reassoc",)))
        shape = ir.FunctionType(self.element, (self.vector,))
        function = declared(builder.module, f"llvm.vector.reduce.f{self.op}imum.v{self.lanes}{bits}", shape)
        return Real(builder, builder.call(function, (vector.value,)))


def _element(real):
    return ir.FloatType() if real.bitwidth == 32 else ir.DoubleType()


def _flat(rest):
    return tuple(rest[0]) if len(rest) == 1 and isinstance(rest[0], types.BaseTuple) else tuple(rest)


class _Given:
    """The operands of one call: what has been loaded once is not loaded again."""

    def __init__(self, owner: tile, context, builder, operands, kinds, values, scalars: bool = False):
        self.owner = owner
        self.context = context
        self.builder = builder
        self.scalars = scalars
        self.operands = []
        self.active = None
        self._known: dict = {}
        self._masks: dict = {}
        self.addresses = values[-1] if owner.checked else None
        at_value = 0
        for operand in operands:
            # Memory, index, if checked the size and the number of the buffer, if guarded the range.
            count = 1 if operand is None else 0 if operand is numbers else 2 + 2 * owner.checked + 2 * operand.guarded
            kind = kinds[at_value] if count else None
            self.operands.append((operand, kind, values[at_value : at_value + count]))
            at_value += count

    def limit(self, low, high, columns_go_on: bool) -> None:
        """Only some lanes are active."""
        self.active = (low, high, columns_go_on)

    def mask(self, column: int):
        """The active lanes of a column."""
        return self._range(*self.active, column)

    def _range(self, low, high, columns_go_on: bool, column: int):
        key = (low, high, column if columns_go_on else 0)
        if key not in self._masks:
            builder, lanes = self.builder, self.owner.lanes
            first = column * lanes if columns_go_on else 0
            order = ir.Constant(ir.VectorType(INT, lanes), [first + n for n in range(lanes)])
            below = builder.icmp_signed("<", order, self._splat(builder.trunc(high, INT)))
            above = builder.icmp_signed(">=", order, self._splat(builder.trunc(low, INT)))
            self._masks[key] = builder.and_(below, above)
        return self._masks[key]

    def _splat(self, value):
        kind = ir.VectorType(value.type, self.owner.lanes)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT, 0))
        pattern = ir.Constant(ir.VectorType(INT, self.owner.lanes), [0] * self.owner.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), pattern)

    def at(self, row: int, column: int) -> list[Real]:
        """The operands of one cell."""
        return [self._operand(n, row, column) for n in range(len(self.operands))]

    def _operand(self, number: int, row: int, column: int) -> Real:
        operand = self.operands[number][0]
        if operand is None:
            key = (number,)
        elif operand is numbers:
            key = (number, column)
        else:
            key = (number, row if operand.row else 0, column if self._moves(operand) else 0)
        if key not in self._known:
            self._known[key] = Real(self.builder, self._load(number, row, column))
        return self._known[key]

    def _moves(self, operand: at) -> bool:
        """Whether columns differ: in what they load, or in which lanes they may."""
        return bool(operand.column) or (operand.lane != 0 and (operand.guarded or self.active is not None))

    def _load(self, number: int, row: int, column: int):
        operand, kind, values = self.operands[number]
        if operand is None:
            return values[0] if self.scalars else self._splat(values[0])
        if operand is numbers:
            return ir.Constant(self.owner.vector, [float(column * self.owner.lanes + n) for n in range(self.owner.lanes)])
        offset = row * operand.row + column * operand.column
        if operand.lane == 0 or self.scalars:
            inside = self._inside(values, offset, 0, None)
            pointer = self._pointer(values[0], values[1], offset, inside)
            loaded = self.builder.load(pointer)
            mark(self.builder, loaded, kind)
            return loaded if self.scalars else self._splat(loaded)
        return self._vector(operand, kind, values, offset, column)

    def _inside(self, values, offset: int, lane: int, mask):
        """The lanes, of those in a mask, that may be touched: all of them, unless they are checked; then a lane that is
        outside of the buffer is a fault, and left out."""
        if not self.owner.checked:
            return mask
        builder, (index, size, number) = self.builder, values[1:4]
        order = ir.Constant(ir.VectorType(WORD, self.owner.lanes), [offset + n * lane for n in range(self.owner.lanes)])
        places = builder.add(self._splat(index), order)
        outside = builder.icmp_unsigned(">=", places, self._splat(size))
        outside = outside if mask is None else builder.and_(outside, mask)
        bits = builder.bitcast(outside, ir.IntType(self.owner.lanes))
        with builder.if_then(builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0)), likely=False):
            builder.store(number, builder.inttoptr(builder.load(self.addresses), WORD.as_pointer()))
        inside = builder.not_(outside)
        return inside if mask is None else builder.and_(inside, mask)

    def _pointer(self, base, index, offset: int, inside=None):
        """The address of an element; the first of the buffer where the first lane is not inside."""
        typed = self.builder.bitcast(base, self.owner.element.as_pointer())
        moved = self.builder.add(index, ir.Constant(WORD, offset)) if offset else index
        if inside is not None:
            moved = self.builder.select(self._first_lane(inside), moved, ir.Constant(WORD, 0))
        return self.builder.gep(typed, [moved], inbounds=True)

    def _first_lane(self, mask):
        return self.builder.extract_element(mask, ir.Constant(INT, 0))

    def _vector(self, operand: at, kind: Memory, values, offset: int, column: int):
        masks = [self.mask(column)] if self.active is not None else []
        if operand.guarded:
            masks.append(self._range(*values[-2:], operand.columns_go_on, column))
        mask = None
        for m in masks:
            mask = m if mask is None else self.builder.and_(mask, m)
        mask = self._inside(values, offset, operand.lane, mask)
        pointer = self._pointer(values[0], values[1], offset)
        builder, vector = self.builder, self.owner.vector
        if operand.lane != 1:
            return self._gathered(operand, kind, pointer, mask)
        address = builder.bitcast(pointer, vector.as_pointer())
        align = vector.element.get_abi_size(self.context.target_data)
        if mask is None:
            loaded = builder.load(address, align=align)
        else:
            shape = ir.FunctionType(vector, (address.type, INT, mask.type, vector))
            name = f"llvm.masked.load.v{vector.count}{vector.element.intrinsic_name}.p0"
            arguments = (address, ir.Constant(INT, align), mask, constant(vector, operand.otherwise))
            loaded = builder.call(declared(builder.module, name, shape), arguments)
        mark(builder, loaded, kind)
        return loaded

    def _lane_pointers(self, pointer, lane: int):
        """The addresses of the lanes, `lane` elements apart."""
        offsets = ir.Constant(ir.VectorType(WORD, self.owner.lanes), [n * lane for n in range(self.owner.lanes)])
        return self.builder.gep(self._splat(pointer), [offsets], inbounds=True, source_etype=self.owner.element)

    def _all(self):
        return constant(ir.VectorType(BIT, self.owner.lanes), 1)

    def _gathered(self, operand: at, kind: Memory, pointer, mask):
        builder, vector = self.builder, self.owner.vector
        pointers = self._lane_pointers(pointer, operand.lane)
        mask = self._all() if mask is None else mask
        shape = ir.FunctionType(vector, (pointers.type, INT, mask.type, vector))
        suffix = f"v{vector.count}{vector.element.intrinsic_name}.v{vector.count}p0"
        align = vector.element.get_abi_size(self.context.target_data)
        arguments = (pointers, ir.Constant(INT, align), mask, constant(vector, operand.otherwise))
        loaded = builder.call(declared(builder.module, f"llvm.masked.gather.{suffix}", shape), arguments)
        mark(builder, loaded, kind)
        return loaded

    def put(self, value: Real, kind: Memory, values, place: at, row: int, column: int) -> None:
        """Stores the value of a cell."""
        builder, vector = self.builder, self.owner.vector
        offset = row * place.row + column * place.column
        active = None if self.active is None else self.mask(column)
        mask = self._inside(values, offset, 0 if self.scalars else place.lane, active)
        pointer = self._pointer(values[0], values[1], offset)
        align = vector.element.get_abi_size(self.context.target_data)
        if self.scalars:
            with nullcontext() if mask is None else builder.if_then(self._first_lane(mask)):
                mark(builder, builder.store(value.value, pointer), kind)
            return
        if place.lane == 1 and mask is None:
            address = builder.bitcast(pointer, vector.as_pointer())
            mark(builder, builder.store(value.value, address, align=align), kind)
            return
        if place.lane == 1:
            pointers = builder.bitcast(pointer, vector.as_pointer())
            name = f"llvm.masked.store.v{vector.count}{vector.element.intrinsic_name}.p0"
        else:
            pointers = self._lane_pointers(pointer, place.lane)
            name = f"llvm.masked.scatter.v{vector.count}{vector.element.intrinsic_name}.v{vector.count}p0"
            mask = self._all() if mask is None else mask
        shape = ir.FunctionType(ir.VoidType(), (vector, pointers.type, INT, mask.type))
        arguments = (value.value, pointers, ir.Constant(INT, align), mask)
        mark(builder, builder.call(declared(builder.module, name, shape), arguments), kind)
