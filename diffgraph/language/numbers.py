"""Arithmetic on what is known while a program is elaborated: numbers, sizes with symbols, strings, lists, bools.

Exact where it can be: ints and `Fraction`s stay so, and a whole `Fraction` is an int. Sizes are exact polynomials. A
comparison that a symbol leaves open is `Undecided`; a number that only the run can know (`sqrt(N)`, `0.5 * N`) is None.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from diffgraph.diagnostics import DiffgraphError, Span, error
from diffgraph.ir.dimension import Dimension
from diffgraph.ir.scalar import FUNCTIONS, result_kind
from diffgraph.language import sizes
from diffgraph.language.limits import limits, raise_by
from diffgraph.language.values import Undecided

#: An exact number with more bits than this becomes a float, and a longer text is refused: a model file is untrusted.
MOST_BITS = 1 << 12
MOST_CHARACTERS = 1 << 16

COMPARISONS = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "^", "powi": "^",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "and", "or": "or",
}  # fmt: skip
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def is_number(value: Any) -> bool:
    """An int, a float, a Fraction or a bool."""
    return isinstance(value, (int, float, Fraction))


def is_exact(value: Any) -> bool:
    """A number without rounding, symbolic sizes included; no bool."""
    return isinstance(value, (int, Fraction, Dimension)) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, range))


def is_known(value: Any) -> bool:
    """What `compute` takes: a number, a size, a string, a list, an undecided comparison."""
    return is_number(value) or is_list(value) or isinstance(value, (Dimension, str, Undecided))


def kind_of_number(value: Any) -> str:
    """The kind of a number that is known now."""
    if isinstance(value, (bool, Undecided)):
        return "bool"
    if isinstance(value, int) or isinstance(value, Dimension) and sizes.is_whole(value):
        return "int"
    return "float"


def show(value: Any) -> str:
    """A value as text: `[N, 3]`, `2/3`, `"same"`, `true`."""
    return shown(value, _show_item)


def _show_item(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, range):
        return f"{value.start}..{value.stop}" + (f" step {value.step}" if value.step != 1 else "")
    return f'"{value}"' if isinstance(value, str) else str(value)


def shown(value: Any, show_item: Callable[[Any], str]) -> str:
    """A value as text, lists item by item. Of a very long one the beginning: nested lists may hold more than they take."""
    pieces: list[str] = []
    length = 0
    for piece in _pieces(value, show_item):
        length += len(piece)
        if length > MOST_CHARACTERS:
            return "".join([*pieces, " ..."])
        pieces.append(piece)
    return "".join(pieces)


def _pieces(value: Any, show_item: Callable[[Any], str]) -> Iterator[str]:
    if not isinstance(value, (list, tuple)):
        yield show_item(value)
        return
    yield "["
    for k, item in enumerate(value):
        if k:
            yield ", "
        yield from _pieces(item, show_item)
    yield "]"


def limited(value: list, span: Span | None) -> list:
    """The list, unless it holds more numbers than may be, those of lists inside it included."""
    waiting, count = [value], 0
    while waiting:
        items = waiting.pop()
        count += len(items)
        if count > limits().nodes:
            raise error("DG594", f"the list holds more than {limits().nodes:,} values", span, help=raise_by("nodes"))
        waiting += [i for i in items if isinstance(i, (list, tuple))]
    return value


def compute(name: str, values: Sequence[Any], span: Span | None = None) -> Any:
    """A scalar function of values known now. None where the result is a number that only the run can know; `Undecided`
    where a comparison depends on a symbol. DiffgraphError where the function does not apply."""
    if name in COMPARISONS:
        return compare(name, *values, span)
    if name in _LOGIC:
        return _LOGIC[name](*values, span)
    values = [int(v) if isinstance(v, bool) else v for v in values]
    if name == "add" and len(values) == 2 and all(isinstance(v, str) for v in values):
        return joined(values, span)
    if name == "where" and is_number(values[0]):
        return values[1] if values[0] else values[2]
    for value in values:
        if isinstance(value, Undecided):
            return None
        if not is_number(value) and not isinstance(value, Dimension):
            raise error("DG320", f"{show(value)} is not a number", span)
    try:
        return exact(_number(name, values))
    except ZeroDivisionError:
        shown = f" {SYMBOLS.get(name, name)} ".join(show(v) for v in values)
        help = "give the divisor another value than 0, or say what it may be: assert heads > 0"
        raise error("DG311", f"a division by zero: {shown}", span, help=help) from None
    except OverflowError:
        return math.inf


def joined(texts: Sequence[str], span: Span | None) -> str:
    """One text of several."""
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise error("DG598", f"the text has more than {MOST_CHARACTERS:,} characters", span)
    return "".join(texts)


def _number(name: str, values: list) -> Any:
    if any(isinstance(v, Dimension) for v in values):
        if not all(is_exact(v) for v in values) or name not in _ON_SIZES:
            return None
        return _ON_SIZES[name](*values)
    if name in _ON_NUMBERS:
        return _ON_NUMBERS[name](*values)
    return _with_floats(name, values)


def _with_floats(name: str, values: list) -> Any:
    """A function of the table, in float64."""
    row = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        found = np.asarray(row.numpy(*[np.float64(v) for v in values])).item()
    whole = result_kind(name, [kind_of_number(v) for v in values]) == "int" and math.isfinite(found)
    return int(found) if whole else found


def exact(value: Any) -> Any:
    """The value, an int where it is a whole Fraction, a float where it has too many digits."""
    if isinstance(value, Fraction) and value.denominator == 1:
        value = int(value)
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return float(value)
    if isinstance(value, Fraction) and value.denominator.bit_length() + value.numerator.bit_length() > MOST_BITS:
        return float(value)
    return value


# ---------------------------------------------------------------- comparison and logic


def compare(name: str, a: Any, b: Any, span: Span | None = None) -> bool | Undecided:
    """A comparison, of lists element by element. Values of different sorts are not equal, and have no order."""
    if is_list(a) or is_list(b):
        return _compare_lists(name, a, b, span)
    a, b = (int(v) if isinstance(v, bool) and is_exact(w) else v for v, w in ((a, b), (b, a)))
    if isinstance(a, Dimension) or isinstance(b, Dimension):
        if is_exact(a) and is_exact(b):
            return _compare_sizes(name, a, b)
    comparable = is_number(a) and is_number(b) or isinstance(a, str) and isinstance(b, str)
    if name in ("eq", "ne"):
        same = comparable and a == b or a is b
        return same if name == "eq" else not same
    if not comparable:
        raise error("DG320", f"{show(a)} and {show(b)} have no order", span)
    return bool(COMPARISONS[name](a, b))


def _compare_lists(name: str, a: Any, b: Any, span: Span | None) -> bool | Undecided:
    if name not in ("eq", "ne"):
        raise error("DG320", f"lists have no order: `{SYMBOLS[name]}`", span)
    if not (is_list(a) and is_list(b)) or len(a) != len(b):
        return name == "ne"
    result: bool | Undecided = True
    for left, right in zip(a, b):
        result = conjunction(result, compare("eq", left, right, span), span)
    return result if name == "eq" else negation(result, span)


def _compare_sizes(name: str, a: Any, b: Any) -> bool | Undecided:
    if name in ("eq", "ne"):
        known = sizes.equal(a, b)
        positive = name == "eq"
    else:
        known = sizes.at_least(a, b) if name in ("ge", "lt") else sizes.at_least(b, a)
        positive = name in ("ge", "le")
    return Undecided(((SYMBOLS[name], a, b),)) if known is None else known == positive


def conjunction(a: Any, b: Any, span: Span | None = None) -> bool | Undecided:
    """`a and b`"""
    a, b = _flag(a, span), _flag(b, span)
    if isinstance(a, bool) or isinstance(b, bool):
        known, other = (a, b) if isinstance(a, bool) else (b, a)
        return other if known else False
    return Undecided(tuple(dict.fromkeys(a.conditions + b.conditions)))


def disjunction(a: Any, b: Any, span: Span | None = None) -> bool | Undecided:
    """`a or b`"""
    a, b = _flag(a, span), _flag(b, span)
    if isinstance(a, bool) or isinstance(b, bool):
        known, other = (a, b) if isinstance(a, bool) else (b, a)
        return True if known else other
    raise open_question(a, span)


def negation(value: Any, span: Span | None = None) -> bool | Undecided:
    """`not value`"""
    value = _flag(value, span)
    if isinstance(value, bool):
        return not value
    if len(value.conditions) == 1:
        ((op, left, right),) = value.conditions
        return Undecided(((_NEGATED[op], left, right),))
    raise open_question(value, span)


def _flag(value: Any, span: Span | None) -> bool | Undecided:
    if isinstance(value, (bool, Undecided)):
        return value
    raise error("DG322", f"{show(value)} is neither true nor false", span, help="compare it, as in `x != 0`")


def open_question(value: Undecided, span: Span | None) -> DiffgraphError:
    """The error of deciding now what a symbol leaves open."""
    return error(
        "DG310",
        f"whether {value} depends on a size that is not known when compiling",
        span,
        help="give the size a number with --set or in the net's settings",
    )


_LOGIC = {"and": conjunction, "or": disjunction, "not": negation}


# ---------------------------------------------------------------- functions of sizes


def _floor_divide(a: Any, b: Any) -> Any:
    if b == 0:
        raise ZeroDivisionError
    if isinstance(b, int):
        return sizes.floor_of(a, b)
    quotient = sizes.divide(a, b)
    return quotient if quotient is not None and sizes.is_whole(quotient) else None


def _remainder(a: Any, b: Any) -> Any:
    whole = _floor_divide(a, b)
    return None if whole is None else sizes.add(a, sizes.multiply(sizes.multiply(whole, b), -1))


def _divide_sizes(a: Any, b: Any) -> Any:
    if b == 0:
        raise ZeroDivisionError
    return sizes.divide(a, b)


def _power_of_size(a: Any, n: Any) -> Any:
    if not isinstance(n, int) or not 0 <= n <= 16:
        return None
    result: Any = 1
    for _ in range(n):
        result = sizes.multiply(result, a)
    return result


def _rounded_size(value: Any, up: bool) -> Any:
    if sizes.is_whole(value):
        return value
    return sizes.multiply(sizes.floor_of(sizes.multiply(value, -1), 1), -1) if up else sizes.floor_of(value, 1)


_ON_SIZES: dict[str, Callable] = {
    "add": sizes.add,
    "sub": lambda a, b: sizes.add(a, sizes.multiply(b, -1)),
    "mul": sizes.multiply,
    "neg": lambda a: sizes.multiply(a, -1),
    "div": _divide_sizes,
    "floordiv": _floor_divide,
    "mod": _remainder,
    "powi": _power_of_size,
    "pow": _power_of_size,
    "max": sizes.larger,
    "min": sizes.smaller,
    "clamp": lambda x, low, high: _clamped(x, low, high),
    "floor": lambda a: _rounded_size(a, False),
    "ceil": lambda a: _rounded_size(a, True),
    "int": lambda a: a if sizes.is_whole(a) else None,
}


def _clamped(x: Any, low: Any, high: Any) -> Any:
    above = sizes.larger(x, low)
    return None if above is None else sizes.smaller(above, high)


# ---------------------------------------------------------------- functions of numbers


def _divide(a: Any, b: Any) -> Any:
    return Fraction(a) / Fraction(b) if is_exact(a) and is_exact(b) else a / b


def _power(a: Any, b: Any) -> Any:
    """a^b: exact for an int exponent and exact a, unless that would be enormous."""
    b = float(b) if isinstance(b, Fraction) else b
    if isinstance(b, int) and is_exact(a):
        top, bottom = Fraction(a).as_integer_ratio()
        small = max(top.bit_length(), bottom.bit_length()) * abs(b) <= MOST_BITS
        return Fraction(a) ** b if small else float(a) ** b
    if a < 0 and isinstance(b, float) and not b.is_integer():
        return math.nan
    return float(a) ** b


def _rounded(function: Callable) -> Callable:
    return lambda value: function(value) if math.isfinite(value) else value


def _extreme(choose: Callable) -> Callable:
    return lambda a, b: math.nan if a != a or b != b else choose(a, b)


_ON_NUMBERS: dict[str, Callable] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
    "div": _divide,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "powi": _power,
    "pow": _power,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0) if a == a else a,
    "floor": _rounded(math.floor),
    "ceil": _rounded(math.ceil),
    "round": _rounded(round),
    "int": _rounded(int),
    "float": float,
    "max": _extreme(max),
    "min": _extreme(min),
    "relu": lambda a: max(a, 0) if a == a else a,
    "clamp": lambda x, low, high: min(max(x, low), high) if x == x else x,
    "stop_gradient": lambda a: a,
}
