"""Arithmetic on every kind of value, by one rule: with an `Indexed` operand the result is indexed; else with a tensor it is a
pending expression, broadcast as NumPy does; else it is computed now, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.affine import affine, as_affine, index
from diffgraph.ir.dimension import Dimension, Size
from diffgraph.ir.expression import Call, Const, Expr, Extent, Read
from diffgraph.ir.form import Form
from diffgraph.ir.scalar import FUNCTIONS, result_kind
from diffgraph.ir.simplify import call, divide, int_value, number, substitute
from diffgraph.language import sizes
from diffgraph.language.session import Session
from diffgraph.language.values import Indexed, NetResult, Pending, TensorValue

#: Operators of the language -> scalar functions.
OPERATORS = {
    "+": "add", "-": "sub", "*": "mul", "//": "floordiv", "%": "mod", "==": "eq", "!=": "ne", "<": "lt", "<=": "le",
    ">": "gt", ">=": "ge", "and": "and", "or": "or", "/": "div",
}  # fmt: skip

Number = (int, float, Fraction)


def is_number(value: Any) -> bool:
    """An int, a float, a Fraction or a bool."""
    return isinstance(value, Number)


def is_exact(value: Any) -> bool:
    """A number without rounding, symbolic sizes included."""
    return isinstance(value, (int, Fraction, Dimension)) and not isinstance(value, bool)


def is_tensor(value: Any) -> bool:
    """A tensor, made or pending."""
    return isinstance(value, (TensorValue, Pending))


def describe(value: Any) -> str:
    """What a value is, for messages."""
    value = only_output(value)
    if is_tensor(value):
        return f"a tensor {show_shape(value.shape)}"
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
    if isinstance(value, tuple):
        return f"{len(value)} values"
    name = getattr(value, "name", None)
    return f"`{name}`, a function or layer" if name else "a layer"


def show_shape(shape: Sequence[Size]) -> str:
    """`[N, 10]`"""
    return "[" + ", ".join(str(s) for s in shape) + "]"


def only_output(value: Any) -> Any:
    """A net's result where it has one output is that output."""
    if isinstance(value, NetResult) and len(value.outputs) == 1:
        return next(iter(value.outputs.values()))
    return value


# ---------------------------------------------------------------- what a value is as a scalar expression


def constant_expr(value: Any) -> Expr | None:
    """A compile-time number as a scalar expression; None for anything else."""
    if isinstance(value, bool):
        return Const(value)
    if isinstance(value, int):
        return Const(value)
    if isinstance(value, (float, Fraction)):
        return number(value)
    if isinstance(value, Dimension):
        top, bottom = sizes.ratio(value)
        return Extent(top) if bottom == 1 else divide(Extent(top), Const(bottom))
    return None


