"""Terms that write elsewhere than along the axes of the result become terms that gather."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.form import Form
from diffgraph.ir.phases import phases
from diffgraph.ir.program import Definition, Program, Scan, Statement, Term
from diffgraph.ir.simplify import is_zero
from diffgraph.ir.solve import solve
from diffgraph.passes.report import Report
from diffgraph.passes.unflatten import digits_of


def gather(program: Program, report: Report) -> Program:
    """Takes a term that adds to places which several of its points share, such as the data gradient of a convolution,
    apart into terms that write each place once: one for each remainder of the place by the stride. A term that writes
    one computed place of each row becomes a map, and so does one that is written in digits: maps fuse. What is written at offsets (a concatenation) or at places that many points compute (the gradient of
    an embedding) stays.

    Before:
        input g[N, 8]
        input w[3]
        y[n, h < 17] = sum[i, p](w[p] * g[n, i] if h == 2 * i + p else 0)
        output y

    After:
        input g[N, 8]
        input w[3]
        y[n, h < 17] = sum[i < 9, p < 2](w[2 * p] * (g[n, i - p] else 0) if h == 2 * i else 0)
                     + sum[i](w[1] * g[n, i] if h == 2 * i + 1 else 0)
        output y
    """
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=gather(statement.body, report))
        elif isinstance(statement, Definition):
            terms = tuple(t for term in statement.terms for t in _gathered(statement, term, report))
            statement = replace(statement, terms=terms or statement.terms)
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def _gathered(definition: Definition, term: Term, report: Report) -> list[Term]:
    """The terms that make what a term of a definition makes."""
    form, name = term.form, definition.tensor.name
    if form.is_projection:
        return [term]
    if (made := phases(form)) is not None:
        count = f"{len(made)} phases" if len(made) > 1 else "a gather"
        report.did(f"{name}: a sum written through a window became {count}", term.provenance)
        pieces = (canonical_term(Term(f, term.operands, term.provenance)) for f in made)
        return [p for p in pieces if not is_zero(p.form.body)]
    reason = _reason_for_map(form, len(definition.terms))
    solved = solve(form) if reason is not None else None
    if solved is None:
        return [term]
    report.did(f"{name}: what was written {reason} became a map", term.provenance)
    return [canonical_term(replace(term, form=solved))]


def _reason_for_map(form: Form, terms: int) -> str | None:
    """How a term is written that is better made as a map over the axes of the result; None where it is as good as it
    is: a sum that is written in digits, and is all that its tensor is made of, is left to `unflatten`."""
    if form.reduced and (terms == 1 or any(w.slots for w in form.write)):
        return None
    if any(w.slots for w in form.write):
        return "at one computed place of each row"
    return None if digits_of(form) is None else "in digits"
