"""Arithmetic on what is known while a program is elaborated: numbers, sizes with symbols, strings, lists, bools.

Exact where it can be: ints and `Fraction`s stay so, and a whole `Fraction` is an int. Sizes are exact polynomials. What a
symbol leaves open is None from `fold` (a number for the run) or `Undecided` (a comparison).
"""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Span, error
from diffgraph.ir.dimension import Dimension, Size
from diffgraph.language import sizes
from diffgraph.language.values import Undecided

#: A power, a list or a range with more digits or elements than this is refused: a model file is untrusted.
MOST_BITS = 1 << 12
MOST_ELEMENTS = 1 << 20

COMPARISONS = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def is_number(value) -> bool:
    """A number known now, a bool included."""
    return isinstance(value, (bool, int, float, Fraction))


def is_exact(value) -> bool:
    """An int, a Fraction or a polynomial of symbols."""
    return isinstance(value, (int, Fraction, Dimension))


def is_sequence(value) -> bool:
    return isinstance(value, (list, tuple, range))


def is_known(value) -> bool:
    """A compile-time value other than a list: a number, a size, a string, an undecided comparison."""
    return is_number(value) or isinstance(value, (Dimension, str, Undecided))


def describe(value) -> str:
    """A value as a message shows it: `[N, 3]`, `2/3`, `"same"`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}..{value.stop}" + (f" step {value.step}" if value.step != 1 else "")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(describe(v) for v in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


# ---------------------------------------------------------------- operators


def fold(op: str, a, b, span: Span | None = None):
    """`a op b` of two values known now. None where the result is a number that only the run can know (`sqrt(N)`,
    `0.5 * N`); `Undecided` where a comparison depends on a symbol. DiffgraphError where the operator does not apply."""
    if op in ("and", "or"):
        return _logic(op, a, b, span)
    if op in COMPARISONS or op == "~=":
        return compare(op, a, b, span)
    if isinstance(a, str) or isinstance(b, str):
        if op == "+" and isinstance(a, str) and isinstance(b, str):
            return a + b
        raise error("DG301", f"`{op}` does not apply to {describe(a)} and {describe(b)}", span)
    if isinstance(a, Undecided) or isinstance(b, Undecided):
        raise _open(a if isinstance(a, Undecided) else b, span)
    a, b = (int(v) if isinstance(v, bool) else v for v in (a, b))
    if isinstance(a, Dimension) or isinstance(b, Dimension):
        return _fold_sizes(op, a, b, span)
    try:
        return exact(_ARITHMETIC[op](a, b))
    except ZeroDivisionError:
        raise error("DG302", f"{describe(a)} {op} {describe(b)} divides by zero", span) from None
    except OverflowError:
        return math.inf
    except KeyError:
        raise error("DG301", f"`{op}` does not apply to the numbers {describe(a)} and {describe(b)}", span) from None


def negate(value):
    """-value of a number or a size."""
    return sizes.multiply(value, -1) if isinstance(value, Dimension) else exact(-value)


def invert(value, span: Span | None = None):
    """`not value` of a bool or an undecided comparison."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, Undecided) and len(value.conditions) == 1:
        ((op, left, right),) = value.conditions
        return Undecided(((NEGATED[op], left, right),))
    raise error("DG303", f"`not` wants a bool, not {describe(value)}", span, help="compare first, as in `x != 0`")


def exact(value):
    """The value, an int where it is a whole Fraction."""
    return int(value) if isinstance(value, Fraction) and value.denominator == 1 else value


def compare(op: str, a, b, span: Span | None = None):
    """A comparison of two values known now, lists element by element: a bool, or `Undecided`."""
    if is_sequence(a) or is_sequence(b):
        return _compare_lists(op, a, b, span)
    if is_exact(a) and is_exact(b) and (isinstance(a, Dimension) or isinstance(b, Dimension)):
        return _compare_sizes(op, a, b)
    ordered = op not in ("==", "!=")
    if ordered and not (is_number(a) and is_number(b)) and not (isinstance(a, str) and isinstance(b, str)):
        raise error("DG301", f"{describe(a)} and {describe(b)} have no order", span)
    if op == "~=":
        return math.isclose(a, b, rel_tol=1e-5, abs_tol=0.0)
    return bool(COMPARISONS[op](a, b))


def _compare_lists(op: str, a, b, span):
    if op not in ("==", "!=", "~="):
        raise error("DG301", f"lists have no order: `{op}`", span)
    if not (is_sequence(a) and is_sequence(b)) or len(a) != len(b):
        return op == "!="
    result: Any = True
    for left, right in zip(a, b):
        result = _logic("and", result, compare("~=" if op == "~=" else "==", left, right, span), span)
    if op == "!=" and isinstance(result, Undecided) and len(result.conditions) > 1:
        raise _open(result, span)
    return invert(result, span) if op == "!=" else result


def _compare_sizes(op: str, a, b):
    match op:
        case "==" | "~=":
            decided = sizes.equal(a, b)
        case "!=":
            same = sizes.equal(a, b)
            decided = None if same is None else not same
        case ">=":
            decided = sizes.at_least(a, b)
        case "<=":
            decided = sizes.at_least(b, a)
        case "<":
            below = sizes.at_least(a, b)
            decided = None if below is None else not below
        case _:
            above = sizes.at_least(b, a)
            decided = None if above is None else not above
    return Undecided((("==" if op == "~=" else op, a, b),)) if decided is None else decided