def constant_kind(value: Any) -> str:
    """The kind of a compile-time number."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int) or isinstance(value, Dimension) and sizes.is_whole(value):
        return "int"
    return "float"


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
    if isinstance(value, (list, range, tuple)):
        return stacked(list(value), session, span)
    raise error("DG320", f"{describe(value)} is not a number or a tensor", span)


def stacked(items: list, session: Session, span: Span | None) -> Pending:
    """A list as a tensor: numbers as a table, tensors joined along a new first axis."""
    array = _as_array(items)
    if array is not None:
        kind = {"b": "bool", "i": "int", "u": "int"}.get(array.dtype.kind, "float")
        bound = int(array.max()) + 1 if kind == "int" and array.size and array.min() >= 0 else None
        return as_pending(TensorValue(session.table("table", array, kind, bound), span), session, span)
    if not items:
        raise error("DG321", "an empty list is not a tensor", span)
    parts = [as_pending(i, session, span) for i in items]
    shape = broadcast_shapes([p.shape for p in parts], session, span, [p.span for p in parts])
    kind = _common_kind([p.kind for p in parts])
    # Elements along the new axis are picked by its index, a chain of conditions: lists are short.
    operands: list = []
    pieces = [_aligned(p, shape, operands) for p in parts]
    moved = [substitute(e, {k: index(k + 1) for k in range(len(shape))}, (len(items), *shape)) for e in pieces]
    body = _cast(moved[-1], parts[-1].kind, kind)
    for k in range(len(moved) - 2, -1, -1):
        body = Call("where", (call("eq", index(0), Const(k)), _cast(moved[k], parts[k].kind, kind), body))
    return Pending((len(items), *shape), kind, body, tuple(operands), None, span)


def _as_array(items: list) -> np.ndarray | None:
    """A nested list of numbers as an array; None if it holds anything else or is ragged."""
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
        notes = [
            Note(f"this is {show_shape(shapes[k])}", spans[k]) for k in (a, b) if k < len(spans) and spans[k] is not None
        ]
        left, right = shapes[a], shapes[b]
        return error(
            "DG301",
            f"the shapes {show_shape(left)} and {show_shape(right)} do not broadcast:"
            f" {left[axis]} against {right[axis]} on axis {axis}",
            span,
            *notes,
            help=_broadcast_repair(left, right),
        )

    return problem


def _broadcast_repair(left, right) -> str:
    if len(left) > len(right) and all(a == b or b == 1 for a, b in zip(left, right)):
        return f"add axes of size 1 behind: reshape(x, {show_shape([*right, *[1] * (len(left) - len(right))])})"
    if len(left) == 2 and len(right) == 2 and left == right[::-1]:
        return "transpose one of them: transpose(x, 0, 1)"
    return "sizes of an axis must be equal, or one of them 1"


def _aligned(value: Pending, shape, operands: list) -> Expr:
    """The body of a pending value over the axes of a broadcast shape; its operands join `operands`."""
    shift = len(shape) - len(value.shape)
    slots = {}
    for old, tensor in enumerate(value.operands):
        if tensor not in operands:
            operands.append(tensor)
        slots[old] = operands.index(tensor)
    places = {k: (index(k + shift) if s != 1 or shape[k + shift] == 1 else affine()) for k, s in enumerate(value.shape)}
    same = all(k + shift == k and (s != 1 or shape[k] == 1) for k, s in enumerate(value.shape))
    if same and all(a == b for a, b in slots.items()):
        return value.body
    return substitute(value.body, places, shape, slots)


def apply_scalar(name: str, values: Sequence[Any], session: Session, span: Span | None) -> Any:
    """A scalar function of any values."""
    values = [only_output(v) for v in values]
    if any(isinstance(v, Indexed) for v in values):
        return _indexed(name, values, span)
    if any(is_tensor(v) or isinstance(v, (list, range)) for v in values):
        parts = [as_pending(v, session, span) for v in values]
        shape = broadcast_shapes([p.shape for p in parts], session, span, [p.span for p in parts])
        operands: list = []
        bodies = [_aligned(p, shape, operands) for p in parts]
        body, kind, bound = _call(name, bodies, [p.kind for p in parts], [p.bound for p in parts], values)
        return Pending(shape, kind, body, tuple(operands), bound, span)
    return compute(name, values, span)


def _indexed(name: str, values: Sequence[Any], span: Span | None) -> Indexed:
    expressions, kinds = [], []
    for value in values:
        expression, kind = scalar_in_notation(value, span)
        expressions.append(expression)
        kinds.append(kind)
    bounds = [getattr(v, "bound", None) for v in values]
    body, kind, bound = _call(name, expressions, kinds, bounds, values)
    return Indexed(body, kind, span, bound)


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


def _call(name: str, bodies: list[Expr], kinds: list[str], bounds: list, values) -> tuple[Expr, str, Size | None]:
    """(body, kind, bound) of a scalar function. Ints that are affine stay affine, so that they can be places."""
    kind = result_kind(name, kinds)
    bound = None
    if name == "mod" and kind == "int" and isinstance(values[1], int) and values[1] > 0:
        bound = values[1]
    if name == "clamp" and kind == "int" and isinstance(values[1], int) and values[1] >= 0:
        top = values[2]
        bound = top + 1 if isinstance(top, (int, Dimension)) else None
    if name == "where" and kind == "int" and None not in bounds[1:]:
        bound = sizes.larger(*bounds[1:])
    if name in ("max", "min") and kind == "int" and None not in bounds:
        bound = sizes.larger(*bounds) if name == "max" else sizes.smaller(*bounds)
    if name == "int" and bounds[0] is not None:
        bound = bounds[0]
    if kind == "int" and name in ("add", "sub", "neg", "mul"):
        whole = _affine_value(name, [_cast(b, k, "int") if k == "bool" else b for b, k in zip(bodies, kinds)])
        if whole is not None:
            return whole, kind, bound
    if kind == "int" and name in ("floordiv", "mod") and type(bodies[1]) is Const and bodies[1].value > 0:
        return call(name, as_affine(bodies[0]), bodies[1]), kind, bound
    return call(name, *bodies), kind, bound


def _affine_value(name: str, bodies: list[Expr]) -> Expr | None:
    """Int arithmetic that is affine, as one affine value: the atoms may be elements of int tensors."""
    if name == "mul":
        constants = [b for b in bodies if type(b) is Const]
        if len(bodies) != 2 or not constants:
            return None
        other = bodies[0] if bodies[1] is constants[0] else bodies[1]
        place = affine(0, ((other, constants[0].value),))
    elif name == "neg":
        place = affine(0, ((bodies[0], -1),))
    else:
        place = affine(0, ((bodies[0], 1), (bodies[1], 1 if name == "add" else -1)))
    return int_value(place)


# ---------------------------------------------------------------- compile-time values


def compute(name: str, values: Sequence[Any], span: Span | None) -> Any:
    """A scalar function of compile-time values, exact where it can be."""
    exact = _EXACT.get(name)
    if exact is not None and all(is_exact(v) or isinstance(v, bool) for v in values):
        result = exact(*[int(v) if isinstance(v, bool) else v for v in values], span)
        if result is not NotImplemented:
            return result
    if name in ("eq", "ne") and not all(is_number(v) for v in values):
        same = _equal_values(values[0], values[1])
        return same if name == "eq" else not same
    if name in ("and", "or", "not"):
        flags = [_truth(v, span) for v in values]
        return all(flags) if name == "and" else any(flags) if name == "or" else not flags[0]
    if name == "add" and all(isinstance(v, str) for v in values):
        return "".join(values)
    if any(isinstance(v, Dimension) for v in values):
        raise error(
            "DG310",
            f"{describe(next(v for v in values if isinstance(v, Dimension)))} is not known when compiling",
            span,
            help="give the size a number with --set or in the net's settings",
        )
    if not all(is_number(v) for v in values):
        wrong = next(v for v in values if not is_number(v))
        raise error("DG320", f"{describe(wrong)} is not a number", span)
    return _with_floats(name, values, span)


def _with_floats(name: str, values, span) -> Any:
    if name == "powi":
        return _integer_power(values[0], int(values[1]), span)
    with np.errstate(all="ignore"):
        plain = [float(v) if isinstance(v, Fraction) else v for v in values]
        row = FUNCTIONS[name]
        if row.kind == "float" or row.arguments == "float":
            plain = [float(v) for v in plain]
        if name in ("div", "floordiv", "mod", "recip") and plain[-1] == 0 and all(isinstance(v, int) for v in values):
            raise error("DG311", "a division by zero", span)
        result = np.asarray(row.numpy(*[np.asarray(v) for v in plain])).item()
    kinds = [constant_kind(v) for v in values]
    kind = result_kind(name, kinds)
    if kind == "int" and isinstance(result, float) and math.isfinite(result):
        return int(result)
    return result


def _integer_power(base, power: int, span) -> Any:
    if isinstance(base, (int, Fraction)) and abs(power) < 4096:
        if base == 0 and power < 0:
            raise error("DG311", "a division by zero", span)
        if power >= 0 and isinstance(base, int):
            value = base**power
            if value.bit_length() > 4096:
                raise error("DG593", "a compile-time number is too large", span)
            return value
        value = Fraction(base) ** power
        return int(value) if value.denominator == 1 else value
    try:
        return float(base) ** power
    except OverflowError:
        return math.inf


def _truth(value: Any, span: Span | None) -> bool:
    if isinstance(value, bool):
        return value
    if is_number(value):
        return value != 0
    raise error("DG322", f"{describe(value)} is neither true nor false", span)


def _equal_values(a: Any, b: Any) -> bool:
    if isinstance(a, (list, range, tuple)) and isinstance(b, (list, range, tuple)):
        return len(a) == len(b) and all(_equal_values(x, y) for x, y in zip(a, b))
    if is_exact(a) and is_exact(b):
        return sizes.equal(a, b) is True
    return type(a) is type(b) and a == b or is_number(a) and is_number(b) and a == b


def _ordered(a, b, strict: bool, span) -> bool:
    result = sizes.at_least(a, sizes.add(b, 1) if strict and sizes.is_whole(a) and sizes.is_whole(b) else b)
    if strict and not (sizes.is_whole(a) and sizes.is_whole(b)):
        return a > b
    if result is None:
        raise error(
            "DG310",
            f"whether {a} {'>' if strict else '>='} {b} is not known when compiling",
            span,
            help="give the size a number with --set or in the net's settings",
        )
    return result


def _same_size(a, b, span) -> bool:
    return sizes.equal(a, b) is True


def _divide(a, b, span) -> Any:
    if b == 0:
        raise error("DG311", "a division by zero", span)
    result = sizes.divide(a, b)
    return NotImplemented if result is None else result


def _floor(a, b, span) -> Any:
    if isinstance(b, int) and b != 0:
        return sizes.floor_of(a, b)
    if b == 0:
        raise error("DG311", "a division by zero", span)
    exact = sizes.divide(a, b)
    if isinstance(exact, Fraction):
        return exact.numerator // exact.denominator
    return exact if exact is not None and sizes.is_whole(exact) else NotImplemented


def _remainder(a, b, span) -> Any:
    whole = _floor(a, b, span)
    return NotImplemented if whole is NotImplemented else sizes.add(a, sizes.multiply(sizes.multiply(whole, b), -1))


def _power_of_size(a, n, span) -> Any:
    if isinstance(a, Dimension) and isinstance(n, int) and 0 <= n < 16:
        result: Any = 1
        for _ in range(n):
            result = sizes.multiply(result, a)
        return result
    return NotImplemented


_EXACT = {
    "add": lambda a, b, span: sizes.add(a, b),
    "sub": lambda a, b, span: sizes.add(a, sizes.multiply(b, -1)),
    "mul": lambda a, b, span: sizes.multiply(a, b),
    "neg": lambda a, span: sizes.multiply(a, -1),
    "div": _divide,
    "floordiv": _floor,
    "mod": _remainder,
    "powi": _power_of_size,
    "ge": lambda a, b, span: _ordered(a, b, False, span),
    "gt": lambda a, b, span: _ordered(a, b, True, span),
    "le": lambda a, b, span: _ordered(b, a, False, span),
    "lt": lambda a, b, span: _ordered(b, a, True, span),
    "eq": _same_size,
    "ne": lambda a, b, span: not _same_size(a, b, span),
    "max": lambda a, b, span: NotImplemented if sizes.larger(a, b) is None else sizes.larger(a, b),
    "min": lambda a, b, span: NotImplemented if sizes.smaller(a, b) is None else sizes.smaller(a, b),
}


# ---------------------------------------------------------------- operators of the language


def binary(op: str, a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a op b`"""
    a, b = only_output(a), only_output(b)
    if op == "+" and isinstance(a, (list, range)) and isinstance(b, (list, range)):
        return [*a, *b]
    if op == "^":
        return power(a, b, session, span)
    if op in ("==", "!=") and not any(is_tensor(v) or isinstance(v, Indexed) for v in (a, b)):
        return compute(OPERATORS[op], (a, b), span)
    return apply_scalar(OPERATORS[op], (a, b), session, span)


