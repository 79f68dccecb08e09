"""The derivative of one form: the adjoint of a read is a write.

With the cotangent read at the place written, `g = dy[write]`, each distinct read `r` of a form's body gives a form over
the *same domain* that writes at `r.place` what is the partial derivative of the body by `r`, times `g`. Write and read
swap; nothing else changes, at every order. Only `g` depends on the reduction:

    sum       g
    max, min  g at the first extreme in row-major order, found by an argmax (argmin) of the same form; else 0
    prod      g times the product of the other factors, a form of its own: exact where factors are 0, at every order
    others    none
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from diffgraph.ir import scalar
from diffgraph.ir.affine import affine, index, is_inside
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.rewrite import rewrite, substitute
from diffgraph.ir.simplify import ZERO, add, call, is_zero, mul, where

#: What the slots of an adjoint read, beside the operands of the form (ints, its slots).
COTANGENT = "cotangent"
AUXILIARY = "auxiliary"
RESULT = "result"


@dataclass(frozen=True)
class Part:
    """What one read contributes: `form` makes a piece of the cotangent of the operand in `slot`. `reads` tells for each
    slot of `form` what stands there: an int (the operand in that slot of the original form), COTANGENT, AUXILIARY, or
    RESULT, the tensor that the original form made."""

    slot: int
    form: Form
    reads: tuple[int | str, ...]


@dataclass(frozen=True)
class Adjoint:
    """The derivative of a form. `auxiliary`, where there is one, is a form of the same operands that parts read."""

    parts: tuple[Part, ...]
    auxiliary: Form | None = None

    @property
    def slots(self) -> frozenset[int]:
        """The operands that get a cotangent."""
        return frozenset(p.slot for p in self.parts)


@lru_cache(maxsize=None)
def adjoint(form: Form, alone: bool = True) -> Adjoint:
    """The derivative of a form by each float operand that its value depends on smoothly.

    `alone` says that the form is the only term of its definition. Then a derivative in terms of the value, as that of
    `tanh`, reads the value instead of computing it again.
    """
    kinds = tuple(o.kind for o in form.operands)
    if form.op not in ("sum", "max", "min", "prod") or scalar.kind_of(form.body, kinds) != "float":
        return Adjoint(())
    count = len(form.operands)
    cotangent = _guarded_read(form, count)
    auxiliary = None
    special: tuple[Operand, ...] = (Operand(form.shape), Operand(form.shape))
    if form.reduced and form.op in ("max", "min"):
        auxiliary = Form(form.domain, f"arg{form.op}", form.write, form.shape, form.operands, form.body)
        special += (Operand(form.shape, "int", product(form.domain[k] for k in form.reduced)),)
        chosen = call("eq", rank(form.domain, form.reduced), _guarded_read(form, count + 2, Const(-1)))
        cotangent = where(chosen, cotangent, ZERO)
    elif form.reduced and form.op == "prod":
        auxiliary = product_of_others(form)
        special += (Operand(form.domain),)
        others = Read(count + 2, tuple(index(k) for k in range(len(form.domain))), None)
        cotangent = mul(cotangent, others, kinds=(*kinds, "float", "float", "float"))
    operands = (*form.operands, *special)
    names = (*range(count), COTANGENT, RESULT, AUXILIARY)
    parts = []
    for read, partial in partials(form.body, cotangent, operands):
        if alone and form.is_pointwise and isinstance(form.body, Call):
            known = _told_by_value(form.body, Read(count + 1, form.write, None), kinds)
            partial = rewrite(partial, lambda e: known.get(e, e), [o.kind for o in operands])
        whole = Form(form.domain, "sum", read.place, form.operands[read.slot].shape, operands, partial)
        simple, kept = canonical(whole)
        if not is_zero(simple.body):
            parts.append(Part(read.slot, simple, tuple(names[s] for s in kept)))
    return Adjoint(tuple(parts), auxiliary if parts else None)


def _told_by_value(body: Call, value: Read, kinds: tuple[str, ...]) -> dict[Expr, Expr]:
    """What the value of a body tells: itself, and of a relu where it lets through, so that what went in is not kept."""
    known: dict[Expr, Expr] = {body: value}
    if body.function == "relu":
        known[call("gt", body, ZERO, kinds=kinds)] = call("gt", value, ZERO, kinds=kinds)
    return known


def _guarded_read(form: Form, slot: int, otherwise: Expr = ZERO) -> Read:
    """What stands in a slot of the form's own shape at the place written; `otherwise` where that is outside."""
    places = zip(form.write, form.shape)
    inside = all(is_inside(w, extent, form.domain, form.operands) for w, extent in places)
    return Read(slot, form.write, None if inside else otherwise)


