"""Kernel IR -> the text of a Numba CUDA kernel.

As on the CPU, every value is computed in the outermost block in which it is known. What is different is who walks the
units: a thread for each, or a team of threads, as the kernel's `Grid` says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir import scalar
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Const, Expr
from diffgraph.kernels.access import nodes
from diffgraph.kernels.flat import flat
from diffgraph.kernels.grid import Device, Grid, grid, is_reduction, nest_of
from diffgraph.kernels.loops import Address, Best, Buffer, Contraction, Kernel, Let, Load, Loop, Statement, Store, Update
from diffgraph.targets.cuda.emit_contraction import ContractionWriter
from diffgraph.targets.cuda.emit_wide import WideWriter
from diffgraph.targets.cuda.module import Part, module
from diffgraph.targets.cuda.words import NAMES, text_of
from diffgraph.targets.writer import JOIN, Writer, one_line


@dataclass(frozen=True)
class Text:
    """A kernel as text: `source` is a module with a function `kernel` of the addresses of its buffers, then its sizes;
    `part` the same as a part of a larger one. shared: bytes of shared memory of a block. elements: what `flat.ELEMENTS`
    is, for kernels that work for any number of them. buffers: in the order of the addresses; parameters: the types of
    their elements."""

    source: str
    sizes: tuple[Size, ...]
    grid: Grid
    buffers: tuple[Buffer, ...]
    parameters: tuple[str, ...]
    shared: int = 0
    elements: Size | None = None
    part: Part | None = None


def emit(kernel: Kernel, precision: str, device: Device) -> Text:
    """The text of a kernel. precision: `f32` or `f64`."""
    walked = flat(kernel)
    return replace(_Emitter(walked.kernel, precision, device).text(), elements=walked.elements)


def _parameters(buffers: tuple[Buffer, ...], precision: str) -> tuple[str, ...]:
    kinds = {"float": "float32" if precision == "f32" else "float64", "int": "int64", "bool": "uint8"}
    return tuple(kinds[b.kind] for b in buffers)


class _Emitter(Writer):
    """Places of threads and their meetings."""

    def __init__(self, kernel: Kernel, precision: str, device: Device):
        super().__init__(kernel, precision, NAMES)
        self.device = device
        self.grid = grid(kernel)
        self.functions: dict[str, str] = {}
        self.shared = 0
        self.meets = False
        self._unseen: set[int] = set()
        self._seen: set[int] = set()

    # ------------------------------------------------------------------------------------------------- the module

    def text(self) -> Text:
        """The whole module."""
        if len(self.kernel.body) == 1 and isinstance(self.kernel.body[0], Contraction):
            ContractionWriter(self, self.kernel.body[0]).write()
        elif self.grid.team > 1:
            self._by_teams()
        else:
            wide = WideWriter(self)
            if wide.fits():
                self.grid = wide.write()
            else:
                self._by_threads()
        part = Part(self._docstring(), self._declarations(), (*self.buffers, *self.sizes.values()), self._lines(), self.meets)
        buffers = self.kernel.buffers
        kinds = _parameters(buffers, self.precision)
        return Text(module(part), tuple(self.sizes), self.grid, buffers, kinds, self.shared, part=part)

    def _docstring(self) -> tuple[str, ...]:
        grid = self.grid
        how = f"blocks of {grid.threads} threads"
        if grid.team > 1 and not isinstance(self.kernel.body[0], Contraction):
            apart = "neighbours" if grid.along else f"{grid.members} apart"
            how += f"; {grid.members} units in a block, {grid.team} threads for each, {apart}"
        elif grid.width > 1:
            how += f", each for {grid.width} neighbours"
        return (*self.title(), how)

    def _declarations(self) -> tuple[str, ...]:
        lines = [f"real = {'float32' if self.precision == 'f32' else 'float64'}"]
        lines += [f"{name} = {value}" for value, name in self.constants.items()]
        lines += [f"{name} = {text}" for text, name in self.functions.items()]
        return tuple(lines)

    def _lines(self) -> tuple[str, ...]:
        notes = [f"# {name}: {one_line(str(size))}" for size, name in self.sizes.items() if name != str(size)]
        return (*notes, *self.scopes[0].lines)

    @property
    def thread_of_grid(self) -> str:
        """The line that says which of all threads this one is."""
        return f"unit = int32(block * {self.grid.threads} + thread_of_block())"

    def declare(self, stem: str, text: str) -> str:
        """The name of a function that the module declares; equal ones are made once."""
        if text not in self.functions:
            self.functions[text] = self._name(f"{stem}_{len(self.functions) + 1}")
        return self.functions[text]

    # ------------------------------------------------------------------------------------------------- a thread a unit

    def _by_threads(self) -> None:
        units = product([u.extent for u in self.kernel.units])
        self.line(self.thread_of_grid)
        self.open(None)
        self.unpack("unit", [(u.axis, u.extent) for u in self.kernel.units])
        self.statements(self.kernel.body)
        self.close(f"if unit < {self.size(units)}:")

    def unpack(self, flat: str, axes: list[tuple[int, Size]]) -> None:
        """flat -> the indices of some axes, row-major, in this block."""
        self._levels.clear()
        lines = self.scopes[-1].lines
        for axis, extent in reversed(axes[1:]):
            name, following = self.axis(axis), self.fresh("unit")
            lines.append(f"{following} = quotient({flat}, {self.size(extent)})")
            lines.append(f"{name} = int32({flat} - {following} * {self.size(extent)})")
            self.depth[axis] = len(self.scopes) - 1
            flat = following
        if axes:
            lines.append(f"{self.axis(axes[0][0])} = {flat}")
            self.depth[axes[0][0]] = len(self.scopes) - 1

    # ------------------------------------------------------------------------------------------------- a team a unit

    def _by_teams(self) -> None:
        grid, units = self.grid, product([u.extent for u in self.kernel.units])
        lines = self.scopes[0].lines
        lines.append("thread = thread_of_block()")
        if grid.members == 1:
            lines += ["lane = thread", "unit = block"]
        else:
            lane, member = ("&", ">>") if grid.along else (">>", "&")
            shift = (grid.team if grid.along else grid.members).bit_length() - 1
            mask = (1 << shift) - 1
            for name, sign in (("lane", lane), ("member", member)):
                lines.append(f"{name} = int32(thread {sign} {mask if sign == '&' else shift})")
            lines.append(f"unit = int32(block * {grid.members} + member)")
            if grid.along:
                # A team is a warp: it may leave, since warps of one block never meet here.
                lines += [f"if unit >= {self.size(units)}:", "    return"]
            else:
                lines.append(f"alive = unit < {self.size(units)}")
                lines.append(f"unit = unit if alive else int32({self.size(units)} - 1)")
        self.unpack("unit", [(u.axis, u.extent) for u in self.kernel.units])
        for statement in self.kernel.body:
            self._meet_if_it_reads(statement)
            if isinstance(statement, Loop):
                self._meet_before_it_writes(statement, self._seen)
                self._shared_loop(statement)
            elif isinstance(statement, Store):
                self.cast(statement.value, self.kernel.buffers[statement.buffer].kind)
                self._meet_before_it_writes(statement, self._seen | _read(statement))
                self.open(None)
                self.statement(statement)
                self.close("if lane == 0 and alive:" if self._stay_beyond else "if lane == 0:")
            elif isinstance(statement, Let):
                self.statement(statement)
            else:
                raise CompilerBug("targets.cuda.emit", f"a team cannot do {type(statement).__name__}")
            self._unseen |= _written(statement)
            self._seen |= _read(statement)

    @property
    def _stay_beyond(self) -> bool:
        """Whether there may be threads beyond the last unit, which meet the others but touch nothing."""
        return self.grid.members > 1 and not self.grid.along

    @property
    def _is_of_warps(self) -> bool:
        """Whether each team is one warp."""
        return self.grid.along and self.grid.team <= 32

    def _meet_if_it_reads(self, statement: Statement) -> None:
        """What other threads of the team have written is read only after they have met."""
        if self._unseen & _read(statement):
            self._meet()

    def _meet_before_it_writes(self, statement: Statement, seen: set[int]) -> None:
        """What other threads of the team read is written only after they have met."""
        if seen & _written(statement):
            self._meet()

    def _meet(self) -> None:
        grid = self.grid
        shape = f"team={grid.team}, members={grid.members}, along={grid.along}"
        self.meets = self.meets or not self._is_of_warps
        self.line(f"{self.declare('meet', f'team_barrier({shape})')}()")
        self._unseen.clear()
        self._seen.clear()

    def _shared_loop(self, loop: Loop) -> None:
        """The steps of a nest, shared out among the team; what they reduce is joined after it."""
        axes, body = nest_of(loop)
        count = self.size(product([extent for _, extent in axes]))
        tail = f"  # {one_line(loop.comment)}" if loop.comment else ""
        if len(axes) == 1:
            name = self.axis(axes[0][0])
            self.open(axes[0][0])
        else:
            name = self.fresh("step")
            self.open(None)
            self.unpack(name, list(axes))
        self.statements(body)
        end = f"{count} if alive else 0" if self._stay_beyond else count
        self.close(f"for {name} in range(lane, int32({end}), int32({self.grid.team})):{tail}")
        if is_reduction(loop):
            self._join(body[0])

    def _join(self, reduced: Update | Best) -> None:
        grid = self.grid
        shape = f"team={grid.team}, members={grid.members}, along={grid.along}"
        local = self.local(reduced.local)
        kind = {"float": "float32" if self.precision == "f32" else "float64", "int": "int64", "bool": "boolean"}
        kind = kind[reduced.local.kind]
        if not self._is_of_warps:
            self.meets = True
            size = 4 if kind == "float32" and isinstance(reduced, Update) else 8
            self.shared = max(self.shared, size * grid.members * (grid.team // 32 if grid.along else grid.team))
        if isinstance(reduced, Update):
            join = self.declare(f"team_{reduced.op}", f"reduction({reduced.op!r}, {kind!r}, {shape})")
            self.line(f"{local} = {join}({local})")
            return
        rank = self.local(reduced.rank)
        find = self.declare(f"team_{reduced.op}", f"first_extreme({reduced.op!r}, {kind!r}, {shape})")
        self.line(f"{rank} = {find}({local}, {rank})")

    # ------------------------------------------------------------------------------------------------- words

    def statement(self, statement: Statement) -> None:
        if isinstance(statement, Loop):
            tail = f"  # {one_line(statement.comment)}" if statement.comment else ""
            head = f"for {self.axis(statement.axis)} in range(int32({self.size(statement.extent)})):{tail}"
            self.block(head, statement.axis, statement.body)
        else:
            super().statement(statement)

    def words(self, function: str, of_floats: bool) -> str:
        row = scalar.FUNCTIONS[function]
        return text_of(function, row.cuda or row.cpu, self.precision if of_floats else None, self.precision)

    def _call(self, e: Call) -> str:
        if e.function != "powi":
            return super()._call(e)
        wanted = scalar.argument_kinds("powi", [self.kind(a) for a in e.args])
        base, power = (self.cast(a, kind) for a, kind in zip(e.args, wanted))
        known = type(e.args[1]) is Const and abs(e.args[1].value) < 64
        return f"{'raised' if known else 'raised_to'}({base}, {power})"

    def _expression(self, e: Expr) -> str:
        text = super()._expression(e)
        return f"int32{text}" if type(e) is Affine and self._is_short(e) else text

    def _is_short(self, e: Affine) -> bool:
        """Whether 32 bits hold a place: those of tensors do (the runtime refuses larger ones), those read from memory, and
        those that reach beyond every tensor, need not."""
        return not any(type(n) is Load for n in nodes(e)) and all(
            isinstance(f, int) and abs(f) < 1 << 12 for _, f in e.terms
        )

    def _load(self, e: Load) -> str:
        text = super()._load(e)
        if self.kernel.buffers[e.buffer].kind != "bool":
            return text
        element, _, rest = text.partition(" if ")
        return f"({element} != 0)" + (f" if {rest}" if rest else "")

    def _store(self, s: Store) -> None:
        if self.kernel.buffers[s.buffer].kind != "bool":
            super()._store(s)
            return
        element = f"{self.buffers[s.buffer]}[{self._address(s.address, s.buffer)}]"
        value = self.cast(s.value, "bool")
        if s.op is not None:
            value = JOIN[s.op, False].format(f"({element} != 0)", value)
        lines = [f"{element} = uint8({value})"]
        if s.conditions:
            conditions = " and ".join(self.inside(c) for c in s.conditions)
            lines = [f"if {conditions}:", f"    {lines[0]}"]
        self.scopes[-1].lines += lines

    def _flat(self, a: Address) -> str:
        text = super()._flat(a)
        return text if text.isidentifier() or text.isdigit() else f"int32({text})"

    def _base(self, key, text: str, level: int) -> str:
        return super()._base(key, text if text.isidentifier() or text.isdigit() else f"int32({text})", level)


def _written(statement: Statement) -> set[int]:
    """The buffers that a statement stores to."""
    if isinstance(statement, Store):
        return {statement.buffer}
    if isinstance(statement, Loop):
        return set().union(*(_written(s) for s in statement.body))
    return set()


def _read(value) -> set[int]:
    """The buffers that something loads from."""
    if isinstance(value, Expr):
        return {n.buffer for n in nodes(value) if type(n) is Load}
    if isinstance(value, tuple):
        return set().union(*(_read(v) for v in value))
    if hasattr(value, "__dataclass_fields__"):
        return set().union(*(_read(getattr(value, f)) for f in value.__dataclass_fields__))
    return set()
