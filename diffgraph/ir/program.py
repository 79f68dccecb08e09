"""Programs: tensors in single assignment, each defined once by a statement. Frozen; a pass makes a new one.

    Program(inputs, statements in order, outputs, commits, checks)
    Statement = Definition  the sum of its terms (gradient accumulation, concatenation, phases are all sums)
              | Reshape     the same elements in row-major order under another shape: a view
              | Argsort     the order that sorts the last axis (sort and top_k are gathers by it)
              | Scan        a loop that runs, with state carried from step to step

Tensors are known by name, a legal `.net` identifier that is unique in its program. `Builder` makes programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from diffgraph.diagnostics import Span
from diffgraph.ir.dimension import Size
from diffgraph.ir.form import Form, Operand


@dataclass(frozen=True)
class Origin:
    """Where something comes from: the path of the layer (`layer2.0.conv1`), its text, and the phase."""

    path: str = ""
    span: Span | None = None
    phase: str = "forward"  # forward | backward | update | metric


Provenance = tuple[Origin, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor: name, shape, kind, and for ints with 0 <= value < bound that bound."""

    name: str
    shape: tuple[Size, ...]
    kind: str = "float"
    bound: Size | None = None

    @property
    def operand(self) -> Operand:
        return Operand(self.shape, self.kind, self.bound)


@dataclass(frozen=True, eq=False)
class Table:
    """The elements of a constant tensor, compared by content."""

    array: np.ndarray

    @cached_property
    def digest(self) -> str:
        from hashlib import blake2b

        head = f"{self.array.dtype.str}{self.array.shape}".encode()
        return blake2b(head + np.ascontiguousarray(self.array).tobytes(), digest_size=12).hexdigest()

    def __eq__(self, other) -> bool:
        return isinstance(other, Table) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Input:
    """A tensor that the program is given.

    role: `input`, `target`, `parameter`, `state` (of layers and of optimizers), `run` (the rank-0 scalars `seed`, `step`,
    `total_steps`, and whatever else the runner sets), `constant` (a table known when compiling, in `table`), `prepared`
    (what another program has made of parameters and states), `free` (inside a body: set by the statement that owns it). `path` is the name the user knows: `layer2.0.conv1.weight`.
    """

    tensor: Tensor
    role: str
    path: str = ""
    table: Table | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Term:
    """A form joined to the tensors in its slots."""

    form: Form
    operands: tuple[str, ...]
    provenance: Provenance = field(default=(), compare=False)


