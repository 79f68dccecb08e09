"""The algebra of `compose`: a linear map of what a linear map gives, as one linear map.

    sum[k](v[o, k] * (sum[d](w[k, d] * x[n, d]) + b[k]))   is   sum[d](f[o, d] * x[n, d]) + c[o]
    with f[o, d] = sum[k](v[o, k] * w[k, d]) and c[o] = sum[k](v[o, k] * b[k])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from diffgraph.ir.affine import index, is_inside
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import Size, product, symbols
from diffgraph.ir.expression import Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.guards import inside, only_where
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import ZERO, mul
from diffgraph.passes.cost import usual
from diffgraph.passes.linear import Linear

#: A filter may grow to so many times what it is made from, and to so many elements in any case.
MOST_GROWTH = 4
SMALL = 4096


@dataclass(frozen=True)
class Composition:
    """A linear map that does what two did. `form` reads, through `slots`, operands of the consumer, then those of the
    producer, then the new filter; `filter`: the form that makes it and its slots, None where it is just read or a
    number."""

    form: Form
    slots: tuple[int, ...]
    filter: tuple[Form, tuple[int, ...]] | None


@cache
def composition(consumer: Linear, producer: Linear) -> Composition | str:
    """The consumer with its read replaced by what the producer makes, without the shifts; or why that cannot be."""
    if not producer.form.is_projection:
        return rescaled(consumer, producer)
    joint = _Joint(consumer, producer.form)
    read = joint.moved(producer.read)
    for axis in joint.guarded:
        if not _guards(producer, axis):
            return "the padding between them"
        if any(alone_index(producer.form.write[axis]) in e.indices for e in (producer.filter,)):
            return "the padding between them"
    otherwise = ZERO if joint.guarded or producer.read.otherwise is not None else None
    read = Read(read.slot, read.place, otherwise)
    own = joint.moved(producer.filter)
    narrow = consumer.form.reduced and producer.form.reduced
    inner, outer = (own, consumer.filter) if consumer.form.reduced else (consumer.filter, own)
    if not narrow and not inner.indices <= outer.indices:
        return "the scale varies along an axis that the filter does not have"
    factor = mul(consumer.filter, own, kinds=joint.kinds)
    visited = set(read.indices) | consumer.form.written
    if not factor.slots and not factor.indices:
        every = set(range(len(joint.domain)))
        return _with_filter(joint, every, mul(factor, read, kinds=joint.kinds), joint.operands, None)
    axes = _filter_axes(factor, read, consumer.form)
    kept = [k for k in axes if k in visited]
    summed = [k for k in range(len(joint.domain)) if k not in visited]
    shape = tuple(joint.domain[k] for k in kept)
    if any(symbols(s) for s in [*shape, *(joint.domain[k] for k in summed)]):
        return "a filter would depend on the batch"
    sources = max(product(usual(s) for s in joint.operands[k].shape) for k in factor.slots) if factor.slots else 1
    if product(usual(s) for s in shape) > MOST_GROWTH * max(sources, SMALL):
        return f"the filter would have the shape {list(shape)}"
    made = _renumbered(joint, factor, kept, summed)
    body = mul(Read(len(joint.operands), tuple(index(k) for k in kept), None), read, kinds=(*joint.kinds, "float"))
    return _with_filter(joint, visited, body, (*joint.operands, Operand(shape)), made)


def rescaled(consumer: Linear, producer: Linear) -> Composition | str:
    """The same for a map after a sum that writes elsewhere than along its axes, such as a transposed convolution."""
    f, p = consumer.form, producer.form
    places = [alone_index(place) for place in consumer.read.place]
    if f.reduced or None in places or len(set(places)) != len(f.shape):
        return "the second reads elsewhere than the first writes"
    used = [w for k, w in zip(places, p.write) if k in consumer.filter.indices]
    if not p.reduced or any(alone_index(w) is None for w in used):
        return "the scale varies along a window"
    operands = f.operands + p.operands
    kinds = tuple(o.kind for o in operands)
    slots = {k: len(f.operands) + k for k in range(len(p.operands))}
    own = substitute(consumer.filter, dict(zip(places, p.write)), p.domain, None, kinds)
    factor = mul(own, substitute(producer.filter, {}, p.domain, slots, kinds), kinds=kinds)
    axes = [k for k in range(len(p.domain)) if k in factor.indices]
    shape = tuple(p.domain[k] for k in axes)
    if not factor.slots or any(symbols(s) for s in shape):
        return "a filter would depend on the batch"
    body = substitute(factor, {k: Index(n) for n, k in enumerate(axes)}, shape, None, kinds)
    made = canonical(Form(shape, "sum", tuple(index(n) for n in range(len(axes))), shape, operands, body))
    read = substitute(producer.read, {}, p.domain, slots, kinds)
    body = mul(Read(len(operands), tuple(index(k) for k in axes), None), read, kinds=(*kinds, "float"))
    write = tuple(p.write[places.index(alone_index(w))] for w in f.write)
    form, kept = canonical(Form(p.domain, "sum", write, f.shape, (*operands, Operand(shape)), body))
    return Composition(form, kept, made)


def _with_filter(joint: _Joint, visited: set[int], body: Expr, operands, made) -> Composition:
    """The composed form over the axes that are visited."""
    f = joint.consumer.form
    left = [k for k in range(len(joint.domain)) if k in visited]
    places = {k: Index(n) for n, k in enumerate(left)}
    domain = tuple(joint.domain[k] for k in left)
    kinds = tuple(o.kind for o in operands)
    write = tuple(index(places[alone_index(w)].axis) for w in f.write)
    form = Form(domain, "sum", write, f.shape, operands, substitute(body, places, domain, None, kinds))
    form, slots = canonical(form)
    return Composition(form, slots, made)


class _Joint:
    """The indices and slots of a consumer, and after them those of a producer whose result it reads."""

    def __init__(self, consumer: Linear, producer: Form):
        self.consumer = consumer
        f = consumer.form
        self.operands = f.operands + producer.operands
        self.kinds = tuple(o.kind for o in self.operands)
        self.slots = {k: len(f.operands) + k for k in range(len(producer.operands))}
        self.domain: tuple[Size, ...] = f.domain + tuple(producer.domain[k] for k in producer.reduced)
        self.indices: dict[int, Expr] = {k: Index(len(f.domain) + n) for n, k in enumerate(producer.reduced)}
        for place, write in zip(consumer.read.place, producer.write):
            self.indices[alone_index(write)] = place
        shape = producer.shape
        self.guarded = [
            a for a, (p, s) in enumerate(zip(consumer.read.place, shape)) if not is_inside(p, s, f.domain, f.operands)
        ]

    def moved(self, e: Expr) -> Expr:
        """An expression of the producer over the joint indices."""
        return substitute(e, self.indices, self.domain, self.slots, self.kinds)


def _guards(producer: Linear, axis: int) -> bool:
    """Outside of an axis of the producer its read is outside of its operand."""
    form = producer.form
    shape = form.operands[producer.read.slot].shape
    k = alone_index(form.write[axis])
    return any(alone_index(p) == k and s == form.shape[axis] for p, s in zip(producer.read.place, shape))


def _filter_axes(factor: Expr, read: Read, form: Form) -> list[int]:
    """The axes of a filter: those of the result, then those along which it is summed, in the order of the read."""
    written = [alone_index(w) for w in form.write]
    order = [*written, *(k for p in read.place for k in sorted(p.indices)), *sorted(factor.indices)]
    return [k for k in dict.fromkeys(order) if k in factor.indices]


def _renumbered(joint: _Joint, factor: Expr, kept: list[int], summed: list[int]) -> tuple[Form, tuple[int, ...]]:
    """The form that makes a filter."""
    axes = [*kept, *summed]
    domain = tuple(joint.domain[k] for k in axes)
    body = substitute(factor, {k: Index(n) for n, k in enumerate(axes)}, domain, None, joint.kinds)
    write = tuple(index(n) for n in range(len(kept)))
    return canonical(Form(domain, "sum", write, domain[: len(kept)], joint.operands, body))


def shift_of(consumer: Linear, producer: Form, shift: Expr) -> Form:
    """What the consumer makes of a shift of the producer: over its own domain, guarded where it reads outside."""
    joint = _Joint(consumer, producer)
    f = consumer.form
    body = mul(consumer.filter, joint.moved(shift), kinds=joint.kinds)
    form = Form(f.domain, "sum", f.write, f.shape, joint.operands, body)
    conditions = [c for a in joint.guarded for c in inside(consumer.read.place[a], producer.shape[a], form)]
    return only_where(form, conditions) if conditions else form


def varying_axes(form: Form) -> list[int]:
    """The axes of the result along which a sum really varies."""
    return [a for a, w in enumerate(form.write) if alone_index(w) in form.body.indices]


def over_axes(form: Form, axes: list[int]) -> Form:
    """The form writing only those axes of its result; along the others it does not vary."""
    kept = [alone_index(form.write[a]) for a in axes]
    left = [*kept, *form.reduced]
    domain = tuple(form.domain[k] for k in left)
    kinds = tuple(o.kind for o in form.operands)
    body = substitute(form.body, {k: Index(n) for n, k in enumerate(left)}, domain, None, kinds)
    write = tuple(index(n) for n in range(len(kept)))
    return Form(domain, "sum", write, domain[: len(kept)], form.operands, body)


@cache
def broadcast(shape: tuple[Size, ...], axes: tuple[int, ...], operand: Operand) -> Form:
    """A tensor over some axes of a shape, repeated along the others."""
    write = tuple(index(k) for k in range(len(shape)))
    return Form(shape, "sum", write, shape, (operand,), Read(0, tuple(index(k) for k in axes), None))
