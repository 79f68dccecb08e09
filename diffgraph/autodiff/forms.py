"""A few forms that derivatives are put together from."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.ir.affine import affine, as_affine, index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.rewrite import rewrite
from diffgraph.ir.simplify import call, where


def everywhere(shape: Sequence[Size], start: int = 0) -> tuple:
    """One index for each axis of a shape."""
    return tuple(index(start + k) for k in range(len(shape)))


def filled(shape: tuple[Size, ...], value: float) -> Form:
    """A tensor of one number."""
    return Form(shape, "sum", everywhere(shape), shape, (), Const(value))


def summed_over_steps(
    form: Form, length: Size, stacked: Sequence[bool], step: int | None
) -> tuple[Form, tuple[int, ...]]:
    """The sum over all steps of what a `sum` form makes in each step: one more reduced axis, first.

    Operands in the slots that are `stacked` have the step as their first axis; slot `step`, if any, is the number of
    the step. Gives a canonical form and the slot of the original that each of its slots reads.
    """
    return canonical(_over_steps(form, length, stacked, step, ()))


def made_for_all_steps(
    form: Form, length: Size, stacked: Sequence[bool], step: int | None
) -> tuple[Form, tuple[int, ...]]:
    """What a form makes in each step, for all of them: one more axis, the first of its result. Otherwise as
    `summed_over_steps`."""
    return canonical(_over_steps(form, length, stacked, step, (index(0),)))


def _over_steps(form: Form, length: Size, stacked: Sequence[bool], step: int | None, first: tuple) -> Form:
    """The form over one more axis, which `first` writes."""

    def change(e: Expr) -> Expr:
        if type(e) is Index:
            return index(e.axis + 1)
        if type(e) is Read and e.slot == step:
            return index(0)
        if type(e) is Read and stacked[e.slot]:
            return Read(e.slot, (index(0), *e.place), e.otherwise)
        return e

    operands = tuple(
        Operand((length, *o.shape), o.kind, o.bound) if is_stacked else o
        for o, is_stacked in zip(form.operands, stacked)
    )
    write = (*first, *(as_affine(rewrite(w, change)) for w in form.write))
    domain = (length, *form.domain)
    shape = (length, *form.shape) if first else form.shape
    body = rewrite(form.body, change, [o.kind for o in operands])
    return Form(domain, form.op, write, shape, operands, body)


def chunk_of(operand: Operand, start: Size, shape: tuple[Size, ...]) -> Form:
    """The first axis of an operand from `start` on, cut into the leading axes of a shape: one, or two of [q, k]."""
    leading = len(shape) - len(operand.shape) + 1
    terms = [(Extent(start), 1), (index(0), 1)] if leading == 1 else [(index(0), shape[1]), (index(1), 1)]
    places = (affine(0, terms), *everywhere(operand.shape[1:], leading))
    return Form(shape, "sum", everywhere(shape), shape, (operand,), Read(0, places, None))


def joined(chunks: Operand, rest: Operand) -> Form:
    """Chunks [q, k, ...] one after the other, and then the rest, along one first axis."""
    count, size = chunks.shape[:2]
    shape = (count * size + rest.shape[0], *chunks.shape[2:])
    inner = everywhere(shape[1:], 1)
    cut = affine(0, [(Extent(count * size), 1)])
    nothing = {"float": Const(0.0), "int": Const(0), "bool": Const(False)}[chunks.kind]
    place = tuple(as_affine(call(f, index(0), Const(size))) for f in ("floordiv", "mod"))
    early = Read(0, (*place, *inner), nothing)
    late = Read(1, (affine(0, [(index(0), 1), (cut, -1)]), *inner), nothing)
    return Form(shape, "sum", everywhere(shape), shape, (chunks, rest), where(call("lt", index(0), cut), early, late))