@dataclass(frozen=True)
class OwnGradient:
    """A derivative that the user wrote: given the cotangent of a tensor, those of the tensors it was made from.

    Inside `body`, the input named `cotangent` is the cotangent of the definition; every other free input has the name of
    a tensor of the enclosing program. `gradients` pairs each tensor of the enclosing program that gets a gradient with the
    tensor of the body that is its cotangent. The terms of the definition are not differentiated.
    """

    cotangent: str
    body: Program
    gradients: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Definition:
    """tensor = the sum of its terms. Terms have the tensor's shape. Non-float tensors have exactly one term."""

    tensor: Tensor
    terms: tuple[Term, ...]
    gradient: OwnGradient | None = None

    @property
    def results(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def operands(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(o for t in self.terms for o in t.operands))

    @property
    def provenance(self) -> Provenance:
        return tuple(dict.fromkeys(o for t in self.terms for o in t.provenance))


@dataclass(frozen=True)
class Reshape:
    """tensor = the elements of the operand, row-major, under the tensor's shape."""

    tensor: Tensor
    operand: str
    provenance: Provenance = field(default=(), compare=False)

    @property
    def results(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Argsort:
    """tensor[..., i] = the place on the last axis of the operand's i-th smallest element (largest if descending).
    Stable; NaN counts as larger than everything. An int tensor, without derivative."""

    tensor: Tensor
    operand: str
    descending: bool = False
    provenance: Provenance = field(default=(), compare=False)

    @property
    def results(self) -> tuple[Tensor, ...]:
        return (self.tensor,)

    @property
    def operands(self) -> tuple[str, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Carry:
    """State of a scan. `inner` is a free input of the body: the value at the start of a step; `next` is the body's tensor
    that replaces it at the end of the step; `initial` is a tensor of the enclosing program; `final` is the result."""

    inner: str
    initial: str
    next: str
    final: Tensor


@dataclass(frozen=True)
class Yield:
    """`inner`, a tensor of the body, stacked over the steps along a new first axis: `stacked`. Row t belongs to step t
    also when the scan runs in reverse."""

    inner: str
    stacked: Tensor


@dataclass(frozen=True)
class Scan:
    """for t in 0 .. length (downwards if reverse): run the body.

    Free inputs of the body: `index` (rank-0 int, the step t; may be ""), the carries' `inner`, `sequences` ((inner,
    outer), ...): the t-th row of an outer tensor; `constants` ((inner, outer), ...): an outer tensor, the same in every
    step. `checkpoint` k: for the derivative, store every k-th carry and recompute between.
    """

    length: Size
    index: str
    carries: tuple[Carry, ...]
    sequences: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, str], ...]
    yields: tuple[Yield, ...]
    body: Program
    reverse: bool = False
    checkpoint: int | None = None
    provenance: Provenance = field(default=(), compare=False)

    @property
    def results(self) -> tuple[Tensor, ...]:
        return (*(c.final for c in self.carries), *(y.stacked for y in self.yields))

    @property
    def operands(self) -> tuple[str, ...]:
        initial = (c.initial for c in self.carries)
        outer = (o for _, o in (*self.sequences, *self.constants))
        return tuple(dict.fromkeys((*initial, *outer)))


Statement = Definition | Reshape | Argsort | Scan


@dataclass(frozen=True)
class Output:
    """A result by the name the user knows (`probability`, `loss`, `gradient of conv1.weight`)."""

    name: str
    tensor: str


@dataclass(frozen=True)
class Commit:
    """At the end of the step the input `state` (a parameter or a state) becomes the value of `tensor`."""

    state: str
    tensor: str


@dataclass(frozen=True)
class Check:
    """An `assert` on values: the bool tensor of rank 0 must be true when the program has run."""

    tensor: str
    message: str
    span: Span | None = None


@dataclass(frozen=True)
class Program:
    """Definitions in single assignment order: a statement reads inputs and results of earlier statements only."""

    inputs: tuple[Input, ...] = ()
    statements: tuple[Statement, ...] = ()
    outputs: tuple[Output, ...] = ()
    commits: tuple[Commit, ...] = ()
    checks: tuple[Check, ...] = ()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name, inputs first."""
        found = {i.tensor.name: i.tensor for i in self.inputs}
        for statement in self.statements:
            found.update((t.name, t) for t in statement.results)
        return found

    @cached_property
    def maker(self) -> dict[str, Statement]:
        """The statement that makes each tensor that is not an input."""
        return {t.name: s for s in self.statements for t in s.results}

    @property
    def roots(self) -> tuple[str, ...]:
        """The tensors that must be computed: outputs, commits, checks."""
        names = (*(o.tensor for o in self.outputs), *(c.tensor for c in self.commits), *(c.tensor for c in self.checks))
        return tuple(dict.fromkeys(names))

    def output(self, name: str) -> str:
        """The tensor of the output of that name."""
        return next(o.tensor for o in self.outputs if o.name == name)

    def input(self, path: str) -> Input:
        """The input of that path."""
        return next(i for i in self.inputs if i.path == path)

    def with_(self, **changes) -> Program:
        """A copy with some fields replaced."""
        return replace(self, **changes)


_NOT_OF_A_NAME = re.compile(r"\W")


class Builder:
    """Makes a program statement by statement, with unique names.

    `origin` is the provenance of what is defined next; the elaborator keeps it up to date.
    """

    def __init__(self, program: Program = Program()):
        self.inputs: list[Input] = list(program.inputs)
        self.statements: list[Statement] = list(program.statements)
        self.outputs: list[Output] = list(program.outputs)
        self.commits: list[Commit] = list(program.commits)
        self.checks: list[Check] = list(program.checks)
        self.tensors: dict[str, Tensor] = dict(program.tensors)
        self.origin = Origin()
        self._counts: dict[str, int] = {}
        self._reserved: set[str] = set()

    def reserve(self, name: str) -> None:
        """Keeps a name from being given to a new tensor."""
        self._reserved.add(name)

    def fresh(self, hint: str) -> str:
        """A name that is not taken: `hint` made a legal identifier, with a number if need be."""
        stem = _NOT_OF_A_NAME.sub("_", hint) or "t"
        if stem[0].isdigit():
            stem = f"t_{stem}"
        name, count = stem, self._counts.get(stem, 1)
        while self.is_taken(name):
            count += 1
            name = f"{stem}_{count}"
        self._counts[stem] = count
        return name

    def forget(self, name: str) -> None:
        """Takes a name back: nothing has it any more."""
        del self.tensors[name]

    def is_taken(self, name: str) -> bool:
        """Whether a name cannot be given to a new tensor."""
        return name in self.tensors or name in RESERVED or name in self._reserved

    def input(self, hint: str, shape, role: str, *, kind="float", bound=None, path=None, table=None, span=None) -> Tensor:
        """Declares an input."""
        tensor = Tensor(self.fresh(hint), tuple(shape), kind, bound)
        self.tensors[tensor.name] = tensor
        self.inputs.append(Input(tensor, role, hint if path is None else path, table, span))
        return tensor

    def define(self, hint: str, *terms: tuple[Form, tuple[str, ...]], kind: str, bound=None, gradient=None) -> Tensor:
        """Defines a tensor as the sum of terms, each a form and its operands. Its shape is that of the forms."""
        tensor = Tensor(self.fresh(hint), terms[0][0].shape, kind, bound)
        joined = tuple(Term(form, tuple(operands), (self.origin,)) for form, operands in terms)
        return self.append(Definition(tensor, joined, gradient))

    def reshape(self, hint: str, operand: str, shape) -> Tensor:
        """Defines a view of a tensor under another shape."""
        of = self.tensors[operand]
        return self.append(Reshape(Tensor(self.fresh(hint), tuple(shape), of.kind, of.bound), operand, (self.origin,)))

    def append(self, statement: Statement) -> Tensor:
        """Adds a statement whose names are already unique; gives its first result."""
        self.statements.append(statement)
        self.tensors.update((t.name, t) for t in statement.results)
        return statement.results[0]

    def program(self) -> Program:
        """What was built."""
        return Program(
            tuple(self.inputs), tuple(self.statements), tuple(self.outputs), tuple(self.commits), tuple(self.checks)
        )


#: Words of the language that cannot name a tensor.
RESERVED = frozenset(
    "and or not if else for in scan as with true false return yield next assert param state input target output loss"
    " metric sum prod max min mean argmax argmin any all pi inf training parameters step total_steps".split()
)


def walk(program: Program) -> Iterator[Statement]:
    """Every statement, those of scan bodies and of own gradients included, outer ones first."""
    for statement in program.statements:
        yield statement
        if isinstance(statement, Scan):
            yield from walk(statement.body)
        elif isinstance(statement, Definition) and statement.gradient:
            yield from walk(statement.gradient.body)