def power(a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a ^ b`: repeated multiplication for an int exponent."""
    if isinstance(b, Fraction) and b.denominator == 1:
        b = int(b)
    kind = b.kind if isinstance(b, (Indexed, Pending, TensorValue)) else constant_kind(b)
    if kind in ("int", "bool") and not isinstance(b, Dimension):
        return apply_scalar("powi", (a, b), session, span)
    if isinstance(b, Dimension):
        return apply_scalar("powi", (a, b), session, span)
    return apply_scalar("pow", (a, b), session, span)


def unary(op: str, a: Any, session: Session, span: Span | None) -> Any:
    """`-a` or `not a`"""
    return apply_scalar("neg" if op == "-" else "not", (a,), session, span)


def choose(condition: Any, a: Any, b: Any, session: Session, span: Span | None) -> Any:
    """`a if condition else b` where the condition is a tensor or indexed."""
    return apply_scalar("where", (condition, a, b), session, span)


# ---------------------------------------------------------------- becoming a tensor


def materialize(value: Any, session: Session, hint: str, span: Span | None = None) -> TensorValue:
    """The value as a tensor of the program: one definition for a whole pending expression."""
    value = only_output(value)
    if isinstance(value, TensorValue):
        return value
    if isinstance(value, Indexed):
        raise error("DG403", "an indexed expression has no value outside its definition", span)
    pending = as_pending(value, session, span)
    body = pending.body
    if type(body) is Read and body.otherwise is None and _is_whole_read(body, pending):
        return TensorValue(pending.operands[body.slot], span or pending.span)
    return TensorValue(define(session, hint, pending, span), span or pending.span)


def _is_whole_read(read: Read, pending: Pending) -> bool:
    tensor = pending.operands[read.slot]
    whole = tuple(index(k) if s != 1 else affine() for k, s in enumerate(pending.shape))
    return tensor.shape == pending.shape and read.place == whole


def define(session: Session, hint: str, pending: Pending, span: Span | None):
    """A new tensor with the elements of a pending expression."""
    session.at(span or pending.span)
    session.count_definitions(span)
    used = sorted(pending.body.slots)
    body = substitute(pending.body, {}, pending.shape, {old: new for new, old in enumerate(used)})
    operands = [pending.operands[old] for old in used]
    write = tuple(index(k) for k in range(len(pending.shape)))
    form = Form(pending.shape, "sum", write, pending.shape, tuple(t.operand for t in operands), body)
    names = tuple(session.operand(t, span) for t in operands)
    return session.builder.define(hint, (form, names), kind=pending.kind, bound=pending.bound)

