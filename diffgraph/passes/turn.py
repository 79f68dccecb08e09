"""Matrices that a product of many rows reads across are transposed before it."""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.dimension import product, symbols
from diffgraph.ir.program import Builder, Definition, Program, Scan, Statement, Term
from diffgraph.passes.cost import usual
from diffgraph.passes.lift import axis_across, reading_turned, transposed
from diffgraph.passes.report import Report

#: Rows of a product from which transposing one of its factors costs little beside it.
MANY_ROWS = 512


def turn(program: Program, report: Report) -> Program:
    """Transposes the small matrices of products that scans read, which are made for all their steps at once.

    Before:
        input x[99, N, 8]
        input w[8, 8]
        a[t, n, i] = sum[j](x[t, n, j] * w[i, j])
        y = scan t in 0..99 from h = zeros([N, 8]) {
            s[n, i] = tanh(h[n, i] + a[t, n, i])
            next h = s
        }
        output y

    After:
        input x[99, N, 8]
        input w[8, 8]
        turned[j, i] = w[i, j]
        a[t, n, i] = sum[j](x[t, n, j] * turned[j, i])
        y = scan t in 0..99 from h = zeros([N, 8]) {
            s[n, i] = tanh(h[n, i] + a[t, n, i])
            next h = s
        }
        output y
    """
    read = {o for s in program.statements if isinstance(s, Scan) for o in s.operands}
    names = Builder(program)
    statements: list[Statement] = []
    known: dict[tuple[str, int], str] = {}

    def turned(term: Term) -> Term:
        for slot, name in enumerate(term.operands):
            axis = axis_across(term.form, slot)
            rows = product(usual(s) for s in term.form.shape[:-1])
            if axis is None or rows < MANY_ROWS or any(symbols(s) for s in names.tensors[name].shape):
                continue
            if (name, axis) not in known:
                made = transposed(names.tensors[name], axis, names.fresh(f"{name}_turned"), term)
                known[name, axis] = made.tensor.name
                names.tensors[made.tensor.name] = made.tensor
                statements.append(made)
                report.did(f"{name}: transposed before a product that a scan reads", term.provenance)
            operands = (*term.operands[:slot], known[name, axis], *term.operands[slot + 1 :])
            return canonical_term(Term(reading_turned(term.form, slot, axis), operands, term.provenance))
        return term

    for statement in program.statements:
        if isinstance(statement, Definition) and statement.tensor.name in read:
            statement = replace(statement, terms=tuple(map(turned, statement.terms)))
        statements.append(statement)
    return program.with_(statements=tuple(statements))
