"""The syntax tree of a `.net` file: frozen values, each with the span of its text.

`parser.parse` makes it, `formatter` prints it, `elaborate` gives it meaning.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.diagnostics import Source, Span


@dataclass(frozen=True, eq=False)
class Node:
    """A piece of a file. Compared by identity: the same text twice is two places."""

    span: Span


@dataclass(frozen=True, eq=False)
class Number(Node):
    """`3`, `0.5`, `1e-3`: an int where it is written as one. `true` and `false` are `Boolean`."""

    value: int | float


@dataclass(frozen=True, eq=False)
class Boolean(Node):
    value: bool


@dataclass(frozen=True, eq=False)
class String(Node):
    """A text with interpolations: `parts` are literal strings (escapes resolved) and expressions."""

    parts: tuple[str | Expr, ...]


@dataclass(frozen=True, eq=False)
class Name(Node):
    """A name, `pi` and `inf` included; also a reserved word that names something (`loss < 1`)."""

    name: str


@dataclass(frozen=True, eq=False)
class ListOf(Node):
    """`[a, b, c]`"""

    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class TupleOf(Node):
    """`(a, b)`: two or more."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Paren(Node):
    """`(inside)`. Kept, because a group of stages is named as one."""

    inside: Expr


@dataclass(frozen=True, eq=False)
class Guarded(Node):
    """`(read else otherwise)`: the value of a read, or what it reads outside."""

    read: Expr
    otherwise: Expr


@dataclass(frozen=True, eq=False)
class Unary(Node):
    """`-x` (op `-`) or `not x` (op `not`)."""

    op: str
    operand: Expr


@dataclass(frozen=True, eq=False)
class Binary(Node):
    """`left op right`; op is one of + - * / // % @ ^ == != < <= > >= ~= and or."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, eq=False)
class RangeOf(Node):
    """`start..stop` or `start..stop step step`"""

    start: Expr
    stop: Expr
    step: Expr | None


@dataclass(frozen=True, eq=False)
class Ternary(Node):
    """`then if condition else otherwise`"""

    then: Expr
    condition: Expr
    otherwise: Expr


@dataclass(frozen=True, eq=False)
class Argument(Node):
    """An argument of a call: `value`, or `name = value`."""

    name: str | None
    value: Expr


@dataclass(frozen=True, eq=False)
class CallOf(Node):
    """`function(arguments)`"""

    function: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """`start:stop` or `start:stop:step` inside brackets, each part optional."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None = None


@dataclass(frozen=True, eq=False)
class Ellipsis(Node):
    """`...` inside brackets."""


@dataclass(frozen=True, eq=False)
class Subscript(Node):
    """`value[subscripts]`; a subscript is an expression, a `Slice` or an `Ellipsis`."""

    value: Expr
    subscripts: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Attribute(Node):
    """`value.name`; the name may be a number (`down.0`)."""

    value: Expr
    name: str


@dataclass(frozen=True, eq=False)
class BoundIndex(Node):
    """A name that a definition or a reduction binds: `i`, `i < 4`, `...`, or on the left a fixed place `0`."""

    name: str
    bound: Expr | None


@dataclass(frozen=True, eq=False)
class Reduction(Node):
    """`sum[c, p < 3](body)`; op is one of sum prod max min mean argmax argmin any all."""

    op: str
    indices: tuple[BoundIndex, ...]
    body: Expr


@dataclass(frozen=True, eq=False)
class InstanceName(Node):
    """What stands after `as`: `layer{s + 1}[b]` has the parts `layer`, `s + 1`; each subscript adds a level to the path."""

    parts: tuple[str | Expr, ...]
    subscripts: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Stage(Node):
    """One stage of a pipe, or its head, with its name if it has one."""

    value: Expr
    name: InstanceName | None


