"""Sums that write through a window become gathers, phase by phase."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.phases import phases
from diffgraph.ir.program import Definition, Program, Scan, Statement, Term
from diffgraph.ir.simplify import is_zero
from diffgraph.passes.report import Report


def phase(program: Program, report: Report) -> Program:
    """Takes a term that adds to places which several of its points share, such as the data gradient of a convolution,
    apart into terms that write each place once: one for each remainder of the place by the stride.

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
            statement = replace(statement, body=phase(statement.body, report))
        elif isinstance(statement, Definition):
            statement = replace(statement, terms=_in_phases(statement, report))
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def _in_phases(definition: Definition, report: Report) -> tuple[Term, ...]:
    terms: list[Term] = []
    for term in definition.terms:
        made = phases(term.form)
        if made is None:
            terms.append(term)
            continue
        pieces = [canonical_term(Term(f, term.operands, term.provenance)) for f in made]
        terms += [p for p in pieces if not is_zero(p.form.body)]
        count = f"{len(made)} phases" if len(made) > 1 else "a gather"
        report.did(f"{definition.tensor.name}: a sum written through a window became {count}", term.provenance)
    return tuple(terms) or definition.terms
