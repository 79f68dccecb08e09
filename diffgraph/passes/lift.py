"""What is the same in every step of a scan is done once, before it."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.autodiff.invariant import Invariants
from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.letters import reads_of
from diffgraph.ir.program import Builder, Definition, Input, Program, Reshape, Scan, Statement, Tensor, Term
from diffgraph.ir.rewrite import rewrite
from diffgraph.passes.cost import cost
from diffgraph.passes.report import Report

#: Arithmetic that is rather done again in each step than read from memory.
CHEAP = 4


def lift(program: Program, report: Report) -> Program:
    """Moves out of a scan what does not depend on its steps, unless it is a map as cheap as a read. And where each step
    sums along the last axis of a matrix that is always the same, the matrix is transposed before, so that neighbours in
    the result read neighbours in memory.

    Before:
        input x[N, 8]
        input w[8, 8]
        y = scan t in 0..9 from h = x {
            g[n, i] = sum[j](h[n, j] * w[i, j])
            next h = g
        }
        output y

    After:
        input x[N, 8]
        input w[8, 8]
        turned[j, i] = w[i, j]
        y = scan t in 0..9 from h = x {
            g[n, i] = sum[j](h[n, j] * turned[j, i])
            next h = g
        }
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            body = lift(statement.body, report)
            loop = _Loop(replace(statement, body=body), names, report)
            loop.move({t.name for s in body.statements if s not in statement.body.statements for t in s.results})
            loop.turn()
            statements += loop.before
            statement = loop.scan
        statements.append(statement)
    return program.with_(inputs=tuple(names.inputs), statements=tuple(statements))


class _Loop:
    """A scan, and what is to be done before it. `names` are those of the enclosing program."""

    def __init__(self, scan: Scan, names: Builder, report: Report):
        self.scan = scan
        self.names = names
        self.report = report
        self.before: list[Statement] = []
        self.turned: dict[tuple[str, int], str] = {}

    # ------------------------------------------------------------------------------------------------- moving

    def move(self, taken_out: set[str]) -> None:
        """Moves the statements that are worth it, and a copy of what they depend on. taken_out: what has left loops inside."""
        invariants = Invariants(self.scan, self.names, self.before)
        self.scan, moved = invariants.lifted(lambda s: s.results[0].name in taken_out or not _is_cheap(s))
        for statement in moved:
            self.report.did(f"{statement.results[0].name}: the same in every step, left the scan", statement.provenance)

    # ------------------------------------------------------------------------------------------------- turning

    def turn(self) -> None:
        """Transposes constants that reductions read across."""
        statements = tuple(
            replace(s, terms=tuple(self._turned(t) for t in s.terms)) if isinstance(s, Definition) else s
            for s in self.scan.body.statements
        )
        self.scan = replace(self.scan, body=self.scan.body.with_(statements=statements))
        made = tuple(self.turned.values())
        inputs = tuple(Input(self.names.tensors[name], "free", name) for name in made)
        self.scan = replace(
            self.scan,
            constants=(*self.scan.constants, *((name, name) for name in made)),
            body=self.scan.body.with_(inputs=(*self.scan.body.inputs, *inputs)),
        )

    def _turned(self, term: Term) -> Term:
        constants = dict(self.scan.constants)
        for slot, name in enumerate(term.operands):
            axis = axis_across(term.form, slot) if name in constants else None
            if axis is not None:
                operands = list(term.operands)
                operands[slot] = self._matrix(constants[name], axis, term)
                form = reading_turned(term.form, slot, axis)
                return self._turned(canonical_term(Term(form, tuple(operands), term.provenance)))
        return term

    def _matrix(self, outer: str, axis: int, term: Term) -> str:
        """The outer tensor with an axis moved to the end."""
        known = self.turned.get((outer, axis))
        if known is not None:
            return known
        made = transposed(self.names.tensors[outer], axis, self._fresh(f"{outer}_turned"), term)
        self.names.tensors[made.tensor.name] = made.tensor
        self.before.append(made)
        self.turned[outer, axis] = made.tensor.name
        self.report.did(f"{outer}: transposed before the scan that reads it in every step", term.provenance)
        return made.tensor.name

    def _fresh(self, hint: str) -> str:
        """A name that is taken neither outside nor inside."""
        name = self.names.fresh(hint)
        while name in self.scan.body.tensors:
            name = self.names.fresh(f"{name}_")
        return name


def _is_cheap(statement: Statement) -> bool:
    """A map that costs no more than a read; views as well."""
    if not isinstance(statement, Definition):
        return isinstance(statement, Reshape)
    return all(t.form.is_pointwise and cost(t.form.body) <= CHEAP for t in statement.terms)


def transposed(tensor: Tensor, axis: int, name: str, term: Term) -> Definition:
    """A tensor with an axis moved to the end, for a term that reads it."""
    shape = _last(tensor.shape, axis)
    place = [index(k) for k in range(len(shape) - 1)]
    place.insert(axis, index(len(shape) - 1))
    write = tuple(index(k) for k in range(len(shape)))
    form = Form(shape, "sum", write, shape, (tensor.operand,), Read(0, tuple(place), None))
    made = Tensor(name, shape, tensor.kind, tensor.bound)
    return Definition(made, (canonical_term(Term(form, (tensor.name,), term.provenance)),))


def axis_across(form: Form, slot: int) -> int | None:
    """The axis of an operand that the last axis of the result walks, where a reduction walks the operand's last axis
    and nothing else moves along that axis of the result; else None."""
    if not form.reduced or not form.is_projection or not form.write or form.operands[slot].kind != "float":
        return None
    across = alone_index(form.write[-1])
    found = [r for r in reads_of(form) if across in r.indices]
    places = {r.place for r in found}
    if len(places) != 1 or any(r.slot != slot or r.otherwise is not None for r in found):
        return None
    axes = [alone_index(p) for p in places.pop()]
    if None in axes or axes[-1] not in form.reduced or across not in axes:
        return None
    return axes.index(across)


def _last(items: tuple, axis: int) -> tuple:
    return (*items[:axis], *items[axis + 1 :], items[axis])


def reading_turned(form: Form, slot: int, axis: int) -> Form:
    """The form with an operand whose axis is the last one."""

    def change(e: Expr) -> Expr:
        if isinstance(e, Read) and e.slot == slot:
            return Read(slot, _last(e.place, axis), e.otherwise)
        return e

    operands = tuple(replace(o, shape=_last(o.shape, axis)) if k == slot else o for k, o in enumerate(form.operands))
    body = rewrite(form.body, change, [o.kind for o in operands])
    return Form(form.domain, form.op, form.write, form.shape, operands, body)
