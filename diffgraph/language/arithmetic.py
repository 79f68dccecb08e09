"""Arithmetic on every kind of value, by one rule: with an `Indexed` operand the result is indexed; else with a tensor
it is a pending expression, broadcast as NumPy does; else it is computed now, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.affine import affine, index, interval
from diffgraph.ir.dimension import Dimension, Size, product
from diffgraph.ir.expression import Call, Const, Expr, Extent, Read
from diffgraph.ir.form import Form
from diffgraph.ir.scalar import result_kind
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import call, conjunction, constant
from diffgraph.language import sizes
from diffgraph.language.numbers import SYMBOLS, compute, is_known, is_list, is_number, kind_of_number, limited
from diffgraph.language.session import Session
from diffgraph.language.values import (
    BuiltinFunction,
    FunctionValue,
    Indexed,
    LayerValue,
    NetResult,
    Pending,
    SizeRange,
    TensorValue,
    Undecided,
)

#: Operators of the language -> scalar functions. `^` chooses its function by the kind of the exponent.
OPERATORS = {symbol: name for name, symbol in SYMBOLS.items() if symbol != "^"}

constant_kind = kind_of_number


def is_tensor(value: Any) -> bool:
    """A tensor, made or pending."""
    return isinstance(value, (TensorValue, Pending))


def describe(value: Any) -> str:
    """What a value is, for messages."""
    value = only_output(value)
    if is_tensor(value):
        return f"a tensor {show_shape(value.shape)}" if value.shape else "a tensor of rank 0"
    if isinstance(value, Indexed):
        return "a number of the index notation"
    if isinstance(value, bool):
        return f"the bool {str(value).lower()}"
    if isinstance(value, Dimension):
        return f"the size {value}"
    if is_number(value):
        return f"the number {value}"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (list, range)):
        return "a list"
    if isinstance(value, SizeRange):
        return f"the range {value.start}..{value.stop}"
    if isinstance(value, tuple):
        return f"{len(value)} values"
    if isinstance(value, NetResult):
        return f"a net with the outputs {', '.join(value.outputs)}"
    name = getattr(value, "name", None)
    kind = "function" if isinstance(value, (FunctionValue, BuiltinFunction)) else "layer"
    return f"the {kind} `{name}`" if name else "a layer"


def show_shape(shape: Sequence[Size]) -> str:
    """`[N, 10]`"""
    return "[" + ", ".join(str(s) for s in shape) + "]"


def not_a_tensor(value: Any, span: Span | None) -> DiffgraphError:
    """The error of a value that stands where a number or a tensor is wanted."""
    help = None
    if isinstance(value, NetResult) and value.outputs:
        help = f"name one of them: {value.path.rpartition('.')[2]}.{next(iter(value.outputs))}"
    elif isinstance(value, tuple):
        help = f"unpack them: `{', '.join('abcdefgh'[: len(value)])} = ...`"
    elif isinstance(value, LayerValue):
        settings = "(...)" if value.declaration.settings else ""
        help = f"a layer is applied by an arrow: `x -> {value.name}{settings}`"
    elif isinstance(value, (FunctionValue, BuiltinFunction)):
        help = f"call it: `{value.name}(...)`"
    return error("DG320", f"a number or a tensor is wanted here, and this is {describe(value)}", span, help=help)


def only_output(value: Any) -> Any:
    """A net's result where it has one output is that output."""
    while isinstance(value, NetResult) and len(value.outputs) == 1:
        value = next(iter(value.outputs.values()))
    return value


# ---------------------------------------------------------------- what a value is as a scalar expression


def constant_expr(value: Any) -> Expr | None:
    """A number known now, a size or an undecided comparison of sizes as a scalar expression; None for anything else."""
    if isinstance(value, int):
        # What no int64 holds is computed with as a float.
        return Const(float(value) if isinstance(value, int) and abs(value) >= 1 << 63 else value)
    if isinstance(value, (float, Fraction)):
        return constant(value)
    if isinstance(value, Dimension):
        top, bottom = sizes.ratio(value)
        return Extent(top) if bottom == 1 else call("div", Extent(top), Const(bottom))
    if isinstance(value, Undecided):
        return conjunction(*(call(OPERATORS[op], *map(constant_expr, pair)) for op, *pair in value.conditions))
    return None


