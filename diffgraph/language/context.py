"""What an elaboration carries along: the program being built, the mode, the errors found and the sizes assumed equal.

One `Context` lives as long as one elaboration. Everything that makes tensors takes it and uses `context.builder`, which
is the builder of the innermost body that is open: the net, or the body of a scan or of a gradient inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Span
from diffgraph.ir.dimension import Size, symbols
from diffgraph.ir.program import Builder, Input, Statement, Tensor

#: The rank-0 scalars that the runner sets. `step` counts from 1 while training and is 0 at inference.
RUN_SCALARS = ("seed", "step", "total_steps")


@dataclass(frozen=True)
class Requirement:
    """Two sizes that must be equal though it cannot be decided now: `H` and `2 * ((H) // 2)`, from a rule at a place."""

    left: Size
    right: Size
    rule: str
    span: Span | None


class BodyBuilder(Builder):
    """Builds a program inside another: the body of a scan or of a gradient.

    A tensor of the enclosing program that is used inside becomes a free input of the same name; `captured` lists them.
    """

    def __init__(self, outer: Builder):
        super().__init__()
        self.outer = outer
        self.origin = outer.origin
        self.captured: list[str] = []
        self.tensors = _Visible(self)

    def fresh(self, hint: str) -> str:
        name = super().fresh(hint)
        count = 1
        while name in self.tensors or self._is_outside(name):
            count += 1
            name = super().fresh(f"{hint}_{count}")
        return name

    def append(self, statement: Statement) -> Tensor:
        for operand in statement.operands:
            self.tensors[operand]
        return super().append(statement)

    def capture(self, name: str) -> Tensor:
        """The tensor of the enclosing program, as a free input."""
        tensor = self.outer.tensors[name]
        self.captured.append(name)
        self.inputs.append(Input(tensor, "free", name))
        self.tensors[name] = tensor
        return tensor

    def _is_outside(self, name: str) -> bool:
        outer = self.outer
        return name in outer.tensors or (isinstance(outer, BodyBuilder) and outer._is_outside(name))


class _Visible(dict):
    """The tensors of a body. Looking up one of the enclosing program captures it."""

    def __init__(self, body: BodyBuilder):
        self.body = body

    def __missing__(self, name: str) -> Tensor:
        return self.body.capture(name)


class Context:
    """The state of one elaboration.

    builder       where tensors are made now; `builder.origin` is kept current
    training      the mode
    directory     of the program: what `constant("table.npy")` may read; None where a program has no files
    requirements  sizes assumed equal, in the order found
    errors        the problems found so far
    """

    def __init__(self, training: bool = False, directory: Path | None = None):
        self.root = Builder()
        self.builder: Builder = self.root
        self.training = training
        self.directory = directory
        self.requirements: list[Requirement] = []
        self.errors: list[Diagnostic] = []
        self.chain: list[Note] = []
        self._scalars: dict[str, Tensor] = {}

    # ------------------------------------------------------------ the program

    def run_scalar(self, name: str) -> Tensor:
        """The rank-0 int tensor `seed`, `step` or `total_steps`, which the runner sets."""
        if name not in self._scalars:
            self._scalars[name] = self.root.input(f"run_{name}", (), "run", kind="int", path=name)
        return self._scalars[name]

    @contextmanager
    def body(self) -> Iterator[BodyBuilder]:
        """Makes a body the place where tensors are made, for a while."""
        outer, inner = self.builder, BodyBuilder(self.builder)
        self.builder = inner
        try:
            yield inner
        finally:
            self.builder = outer

    @contextmanager
    def at(self, **changes) -> Iterator[None]:
        """Changes the origin (`path`, `span`, `phase`) of what is defined, for a while."""
        before = self.builder.origin
        self.builder.origin = replace(before, **changes)
        try:
            yield
        finally:
            self.builder.origin = before

    # ------------------------------------------------------------ sizes

    def require_equal(
        self, left: Size, right: Size, problem: Callable[[], DiffgraphError], span: Span | None, rule: str = ""
    ) -> None:
        """Two sizes must be equal. Raises `problem()` where they are not; remembers a requirement where symbols leave it
        open. `rule` is what wants it (`concat`)."""
        if left == right:
            return
        difference = left - right
        if isinstance(difference, int) or not symbols(difference):
            raise problem()
        if not any(r.left - r.right in (difference, -difference) for r in self.requirements):
            self.requirements.append(Requirement(left, right, rule, span))

    # ------------------------------------------------------------ errors

    def report(self, problem: DiffgraphError | Diagnostic) -> None:
        """Remembers a problem and goes on. Problems inside layers get the chain of layers as notes."""
        found = problem.diagnostics if isinstance(problem, DiffgraphError) else (problem,)
        for diagnostic in found:
            located = replace(diagnostic, notes=(*diagnostic.notes, *reversed(self.chain)))
            if located not in self.errors:
                self.errors.append(located)

    @contextmanager
    def within(self, note: Note) -> Iterator[None]:
        """Adds a link to the chain of layers that problems are reported with."""
        self.chain.append(note)
        try:
            yield
        finally:
            self.chain.pop()
