"""The data of a `train` block: a source of data with its settings, as the program names it.

What a source gives is not known here; `training/data` reads it. Only `function` is more than a name and values: it draws
and computes its columns with formulas of the language, which `column_program` makes a program of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import DiffgraphError, Span, error
from diffgraph.ir.program import Output, Program
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.arithmetic import as_pending, binary, describe, is_tensor, materialize, only_output, show_shape
from diffgraph.language.computing import computing
from diffgraph.language.rewriting import rewrite
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.statements import uniform_noise
from diffgraph.language.tensors import filled
from diffgraph.language.values import FunctionValue, LayerValue

#: The source whose keywords are formulas of columns, and those of its keywords that are settings.
FORMULAS = "function"
FORMULA_SETTINGS = ("n", "split", "standardize", "seed")

#: The first parameter of a function that is a distribution: noise, evenly spread over [0, 1).
NOISE = "u"

#: Rows of a made data set.
MOST_ROWS = 100_000_000


@dataclass(frozen=True, eq=False)
class Column:
    """A column of `function(...)`: its name and its formula, which may draw and may use the columns before it."""

    name: str
    formula: syntax.Expr


@dataclass(frozen=True, eq=False)
class DataCall:
    """A source of data: `csv("iris.csv", target = "species")`.

    arguments and keywords hold plain values (numbers, texts, lists), other `DataCall`s, and for `function` a `Column` for
    each formula. `scope` is where its text is read.
    """

    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    span: Span
    scope: Any = field(repr=False, default=None)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The formulas, in order."""
        return tuple(v for v in self.keywords.values() if isinstance(v, Column))


def data_call(node: syntax.Expr, scope: Scope, session: Session) -> DataCall:
    """The source of data that an expression names."""
    name, arguments = _parts(node)
    if name is None:
        raise error("DG620", "this is not a source of data", node.span, help='csv("data.csv"), or table([[0, 1]])')
    positional = tuple(_argument(a.value, scope, session) for a in arguments if a.name is None)
    keywords: dict[str, Any] = {}
    for argument in arguments:
        if argument.name is None:
            continue
        if name == FORMULAS and argument.name not in FORMULA_SETTINGS:
            keywords[argument.name] = Column(argument.name, argument.value)
        else:
            keywords[argument.name] = _argument(argument.value, scope, session)
    call = DataCall(name, positional, keywords, node.span, scope)
    if call.columns:
        column_program(call)
    return call


def _parts(node: syntax.Expr) -> tuple[str | None, tuple[syntax.Argument, ...]]:
    while isinstance(node, syntax.Paren):
        node = node.inside
    if isinstance(node, syntax.Name):
        return node.name, ()
    if isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name):
        return node.function.name, node.arguments
    return None, ()


def _argument(node: syntax.Expr, scope: Scope, session: Session) -> Any:
    """A plain value; a name that means nothing in the program (or means a net) is a source of data."""
    name, _ = _parts(node)
    if name is not None and _is_source(name, node, scope, session):
        return data_call(node, scope, session)
    return _plain(only_output(expressions.evaluate(node, scope, session)), node.span)


def _is_source(name: str, node: syntax.Expr, scope: Scope, session: Session) -> bool:
    value = expressions.lookup(name, scope, session, node.span)
    return value is None or isinstance(value, LayerValue) and isinstance(value.declaration, syntax.Net)


def _plain(value: Any, span: Span) -> Any:
    if isinstance(value, (list, tuple, range)):
        return [_plain(v, span) for v in value]
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise error("DG621", f"data cannot be described by {describe(value)}", span, help="give numbers, texts or lists")


# ---------------------------------------------------------------- columns by formula


def column_program(call: DataCall) -> Program:
    """The program that makes the columns of a `function(...)`: a run input `seed`, and an output [n, ...] for each column
    by its name. A call of a distribution (a function whose first parameter is `u`) draws a number for each row."""
    count = _count(call)
    with computing(call.scope) as session:
        scope = Scope(call.scope)
        problems = []
        for column in call.columns:
            try:
                value = _column(column, count, scope, session)
            except DiffgraphError as problem:
                problems += problem.diagnostics
                continue
            scope.bind(column.name, value)
            session.builder.outputs.append(Output(column.name, value.tensor.name))
        if problems:
            raise DiffgraphError(*problems)
        return session.builder.program()


def _count(call: DataCall) -> int:
    count = call.keywords.get("n", call.arguments[0] if call.arguments else None)
    if count is None:
        raise error("DG622", f"`{call.name}` wants `n`, the number of rows", call.span, help=f"{call.name}(n = 256, ...)")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MOST_ROWS:
        raise error("DG622", f"`n` is a number of rows, from 1 to {MOST_ROWS:,}, not {count}", call.span)
    return count


def _column(column: Column, count: int, scope: Scope, session: Session):
    span = column.formula.span
    formula = _with_draws(column, count, scope, session)
    pending = as_pending(expressions.evaluate(formula, scope, session), session, span)
    if pending.shape and pending.shape[0] != count:
        raise error("DG623", f"the column `{column.name}` is {show_shape(pending.shape)}, not {count} rows", span)
    if not pending.shape:
        pending = as_pending(binary("+", pending, filled([count], 0, session, span), session, span), session, span)
    return materialize(pending, session, column.name, span)


def _with_draws(column: Column, count: int, scope: Scope, session: Session) -> syntax.Expr:
    """The formula with noise of its own as the first argument of each distribution in it."""
    noises = 0

    def draw(node: syntax.Expr) -> syntax.Expr | None:
        nonlocal noises
        callee = node.function if isinstance(node, syntax.CallOf) else node
        if not isinstance(callee, syntax.Name) or not _is_distribution(callee, scope, session):
            return None
        name = f"{column.name}~{noises}"
        noises += 1
        scope.bind(name, uniform_noise(f"data.{name}", (count,), session, node.span, None))
        noise = syntax.Argument(node.span, None, syntax.Name(node.span, name))
        given = node.arguments if isinstance(node, syntax.CallOf) else ()
        given = tuple(replace(a, value=rewrite(a.value, draw)) for a in given)
        return syntax.CallOf(node.span, callee, (noise, *given))

    return rewrite(column.formula, draw)


def _is_distribution(node: syntax.Name, scope: Scope, session: Session) -> bool:
    value = expressions.lookup(node.name, scope, session, node.span)
    if is_tensor(value) or not isinstance(value, FunctionValue):
        return False
    parameters = value.declaration.parameters
    return bool(parameters) and parameters[0].name == NOISE
