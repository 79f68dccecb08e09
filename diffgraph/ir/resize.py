"""Statements for another number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from diffgraph.ir.dimension import Size, substitute
from diffgraph.ir.form import Form
from diffgraph.ir.program import Argsort, Definition, Program, Reshape, Scan, Statement, Tensor, Term


class Resizer:
    """Puts sizes in the place of symbols wherever these say how much is computed. Sizes that are values (the N of a mean)
    stay, and so do the shapes of the tensors in `kept`, of which only a part is read."""

    def __init__(self, sizes: Mapping[str, Size], kept: frozenset[str], axis):
        self.sizes = tuple(sorted(sizes.items()))
        self.kept = kept
        #: The axis of a shape that has another length, None if it has none.
        self.axis = axis

    def tensor(self, tensor: Tensor) -> Tensor:
        """A tensor with its new shape."""
        return tensor if tensor.name in self.kept else replace(tensor, shape=_shape(tensor.shape, self.sizes))

    def statement(self, statement: Statement) -> Statement:
        """A statement of the program whose tensors `kept` names."""
        match statement:
            case Definition():
                terms = tuple(map(self._term, statement.terms))
                return Definition(self.tensor(statement.tensor), terms, None)
            case Reshape() | Argsort():
                return replace(statement, tensor=self.tensor(statement.tensor))
        return self._scan(statement)

    def _term(self, term: Term) -> Term:
        kept = frozenset(k for k, o in enumerate(term.operands) if o in self.kept)
        return replace(term, form=_form(term.form, self.sizes, kept))

    def _scan(self, scan: Scan) -> Scan:
        # A row of what is kept is in one piece where samples come first in it.
        rows = {i for i, o in scan.sequences if o in self.kept and self.axis(scan.body.tensors[i].shape) != 0}
        inner = Resizer(dict(self.sizes), frozenset(rows | {i for i, o in scan.constants if o in self.kept}), self.axis)
        return replace(
            scan,
            carries=tuple(replace(c, final=self.tensor(c.final)) for c in scan.carries),
            yields=tuple(replace(y, stacked=self.tensor(y.stacked)) for y in scan.yields),
            body=inner.program(scan.body),
        )

    def program(self, program: Program) -> Program:
        """A program, or the body of a scan."""
        statements = []
        for statement in program.statements:
            if isinstance(statement, Reshape) and statement.operand in self.kept:
                self.kept |= {statement.tensor.name}
            statements.append(self.statement(statement))
        inputs = tuple(replace(i, tensor=self.tensor(i.tensor)) for i in program.inputs)
        return program.with_(inputs=inputs, statements=tuple(statements))


def _shape(shape: tuple[Size, ...], sizes: tuple[tuple[str, Size], ...]) -> tuple[Size, ...]:
    return tuple(substitute(s, dict(sizes)) for s in shape)


@lru_cache(maxsize=1 << 12)
def _form(form: Form, sizes, kept: frozenset[int]) -> Form:
    """The form over fewer samples. kept: slots of operands that have all of them."""
    operands = tuple(o if k in kept else replace(o, shape=_shape(o.shape, sizes)) for k, o in enumerate(form.operands))
    return Form(_shape(form.domain, sizes), form.op, form.write, _shape(form.shape, sizes), operands, form.body)
