"""An open definition becomes definitions of the program.

Addends of the whole that are sums keep their own domain: `sum[d](w[u, d] * x[n, d]) + bias[u]` is one definition of two
terms. Any other reduction inside becomes a definition of its own. The domain of a form has the output indices first,
then the reduced ones in order of binding.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffgraph.ir.absorb import absorb
from diffgraph.ir.affine import as_affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Call, Expr, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Tensor
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import add, as_float, certain_kind, mul
from diffgraph.language.arithmetic import int_bound, materialize
from diffgraph.language.budget import STEPS_OF_NOTATION
from diffgraph.language.reductions import prepared, reciprocal
from diffgraph.language.values import TensorValue

Extents = Mapping[int, Size]
Made = tuple[Form, tuple[str, ...]]


def close(notation, outputs: tuple[int, ...], expression: Expr, kind: str, extents: Extents) -> Tensor:
    """Defines the tensor whose element is the expression, and whatever it needs before."""
    return _Closing(notation, extents).define(notation.hint, outputs, expression, kind)


class _Closing:
    """The end of a definition: every extent is known."""

    def __init__(self, notation, extents: Extents):
        self.notation = notation
        self.session = notation.session
        self.extents = extents

    def define(self, hint: str, outputs, expression: Expr, kind: str) -> Tensor:
        terms = self._terms(hint, outputs, expression, kind)
        self.session.at(self.notation.span)
        self.session.count_step(self.notation.span, STEPS_OF_NOTATION + min(expression.nodes, 4_000) // 2)
        self.session.count_definitions(self.notation.span)
        self.session.refuse_enormous((self.extents[k] for k in outputs), self.notation.span)
        for form, _ in terms:
            self.session.refuse_endless(form.domain, self.notation.span)
        bound = int_bound(terms[0][0]) if kind == "int" else None
        return self.session.builder.define(hint, *terms, kind=kind, bound=bound)

    # ------------------------------------------------------------ terms

    def _terms(self, hint: str, outputs, expression: Expr, kind: str) -> list[Made]:
        addends = expression.args if type(expression) is Call and expression.function == "add" else (expression,)
        terms: list[Made] = []
        rest: list[Expr] = []
        for addend in addends:
            factor, part = self._alone(addend, outputs)
            if part is None or (len(addends) > 1 and not (part.op in ("sum", "mean") and kind == "float")):
                rest.append(addend)
            elif factor is not None and part.op not in ("sum", "mean"):
                rest.append(addend)
            else:
                terms.append(self._reduction(hint, part, outputs, kind, factor))
        if rest:
            # A sum of bools is an int; a bool alone stays one.
            body = add(*rest, kinds=self.notation.kinds) if len(rest) > 1 else rest[0]
            terms.append(self._form(hint, "sum", outputs, (), _as_kind(body, kind, self.notation.kinds)))
        return terms

    def _alone(self, addend: Expr, outputs):
        """(factor or None, part) where an addend is a reduction times a number that is known when the program starts,
        and every output index counts in it: for one that does not, the reduction would be done again at each of its
        places. Else (None, None)."""
        factors = addend.args if type(addend) is Call and addend.function == "mul" else (addend,)
        reads = [f for f in factors if type(f) is Read and self._is_part(f.slot)]
        others = [f for f in factors if f not in reads]
        if len(reads) != 1 or any(f.slots or f.indices for f in others):
            return None, None
        part = self.notation.operands[reads[0].slot]
        left_out = set(outputs) - set(part.free)
        if part.apply is not None or part.tensor is not None or any(self.extents[k] != 1 for k in left_out):
            return None, None
        return (mul(*others) if others else None), part

    def _is_part(self, slot: int) -> bool:
        return not isinstance(self.notation.operands[slot], Tensor)

    def _reduction(self, hint: str, part, outputs, kind: str, factor: Expr | None = None) -> Made:
        """A part as a form over the output indices and its own."""
        kinds = self.notation.kinds
        body, op, bound = prepared(part.op, part.body, part.body_kind, kinds), part.op, part.bound
        while True:
            if op == "mean":
                body, op = mul(reciprocal(product(self.extents[k] for k in part.bound)), body, kinds=kinds), "sum"
            if op != "sum":
                break
            # A sum of nothing but a sum is one sum over the indices of both.
            inner_factor, inner = self._alone(body, (*outputs, *bound))
            if inner is None or inner.op not in ("sum", "mean"):
                break
            factor = inner_factor if factor is None else mul(factor, *([inner_factor] if inner_factor else ()))
            part, op, bound = inner, inner.op, (*bound, *inner.bound)
            body = prepared(part.op, part.body, part.body_kind, kinds)
        if factor is not None:
            body = mul(factor, body, kinds=kinds)
        if op in ("sum", "prod", "max", "min"):
            body = _as_kind(body, kind, kinds)
        return self._form(hint, op, outputs, bound, body)

    # ------------------------------------------------------------ forms

    def _form(self, hint: str, op: str, outputs, reduced, body: Expr) -> Made:
        """(form, operand names) over the output indices and the reduced ones."""
        for slot in sorted(body.slots):
            if self._is_part(slot) and self.notation.operands[slot].tensor is None:
                self._make(hint, self.notation.operands[slot])
        order = (*outputs, *reduced)
        domain = tuple(self.extents[k] for k in order)
        slots = sorted(body.slots)
        tensors = [self._tensor(s) for s in slots]
        operands = tuple(t.operand for t in tensors)
        places = {old: index(new) for new, old in enumerate(order)}
        kinds = [o.kind for o in operands]
        body = substitute(body, places, domain, {old: new for new, old in enumerate(slots)}, kinds)
        write = tuple(index(k) for k in range(len(outputs)))
        form, kept = _used(absorb(Form(domain, op, write, domain[: len(outputs)], operands, body)))
        return form, tuple(self.session.operand(tensors[k], self.notation.span) for k in kept)

    def _tensor(self, slot: int) -> Tensor:
        found = self.notation.operands[slot]
        return found if isinstance(found, Tensor) else found.tensor

    def _make(self, hint: str, part) -> None:
        """Makes a part a tensor of its own."""
        self.session.at(part.span)
        if part.apply is not None:
            forms = [(self._form(hint, "sum", part.free, (), body), kind) for body, kind in part.arguments]
            made = [self.session.builder.define(f"{hint}_argument", form, kind=kind) for form, kind in forms]
            result = part.apply(*(TensorValue(tensor, part.span) for tensor in made))
            part.tensor = materialize(result, self.session, hint, part.span).tensor
            return
        form = self._reduction(f"{hint}_{part.op}", part, part.free, part.kind)
        bound = int_bound(form[0]) if part.kind == "int" else None
        part.tensor = self.session.builder.define(f"{hint}_{part.op}", form, kind=part.kind, bound=bound)


def _as_kind(body: Expr, kind: str, kinds) -> Expr:
    """The body as a float where the tensor is one."""
    if kind == "float" and certain_kind(body, kinds) != "float":
        return as_float(body, kinds)
    return body


def _used(form: Form) -> tuple[Form, tuple[int, ...]]:
    """(the form without operands that nothing reads any more, the slots that were kept)."""
    slots = sorted(form.body.slots.union(*(w.slots for w in form.write)))
    if len(slots) == len(form.operands):
        return form, tuple(slots)
    renumber = {old: new for new, old in enumerate(slots)}
    operands = tuple(form.operands[s] for s in slots)
    kinds = [o.kind for o in operands]
    body = substitute(form.body, {}, form.domain, renumber, kinds)
    write = tuple(as_affine(substitute(w, {}, form.domain, renumber, kinds)) for w in form.write)
    return Form(form.domain, form.op, write, form.shape, operands, body), tuple(slots)
