"""What an expression of the language can be while a program is elaborated.

Compile-time values are Python's own: int, float, `Fraction`, bool, str, list, tuple, range, and `Dimension` for a symbolic
size. Beside them stand

    TensorValue   a tensor of the program being built
    Pending       a scalar expression over axes, not yet a tensor of its own: `a + b * c` is one definition, not two
    Indexed       a scalar expression over the indices of the definition that is being read (inside index notation)
    and the callables: functions, layers, nets, compositions.

`operations.py` does arithmetic on all of them by one rule: if any operand is `Indexed`, so is the result; else if any is a
tensor or pending, the result is pending, broadcast as NumPy does; else it is computed now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Span
from diffgraph.ir.dimension import Dimension, Floor, Size
from diffgraph.ir.expression import Expr
from diffgraph.ir.program import Tensor
from diffgraph.language import syntax


@dataclass(frozen=True)
class TensorValue:
    """A tensor of the program. `span` is where it was made, for messages about its shape."""

    tensor: Tensor
    span: Span | None = field(default=None, compare=False)

    @property
    def shape(self) -> tuple[Size, ...]:
        return self.tensor.shape

    @property
    def kind(self) -> str:
        return self.tensor.kind


@dataclass(frozen=True, eq=False)
class Pending:
    """A pointwise expression over axes 0 .. len(shape) that read tensors by slot: `operands[slot]`. Becomes a tensor when it
    is bound to a name, passed to a layer, reduced or read by index."""

    shape: tuple[Size, ...]
    kind: str
    body: Expr
    operands: tuple[Tensor, ...]
    bound: Size | None = None
    span: Span | None = None


@dataclass(frozen=True, eq=False)
class Indexed:
    """A scalar expression inside index notation; `expression` belongs to the open definition of `notation.py`."""

    expression: Any
    kind: str
    span: Span | None = None


@dataclass(frozen=True, eq=False)
class NetResult:
    """What a net applied inside another gives: its outputs by name. With one output it stands for that."""

    outputs: dict[str, Any]
    path: str = ""


@dataclass(frozen=True, eq=False)
class FunctionValue:
    """A `fn`, with arguments it has been given already (a partial application)."""

    declaration: syntax.Function
    scope: Any  # the scope it was declared in
    given: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.declaration.name


@dataclass(frozen=True, eq=False)
class BuiltinFunction:
    """A function of the core (`exp`, `concat`, `zeros`, ...)."""

    name: str
    given: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class LayerValue:
    """A `layer` (or `net`, or `optimizer`) with some or all of its settings."""

    declaration: syntax.Layer | syntax.Net
    scope: Any
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return self.declaration.name


@dataclass(frozen=True, eq=False)
class Composition:
    """`conv(64, 3) -> batchnorm -> relu`: stages with the scope their text is read in. Itself a layer."""

    stages: tuple[tuple[Any, syntax.InstanceName | None], ...]
    scope: Any
    span: Span | None = None


@dataclass(frozen=True, eq=False)
class SharedLayer:
    """`shared(layer)`: one set of parameters, made at its first use. Identity is the sharing."""

    layer: Any
    scope: Any = None


@dataclass(frozen=True, eq=False)
class FrozenLayer:
    """`frozen(layer)`: parameters and states that training leaves alone."""

    layer: Any


@dataclass(frozen=True)
class SizeRange:
    """`a..b` where a or b is a size that symbols leave open: what a `scan` can run over."""

    start: Size
    stop: Size
    step: int


@dataclass(frozen=True)
class Undecided:
    """A comparison of sizes that their symbols leave open: true where all of `conditions` hold, each (op, left, right)
    with op one of == != < <= > >=. An `assert` makes a requirement of it; an `if` on it is an error."""

    conditions: tuple[tuple[str, Size, Size], ...]

    def __str__(self) -> str:
        return " and ".join(_comparison_text(*c) for c in self.conditions)


def _comparison_text(op: str, a: Size, b: Size) -> str:
    """`H == 2 * (H // 2)` reads `H % 2 == 0`, and so does `H == 2 * ((H + 1) // 2)`."""
    if op in ("==", "!="):
        difference = a - b
        for one in (difference, -difference):
            if "%" in _size_text(one, whole=True):
                return f"{_size_text(one, whole=True)} {op} 0"
    return f"{_size_text(a)} {op} {_size_text(b)}"


def _size_text(size: Size, whole: bool = False) -> str:
    """As the polynomial, except that d - q * floor(d / q) reads `d % q`. whole: so does d - q * floor((d + r) / q) with
    0 <= r < q, which is 0 where that is."""
    for monomial, coefficient in size.terms if isinstance(size, Dimension) else ():
        for atom, power in monomial:
            if isinstance(atom, Floor) and power == len(monomial) == 1 and coefficient == -atom.divisor:
                divided = size + atom.divisor * Dimension(((monomial, Fraction(1)),))
                more = atom.dimension - divided
                if more == 0 or whole and isinstance(more, int) and 0 <= more < atom.divisor:
                    inside = str(divided)
                    return f"({inside}) % {atom.divisor}" if " " in inside else f"{inside} % {atom.divisor}"
    return str(size)


class Keywords(dict):
    """Arguments by name; `spans` tells where each name stands in the text."""

    def __init__(self, values=(), spans: dict[str, Span] | None = None):
        super().__init__(values)
        self.spans = {} if spans is None else spans


def place_of(name: str, keywords: dict, call: Span | None) -> Span | None:
    """Where the name of an argument stands, else the whole call."""
    return keywords.spans.get(name, call) if isinstance(keywords, Keywords) else call


CompileTime = int | float | Fraction | bool | str | list | tuple | range | Dimension
Value = CompileTime | TensorValue | Pending | Indexed | FunctionValue | BuiltinFunction | LayerValue | Composition | SharedLayer | FrozenLayer | Undecided
