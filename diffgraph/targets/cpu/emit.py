"""Kernel IR -> the text of a Numba function.

Every value is computed in the outermost loop in which all of its indices are known; what is needed once, where it stands,
is written in place. The text holds names of the model (made identifiers) and comments, nothing else that a model says.
"""

from __future__ import annotations

import keyword
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir import scalar
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index
from diffgraph.kernels.loops import (
    Address,
    Best,
    Inside,
    Kernel,
    Let,
    Load,
    Local,
    Loop,
    Prefetch,
    Statement,
    Store,
    TilePause,
    TileStart,
    TileStep,
    TileStore,
    Update,
    When,
)
from diffgraph.targets.cpu.emit_tile import TileWriter
from diffgraph.targets.cpu.words import NAMES, literal, text_of

#: What `local op= value` and `memory op= value` are, by op and whether the values are floats.
JOIN = {
    ("sum", True): "{0} + {1}",
    ("sum", False): "{0} + {1}",
    ("prod", True): "{0} * {1}",
    ("prod", False): "{0} * {1}",
    ("max", True): "maximum({0}, {1})",
    ("min", True): "minimum({0}, {1})",
    ("max", False): "max({0}, {1})",
    ("min", False): "min({0}, {1})",
    ("any", False): "{0} | {1}",
    ("all", False): "{0} & {1}",
}

_LETTERS = "ijklmnpqrst"


@dataclass(frozen=True)
class Text:
    """The source of a kernel: a module with a function `kernel`. sizes: what its table of sizes holds."""

    source: str
    sizes: tuple[Size, ...]


def emit(kernel: Kernel, precision: str, check_bounds: bool = False) -> Text:
    """The text of a kernel."""
    return _Emitter(kernel, precision, check_bounds).text()


@dataclass
class _Scope:
    """A block that is being written: its lines, and the names of what was computed in it."""

    axis: int | None
    lines: list[str] = field(default_factory=list)
    names: dict[object, str] = field(default_factory=dict)