def as_pending(value: Any, session: Session, span: Span | None) -> Pending:
    """Any value that is an array as a pending expression. Lists are stacked."""
    value = only_output(value)
    if isinstance(value, Pending):
        return value
    if isinstance(value, TensorValue):
        places = tuple(index(k) if s != 1 else affine() for k, s in enumerate(value.shape))
        read = Read(0, places, None)
        return Pending(value.shape, value.kind, read, (value.tensor,), value.tensor.bound, value.span)
    expression = constant_expr(value)
    if expression is not None:
        return Pending((), constant_kind(value), expression, (), None, span)
    if isinstance(value, (list, range)):
        return stacked(value, session, span)
    raise not_a_tensor(value, span)


def stacked(items: list | range, session: Session, span: Span | None) -> Pending:
    """A list as a tensor: numbers as a table, tensors joined along a new first axis."""
    array = _as_array(items)
    if array is not None:
        kind = {"b": "bool", "i": "int", "u": "int"}.get(array.dtype.kind, "float")
        bound = int(array.max()) + 1 if kind == "int" and array.size and array.min() >= 0 else None
        return as_pending(TensorValue(session.table("table", array, kind, bound), span), session, span)
    if not items:
        raise error("DG321", "an empty list is not a tensor", span)
    parts = [as_pending(i, session, span) for i in items]
    shape = _shape_of_all(parts, session, span)
    kind = _common_kind([p.kind for p in parts])
    # Elements along the new axis are picked by its index, a chain of conditions: lists are short.
    operands: list = []
    pieces = [_aligned(p, shape, operands) for p in parts]
    moved = [substitute(e, {k: index(k + 1) for k in range(len(shape))}, (len(items), *shape)) for e in pieces]
    body = _cast(moved[-1], parts[-1].kind, kind)
    for k in range(len(moved) - 2, -1, -1):
        body = Call("where", (call("eq", index(0), Const(k)), _cast(moved[k], parts[k].kind, kind), body))
    return Pending((len(items), *shape), kind, body, tuple(operands), None, span)


def _shape_of_all(parts: Sequence[Pending], session: Session, span: Span | None) -> tuple[Size, ...]:
    """The one shape of the items of a list; numbers among tensors are spread."""
    shape = next((p.shape for p in parts if p.shape), ())
    for part in parts:
        if not part.shape:
            continue

        def problem(part=part):
            return error(
                "DG323",
                f"the items of this list have the shapes {show_shape(shape)} and {show_shape(part.shape)}",
                span,
                help="a list becomes a tensor where all its items have one shape",
            )

        if len(part.shape) != len(shape):
            raise problem()
        for a, b in zip(shape, part.shape):
            session.require_equal(a, b, problem, span)
    return shape


def _as_array(items: list | range) -> np.ndarray | None:
    """A nested list of numbers as an array; None if it holds anything else or is ragged."""
    if isinstance(items, range) and items and max(abs(items.start), abs(items.stop)) < 2**62:
        return np.arange(items.start, items.stop, items.step)
    flat = items
    while flat and isinstance(flat[0], (list, range)):
        if not all(isinstance(f, (list, range)) and len(f) == len(flat[0]) for f in flat):
            return None
        flat = [x for f in flat for x in f]
    if not flat or not all(is_number(x) for x in flat):
        return None
    array = np.array([float(x) if isinstance(x, Fraction) else x for x in flat])
    shape = []
    level: Any = items
    while isinstance(level, (list, range)):
        shape.append(len(level))
        level = level[0]
    return array.reshape(shape)


def _cast(e: Expr, kind: str, wanted: str) -> Expr:
    if kind == wanted or wanted == "bool":
        return e
    return call("float", e) if wanted == "float" else call("int", e)


def _common_kind(kinds: Sequence[str]) -> str:
    if "float" in kinds:
        return "float"
    return "bool" if set(kinds) == {"bool"} else "int"


# ---------------------------------------------------------------- broadcasting


