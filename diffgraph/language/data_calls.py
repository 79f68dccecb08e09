"""The data of a `train` block: a source of data with its settings, as the program names it.

What a source gives is not known here; `training/data` reads it. Only `function` is more than a name and values: it
draws and computes its columns with formulas of the language, which `column_program` makes a program of.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Span, error
from diffgraph.ir.program import Output, Program
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.arithmetic import as_pending, binary, describe, materialize, only_output, show_shape
from diffgraph.language.computing import computing
from diffgraph.language.module import Module
from diffgraph.language.rewriting import rewrite
from diffgraph.language.scopes import FAILED, Scope
from diffgraph.language.session import Session
from diffgraph.language.tensors import filled
from diffgraph.language.values import FunctionValue, LayerValue
from diffgraph.language.variables import uniform_noise


@dataclass(frozen=True)
class DataCall:
    """A data source with its settings. A setting that is an expression over other columns, or a distribution, is a
    `Column`; one that is itself a source is a `DataCall`."""

    name: str
    arguments: tuple[Any, ...]
    keywords: tuple[tuple[str, Any], ...]
    span: Span | None
    module: Module = field(compare=False, repr=False, default=None)


@dataclass(frozen=True)
class Column:
    """An expression for a column of made data, to be evaluated over all samples."""

    node: syntax.Expr
    span: Span | None


def data_call(node: syntax.Expr, module: Module, session: Session) -> DataCall:
    """`csv("iris.csv", target = "species")`, or the name of a source alone."""
    while isinstance(node, syntax.Paren):
        node = node.inside
    if isinstance(node, syntax.Name):
        return DataCall(node.name, (), (), node.span, module)
    if not isinstance(node, syntax.CallOf) or not isinstance(node.function, syntax.Name):
        raise error("DG608", "`data` names a source", node.span, help='data digits, or data csv("table.csv")')
    name = node.function.name
    arguments = tuple(_setting(a.value, module, session) for a in node.arguments if a.name is None)
    keywords = tuple(
        (a.name, Column(a.value, a.value.span) if _is_formula(name, a.name) else _setting(a.value, module, session))
        for a in node.arguments
        if a.name is not None
    )
    return DataCall(name, arguments, keywords, node.span, module)


#: The first parameter of a function that is a distribution: noise, evenly spread over [0, 1).
NOISE = "u"

#: The source whose keywords are formulas of columns, and those of its keywords that are settings.
FORMULAS, FORMULA_SETTINGS = "function", ("n", "seed", "split", "standardize")

#: Settings that every source takes, an example each; `seed` is a field of a train block as well.
OF_EVERY_SOURCE = {"split": "split = 0.2", "standardize": "standardize = true"}


def _is_formula(source: str, keyword: str) -> bool:
    return source == FORMULAS and keyword not in FORMULA_SETTINGS


def _setting(node: syntax.Expr, module: Module, session: Session) -> Any:
    """A setting of a source: a plain value, or a source where the name means nothing else (or a net)."""
    name = node.function if isinstance(node, syntax.CallOf) else node
    if isinstance(name, syntax.Name):
        found = expressions.lookup(name.name, module, session, node.span)
        if found is None or isinstance(found, LayerValue):
            return data_call(node, module, session)
    return _plain_value(only_output(expressions.evaluate(node, module, session)), node.span)


def _plain_value(value: Any, span: Span | None) -> Any:
    if isinstance(value, (list, tuple, range)):
        return [_plain_value(v, span) for v in value]
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise error("DG621", f"data cannot be described by {describe(value)}", span, help="give numbers, texts or lists")


def column_program(call: DataCall, samples: int) -> Program:
    """A program that computes the columns of `function(n = 256, x = uniform(-3, 3), y = sin(2 * x))`, in order.

    Its run input is `seed`; its outputs are the columns [samples, ...]. A call of a function whose first parameter is
    the noise `u` draws; any other expression is computed from the columns before it.
    """
    scope = Scope(call.module)
    problems: list[Diagnostic] = []
    with computing(call.module) as session:
        for name, given in call.keywords:
            if not isinstance(given, Column):
                continue
            try:
                value = _column(name, given, samples, scope, session)
            except DiffgraphError as problem:
                problems += problem.diagnostics
                scope.bind(name, FAILED)
                continue
            scope.bind(name, value)
            session.builder.outputs.append(Output(name, value.tensor.name))
        if problems:
            raise DiffgraphError(*problems)
        return session.builder.program()


def _column(name: str, given: Column, samples: int, scope: Scope, session: Session):
    span = given.span
    value = expressions.evaluate(_with_draws(name, given.node, samples, scope, session), scope, session)
    pending = as_pending(value, session, span)
    if pending.shape and pending.shape[0] != samples:
        text = f"the column `{name}` is {show_shape(pending.shape)}, not one row for each of {samples} samples"
        raise error("DG622", text, span)
    if not pending.shape:
        zero = filled([samples], 0.0, session, span)
        pending = as_pending(binary("+", pending, zero, session, span), session, span)
    return materialize(pending, session, name, span)


def _with_draws(column: str, formula: syntax.Expr, samples: int, scope: Scope, session: Session) -> syntax.Expr:
    """The formula with noise of its own as the first argument of each distribution in it."""
    noises = 0

    def draw(node: syntax.Expr) -> syntax.Expr | None:
        nonlocal noises
        function = node.function if isinstance(node, syntax.CallOf) else node
        if not isinstance(function, syntax.Name) or not _is_distribution(function, scope, session):
            return None
        # Not a legal identifier: nothing in the file can have this name.
        name = f"{column}~{noises}"
        noises += 1
        scope.bind(name, uniform_noise(name, (samples,), session, node.span, None))
        noise = syntax.Argument(node.span, None, syntax.Name(node.span, name))
        given = node.arguments if isinstance(node, syntax.CallOf) else ()
        given = tuple(replace(a, value=rewrite(a.value, draw)) for a in given)
        return syntax.CallOf(node.span, function, (noise, *given))

    return rewrite(formula, draw)


def _is_distribution(node: syntax.Name, scope: Scope, session: Session) -> bool:
    found = expressions.lookup(node.name, scope, session, node.span)
    if not isinstance(found, FunctionValue):
        return False
    parameters = found.declaration.parameters
    return bool(parameters) and parameters[0].name == NOISE
