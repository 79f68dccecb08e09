"""The scalar functions: one row each, with everything the system knows of a function.

A new function is a new row here and nothing else: its value with NumPy, its derivative, the kind of its result, how it
is written in `.net`, and its text for each target.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from diffgraph.ir import random, special
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read

#: How tightly printed text binds, loosest first: what stands inside something tighter needs parentheses.
TERNARY, OR, AND, NOT, COMPARISON, SUM, PRODUCT, NEGATION, POWER, ATOM = range(1, 11)


@dataclass(frozen=True)
class ScalarFunction:
    """A row.

    arity: number of arguments, None for any from one up (`add`, `mul`, `and`, `or`).
    kind: of the result: `float`, `int`, `bool`, `same` (float if any argument is, else int; bools count as ints),
        `first` (that of the first argument), `branches` (`same` for all but the first, bool if all of those are).
    derivative: given the call itself, the partial derivative by each argument, None where there is none.
    numpy: the value on arrays, vectorised, exact in float64, quiet about overflow. Arguments have been cast.
    cpu: text of the value for a Numba CPU kernel, a format string over the arguments `{0}`, `{1}`, ... (names or
        literals that have been cast) and `{type}`, the result's scalar type. One of any arity is for two, to be folded
        from the left. It may use `math`, `np`, and the names in `KERNEL_FUNCTIONS`.
    cuda: likewise for Numba CUDA; None where it is the same.
    net: how it prints in `.net` over printed arguments, each with how tightly it must bind; None for `name(arguments)`.
    arguments: what they are cast to first: `float`, `int`, `bool`, `common` (float if any is, else int), `own` (left as
        they are), `branches` (bool, then the kind of the result), `power` (a number, then an int).
    level: how tightly the printed text binds.
    """

    name: str
    arity: int | None
    kind: str
    numpy: Callable
    derivative: Callable[[Call], tuple[Expr | None, ...]] | None
    cpu: str
    cuda: str | None = None
    net: str | None = None
    arguments: str = "common"
    level: int = ATOM


#: Functions that generated kernels call by name, each after those it calls itself: plain Python, of the subset that
#: Numba compiles, with nothing global but `math` and `np`.
KERNEL_FUNCTIONS: tuple[Callable, ...] = (
    random.philox,
    random.drawn_bits,
    random.draw,
    special.quantile_centre,
    special.quantile_middle,
    special.quantile_tail,
    special.normal_quantile_scalar,
)


def common_kind(kinds: Sequence[str]) -> str:
    """The kind in which values of these kinds meet in arithmetic."""
    return "float" if "float" in kinds else "int"


def result_kind(name: str, kinds: Sequence[str]) -> str:
    """The kind of a function's value for arguments of these kinds."""
    rule = FUNCTIONS[name].kind
    if rule == "first":
        return kinds[0]
    if rule == "branches":
        return "bool" if set(kinds[1:]) == {"bool"} else common_kind(kinds[1:])
    return common_kind(kinds) if rule == "same" else rule