@dataclass(frozen=True, eq=False)
class Pipe(Node):
    """`head -> stage -> stage`. Of one stage only where it is named: `(conv(64, 1) as 0)`."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True, eq=False)
class ScanCarry(Node):
    """`name = initial` after `from`."""

    name: str
    initial: Expr


@dataclass(frozen=True, eq=False)
class ScanOf(Node):
    """`scan index in range from carries checkpoint k { body }`"""

    index: str
    range: Expr
    carries: tuple[ScanCarry, ...]
    checkpoint: Expr | None
    body: Block


Expr = (
    Number | Boolean | String | Name | ListOf | TupleOf | Paren | Guarded | Unary | Binary | RangeOf | Ternary | CallOf
    | Slice | Ellipsis | Subscript | Attribute | Reduction | Pipe | ScanOf
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Block(Node):
    """`{ statements }`"""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, eq=False)
class Bind(Node):
    """`name = value`, or `a, b = value`."""

    names: tuple[str, ...]
    value: Expr


@dataclass(frozen=True, eq=False)
class Define(Node):
    """`name[indices] = value`: a tensor by its element."""

    name: str
    indices: tuple[BoundIndex, ...]
    value: Expr


@dataclass(frozen=True, eq=False)
class Draw(Node):
    """`name[shape] ~ distribution`; the shape is () for `name ~ distribution`."""

    name: str
    shape: tuple[Expr, ...]
    distribution: Expr


@dataclass(frozen=True, eq=False)
class Update(Node):
    """`name <- value`, or `name[indices] <- value` by element; `target` may be a path."""

    target: Expr
    indices: tuple[BoundIndex, ...] | None
    value: Expr


@dataclass(frozen=True, eq=False)
class Variable(Node):
    """`param name[shape] = value as path if condition`, or with `~ distribution`; role is `param` or `state`."""

    role: str
    name: str
    shape: tuple[Expr, ...]
    drawn: bool
    value: Expr
    called: InstanceName | None
    condition: Expr | None


@dataclass(frozen=True, eq=False)
class ElementType(Node):
    """`: int`, `: int < 10`, `: bool`, `: float`"""

    kind: str
    bound: Expr | None


@dataclass(frozen=True, eq=False)
class Port(Node):
    """`input name[shape]: type` or `target ...`; role is `input` or `target`."""

    role: str
    name: str
    shape: tuple[Expr, ...]
    type: ElementType | None


@dataclass(frozen=True, eq=False)
class Named(Node):
    """An output, loss or metric: `name = value`, or just `value` (name None)."""

    name: str | None
    value: Expr


@dataclass(frozen=True, eq=False)
class OutputOf(Node):
    """`output item, item`"""

    items: tuple[Named, ...]


@dataclass(frozen=True, eq=False)
class Loss(Node):
    """`loss value` or `loss value for path`"""

    item: Named
    scope: Expr | None


@dataclass(frozen=True, eq=False)
class Metric(Node):
    """`metric item`"""

    item: Named


@dataclass(frozen=True, eq=False)
class Return(Node):
    values: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Next(Node):
    """`next name = value` inside a scan"""

    name: str
    value: Expr


@dataclass(frozen=True, eq=False)
class YieldOf(Node):
    """`yield a, b` inside a scan"""

    values: tuple[Expr, ...]


@dataclass(frozen=True, eq=False)
class Assert(Node):
    condition: Expr
    message: Expr | None


@dataclass(frozen=True, eq=False)
class If(Node):
    """`if condition { then } else { otherwise }`; `else if` is an `If` alone in `otherwise`."""

    condition: Expr
    then: Block
    otherwise: Block | None


@dataclass(frozen=True, eq=False)
class For(Node):
    name: str
    values: Expr
    body: Block


Statement = (
    Bind | Define | Draw | Update | Variable | Port | OutputOf | Loss | Metric | Return | Next | YieldOf | Assert | If
    | For
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Setting(Node):
    """A setting of a layer, or a parameter of a function: `name`, or `name = default`."""

    name: str
    default: Expr | None


@dataclass(frozen=True, eq=False)
class TensorParameter(Node):
    """A tensor of a layer's second list: `x`, `x[N, ..., D]`, `mask = true`."""

    name: str
    shape: tuple[Expr, ...] | None
    default: Expr | None


@dataclass(frozen=True, eq=False)
class GradientRule(Node):
    """`with gradient(dy) = value`, or a block that returns it."""

    cotangent: str
    body: Block


@dataclass(frozen=True, eq=False)
class Function(Node):
    """`fn name(parameters) = value` (a block of one `Return`) or `fn name(parameters) { ... }`."""

    name: str
    parameters: tuple[Setting, ...]
    body: Block
    gradient: GradientRule | None
    doc: str


@dataclass(frozen=True, eq=False)
class Layer(Node):
    """`layer name(settings)(tensors) { ... }`; kind `optimizer` for an optimizer, whose tensors are weight and gradient."""

    kind: str
    name: str
    settings: tuple[Setting, ...]
    tensors: tuple[TensorParameter, ...]
    body: Block
    doc: str


@dataclass(frozen=True, eq=False)
class Net(Node):
    name: str
    settings: tuple[Setting, ...]
    body: Block
    doc: str


@dataclass(frozen=True, eq=False)
class NetAlias(Node):
    """`net resnet50 = resnet(bottleneck, [3, 4, 6, 3])`"""

    name: str
    value: Expr
    doc: str


@dataclass(frozen=True, eq=False)
class Field(Node):
    """A field of a train block: `name value`, with `for "paths"` where it has one."""

    name: str
    value: Expr
    scope: Expr | None


@dataclass(frozen=True, eq=False)
class Train(Node):
    """`train net(settings) as name { fields }`"""

    net: str
    arguments: tuple[Argument, ...]
    name: str | None
    fields: tuple[Field, ...]


@dataclass(frozen=True, eq=False)
class Claim(Node):
    """A claim of an expect block: kind `holds` (`value within tolerance`), `gradients` (`ok`), or `trains` (`to value`)."""

    kind: str
    value: Expr | None
    within: Expr | None


@dataclass(frozen=True, eq=False)
class Expect(Node):
    """`expect net(settings) { claims }`"""

    net: str
    arguments: tuple[Argument, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True, eq=False)
class Import(Node):
    """`import "file" as name`; without `as` the name is the file's stem."""

    path: str
    name: str


@dataclass(frozen=True, eq=False)
class FromImport(Node):
    """`from "file" import a, b`"""

    path: str
    names: tuple[str, ...]


Declaration = Function | Layer | Net | NetAlias | Train | Expect | Import | FromImport | Bind


@dataclass(frozen=True, eq=False)
class File(Node):
    """A whole file. `doc` of a declaration is the comment lines directly above it, without their `#`."""

    source: Source
    declarations: tuple[Declaration, ...]
