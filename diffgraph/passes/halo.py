"""Zeros around a tensor, in memory, instead of a question at each read."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from diffgraph.ir.affine import affine, interval
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Affine, Const, Expr, Read
from diffgraph.ir.form import Form, copied
from diffgraph.ir.program import (
    Argsort,
    Builder,
    Definition,
    Program,
    Provenance,
    Reshape,
    Scan,
    Statement,
    Tensor,
    Term,
)
from diffgraph.ir.rewrite import rewrite
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.report import Report

#: A tensor gets no margins that make it larger than this many times.
MOST_GROWTH = 2.5

#: A tensor that cannot change itself is copied where each element is read at least so often.
WORTH_A_COPY = 16

Margins = tuple[tuple[int, int], ...]


def halo(program: Program, report: Report) -> Program:
    """Gives tensors that sums read beyond their ends, as 0, margins of zeros, so that these reads need no guard. A tensor
    that others depend on as it is, or that is also read as something else beyond its ends, gets a copy with margins.

    Before:
        input x[N, 9]
        input w[3]
        a[n, i] = 2 * x[n, i]
        y[n, i < 9] = sum[p](w[p] * (a[n, i + p - 1] else 0))
        output y

    After:
        input x[N, 9]
        input w[3]
        a[n, h < 11] = sum[i < 9](2 * x[n, i] if h == i + 1 else 0)
        y[n, i < 9] = sum[p](w[p] * a[n, i + p])
        output y
    """
    plan = _Plan(program, report)
    if not plan.own and not plan.copies:
        return program
    statements: list[Statement] = list(plan.first)
    for statement in program.statements:
        if isinstance(statement, Definition):
            statement = plan.moved(statement)
        statements.append(statement)
        statements += [plan.copies[t.name] for t in statement.results if t.name in plan.copies]
    return program.with_(statements=tuple(statements))


class _Plan:
    """Which tensors get margins of their own, and which a copy."""

    def __init__(self, program: Program, report: Report):
        self.program = program
        self.report = report
        self.names = Builder(program)
        self.own: dict[str, Margins] = {}
        self.copies: dict[str, Definition] = {}
        self.copied: dict[str, Margins] = {}
        fixed, others = self._fixed()
        for name, margins, uses, origin in self._wanted(fixed, others):
            tensor = program.tensors[name]
            size = product(usual(s) for s in tensor.shape)
            grown = product(usual(s) + low + high for s, (low, high) in zip(tensor.shape, margins))
            if tensor.kind != "float" or grown > MOST_GROWTH * size:
                continue
            if name not in fixed and name not in others:
                self.own[name] = margins
                report.did(f"{name}: has margins of zeros", program.maker[name].provenance)
            elif uses >= WORTH_A_COPY * size:
                self._copy(tensor, margins, origin)
        made = set(program.maker)
        #: Copies of what the program is given come first.
        self.first = [d for name, d in self.copies.items() if name not in made]

    def _fixed(self) -> tuple[set[str], set[str]]:
        """(tensors that something depends on as they are; those that are read as something else than 0 outside)."""
        program = self.program
        fixed = set(program.roots) | {i.tensor.name for i in program.inputs}
        others: set[str] = set()
        for statement in program.statements:
            if isinstance(statement, (Reshape, Argsort, Scan)):
                fixed.update(statement.operands)
                fixed.update(t.name for t in statement.results)
                continue
            if statement.gradient is not None or any(t.form.op != "sum" for t in statement.terms):
                # What is not written holds the identity of the reduction, which is 0 for sums only.
                fixed.add(statement.tensor.name)
            for term in statement.terms:
                others |= {term.operands[slot] for slot in _read_otherwise(term.form)}
        return fixed, others

    def _wanted(self, fixed: set[str], others: set[str]):
        """(tensor, margins, how many reads, from where) for each that sums read beyond its ends; one that may have margins of
        its own serves the maps that read it so as well."""
        found: dict[str, tuple[Margins, int, Provenance]] = {}
        for statement in self.program.statements:
            for term in statement.terms if isinstance(statement, Definition) else ():
                for slot, margins in margins_of(term.form):
                    name = term.operands[slot]
                    known, uses, origin = found.get(name, (((0, 0),) * len(margins), 0, term.provenance))
                    joined = _both(known, margins)
                    uses += product(usual(s) for s in term.form.domain)
                    found[name] = joined, uses, origin
        for statement in self.program.statements:
            for term in statement.terms if isinstance(statement, Definition) else ():
                for slot, margins in margins_of_map(term.form):
                    name = term.operands[slot]
                    if name in found and name not in fixed and name not in others:
                        known, uses, origin = found[name]
                        found[name] = _both(known, margins), uses, origin
        return [(name, *what) for name, what in found.items()]

    def _copy(self, tensor: Tensor, margins: Margins, origin: Provenance) -> None:
        shape = _with_margins(tensor.shape, margins)
        made = Tensor(self.names.fresh(f"{tensor.name}_with_margins"), shape, tensor.kind)
        self.names.tensors[made.name] = made
        form = _moved_form(copied(tensor.operand), margins, ((None, None),))
        self.copies[tensor.name] = Definition(made, (Term(form, (tensor.name,), origin),))
        self.copied[tensor.name] = margins
        self.report.did(f"{tensor.name}: a copy has margins of zeros", origin)

    def moved(self, definition: Definition) -> Definition:
        """The definition over what has margins now."""
        tensor = definition.tensor
        own = self.own.get(tensor.name)
        terms = tuple(self._moved_term(t, own) for t in definition.terms)
        if own is not None:
            tensor = replace(tensor, shape=_with_margins(tensor.shape, own))
        return replace(definition, tensor=tensor, terms=terms)

    def _moved_term(self, term: Term, own: Margins | None) -> Term:
        guarded = {slot for slot, _ in margins_of(term.form)}
        operands = list(term.operands)
        reads: list[tuple[Margins | None, Margins | None]] = []
        for slot, name in enumerate(term.operands):
            copy = self.copied.get(name) if slot in guarded and slot not in _read_otherwise(term.form) else None
            if copy is not None:
                operands[slot] = self.copies[name].tensor.name
            reads.append((self.own.get(name), copy))
        if own is None and not any(a or b for a, b in reads):
            return term
        return replace(term, form=_moved_form(term.form, own, tuple(reads)), operands=tuple(operands))


@cache
def margins_of(form: Form) -> tuple[tuple[int, Margins], ...]:
    """(slot, margins) for each operand that a sum reads beyond its ends, as 0."""
    return _margins_of_reads(form) if form.reduced else ()


@cache
def margins_of_map(form: Form) -> tuple[tuple[int, Margins], ...]:
    """The same for each operand that a map reads so."""
    return () if form.reduced else _margins_of_reads(form)


def _margins_of_reads(form: Form) -> tuple[tuple[int, Margins], ...]:
    if form.op != "sum":
        return ()
    found: dict[int, Margins] = {}
    for read in _guarded(form.body):
        if not _is_zero(read.otherwise):
            continue
        margins = _margins(read, form)
        if margins is None:
            return ()
        found[read.slot] = _both(found.get(read.slot, margins), margins)
    return tuple(found.items())


def _both(some: Margins, others: Margins) -> Margins:
    """Margins as wide as both."""
    return tuple((max(a, c), max(b, d)) for (a, b), (c, d) in zip(some, others))


def _margins(read: Read, form: Form) -> Margins | None:
    """How far a read reaches beyond the ends of its operand; None where that is not known."""
    margins = []
    for place, extent in zip(read.place, form.operands[read.slot].shape):
        low, high = interval(place, form.domain, form.operands)
        if low is None or high is None:
            return None
        beyond = high - (extent - 1)
        if not isinstance(low, int) or not isinstance(beyond, int):
            return None
        margins.append((max(0, -low), max(0, beyond)))
    return tuple(margins)


@cache
def _read_otherwise(form: Form) -> frozenset[int]:
    """The slots that are read beyond their ends in a way that margins of zeros do not serve."""
    served = {slot for slot, _ in (*margins_of(form), *margins_of_map(form))}
    return frozenset(r.slot for r in _guarded(form.body) if r.slot not in served or not _is_zero(r.otherwise))


def _guarded(body: Expr) -> list[Read]:
    return [n for n in nodes(body) if type(n) is Read and n.otherwise is not None]


def _is_zero(e: Expr) -> bool:
    return type(e) is Const and not isinstance(e.value, bool) and e.value == 0


def _with_margins(shape, margins: Margins) -> tuple:
    return tuple(s + low + high for s, (low, high) in zip(shape, margins))


@cache
def _moved_form(form: Form, own: Margins | None, reads: tuple[tuple[Margins | None, Margins | None], ...]) -> Form:
    """The form with margins around its result, and around operands: (their own ones, those of a copy)."""

    def moved(e: Expr) -> Expr:
        if type(e) is not Read or not any(reads[e.slot]):
            return e
        inside = reads[e.slot][1] or reads[e.slot][0]
        otherwise = None if e.otherwise is not None and _is_zero(e.otherwise) else e.otherwise
        return Read(e.slot, _shifted(e.place, inside), otherwise)

    operands = tuple(
        o if not any(r) else replace(o, shape=_with_margins(o.shape, r[1] or r[0]))
        for o, r in zip(form.operands, reads)
    )
    body = rewrite(form.body, moved, tuple(o.kind for o in form.operands))
    if own is None:
        return Form(form.domain, form.op, form.write, form.shape, operands, body)
    return Form(form.domain, form.op, _shifted(form.write, own), _with_margins(form.shape, own), operands, body)


def _shifted(place: tuple[Affine, ...], margins: Margins) -> tuple[Affine, ...]:
    return tuple(p if low == 0 else affine(low, ((p, 1),)) for p, (low, _) in zip(place, margins))
