"""Index notation: a tensor by its element.

A `Notation` is open while a definition or a reduction is read. Indices are numbered in order of binding; elements of
tensors are reads whose places are affine in those indices; a reduction inside is set aside as a `Part`. When all is
read, `extents.py` finds how far each index runs, and `closing.py` makes terms and definitions of it.

A definition inside a function that is called on an element shares the tables of the one around it, so that an index or
a slot means the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.affine import Affine, as_affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.program import Tensor
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call, conjunction, constant, where
from diffgraph.language.arithmetic import (
    as_pending,
    constant_expr,
    describe,
    is_tensor,
    only_output,
    scalar_in_notation,
)
from diffgraph.language.closing import close
from diffgraph.language.extents import solve
from diffgraph.language.reductions import reduced_kind
from diffgraph.language.session import Session
from diffgraph.language.values import Indexed, TensorValue


@dataclass
class IndexInfo:
    """An index that was bound: its name and, where it is stated, how far it runs."""

    name: str
    bound: Size | None
    span: Span


@dataclass
class ReadInfo:
    """An element that is read: of what, where, whether it says what it is outside."""

    tensor: Tensor
    place: tuple[Affine, ...]
    guarded: bool
    span: Span
    origin: Span | None


@dataclass
class Part:
    """A reduction inside a definition, and the tensor it became. `apply` is set for a function that wants tensors, of
    `arguments`: expressions with their kinds.

    `free` are the indices of the definition that it depends on: the axes of that tensor."""

    op: str
    bound: tuple[int, ...]
    body: Expr
    body_kind: str
    kind: str
    free: tuple[int, ...]
    span: Span
    apply: Any = None
    tensor: Tensor | None = None
    arguments: tuple[tuple[Expr, str], ...] = ()


class Notation:
    """A definition that is open.

    indices, operands, reads   what was bound and read so far; of the whole nest of open definitions
    otherwise                  what reads give outside, while the inside of a guard is read
    ellipsis                   the indices that `...` stands for, None until a read tells
    """

    def __init__(self, session: Session, hint: str, span: Span):
        outer = session.notations[-1] if session.notations else None
        self.session = session
        self.hint = hint
        self.span = span
        self.outer = outer
        self.indices: list[IndexInfo] = outer.indices if outer else []
        self.operands: list[Tensor | Part] = outer.operands if outer else []
        self.reads: list[ReadInfo] = outer.reads if outer else []
        self.slots: dict[str, int] = outer.slots if outer else {}
        self.first_index = len(self.indices)
        self.first_read = len(self.reads)
        self.ellipsis: tuple[int, ...] | None = None
        self.ellipsis_span: Span | None = None
        self.ellipsis_node: Any = None
        self.otherwise: Expr | None = None

    @property
    def kinds(self) -> list[str]:
        """The kind of the operand in each slot."""
        return [o.kind for o in self.operands]

    # ------------------------------------------------------------ indices

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
                f"`...` stands for {_axes(count)} here and for {_axes(len(self.ellipsis))} in another read:"
                " all `...` of one definition are the same axes",
                span,
                Note("the other read", self.ellipsis_span),
            )
        return self.ellipsis

    @contextmanager
    def ellipsis_bound(self, node: Any) -> Iterator[None]:
        """While the text is read for which `...` was bound at a node (None: it was not)."""
        if node is not None and self.ellipsis_node is not None:
            raise error(
                "DG414", "`...` is bound already", node.span, Note("it was bound here", self.ellipsis_node.span)
            )
        before = self.ellipsis_node
        self.ellipsis_node = node or before
        try:
            yield
        finally:
            self.ellipsis_node = before

    def axes_met(self, span: Span) -> tuple[int, ...]:
        """The indices that `...` stood for in what was read."""
        if self.ellipsis is None:
            raise error(
                "DG417",
                "no read tells how many axes `...` stands for",
                span,
                help="read a tensor at `...`, as in x[n, ...]",
            )
        return self.ellipsis

    # ------------------------------------------------------------ reading

    def slot(self, tensor: Tensor) -> int:
        """The slot of a tensor."""
        if tensor.name not in self.slots:
            self.slots[tensor.name] = len(self.operands)
            self.operands.append(tensor)
        return self.slots[tensor.name]

    def read(
        self, value: TensorValue, subscripts: Sequence[Any], span: Span, ellipsis_at: int | None,
        places: Sequence[Span] = (),
    ) -> Indexed:  # fmt: skip
        """An element of a tensor; `subscripts` are values, `...` stands at `ellipsis_at`. `places`: the text of each."""
        rank, given = len(value.shape), len(subscripts)
        if given > rank or ellipsis_at is None and given != rank:
            raise _wrong_rank(value, given, span)
        if ellipsis_at is not None:
            hidden = [Indexed(Index(k), "int", span) for k in self.axes_of_ellipsis(rank - given, span)]
            subscripts = [*subscripts[:ellipsis_at], *hidden, *subscripts[ellipsis_at:]]
            places = [*places[:ellipsis_at], *[span] * len(hidden), *places[ellipsis_at:]] if places else ()
        spans = places or [span] * rank
        place = tuple(self._place(s, at, size) for s, at, size in zip(subscripts, spans, value.shape))
        self.reads.append(ReadInfo(value.tensor, place, self.otherwise is not None, span, value.span))
        guard = _as_kind(self.otherwise, value.kind)
        return Indexed(Read(self.slot(value.tensor), place, guard), value.kind, span)

    def _place(self, value: Any, span: Span, size: Size) -> Affine:
        value = self.beside(value, span)
        if isinstance(value, (Fraction, float)):
            raise error("DG412", f"a place is an int, and {describe(value)} is not", span)
        expression, kind = scalar_in_notation(value, span)
        if kind != "int":
            raise self._no_place(expression, kind, span, size)
        return as_affine(expression)

    def _no_place(self, expression: Expr, kind: str, span: Span, size: Size) -> DiffgraphError:
        """The error of a place that is no int: an element of a tensor that was not declared as one, or a quotient."""
        tensor = self.operands[expression.slot] if type(expression) is Read else None
        read = next((r for r in reversed(self.reads) if r.tensor is tensor), None)
        if read is None:
            help = "write `//` for a whole quotient, or int(...)"
            return error("DG412", f"a place is an int, and this is a {kind}", span, help=help)
        text = f"a place is an int, and `{tensor.name}` holds {kind}s"
        is_port = any(i.tensor is tensor and i.role in ("input", "target") for i in self.session.main.inputs)
        notes = [Note(f"`{tensor.name}` holds {kind}s", read.origin)] if read.origin else []
        help = f"declare it as an int: `{tensor.name}[...]: int < {size}`" if is_port else "make an int of it: int(...)"
        return error("DG412", text, span, *notes, help=help)

    def scalar(self, value: TensorValue) -> Indexed:
        """A tensor of rank 0 as a value beside indices."""
        return Indexed(Read(self.slot(value.tensor), (), None), value.kind, value.span)

    def beside(self, value: Any, span: Span | None) -> Any:
        """A value as it stands beside indices: a tensor or expression of rank 0 becomes a number of this definition."""
        value = only_output(value)
        if not is_tensor(value) or value.shape:
            return value
        if isinstance(value, TensorValue):
            return self.scalar(value)
        pending = as_pending(value, self.session, span)
        slots = {old: self.slot(tensor) for old, tensor in enumerate(pending.operands)}
        body = substitute(pending.body, {}, None, slots, self.kinds)
        return Indexed(body, pending.kind, span)

    # ------------------------------------------------------------ guards

    def guarded(self, value: Any, otherwise: Any, first: int, span: Span) -> Indexed:
        """`(value else otherwise)`: the reads made since `first` were read with a guard. A lone read says itself what
        it is outside; anything else asks whether its reads are inside."""
        own = [r for r in self.reads[first:] if r.guarded]
        if not own or not isinstance(value, Indexed):
            raise error("DG407", "there is no read to guard here", span, help="a guard holds a read: (x[i - 1] else 0)")
        known = constant_expr(otherwise)
        if type(value.expression) is Read and known is not None:
            return value
        expression, kind = scalar_in_notation(self.beside(otherwise, span), span)
        inside = conjunction(*(c for r in own for c in _inside(r)))
        if kind != value.kind:
            kind = "float" if "float" in (kind, value.kind) else "int"
        return Indexed(where(inside, value.expression, expression, self.kinds), kind, span)

    # ------------------------------------------------------------ reductions and the end

    def part(self, op: str, bound: Sequence[int], value: Any, span: Span) -> Indexed:
        """Sets a reduction aside; gives the place of its result."""
        expression, kind = scalar_in_notation(self.beside(value, span), span)
        free = tuple(sorted(expression.indices - set(bound)))
        return self._aside(Part(op, tuple(bound), expression, kind, reduced_kind(op, kind), free, span))

    def applied(self, values: Sequence[Any], span: Span, apply: Callable[..., Any]) -> Indexed:
        """Sets a call aside of a function that wants tensors: its arguments, as tensors over the indices that any of
        them depends on. `apply` gives a float tensor over these."""
        arguments = tuple(scalar_in_notation(self.beside(v, span), span) for v in values)
        free = tuple(sorted(frozenset().union(*(e.indices for e, _ in arguments))))
        body, kind = arguments[0]
        return self._aside(Part("apply", (), body, kind, "float", free, span, apply, None, arguments))

    def _aside(self, part: Part) -> Indexed:
        self.operands.append(part)
        place = tuple(index(k) for k in part.free)
        return Indexed(Read(len(self.operands) - 1, place, None), part.kind, part.span)

    def finish(self, outputs: Sequence[int], value: Any, span: Span | None = None) -> TensorValue | Indexed:
        """The tensor whose element is `value` at the output indices. A reduction that depends on an element of a
        definition around it stays a part of that one."""
        value = self.beside(value, self.span)
        expression, kind = scalar_in_notation(value, span or self.span)
        free = expression.indices - set(outputs)
        if any(k < self.first_index for k in free):
            if not outputs and isinstance(value, Indexed):
                return value
            raise error(
                "DG415",
                "this definition depends on an index of the definition around it",
                self.span,
                help="a function that defines tensors takes whole tensors: call it outside of index notation",
            )
        if free:
            name = self.indices[min(free)].name
            raise error("DG413", f"the index `{name}` is neither on the left nor reduced over", self.span)
        extents = solve(self)
        tensor = close(self, tuple(outputs), expression, kind, extents)
        del self.indices[self.first_index :], self.reads[self.first_read :]
        return TensorValue(tensor, self.span)


def _axes(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _wrong_rank(value: TensorValue, given: int, span: Span):
    return error(
        "DG411",
        f"{describe(value)} has {_axes(len(value.shape))}, and {given} subscript{'s stand' if given != 1 else ' stands'} here",
        span,
        *([Note("it was made here", value.span)] if value.span not in (None, span) else ()),
        help="give every axis a subscript, or write `...` for several",
    )


def _as_kind(guard: Expr | None, kind: str) -> Expr | None:
    """What is read outside, in the kind of the tensor, so that equal reads are identical."""
    if type(guard) is Const and kind == "float" and isinstance(guard.value, int):
        return constant(float(guard.value))
    return guard


def _inside(read: ReadInfo) -> list[Expr]:
    """The conditions under which a place is inside its tensor."""
    conditions = []
    for place, size in zip(read.place, read.tensor.shape):
        limit = Const(size) if isinstance(size, int) else Extent(size)
        conditions += [Call("ge", (place, Const(0))), call("lt", place, limit)]
    return conditions
