"""What is costly and varies along few axes is computed once for those, not in every step of a larger loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir import scalar
from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Call, Expr, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.program import Builder, Definition, Program, Scan, Statement, Tensor, Term
from diffgraph.ir.rewrite import rewrite, substitute
from diffgraph.ir.settle import settle
from diffgraph.passes.cost import cost, usual
from diffgraph.passes.report import Report

#: Arithmetic from which an expression is worth a tensor of its own (a division or a root), ...
COSTLY = 4

#: ... if it would otherwise be computed this many times as often.
REPEATED = 8


def extract(program: Program, report: Report) -> Program:
    """Makes tensors of costly parts of a body that vary along few of its axes: the factor 1 / sqrt(var[c] + eps) of a
    batch normalization, the corrections of an optimizer that depend on the step only.

    Before:
        input x[N, 64, 64]
        input v[64]
        y[n, c, i] = x[n, c, i] / sqrt(v[c] + 1)
        output y

    After:
        input x[N, 64, 64]
        input v[64]
        s[c] = 1 / sqrt(v[c] + 1)
        y[n, c, i] = x[n, c, i] * s[c]
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=extract(statement.body, report))
        elif isinstance(statement, Definition):
            terms = []
            for term in statement.terms:
                made, term = _extracted(statement.tensor, term, names)
                statements += made
                terms.append(term)
                for part in made:
                    once = ", ".join(str(s) for s in part.tensor.shape)
                    text = f"{statement.tensor.name}: {part.tensor.name} is computed once for each of [{once}]"
                    report.did(text, term.provenance)
            statement = replace(statement, terms=tuple(terms))
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def _extracted(tensor: Tensor, term: Term, names: Builder) -> tuple[list[Definition], Term]:
    extraction = extraction_from(term.form)
    if extraction is None:
        return [], term
    made = []
    for part, slots, kind in zip(extraction.parts, extraction.part_slots, extraction.kinds):
        new = Tensor(names.fresh(f"{tensor.name}_{_title(part)}"), part.shape, kind)
        names.tensors[new.name] = new
        made.append(Definition(new, (Term(part, tuple(term.operands[k] for k in slots), term.provenance),)))
    operands = (*term.operands, *(d.tensor.name for d in made))
    return made, Term(extraction.rest, tuple(operands[k] for k in extraction.rest_slots), term.provenance)


def _title(form: Form) -> str:
    """A name for what a part is: the function that comes last."""
    return {"recip": "inverse", "mul": "factor", "add": "sum"}.get(form.body.function, form.body.function)


@dataclass(frozen=True)
class Extraction:
    """A form taken apart: `parts` are maps of operands of the form (`part_slots`); `rest` reads operands and, in slots
    from len(operands) on, the parts."""

    parts: tuple[Form, ...]
    part_slots: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]
    rest: Form
    rest_slots: tuple[int, ...]


@cache
def extraction_from(form: Form) -> Extraction | None:
    """The costly parts of a form that vary along few of its axes, and the rest; None where there are none."""
    found = _costly_parts(form)
    if not found:
        return None
    kinds = tuple(o.kind for o in form.operands)
    parts, part_slots, new_operands, reads = [], [], [], {}
    for e in found:
        axes = sorted(e.indices)
        shape = tuple(form.domain[k] for k in axes)
        own = substitute(e, {k: index(n) for n, k in enumerate(axes)}, shape, None, kinds)
        places = tuple(index(n) for n in range(len(axes)))
        part, slots = canonical(Form(shape, "sum", places, shape, form.operands, own))
        parts.append(part)
        part_slots.append(slots)
        reads[e] = Read(len(form.operands) + len(new_operands), tuple(index(k) for k in axes), None)
        new_operands.append(Operand(shape, scalar.kind_of(e, kinds)))
    operands = (*form.operands, *new_operands)
    wider = tuple(o.kind for o in operands)
    body = rewrite(form.body, lambda e: e, wider, dict(reads))
    rest, rest_slots = canonical(settle(Form(form.domain, form.op, form.write, form.shape, operands, body)))
    new_kinds = tuple(o.kind for o in new_operands)
    return Extraction(tuple(parts), tuple(part_slots), new_kinds, rest, rest_slots)


def _costly_parts(form: Form) -> list[Call]:
    """The outermost expressions that are worth it, in an order of their content."""
    found: list[Call] = []
    seen: set[Expr] = set()
    stack = [form.body]
    while stack:
        e = stack.pop()
        if e in seen or type(e) is not Call:
            continue
        seen.add(e)
        if _is_worthwhile(e, form):
            found.append(e)
        else:
            stack.extend(e.children)
    return sorted(found, key=lambda e: e.digest)


def _is_worthwhile(e: Call, form: Form) -> bool:
    """The expression is costly and would be repeated often. Of a sum or a product its costly parts are looked at."""
    if cost(e) < COSTLY or not (e.slots or e.indices) or e.function in ("add", "mul", "where", "and", "or"):
        return False
    points = product(usual(s) for s in form.domain)
    own = product(usual(form.domain[k]) for k in e.indices)
    return points >= REPEATED * own
