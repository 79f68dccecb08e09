"""A form as nodes: what `out[write(d)] op= body(d)` means, with ONNX's operators.

Inside a form a value has as many axes as the domain, of length 1 along the axes that do not occur in it; a value in
which none occurs has rank 0. What has an operator of its own is in `windows` and `products`; here is what is left, and
that is any form at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffgraph.diagnostics import CompilerBug
from diffgraph.interop.onnx.writing.graph import GraphWriter, is_known
from diffgraph.interop.onnx.writing.reads import read_value
from diffgraph.interop.onnx.writing.scalars import apply
from diffgraph.ir import scalar
from diffgraph.ir.dimension import product
from diffgraph.ir.evaluate import identity, result_kind, values_over
from diffgraph.ir.expression import Affine, Call, Expr, Extent, Index, Read
from diffgraph.ir.form import Form

#: What is known when the graph is written is put into it as a constant up to so many elements.
MOST_STATIC = 1 << 16

_REDUCE = {"sum": "ReduceSum", "prod": "ReduceProd", "max": "ReduceMax", "min": "ReduceMin"}


@dataclass(frozen=True)
class Written:
    """A term as a value. `whole`: it has the tensor's shape; else it has its rank, with length 1 where it is repeated."""

    value: str
    whole: bool = True


@dataclass(frozen=True)
class Stretch:
    """The part of an axis of the result that a form writes: a constant `start`, from where an index runs by `step`.
    index None is a single place."""

    start: int
    step: int
    index: int | None


