"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.program import Argsort, Definition, Program, Reshape, Scan, Statement, Term
from diffgraph.ir.rename import rename_program, rename_statement
from diffgraph.passes.report import Report


def cse(program: Program, report: Report) -> Program:
    """Merges definitions with the same terms over the same tensors; the one that stays carries the origins of all.

    Draws are told apart by the site in their form, so two dropouts never merge.

    Before:
        input x[N, 3]
        a[n, i] = exp(x[n, i])
        b[n, i] = exp(x[n, i])
        y[n, i] = a[n, i] + b[n, i]
        output y

    After:
        input x[N, 3]
        a[n, i] = exp(x[n, i])
        y[n, i] = a[n, i] + a[n, i]
        output y
    """
    return _merge(program, report)[0]


def _merge(program: Program, report: Report) -> tuple[Program, dict[str, str]]:
    """The program without duplicates, and what each tensor that went is called now."""
    first: dict[tuple, int] = {}
    names: dict[str, str] = {}
    kept: list[Statement] = []
    for statement in program.statements:
        statement = rename_statement(statement, names)
        if isinstance(statement, Scan):
            statement = _merge_body(statement, report)
        key = _key(statement)
        if key is not None and key in first:
            same = kept[first[key]]
            names.update((t.name, s.name) for t, s in zip(statement.results, same.results))
            kept[first[key]] = _with_origins(same, statement)
            continue
        if key is not None:
            first[key] = len(kept)
        kept.append(statement)
    if names:
        report.did(f"merged {len(names)} definition{'s' if len(names) > 1 else ''} that compute the same")
    return rename_program(program.with_(statements=()), names).with_(statements=tuple(kept)), names


def _merge_body(scan: Scan, report: Report) -> Scan:
    """The scan with a body without duplicates: what it carries and yields follows."""
    body, names = _merge(scan.body, report)
    return replace(
        scan,
        body=body,
        carries=tuple(replace(c, next=names.get(c.next, c.next)) for c in scan.carries),
        yields=tuple(replace(y, inner=names.get(y.inner, y.inner)) for y in scan.yields),
    )


def _key(statement: Statement) -> tuple | None:
    """Equal for statements that compute the same; None for those that are never merged."""
    if isinstance(statement, Definition):
        if statement.gradient is not None:
            return None
        terms = sorted((t.form.digest, t.operands) for t in statement.terms)
        return "definition", tuple(terms), statement.tensor.kind, statement.tensor.bound
    if isinstance(statement, Reshape):
        return "reshape", statement.operand, statement.tensor.shape
    if isinstance(statement, Argsort):
        return "argsort", statement.operand, statement.descending
    return None


def _with_origins(kept: Statement, merged: Statement) -> Statement:
    """The statement that stays, with the provenance of the one that goes."""
    if isinstance(kept, Definition):
        terms = dict(zip(_order(merged.terms), merged.terms))
        joined = tuple(replace(t, provenance=_union(t, terms[key])) for key, t in zip(_order(kept.terms), kept.terms))
        return replace(kept, terms=joined)
    return replace(kept, provenance=_union(kept, merged))


def _order(terms: tuple[Term, ...]) -> list[tuple]:
    return [(t.form, t.operands) for t in terms]


def _union(a, b):
    return tuple(dict.fromkeys((*a.provenance, *b.provenance)))