class _Emitter:
    def __init__(self, kernel: Kernel, precision: str, check_bounds: bool):
        self.kernel = kernel
        self.precision = precision
        self.check_bounds = check_bounds
        self.scopes = [_Scope(None)]
        self.taken = set(keyword.kwlist) | NAMES | {"kernel", "addresses", "slots", "sizes", "first", "last", "thread", "unit"}
        self.sizes: dict[Size, str] = {}
        self.constants: dict[str, str] = {}
        self.depth: dict[object, int] = {}
        self.axes: dict[int, str] = {}
        self.locals: dict[int, str] = {}
        self.uses = _count_uses(kernel.body)
        self.buffers = [self._name(b.name) for b in kernel.buffers]
        self.tiles = TileWriter(self)
        self._temporaries = 0
        self._levels: dict[Expr, int] = {}

    # ------------------------------------------------------------------------------------------------- the module

    def text(self) -> Text:
        """The whole module."""
        units = self.kernel.units
        if len(units) < 2:
            variable = self._axis(units[0].axis) if units else "_"
            self._block(f"for {variable} in range(first, last):", units[0].axis if units else None, self.kernel.body)
        else:
            self._open(None)
            self._unpack_units()
            self._statements(self.kernel.body)
            self._close("for unit in range(first, last):")
        lines = [*self._header(), *self._declarations(), *self._function()]
        return Text("\n".join(lines) + "\n", tuple(self.sizes))

    def _unpack_units(self) -> None:
        """unit -> the indices of its axes, row-major."""
        rest, scope = "unit", self.scopes[-1]
        for unit in reversed(self.kernel.units[1:]):
            name, extent = self._axis(unit.axis), self._size(unit.extent)
            following = self._fresh("unit")
            scope.lines.append(f"{following} = quotient({rest}, {extent})")
            scope.lines.append(f"{name} = {rest} - {following} * {extent}")
            self.depth[unit.axis] = len(self.scopes) - 1
            rest = following
        outer = self.kernel.units[0].axis
        scope.lines.append(f"{self._axis(outer)} = {rest}")
        self.depth[outer] = len(self.scopes) - 1

    def _header(self) -> list[str]:
        made = [b for b in self.kernel.buffers if b.written]
        lines = [f'"""{_one_line(self.kernel.name)}: makes {_one_line(", ".join(b.name for b in made))}']
        for origin in self.kernel.provenance:
            lines.append(
                f"    {_one_line(str(origin.path or '(net)'))} ({origin.phase}) {_one_line(str(origin.span or ''))}".rstrip()
            )
        return [*lines, '"""', ""]

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
            lines.append(f"    {name} = sizes[{number}]  # {_one_line(str(size))}")
        return [*lines, *(f"    {line}" for line in self.scopes[0].lines)]

    # ------------------------------------------------------------------------------------------------- statements

    def _open(self, axis: int | None) -> None:
        self.scopes.append(_Scope(axis))
        if axis is not None:
            self.depth[axis] = len(self.scopes) - 1

    def _close(self, head: str) -> None:
        inner = self.scopes.pop()
        self.scopes[-1].lines += [head, *(f"    {line}" for line in inner.lines)]

    def _block(self, head: str, axis: int | None, body: tuple[Statement, ...]) -> None:
        self._open(axis)
        self._statements(body)
        self._close(head)

    def _statements(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        lines = self.scopes[-1].lines
        match statement:
            case Loop(axis, _, body, comment):
                tail = f"  # {_one_line(comment)}" if comment else ""
                self._block(f"for {self._axis(axis)} in range({self._range(statement)}):{tail}", axis, body)
            case Let(local, value):
                name = self._local(local)
                lines.append(f"{name} = {self._cast(value, local.kind)}")
            case Update(local, op, value):
                name = self._local(local)
                joined = JOIN[op, local.kind == "float"].format(name, self._cast(value, local.kind))
                lines.append(f"{name} = {joined}")
            case Best():
                self._best(statement)
            case Store():
                self._store(statement)
            case TileStart():
                self.tiles.start(statement)
            case TilePause():
                self.tiles.pause(statement)
            case Prefetch(buffer, place):
                lines.append(f"prefetch({self.buffers[buffer]}, {self._flat(place)})")
            case TileStep():
                self.tiles.step(statement)
            case TileStore():
                self.tiles.store(statement)
            case When(condition, inner):
                self._block(f"if {self._cast(condition, 'bool')}:", None, inner)

    def _range(self, loop: Loop) -> str:
        extent = self._size(loop.extent)
        if loop.start is None:
            return extent
        start = self._cast(loop.start, "int")
        return f"{start}, min({start} + {extent}, {self._size(loop.end)})"

    def _best(self, s: Best) -> None:
        best, rank = self._local(s.local), self._local(s.rank)
        value = self._fresh("candidate")
        sign = ">" if s.op == "argmax" else "<"
        self.scopes[-1].lines.append(f"{value} = {self._cast(s.value, s.local.kind)}")
        nan = f" or ({value} != {value} and {best} == {best})" if s.local.kind == "float" else ""
        at = self._value(s.at)
        self.scopes[-1].lines += [f"if {value} {sign} {best}{nan}:", f"    {best} = {value}", f"    {rank} = {at}"]

    def _store(self, s: Store) -> None:
        kind = self.kernel.buffers[s.buffer].kind
        value = self._cast(s.value, kind)
        element = f"{self.buffers[s.buffer]}[{self._address(s.address, s.buffer)}]"
        if s.op is not None:
            value = JOIN[s.op, kind == "float"].format(element, value)
        line = f"{element} = {value}"
        if not s.conditions:
            self.scopes[-1].lines.append(line)
            return
        conditions = " and ".join(self._inside(c) for c in s.conditions)
        self.scopes[-1].lines += [f"if {conditions}:", f"    {line}"]

    # ------------------------------------------------------------------------------------------------- for tiles

    def line(self, text: str) -> None:
        """Adds a line at this place."""
        self.scopes[-1].lines.append(text)

    def first_line(self, text: str) -> None:
        """Adds a line before all loops."""
        self.scopes[0].lines.append(text)

    def fresh(self, stem: str) -> str:
        """A name that is not taken."""
        return self._fresh(stem)

    def cast(self, e: Expr, kind: str) -> str:
        """Text of a value, as one of a kind."""
        return self._cast(e, kind)

    def place(self, buffer: int, address: Address) -> tuple[str, ...]:
        """Text of a buffer and of an address in it; where bounds are checked, also of its size and its number."""
        if not self.check_bounds:
            return self.buffers[buffer], self._flat(address)
        return self.buffers[buffer], self._flat(address), self._size(self.kernel.buffers[buffer].size), f"{buffer + 1}"

    def number(self, value: float) -> str:
        """Text of a float."""
        return literal(value)

    # ------------------------------------------------------------------------------------------------- values

    def _level(self, e: Expr) -> int:
        """The scope in which a value can first be computed."""
        found = self._levels.get(e)
        if found is None:
            match e:
                case Index(axis):
                    return self.depth[axis]
                case Local(number):
                    return self.depth["local", number]
            found = max((self._level(c) for c in e.children), default=0)
            self._levels[e] = found
        return min(found, len(self.scopes) - 1)

    def _value(self, e: Expr) -> str:
        """Text of a value at this place: a name, a literal, or an expression in parentheses."""
        match e:
            case Const(value):
                return self._constant(value)
            case Extent(size):
                return self._size(size)
            case Index(axis):
                return self.axes[axis]
            case Local(number):
                return self.locals[number]
        level = self._level(e)
        for scope in self.scopes[: level + 1][::-1]:
            if e in scope.names:
                return scope.names[e]
        return self._compute(e, level)

    def _compute(self, e: Expr, level: int) -> str:
        inner, self.scopes = self.scopes, self.scopes[: level + 1]
        text = self._expression(e)
        self.scopes = inner
        if level == len(inner) - 1 and self.uses[e] < 2 and not (type(e) is Load and e.conditions):
            return text
        name = self._fresh("v")
        scope = inner[level]
        scope.lines.append(f"{name} = {text}")
        scope.names[e] = name
        return name

    def _expression(self, e: Expr) -> str:
        match e:
            case Affine(constant, terms):
                return f"({self._sum(constant, terms)})"
            case Load():
                return self._load(e)
            case Call():
                return self._call(e)
        raise CompilerBug("targets.cpu.emit", f"a kernel cannot hold {type(e).__name__}")

    def _call(self, e: Call) -> str:
        row = scalar.FUNCTIONS[e.function]
        kinds = [self._kind(a) for a in e.args]
        wanted = scalar.argument_kinds(e.function, kinds)
        args = [self._cast(a, kind) for a, kind in zip(e.args, wanted)]
        words = text_of(e.function, row.cpu, self.precision if "float" in wanted else None)
        kind = scalar.result_kind(e.function, kinds)
        type_name = {"float": "real", "int": "int64", "bool": "boolean"}[kind]
        if row.arity is not None:
            return words.format(*args, type=type_name)
        total = args[0]
        for argument in args[1:]:
            total = words.format(total, argument, type=type_name)
        return total

    def _load(self, e: Load) -> str:
        element = f"{self.buffers[e.buffer]}[{self._address(e.address, e.buffer)}]"
        if not e.conditions:
            return element
        conditions = " and ".join(self._inside(c) for c in e.conditions)
        otherwise = self._cast(e.otherwise, self.kernel.buffers[e.buffer].kind)
        return f"{element} if {conditions} else {otherwise}"

    def _inside(self, c: Inside) -> str:
        return f"0 <= {self._value(c.place)} < {self._size(c.extent)}"

    def _address(self, a: Address, buffer: int) -> str:
        text = self._flat(a)
        if self.check_bounds:
            size = self._size(self.kernel.buffers[buffer].size)
            return f"checked(addresses, {text}, {size}, {buffer + 1})"
        return text

    def _flat(self, a: Address) -> str:
        """The sum, what varies in outer loops first: it is computed there, once."""
        by_level: dict[int, list] = {}
        for atom, factor in a.terms:
            by_level.setdefault(self._level(atom), []).append((atom, factor))
        here = len(self.scopes) - 1
        base: str | None = None
        known: list = []
        for level in sorted(by_level):
            terms = by_level[level]
            known += [(t.digest, str(f)) for t, f in terms]
            text = self._sum(0, terms, level)
            text = text if base is None else f"{base} + {text}"
            base = text if level >= here else self._base(("base", *known), text, level)
        if a.constant == 0:
            return base or "0"
        constant = self._size(a.constant)
        return f"{base} + {constant}" if base else constant

    def _base(self, key, text: str, level: int) -> str:
        """A part of an address with a name of its own, in the scope it belongs to."""
        if text.isidentifier() or text.isdigit():
            return text
        scope = self.scopes[level]
        name = scope.names.get(key)
        if name is None:
            name = scope.names[key] = self._fresh("at")
            scope.lines.append(f"{name} = {text}")
        return name

    def _sum(self, constant: Size, terms, level: int | None = None) -> str:
        pieces = []
        for atom, factor in terms:
            text = self._int(atom, level)
            pieces.append(text if factor == 1 else f"{text} * {self._size(factor)}")
        if constant != 0 or not pieces:
            pieces.append(self._size(constant))
        return " + ".join(pieces)

    def _int(self, atom: Expr, level: int | None) -> str:
        if level is None or level == len(self.scopes) - 1:
            return self._cast(atom, "int")
        inner, self.scopes = self.scopes, self.scopes[: level + 1]
        text = self._cast(atom, "int")
        self.scopes = inner
        return text

    def _kind(self, e: Expr) -> str:
        match e:
            case Load(buffer):
                return self.kernel.buffers[buffer].kind
            case Local(_, kind):
                return kind
            case Call(function, args):
                return scalar.result_kind(function, [self._kind(a) for a in args])
        return scalar.kind_of(e, ())

    def _cast(self, e: Expr, kind: str) -> str:
        """Text of a value as a value of a kind."""
        own = self._kind(e)
        if type(e) is Const and own != "bool" and kind == "float":
            return self._constant(float(e.value))
        text = self._value(e)
        if own == kind:
            return text
        if kind == "bool":
            return f"({text} != 0)"
        return f"real({text})" if kind == "float" else f"int64({text})"

    # ------------------------------------------------------------------------------------------------- names

    def _constant(self, value) -> str:
        if isinstance(value, bool):
            return repr(value)
        if isinstance(value, int):
            return f"int64({value})" if abs(value) > 2**31 else repr(value)
        value = float(value) if isinstance(value, Fraction) else value
        key = f"np.{'float32' if self.precision == 'f32' else 'float64'}({literal(value)})"
        if key not in self.constants:
            self.constants[key] = self._fresh("c")
        return self.constants[key]

    def _size(self, size: Size) -> str:
        if isinstance(size, int):
            return f"({size})" if size < 0 else str(size)
        if size not in self.sizes:
            self.sizes[size] = self._name(str(size) if str(size).isidentifier() else "size")
        return self.sizes[size]

    def _axis(self, axis: int) -> str:
        if axis not in self.axes:
            letter = _LETTERS[axis] if axis < len(_LETTERS) else "i"
            self.axes[axis] = self._name(letter)
        return self.axes[axis]

    def _local(self, local: Local) -> str:
        if local.number not in self.locals:
            self.locals[local.number] = self._fresh("value")
            self.depth["local", local.number] = len(self.scopes) - 1
        return self.locals[local.number]

    def _fresh(self, stem: str) -> str:
        self._temporaries += 1
        return self._name(f"{stem}{self._temporaries}")

    def _name(self, wanted: str) -> str:
        """An identifier that is not taken: letters, digits and `_` of ASCII only."""
        name = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in wanted)
        if not name or name[0].isdigit() or name.startswith("_"):
            name = f"t{name}"
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def _one_line(text: str) -> str:
    """Text that can stand in a comment or a docstring."""
    return "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)[:200]


def _count_uses(body: tuple[Statement, ...]) -> Counter:
    """How often each expression occurs: the number of expressions and statements that hold it."""
    uses: Counter = Counter()
    seen: set[Expr] = set()

    def expression(e: Expr) -> None:
        uses[e] += 1
        if e not in seen:
            seen.add(e)
            for child in e.children:
                expression(child)

    def walk(value) -> None:
        if isinstance(value, Expr):
            expression(value)
        elif isinstance(value, tuple):
            for item in value:
                walk(item)
        elif hasattr(value, "__dataclass_fields__"):
            for name in value.__dataclass_fields__:
                walk(getattr(value, name))

    walk(body)
    return uses
