"""The statements of tiles as text: a function for each, declared above the kernel, and its call."""

from __future__ import annotations

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir.expression import Call, Const, Expr
from diffgraph.kernels.loops import (
    LaneNumbers,
    Lanes,
    Slot,
    TileLoad,
    TileOperand,
    TilePause,
    TileStart,
    TileStep,
    TileStore,
    TileValue,
)
from diffgraph.targets.cpu.words import tile_text
from diffgraph.targets.writer import literal

_NAMES = "abcdefgh"


class TileWriter:
    """Writes the tiles of a kernel for its emitter."""

    def __init__(self, emitter):
        self.emitter = emitter
        self.declarations: list[str] = []
        self._tiles: dict[int, str] = {}
        self._results: dict[int, str] = {}
        self._rooms: dict[int, tuple[str, str]] = {}
        self._functions: dict[str, str] = {}

    def start(self, start: TileStart) -> None:
        """The results at the identity, or as they were laid aside."""
        tile = start.tile
        number = tile.number
        shape = f"tile(rows={tile.rows}, columns={tile.columns}, lanes={tile.lanes}, real=real, op={tile.op!r}"
        more = ", checked=True" if self.emitter.check_bounds else ""
        name = self._declare("tile", f"{shape}, along={tile.along}{more})")
        self._tiles[number] = name
        self._results[number] = self.emitter.fresh("results")
        if start.resumed is None:
            function, given = self._declare("start", f"{name}.start()"), ""
        else:
            scratch, given = self._slot(start.resumed)
            function = self._declare("resume", f"{name}.resume({scratch})")
        self.emitter.line(f"{self._results[number]} = {function}({given})")

    def pause(self, pause: TilePause) -> None:
        """The results laid aside."""
        number = pause.tile.number
        scratch, given = self._slot(pause.slot)
        function = self._declare("pause", f"{self._tiles[number]}.pause({scratch})")
        self.emitter.line(f"{function}({self._results[number]}, {given})")

    def _slot(self, slot: Slot) -> tuple[str, str]:
        """The name of a scratch, and the arguments that say where in it."""
        of = slot.scratch
        if of.number not in self._rooms:
            text = f"scratch(slots={of.slots}, vectors={of.vectors}, lanes={of.lanes}, real=real)"
            name = self._declare("scratch", text)
            make = self._declare("room", f"{name}.room()")
            self._rooms[of.number] = name, self.emitter.fresh("aside")
            self.emitter.first_line(f"{self._rooms[of.number][1]} = {make}()")
        name, room = self._rooms[of.number]
        return name, f"{room}, {self.emitter.cast(slot.at, 'int')}"

    def step(self, step: TileStep) -> None:
        """One step of the reduction."""
        number = step.tile.number
        more = "" if step.active is None else f", active=True, columns_go_on={step.active.columns_go_on}"
        operands = ", ".join(self._strides(o) for o in step.operands)
        body = self._lambda(step.body, len(step.operands), 0)
        function = self._declare("step", f"{self._tiles[number]}.step([{operands}], {body}{more})")
        given = [*(a for o in step.operands for a in self._arguments(o)), *self._table()]
        low, high = self._bounds(step.active)
        self.emitter.line(f"{function}({', '.join((self._results[number], low, high, *given))})")

    def store(self, store: TileStore) -> None:
        """The end."""
        number = store.tile.number
        operands = ", ".join(self._strides(o) for o in store.operands)
        count = len(store.operands) + 1
        values = ", ".join(self._lambda(v, count + n, 0) for n, v in enumerate(store.values))
        targets = ", ".join(f"({which}, {self._strides(to)})" for which, to in store.stores)
        more = "" if store.active is None else ", active=True"
        text = f"{self._tiles[number]}.store([{operands}], [{values}], [{targets}]{more})"
        function = self._declare("store", text)
        given = [a for o in (*store.operands, *(t for _, t in store.stores)) for a in self._arguments(o)]
        given += self._table()
        low, high = self._bounds(store.active)
        self.emitter.line(f"{function}({', '.join((self._results[number], low, high, *given))})")

    def _table(self) -> list[str]:
        """Where a tile that is checked reports a fault."""
        return ["addresses"] if self.emitter.check_bounds else []

    def _declare(self, stem: str, text: str) -> str:
        """The name of a declaration; equal ones are made once."""
        if text not in self._functions:
            self._functions[text] = self.emitter.fresh(stem)
            self.declarations.append(f"{self._functions[text]} = {text}")
        return self._functions[text]

    def _strides(self, operand: TileOperand) -> str:
        if isinstance(operand, LaneNumbers):
            return "numbers"
        if not isinstance(operand, TileLoad):
            return "scalar"
        text = f"at({operand.row}, {operand.column}, {operand.lane}"
        if operand.inside is not None:
            otherwise = literal(operand.otherwise)
            text += f", guarded=True, otherwise={otherwise}, columns_go_on={operand.inside.columns_go_on}"
        return f"{text})"

    def _arguments(self, operand: TileOperand) -> list[str]:
        if isinstance(operand, LaneNumbers):
            return []
        if not isinstance(operand, TileLoad):
            return [self.emitter.cast(operand, "float")]
        arguments = list(self.emitter.place(operand.buffer, operand.address))
        return [*arguments, *self._bounds(operand.inside)] if operand.inside is not None else arguments

    def _bounds(self, lanes: Lanes | None) -> tuple[str, str]:
        if lanes is None:
            return "0", "0"
        low = "0" if lanes.low is None else self.emitter.cast(lanes.low, "int")
        return low, self.emitter.cast(lanes.high, "int")

    def _lambda(self, body: Expr, count: int, first: int) -> str:
        names = [self._operand_name(n) for n in range(count)]
        return f"lambda {', '.join(names)}: {self._body(body)}"

    def _operand_name(self, number: int) -> str:
        return _NAMES[number] if number < len(_NAMES) else f"a{number}"

    def _body(self, e: Expr) -> str:
        match e:
            case TileValue(number):
                return self._operand_name(number)
            case Const(value):
                if type(value) is int:
                    return repr(value)
                return literal(float(value))
            case Call("powi", (base, Const(power))):
                return tile_text("powi", [self._body(base), repr(power)])
            case Call(function, args):
                return tile_text(function, [self._number(a) for a in args])
        raise CompilerBug("targets.cpu.emit_tile", f"a tile cannot hold {type(e).__name__}")

    def _number(self, e: Expr) -> str:
        return literal(float(e.value)) if type(e) is Const else self._body(e)
