"""Algebra on the terms of a definition: what can be one term is one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Definition, Program, Scan, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import add
from diffgraph.passes.report import Report


def fold(program: Program, report: Report) -> Program:
    """Pointwise terms of one definition, such as the parts of a gradient that come from several readers, become one
    term.

    Before (each addend a term):
        input x[N, 3]
        y[n, i] = exp(x[n, i]) + 2 * x[n, i]
        output y

    After (one term):
        input x[N, 3]
        y[n, i] = exp(x[n, i]) + 2 * x[n, i]
        output y
    """
    statements = []
    folded = 0
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=fold(statement.body, report))
        elif isinstance(statement, Definition) and len(statement.terms) > 1:
            terms = joined(statement.terms)
            folded += len(statement.terms) - len(terms)
            statement = replace(statement, terms=terms)
        statements.append(statement)
    if folded:
        report.did(f"added {folded} pointwise term{'s' if folded > 1 else ''} to others of the same definition")
    return program.with_(statements=tuple(statements))


def joined(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """The terms of a definition, those that are maps as one."""
    pointwise = [t for t in terms if t.form.is_pointwise and t.form.op == "sum"]
    if len(pointwise) < 2:
        return terms
    joined = pointwise[0]
    for term in pointwise[1:]:
        form = _sum(joined.form, term.form)
        origins = tuple(dict.fromkeys((*joined.provenance, *term.provenance)))
        joined = Term(form, (*joined.operands, *term.operands), origins)
    return (*(t for t in terms if t not in pointwise), canonical_term(joined))


@cache
def _sum(a: Form, b: Form) -> Form:
    """The pointwise form whose body is the sum of both."""
    operands = a.operands + b.operands
    kinds = tuple(o.kind for o in operands)
    first = _over_outputs(a, 0)
    second = _over_outputs(b, len(a.operands))
    write = tuple(index(k) for k in range(len(a.shape)))
    return Form(a.shape, "sum", write, a.shape, operands, add(first, second, kinds=kinds))


def _over_outputs(form: Form, offset: int):
    """The body over the axes of the output, its slots moved."""
    places = {alone_index(w): index(k) for k, w in enumerate(form.write)}
    return substitute(form.body, places, form.shape, {k: k + offset for k in range(len(form.operands))})
