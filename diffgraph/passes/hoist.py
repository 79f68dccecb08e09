"""Factors that do not depend on what is summed leave the sum."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.evaluate import result_kind
from diffgraph.ir.expression import Const, Expr, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Builder, Definition, Program, Scan, Statement, Tensor, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import ONE, conjunction, mul, where, zero_like
from diffgraph.passes.report import Report


def hoist(program: Program, report: Report) -> Program:
    """Splits a sum into the sum of what is summed and the rest, which is done once for each element of the result. Sums
    that then are equal are found by `cse`: the two reductions in the gradient of a batch normalization are.

    Before:
        input x[N, 3]
        input s[N]
        y[n] = sum[i](x[n, i] * exp(s[n]))
        output y

    After:
        input x[N, 3]
        input s[N]
        t[n] = sum[i](x[n, i])
        y[n] = exp(s[n]) * t[n]
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=hoist(statement.body, report))
        elif isinstance(statement, Definition):
            terms = []
            for term in statement.terms:
                split = split_sum(term.form)
                if split is None:
                    terms.append(term)
                    continue
                inner = Tensor(names.fresh(f"{statement.tensor.name}_sum"), split.inner.shape, result_kind(split.inner))
                names.tensors[inner.name] = inner
                operands = tuple(term.operands[k] for k in split.inner_slots)
                statements.append(Definition(inner, (Term(split.inner, operands, term.provenance),)))
                outside = tuple(inner.name if k is None else term.operands[k] for k in split.outer_slots)
                terms.append(Term(split.outer, outside, term.provenance))
                report.did(f"{statement.tensor.name}: factors left the sum {inner.name}", term.provenance)
            statement = replace(statement, terms=tuple(terms))
        statements.append(statement)
    return program.with_(statements=tuple(statements))


@dataclass(frozen=True)
class SplitSum:
    """A sum taken apart: `outer` is a map that reads the result of `inner` (the slot that is None in `outer_slots`) and
    operands of the sum."""

    inner: Form
    inner_slots: tuple[int, ...]
    outer: Form
    outer_slots: tuple[int | None, ...]


@cache
def split_sum(form: Form) -> SplitSum | None:
    """The factors and conditions of a sum that are the same for all that is summed, apart from the others; None where
    there are none that are worth it."""
    if form.op != "sum" or not form.reduced or not form.is_projection:
        return None
    conditions, factors = conditions_and_factors(form.body)
    varies = frozenset(form.reduced)
    outside = [f for f in factors if varies.isdisjoint(f.indices)]
    inside = [f for f in factors if not varies.isdisjoint(f.indices)]
    outer_conditions = [c for c in conditions if varies.isdisjoint(c.indices)]
    inner_conditions = [c for c in conditions if not varies.isdisjoint(c.indices)]
    if not _worthwhile(outside, outer_conditions, inside, inner_conditions):
        return None
    kinds = tuple(o.kind for o in form.operands)
    product = mul(*inside, kinds=kinds) if inside else ONE
    summed = where(conjunction(*inner_conditions), product, zero_like(product, kinds), kinds)
    inner, inner_slots = canonical(Form(form.domain, "sum", form.write, form.shape, form.operands, summed))
    outer, outer_slots = _outer(form, inner, conjunction(*outer_conditions), outside)
    return SplitSum(inner, inner_slots, outer, outer_slots)


def _worthwhile(outside: list[Expr], outer_conditions, inside: list[Expr], inner_conditions) -> bool:
    """Something that is computed leaves; or a number leaves a sum of products, which then is a plain contraction."""
    if not inside and not inner_conditions:
        return False
    if outer_conditions or any(type(f) is not Const and (f.slots or f.indices) for f in outside):
        return True
    return bool(outside) and len(inside) > 1


def _outer(form: Form, inner: Form, condition: Expr, factors: list[Expr]) -> tuple[Form, tuple[int | None, ...]]:
    """The map over the result: the sum (its slot comes after those of the form) times the factors."""
    places = tuple(index(k) for k in range(len(form.shape)))
    operands = (*form.operands, Operand(form.shape, result_kind(inner)))
    kinds = tuple(o.kind for o in operands)
    axes = {alone_index(w): index(k) for k, w in enumerate(form.write)}
    moved = [substitute(f, axes, form.shape, None, kinds) for f in factors]
    product = mul(Read(len(form.operands), places, None), *moved, kinds=kinds)
    body = where(substitute(condition, axes, form.shape, None, kinds), product, zero_like(product, kinds), kinds)
    outer, slots = canonical(Form(form.shape, "sum", places, form.shape, operands, body))
    return outer, tuple(None if k == len(form.operands) else k for k in slots)
