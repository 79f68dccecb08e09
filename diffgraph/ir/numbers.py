"""Constants and kinds: what simplification has to know of numbers.

Numbers are folded exactly where that can be: a `Fraction` stays rational until it is lowered.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from diffgraph.ir import scalar
from diffgraph.ir.expression import Affine, Call, Const, Expr

Kinds = Sequence[str]
Number = int | float | Fraction

ZERO = Const(0.0)
ONE = Const(1.0)
TRUE = Const(True)
FALSE = Const(False)


def constant(value: bool | float | Fraction) -> Const:
    """A constant in normal form: a Fraction that a float holds exactly is that float."""
    if isinstance(value, Fraction):
        near = float(value) if abs(value) < 2**1000 else math.inf
        return Const(near) if math.isfinite(near) and Fraction(near) == value else Const(value)
    return Const(value)


def is_zero(expr: Expr) -> bool:
    """The constant 0, of whatever kind, but not -0.0 and not False."""
    return type(expr) is Const and repr(expr.value) in ("0", "0.0")


def certain_kind(expr: Expr, kinds: Kinds = ()) -> str | None:
    """The kind of an expression, None where that depends on an operand whose kind is not given."""
    if expr.slots and (not kinds or max(expr.slots) >= len(kinds)):
        return _kind_without_operands(expr)
    return scalar.kind_of(expr, kinds)


@functools.lru_cache(maxsize=1 << 16)
def _kind_without_operands(expr: Expr) -> str | None:
    if type(expr) is Affine:
        return "int"
    if type(expr) is not Call:
        return None if expr.slots else scalar.kind_of(expr, ())
    rule = scalar.FUNCTIONS[expr.function].kind
    if rule in ("float", "int", "bool"):
        return rule
    if rule == "first":
        return _kind_without_operands(expr.args[0])
    of = [_kind_without_operands(a) for a in expr.args[1 if rule == "branches" else 0 :]]
    if "float" in of:
        return "float"
    if None in of:
        return None
    return "bool" if rule == "branches" and set(of) == {"bool"} else "int"


def as_float(expr: Expr, kinds: Kinds = ()) -> Expr:
    """The expression as a float: cast if it may be anything else."""
    if type(expr) is Const:
        return constant(float(expr.value)) if isinstance(expr.value, int) else constant(expr.value)
    return expr if certain_kind(expr, kinds) == "float" else Call("float", (expr,))


def combine(a: Number, b: Number, operation: Callable) -> Number:
    """An operation on two numbers, exact as long as one of them is a Fraction and the other is simple."""
    if isinstance(a, Fraction) and isinstance(b, float):
        b = simple(b)
    elif isinstance(b, Fraction) and isinstance(a, float):
        a = simple(a)
    if isinstance(a, float) or isinstance(b, float):
        a, b = float(a), float(b)
    result = operation(a, b)
    return constant(result).value if isinstance(result, Fraction) else result


def simple(value: float) -> Number:
    """A float as a Fraction if its denominator is small, such as 0.5."""
    if not math.isfinite(value):
        return value
    exact = Fraction(value)
    return exact if exact.denominator <= 1 << 20 and abs(exact.numerator) <= 1 << 53 else value