def rank(domain: tuple[Size, ...], axes: tuple[int, ...], moved: Mapping[int, int] = {}) -> Affine:
    """The row-major position among some axes, each at its own index, or at that of the axis it is moved to."""
    parts: list[tuple[Expr, int]] = []
    stride: Size = 1
    for axis in reversed(axes):
        place = Index(moved.get(axis, axis))
        parts.append((place, stride) if isinstance(stride, int) else (mul(Extent(stride), place), 1))
        stride = stride * domain[axis]
    return affine(0, parts)


def product_of_others(form: Form) -> Form:
    """For a product over some axes: at each point of the domain the product over all the other points of those axes."""
    axes = len(form.domain)
    moved = {k: axes + i for i, k in enumerate(form.reduced)}
    domain = (*form.domain, *(form.domain[k] for k in form.reduced))
    kinds = [o.kind for o in form.operands]
    other = substitute(form.body, {k: index(m) for k, m in moved.items()}, domain, None, kinds)
    same = call("eq", rank(form.domain, form.reduced), rank(form.domain, form.reduced, moved))
    everywhere = tuple(index(k) for k in range(axes))
    return Form(domain, "prod", everywhere, form.domain, form.operands, where(same, Const(1.0), other))


# ------------------------------------------------------------------------------------------------ reverse mode


def partials(body: Expr, cotangent: Expr, operands: tuple[Operand, ...]) -> list[tuple[Read, Expr]]:
    """The derivative of a body by each distinct float read, times the cotangent: one reverse sweep of its graph."""
    kinds = tuple(o.kind for o in operands)
    received: dict[Expr, list[Expr]] = {body: [cotangent]}
    found = []
    for expr in reversed(_postorder(body, kinds)):
        contributions = received.get(expr)
        if not contributions:
            continue
        if isinstance(expr, Read):
            total = add(*contributions, kinds=kinds)
            found.append((expr, total))
            shares = _of_otherwise(expr, total, operands[expr.slot].shape)
        else:
            total = _total(contributions, kinds)
            derivatives = scalar.FUNCTIONS[expr.function].derivative(expr)
            shares = [(a, mul(total, d, kinds=kinds)) for a, d in zip(expr.args, derivatives) if d is not None]
        for argument, share in shares:
            if not is_zero(share) and _flows(argument, kinds):
                received.setdefault(argument, []).append(share)
    return [(read, partial) for read, partial in found if not is_zero(partial)]


def _flows(expr: Expr, kinds: tuple[str, ...]) -> bool:
    """Whether an expression is one that cotangents go through: a float read, or a smooth function of floats."""
    if isinstance(expr, Read):
        return kinds[expr.slot] == "float"
    if not isinstance(expr, Call) or not expr.slots or scalar.kind_of(expr, kinds) != "float":
        return False
    return scalar.FUNCTIONS[expr.function].derivative is not None


def _postorder(body: Expr, kinds: tuple[str, ...]) -> list[Expr]:
    """Every expression that cotangents go through, arguments before what is made of them."""
    order: list[Expr] = []
    seen: set[Expr] = set()
    pending: list[tuple[Expr, bool]] = [(body, False)]
    while pending:
        expr, done = pending.pop()
        if done:
            order.append(expr)
        elif expr not in seen and _flows(expr, kinds):
            seen.add(expr)
            pending.append((expr, True))
            inner = expr.args if isinstance(expr, Call) else (expr.otherwise,) if expr.otherwise is not None else ()
            pending.extend((e, False) for e in inner)
    return order


def _of_otherwise(read: Read, share: Expr, shape: tuple[Size, ...]) -> list[tuple[Expr, Expr]]:
    """What a guarded read passes to the value that stands for it outside of the operand's shape."""
    if read.otherwise is None:
        return []
    ends = [call("lt", place, Const(0)) for place in read.place]
    ends += [call("ge", place, Extent(extent)) for place, extent in zip(read.place, shape)]
    return [(read.otherwise, where(call("or", *ends), share, ZERO))]


def _total(contributions: list[Expr], kinds: tuple[str, ...]) -> Expr:
    """The sum of cotangents. Where all of them are guarded, so is the sum: `where` is exactly 0 on the side not taken,
    whatever the infinite derivatives are that the sum is multiplied by."""
    total = add(*contributions, kinds=kinds)
    guards = [_guard(c) for c in contributions]
    if len(set(guards)) == 1 or None in guards:
        return total
    return where(call("or", *dict.fromkeys(guards), kinds=kinds), total, ZERO, kinds)


def _guard(expr: Expr) -> Expr | None:
    if isinstance(expr, Call) and expr.function == "where" and is_zero(expr.args[2]):
        return expr.args[0]
    return None
