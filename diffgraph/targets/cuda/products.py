"""Blocks of sums of products in registers, as functions of kernels.

    block_1 = products(rows=64, columns=64, depth=16, thread_rows=4, thread_columns=4)
    start_1, step_1, put_1, row_1 = block_1.start(), block_1.step(), block_1.put(), block_1.row()

    def kernel(...):
        sums = start_1()
        for ...: step_1(sums, left, right, at_left, at_right, thread)   sums[m, n] += sum of left[k, m] * right[k, n]
        for part in range(block_1.parts):
            put_1(sums, stage, part, thread)                            stage[y, n] = sums[row_1(part, y), n]

`left` and `right` are in shared memory, a row for each step of the depth, `pitch` elements apart. Results leave through
shared memory, so that whatever follows finds a row after the other, whichever thread held what.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir
from numba.core import cgutils
from numba.cuda import types
from diffgraph.targets.cuda.intrinsics import intrinsic

from diffgraph.targets.cuda.asynchronous import assembly

_INT = ir.IntType(32)
_REAL = ir.FloatType()
_BYTES = ir.IntType(8).as_pointer()


def _whole(value: int):
    return ir.Constant(_INT, value)


@dataclass(frozen=True)
class _Block:
    """What both kinds have in common. See `diffgraph.kernels.loops.Block`."""

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        return (self.rows // self.thread_rows) * (self.columns // self.thread_columns)

    @property
    def parts(self) -> int:
        """In how many parts the results leave."""
        return self.rows // self.part_rows

    @property
    def left_pitch(self) -> int:
        """Elements from one step of the depth to the next: eight more than a row, so that lanes hit different banks."""
        return self.rows + 8

    @property
    def right_pitch(self) -> int:
        return self.columns + 8

    @property
    def stage_pitch(self) -> int:
        return self.columns + 4

    def start(self):
        """A function that gives the sums, at zero."""
        count = self.sums

        @intrinsic
        def start(typing_context):
            def code(context, builder, sig, args):
                memory = cgutils.alloca_once(builder, ir.ArrayType(_REAL, count))
                for number in range(count):
                    builder.store(ir.Constant(_REAL, 0.0), self._cell(builder, memory, number))
                return builder.bitcast(memory, _BYTES)

            return types.voidptr(), code

        return start

    def step(self):
        """A function that adds a block of the depth: (sums, left, right, where they begin, thread)."""

        @intrinsic
        def step(typing_context, sums, left, right, at_left, at_right, thread):
            def code(context, builder, sig, args):
                memory = self._results(builder, args[0])
                known = [builder.load(self._cell(builder, memory, n)) for n in range(self.sums)]
                left = builder.gep(args[1], [args[3]], inbounds=True)
                right = builder.gep(args[2], [args[4]], inbounds=True)
                for number, value in enumerate(self._added(builder, known, left, right, args[5])):
                    builder.store(value, self._cell(builder, memory, number))
                return context.get_dummy_value()

            return types.void(sums, left, right, types.int32, types.int32, types.int32), code

        return step

    def put(self):
        """A function that puts a part of the sums into shared memory."""

        @intrinsic
        def put(typing_context, sums, stage, part, thread):
            def code(context, builder, sig, args):
                memory, stage, part = self._results(builder, args[0]), args[1], args[2]
                for number in range(self.parts):
                    with builder.if_then(builder.icmp_signed("==", part, _whole(number))):
                        self._put(builder, memory, stage, number, args[3])
                return context.get_dummy_value()

            return types.void(sums, stage, types.int32, types.int32), code

        return put

    def row(self):
        """A function that gives the row of the block that a row of a part is."""

        @intrinsic
        def row(typing_context, part, y):
            def code(context, builder, sig, args):
                return self._row(builder, *args)

            return types.int32(types.int32, types.int32), code

        return row

    def _results(self, builder, pointer):
        return builder.bitcast(pointer, ir.ArrayType(_REAL, self.sums).as_pointer())

    @staticmethod
    def _cell(builder, memory, number: int):
        return builder.gep(memory, [_whole(0), _whole(number)], inbounds=True)


def _fours(count: int) -> int:
    """How many elements of a row or column of a thread are neighbours."""
    return min(4, count)


class products(_Block):
    """Each thread multiplies in float32: rows and columns in groups of four neighbours."""

    @property
    def sums(self) -> int:
        return self.thread_rows * self.thread_columns

    @property
    def part_rows(self) -> int:
        return self.rows // self.thread_rows

    def _place(self, builder, thread):
        """(row, column) of this thread in the grid of threads."""
        across = _whole(self.columns // self.thread_columns)
        return builder.udiv(thread, across), builder.urem(thread, across)

    def _offsets(self, count: int, size: int):
        """Where the elements of a thread are: of row or column place * 4 in each group."""
        groups = count // _fours(count)
        return [g * (size // groups) + n for g in range(groups) for n in range(_fours(count))]

    def _added(self, builder, known, left, right, thread):
        y, x = self._place(builder, thread)
        y = builder.mul(y, _whole(_fours(self.thread_rows)))
        x = builder.mul(x, _whole(_fours(self.thread_columns)))
        fma = builder.module.declare_intrinsic("llvm.fma", (_REAL,), ir.FunctionType(_REAL, (_REAL,) * 3))
        known = list(known)
        for k in range(self.depth):
            a = self._line(builder, left, y, k * self.left_pitch, self.thread_rows, self.rows)
            b = self._line(builder, right, x, k * self.right_pitch, self.thread_columns, self.columns)
            for r, one in enumerate(a):
                for c, other in enumerate(b):
                    place = r * self.thread_columns + c
                    known[place] = builder.call(fma, (one, other, known[place]))
        return known

    def _line(self, builder, memory, first, offset: int, count: int, size: int):
        """The elements of this thread in one step of the depth, four at a time."""
        width = _fours(count)
        vector = ir.VectorType(_REAL, width)
        found = []
        for group in range(count // width):
            at = builder.add(first, _whole(offset + group * (size // (count // width))))
            pointer = builder.gep(memory, [at], inbounds=True)
            loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()), align=4 * width)
            found += [builder.extract_element(loaded, _whole(n)) for n in range(width)]
        return found

    def _put(self, builder, memory, stage, part: int, thread):
        y, x = self._place(builder, thread)
        x = builder.mul(x, _whole(_fours(self.thread_columns)))
        first = builder.add(builder.mul(y, _whole(self.stage_pitch)), x)
        for c, offset in enumerate(self._offsets(self.thread_columns, self.columns)):
            value = builder.load(self._cell(builder, memory, part * self.thread_columns + c))
            builder.store(value, builder.gep(stage, [builder.add(first, _whole(offset))], inbounds=True))

    def _row(self, builder, part, y):
        four = _whole(_fours(self.thread_rows))
        group, inside = builder.udiv(part, four), builder.urem(part, four)
        start = builder.mul(group, _whole(self.rows * _fours(self.thread_rows) // self.thread_rows))
        return builder.add(start, builder.add(builder.mul(y, four), inside))


@dataclass(frozen=True)
class cores(_Block):
    """Each warp multiplies with the matrix units: fragments of 16 x 8 results; operands rounded to `kind`, sums in float32.

    A warp makes `thread_rows * 8` rows and `thread_columns * 4` columns, so that a block has as many threads as one of
    `products` of the same measures.
    """

    kind: str = "tf32"

    @property
    def warp_rows(self) -> int:
        return 16 if self.rows < 32 or self.thread_rows < 4 else 32

    @property
    def warp_columns(self) -> int:
        return self.rows * self.columns // (self.threads // 32) // self.warp_rows

    @property
    def sums(self) -> int:
        return self.warp_rows * self.warp_columns // 32

    @property
    def part_rows(self) -> int:
        return 8 * (self.rows // self.warp_rows)

    def _place(self, builder, thread):
        """(first row, first column of the warp, group of the lane, place in the group)."""
        warp, lane = builder.lshr(thread, _whole(5)), builder.and_(thread, _whole(31))
        across = _whole(self.columns // self.warp_columns)
        row = builder.mul(builder.udiv(warp, across), _whole(self.warp_rows))
        column = builder.mul(builder.urem(warp, across), _whole(self.warp_columns))
        return row, column, builder.lshr(lane, _whole(2)), builder.and_(lane, _whole(3))

    def _added(self, builder, known, left, right, thread):
        row, column, group, place = self._place(builder, thread)
        known = list(known)
        wide = self.warp_columns // 8
        step = 8 if self.kind == "tf32" else 16
        for k in range(0, self.depth, step):
            first = builder.add(row, group)
            a = [
                self._fragment(builder, left, builder.add(first, _whole(16 * i)), place, k, self.left_pitch, (0, 8))
                for i in range(self.warp_rows // 16)
            ]
            first = builder.add(column, group)
            b = [
                self._fragment(builder, right, builder.add(first, _whole(8 * j)), place, k, self.right_pitch, (0,))
                for j in range(wide)
            ]
            for i, one in enumerate(a):
                for j, other in enumerate(b):
                    at = 4 * (i * wide + j)
                    known[at : at + 4] = self._multiplied(builder, one, other, known[at : at + 4])
        return known

    def _fragment(self, builder, memory, first, place, k: int, pitch: int, rows):
        """The words of a fragment: for both halves of the depth, for each of its rows (of B: columns)."""
        words = []
        for half in (0, 1):
            for row in rows:
                at = builder.add(first, _whole(row))
                words.append(self._word(builder, memory, at, place, k, half, pitch))
        return words

    def _word(self, builder, memory, at, place, k: int, half: int, pitch: int):
        if self.kind == "tf32":
            value = self._element(builder, memory, at, place, k + 4 * half, pitch)
            return assembly(builder, _INT, (_REAL,), "cvt.rna.tf32.f32 $0, $1;", "=r,f", (value,))
        first = builder.mul(place, _whole(2))
        low, high = (self._element(builder, memory, at, first, k + 8 * half + n, pitch) for n in (0, 1))
        return assembly(builder, _INT, (_REAL, _REAL), "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f", (low, high))

    @staticmethod
    def _element(builder, memory, at, depth, offset: int, pitch: int):
        step = builder.add(builder.mul(depth, _whole(pitch)), _whole(offset * pitch))
        return builder.load(builder.gep(memory, [builder.add(step, at)], inbounds=True))

    def _multiplied(self, builder, a, b, c):
        shape = "m16n8k8" if self.kind == "tf32" else "m16n8k16"
        four = ir.LiteralStructType([_REAL] * 4)
        text = (
            f"mma.sync.aligned.{shape}.row.col.f32.{self.kind}.{self.kind}.f32"
            " {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
        )
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
        result = assembly(builder, four, [_INT] * 6 + [_REAL] * 4, text, constraints, [*a, *b, *c], convergent=True)
        return [builder.extract_value(result, n) for n in range(4)]

    def _put(self, builder, memory, stage, part: int, thread):
        row, column, group, place = self._place(builder, thread)
        # A warp has 8 rows in each part: the half `part % 2` of its band `part // 2`.
        y = builder.add(builder.mul(builder.udiv(row, _whole(self.warp_rows)), _whole(8)), group)
        first = builder.add(builder.mul(y, _whole(self.stage_pitch)), builder.add(column, builder.mul(place, _whole(2))))
        wide = self.warp_columns // 8
        for j in range(wide):
            for n in (0, 1):
                number = 4 * (part // 2 * wide + j) + 2 * (part % 2) + n
                value = builder.load(self._cell(builder, memory, number))
                builder.store(value, builder.gep(stage, [builder.add(first, _whole(8 * j + n))], inbounds=True))

    def _row(self, builder, part, y):
        warp = builder.mul(builder.udiv(y, _whole(8)), _whole(self.warp_rows))
        return builder.add(builder.add(warp, builder.mul(part, _whole(8))), builder.urem(y, _whole(8)))
