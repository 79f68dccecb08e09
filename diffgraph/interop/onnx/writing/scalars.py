"""What each scalar function of a program is in ONNX's operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce

from diffgraph.diagnostics import error
from diffgraph.interop.onnx.writing.graph import GraphWriter
from diffgraph.ir import scalar

Writer = Callable[..., str]


def apply(graph: GraphWriter, function: str, values: Sequence[str], kinds: Sequence[str]) -> str:
    """The value of a function of values of these kinds."""
    wanted = scalar.argument_kinds(function, kinds)
    arguments = [v if have == want else graph.cast(v, want) for v, have, want in zip(values, kinds, wanted)]
    if function not in _FUNCTIONS:
        raise error("DG955", f"`{function}` has no counterpart in ONNX",
                    help="export a net without it, or compile the net (`diffgraph compile`)")  # fmt: skip
    kind = scalar.result_kind(function, kinds)
    computed = "int" if kind == "int" or "float" not in wanted else "float"
    return _FUNCTIONS[function](graph, computed, *arguments)


def _op(name: str) -> Writer:
    return lambda graph, kind, *values: graph.node(name, *values)


def _fold(name: str) -> Writer:
    return lambda graph, kind, *values: reduce(lambda a, b: graph.node(name, a, b), values)


def _number(graph: GraphWriter, kind: str, value) -> str:
    return graph.constant(graph.dtype(kind).type(value), "number")


def _kept(graph: GraphWriter, kind: str, value: str) -> str:
    return value


def _scaled(name: str, factor: float) -> Writer:
    return lambda graph, kind, x: graph.node("Mul", graph.node(name, x), _number(graph, kind, factor))


def _floordiv(graph: GraphWriter, kind: str, a: str, b: str) -> str:
    if kind == "int":
        return graph.node("Div", graph.node("Sub", a, graph.node("Mod", a, b)), b)
    return graph.node("Floor", graph.node("Div", a, b))


def _mod(graph: GraphWriter, kind: str, a: str, b: str) -> str:
    """With the sign of the divisor, which is what ONNX has for ints only."""
    if kind == "int":
        return graph.node("Mod", a, b)
    return graph.node("Sub", a, graph.node("Mul", _floordiv(graph, kind, a, b), b))


def _power(graph: GraphWriter, kind: str, x: str, n: str) -> str:
    return graph.node("Pow", x, n)


def _expm1(graph: GraphWriter, kind: str, x: str) -> str:
    """2 tanh(x / 2) / (1 - tanh(x / 2)): exact for small x, where exp(x) - 1 cancels; that elsewhere."""
    half = graph.node("Tanh", graph.node("Mul", x, _number(graph, kind, 0.5)))
    one, two = _number(graph, kind, 1), _number(graph, kind, 2)
    small = graph.node("Div", graph.node("Mul", two, half), graph.node("Sub", one, half))
    large = graph.node("Sub", graph.node("Exp", x), one)
    return graph.node("Where", graph.node("Less", graph.node("Abs", x), one), small, large)


def _log1p(graph: GraphWriter, kind: str, x: str) -> str:
    """log(1 + x) * x / ((1 + x) - 1), which is exact for small x; x where 1 + x is 1 (W. Kahan)."""
    one = _number(graph, kind, 1)
    more = graph.node("Add", one, x)
    logarithm, difference = graph.node("Log", more), graph.node("Sub", more, one)
    none = graph.node("Equal", difference, _number(graph, kind, 0))
    quotient = graph.node("Div", x, graph.node("Where", none, one, difference))
    corrected = graph.node("Where", none, x, graph.node("Mul", logarithm, quotient))
    return graph.node("Where", graph.node("Less", graph.node("Abs", x), one), corrected, logarithm)


def _atan2(graph: GraphWriter, kind: str, y: str, x: str) -> str:
    zero, pi = _number(graph, kind, 0), _number(graph, kind, math.pi)
    quarter = _number(graph, kind, math.pi / 2)
    is_left, is_below = graph.node("Less", x, zero), graph.node("Less", y, zero)
    is_middle = graph.node("Equal", x, zero)
    plain = graph.node("Atan", graph.node("Div", y, graph.node("Where", is_middle, _number(graph, kind, 1), x)))
    turned = graph.node("Where", is_below, graph.node("Sub", plain, pi), graph.node("Add", plain, pi))
    upright = graph.node("Mul", graph.node("Sign", y), quarter)
    return graph.node("Where", is_middle, upright, graph.node("Where", is_left, turned, plain))


def _clamp(graph: GraphWriter, kind: str, x: str, low: str, high: str) -> str:
    return graph.node("Min", graph.node("Max", x, low), high)


def _not_equal(graph: GraphWriter, kind: str, a: str, b: str) -> str:
    return graph.node("Not", graph.node("Equal", a, b))


def _to_int(graph: GraphWriter, kind: str, x: str) -> str:
    return graph.cast(x, "int")


def _rounded(name: str) -> Writer:
    """Whole numbers are what they are."""
    return lambda graph, kind, x: x if kind == "int" else graph.node(name, x)


_FUNCTIONS: dict[str, Writer] = {
    "add": _fold("Add"), "mul": _fold("Mul"), "sub": _op("Sub"), "div": _op("Div"), "neg": _op("Neg"),
    "recip": _op("Reciprocal"), "pow": _op("Pow"), "powi": _power, "floordiv": _floordiv, "mod": _mod,
    "exp": _op("Exp"), "expm1": _expm1, "log": _op("Log"), "log1p": _log1p, "sqrt": _op("Sqrt"),
    "log2": _scaled("Log", 1 / math.log(2)), "log10": _scaled("Log", 1 / math.log(10)),
    "sin": _op("Sin"), "cos": _op("Cos"), "tan": _op("Tan"), "asin": _op("Asin"), "acos": _op("Acos"),
    "atan": _op("Atan"), "atan2": _atan2, "sinh": _op("Sinh"), "cosh": _op("Cosh"), "tanh": _op("Tanh"),
    "sigmoid": _op("Sigmoid"), "softplus": _op("Softplus"), "erf": _op("Erf"),
    "abs": _op("Abs"), "relu": _op("Relu"), "sign": _op("Sign"), "floor": _rounded("Floor"), "ceil": _rounded("Ceil"),
    "round": _rounded("Round"), "max": _op("Max"), "min": _op("Min"), "clamp": _clamp, "where": _op("Where"),
    "eq": _op("Equal"), "ne": _not_equal, "lt": _op("Less"), "le": _op("LessOrEqual"), "gt": _op("Greater"),
    "ge": _op("GreaterOrEqual"), "and": _fold("And"), "or": _fold("Or"), "not": _op("Not"), "is_nan": _op("IsNaN"),
    "float": _kept, "int": _to_int, "stop_gradient": _kept,
}  # fmt: skip