def broadcast_shapes(shapes, session: Session, span: Span | None, spans=()) -> tuple[Size, ...]:
    """The shape that all broadcast to, as NumPy does; axes are matched from the last one."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Size] = []
    for axis in range(-rank, 0):
        size: Size = 1
        owner = None
        for k, shape in enumerate(shapes):
            if -axis > len(shape) or shape[axis] == 1:
                continue
            if size == 1:
                size, owner = shape[axis], k
            elif shape[axis] != size:
                problem = _mismatch(shapes, owner, k, axis, span, spans)
                session.require_equal(size, shape[axis], problem, span)
        result.append(size)
    return tuple(result)


def _mismatch(shapes, a: int, b: int, axis: int, span, spans):
    def problem():
        known = [k for k in (a, b) if k < len(spans) and spans[k] is not None]
        notes = [Note(f"this is {show_shape(shapes[k])}", spans[k]) for k in known]
        left, right = shapes[a], shapes[b]
        return error(
            "DG301",
            f"the shapes {show_shape(left)} and {show_shape(right)} do not broadcast:"
            f" {left[axis]} against {right[axis]} on axis {axis}",
            span,
            *notes,
            Note("axes are matched from the last one; two sizes must be equal, or one of them 1"),
            help=_broadcast_repair(left, right) or _broadcast_repair(right, left),
        )

    return problem


def _broadcast_repair(left: Sequence[Size], right: Sequence[Size]) -> str | None:
    """What makes the second shape fit the first: axes of size 1 in the right places, or a transposition."""
    missing = len(left) - len(right)
    if missing > 0:
        for behind in range(missing, 0, -1):
            wide = [*right, *[1] * behind]
            if all(a == b or 1 in (a, b) for a, b in zip(left[::-1], wide[::-1])):
                return f"add axes of size 1 behind: reshape(..., {show_shape(wide)}) for what is {show_shape(right)}"
    if len(left) == len(right) >= 2 and tuple(left) == (*right[:-2], right[-1], right[-2]):
        return f"transpose what is {show_shape(right)}: transpose(..., -1, -2)"
    return None


def _aligned(value: Pending, shape, operands: list) -> Expr:
    """The body of a pending value over the axes of a broadcast shape; its operands join `operands`."""
    shift = len(shape) - len(value.shape)
    slots = {}
    known = {t.name: k for k, t in enumerate(operands)}
    for old, tensor in enumerate(value.operands):
        slots[old] = known.setdefault(tensor.name, len(operands))
        if slots[old] == len(operands):
            operands.append(tensor)
    places = {k: (index(k + shift) if s != 1 or shape[k + shift] == 1 else affine()) for k, s in enumerate(value.shape)}
    same = all(k + shift == k and (s != 1 or shape[k] == 1) for k, s in enumerate(value.shape))
    if same and all(a == b for a, b in slots.items()):
        return value.body
    return substitute(value.body, places, shape, slots)


def apply_scalar(name: str, values: Sequence[Any], session: Session, span: Span | None) -> Any:
    """A scalar function of any values."""
    values = [only_output(v) for v in values]
    if name in ("and", "or", "not"):
        _refuse_numbers(name, values, span)
    if any(isinstance(v, Indexed) for v in values):
        return _indexed(name, values, session, span)
    whole_lists = name in ("eq", "ne")
    if all(is_known(v) and (whole_lists or not is_list(v)) for v in values):
        known = compute(name, values, span)
        if known is not None:
            return known
    if all(is_tensor(v) or is_known(v) for v in values):
        session.count_step(span)
        parts = [as_pending(v, session, span) for v in values]
        shape = broadcast_shapes([p.shape for p in parts], session, span, [p.span for p in parts])
        operands: list = []
        bodies = [_aligned(p, shape, operands) for p in parts]
        kinds = [p.kind for p in parts]
        body = call(name, *bodies, kinds=[t.kind for t in operands])
        return Pending(shape, result_kind(name, kinds), body, tuple(operands), None, span)
    wrong = next(v for v in values if not (is_tensor(v) or is_known(v)))
    if whole_lists:
        return (values[0] is values[1]) == (name == "eq")
    raise not_a_tensor(wrong, span)


def _refuse_numbers(name: str, values: Sequence[Any], span: Span | None) -> None:
    """Logic is for bools: that a number is not 0 must be said."""
    for value in values:
        if is_tensor(value) or isinstance(value, Indexed):
            if value.kind != "bool":
                raise error(
                    "DG322",
                    f"`{name}` wants bools, and this is {describe(value)} of {value.kind}s",
                    span,
                    help="compare it, as in `x != 0`",
                )


def _indexed(name: str, values: Sequence[Any], session: Session, span: Span | None) -> Indexed:
    session.count_step(span)
    expressions, kinds = zip(*(scalar_in_notation(v, span) for v in values))
    body = call(name, *expressions, kinds=session.notations[-1].kinds)
    return Indexed(body, result_kind(name, kinds), span)


def scalar_in_notation(value: Any, span: Span | None) -> tuple[Expr, str]:
    """(expression, kind) of a value that stands beside indices."""
    value = only_output(value)
    if isinstance(value, Indexed):
        return value.expression, value.kind
    expression = constant_expr(value)
    if expression is not None:
        return expression, constant_kind(value)
    if is_tensor(value):
        raise error(
            "DG401",
            f"{describe(value)} stands beside indices without indices of its own",
            span,
            help="give each of its axes an index, or name the whole expression first",
        )
    raise error("DG402", f"{describe(value)} cannot stand in index notation", span)


# ---------------------------------------------------------------- operators of the language


def binary(op: str, a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a op b`"""
    a, b = only_output(a), only_output(b)
    if op == "+" and is_list(a) and is_list(b):
        session.count_step(span, (len(a) + len(b)) // 10)
        return limited([*a, *b], span)
    return power(a, b, session, span) if op == "^" else apply_scalar(OPERATORS[op], (a, b), session, span)


#: What `~=` allows where nothing else is said: a part of the right side.
CLOSE = 1e-5


def nearly_equal(a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a ~= b`: |a - b| <= CLOSE |b|, element by element."""
    distance = apply_scalar("abs", (binary("-", a, b, session, span),), session, span)
    allowed = binary("*", CLOSE, apply_scalar("abs", (b,), session, span), session, span)
    return binary("<=", distance, allowed, session, span)


def power(a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a ^ b`: repeated multiplication for an int exponent."""
    kind = b.kind if isinstance(b, (Indexed, Pending, TensorValue)) else kind_of_number(b)
    return apply_scalar("pow" if kind == "float" else "powi", (a, b), session, span)


def unary(op: str, a: Any, session: Session, span: Span | None) -> Any:
    """`-a` or `not a`"""
    return apply_scalar("neg" if op == "-" else "not", (a,), session, span)


def choose(condition: Any, a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a if condition else b` where the condition is a tensor or indexed."""
    return apply_scalar("where", (condition, a, b), session, span)


# ---------------------------------------------------------------- becoming a tensor


def materialize(
    value: Any, session: Session, hint: str, span: Span | None = None, origin: Span | None = None
) -> TensorValue:
    """The value as a tensor of the program: one definition for a whole pending expression. span: what made it, for
    messages; origin: the text of the formula, where that is another."""
    value = only_output(value)
    if isinstance(value, TensorValue):
        return value
    if isinstance(value, Indexed):
        raise error("DG403", "an indexed expression has no value outside its definition", span)
    pending = as_pending(value, session, span)
    body = pending.body
    if type(body) is Read and body.otherwise is None and _is_whole_read(body, pending):
        return TensorValue(pending.operands[body.slot], span or pending.span)
    return TensorValue(define(session, hint, pending, origin or span), span or pending.span)


def _is_whole_read(read: Read, pending: Pending) -> bool:
    tensor = pending.operands[read.slot]
    whole = tuple(index(k) if s != 1 else affine() for k, s in enumerate(pending.shape))
    return tensor.shape == pending.shape and read.place == whole


def define(session: Session, hint: str, pending: Pending, span: Span | None):
    """A new tensor with the elements of a pending expression."""
    session.at(span or pending.span)
    session.count_definitions(span)
    session.count_step(span, min(pending.body.nodes, 4_000) // 2)
    session.refuse_enormous(pending.shape, span)
    used = sorted(pending.body.slots)
    body = substitute(pending.body, {}, pending.shape, {old: new for new, old in enumerate(used)})
    operands = [pending.operands[old] for old in used]
    write = tuple(index(k) for k in range(len(pending.shape)))
    form = Form(pending.shape, "sum", write, pending.shape, tuple(t.operand for t in operands), body)
    names = tuple(session.operand(t, span) for t in operands)
    bound = int_bound(form) if pending.kind == "int" and pending.bound is None else pending.bound
    return session.builder.define(hint, (form, names), kind=pending.kind, bound=bound)


def int_bound(form: Form) -> Size | None:
    """A size that the elements of an int tensor stay below, being at least 0; None where none is known."""
    if form.op in ("argmax", "argmin"):
        return product(form.domain[k] for k in form.reduced)
    if form.op not in ("sum", "max", "min") or form.op == "sum" and not form.is_pointwise:
        return None
    low, high = interval(form.body, form.domain, form.operands)
    if low is None or high is None or sizes.at_least(low, 0) is not True:
        return None
    return sizes.add(high, 1)