def argument_kinds(name: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """The kinds to which arguments of these kinds are cast before the function is applied."""
    rule = FUNCTIONS[name].arguments
    if rule == "own":
        return tuple(kinds)
    if rule == "branches":
        return ("bool", *(result_kind(name, kinds),) * (len(kinds) - 1))
    if rule == "power":
        return common_kind(kinds[:1]), "int"
    return (common_kind(kinds) if rule == "common" else rule,) * len(kinds)


def kind_of(expr: Expr, operand_kinds: Sequence[str]) -> str:
    """`float`, `int` or `bool`: the kind of an expression that reads operands of these kinds by slot."""
    if isinstance(expr, Call):
        rule = FUNCTIONS[expr.function].kind
        if rule in ("float", "int", "bool"):
            return rule
        return _call_kind(expr, tuple(operand_kinds))
    if isinstance(expr, Read):
        return operand_kinds[expr.slot]
    if isinstance(expr, Const):
        return "bool" if isinstance(expr.value, bool) else "int" if isinstance(expr.value, int) else "float"
    assert isinstance(expr, (Affine, Index, Extent)), expr
    return "int"


@functools.lru_cache(maxsize=1 << 16)
def _call_kind(call: Call, operand_kinds: tuple[str, ...]) -> str:
    return result_kind(call.function, [kind_of(a, operand_kinds) for a in call.args])


def cast(value, kind: str, real=np.float64, copy: bool = True) -> np.ndarray:
    """An array as the dtype of a kind: `real` for float, int64, bool. A bool is what is not zero; ints truncate."""
    value = np.asarray(value)
    if kind == "bool":
        return value.astype(np.bool_, copy=copy)
    with np.errstate(all="ignore"):
        return value.astype(real if kind == "float" else np.int64, copy=copy)


def evaluate(name: str, arguments: Sequence, kinds: Sequence[str], real=np.float64) -> np.ndarray:
    """The value of a function on arrays of the given kinds, in the dtype of its kind; floats are computed in `real`."""
    wanted = argument_kinds(name, kinds)
    values = [cast(a, kind, real, copy=False) for a, kind in zip(arguments, wanted)]
    with np.errstate(all="ignore"):
        return cast(FUNCTIONS[name].numpy(*values), result_kind(name, kinds), real, copy=False)


# ------------------------------------------------------------------------------------------------ derivatives


def _call(name: str, *args) -> Expr:
    # Imported here: the simplifier folds constants through this very table.
    from diffgraph.ir.simplify import call

    return call(name, *(a if isinstance(a, Expr) else Const(a) for a in args))


def _mul(*args) -> Expr:
    return _call("mul", *args)


def _add(*args) -> Expr:
    return _call("add", *args)


def _if(condition: Expr, taken, otherwise=0.0) -> Expr:
    return _call("where", condition, taken, otherwise)


def _d_mul(*factors: Expr) -> tuple[Expr, ...]:
    return tuple(_mul(*factors[:i], *factors[i + 1 :]) for i in range(len(factors)))


def _d_div(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    inverse = _call("recip", b)
    return inverse, _mul(-1, a, inverse, inverse)


def _d_pow(y: Expr, x: Expr, p: Expr) -> tuple[Expr, Expr]:
    """At p = 0 nothing flows to x, and at x = 0 nothing to p, where the formulas would give 0 * inf."""
    by_base = _if(_call("ne", p, 0.0), _mul(p, _call("pow", x, _add(p, -1))))
    by_exponent = _if(_call("ne", x, 0.0), _mul(y, _call("log", x)))
    return by_base, by_exponent


def _d_powi(x: Expr, n: Expr) -> tuple[Expr, None]:
    return _if(_call("ne", n, 0), _mul(n, _call("powi", x, _add(n, -1)))), None


def _d_extreme(strictly: str, weakly: str, a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """1 to the one that is taken, 1/2 to each on a tie."""

    def share(x: Expr, y: Expr) -> Expr:
        return _if(_call(weakly, x, y), _add(0.5, _if(_call(strictly, x, y), 0.5)))

    return share(a, b), share(b, a)


def _d_where(condition: Expr, a: Expr, b: Expr) -> tuple[None, Expr, Expr]:
    return None, _if(condition, 1.0), _if(_call("not", condition), 1.0)


def _d_clamp(x: Expr, low: Expr, high: Expr) -> tuple[Expr, Expr, Expr]:
    under, over = _call("lt", x, low), _call("gt", x, high)
    return _if(_call("not", _call("or", under, over)), 1.0), _if(under, 1.0), _if(over, 1.0)


def _d_atan2(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    inverse = _call("recip", _add(_mul(a, a), _mul(b, b)))
    return _mul(b, inverse), _mul(-1, a, inverse)


def _one_minus_square(x: Expr) -> Expr:
    return _add(1, _mul(-1, x, x))


def _d_quantile(y: Expr) -> Expr:
    return _mul(float(np.sqrt(2 * np.pi)), _call("exp", _mul(0.5, y, y)))


# ------------------------------------------------------------------------------------------------ the table


def _row(name, kind, numpy, derivative, cpu, *, arity=1, net=None, arguments="common", level=ATOM) -> ScalarFunction:
    """A row whose derivative is written over (value, *arguments)."""
    partials = None if derivative is None else lambda call: derivative(call, *call.args)
    return ScalarFunction(name, arity, kind, numpy, partials, cpu, None, net, arguments, level)


def _smooth(name, numpy, derivative, cpu) -> ScalarFunction:
    """A row of a float function of one float."""
    return _row(name, "float", numpy, lambda y, x: (derivative(y, x),), cpu, arguments="float")


def _step(name, kind, numpy, cpu, **more) -> ScalarFunction:
    """A row of a function without derivative."""
    return _row(name, kind, numpy, None, cpu, **more)


def _comparison(name, numpy, symbol) -> ScalarFunction:
    net = f"{{0:{SUM}}} {symbol} {{1:{SUM}}}"
    return _step(name, "bool", numpy, f"({{0}} {symbol} {{1}})", arity=2, net=net, level=COMPARISON)


def _infix(symbol: str, level: int) -> dict:
    return {"net": f"{{0:{level}}} {symbol} {{1:{level + 1}}}", "level": level}


def _fold(function: Callable) -> Callable:
    return lambda *values: functools.reduce(function, values)


_ROWS = (
    # arithmetic
    _row("add", "same", _fold(np.add), lambda y, *xs: (Const(1.0),) * len(xs), "({0} + {1})", arity=None,
         **_infix("+", SUM)),
    _row("mul", "same", _fold(np.multiply), lambda y, *xs: _d_mul(*xs), "({0} * {1})", arity=None,
         **_infix("*", PRODUCT)),
    _row("sub", "same", np.subtract, lambda y, a, b: (Const(1.0), Const(-1.0)), "({0} - {1})", arity=2,
         **_infix("-", SUM)),
    _row("div", "float", np.divide, lambda y, a, b: _d_div(a, b), "({0} / {1})", arity=2, arguments="float",
         **_infix("/", PRODUCT)),
    _row("neg", "same", np.negative, lambda y, x: (Const(-1.0),), "(-{0})", net=f"-{{0:{POWER}}}", level=NEGATION),
    _row("recip", "float", lambda x: 1 / x, lambda y, x: (_mul(-1, y, y),), "({type}(1) / {0})", arguments="float",
         net=f"1 / {{0:{NEGATION}}}", level=PRODUCT),
    _row("pow", "float", np.power, _d_pow, "({0} ** {1})", arity=2, arguments="float",
         net=f"{{0:{ATOM}}}^{{1:{POWER}}}", level=POWER),
    _row("powi", "same", special.power, lambda y, x, n: _d_powi(x, n), "({0} ** {1})", arity=2, arguments="power",
         net=f"{{0:{ATOM}}}^{{1:{POWER}}}", level=POWER),
    _step("floordiv", "same", np.floor_divide, "({0} // {1})", arity=2, **_infix("//", PRODUCT)),
    _row("mod", "same", np.mod, lambda y, x, q: (Const(1.0), _mul(-1, _call("floordiv", x, q))), "({0} % {1})", arity=2,
         **_infix("%", PRODUCT)),
    # exponentials and logarithms
    _smooth("exp", np.exp, lambda y, x: y, "math.exp({0})"),
    _smooth("expm1", np.expm1, lambda y, x: _call("exp", x), "math.expm1({0})"),
    _smooth("log", np.log, lambda y, x: _call("recip", x), "math.log({0})"),
    _smooth("log1p", np.log1p, lambda y, x: _call("recip", _add(1, x)), "math.log1p({0})"),
    _smooth("log2", np.log2, lambda y, x: _mul(float(1 / np.log(2)), _call("recip", x)), "np.log2({0})"),
    _smooth("log10", np.log10, lambda y, x: _mul(float(1 / np.log(10)), _call("recip", x)), "math.log10({0})"),
    _smooth("sqrt", np.sqrt, lambda y, x: _mul(0.5, _call("recip", y)), "math.sqrt({0})"),
    # trigonometry
    _smooth("sin", np.sin, lambda y, x: _call("cos", x), "math.sin({0})"),
    _smooth("cos", np.cos, lambda y, x: _mul(-1, _call("sin", x)), "math.cos({0})"),
    _smooth("tan", np.tan, lambda y, x: _add(1, _mul(y, y)), "math.tan({0})"),
    _smooth("asin", np.arcsin, lambda y, x: _call("recip", _call("sqrt", _one_minus_square(x))), "math.asin({0})"),
    _smooth("acos", np.arccos, lambda y, x: _mul(-1, _call("recip", _call("sqrt", _one_minus_square(x)))),
            "math.acos({0})"),
    _smooth("atan", np.arctan, lambda y, x: _call("recip", _add(1, _mul(x, x))), "math.atan({0})"),
    _row("atan2", "float", np.arctan2, lambda y, a, b: _d_atan2(a, b), "math.atan2({0}, {1})", arity=2,
         arguments="float"),
    _smooth("sinh", np.sinh, lambda y, x: _call("cosh", x), "math.sinh({0})"),
    _smooth("cosh", np.cosh, lambda y, x: _call("sinh", x), "math.cosh({0})"),
    _smooth("tanh", np.tanh, lambda y, x: _one_minus_square(y), "math.tanh({0})"),
    # activations and probability
    _smooth("sigmoid", special.sigmoid, lambda y, x: _mul(y, _add(1, _mul(-1, y))),
            "({type}(1) / ({type}(1) + math.exp(-{0})))"),
    _smooth("softplus", special.softplus, lambda y, x: _call("sigmoid", x),
            "(max({0}, {type}(0)) + math.log1p(math.exp(-abs({0}))))"),
    _smooth("erf", special.erf, lambda y, x: _mul(float(2 / np.sqrt(np.pi)), _call("exp", _mul(-1, x, x))),
            "math.erf({0})"),
    _smooth("normal_quantile", special.normal_quantile, lambda y, p: _d_quantile(y),
            "{type}(normal_quantile_scalar({0}))"),
    _step("random", "float", random.uniform,
          "{type}(draw(np.uint64({0}), np.uint64({1}), np.uint64({2}), np.uint64({3})))", arity=4, arguments="int"),
    # pieces
    _row("abs", "same", np.abs, lambda y, x: (_call("sign", x),), "abs({0})"),
    _row("relu", "same", lambda x: np.maximum(x, 0), lambda y, x: (_if(_call("gt", y, 0.0), 1.0),),
         "({type}(0) if {0} < 0 else {0})"),
    _step("sign", "same", np.sign, "np.sign({0})"),
    _step("floor", "same", np.floor, "np.floor({0})"),
    _step("ceil", "same", np.ceil, "np.ceil({0})"),
    _step("round", "same", np.rint, "np.rint({0})"),
    _row("max", "same", np.maximum, lambda y, a, b: _d_extreme("gt", "ge", a, b),
         "({0} if {0} > {1} or {0} != {0} else {1})", arity=2),
    _row("min", "same", np.minimum, lambda y, a, b: _d_extreme("lt", "le", a, b),
         "({0} if {0} < {1} or {0} != {0} else {1})", arity=2),
    _row("clamp", "same", lambda x, low, high: np.minimum(np.maximum(x, low), high),
         lambda y, x, low, high: _d_clamp(x, low, high), "min(max({0}, {1}), {2})", arity=3),
    _row("where", "branches", np.where, lambda y, c, a, b: _d_where(c, a, b), "({1} if {0} else {2})", arity=3,
         arguments="branches", net=f"{{1:{OR}}} if {{0:{OR}}} else {{2:{TERNARY}}}", level=TERNARY),
    # logic
    _comparison("eq", np.equal, "=="),
    _comparison("ne", np.not_equal, "!="),
    _comparison("lt", np.less, "<"),
    _comparison("le", np.less_equal, "<="),
    _comparison("gt", np.greater, ">"),
    _comparison("ge", np.greater_equal, ">="),
    _step("and", "bool", _fold(np.logical_and), "({0} and {1})", arity=None, arguments="bool", **_infix("and", AND)),
    _step("or", "bool", _fold(np.logical_or), "({0} or {1})", arity=None, arguments="bool", **_infix("or", OR)),
    _step("not", "bool", np.logical_not, "(not {0})", arguments="bool", net=f"not {{0:{NOT}}}", level=NOT),
    _step("is_nan", "bool", np.isnan, "({0} != {0})", arguments="float"),
    # kinds and gradients
    _row("float", "float", lambda x: x, lambda y, x: (Const(1.0),), "{type}({0})", arguments="float"),
    _step("int", "int", np.trunc, "np.int64({0})", arguments="own"),
    _step("stop_gradient", "first", lambda x: x, "{0}", arguments="own"),
)  # fmt: skip

#: Every scalar function by name.
FUNCTIONS: dict[str, ScalarFunction] = {row.name: row for row in _ROWS}
