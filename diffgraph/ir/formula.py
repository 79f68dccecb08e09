"""How a scalar expression is written in `.net`: with as few parentheses as it takes, and so that it reads back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from diffgraph.ir import scalar
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.scalar import ATOM, NEGATION, POWER, PRODUCT, SUM, TERNARY


@dataclass(frozen=True)
class Text:
    """A piece of `.net`, and how tightly it binds. Formatted with a level it gets parentheses if it binds less."""

    text: str
    level: int = ATOM

    def __format__(self, level: str) -> str:
        return self.text if not level or self.level >= int(level) else f"({self.text})"


def size_text(size: Size) -> Text:
    """An extent."""
    text = str(size)
    return Text(text, ATOM if text.isalnum() else SUM)


def number_text(value, whole: bool = False) -> Text:
    """A number that reads back as it is. `whole`: the context makes a float of it anyway, so 2.0 may be 2."""
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, Fraction):
        return Text(f"{value.numerator} / {value.denominator}", PRODUCT)
    if isinstance(value, float) and value != value:
        return Text("inf - inf", SUM)
    text = repr(value)
    if isinstance(value, float) and whole and value.is_integer() and abs(value) < 1e15 and text != "-0.0":
        text = str(int(value))
    return Text(text, NEGATION if text.startswith("-") else ATOM)


class Formula:
    """Writes the expressions of one form: `names` and `kinds` are those of the tensors in its slots, `indices` the
    names of its axes. Without indices, tensors are written whole."""

    def __init__(self, names: Sequence[str], kinds: Sequence[str], indices: Mapping[int, str] | None):
        self.names = names
        self.kinds = kinds
        self.indices = indices

    def write(self, expr: Expr, whole: bool = False) -> Text:
        """The text of an expression."""
        match expr:
            case Const(value):
                return number_text(value, whole)
            case Extent(size):
                return size_text(size)
            case Index(axis):
                return Text(self.indices[axis])
            case Affine(constant, terms):
                return _sum([(c, self._times(abs(c), atom)) for atom, c in terms], constant, lambda v: Text(str(v)))
            case Read():
                return self._read(expr)
            case Call("add", args):
                return self._add(args)
            case Call("mul", args):
                return self._product(args)
            case Call():
                return self._call(expr)
        raise TypeError(f"not an expression: {expr!r}")

    def _read(self, read: Read) -> Text:
        name = self.names[read.slot]
        if self.indices is None or not read.place:
            text = name
        else:
            text = f"{name}[{', '.join(self.write(p).text for p in read.place)}]"
        if read.otherwise is None:
            return Text(text)
        otherwise = self.write(read.otherwise, self.kinds[read.slot] == "float")
        return Text(f"({text} else {otherwise:{TERNARY}})")

    def _times(self, coefficient: int, atom: Expr) -> Text:
        text = self.write(atom)
        return text if coefficient == 1 else Text(f"{coefficient} * {text:{NEGATION}}", PRODUCT)

    def _add(self, args: Sequence[Expr]) -> Text:
        whole = self._has_float(args)
        terms, number = [], 0
        for arg in args:
            if isinstance(arg, Const) and not isinstance(arg.value, bool):
                number = arg.value
            else:
                sign, size = _without_sign(arg)
                terms.append((sign, self.write(size, whole)))
        return _sum(terms, number, lambda v: number_text(v, whole))

    def _product(self, args: Sequence[Expr]) -> Text:
        """a * b / c, with powers of factors that repeat."""
        whole = self._has_float(args)
        above: list[Text] = []
        below: list[Text] = []
        negative = False
        counts: dict[Expr, int] = {}
        for arg in args:
            if isinstance(arg, Const) and not isinstance(arg.value, bool):
                value = arg.value
                negative = value < 0
                size = -value if negative else value
                if isinstance(size, Fraction):
                    below.append(Text(str(size.denominator)))
                    size = size.numerator
                if size != 1:
                    above.append(number_text(size, whole))
            else:
                counts[arg] = counts.get(arg, 0) + 1
        for factor, count in counts.items():
            if isinstance(factor, Call) and factor.function == "recip":
                # One by one: 1/x * 1/x is not 1/x^2 in the last digit.
                below += [self.write(factor.args[0], whole)] * count
            else:
                above.append(self._power(factor, count, whole))
        text = " * ".join(f"{a:{NEGATION}}" for a in above) or ("1.0" if not below else "1")
        level = PRODUCT if len(above) + len(below) > 1 else above[0].level if above else ATOM
        text += "".join(f" / {b:{POWER}}" for b in below)
        return Text(f"-{text}", min(level, NEGATION)) if negative else Text(text, level)

    def _power(self, base: Expr, count: int, whole: bool) -> Text:
        # Powers up to the third are read as products.
        text = self.write(base, whole)
        pieces = [min(3, count - done) for done in range(0, count, 3)]
        written = [f"{text:{ATOM}}^{p}" if p > 1 else f"{text:{NEGATION}}" for p in pieces]
        if len(written) > 1:
            return Text(" * ".join(written), PRODUCT)
        return Text(written[0], POWER) if count > 1 else text

    def _call(self, call: Call) -> Text:
        row = scalar.FUNCTIONS[call.function]
        whole = row.arguments in ("common", "branches") and self._has_float(call.args)
        args = [self.write(a, whole) for a in call.args]
        if row.arity is None:
            return self._folded(row, args)
        if row.net is None:
            return Text(f"{row.name}({', '.join(a.text for a in args)})")
        return Text(row.net.format(*args), row.level)

    @staticmethod
    def _folded(row: scalar.ScalarFunction, args: list[Text]) -> Text:
        text = args[0]
        for arg in args[1:]:
            text = Text(row.net.format(text, arg), row.level)
        return text

    def _has_float(self, args: Sequence[Expr]) -> bool:
        """Whether something other than a number makes floats of the numbers among some arguments."""
        return any(not isinstance(a, Const) and scalar.kind_of(a, self.kinds) == "float" for a in args)


def _without_sign(expr: Expr) -> tuple[int, Expr]:
    """(-1, x) for a negative multiple -x, else (1, the expression)."""
    if isinstance(expr, Call) and expr.function == "mul" and isinstance(expr.args[0], Const) and expr.args[0].value < 0:
        size = Const(-expr.args[0].value)
        rest = expr.args[1:]
        if size.value == 1:
            return -1, rest[0] if len(rest) == 1 else Call("mul", rest)
        return -1, Call("mul", (size, *rest))
    return 1, expr


def _sum(terms: Sequence[tuple[int, Text]], number, numbered: Callable) -> Text:
    """What is positive first, then the number, then what is negative."""
    pieces = [(1, t) for c, t in terms if c > 0]
    negative = [(-1, t) for c, t in terms if c <= 0]
    if number != 0 or number != number or not terms:
        is_negative = number < 0
        (negative if is_negative else pieces).append((-1 if is_negative else 1, numbered(abs(number))))
    pieces += negative
    text = ""
    for sign, piece in pieces:
        if not text:
            text = f"{piece:{SUM}}" if sign > 0 else f"-{piece:{POWER}}"
        else:
            text += f" + {piece:{PRODUCT}}" if sign > 0 else f" - {piece:{PRODUCT}}"
    if len(pieces) == 1:
        return Text(text, NEGATION) if pieces[0][0] < 0 else pieces[0][1]
    return Text(text, SUM)
