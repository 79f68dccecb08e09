"""A block of sums of products as text: operands to shared memory, products in registers, results row by row."""

from __future__ import annotations

from diffgraph.ir.dimension import Size, floor_divide, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index
from diffgraph.kernels.loops import Contraction, Load, Product, Unit

#: Blocks of the depth that are in shared memory at once: one is multiplied while the next is on its way.
STAGES = 2


class ContractionWriter:
    """Writes a contraction for its emitter."""

    def __init__(self, emitter, contraction: Contraction):
        self.emitter = emitter
        self.contraction = contraction
        self.block = contraction.block
        block, cores = self.block, emitter.device.cores
        shape = f"rows={block.rows}, columns={block.columns}, depth={block.depth}"
        shape += f", thread_rows={block.thread_rows}, thread_columns={block.thread_columns}"
        kind = f"cores({shape}, kind={cores!r})" if cores else f"products({shape})"
        self.name = emitter.declare("block", kind)
        self.pitches = (block.rows + 8, block.columns + 8)
        self.part_rows = self._part_rows()

    def _part_rows(self) -> int:
        """How many rows leave at once; see `products.py`."""
        block = self.block
        if self.emitter.device.cores is None:
            return block.rows // block.thread_rows
        warp_rows = 16 if block.rows < 32 or block.thread_rows < 4 else 32
        return 8 * (block.rows // warp_rows)

    def write(self) -> None:
        """The body of the kernel."""
        emitter, block = self.emitter, self.block
        emitter.line("thread = thread_of_block()")
        self._places()
        left, right = (STAGES * block.depth * pitch for pitch in self.pitches)
        emitter.line("left = shared_memory(0)")
        emitter.line(f"right = shared_memory({left})")
        emitter.line(f"stage = shared_memory({left + right})")
        emitter.meets = True
        emitter.shared = 4 * (left + right + self.part_rows * (block.columns + 4))
        emitter.line(f"sums = {self._function('start')}()")
        for number, one in enumerate(self.contraction.products):
            if number:
                emitter.line(f"barrier({block.threads})")
            self._product(one)
        self._results()

    def _function(self, what: str) -> str:
        return self.emitter.declare(what, f"{self.name}.{what}()")

    def _places(self) -> None:
        """Which rows and columns of which batch this block of threads makes."""
        emitter, c = self.emitter, self.contraction
        self.row_count, self.column_count = (product([u.extent for u in axes]) for axes in (c.rows, c.columns))
        down, across = (
            floor_divide(count + size - 1, size)
            for count, size in ((self.row_count, self.block.rows), (self.column_count, self.block.columns))
        )
        emitter.line("unit = block")
        self._next_digit("first_column", across, self.block.columns)
        self._next_digit("first_row", down, self.block.rows)
        emitter.unpack("unit", [(u.axis, u.extent) for u in c.batch])

    def _next_digit(self, name: str, count: Size, size: int) -> None:
        """unit -> where along an axis of so many blocks it is, and the rest."""
        emitter = self.emitter
        if count == 1:
            emitter.line(f"{name} = int32(0)")
            return
        emitter.line(f"rest = quotient(unit, {emitter.size(count)})")
        emitter.line(f"{name} = int32((unit - rest * {emitter.size(count)}) * {size})")
        emitter.line("unit = rest")

    # ------------------------------------------------------------------------------------------------ operands

    def _product(self, one: Product) -> None:
        """The loop over the depth: the next block of both operands is fetched while this one is multiplied."""
        emitter, block = self.emitter, self.block
        depth = product([u.extent for u in one.depth])
        stages = tuple(block.depth * pitch for pitch in self.pitches)
        begin, end = self._range(depth)
        emitter.line("turn = int32(1)")
        emitter.open(None)
        emitter.line(f"following = int32(first + {block.depth})")
        self._fetch(one, end)
        if emitter.device.asynchronous:
            emitter.line("copies_sent()")
        emitter.open(None)
        if emitter.device.asynchronous:
            emitter.line("copies_done(1)")
        emitter.line(f"barrier({block.threads})")
        step = self._function("step")
        emitter.line(f"{step}(sums, left, right, int32(turn * {stages[0]}), int32(turn * {stages[1]}), thread)")
        emitter.line(f"barrier({block.threads})")
        emitter.close(f"if first >= {begin}:")
        emitter.line("turn = int32(1 - turn)")
        emitter.close(f"for first in range(int32({begin} - {block.depth}), int32({end}), int32({block.depth})):")
        if emitter.device.asynchronous:
            # The last copies, of what is beyond the end, must not arrive in what uses this memory next.
            emitter.line("copies_done(0)")

    def _range(self, depth: Size) -> tuple[str, str]:
        """Which steps of the depth this block of threads sums."""
        emitter, part, size = self.emitter, self.contraction.part, self.block.depth
        if part is None:
            return "0", emitter.size(depth)
        length = floor_divide(depth + (part.extent * size - 1), part.extent * size) * size
        emitter.line(f"begin = int32({emitter.axes[part.axis]} * {emitter.size(length)})")
        emitter.line(f"end = int32(min(begin + {emitter.size(length)}, {emitter.size(depth)}))")
        return "begin", "end"

    def _fetch(self, one: Product, end: str) -> None:
        c = self.contraction
        left = ("left", one.left, c.rows, self.row_count, "first_row", self.pitches[0])
        right = ("right", one.right, c.columns, self.column_count, "first_column", self.pitches[1])
        for operand in (left, right):
            self._operand(*operand, one.depth, end)

    def _operand(self, side: str, value: Expr, outer, count: Size, start: str, pitch: int, depth, end: str) -> None:
        """side[1 - turn, k, m] = value at (following + k, start + m), 0 outside; each thread every so many of them."""
        emitter, block = self.emitter, self.block
        size = block.rows if side == "left" else block.columns
        along_depth = _moves(value, depth[-1]) == 1 and _moves(value, outer[-1]) != 1
        inner = block.depth if along_depth else size
        low, high = f"int32(element & {inner - 1})", f"int32(element >> {inner.bit_length() - 1})"
        emitter.open(None)
        emitter.line(f"step = {low if along_depth else high}")
        emitter.line(f"place = {high if along_depth else low}")
        emitter.line(f"at = int32((1 - turn) * {block.depth * pitch} + step * {pitch} + place)")
        inside = f"following + step < {end} and {start} + place < {emitter.size(count)}"
        emitter.line(f"inside = {inside}")
        emitter.line("step = int32(following + step if inside else 0)")
        emitter.line(f"place = int32({start} + place if inside else 0)")
        emitter.unpack("step", [(u.axis, u.extent) for u in depth])
        emitter.unpack("place", [(u.axis, u.extent) for u in outer])
        self._put(side, value)
        emitter.close(f"for element in range(thread, int32({block.depth * size}), int32({block.threads})):")

    def _put(self, side: str, value: Expr) -> None:
        emitter = self.emitter
        if emitter.device.asynchronous and self._can_be_copied(value):
            if value.conditions:
                emitter.line(f"inside = {' and '.join(['inside', *(emitter.inside(c) for c in value.conditions)])}")
            buffer, at = emitter.place(value.buffer, value.address)
            emitter.line(f"copy({side}, at, {buffer}, int32({at} if inside else 0), 1, inside)")
            return
        emitter.line(f"{side}[at] = {emitter.cast(value, 'float')} if inside else real(0)")

    def _can_be_copied(self, value: Expr) -> bool:
        """Whether an operand is just what is in memory, or zero."""
        if type(value) is not Load or self.emitter.kernel.buffers[value.buffer].kind != "float":
            return False
        otherwise = value.otherwise
        return self.emitter.precision == "f32" and (
            otherwise is None or (type(otherwise) is Const and float(otherwise.value) == 0.0)
        )

    # ------------------------------------------------------------------------------------------------ results

    def _results(self) -> None:
        """Part by part through shared memory, then whatever follows, each thread every so many elements of a row."""
        emitter, block, c = self.emitter, self.block, self.contraction
        shift = block.columns.bit_length() - 1
        emitter.open(None)
        emitter.line(f"barrier({block.threads})")
        emitter.line(f"{self._function('put')}(sums, stage, int32(part), thread)")
        emitter.line(f"barrier({block.threads})")
        emitter.open(None)
        emitter.line(f"line = int32(element >> {shift})")
        emitter.line(f"place = int32(element & {block.columns - 1})")
        emitter.line(f"row = int32(first_row + {self._function('row')}(int32(part), line))")
        emitter.line("column = int32(first_column + place)")
        emitter.open(None)
        emitter.unpack("row", [(u.axis, u.extent) for u in c.rows])
        emitter.unpack("column", [(u.axis, u.extent) for u in c.columns])
        result = emitter.local(c.result)
        emitter.line(f"{result} = stage[int32(line * {block.columns + 4} + place)]")
        emitter.statements(c.body)
        emitter.close(f"if row < {emitter.size(self.row_count)} and column < {emitter.size(self.column_count)}:")
        elements = self.part_rows * block.columns
        emitter.close(f"for element in range(thread, int32({elements}), int32({block.threads})):")
        emitter.close(f"for part in range({block.rows // self.part_rows}):")


def _moves(value: Expr, unit: Unit) -> int:
    """How many elements the address of an operand's main load moves with an axis; 0 if not at all or not evenly."""
    stack = [value]
    while stack:
        e = stack.pop()
        if type(e) is Load:
            for atom, factor in e.address.terms:
                if type(atom) is Index and atom.axis == unit.axis and isinstance(factor, int):
                    return factor
                if type(atom) is Affine and unit.axis in atom.indices:
                    return 0
        if type(e) is Call:
            stack.extend(e.args)
    return 0