def _logic(op: str, a, b, span):
    for value in (a, b):
        if not isinstance(value, (bool, Undecided)):
            raise error("DG303", f"`{op}` wants bools, not {describe(value)}", span, help="compare first, as in `x != 0`")
    if isinstance(a, bool):
        return b if a == (op == "and") else a
    if isinstance(b, bool):
        return a if b == (op == "and") else b
    if op == "and":
        return Undecided(tuple(dict.fromkeys(a.conditions + b.conditions)))
    raise _open(a, span)


def _open(value: Undecided, span) -> DiffgraphError:
    return error("DG304", f"whether {value} is not known while the program is read, for it depends on a symbol", span)


# ---------------------------------------------------------------- numbers


def _power(a, b):
    if isinstance(b, int) and isinstance(a, int) and b > 0 and a.bit_length() * b > MOST_BITS:
        return float(a) ** b
    if isinstance(b, Fraction):
        b = float(b)
    if isinstance(b, int) and b < 0 and isinstance(a, int):
        a = Fraction(a)
    if isinstance(b, float) and a < 0:
        return float("nan")
    if isinstance(a, Fraction) and isinstance(b, int) and max(a.numerator, a.denominator).bit_length() * abs(b) > MOST_BITS:
        a = float(a)
    if isinstance(b, float):
        a = float(a)
    return a**b


def _divide(a, b):
    return Fraction(a) / Fraction(b) if is_exact(a) and is_exact(b) else a / b


_ARITHMETIC = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _divide, "//": operator.floordiv, "%": operator.mod,
    "^": _power,
}  # fmt: skip


def _fold_sizes(op: str, a, b, span):
    if not (is_exact(a) and is_exact(b)):
        return None
    if op in ("/", "//", "%") and b == 0:
        raise error("DG302", f"{describe(a)} {op} 0 divides by zero", span)
    match op:
        case "+":
            return sizes.add(a, b)
        case "-":
            return sizes.add(a, sizes.multiply(b, -1))
        case "*":
            return sizes.multiply(a, b)
        case "/":
            return sizes.divide(a, b)
        case "//":
            return _floor_divide(a, b)
        case "%":
            whole = _floor_divide(a, b)
            return None if whole is None else sizes.add(a, sizes.multiply(sizes.multiply(whole, b), -1))
        case "^" if isinstance(b, int) and 0 <= b <= 64:
            result = 1
            for _ in range(b):
                result = sizes.multiply(result, a)
            return result
    return None


def _floor_divide(a, b) -> Size | None:
    if isinstance(b, int):
        return sizes.floor_of(a, b)
    exactly = sizes.divide(a, b)
    return exactly if exactly is not None and sizes.is_whole(exactly) else None


# ---------------------------------------------------------------- functions of one number


def rounded(name: str, value):
    """floor, ceil or round of a number or a size, an int where that is finite. None where a symbol leaves it open."""
    if isinstance(value, Dimension):
        if sizes.is_whole(value):
            return value
        if name == "floor":
            return sizes.floor_of(value, 1)
        if name == "ceil":
            return sizes.multiply(sizes.floor_of(sizes.multiply(value, -1), 1), -1)
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return value
    return {"floor": math.floor, "ceil": math.ceil, "round": round}[name](value)


def extreme(name: str, a, b):
    """max or min of two numbers or sizes; None where a symbol leaves it open."""
    if isinstance(a, Dimension) or isinstance(b, Dimension):
        if not (is_exact(a) and is_exact(b)):
            return None
        return sizes.larger(a, b) if name == "max" else sizes.smaller(a, b)
    if a != a or b != b:
        return math.nan
    return max(a, b) if name == "max" else min(a, b)


# ---------------------------------------------------------------- sizes


def as_size(value, context, span: Span | None = None, what: str = "a size") -> Size:
    """The size that a value is. An exact number that depends on symbols (`N / 4`) becomes one, and that it is whole becomes
    a requirement. DiffgraphError where it is no int."""
    if isinstance(value, Dimension):
        top, bottom = sizes.ratio(value)
        if bottom == 1:
            return value
        rest = sizes.add(top, sizes.multiply(sizes.floor_of(top, bottom), -bottom))
        context.require_equal(rest, 0, f"{value} must be whole to be {what}", span)
        return sizes.floor_of(top, bottom)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if is_number(value) and not isinstance(value, bool):
        hint = "round it: `int(...)` truncates" if isinstance(value, float) else "divide what is a multiple, or use `//`"
        raise error("DG305", f"{what} is an int, not {describe(value)}", span, help=hint)
    raise error("DG305", f"{what} is an int, not {kind_of_value(value)}", span)


def as_int(value, span: Span | None = None, what: str = "this") -> int:
    """The plain int that a value is; DiffgraphError else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, Dimension):
        raise error("DG305", f"{what} must be known when compiling; {value} depends on a symbol", span)
    shown = describe(value) if is_known(value) or is_sequence(value) else kind_of_value(value)
    raise error("DG305", f"{what} is an int, not {shown}", span)


def kind_of_value(value) -> str:
    """What sort of value it is, for messages: `a tensor [N, 3]`, `a list`, `a function`."""
    from diffgraph.language import values

    match value:
        case values.TensorValue() | values.Pending():
            return f"a tensor {describe(list(value.shape))}" if value.shape else "a tensor of rank 0"
        case values.Indexed():
            return "an element computed from indices"
        case values.FunctionValue() | values.BuiltinFunction():
            return f"the function `{value.name}`"
        case values.LayerValue():
            return f"the layer `{value.name}`"
        case values.Composition() | values.SharedLayer() | values.FrozenLayer():
            return "a layer"
    return describe(value)
