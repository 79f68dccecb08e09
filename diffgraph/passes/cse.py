"""Common subexpressions: what is computed twice is computed once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from diffgraph.ir.expression import Read
from diffgraph.ir.program import Argsort, Definition, Program, Reshape, Scan, Statement, Tensor, Term
from diffgraph.ir.rename import rename_program, rename_statement
from diffgraph.passes.report import Report


def cse(program: Program, report: Report) -> Program:
    """Merges definitions with the same terms over the same tensors; the one that stays carries the origins of all. What
    only copies a tensor is that tensor.

    Draws are told apart by the site in their form, so two dropouts never merge.

    Before:
        input x[N, 3]
        a[n, i] = exp(x[n, i])
        b[n, i] = exp(x[n, i])
        c[n, i] = b[n, i]
        y[n, i] = a[n, i] + c[n, i]
        output y

    After:
        input x[N, 3]
        a[n, i] = exp(x[n, i])
        y[n, i] = a[n, i] + a[n, i]
        output y
    """
    # A result stays apart from an input, which may be overwritten or belong to somebody else.
    return _merge(program, program.roots, {i.tensor.name for i in program.inputs}, report)[0]


def _merge(
    program: Program, roots: Collection[str], fixed: Collection[str], report: Report
) -> tuple[Program, dict[str, str]]:
    """The program without duplicates, and what each tensor that went is called now. A root is none of the `fixed` ones."""
    first: dict[tuple, int] = {}
    names: dict[str, str] = {}
    kept: list[Statement] = []
    copies = 0
    for statement in program.statements:
        statement = rename_statement(statement, names)
        if isinstance(statement, Scan):
            statement = _merge_yields(_merge_body(statement, report), names)
        source = _copied(statement, program.tensors)
        if source is not None and not (source in fixed and statement.results[0].name in roots):
            names[statement.results[0].name] = source
            copies += 1
            continue
        key = _key(statement)
        if key is not None and key in first:
            same = kept[first[key]]
            names.update((t.name, s.name) for t, s in zip(statement.results, same.results))
            kept[first[key]] = _with_origins(same, statement)
            continue
        if key is not None:
            first[key] = len(kept)
        kept.append(statement)
    merged = len(names) - copies
    if merged:
        report.did(
            f"merged {merged} definition{'s that compute' if merged > 1 else ' that computes'} what another one does"
        )
    if copies:
        report.did(f"removed {copies} cop{'ies' if copies > 1 else 'y'} of tensors")
    return rename_program(program.with_(statements=()), names).with_(statements=tuple(kept)), names


def _merge_body(scan: Scan, report: Report) -> Scan:
    """The scan with a body without duplicates: what it carries and yields follows."""
    body, names = _merge(scan.body, (), (), report)
    return replace(
        scan,
        body=body,
        carries=tuple(replace(c, next=names.get(c.next, c.next)) for c in scan.carries),
        yields=tuple(replace(y, inner=names.get(y.inner, y.inner)) for y in scan.yields),
    )


def _merge_yields(scan: Scan, names: dict[str, str]) -> Scan:
    """The scan with what is yielded twice yielded once; `names` gets what the other one is called now."""
    first: dict[str, Tensor] = {}
    for y in scan.yields:
        kept = first.setdefault(y.inner, y.stacked)
        if kept is not y.stacked:
            names[y.stacked.name] = kept.name
    return replace(scan, yields=tuple(y for y in scan.yields if first[y.inner] is y.stacked))


def _copied(statement: Statement, tensors: Mapping[str, Tensor]) -> str | None:
    """The tensor that the statement makes again."""
    tensor = statement.results[0]
    if isinstance(statement, Reshape):
        return statement.operand if tensor.operand == tensors[statement.operand].operand else None
    if not isinstance(statement, Definition) or len(statement.terms) != 1 or statement.gradient is not None:
        return None
    form = statement.terms[0].form
    if not form.is_pointwise or type(form.body) is not Read or form.body.place != form.write:
        return None
    source = statement.terms[0].operands[form.body.slot]
    return source if tensors[source].operand == tensor.operand else None


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
