"""Every form in its canonical form, so that what is equal looks equal."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.absorb import absorb
from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.form import Form
from diffgraph.ir.program import Definition, Program, Scan, Statement, Tensor, Term
from diffgraph.ir.simplify import ZERO, is_zero
from diffgraph.passes.report import Report


def canonicalize(program: Program, report: Report) -> Program:
    """Each term in canonical form; equalities with one solution become places; terms that are 0 everywhere vanish.
    Derivatives that the user wrote have done their work and are dropped.

    Before:
        input x[N, 3]
        y[n, i] = x[n, i] * 2 + 0 * x[n, 2 - i]
        output y

    After:
        input x[N, 3]
        y[n, i] = 2 * x[n, i]
        output y
    """
    return program.with_(statements=tuple(_statement(s, report) for s in program.statements))


def _statement(statement: Statement, report: Report) -> Statement:
    if isinstance(statement, Scan):
        return replace(statement, body=canonicalize(statement.body, report))
    if not isinstance(statement, Definition):
        return statement
    terms = tuple(_term(t) for t in statement.terms)
    kept = tuple(t for t in terms if not (t.form.op == "sum" and is_zero(t.form.body)))
    if not kept:
        kept = (_nothing(statement.tensor, statement.terms),) if statement.tensor.kind == "float" else terms[:1]
    return Definition(statement.tensor, kept)


def _term(term: Term) -> Term:
    term = canonical_term(term)
    # A map stays a map: there an equality costs no more than the place it would become.
    solved = absorb(term.form) if term.form.reduced else term.form
    return term if solved is term.form else canonical_term(replace(term, form=solved))


def _nothing(tensor: Tensor, terms: tuple[Term, ...]) -> Term:
    """A term that is 0 everywhere."""
    write = tuple(index(k) for k in range(len(tensor.shape)))
    origins = tuple(dict.fromkeys(o for t in terms for o in t.provenance))
    return Term(Form(tensor.shape, "sum", write, tensor.shape, (), ZERO), (), origins)
