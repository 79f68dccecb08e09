"""Metrics over a whole set: a program is cut at its reductions over the batch.

`-10 * log10(mean(e^2))` is not a mean of batches. Its `sum[n, i](e[n, i]^2)` is a sum of batches, and the rest is
computed once, from the sum and the number of samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffgraph.ir.affine import affine
from diffgraph.ir.dimension import symbols
from diffgraph.ir.expression import Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.program import Builder, Definition, Input, Output, Program, Tensor, Term
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.simplify import mul
from diffgraph.passes.dce import dce
from diffgraph.passes.report import Report

#: How partial results of two batches join. Reductions that are not here (argmax) have no such rule.
COMBINE = {"sum": "sum", "max": "max", "min": "min", "prod": "prod", "any": "any", "all": "all"}


@dataclass(frozen=True)
class Accumulation:
    """A program over a set, in two halves.

    per_batch: run for each batch; its outputs are partial results. combine: output name -> how partial results of two
    batches join (`sum`, `max`, ...). final: run once; it has the outputs of the original program, an input for each
    joined partial result (by the same name) and the rank-0 int input `count`, the number of samples in the set.
    """

    per_batch: Program
    combine: dict[str, str]
    final: Program
    count: str


def split_over_batch(program: Program, symbol: str) -> Accumulation | None:
    """Cuts a program whose outputs do not depend on single samples at its reductions over the batch `symbol`.

    None where it cannot be cut: where something that is reduced over the batch itself depends on a reduction over the
    batch (a two-pass variance), or where a draw or the state of training is involved. Then the set must be run as one
    batch.

    Before:
        input x[N, 3]
        y = log(sum[n, i](x[n, i]))
        output y

    After, per batch and once:
        input x[N, 3]
        partial = sum[n, i](x[n, i])
        output partial

        input partial
        y = log(partial)
        output y
    """
    program = dce(program.with_(commits=(), checks=()), Report())
    cut = _Cut(program, symbol)
    try:
        for statement in program.statements:
            cut.place(statement)
        return cut.result()
    except _CannotCut:
        return None


class _CannotCut(Exception):
    """The program has no such halves."""


class _Cut:
    """Sorts statements into the halves. Each tensor is `sample` (differs between batches), `set` (known when all
    batches are joined) or `same` (depends on parameters only: computed in both halves where it is read)."""

    def __init__(self, program: Program, symbol: str):
        self.program = program
        self.symbol = symbol
        self.side = {i.tensor.name: self._side_of_input(i) for i in program.inputs}
        self.same: list = []
        self.batch = Builder(Program(inputs=program.inputs))
        self.final = Builder(Program(inputs=tuple(i for i in program.inputs if self.side[i.tensor.name] == "same")))
        self.combine: dict[str, str] = {}
        self.count = ""

    def _side_of_input(self, given: Input) -> str:
        if given.role == "run":
            return "sample"
        return "sample" if given.role in ("input", "target") else "same"

    def place(self, statement) -> None:
        """Puts the next statement where it belongs."""
        sides = {self.side[name] for name in statement.operands}
        if isinstance(statement, Definition) and self._reduces(statement):
            if "set" in sides:
                raise _CannotCut
            self._cut(statement)
            return
        batched = any(self.symbol in symbols(s) for t in statement.results for s in t.shape)
        if "set" in sides and ("sample" in sides or batched):
            raise _CannotCut
        if batched or "sample" in sides:
            side = "sample"
        else:
            side = "set" if "set" in sides or self._counts(statement) else "same"
        for tensor in statement.results:
            self.side[tensor.name] = side
        if side in ("sample", "same"):
            self.batch.append(statement)
        if side in ("set", "same"):
            self.final.append(self._with_count(statement))

    def _reduces(self, definition: Definition) -> bool:
        """Something is reduced over the batch here."""
        written = any(self.symbol in symbols(s) for s in definition.tensor.shape)
        return not written and any(self._over_batch(t.form) for t in definition.terms)

    def _over_batch(self, form: Form) -> bool:
        return any(self.symbol in symbols(e) for e in form.domain)

    def _counts(self, statement) -> bool:
        if not isinstance(statement, Definition):
            return False
        return any(_depends(t.form.body, self.symbol) for t in statement.terms)

    def _cut(self, definition: Definition) -> None:
        """Replaces each term over the batch by a read of its joined partial result."""
        terms = []
        for term in definition.terms:
            if not self._over_batch(term.form):
                if any(self.side[o] != "same" for o in term.operands):
                    raise _CannotCut
                terms.append(term)
                continue
            terms.append(self._partial(definition.tensor, term))
        self.side[definition.tensor.name] = "set"
        self.final.append(self._with_count(replace(definition, terms=tuple(terms), gradient=None)))

    def _partial(self, tensor: Tensor, term: Term) -> Term:
        form = term.form
        if form.op not in COMBINE:
            raise _CannotCut
        outside, inside = _without_count(form, self.symbol)
        reduced = Form(form.domain, form.op, form.write, form.shape, form.operands, inside)
        kind = "float" if form.op in ("sum", "prod") and tensor.kind == "float" else tensor.kind
        made = Tensor(self.batch.fresh(f"{tensor.name}_partial"), form.shape, kind)
        self.batch.append(Definition(made, (replace(term, form=reduced),)))
        self.combine[made.name] = COMBINE[form.op]
        self.batch.outputs.append(Output(made.name, made.name))
        joined = self.final.input(made.name, form.shape, "input", kind=kind)
        axes = tuple(affine(0, ((Index(k), 1),)) for k in range(len(form.shape)))
        body = mul(outside, Read(0, axes, None))
        again = Form(form.shape, "sum", axes, form.shape, (Operand(form.shape, kind),), body)
        return Term(again, (joined.name,), term.provenance)

    def _with_count(self, statement):
        """The statement with the number of samples read from the input `count` instead of from a shape."""
        if not self._counts(statement):
            return statement
        if not self.count:
            self.count = self.final.input("count", (), "run", kind="int").name
        return replace(statement, terms=tuple(self._counted(t) for t in statement.terms), gradient=None)

    def _counted(self, term: Term) -> Term:
        form = term.form
        if not _depends(form.body, self.symbol):
            return term
        slot = len(form.operands)
        read = Read(slot, (), None)

        def known(e: Expr) -> Expr:
            return _size_of(e, self.symbol, read) if type(e) is Extent else e

        body = rewrite(form.body, known)
        operands = (*form.operands, Operand((), "int"))
        counted = Form(form.domain, form.op, form.write, form.shape, operands, body)
        return replace(term, form=counted, operands=(*term.operands, self.count))

    def result(self) -> Accumulation:
        """Both halves, or `_CannotCut` where an output is a matter of single samples."""
        for output in self.program.outputs:
            if self.side[output.tensor] == "sample":
                raise _CannotCut
            self.final.outputs.append(output)
        if not self.count:
            self.count = self.final.input("count", (), "run", kind="int").name
        return Accumulation(
            dce(self.batch.program(), Report()), self.combine, dce(self.final.program(), Report()), self.count
        )


def _depends(expression: Expr, symbol: str) -> bool:
    """The number of samples occurs as a value."""
    if type(expression) is Extent:
        return symbol in symbols(expression.size)
    return any(_depends(c, symbol) for c in expression.children)


def _without_count(form: Form, symbol: str) -> tuple[Expr, Expr]:
    """(outside, inside): body = outside * inside, where only `outside` depends on the number of samples."""
    body = form.body
    if not _depends(body, symbol):
        return Const(1), body
    if form.op != "sum":
        raise _CannotCut
    if type(body) is Call and body.function == "where" and body.args[2] is Const(0.0):
        condition, value, zero = body.args
        if _depends(condition, symbol):
            raise _CannotCut
        outside, inside = _factors(value, symbol)
        return outside, Call("where", (condition, inside, zero))
    return _factors(body, symbol)


def _factors(body: Expr, symbol: str) -> tuple[Expr, Expr]:
    factors = body.args if type(body) is Call and body.function == "mul" else (body,)
    outside = [f for f in factors if _depends(f, symbol)]
    inside = [f for f in factors if not _depends(f, symbol)]
    if any(f.indices or f.slots for f in outside):
        raise _CannotCut
    return mul(*outside), mul(*inside)


def _size_of(extent: Extent, symbol: str, count: Expr) -> Expr:
    """A size that depends on the number of samples, computed from it."""
    total = []
    for monomial, coefficient in extent.size.terms:
        factors = [Const(coefficient)]
        for atom, power in monomial:
            if atom == symbol:
                factors += [Call("float", (count,))] * power
            else:
                raise _CannotCut
        total.append(mul(*factors))
    return total[0] if len(total) == 1 else Call("add", tuple(total))
