"""Fusion of maps into what reads them, by substitution.

What stays a tensor: what something reads more than once for each of its elements (the operand of a contraction or of a
window), and what costs more to compute again, or to fetch again from its own operands, than to read. Everything else is
computed where it is needed. Reductions with what surrounds them, and siblings over one domain, share a kernel; that is
the scheduler's part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.digits import quasi_affine_atoms
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Call, Read
from diffgraph.ir.form import Form
from diffgraph.ir.inline import inline
from diffgraph.ir.program import Definition, Program, Provenance, Scan, Statement, Term
from diffgraph.passes.cost import cost_of_each, nodes, usual
from diffgraph.passes.report import Report

#: Operations of a map of places alone that take no longer than to read an element.
FEW_OPERATIONS = 2


#: Arithmetic that is done again rather than written to memory and read back, for each reader after the first.
CHEAP = 4

#: Nothing is substituted into a body that would grow beyond this many distinct nodes, or read more operands.
MOST_NODES = 160
MOST_OPERANDS = 12


def fuse(program: Program, report: Report) -> Program:
    """Substitutes maps into their readers where that saves more memory traffic than it costs arithmetic.

    Before:
        input x[N, 3]
        h[n, i] = 2 * x[n, i] + 1
        y[n, i] = exp(h[n, i])
        output y

    After (nothing reads `h` any more):
        input x[N, 3]
        y[n, i] = exp(2 * x[n, i] + 1)
        output y
    """
    plan = _Plan(program, report)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=fuse(statement.body, report))
        elif isinstance(statement, Definition):
            statement = plan.fused(statement)
        statements.append(statement)
    gone = plan.substituted - set(program.roots) - {name for s in statements for name in s.operands}
    kept = [s for s in statements if not (isinstance(s, Definition) and s.tensor.name in gone)]
    return program.with_(statements=tuple(kept))


@dataclass(frozen=True)
class _Reader:
    """A term that reads a tensor through one slot."""

    name: str
    form: Form
    slot: int


class _Plan:
    """Which producers are substituted, decided on the program as it was; and the statements after that."""

    def __init__(self, program: Program, report: Report):
        self.report = report
        self.producers = {s.tensor.name: s.terms[0] for s in program.statements if _is_map(s)}
        self.free = {name for name, term in self.producers.items() if is_free(term.form)}
        self.readers: dict[str, list[_Reader]] = {name: [] for name in self.producers}
        self.needed = set(program.roots)
        for statement in program.statements:
            self._read(statement)
        self.everywhere: set[str] = set()
        self.as_views: set[str] = set()
        self.substituted: set[str] = set()
        for name, term in self.producers.items():
            self._decide(name, term)

    def _read(self, statement: Statement) -> None:
        if not isinstance(statement, Definition):
            self.needed.update(statement.operands)
            return
        for term in statement.terms:
            for slot, name in enumerate(term.operands):
                if name in self.readers:
                    self.readers[name].append(_Reader(statement.tensor.name, term.form, slot))

    def _decide(self, name: str, term: Term) -> None:
        readers = self.readers[name]
        if not readers:
            return
        reason = self._reason_to_keep(name, term.form, readers)
        if reason is None:
            self.everywhere.add(name)
        elif is_free(term.form):
            # It has its memory anyway, but reading through it costs nothing.
            self.as_views.add(name)
        else:
            self.report.declined(f"{name} stays a tensor: {reason}", term.provenance)

    def _reason_to_keep(self, name: str, form: Form, readers: list[_Reader]) -> str | None:
        if name in self.needed:
            return "it is a result"
        if (reason := self._reason_of_readers(form, readers)) is not None:
            return reason
        return reason_against_repeating(form, len(readers))

    def _reason_of_readers(self, form: Form, readers: list[_Reader]) -> str | None:
        """Why a map should not be computed in one of its readers: where that is a view, in what reads through it."""
        for reader in readers:
            reason = reason_against(reader.form, reader.slot, form)
            if reason is not None:
                return f"{reader.name} {reason}"
            through = self.readers.get(reader.name)
            if through and not is_free(form) and is_free(reader.form):
                seen = inline(reader.form, reader.slot, form)
                if (reason := self._reason_of_readers(seen, through)) is not None:
                    return reason
        return None

    def fused(self, definition: Definition) -> Definition:
        """The definition with what should be computed in it; later readers of it get that too."""
        terms = tuple(self._fused(definition.tensor.name, t) for t in definition.terms)
        if definition.tensor.name in self.producers:
            self.producers[definition.tensor.name] = terms[0]
            if not terms[0].operands and definition.tensor.name not in self.everywhere:
                # It has become a number.
                self._decide(definition.tensor.name, terms[0])
        return replace(definition, terms=terms)

    def _fused(self, reader: str, term: Term) -> Term:
        left = [name for name in term.operands if name in self.producers]
        while left:
            name = left.pop()
            if name not in term.operands or not self._wanted(name, term):
                continue
            better = _substituted(term, term.operands.index(name), self.producers[name])
            if len(better.operands) > MOST_OPERANDS or len(nodes(better.form.body)) > MOST_NODES:
                self.report.declined(f"{name} is not computed in {reader}: that would be too large", term.provenance)
                continue
            self.report.did(f"{name} is computed in {reader}", better.provenance)
            self.substituted.add(name)
            left += [n for n in better.operands if n in self.as_views and n not in term.operands]
            term = better
        return term

    def _wanted(self, name: str, term: Term) -> bool:
        producer, slot = self.producers[name].form, term.operands.index(name)
        if name in self.everywhere and (name not in self.free or is_free(producer) or term.form.is_pointwise):
            return True
        # What was but another view of a tensor may have become all that this tensor is made of: too much for a window.
        return name in self.everywhere | self.as_views and reason_against(term.form, slot, producer) is None


def _is_map(statement: Statement) -> bool:
    """The statement is one term that makes each element of a tensor by itself."""
    if not isinstance(statement, Definition) or len(statement.terms) != 1 or statement.gradient is not None:
        return False
    form = statement.terms[0].form
    return form.is_pointwise and form.op == "sum"


def _substituted(term: Term, slot: int, producer: Term) -> Term:
    form = inline(term.form, slot, producer.form)
    origins: Provenance = tuple(dict.fromkeys((*term.provenance, *producer.provenance)))
    return canonical_term(Term(form, (*term.operands, *producer.operands), origins))


# ------------------------------------------------------------------------------------------------ what is worth it


@cache
def is_free(form: Form) -> bool:
    """A map without arithmetic that reads at most one element: a broadcast, a permutation, a slice, a number. Reading
    through it costs no more than reading it."""
    reads = [e for e in nodes(form.body) if type(e) is Read]
    return cost_of_each(form.body) == 0 and len(reads) <= 1


@cache
def reason_against(consumer: Form, slot: int, producer: Form) -> str | None:
    """Why a map should not be computed inside a consumer, None if it may be."""
    if is_free(producer):
        # In the inner loop of a contraction no place should be computed, and no guard be tested.
        read = producer.body if type(producer.body) is Read else None
        plain = read is None or read.otherwise is None and not any(p.slots for p in read.place)
        if consumer.is_pointwise or plain and not quasi_affine_atoms(producer):
            return None
        return "reads it in its inner loop"
    reads = [e for e in nodes(consumer.body) if type(e) is Read and e.slot == slot]
    if len(reads) != 1 or any(slot in e.slots for w in consumer.write for e in (w,)):
        return "reads it at several places"
    if any(slot in p.slots for e in nodes(consumer.body) if type(e) is Read for p in e.place):
        return "reads at places that it tells"
    if is_told_by_place(producer) and not _is_product(consumer):
        return None
    visited, elements = (product(usual(s) for s in sizes) for sizes in (consumer.domain, producer.shape))
    if visited > elements:
        return "reads each element several times"
    return None


def is_told_by_place(form: Form) -> bool:
    """Whether a map of nothing but places takes less to compute than to read: a causal mask, one of neighbours."""
    return not form.operands and form.is_pointwise and cost_of_each(form.body) <= FEW_OPERATIONS


def _is_product(form: Form) -> bool:
    """Whether a form is a sum of products, whose inner loop should do nothing else."""
    return form.op == "sum" and bool(form.reduced) and len({e.slot for e in nodes(form.body) if type(e) is Read}) > 1


@cache
def reason_against_repeating(producer: Form, readers: int) -> str | None:
    """Why a map should not be computed in each of its readers instead of once, None if it should."""
    if readers == 1 or is_told_by_place(producer):
        return None
    if any(type(e) is Call and e.function == "random" for e in nodes(producer.body)):
        return f"it is drawn once for {readers} readers"
    if cost_of_each(producer.body) * (readers - 1) > CHEAP:
        return f"it would be computed {readers} times"
    size = product(usual(s) for s in producer.shape)
    large = sum(4 * product(usual(s) for s in o.shape) >= size for o in producer.operands)
    # Once: its operands are read, it is written, and read by each. Else each reads the operands.
    if large * readers > large + 1 + readers:
        return f"{readers} readers would fetch {large} operands each"
    return None
