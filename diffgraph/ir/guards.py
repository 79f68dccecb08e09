"""Guards on reads that may leave their operands once indices are replaced by expressions."""

from __future__ import annotations

from diffgraph.ir.affine import is_inside
from diffgraph.ir.expression import Const, Expr, Read
from diffgraph.ir.form import Form
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.settle import bounds_of
from diffgraph.ir.simplify import conjunction, where, zero_like

ZERO_OF = {"float": Const(0.0), "int": Const(0), "bool": Const(False)}


def kinds_of(form: Form) -> tuple[str, ...]:
    """The kind of each operand."""
    return tuple(o.kind for o in form.operands)


def guard_reads(form: Form) -> Form:
    """The form with a guard (0 outside) on each read without one that is not shown to be inside."""

    def guard(e: Expr) -> Expr:
        if type(e) is not Read or e.otherwise is not None:
            return e
        operand = form.operands[e.slot]
        if all(is_inside(p, s, form.domain, form.operands) for p, s in zip(e.place, operand.shape)):
            return e
        return Read(e.slot, e.place, ZERO_OF[operand.kind])

    body = rewrite(form.body, guard, kinds_of(form))
    return form if body is form.body else Form(form.domain, form.op, form.write, form.shape, form.operands, body)


def only_where(form: Form, conditions: list[Expr]) -> Form:
    """The form whose body is 0 where not all conditions hold. Reads outside of them get guards."""
    form = guard_reads(form)
    kinds = kinds_of(form)
    body = where(conjunction(*conditions), form.body, zero_like(form.body, kinds), kinds)
    return Form(form.domain, form.op, form.write, form.shape, form.operands, body)


def inside(place, extent, form: Form) -> list[Expr]:
    """The conditions 0 <= place < extent, without those that always hold."""
    return list(bounds_of(place, extent, form))
