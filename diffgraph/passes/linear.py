"""Terms that are linear in one tensor: `filter * read + shift`, summed, with a filter and a shift that are the same in
every run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from diffgraph.ir.expression import Call, Expr, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.simplify import ONE, ZERO, add, divide_by, is_zero, mul, negate


@dataclass(frozen=True)
class Linear:
    """The term of a form as the sum over its domain of `filter * read + shift`. Only `read` depends on the inputs of a
    run; without a reduction there may be a shift. What is no map may write anywhere."""

    form: Form
    filter: Expr
    read: Read
    shift: Expr


@cache
def linear(form: Form, steady: frozenset[int]) -> Linear | None:
    """A form as a linear map of what one read gives; `steady` are its slots whose tensors do not depend on a run. None
    if it is no such map, or may be infinite where the read is not."""
    if form.op != "sum":
        return None
    kinds = tuple(o.kind for o in form.operands)
    if not form.is_pointwise:
        conditions, factors = conditions_and_factors(form.body)
        changing = [f for f in factors if not f.slots <= steady]
        if conditions or len(changing) != 1:
            return None
        found = affine_of(changing[0], steady, kinds)
        if found is None or not is_zero(found[2]):
            return None
        factor, read, shift = found
        factor = mul(factor, *(f for f in factors if f is not changing[0]), kinds=kinds)
    else:
        found = affine_of(form.body, steady, kinds)
        if found is None:
            return None
        factor, read, shift = found
    operand = form.operands[read.slot]
    if operand.kind != "float" or read.otherwise is not None and not is_zero(read.otherwise):
        return None
    return None if any(p.slots for p in read.place) else Linear(form, factor, read, shift)


def affine_of(e: Expr, steady: frozenset[int], kinds) -> tuple[Expr, Read, Expr] | None:
    """(factor, read, shift) where e is factor * read + shift and only the read is not steady; None where there are none."""
    if type(e) is Read:
        return None if e.slots <= steady else (ONE, e, ZERO)
    if type(e) is not Call or e.function not in ("add", "mul", "sub", "neg", "div"):
        return None
    changing = [k for k, a in enumerate(e.args) if not a.slots <= steady]
    if len(changing) != 1:
        return None
    (at,) = changing
    inner = affine_of(e.args[at], steady, kinds)
    if inner is None:
        return None
    factor, read, shift = inner
    others = [a for k, a in enumerate(e.args) if k != at]
    match e.function, at:
        case "add", _:
            return factor, read, add(shift, *others, kinds=kinds)
        case "mul", _:
            return mul(factor, *others, kinds=kinds), read, mul(shift, *others, kinds=kinds)
        case "sub", 0:
            return factor, read, add(shift, negate(others[0], kinds), kinds=kinds)
        case "sub", _:
            return negate(factor, kinds), read, add(others[0], negate(shift, kinds), kinds=kinds)
        case "neg", _:
            return negate(factor, kinds), read, negate(shift, kinds)
        case "div", 0:
            return divide_by(factor, others[0], kinds), read, divide_by(shift, others[0], kinds)
    return None


@dataclass(frozen=True)
class Peeled:
    """A map that is a function of a linear one: `inner` over the same slots, and `outer`, which reads the result of the
    inner one in the slot after those of the form."""

    inner: Form
    outer: Form


@cache
def peeled(form: Form, slot: int, steady: frozenset[int]) -> Peeled | None:
    """The largest linear part around the only read of a slot in a map, where that is not the whole; None where there
    is none."""
    if not form.is_pointwise or form.op != "sum":
        return None
    kinds = tuple(o.kind for o in form.operands)
    found = _part_around(form.body, slot, steady, kinds)
    if found is None:
        return None
    whole, part = found
    result = Read(len(form.operands), form.write, None)
    replacement = result if whole is part else add(result, _less(whole, part, kinds), kinds=kinds)
    body = rewrite(form.body, lambda e: e, (*kinds, "float"), {whole: replacement})
    if slot in body.slots:
        return None
    inner = Form(form.domain, "sum", form.write, form.shape, form.operands, part)
    operands = (*form.operands, Operand(form.shape))
    return Peeled(inner, Form(form.domain, "sum", form.write, form.shape, operands, body))


def _less(whole: Call, part: Expr, kinds) -> Expr:
    """The addends of a sum that are not in a part of it."""
    inside = part.args if type(part) is Call and part.function == "add" else (part,)
    rest = [a for a in whole.args if a not in inside]
    return add(*rest, kinds=kinds)


def _part_around(body: Expr, slot: int, steady: frozenset[int], kinds) -> tuple[Expr, Expr] | None:
    """(an expression of the body, the linear part of it that reads the slot): the same, or some addends of a sum."""
    e = body
    while type(e) is Call:
        if affine_of(e, steady, kinds) is not None:
            return (e, e) if e is not body else None
        reading = [a for a in e.args if slot in a.slots]
        if len(reading) != 1 or any(slot in a.slots for a in e.args if a is not reading[0]):
            return None
        (next_one,) = reading
        if e.function == "add" and affine_of(next_one, steady, kinds) is not None:
            taken = [a for a in e.args if a is next_one or a.slots and a.slots <= steady]
            part = add(*taken, kinds=kinds)
            return None if type(part) is Read else (e, part)
        e = next_one
    return None
