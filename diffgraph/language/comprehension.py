"""Index notation: a tensor by its element.

A `Notation` is open while a definition or a reduction is read. Indices are numbered in order of binding; elements of
tensors are reads whose places are affine in those indices; a reduction inside is set aside as a part of its own. When
all is read, `extents.py` finds how far each index runs, and the parts become terms and definitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Span, error
from diffgraph.ir.absorb import absorb
from diffgraph.ir.affine import Affine, as_affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Tensor
from diffgraph.ir.simplify import call, mul, substitute
from diffgraph.language.arithmetic import describe, materialize, only_output, scalar_in_notation
from diffgraph.language.extents import solve
from diffgraph.language.session import Session
from diffgraph.language.values import Indexed, TensorValue


@dataclass
class IndexInfo:
    """An index that was bound: its name and, where it is stated, how far it runs."""

    name: str
    bound: Size | None
    span: Span


@dataclass(frozen=True)
class ReadInfo:
    """An element that is read: of what, where, whether it says what it is outside."""

    tensor: Tensor
    place: tuple[Affine, ...]
    guarded: bool
    span: Span
    origin: Span | None


@dataclass
class Part:
    """A reduction inside a definition, and the tensor it became. `apply` is set for a function that wants a tensor."""

    op: str
    bound: tuple[int, ...]
    body: Expr
    kind: str
    free: tuple[int, ...]
    span: Span
    apply: Any = None
    tensor: Tensor | None = None


@dataclass
class Notation:
    """An open definition."""

    session: Session
    hint: str
    span: Span
    indices: list[IndexInfo] = field(default_factory=list)
    operands: list[Tensor | Part] = field(default_factory=list)
    reads: list[ReadInfo] = field(default_factory=list)
    ellipsis: tuple[int, ...] | None = None
    ellipsis_span: Span | None = None
    otherwise: Expr | None = None

    # ------------------------------------------------------------ reading

    def bind(self, name: str, bound: Size | None, span: Span) -> Indexed:
        """A new index as a value."""
        self.indices.append(IndexInfo(name, bound, span))
        return Indexed(Index(len(self.indices) - 1), "int", span)

    def axes_of_ellipsis(self, count: int, span: Span) -> tuple[int, ...]:
        """The indices that `...` stands for; the first read says how many, all others must agree."""
        if self.ellipsis is None:
            first = len(self.indices)
            self.indices += [IndexInfo("...", None, span) for _ in range(count)]
            self.ellipsis = tuple(range(first, first + count))
            self.ellipsis_span = span
        elif len(self.ellipsis) != count:
            raise error(
                "DG410",
                f"`...` stands for {count} axes here and for {len(self.ellipsis)} elsewhere in the definition",
                span,
            )
        return self.ellipsis

    def slot(self, tensor: Tensor) -> int:
        """The slot of a tensor."""
        for k, known in enumerate(self.operands):
            if known is tensor or isinstance(known, Tensor) and known == tensor:
                return k
        self.operands.append(tensor)
        return len(self.operands) - 1

    def read(self, value: TensorValue, subscripts: Sequence[Any], span: Span, ellipsis_at: int | None) -> Indexed:
        """An element of a tensor; `subscripts` are values, `...` stands at `ellipsis_at`."""
        rank = len(value.shape)
        given = len(subscripts)
        if ellipsis_at is not None:
            count = rank - given
            if count < 0:
                raise self._wrong_rank(value, given, span)
            hidden = [Indexed(Index(k), "int", span) for k in self.axes_of_ellipsis(count, span)]
            subscripts = [*subscripts[:ellipsis_at], *hidden, *subscripts[ellipsis_at:]]
        elif given != rank:
            raise self._wrong_rank(value, given, span)
        guard, self.otherwise = self.otherwise, None
        place = tuple(self._place(s, span) for s in subscripts)
        self.otherwise = guard
        self.reads.append(ReadInfo(value.tensor, place, guard is not None, span, value.span))
        slot = self.slot(value.tensor)
        return Indexed(Read(slot, place, guard), value.kind, span, value.tensor.bound)

    def _wrong_rank(self, value: TensorValue, given: int, span: Span):
        return error(
            "DG411",
            f"{describe(value)} has {len(value.shape)} axes and is read with {given} subscripts",
            span,
            help="give every axis a subscript, or write `...` for several",
        )

    def _place(self, value: Any, span: Span) -> Affine:
        value = only_output(value)
        if isinstance(value, TensorValue) and not value.shape:
            value = self.scalar(value)
        if isinstance(value, Fraction) or isinstance(value, float):
            raise error("DG412", f"a place must be an int, and {describe(value)} is not", span)
        expression, kind = scalar_in_notation(value, span)
        if kind != "int":
            raise error("DG412", f"a place must be an int, and this is a {kind}", span, help="write int(...)")
        return as_affine(expression)

    def scalar(self, value: TensorValue) -> Indexed:
        """A tensor of rank 0 as a value beside indices."""
        return Indexed(Read(self.slot(value.tensor), (), None), value.kind, value.span, value.tensor.bound)

    def part(self, op: str, bound: Sequence[int], value: Any, span: Span, apply=None) -> Indexed:
        """Sets a reduction aside; gives the place of its result."""
        expression, kind = scalar_in_notation(value, span)
        own = set(bound)
        free = tuple(sorted(expression.indices - own))
        result = {"argmax": "int", "argmin": "int", "any": "bool", "all": "bool", "mean": "float"}.get(op, kind)
        if op in ("sum", "prod") and kind == "bool":
            result = "int"
        made = Part(op, tuple(bound), expression, result, free, span, apply)
        self.operands.append(made)
        return Indexed(Read(len(self.operands) - 1, tuple(index(k) for k in free), None), result, span)

    # ------------------------------------------------------------ finishing

    def finish(self, outputs: Sequence[int], value: Any) -> TensorValue:
        """The tensor whose element is `value` at the output indices."""
        if isinstance(value, TensorValue) and not value.shape:
            value = self.scalar(value)
        expression, kind = scalar_in_notation(value, self.span)
        free = expression.indices - set(outputs)
        if free:
            name = self.indices[min(free)].name
            raise error("DG413", f"the index `{name}` is neither on the left nor reduced over", self.span)
        extents = solve(self)
        self.session.at(self.span)
        self.session.count_definitions(self.span)
        terms = self._terms(tuple(outputs), expression, kind, extents)
        bound = getattr(value, "bound", None) if kind == "int" else None
        if kind == "int" and bound is None and terms[0][0].op in ("argmax", "argmin"):
            bound = product(terms[0][0].domain[k] for k in terms[0][0].reduced)
        tensor = self.session.builder.define(self.hint, *terms, kind=kind, bound=bound)
        return TensorValue(tensor, self.span)

    def _terms(self, outputs, expression: Expr, kind: str, extents):
        """The terms of the definition: addends that are reductions keep their own domain, the rest is one pointwise term."""
        addends = expression.args if type(expression) is Call and expression.function == "add" else (expression,)
        terms = []
        rest = []
        for addend in addends:
            factor, part = self._whole_part(addend, outputs)
            alone = part is not None and (part.op in ("sum", "mean") and kind == "float" or len(addends) == 1)
            if alone and (factor is None or part.op in ("sum", "mean")):
                terms.append(self._reduction(part, outputs, extents, factor))
            else:
                rest.append(addend)
        if rest:
            body = rest[0] if len(rest) == 1 else call("add", *rest)
            terms.append(self._form("sum", outputs, (), body, extents))
        return terms

    def _whole_part(self, addend: Expr, outputs) -> tuple[Expr | None, Part | None]:
        """(constant factor, part) if the addend is just a reduction times a number known when the program starts."""
        factors = addend.args if type(addend) is Call and addend.function == "mul" else (addend,)
        parts = [f for f in factors if type(f) is Read and isinstance(self.operands[f.slot], Part)]
        others = [f for f in factors if f not in parts]
        if len(parts) != 1 or any(f.slots or f.indices for f in others):
            return None, None
        part = self.operands[parts[0].slot]
        if part.apply is not None or part.tensor is not None:
            return None, None
        return (mul(*others) if others else None), part

    def _reduction(self, part: Part, outputs, extents, factor: Expr | None = None):
        body, op = part.body, part.op
        if op == "mean":
            count = product(extents[k] for k in part.bound)
            body, op = mul(_reciprocal_of(count), body), "sum"
        if factor is not None:
            body = mul(factor, body)
        return self._form(op, outputs, part.bound, body, extents)

    def _form(self, op: str, outputs, reduced, body: Expr, extents):
        """(form, operand names) over the output indices and the reduced ones."""
        body = self._with_parts(body, extents)
        order = (*outputs, *reduced)
        domain = tuple(extents[k] for k in order)
        slots = sorted(body.slots)
        places = {old: index(new) for new, old in enumerate(order)}
        body = substitute(body, places, domain, {old: new for new, old in enumerate(slots)})
        tensors = [self._tensor(s) for s in slots]
        write = tuple(index(k) for k in range(len(outputs)))
        form = Form(domain, op, write, domain[: len(outputs)], tuple(t.operand for t in tensors), body)
        form, tensors = _used(absorb(form), tensors)
        return form, tuple(self.session.operand(t, self.span) for t in tensors)

    def _tensor(self, slot: int) -> Tensor:
        found = self.operands[slot]
        return found if isinstance(found, Tensor) else found.tensor

    def _with_parts(self, body: Expr, extents) -> Expr:
        """The body after every part it reads has become a tensor of its own."""
        for slot in sorted(body.slots):
            part = self.operands[slot]
            if isinstance(part, Part) and part.tensor is None:
                self._make(part, extents)
        return body

    def _make(self, part: Part, extents) -> None:
        if part.apply is not None:
            made = self.session.builder.define(
                f"{self.hint}_argument", self._form("sum", part.free, (), part.body, extents), kind=part.kind
            )
            result = materialize(part.apply(TensorValue(made, part.span)), self.session, self.hint, part.span)
            part.tensor = result.tensor
            return
        term = self._reduction(part, part.free, extents)
        bound = product(extents[k] for k in part.bound) if part.op in ("argmax", "argmin") else None
        hint = f"{self.hint}_{part.op}"
        part.tensor = self.session.builder.define(hint, term, kind=part.kind, bound=bound)


def _used(form: Form, tensors: list[Tensor]) -> tuple[Form, list[Tensor]]:
    """The form without operands that nothing reads any more."""
    slots = sorted(form.body.slots.union(*(w.slots for w in form.write)))
    if len(slots) == len(tensors):
        return form, tensors
    renumber = {old: new for new, old in enumerate(slots)}
    body = substitute(form.body, {}, form.domain, renumber)
    write = tuple(as_affine(substitute(w, {}, form.domain, renumber)) for w in form.write)
    operands = tuple(form.operands[s] for s in slots)
    return Form(form.domain, form.op, write, form.shape, operands, body), [tensors[s] for s in slots]


def _reciprocal_of(count: Size) -> Expr:
    if isinstance(count, int):
        return Const(Fraction(1, count)) if count > 1 else Const(1.0 if count else float("nan"))
    return call("recip", Extent(count))


def show_place(place: Sequence[Affine], notation: Notation) -> str:
    """Places as a person reads them: `i * 2 + p - 1, j`."""
    return ", ".join(_show_affine(p, notation) for p in place)


def _show_affine(place: Affine, notation: Notation) -> str:
    text = ""
    for atom, coefficient in place.terms:
        name = notation.indices[atom.axis].name if type(atom) is Index else "..."
        piece = name if abs(coefficient) == 1 else f"{abs(coefficient)} * {name}"
        text += (f" {'-' if coefficient < 0 else '+'} " if text else "-" if coefficient < 0 else "") + piece
    if place.constant or not text:
        sign = "-" if place.constant < 0 else "+"
        text = f"{text} {sign} {abs(place.constant)}" if text else str(place.constant)
    return text


