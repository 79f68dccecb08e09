"""The functions of the core: what the standard library is written with.

`CORE` is the table: name -> (signature, function). Scalar functions come from the rows of `ir/scalar.py`; what can be
written in `.net` belongs to the standard library instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Span, error, suggest
from diffgraph.ir.dimension import Dimension
from diffgraph.language import sizes
from diffgraph.language.arithmetic import (
    apply_scalar,
    binary,
    describe,
    is_number,
    is_tensor,
    only_output,
)
from diffgraph.language.numbers import is_list, show
from diffgraph.language.program_files import constant_file
from diffgraph.language.joining import concat, split, stack
from diffgraph.language.reductions import REDUCTIONS, matmul, norm, reduce_axes
from diffgraph.language.session import Session
from diffgraph.language.tensors import (
    eye,
    filled,
    last_row,
    one_hot,
    order,
    pad,
    permuted,
    range_tensor,
    reshape,
    top_k,
    transpose,
)
from diffgraph.language.values import Indexed, place_of

#: Marks a parameter without default.
REQUIRED = object()


@dataclass(frozen=True)
class Call:
    """A call of a core function: where, and in which elaboration."""

    session: Session
    span: Span | None


@dataclass(frozen=True)
class CoreFunction:
    """A function of the core. `parameters`: (name, default); `rest`: it takes any number of positional arguments, of
    which the first `leading` are its first parameters."""

    name: str
    parameters: tuple[tuple[str, Any], ...]
    function: Callable
    rest: bool = False
    leading: int = 0

    @property
    def signature(self) -> str:
        """As it is called: `concat(..., axis = 0)`."""
        shown = [n if default is REQUIRED else f"{n} = {_written(default)}" for n, default in self.parameters]
        shown[self.leading : self.leading] = ["..."] * self.rest
        return f"{self.name}({', '.join(shown)})"

    def bind(self, positional: list, keywords: dict[str, Any], span: Span | None) -> dict[str, Any] | None:
        """Arguments by parameter; None for a partial application: keywords are given and a required one is missing."""
        names = [n for n, _ in self.parameters]
        for name in keywords:
            if name not in names:
                hint = suggest(name, names) or (f"it takes {', '.join(names)}" if names else "it takes no keywords")
                raise error("DG230", f"`{self.name}` has no argument `{name}`", place_of(name, keywords, span), help=hint)
        ordered = names if not self.rest else names[: self.leading]
        if len(positional) > len(ordered) and not self.rest:
            most = f"{len(ordered)} argument{'' if len(ordered) == 1 else 's'}"
            text = f"`{self.name}` takes {'at most ' if len(ordered) > 1 else ''}{most}, not {len(positional)}"
            raise error("DG231", text, span, help=f"it takes {', '.join(names)}; an arrow gives the first")
        bound = dict(zip(ordered, positional))
        for name, value in keywords.items():
            if name in bound:
                text = f"`{self.name}` is given `{name}` twice"
                raise error("DG232", text, place_of(name, keywords, span), help=f"leave `{name} = ...` out")
            bound[name] = value
        missing = [n for n, default in self.parameters if n not in bound and default is REQUIRED]
        if missing:
            if keywords and not positional or not positional and not keywords:
                return None
            help = f"it takes {', '.join(n if d is REQUIRED else f'{n} = ...' for n, d in self.parameters)}"
            raise error("DG233", f"`{self.name}` wants `{missing[0]}`", span, help=help)
        for name, default in self.parameters:
            bound.setdefault(name, default)
        return bound


def _extreme(name: str):
    """`max(a, b)` is elementwise, `max(x)` and `max(x, axis = 1)` reduce."""

    def apply(call: Call, values: list, axis, keep) -> Any:
        if axis is None and len(values) > 1:
            result = values[0]
            for value in values[1:]:
                result = apply_scalar(name, (result, value), call.session, call.span)
            return result
        return _reduce(name)(call, values, axis, keep)

    return apply


def _reduce(op: str):
    def apply(call: Call, values: list, axis, keep) -> Any:
        if len(values) != 1:
            help = f"write `{op}(x, axis = 1)` for the axis, `{op}(stack(a, b))` for several tensors"
            raise error("DG231", f"`{op}` reduces one tensor, not {len(values)} values", call.span, help=help)
        value = only_output(values[0])
        if isinstance(value, (list, range)) and axis is None and all(is_number(v) or _is_size(v) for v in value):
            return _reduce_list(op, list(value), call)
        return reduce_axes(op, value, axis, keep, call.session, call.span)

    return apply


def _is_size(value) -> bool:
    return isinstance(value, Dimension)


def _reduce_list(op: str, values: list, call: Call) -> Any:
    """A reduction of numbers that are known now."""
    if not values and op not in ("any", "all", "sum", "prod"):
        raise error("DG330", f"an empty list has no {op}", call.span)
    if op in ("argmax", "argmin") and not all(is_number(v) for v in values):
        raise error("DG330", f"`{op}` compares sizes that are not known when compiling", call.span)
    if op in ("any", "all"):
        return any(values) if op == "any" else all(values)
    if op in ("argmax", "argmin"):
        return values.index(max(values) if op == "argmax" else min(values))
    if op in ("max", "min"):
        result = values[0]
        for value in values[1:]:
            result = apply_scalar(op, (result, value), call.session, call.span)
        return result
    result: Any = 1 if op == "prod" else 0
    for value in values:
        result = binary("*" if op == "prod" else "+", result, value, call.session, call.span)
    return binary("/", result, len(values), call.session, call.span) if op == "mean" else result


def _length(call: Call, x) -> Any:
    x = only_output(x)
    if is_tensor(x):
        if not x.shape:
            raise error("DG330", "a tensor of rank 0 has no length", call.span)
        return x.shape[0]
    if isinstance(x, (list, range, str, tuple)):
        return len(x)
    raise error("DG330", f"{describe(x)} has no length", call.span)


def _out_size(call: Call, size, kernel, stride, pad_, dilation) -> Any:
    """How many windows fit: floor((size + 2 pad - dilation (kernel - 1) - 1) / stride) + 1."""
    for name, value in (("size", size), ("kernel", kernel), ("stride", stride), ("pad", pad_), ("dilation", dilation)):
        if not is_number(value) and (name == "stride" or not _is_size(value)):
            raise error("DG334", f"the {name} of a window is a number, not {describe(value)}", call.span)
        least = 0 if name in ("size", "pad") else 1
        if is_number(value) and (value < least or value != value // 1):
            text = f"the {name} of a window is a whole number of at least {least}, not {show(value)}"
            raise error("DG334", text, call.span)
    reach = sizes.add(sizes.multiply(dilation, sizes.add(kernel, -1)), 1)
    room = sizes.add(sizes.add(size, sizes.multiply(2, pad_)), sizes.multiply(reach, -1))
    count = sizes.add(sizes.floor_of(room, stride), 1)
    if sizes.at_least(count, 1) is False:
        raise error(
            "DG331",
            f"a window of {reach} does not fit into {size} with a padding of {pad_}",
            call.span,
            help=f"pad = {_least_pad(size, reach)} makes it fit" if isinstance(size, int) else None,
        )
    return count


def _least_pad(size: int, reach: int) -> int:
    return max(0, -(-(reach - size) // 2))


def _pair(call: Call, k, count) -> list:
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST_PAIRED:
        raise error("DG332", f"`pair` makes a list of as many numbers as an int says, not {describe(count)}", call.span)
    if isinstance(k, (list, range)):
        if len(k) != count:
            raise error("DG332", f"{len(k)} numbers are given where {count} are wanted", call.span)
        return list(k)
    return [k] * count


#: A list of equal numbers is a window, with a number for each axis, or a few settings of layers.
MOST_PAIRED = 100_000


def _list(call: Call, x) -> list:
    """A list, a range or a tuple as a list; anything else as a list of one."""
    return list(x) if isinstance(x, (list, range, tuple)) else [x]


def _int(call: Call, x) -> Any:
    x = only_output(x)
    if is_tensor(x) or isinstance(x, Indexed):
        return x if x.kind == "int" else apply_scalar("int", (x,), call.session, call.span)
    if isinstance(x, Dimension):
        return x
    if is_number(x) and math.isfinite(x):
        return int(x)
    raise error("DG333", f"{describe(x)} is not an int", call.span)


def _float(call: Call, x) -> Any:
    x = only_output(x)
    if isinstance(x, (int, Fraction)):
        return float(x)
    return x if isinstance(x, float) else apply_scalar("float", (x,), call.session, call.span)


def _bool(call: Call, x) -> Any:
    return apply_scalar("ne", (x, 0), call.session, call.span)


def _constant(call: Call, value) -> Any:
    """A table from a file; a number is itself, as the schedule that never changes."""
    return constant_file(value, call.session, call.span) if isinstance(value, str) else value


def _clamp(call: Call, x, low, high) -> Any:
    """Either limit may be left out."""
    if low is None or high is None:
        limits = [(name, limit) for name, limit in (("max", low), ("min", high)) if limit is not None]
        return apply_scalar(limits[0][0], (x, limits[0][1]), call.session, call.span) if limits else x
    return apply_scalar("clamp", (x, low, high), call.session, call.span)


def _where(call: Call, condition, a, b) -> Any:
    condition = only_output(condition)
    if isinstance(condition, bool) and not isinstance(condition, Indexed):
        # Known now: still a tensor of the broadcast shape where the other side is one.
        return apply_scalar("where", (condition, a, b), call.session, call.span) if _has_tensor(a, b) else (
            a if condition else b
        )
    return apply_scalar("where", (condition, a, b), call.session, call.span)


def _has_tensor(*values) -> bool:
    return any(is_tensor(only_output(v)) or isinstance(v, Indexed) for v in values)


def _scalar(name: str, arity: int):
    def apply(call: Call, *values) -> Any:
        return apply_scalar(name, values, call.session, call.span)

    parameters = tuple((n, REQUIRED) for n in ("x", "y", "z")[:arity])
    return CoreFunction(name, parameters, apply)


def _written(default: Any) -> str:
    """A default as text of the language; `none` for what is left out."""
    if isinstance(default, bool) or default is None:
        return str(default).lower()
    return str(default)


def _function(name: str, function, *parameters, rest: bool = False, leading: int = 0) -> CoreFunction:
    """A row: parameters are names, or (name, default)."""
    pairs = tuple(p if isinstance(p, tuple) else (p, REQUIRED) for p in parameters)
    return CoreFunction(name, pairs, function, rest, leading)


def _on(function):
    """A function of tensors that takes (..., session, span) as a function of a call."""
    return lambda call, *arguments: function(*arguments, call.session, call.span)


def _filled(call: Call, shape, value) -> Any:
    shape = only_output(shape)
    return filled(list(shape) if is_list(shape) else [shape], value, call.session, call.span)


def _all_of(value: float):
    """`zeros([2, 3])`, or `zeros(2, 3)`"""
    return lambda call, sizes, shape: _filled(call, _as_list("shape", sizes, shape, call), value)


def _as_list(name: str, positional: list, given, call: Call) -> list:
    """A list that may also be given as several arguments."""
    if not positional and given is None:
        help = f"a list, or one argument for each axis; in a composition by name: {name} = [...]"
        raise error("DG233", f"the argument `{name}` is missing", call.span, help=help)
    if positional and given is not None:
        raise error("DG232", f"`{name}` is given twice", call.span, help=f"leave `{name} = ...` out")
    values = [only_output(v) for v in positional or [given]]
    return list(values[0]) if len(values) == 1 and is_list(values[0]) else values


def _reshape(call: Call, sizes_given: list, x, shape) -> Any:
    """`reshape(x, [N, -1])`, or `reshape(x, N, -1)`"""
    return reshape(x, _as_list("shape", sizes_given, shape, call), call.session, call.span)


def _transpose(call: Call, axes: list, x, a, b) -> Any:
    """Two axes exchanged, the last two unless given; or all axes in another order: `transpose(x, 0, 2, 3, 1)`."""
    axes = [only_output(v) for v in axes]
    if len(axes) > 2 or len(axes) == 1 and is_list(axes[0]):
        return permuted(x, list(axes[0]) if len(axes) == 1 else axes, call.session, call.span)
    a, b = [*axes, *(a, b)[len(axes) :]]
    return transpose(x, a, b, call.session, call.span)


_UNARY = (
    "exp expm1 log log1p log2 log10 sqrt sin cos tan asin acos atan sinh cosh tanh sigmoid softplus erf normal_quantile"
    " abs relu sign floor ceil round stop_gradient is_nan"
).split()

_AXIS = (("axis", None), ("keep", False))

_ROWS = (
    *(_scalar(name, 1) for name in _UNARY),
    _scalar("atan2", 2),
    _function("random", lambda call, *a: apply_scalar("random", a, call.session, call.span),
              "seed", "step", "site", "element"),
    _function("where", _where, "condition", "a", "b"),
    _function("clamp", _clamp, "x", ("low", None), ("high", None)),
    *(_function(op, _reduce(op), *_AXIS, rest=True) for op in REDUCTIONS if op not in ("max", "min")),
    *(_function(op, _extreme(op), *_AXIS, rest=True) for op in ("max", "min")),
    _function("norm", _on(norm), "x", ("axis", None), ("keep", False)),
    _function("concat", _on(concat), ("axis", 0), rest=True),
    _function("stack", _on(stack), ("axis", 0), rest=True),
    _function("split", _on(split), "x", "parts", ("axis", 0)),
    _function("reshape", _reshape, "x", ("shape", None), rest=True, leading=1),
    _function("transpose", _transpose, "x", ("a", -2), ("b", -1), rest=True, leading=1),
    _function("pad", _on(pad), "x", "widths", ("value", 0)),
    _function("zeros", _all_of(0.0), ("shape", None), rest=True),
    _function("ones", _all_of(1.0), ("shape", None), rest=True),
    _function("full", _filled, "shape", "value"),
    _function("eye", _on(eye), "n", ("m", None)),
    _function("range", _on(range_tensor), "start", ("stop", None), ("step", 1)),
    _function("one_hot", _on(one_hot), "label", "classes"),
    _function("argsort", lambda call, *a: order(*a, False, call.session, call.span), "x", ("axis", -1),
              ("descending", False)),
    _function("sort", lambda call, *a: order(*a, True, call.session, call.span), "x", ("axis", -1),
              ("descending", False)),
    _function("top_k", _on(top_k), "x", "k", ("axis", -1)),
    _function("last", _on(last_row), "x"),
    _function("constant", _constant, "value"),
    _function("len", _length, "x"),
    _function("out_size", _out_size, "size", "kernel", ("stride", 1), ("pad", 0), ("dilation", 1)),
    _function("pair", _pair, "k", ("count", 2)),
    _function("list", _list, "x"),
    _function("int", _int, "x"),
    _function("float", _float, "x"),
    _function("bool", _bool, "x"),
    _function("matmul", _on(matmul), "a", "b"),
)  # fmt: skip

#: Every function of the core by name.
CORE: dict[str, CoreFunction] = {row.name: row for row in _ROWS}


def call_core(row: CoreFunction, positional: list, keywords: dict[str, Any], session: Session, span) -> Any:
    """The value of a core function, or None where required arguments are missing (a partial application)."""
    bound = row.bind(positional, keywords, span)
    if bound is None:
        return None
    call = Call(session, span)
    values = [bound[n] for n, _ in row.parameters]
    return row.function(call, positional[row.leading :], *values) if row.rest else row.function(call, *values)


