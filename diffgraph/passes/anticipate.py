"""Derivatives of activation functions are computed with them, which have done most of the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.expression import Call, Expr, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import add, mul
from diffgraph.passes.cost import COSTS, nodes
from diffgraph.passes.report import Report

#: What two maps must have in common, as much as an exponential function.
ENOUGH_IN_COMMON = COSTS["exp"]


def anticipate(program: Program, report: Report) -> Program:
    """Where a tensor is kept only for a factor that a later map computes of it, and an earlier map of it computes most of
    that factor, the factor is made beside the earlier map and kept instead: as much memory, and half the work.

    Before:
        input x[N, 8]
        input d[N, 8]
        a[n, i] = 2 * x[n, i]
        y[n, i] = erf(a[n, i])
        z[n, i] = (exp(-a[n, i]^2) + erf(a[n, i])) * d[n, i]
        output y
        output z

    After:
        input x[N, 8]
        input d[N, 8]
        a[n, i] = 2 * x[n, i]
        y[n, i] = erf(a[n, i])
        z_factor[n, i] = erf(a[n, i]) + exp(-a[n, i]^2)
        z[n, i] = z_factor[n, i] * d[n, i]
        output y
        output z
    """
    readers = _readers(program)
    builder = Builder(program)
    after: dict[int, list[Statement]] = {}
    changed: dict[int, Statement] = {}
    for at, statement in enumerate(program.statements):
        found = _anticipated(program, readers, at, statement)
        if found is None:
            continue
        place, parts = found
        tensor = Tensor(builder.fresh(f"{statement.tensor.name}_factor"), statement.tensor.shape)
        builder.tensors[tensor.name] = tensor
        (term,) = statement.terms
        after.setdefault(place, []).append(_factor(tensor, parts, term))
        changed[at] = _product(statement, tensor, parts)
        report.did(f"{tensor.name}: is computed beside {program.statements[place].tensor.name}", term.provenance)
    statements: list[Statement] = []
    for at, statement in enumerate(program.statements):
        statements += [changed.get(at, statement), *after.get(at, ())]
    return program.with_(statements=tuple(statements)) if changed else program


@dataclass(frozen=True)
class _Parts:
    """A body over the axes of the result as factor * rest, the factor being one of the tensor in a slot."""

    slot: int
    factor: Expr
    rest: Expr


def _readers(program: Program) -> dict[str, list[int]]:
    """Where each tensor is read; at -1 where what is outside of the program sees it."""
    found: dict[str, list[int]] = {}
    for at, statement in enumerate(program.statements):
        for name in dict.fromkeys(statement.operands):
            found.setdefault(name, []).append(at)
    for name in program.roots:
        found.setdefault(name, []).append(-1)
    return found


def _anticipated(program: Program, readers, at: int, statement: Statement) -> tuple[int, _Parts] | None:
    """(where the map is beside which a factor of a later one is best computed, that one in parts)."""
    body = _body(statement)
    if body is None or len(statement.terms[0].operands) < 2:
        return None
    (term,) = statement.terms
    for slot, name in enumerate(term.operands):
        earlier = [k for k in readers[name] if k != at]
        if name in term.operands[:slot] or any(k < 0 or k > at for k in earlier) or not earlier:
            continue
        others = [(program.statements[k], _body(program.statements[k])) for k in earlier]
        if not _is_made(program, name) or any(b is None or s.tensor.shape != statement.tensor.shape for s, b in others):
            continue
        parts = _parts(body, slot, len(statement.tensor.shape))
        if parts is None or not all(_is_own(b, s.terms[0].operands.index(name)) for s, b in others):
            continue
        alike = {slot: 0}
        own = {e for e in nodes(_over(parts.factor, alike)) if _is_slow(e)}
        for k, (s, b) in zip(earlier, others):
            common = own & {*nodes(_over(b, {s.terms[0].operands.index(name): 0}))}
            if sum(COSTS[e.function] for e in common) >= ENOUGH_IN_COMMON:
                return k, parts
    return None


def _is_made(program: Program, name: str) -> bool:
    """Whether a tensor is computed here, not given from outside."""
    return all(i.tensor.name != name for i in program.inputs)


def _is_slow(e: Expr) -> bool:
    return type(e) is Call and COSTS.get(e.function, 1) >= ENOUGH_IN_COMMON


def _over(body: Expr, slots: dict[int, int]) -> Expr:
    """A body with slots renumbered, so that equal ones look equal."""
    return substitute(body, {}, None, slots)


def _body(statement: Statement) -> Expr | None:
    """The body of a definition that is one map of floats, over the axes of the result; None for others."""
    if not isinstance(statement, Definition) or len(statement.terms) != 1 or statement.gradient is not None:
        return None
    form = statement.terms[0].form
    if statement.tensor.kind != "float" or not form.is_pointwise or form.op != "sum":
        return None
    return _over_results(form)


@cache
def _over_results(form: Form) -> Expr:
    axes = {alone_index(w): index(k) for k, w in enumerate(form.write)}
    return substitute(form.body, axes, form.shape, None, tuple(o.kind for o in form.operands))


def _is_own(body: Expr, slot: int) -> bool:
    """Whether an operand is read only where the result is written, axis by axis."""
    reads = [e for e in nodes(body) if type(e) is Read and e.slot == slot]
    return all(r.otherwise is None and [alone_index(p) for p in r.place] == [*range(len(r.place))] for r in reads)


@cache
def _parts(body: Expr, slot: int, rank: int) -> _Parts | None:
    """A body as a factor of one operand alone, read where the result is written, times the rest; None where that is not to
    be seen."""
    if not _is_own(body, slot) or not all(len(e.place) == rank for e in nodes(body) if type(e) is Read and e.slot == slot):
        return None
    addends = body.args if type(body) is Call and body.function == "add" else (body,)
    factors, rests = [], []
    for addend in addends:
        args = addend.args if type(addend) is Call and addend.function == "mul" else (addend,)
        own = [a for a in args if not a.indices or a.slots == {slot}]
        factors.append(mul(*own))
        rests.append([a for a in args if a not in own])
    if not rests[0] or any(r != rests[0] for r in rests) or any(slot in r.slots for r in rests[0]):
        return None
    return _Parts(slot, add(*factors), mul(*rests[0]))


def _factor(tensor: Tensor, parts: _Parts, of: Term) -> Definition:
    """The definition of a factor."""
    operand: Operand = of.form.operands[parts.slot]
    places = tuple(index(k) for k in range(len(tensor.shape)))
    form = Form(tensor.shape, "sum", places, tensor.shape, (operand,), _over(parts.factor, {parts.slot: 0}))
    return Definition(tensor, (canonical_term(Term(form, (of.operands[parts.slot],), of.provenance)),))


def _product(definition: Definition, factor: Tensor, parts: _Parts) -> Definition:
    """The definition with its factor as an operand, in the place of what that is made of."""
    (term,) = definition.terms
    shape = definition.tensor.shape
    places = tuple(index(k) for k in range(len(shape)))
    body = mul(Read(parts.slot, places, None), parts.rest)
    operands = _replaced(term.form.operands, parts.slot, factor.operand)
    names = _replaced(term.operands, parts.slot, factor.name)
    form = Form(shape, "sum", places, shape, operands, body)
    return replace(definition, terms=(canonical_term(replace(term, form=form, operands=names)),))


def _replaced(values: Sequence, at: int, value) -> tuple:
    return (*values[:at], value, *values[at + 1 :])
