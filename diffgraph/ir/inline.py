"""Fusion is substitution: a read of a map is what the map makes at that place.

u[n, c] = relu(x[n, c] * s[c]);  y[n, o] = sum[c](w[o, c] * u[n, c])
y[n, o] = sum[c](w[o, c] * relu(x[n, c] * s[c]))
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir.affine import is_inside
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.guards import ZERO_OF, inside, kinds_of
from diffgraph.ir.rewrite import rewrite, substitute
from diffgraph.ir.settle import settle
from diffgraph.ir.simplify import as_float, call, certain_kind, conjunction, truth, where


@lru_cache(maxsize=1 << 14)
def inline(consumer: Form, slot: int, producer: Form) -> Form:
    """The consumer with each read of `slot` replaced by the body of a pointwise producer. Its slots are those of the
    consumer (of which `slot` may now be unread) followed by those of the producer."""
    if not producer.is_pointwise:
        raise CompilerBug("inline", f"only a map can be substituted, not {producer!r}")
    return _Inlining(consumer, slot, producer).form()


class _Inlining:
    def __init__(self, consumer: Form, slot: int, producer: Form):
        self.consumer = consumer
        self.slot = slot
        self.producer = producer
        count = len(consumer.operands)
        self.slots = {k: count + k for k in range(len(producer.operands))}
        self.joined = Form(
            consumer.domain,
            consumer.op,
            consumer.write,
            consumer.shape,
            consumer.operands + producer.operands,
            consumer.body,
        )
        self.kinds = kinds_of(self.joined)
        self.axes = [alone_index(w) for w in producer.write]

    def form(self) -> Form:
        """The joined form."""
        old = self.joined
        memo: dict[Expr, Expr] = {}
        body = rewrite(old.body, self._replace, self.kinds, memo)
        write = tuple(rewrite(w, self._replace, self.kinds, memo) for w in old.write)
        return settle(Form(old.domain, old.op, write, old.shape, old.operands, body))

    def _replace(self, e: Expr) -> Expr:
        if type(e) is not Read or e.slot != self.slot:
            return e
        if e.otherwise is None:
            return self._value(self.producer, e)
        if self._is_renaming(e):
            moved = self._value(self.producer, e)
            return Read(moved.slot, moved.place, e.otherwise)
        conditions = [
            c
            for place, extent in zip(e.place, self.producer.shape)
            if not is_inside(place, extent, self.joined.domain, self.joined.operands)
            for c in inside(place, extent, self.joined)
        ]
        value = self._value(self.guarded, e)
        return where(conjunction(*conditions), value, e.otherwise, self.kinds)

    def _value(self, producer: Form, read: Read) -> Expr:
        """What the producer makes at the place that is read, in the kind of the operand."""
        indices = dict(zip(self.axes, read.place))
        body = substitute(producer.body, indices, self.joined.domain, self.slots, self.kinds)
        return in_kind(body, self.consumer.operands[self.slot].kind, self.kinds)

    def _is_renaming(self, e: Read) -> bool:
        """Where a guarded read may be outside of the producer, it then is outside of what the producer reads, which is
        one element at a place of its own: a transpose, a slice along other axes."""
        body = self.producer.body
        if type(body) is not Read or body.otherwise is not None:
            return False
        operand = self.producer.operands[body.slot]
        joined = self.joined
        sides = zip(self.axes, e.place, self.producer.shape)
        guarded = {k for k, p, s in sides if not is_inside(p, s, joined.domain, joined.operands)}
        alone = {k for p, s in zip(body.place, operand.shape) if (k := alone_index(p)) in guarded and self._runs_over(k, s)}
        others = frozenset().union(*(p.indices for p in body.place if alone_index(p) not in alone))
        return alone == guarded and not others & guarded and operand.kind == self.consumer.operands[self.slot].kind

    def _runs_over(self, axis: int, extent: Size) -> bool:
        return self.producer.domain[axis] == extent

    @cached_property
    def guarded(self) -> Form:
        """The producer with a guard on each read that its indices move, as it is evaluated outside of its domain too;
        those that turn out not to be needed are dropped again when the joined form is settled."""

        def guard(e: Expr) -> Expr:
            if type(e) is not Read or e.otherwise is not None or not e.indices:
                return e
            return Read(e.slot, e.place, ZERO_OF[self.producer.operands[e.slot].kind])

        body = rewrite(self.producer.body, guard, kinds_of(self.producer))
        return replace_body(self.producer, body)


def replace_body(form: Form, body: Expr) -> Form:
    """The form with another body over the same slots."""
    return Form(form.domain, form.op, form.write, form.shape, form.operands, body)


def in_kind(body: Expr, kind: str, kinds) -> Expr:
    """A value cast to a kind, as a definition casts what its terms make."""
    if certain_kind(body, kinds) == kind:
        return body
    if kind == "float":
        return as_float(body, kinds)
    if kind == "bool":
        return truth(body, kinds)
    return call("int", body, kinds=kinds)
