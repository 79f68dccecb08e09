"""Kernel IR -> the text of a Numba function for processors."""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.ir import scalar
from diffgraph.ir.dimension import Size
from diffgraph.kernels.loops import Address, Kernel, Prefetch, Statement, TilePause, TileStart, TileStep, TileStore
from diffgraph.targets.cpu.emit_tile import TileWriter
from diffgraph.targets.cpu.words import NAMES, text_of
from diffgraph.targets.writer import Writer, one_line

#: Names of the function that a kernel is.
_OWN = frozenset("kernel addresses slots sizes first last thread unit".split())


@dataclass(frozen=True)
class Text:
    """The source of a kernel: a module with a function `kernel`. sizes: what its table of sizes holds."""

    source: str
    sizes: tuple[Size, ...]


def emit(kernel: Kernel, precision: str, check_bounds: bool = False) -> Text:
    """The text of a kernel."""
    return _Emitter(kernel, precision, check_bounds).text()


class _Emitter(Writer):
    def __init__(self, kernel: Kernel, precision: str, check_bounds: bool):
        super().__init__(kernel, precision, NAMES | _OWN)
        self.check_bounds = check_bounds
        self.tiles = TileWriter(self)

    # ------------------------------------------------------------------------------------------------- the module

    def text(self) -> Text:
        """The whole module."""
        units = self.kernel.units
        if len(units) < 2:
            variable = self.axis(units[0].axis) if units else "_"
            self.block(f"for {variable} in range(first, last):", units[0].axis if units else None, self.kernel.body)
        else:
            self.open(None)
            self._unpack_units()
            self.statements(self.kernel.body)
            self.close("for unit in range(first, last):")
        lines = [*self._docstring(), *self._declarations(), *self._function()]
        return Text("\n".join(lines) + "\n", tuple(self.sizes))

    def _unpack_units(self) -> None:
        """unit -> the indices of its axes, row-major."""
        rest, scope = "unit", self.scopes[-1]
        for unit in reversed(self.kernel.units[1:]):
            name, extent = self.axis(unit.axis), self.size(unit.extent)
            following = self.fresh("unit")
            scope.lines.append(f"{following} = quotient({rest}, {extent})")
            scope.lines.append(f"{name} = {rest} - {following} * {extent}")
            self.depth[unit.axis] = len(self.scopes) - 1
            rest = following
        outer = self.kernel.units[0].axis
        scope.lines.append(f"{self.axis(outer)} = {rest}")
        self.depth[outer] = len(self.scopes) - 1

    def _docstring(self) -> list[str]:
        first, *more = self.title()
        return [f'"""{first}', *(f"    {line}" for line in more), '"""', ""]

    def _declarations(self) -> list[str]:
        lines = ["from diffgraph.targets.cpu.prelude import *", ""]
        lines.append(f"real = {'float32' if self.precision == 'f32' else 'float64'}")
        written = tuple(n for n, b in enumerate(self.kernel.buffers) if b.written)
        for number, buffer in enumerate(self.kernel.buffers):
            kind = {"float": "real", "int": "int64", "bool": "boolean"}[buffer.kind]
            size = f", {buffer.size}" if buffer.private else ""
            lines.append(f"memory_{number} = memory({number}, {kind}, {written}{size})")
        lines += [f"{name} = {value}" for value, name in self.constants.items()]
        lines += self.tiles.declarations
        return [*lines, "", ""]

    def _function(self) -> list[str]:
        lines = ["def kernel(addresses, slots, sizes, first, last, thread):"]
        for number, (name, buffer) in enumerate(zip(self.buffers, self.kernel.buffers)):
            which = ", thread" if buffer.private else ", 0"
            lines.append(f"    {name} = memory_{number}(addresses, slots{which})")
        for number, (size, name) in enumerate(self.sizes.items()):
            lines.append(f"    {name} = sizes[{number}]  # {one_line(str(size))}")
        return [*lines, *(f"    {line}" for line in self.scopes[0].lines)]

    # ------------------------------------------------------------------------------------------------- the body

    def words(self, function: str, of_floats: bool) -> str:
        return text_of(function, scalar.FUNCTIONS[function].cpu, self.precision if of_floats else None)

    def statement(self, statement: Statement) -> None:
        match statement:
            case TileStart():
                self.tiles.start(statement)
            case TilePause():
                self.tiles.pause(statement)
            case TileStep():
                self.tiles.step(statement)
            case TileStore():
                self.tiles.store(statement)
                for _, place in statement.stores:
                    self.note_store(place.buffer)
            case Prefetch(buffer, place):
                self.line(f"prefetch({self.buffers[buffer]}, {self._flat(place)})")
            case _:
                super().statement(statement)

    def place(self, buffer: int, address: Address) -> tuple[str, ...]:
        """Text of a buffer and of an address in it; where bounds are checked, also of its size and its number."""
        place = super().place(buffer, address)
        return (*place, self.size(self.kernel.buffers[buffer].size), f"{buffer + 1}") if self.check_bounds else place

    def _address(self, a: Address, buffer: int) -> str:
        text = super()._address(a, buffer)
        if self.check_bounds:
            size = self.size(self.kernel.buffers[buffer].size)
            return f"checked(addresses, {text}, {size}, {buffer + 1})"
        return text