class FormWriter:
    """The expressions of a form over values of its operands."""

    def __init__(self, graph: GraphWriter, form: Form, operands: Sequence[str]):
        self.graph = graph
        self.form = form
        self.operands = operands
        self.kinds = tuple(o.kind for o in form.operands)
        self._known: dict[Expr, str] = {}

    def value(self, expr: Expr) -> str:
        """The values of an expression."""
        found = self._known.get(expr)
        if found is None:
            found = self._known[expr] = self._static(expr) or self._compute(expr)
        return found

    def cast(self, expr: Expr, kind: str) -> str:
        """The values of an expression as a kind."""
        have = scalar.kind_of(expr, self.kinds)
        return self.value(expr) if have == kind else self.graph.cast(self.value(expr), kind)

    def _static(self, expr: Expr) -> str | None:
        """A constant, if the values are known now and few."""
        extents = [self.form.domain[k] for k in sorted(expr.indices)]
        known = all(is_known(s) for s in extents) and product(extents) <= MOST_STATIC
        if expr.slots or not known or not _is_closed(expr):
            return None
        domain = tuple(n if k in expr.indices else 1 for k, n in enumerate(self.form.domain))
        array = values_over(expr, domain)
        array = np.asarray(array).astype(self.graph.dtype(scalar.kind_of(expr, self.kinds)))
        return self.graph.constant(array if expr.indices else array.reshape(()), "table")

    def _compute(self, expr: Expr) -> str:
        match expr:
            case Extent(size):
                return self.graph.size(size)
            case Index(axis):
                zero, one = (self.graph.constant(np.int64(n), "size") for n in (0, 1))
                count = self.graph.node("Range", zero, self.graph.size(self.form.domain[axis]), one)
                return self.graph.unsqueeze(count, [k for k in range(len(self.form.domain)) if k != axis])
            case Affine(constant, terms):
                return self._affine(constant, terms)
            case Call(function, args):
                kinds = [scalar.kind_of(a, self.kinds) for a in args]
                return apply(self.graph, function, [self.value(a) for a in args], kinds)
            case Read():
                return read_value(self, expr)
        raise CompilerBug("export", f"unknown expression {expr!r}")

    def _affine(self, constant: int, terms) -> str:
        total = self.graph.constant(np.int64(constant), "size") if constant else None
        for atom, coefficient in terms:
            value = self.cast(atom, "int")
            if coefficient != 1:
                value = self.graph.node("Mul", value, self.graph.constant(np.int64(coefficient), "size"))
            total = value if total is None else self.graph.node("Add", total, value)
        return total

    def ranked(self, expr: Expr, kind: str) -> str:
        """The values of an expression with every axis of the domain."""
        value = self.cast(expr, kind)
        return (
            value if expr.indices else self.graph.node("Reshape", value, self.graph.ints(*[1] * len(self.form.domain)))
        )

    # ------------------------------------------------------------------------------------------------ reducing

    def reduced(self) -> str:
        """The body reduced over the axes that are not written; the written ones are left, in order."""
        form, graph = self.form, self.graph
        if form.op in ("argmax", "argmin"):
            return self._place_of_extreme()
        kind = result_kind(form)
        inner = "int" if kind == "bool" and form.reduced else kind
        value = self.ranked(form.body, inner) if form.domain else self.cast(form.body, inner)
        if not form.reduced:
            return value
        absent = [k for k in form.reduced if k not in form.body.indices]
        if absent and form.op in ("sum", "prod"):
            lengths = [form.domain[k] if k in absent else 1 for k in range(len(form.domain))]
            value = graph.expand(value, lengths)
        reduce = _REDUCE.get(form.op) or ("ReduceMax" if form.op == "any" else "ReduceMin")
        value = graph.node(reduce, value, graph.ints(*form.reduced), keepdims=0)
        return value if inner == kind else graph.cast(value, kind)

    def _place_of_extreme(self) -> str:
        """The row-major rank among the reduced axes."""
        form, graph = self.form, self.graph
        kind = scalar.kind_of(form.body, self.kinds)
        value = self.ranked(form.body, "int" if kind == "bool" else kind)
        written = sorted(form.written)
        value = graph.transpose(value, [*written, *form.reduced])
        lengths = [form.domain[k] if k in form.body.indices else 1 for k in written]
        if any(k not in form.body.indices for k in form.reduced):
            value = graph.expand(value, [1] * len(lengths) + [form.domain[k] for k in form.reduced])
        if len(form.reduced) > 1:
            value = graph.reshape(value, [*lengths, product(form.domain[k] for k in form.reduced)])
        return graph.node("ArgMax" if form.op == "argmax" else "ArgMin", value, axis=len(written), keepdims=0)

    # ------------------------------------------------------------------------------------------------ writing

    def term(self) -> Written:
        """The form's tensor."""
        return self.written(self.reduced(), self.form.body.indices)

    def written(self, value: str, present: frozenset[int]) -> Written:
        """A value over the written axes, in order, at the places where it is written; of length 1 along the axes that
        are not `present`."""
        stretches = self.stretches()
        if stretches is None or any(s.step != 1 for s in stretches):
            return Written(self._scattered(value, present))
        return self._placed(value, stretches, present)

    def stretches(self) -> tuple[Stretch, ...] | None:
        """Where the form writes, if that is a part of the result with each axis by an index of its own."""
        found = []
        for place in self.form.write:
            if not place.terms:
                found.append(Stretch(place.constant, 1, None))
                continue
            (atom, step), *more = place.terms
            if more or type(atom) is not Index or step < 1:
                return None
            found.append(Stretch(place.constant, step, atom.axis))
        indices = [s.index for s in found if s.index is not None]
        return tuple(found) if len(set(indices)) == len(indices) else None

    def _placed(self, value: str, stretches: tuple[Stretch, ...], present: frozenset[int]) -> Written:
        graph, form = self.graph, self.form
        written = sorted(form.written)
        value = graph.transpose(value, [written.index(s.index) for s in stretches if s.index is not None])
        value = graph.unsqueeze(value, [axis for axis, s in enumerate(stretches) if s.index is None])
        if form.is_projection:
            return Written(value, all(s.index in present or form.domain[s.index] == 1 for s in stretches))
        lengths = [1 if s.index is None else form.domain[s.index] for s in stretches]
        if any(s.index is not None and s.index not in present for s in stretches):
            value = graph.expand(value, lengths)
        before = [s.start for s in stretches]
        after = [size - s.start - length for size, s, length in zip(form.shape, stretches, lengths)]
        filling = graph.constant(graph.dtype(result_kind(form)).type(self._identity()), "number")
        return Written(graph.pad(value, before, after, filling))

    def _identity(self):
        return identity(self.form.op, result_kind(self.form), self.graph.real.type)

    def _scattered(self, value: str, present: frozenset[int]) -> str:
        """Every value added at its place; those outside are added as 0 at a place inside."""
        graph, form = self.graph, self.form
        if form.op != "sum":
            raise CompilerBug("export", f"{form.op} does not write a projection of its domain")
        rank, written = len(form.domain), sorted(form.written)
        kind = result_kind(form)
        lengths = [form.domain[k] for k in written]
        others = [k for k in range(rank) if k not in form.written]
        inside, columns = None, []
        for place, extent in zip(form.write, form.shape):
            whole = self.ranked(place, "int")
            size = graph.size(extent)
            zero = graph.constant(np.int64(0), "size")
            fits = graph.node("And", graph.node("GreaterOrEqual", whole, zero), graph.node("Less", whole, size))
            inside = fits if inside is None else graph.node("And", inside, fits)
            last = graph.node("Sub", size, graph.constant(np.int64(1), "size"))
            near = graph.node("Min", graph.node("Max", whole, zero), last)
            near = graph.expand(graph.squeeze(near, others), lengths)
            columns.append(graph.unsqueeze(near, [len(written)]))
        if set(written) - present:
            value = graph.expand(value, lengths)
        nothing = graph.constant(graph.dtype(kind).type(0), "number")
        value = graph.node("Where", graph.squeeze(inside, others), value, nothing)
        empty = graph.expand(nothing, form.shape)
        places = columns[0] if len(columns) == 1 else graph.node("Concat", *columns, axis=len(written))
        return graph.node("ScatterND", empty, places, value, reduction="add")


def _is_closed(expr: Expr) -> bool:
    """No symbolic size and no random number occurs in the expression."""
    if type(expr) is Extent or (type(expr) is Call and expr.function == "random"):
        return False
    return all(_is_closed(c) for c in expr.children)
