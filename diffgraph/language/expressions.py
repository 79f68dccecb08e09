"""From the rules of the grammar to the syntax tree: expressions. One method a rule, its arguments the rule's parts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from diffgraph.diagnostics import Diagnostic, Source, Span
from diffgraph.language import syntax
from diffgraph.language.lexing import MOST_PROBLEMS, Token
from diffgraph.language.syntax import Expr
from diffgraph.language.words import REDUCTIONS, is_bindable

#: Reads the expression between two places of the text.
ReadInside = Callable[[int, int], Expr]

_ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\", "{{": "{", "}}": "}"}
_STRING_PART = re.compile(r'(?P<escape>\\.|\{\{|\}\})|\{(?P<inside>[^{}"]*)\}|(?P<open>\{)|(?P<text>[^\\{}]+|\})')
_NAME_PART = re.compile(r"\{(?P<inside>[^{}]*)\}|(?P<text>\w+)")

#: Numbers are 64 bits wide wherever they meet a tensor.
_LARGEST_INT = 2**63 - 1


class ExpressionBuilder:
    """Builds the nodes of expressions, and notes what the grammar lets through but the language does not."""

    def __init__(self, source: Source, read_inside: ReadInside):
        self.source = source
        self.problems: list[Diagnostic] = []
        self.read_inside = read_inside

    def build(self, rule: str, children: list, start: int, end: int):
        """The node of a rule of the grammar, from the values of its parts."""
        return getattr(self, rule)(Span(self.source, start, end), *children)

    def problem(self, code: str, message: str, span: Span, help: str | None = None) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Diagnostic(code, message, span, help=help))

    def token_span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def bound(self, name: Token) -> str:
        """A name that the program gives to something."""
        self.check_bindable(name.text, self.token_span(name))
        return name.text

    def check_bindable(self, name: str, span: Span) -> None:
        if is_bindable(name):
            return
        kind = "the name of a reduction" if name in REDUCTIONS else "a reserved word"
        self.problem("DG111", f"`{name}` is {kind} and cannot be given to something else", span, f"call it `{name}_`")

    # ------------------------------------------------------------ atoms

    def integer(self, span: Span, digits: Token) -> Expr:
        if len(digits.text) > 19 or int(digits.text) > _LARGEST_INT:
            self.problem("DG105", "this number does not fit in 64 bits", span, "write it as a float, such as `1e20`")
            return syntax.Number(span, 0)
        return syntax.Number(span, int(digits.text))

    def real(self, span: Span, digits: Token) -> Expr:
        value = float(digits.text)
        if math.isinf(value):
            self.problem("DG105", "this number is larger than any float", span, "write `inf` for infinity")
        return syntax.Number(span, value)

    def string(self, span: Span, token: Token) -> Expr:
        return syntax.String(span, self.string_parts(token))

    def string_parts(self, token: Token) -> tuple[str | Expr, ...]:
        """The texts and expressions of a string literal, in order; neighbouring texts joined."""
        parts: list[str | Expr] = []
        texts: list[str] = []
        for found in _STRING_PART.finditer(token.text, 1, len(token.text) - 1):
            here = Span(self.source, token.start + found.start(), token.start + found.end())
            if found["inside"] is None:
                texts.append(self._literal(found, here))
                continue
            if texts:
                parts.append("".join(texts))
                texts = []
            parts.append(self._interpolation(here))
        if texts:
            parts.append("".join(texts))
        return tuple(parts)

    def _literal(self, found: re.Match, here: Span) -> str:
        if found["escape"]:
            return self._escape(found["escape"], here)
        if found["open"]:
            self.problem("DG106", "this brace is never closed", here, "write `{{` for a brace")
        return found.group()

    def _escape(self, escape: str, here: Span) -> str:
        if escape not in _ESCAPES:
            self.problem("DG107", f"`{escape}` is no escape", here, 'the escapes are `\\n`, `\\"` and `\\\\`')
        return _ESCAPES.get(escape, escape)

    def _interpolation(self, braces: Span) -> Expr:
        if not braces.text[1:-1].strip():
            self.problem("DG106", "nothing stands between these braces", braces, "write `{{` for a brace")
            return syntax.Number(braces, 0)
        return self.read_inside(braces.start + 1, braces.end - 1)

    def true(self, span: Span) -> Expr:
        return syntax.Boolean(span, True)

    def false(self, span: Span) -> Expr:
        return syntax.Boolean(span, False)

    def name(self, span: Span, name: Token) -> Expr:
        return syntax.Name(span, name.text)

    def paren(self, span: Span, inside: Expr) -> Expr:
        return syntax.Paren(span, inside)

    def tuple_of(self, span: Span, *items: Expr) -> Expr:
        return syntax.TupleOf(span, items)

    def list_of(self, span: Span, *items: Expr) -> Expr:
        return syntax.ListOf(span, items)

    # ------------------------------------------------------------ operators

    def guarded(self, span: Span, read: Expr, otherwise: Expr) -> Expr:
        return syntax.Guarded(span, read, otherwise)

    def ternary(self, span: Span, then: Expr, condition: Expr, otherwise: Expr) -> Expr:
        return syntax.Ternary(span, then, condition, otherwise)

    def binary(self, span: Span, left: Expr, sign: Token, right: Expr) -> Expr:
        return syntax.Binary(span, sign.text, left, right)

    def unary(self, span: Span, sign: Token, operand: Expr) -> Expr:
        return syntax.Unary(span, sign.text, operand)

    def range_of(self, span: Span, start: Expr, stop: Expr, step: Expr | None) -> Expr:
        return syntax.RangeOf(span, start, stop, step)

    # ------------------------------------------------------------ arrows

    def pipe(self, span: Span, *values: Expr) -> Expr:
        stages = []
        for value in values:
            # A stage with a name was read as a pipe of its own; a group keeps its parentheses and is not one.
            if isinstance(value, syntax.Pipe):
                stages.append(value.stages[0])
            else:
                stages.append(syntax.Stage(value.span, value, None))
        self._check_stages(stages)
        return syntax.Pipe(span, tuple(stages))

    def named_stage(self, span: Span, value: Expr, name: syntax.InstanceName) -> Expr:
        return syntax.Pipe(span, (syntax.Stage(span, value, name),))

    def _check_stages(self, stages: list[syntax.Stage]) -> None:
        for place, stage in enumerate(stages):
            if isinstance(stage.value, (syntax.Binary, syntax.Unary, syntax.RangeOf)):
                self._two_readings(stages, place)

    def _two_readings(self, stages: list[syntax.Stage], place: int) -> None:
        """`x + y -> f` is `(x + y) -> f` or `x + (y -> f)`: the writer says which."""
        value = stages[place].value
        text = shortened(value.span.text)
        operand = value.operand if isinstance(value, syntax.Unary) else _last_operand(value)
        before = shortened(self.source.text[value.span.start : operand.span.start])
        space = "" if isinstance(value, syntax.Unary) and value.op == "-" else " "
        readings = [f"`({text})`"]
        if place == 0:
            readings = [f"`({text}) -> ...`", f"`{before}{space}({shortened(operand.span.text)} -> ...)`"]
        self.problem("DG112", f"an arrow needs `{text}` in parentheses", value.span, f"write {' or '.join(readings)}")

    def instance(self, span: Span, name: Token, *rest) -> syntax.InstanceName:
        subscripts = tuple(part for part in rest if isinstance(part, syntax.Node))
        if name.kind != "TEMPLATE":
            return syntax.InstanceName(span, (name.text,), subscripts)
        return syntax.InstanceName(span, tuple(self._template_parts(name)), subscripts)

    def _template_parts(self, token: Token):
        for found in _NAME_PART.finditer(token.text):
            if found["inside"] is None:
                yield found["text"]
            else:
                yield self._interpolation(Span(self.source, token.start + found.start(), token.start + found.end()))

    # ------------------------------------------------------------ calls, subscripts, attributes

    def arguments(self, span: Span, *arguments: syntax.Argument) -> list[syntax.Argument]:
        return list(arguments)

    def positional(self, span: Span, value: Expr) -> syntax.Argument:
        return syntax.Argument(span, None, value)

    def keyword(self, span: Span, name: Token, value: Expr) -> syntax.Argument:
        return syntax.Argument(span, name.text, value)

    def call(self, span: Span, function: Expr, arguments: list[syntax.Argument]) -> Expr:
        self.check_arguments(arguments)
        if isinstance(function, syntax.Subscript) and _names_reduction(function.value):
            return self._reduction(span, function, arguments)
        return syntax.CallOf(span, function, tuple(arguments))

    def check_arguments(self, arguments: list[syntax.Argument]) -> None:
        seen: set[str] = set()
        for argument in arguments:
            if argument.name is None and seen:
                self.problem(
                    "DG113", "an argument without a name stands after one with a name", argument.span,
                    "put it before the named ones",
                )  # fmt: skip
            if argument.name in seen:
                self.problem("DG114", f"`{argument.name}` is given twice", argument.span)
            if argument.name is not None:
                seen.add(argument.name)

    def _reduction(self, span: Span, head: syntax.Subscript, arguments: list[syntax.Argument]) -> Expr:
        op = head.value.name
        if len(arguments) != 1 or arguments[0].name is not None:
            self.problem("DG115", f"a reduction has one body: `{head.span.text}(...)`", span)
            return syntax.CallOf(span, head, tuple(arguments))
        indices = tuple(self.bound_index(index) for index in head.subscripts)
        return syntax.Reduction(span, op, indices, arguments[0].value)

    def subscripts(self, span: Span, *subscripts: Expr) -> list[Expr]:
        return list(subscripts)

    def slice(self, span: Span, start: Expr | None, stop: Expr | None, step: Expr | None) -> Expr:
        return syntax.Slice(span, start, stop, step)

    def ellipsis(self, span: Span) -> Expr:
        return syntax.Ellipsis(span)

    def subscript(self, span: Span, value: Expr, subscripts: list[Expr]) -> Expr:
        return syntax.Subscript(span, value, tuple(subscripts))

    def attribute(self, span: Span, value: Expr, name: Token) -> Expr:
        if isinstance(value, syntax.Number):
            help = f"write `{value.span.text}.{name.text}` without spaces" if name.kind == "INT" else None
            self.problem("DG144", "a number has no parts", span, help)
        return syntax.Attribute(span, value, name.text)

    def bound_index(self, index: Expr) -> syntax.BoundIndex:
        """A subscript that binds a name: `i`, `i < 4`, `...`."""
        if isinstance(index, syntax.Ellipsis):
            return syntax.BoundIndex(index.span, "...", None)
        name, bound = index, None
        if isinstance(index, syntax.Binary) and index.op == "<":
            name, bound = index.left, index.right
        if isinstance(name, syntax.Name):
            self.check_bindable(name.name, name.span)
            return syntax.BoundIndex(index.span, name.name, bound)
        self.problem("DG116", f"`{shortened(index.span.text)}` is no index to bind", index.span, _index_help(index))
        return syntax.BoundIndex(index.span, "_", None)

    # ------------------------------------------------------------ scans

    def scan(self, span: Span, index: Token, values: Expr, carries, checkpoint: Expr | None, body) -> Expr:
        return syntax.ScanOf(span, self.bound(index), values, carries or (), checkpoint, body)

    def carries(self, span: Span, *carries: syntax.ScanCarry) -> tuple[syntax.ScanCarry, ...]:
        self.check_unique(carries, "carried")
        return carries

    def carry(self, span: Span, name: Token, initial: Expr) -> syntax.ScanCarry:
        return syntax.ScanCarry(span, self.bound(name), initial)

    def check_unique(self, named, what: str) -> None:
        seen: set[str] = set()
        for node in named:
            if node.name in seen:
                self.problem("DG114", f"`{node.name}` is {what} twice", node.span)
            seen.add(node.name)

    def interpolation(self, span: Span, value: Expr) -> Expr:
        return value

    def nothing(self, start: int, end: int) -> Expr:
        """Stands for an expression that could not be read and has been reported."""
        return syntax.Name(Span(self.source, start, end), "_")


def shortened(text: str, most: int = 40) -> str:
    """A text for a message: on one line, and not too long for it."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _index_help(index: Expr) -> str:
    if isinstance(index, syntax.Binary) and index.op == "<=" and isinstance(index.left, syntax.Name):
        last = index.right
        whole = isinstance(last, syntax.Number) and isinstance(last.value, int)
        bound = last.value + 1 if whole else f"{last.span.text} + 1"
        return f"an index runs up to, not including, its bound: `{index.left.name} < {bound}`"
    return "write a name, `i` or `i < 4`; a computed place is an equality: `y[k] = sum[i](... if k == 2*i else 0)`"


def _names_reduction(value: Expr) -> bool:
    return isinstance(value, syntax.Name) and value.name in REDUCTIONS


def _last_operand(value: Expr) -> Expr:
    return value.stop if isinstance(value, syntax.RangeOf) else value.right
