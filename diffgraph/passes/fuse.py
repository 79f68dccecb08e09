"""Fusion of pointwise producers into what reads them, by substitution.

What is materialised: results of reductions and contractions, what a contraction reads (each element is read many times),
what costs more to compute again than to read again. Everything else is computed where it is needed. Reductions with
what surrounds them, and siblings over one domain, share a kernel; that is the scheduler's part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.dimension import product, substitute, symbols
from diffgraph.ir.expression import Affine, Call, Expr, Read
from diffgraph.ir.form import Form
from diffgraph.ir.inline import inline
from diffgraph.ir.program import Definition, Program, Scan, Term
from diffgraph.passes.report import Report

#: What a scalar function costs beside an addition; those not listed cost 1.
COSTS = {
    "exp": 8, "log": 8, "tanh": 10, "sigmoid": 10, "sin": 10, "cos": 10, "erf": 12, "pow": 16, "random": 24,
    "normal_quantile": 24, "softplus": 16, "recip": 4, "sqrt": 4, "div": 4, "log1p": 10, "expm1": 10, "powi": 8,
}  # fmt: skip

#: A producer whose cost times the number of times it would be computed is at most this is computed again.
CHEAP = 4

#: Nothing is substituted into a body that would grow beyond this many distinct nodes, or read more operands.
MOST_NODES = 160
MOST_OPERANDS = 12


def fuse(program: Program, report: Report) -> Program:
    """Substitutes pointwise producers into their readers where that saves more memory traffic than it costs arithmetic.

    Before:
        input x[N, 3]
        h[n, i] = 2 * x[n, i] + 1
        y[n, i] = exp(h[n, i])
        output y

    After (`h` is left for `dce`):
        input x[N, 3]
        h[n, i] = 2 * x[n, i] + 1
        y[n, i] = exp(2 * x[n, i] + 1)
        output y
    """
    uses = Counter(name for s in program.statements for name in s.operands)
    uses.update(program.roots)
    producers: dict[str, Term] = {}
    made: dict[str, Definition] = {}
    statements = []
    fused = 0
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=fuse(statement.body, report))
        elif isinstance(statement, Definition):
            terms = []
            for term in statement.terms:
                better, count = _fused(term, producers, uses)
                fused += count
                terms.append(better)
            statement = replace(statement, terms=tuple(terms))
            made[statement.tensor.name] = statement
            if len(terms) == 1 and terms[0].form.is_pointwise and terms[0].form.op == "sum":
                producers[statement.tensor.name] = terms[0]
        statements.append(statement)
    if fused:
        report.did(f"computed {fused} pointwise result{'s' if fused > 1 else ''} where they are read")
    return program.with_(statements=tuple(statements))


def _fused(term: Term, producers: dict[str, Term], uses: Counter) -> tuple[Term, int]:
    """The term with every producer substituted that should be, and how many those were."""
    count = 0
    declined: set[str] = set()
    while True:
        for slot, name in enumerate(term.operands):
            producer = producers.get(name)
            if producer is None or name in declined:
                continue
            if not worthwhile(term.form, slot, producer.form, uses[name]):
                declined.add(name)
                continue
            candidate = _substituted(term, slot, producer)
            if len(candidate.operands) > MOST_OPERANDS or _size(candidate.form.body) > MOST_NODES:
                declined.add(name)
                continue
            term = candidate
            count += 1
            break
        else:
            return term, count


def _substituted(term: Term, slot: int, producer: Term) -> Term:
    form = inline(term.form, slot, producer.form)
    origins = tuple(dict.fromkeys((*term.provenance, *producer.provenance)))
    return canonical_term(Term(form, (*term.operands, *producer.operands), origins))


@lru_cache(maxsize=None)
def worthwhile(consumer: Form, slot: int, producer: Form, uses: int) -> bool:
    """Whether a producer that is read `uses` times should be computed inside this consumer."""
    price = cost(producer.body)
    if price == 0:
        return _is_view_for(consumer, producer)
    if not _reads_once(consumer, slot, producer):
        return False
    if any(type(a) is Call and a.function == "random" for a in _calls(producer.body)):
        return uses == 1
    return uses == 1 or price * (uses - 1) <= CHEAP


def _is_view_for(consumer: Form, producer: Form) -> bool:
    """A producer without arithmetic: a broadcast, a permutation, a slice, a constant. Reading through it is free, but a read
    at a computed place, or one that may be outside, is not what a contraction wants in its inner loop."""
    reads = [e for e in _nodes(producer.body) if type(e) is Read]
    simple = all(r.otherwise is None and not any(a.slots for p in r.place for a in (p,)) for r in reads)
    return simple or consumer.is_pointwise


def _reads_once(consumer: Form, slot: int, producer: Form) -> bool:
    """The consumer visits each element of the producer about once: as many places as elements, or fewer."""
    reads = {e for e in _nodes(consumer.body) if type(e) is Read and e.slot == slot}
    if len(reads) > 1:
        return False
    visited, elements = product(consumer.domain), product(producer.shape)
    if visited == elements:
        return True
    if isinstance(visited, int) and isinstance(elements, int):
        return visited <= elements
    one = dict.fromkeys(symbols(visited) | symbols(elements), 1)


    v, e = substitute(visited, one), substitute(elements, one)
    return symbols(visited) <= symbols(elements) and isinstance(v, int) and isinstance(e, int) and v <= e


@lru_cache(maxsize=None)
def cost(body: Expr) -> int:
    """The arithmetic of a body; places and reads are free."""
    return sum(COSTS.get(e.function, 1) * max(1, len(e.args) - 1) for e in _calls(body))


def _calls(body: Expr) -> list[Call]:
    return [e for e in _nodes(body) if type(e) is Call]


def _size(body: Expr) -> int:
    return len(_nodes(body))


@lru_cache(maxsize=1 << 14)
def _nodes(body: Expr) -> tuple[Expr, ...]:
    """Every distinct node that computes a value; what is inside places is left out."""
    seen: dict[Expr, None] = {}
    stack = [body]
    while stack:
        e = stack.pop()
        if e in seen or type(e) is Affine:
            continue
        seen[e] = None
        stack.extend(() if type(e) is Read else e.children)
    return tuple(seen)
