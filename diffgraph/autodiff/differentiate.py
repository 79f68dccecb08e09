"""The derivative of a program, in reverse mode: program in, program out, so it can be taken again.

Going backwards through the statements, the cotangent of each tensor is one definition: the sum of what all its readers
contribute. Only statements on a path from what is differentiated by to what is differentiated take part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from diffgraph.autodiff.adjoint import AUXILIARY, COTANGENT, RESULT, adjoint
from diffgraph.autodiff.checkpoint import expand_checkpoints
from diffgraph.autodiff.forms import filled
from diffgraph.autodiff.invariant import declare_table, lift_costly
from diffgraph.autodiff.reach import behind, moved_results
from diffgraph.autodiff.scan import ScanDerivative
from diffgraph.ir.dimension import product
from diffgraph.ir.form import copied
from diffgraph.ir.program import (
    Builder,
    Definition,
    OwnGradient,
    Program,
    Provenance,
    Reshape,
    Scan,
    Statement,
    Tensor,
    Term,
)
from diffgraph.ir.rename import rename_results, rename_statement


def gradients(
    builder: Builder, of: Sequence[tuple[str, str | None]], wrt: Sequence[str], phase: str = "backward"
) -> dict[str, str | None]:
    """Appends to the builder what computes the gradient of the sum over all elements of tensor * cotangent, summed over
    the pairs in `of` (a cotangent of None is all ones), by each tensor in `wrt`.

    Gives the name of the gradient of each, None where nothing depends on it. New tensors are named `d_<tensor>`; new
    statements have the origin of the statement they are the derivative of, in the given phase. Scans on the way may get
    further yields: the state that their derivative needs.
    """
    return _Sweep(builder, phase).run(of, wrt)


class _Sweep:
    """One reverse sweep. The cotangent of a tensor is complete once every statement after its own has been seen."""

    def __init__(self, builder: Builder, phase: str):
        self.builder = builder
        self.phase = phase
        self.contributions: dict[str, list[Term | str]] = {}
        self.moved: set[str] = set()

    def run(self, of, wrt) -> dict[str, str | None]:
        for statement in self._path(of, wrt):
            if isinstance(statement, Scan):
                expand_checkpoints(self.builder, lift_costly(self.builder, statement), self.moved)
        path = self._path(of, wrt)
        self._seed(of)
        result: dict[str, str | None] = {}
        for statement in reversed(path):
            cotangents = {t.name: self._complete(t) for t in statement.results}
            result |= {name: cotangent for name, cotangent in cotangents.items() if name in wrt}
            if any(cotangents.values()):
                self._statement(statement, cotangents)
        for name in wrt:
            if name not in result:
                result[name] = self._complete(self.builder.tensors[name])
        return {name: result[name] for name in wrt}

    def _path(self, of, wrt) -> list[Statement]:
        """The statements that `of` depends on and that depend on `wrt`; sets `moved`, the tensors that do."""
        self.moved = {name for name in wrt if self.builder.tensors[name].kind == "float"}
        path = []
        for statement in behind(self.builder.statements, (name for name, _ in of))[0]:
            results = moved_results(statement, self.moved)
            if results:
                self.moved |= results
                path.append(statement)
        return path

    def _seed(self, of) -> None:
        for name, cotangent in of:
            if name not in self.moved:
                continue
            ones = Term(filled(self.builder.tensors[name].shape, 1.0), (), self._origins(name))
            self._add(name, ones if cotangent is None else cotangent)

    def _origins(self, name: str) -> Provenance:
        made = next((s for s in self.builder.statements if any(t.name == name for t in s.results)), None)
        return self._backward((self.builder.origin,) if made is None else made.provenance)

    def _backward(self, provenance: Iterable) -> Provenance:
        """The same origins, in the phase of this sweep."""
        return tuple(dict.fromkeys(replace(origin, phase=self.phase) for origin in provenance))

    # --------------------------------------------------------------------------------------------- cotangents

    def _add(self, name: str, *contributions: Term | str) -> None:
        """Adds terms, or whole tensors by name, to the cotangent of a tensor."""
        self.contributions.setdefault(name, []).extend(contributions)

    def _complete(self, tensor: Tensor) -> str | None:
        """The name of the cotangent of a tensor, defined if need be; None if it is zero."""
        found = self.contributions.pop(tensor.name, [])
        if not found:
            return None
        if len(found) == 1 and isinstance(found[0], str):
            return found[0]
        terms = tuple(c if isinstance(c, Term) else self._copy(c) for c in found)
        name = self.builder.fresh(f"d_{tensor.name}")
        return self.builder.append(Definition(Tensor(name, tensor.shape), terms)).name

    def _copy(self, name: str) -> Term:
        return Term(copied(self.builder.tensors[name].operand), (name,), self._origins(name))

    # --------------------------------------------------------------------------------------------- statements

    def _statement(self, statement: Statement, cotangents: dict[str, str | None]) -> None:
        match statement:
            case Definition(gradient=None):
                for term in statement.terms:
                    self._term(statement, term, cotangents[statement.tensor.name])
            case Definition():
                self._own(statement.gradient, cotangents[statement.tensor.name])
            case Reshape():
                self._reshape(statement, cotangents[statement.tensor.name])
            case Scan():
                inner = lambda body, of, wrt: gradients(body, of, wrt, self.phase)  # noqa: E731
                derivative = ScanDerivative(self.builder, statement, self.moved, self._backward(statement.provenance))
                for name, cotangent in derivative.run(cotangents, inner):
                    self._add(name, cotangent)

    def _term(self, statement: Definition, term: Term, cotangent: str) -> None:
        derivative = adjoint(term.form, alone=len(statement.terms) == 1)
        wanted = [p for p in derivative.parts if term.operands[p.slot] in self.moved]
        origins = self._backward(term.provenance)
        standing = {COTANGENT: cotangent, RESULT: statement.tensor.name}
        if any(AUXILIARY in p.reads for p in wanted):
            standing[AUXILIARY] = self._auxiliary(statement.tensor, Term(derivative.auxiliary, term.operands, origins))
        for part in wanted:
            operands = tuple(standing[r] if isinstance(r, str) else term.operands[r] for r in part.reads)
            self._add(term.operands[part.slot], Term(part.form, operands, origins))

    def _auxiliary(self, tensor: Tensor, term: Term) -> str:
        form = term.form
        if form.op == "prod":
            made = Tensor(self.builder.fresh(f"others_{tensor.name}"), form.shape)
        else:
            places = product(form.domain[k] for k in form.reduced)
            made = Tensor(self.builder.fresh(f"{form.op}_{tensor.name}"), form.shape, "int", places)
        return self.builder.append(Definition(made, (term,))).name

    def _reshape(self, statement: Reshape, cotangent: str) -> None:
        of = self.builder.tensors[statement.operand]
        made = Tensor(self.builder.fresh(f"d_{of.name}"), of.shape)
        self._add(of.name, self.builder.append(Reshape(made, cotangent, self._backward(statement.provenance))).name)

    def _own(self, own: OwnGradient, cotangent: str) -> None:
        """Splices the body that the user wrote into the program."""
        names = splice(self.builder, own.body, {own.cotangent: cotangent})
        for target, inner in own.gradients:
            if target in self.moved:
                self._add(target, names.get(inner, inner))


def splice(builder: Builder, body: Program, inputs: dict[str, str]) -> dict[str, str]:
    """Appends the statements of a body to a builder under fresh names; what the body's tensors are called there."""
    names = dict(inputs)
    for given in body.inputs:
        if given.table is not None and given.tensor.name not in names:
            names[given.tensor.name] = declare_table(builder, given)
    for statement in body.statements:
        moved = rename_statement(statement, names)
        fresh = {t.name: builder.fresh(t.name) for t in statement.results}
        names |= fresh
        builder.append(rename_results(moved, fresh))
    return names
