"""Fusion is substitution: the body of a producer takes the place of the reads of it."""

from __future__ import annotations

from functools import lru_cache

from diffgraph.ir.affine import is_inside
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.settle import bounds_of, settle
from diffgraph.ir.simplify import conjunction, rewrite, substitute, where, zero_like


@lru_cache(maxsize=None)
def inline(consumer: Form, slot: int, producer: Form) -> Form:
    """The consumer with every read of `slot` replaced by the producer's value there.

    The producer is pointwise. Its operands follow the consumer's: slot k of the producer is slot len(consumer.operands) + k;
    the slot that was replaced stays, unread.
    """
    assert producer.is_pointwise
    first = len(consumer.operands)
    operands = consumer.operands + producer.operands
    kinds = tuple(o.kind for o in operands)
    slots = {k: first + k for k in range(len(producer.operands))}
    axes = [alone_index(w) for w in producer.write]
    joined = Form(consumer.domain, consumer.op, consumer.write, consumer.shape, operands, consumer.body)

    def replaced(e: Expr) -> Expr:
        if type(e) is not Read or e.slot != slot:
            return e
        places = dict(zip(axes, e.place))
        value = substitute(producer.body, places, joined.domain, slots)
        if e.otherwise is None:
            return value
        conditions = [c for p, s in zip(e.place, producer.shape) for c in bounds_of(p, s, joined)]
        if not conditions:
            return value
        return where(conjunction(*conditions), _guarded(value, joined, first), e.otherwise, kinds=kinds)

    body = rewrite(consumer.body, replaced)
    return settle(Form(consumer.domain, consumer.op, consumer.write, consumer.shape, operands, body))


def _guarded(value: Expr, form: Form, first: int) -> Expr:
    """The value with reads that were inside only where the guard holds saying what they are outside: nothing looks there."""

    def guard(e: Expr) -> Expr:
        if type(e) is not Read or e.slot < first or e.otherwise is not None:
            return e
        shape = form.operands[e.slot].shape
        if all(is_inside(p, s, form.domain, form.operands) for p, s in zip(e.place, shape)):
            return e
        kind = form.operands[e.slot].kind
        return Read(e.slot, e.place, zero_like(e, [kind] * (e.slot + 1)))

    return rewrite(value, guard)
