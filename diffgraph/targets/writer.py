"""Kernel IR -> lines of Python, as every target writes them: statements, values, addresses, names.

A target derives its emitter from `Writer` and says what differs: the words for scalar functions, how an element of memory is
read and written, what kinds its ints have, and everything around the body of a kernel.

Every value is computed in the outermost loop in which all of its indices are known; what is needed once, where it stands, is
written in place. The text holds names of the model (made identifiers) and comments, nothing else that a model says.
"""

from __future__ import annotations

import keyword
from abc import ABC, abstractmethod
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
    Statement,
    Store,
    Update,
    When,
)

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


@dataclass
class _Scope:
    """A block that is being written: its lines, and the names of what was computed in it."""

    axis: int | None
    lines: list[str] = field(default_factory=list)
    names: dict[object, str] = field(default_factory=dict)


class Writer(ABC):
    """The lines of one kernel. taken: names that the text around it uses."""

    def __init__(self, kernel: Kernel, precision: str, taken: frozenset[str]):
        self.kernel = kernel
        self.precision = precision
        self.scopes = [_Scope(None)]
        self.taken = set(keyword.kwlist) | taken
        self.sizes: dict[Size, str] = {}
        self.constants: dict[str, str] = {}
        self.depth: dict[object, int] = {}
        self.axes: dict[int, str] = {}
        self.locals: dict[int, str] = {}
        self.uses = _count_uses(kernel.body)
        self.buffers = [self._name(b.name) for b in kernel.buffers]
        self._temporaries = 0
        self._levels: dict[Expr, int] = {}
        self._scopes_of_stores: dict[int, list[_Scope]] = {}

    @abstractmethod
    def words(self, function: str, of_floats: bool) -> str:
        """The words for a scalar function, of floats or of ints and bools, with places for its arguments."""

    def title(self) -> list[str]:
        """What the kernel is and where it comes from, line by line."""
        made = [b.name for b in self.kernel.buffers if b.written]
        lines = [f"{one_line(self.kernel.name)}: makes {one_line(', '.join(made))}"]
        for origin in self.kernel.provenance:
            path, span = one_line(str(origin.path or "(net)")), one_line(str(origin.span or ""))
            lines.append(f"{path} ({origin.phase}) {span}".rstrip())
        return lines

    # ------------------------------------------------------------------------------------------------- statements

    def open(self, axis: int | None) -> None:
        self.scopes.append(_Scope(axis))
        if axis is not None:
            self.depth[axis] = len(self.scopes) - 1

    def close(self, head: str) -> None:
        inner = self.scopes.pop()
        self.scopes[-1].lines += [head, *(f"    {line}" for line in inner.lines)]

    def block(self, head: str, axis: int | None, body: tuple[Statement, ...]) -> None:
        self.open(axis)
        self.statements(body)
        self.close(head)

    def statements(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        lines = self.scopes[-1].lines
        match statement:
            case Loop(axis, _, body, comment):
                tail = f"  # {one_line(comment)}" if comment else ""
                self.block(f"for {self.axis(axis)} in range({self._range(statement)}):{tail}", axis, body)
            case Let(local, value):
                name = self.local(local)
                lines.append(f"{name} = {self.cast(value, local.kind)}")
            case Update(local, op, value):
                name = self.local(local)
                joined = JOIN[op, local.kind == "float"].format(name, self.cast(value, local.kind))
                lines.append(f"{name} = {joined}")
            case Best():
                self._best(statement)
            case Store():
                self._store(statement)
                self.note_store(statement.buffer)
            case When(condition, inner):
                self.block(f"if {self.cast(condition, 'bool')}:", None, inner)
            case _:
                raise CompilerBug("targets.writer", f"no target-independent text for {type(statement).__name__}")

    def _range(self, loop: Loop) -> str:
        extent = self.size(loop.extent)
        if loop.start is None:
            return extent
        start = self.cast(loop.start, "int")
        return f"{start}, min({start} + {extent}, {self.size(loop.end)})"

    def _best(self, s: Best) -> None:
        best, rank = self.local(s.local), self.local(s.rank)
        value = self.fresh("candidate")
        sign = ">" if s.op == "argmax" else "<"
        self.scopes[-1].lines.append(f"{value} = {self.cast(s.value, s.local.kind)}")
        nan = f" or ({value} != {value} and {best} == {best})" if s.local.kind == "float" else ""
        at = self.value(s.at)
        self.scopes[-1].lines += [f"if {value} {sign} {best}{nan}:", f"    {best} = {value}", f"    {rank} = {at}"]

    def _store(self, s: Store) -> None:
        kind = self.kernel.buffers[s.buffer].kind
        value = self.cast(s.value, kind)
        element = f"{self.buffers[s.buffer]}[{self._address(s.address, s.buffer)}]"
        if s.op is not None:
            value = JOIN[s.op, kind == "float"].format(element, value)
        line = f"{element} = {value}"
        if not s.conditions:
            self.scopes[-1].lines.append(line)
            return
        conditions = " and ".join(self.inside(c) for c in s.conditions)
        self.scopes[-1].lines += [f"if {conditions}:", f"    {line}"]

    def line(self, text: str) -> None:
        """Adds a line at this place."""
        self.scopes[-1].lines.append(text)

    def first_line(self, text: str) -> None:
        """Adds a line before all loops."""
        self.scopes[0].lines.append(text)

    def place(self, buffer: int, address: Address) -> tuple[str, ...]:
        """Text of a buffer and of an address in it."""
        return self.buffers[buffer], self._flat(address)

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
            if type(e) is Load and e.buffer in self._scopes_of_stores:
                found = max(found, self._level_after(self._scopes_of_stores[e.buffer]))
            self._levels[e] = found
        return min(found, len(self.scopes) - 1)

    def note_store(self, buffer: int) -> None:
        """Says that a buffer is written in this scope: what is read of it from now on is not computed before."""
        self._scopes_of_stores[buffer] = list(self.scopes)
        self._levels.clear()

    def _level_after(self, scopes: list[_Scope]) -> int:
        """The outermost scope whose next line comes after a statement in some scopes."""
        common = 0
        while common + 1 < min(len(scopes), len(self.scopes)) and scopes[common + 1] is self.scopes[common + 1]:
            common += 1
        return common

    def value(self, e: Expr) -> str:
        """Text of a value at this place: a name, a literal, or an expression in parentheses."""
        match e:
            case Const(value):
                return self._constant(value)
            case Extent(size):
                return self.size(size)
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
        name = self.fresh("v")
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
        raise CompilerBug("targets.writer", f"a kernel cannot hold {type(e).__name__}")

    def _call(self, e: Call) -> str:
        row = scalar.FUNCTIONS[e.function]
        kinds = [self.kind(a) for a in e.args]
        wanted = scalar.argument_kinds(e.function, kinds)
        args = [self.cast(a, kind) for a, kind in zip(e.args, wanted)]
        words = self.words(e.function, "float" in wanted)
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
        conditions = " and ".join(self.inside(c) for c in e.conditions)
        otherwise = self.cast(e.otherwise, self.kernel.buffers[e.buffer].kind)
        return f"{element} if {conditions} else {otherwise}"

    def inside(self, c: Inside) -> str:
        return f"0 <= {self.value(c.place)} < {self.size(c.extent)}"

    def _address(self, a: Address, buffer: int) -> str:
        """Text of an address in a buffer, as an index."""
        return self._flat(a)

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
        constant = self.size(a.constant)
        return f"{base} + {constant}" if base else constant

    def _base(self, key, text: str, level: int) -> str:
        """A part of an address with a name of its own, in the scope it belongs to."""
        if text.isidentifier() or text.isdigit():
            return text
        scope = self.scopes[level]
        name = scope.names.get(key)
        if name is None:
            name = scope.names[key] = self.fresh("at")
            scope.lines.append(f"{name} = {text}")
        return name

    def _sum(self, constant: Size, terms, level: int | None = None) -> str:
        pieces = []
        for atom, factor in terms:
            text = self._int(atom, level)
            pieces.append(text if factor == 1 else f"{text} * {self.size(factor)}")
        if constant != 0 or not pieces:
            pieces.append(self.size(constant))
        return " + ".join(pieces)

    def _int(self, atom: Expr, level: int | None) -> str:
        if level is None or level == len(self.scopes) - 1:
            return self.cast(atom, "int")
        inner, self.scopes = self.scopes, self.scopes[: level + 1]
        text = self.cast(atom, "int")
        self.scopes = inner
        return text

    def kind(self, e: Expr) -> str:
        match e:
            case Load(buffer):
                return self.kernel.buffers[buffer].kind
            case Local(_, kind):
                return kind
            case Call(function, args):
                return scalar.result_kind(function, [self.kind(a) for a in args])
        return scalar.kind_of(e, ())

    def cast(self, e: Expr, kind: str) -> str:
        """Text of a value as a value of a kind."""
        own = self.kind(e)
        if type(e) is Const and own != "bool" and kind == "float":
            return self._constant(float(e.value))
        text = self.value(e)
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
            self.constants[key] = self.fresh("c")
        return self.constants[key]

    def size(self, size: Size) -> str:
        if isinstance(size, int):
            return f"({size})" if size < 0 else str(size)
        if size not in self.sizes:
            self.sizes[size] = self._name(str(size) if str(size).isidentifier() else "size")
        return self.sizes[size]

    def axis(self, axis: int) -> str:
        if axis not in self.axes:
            letter = _LETTERS[axis] if axis < len(_LETTERS) else "i"
            self.axes[axis] = self._name(letter)
        return self.axes[axis]

    def local(self, local: Local) -> str:
        if local.number not in self.locals:
            self.locals[local.number] = self.fresh("value")
            self.depth["local", local.number] = len(self.scopes) - 1
        return self.locals[local.number]

    def fresh(self, stem: str) -> str:
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


def one_line(text: str) -> str:
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


def literal(value: float) -> str:
    """A float as text."""
    if value != value:
        return "np.nan"
    if value in (float("inf"), float("-inf")):
        return "np.inf" if value > 0 else "-np.inf"
    return repr(value)
