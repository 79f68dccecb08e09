"""Train and expect blocks: what is asked for, with its values, ready for those who do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from diffgraph.diagnostics import Span, error, suggest
from diffgraph.ir.program import Output, Program
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.arithmetic import as_pending, binary, describe, is_number, materialize, only_output
from diffgraph.language.module import CURRENT, Module
from diffgraph.language.parser import parse_expression
from diffgraph.language.rewriting import rewrite
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Naming, Session
from diffgraph.language.variables import uniform_noise
from diffgraph.language.tensors import filled
from diffgraph.language.values import FunctionValue, LayerValue

#: The optimizer that is not a formula: it evaluates a step several times.
LBFGS = "lbfgs"


@dataclass(frozen=True)
class DataCall:
    """A data source with its settings. A setting that is an expression over other columns, or a distribution, is a `Column`;
    one that is itself a source is a `DataCall`."""

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


@dataclass(frozen=True)
class OptimizerCall:
    """`optimizer adam(lr = 1e-4) for "*.bias"`: the expression, and the paths it is for (None for the rest)."""

    node: syntax.Expr
    patterns: tuple[str, ...] | None


@dataclass(frozen=True)
class TrainPlan:
    """A train block with its overrides.

    lbfgs: settings of the built-in optimizer if that is the one. transforms: functions of (gradients, setting) by name, in
    order (`clip_norm 1.0`). augment: expressions `input -> layer -> ...`. stop_early: its settings, or None.
    """

    net: str
    name: str
    settings: tuple[tuple[str, Any], ...]
    positional: tuple[Any, ...]
    data: DataCall | None
    batch: int | None
    epochs: int | None
    steps: int | None
    optimizers: tuple[OptimizerCall, ...]
    lbfgs: Mapping[str, Any] | None
    augment: tuple[syntax.Expr, ...]
    freeze: tuple[str, ...]
    transforms: tuple[tuple[str, syntax.Expr], ...]
    average: syntax.Expr | None
    stop_early: Mapping[str, Any] | None
    seed: int
    module: Module = field(compare=False, repr=False)
    batch_span: Span | None = None


#: Fields that Python knows; any other is the name of a function of (gradients, setting).
FIELDS = (
    "data", "augment", "batch", "epochs", "steps", "optimizer", "freeze", "stop_early", "average", "seed",
)  # fmt: skip


def train_block(
    module: Module, net: str | None = None, name: str | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainPlan:
    """The train block of that name (or of that net, or the first), its fields overridden.

    overrides: field -> value or text; `optimizer.lr` reaches a setting of the optimizer. DiffgraphError for unknown fields.
    """
    block = _find(module, net, name)
    session = Session(True, {}, Naming(), module.folder)
    CURRENT.append(session)
    try:
        return _plan(module, block, net, dict(overrides or {}), session)
    finally:
        CURRENT.pop()


def _find(module: Module, net: str | None, name: str | None) -> syntax.Train | None:
    blocks = [b for b in module.trains if (net is None or b.net == net) and (name is None or name in (b.name, b.net))]
    if name is not None:
        exact = [b for b in blocks if b.name == name]
        blocks = exact or [b for b in blocks if b.name is None]
        if not blocks:
            known = [b.name or b.net for b in module.trains]
            raise error("DG601", f"there is no train block `{name}`", help=suggest(name, known))
    if blocks:
        return blocks[0]
    if net is None and not module.nets:
        raise error("DG602", f"{module.source.name} has no train block")
    return None


def _plan(module: Module, block: syntax.Train | None, net, overrides: dict, session: Session) -> TrainPlan:
    fields: dict[str, list[syntax.Field]] = {}
    for f in block.fields if block else ():
        fields.setdefault(f.name, []).append(f)
    reach = {k: overrides.pop(k) for k in list(overrides) if k.startswith("optimizer.")}
    for key, value in overrides.items():
        node = parse_expression(_text(value), f"--set {key}")
        fields[key] = [syntax.Field(node.span, key, node, None)]
        if key in ("epochs", "steps"):
            fields.pop("steps" if key == "epochs" else "epochs", None)
    transforms = _transforms(module, fields)
    values = _Values(module, session, fields)
    optimizers, lbfgs = _optimizers(module, fields, reach, session)
    arguments = block.arguments if block else ()
    positional, keywords = expressions.arguments_of(arguments, module, session)
    batch = values.whole("batch")
    if fields.get("epochs") and fields.get("steps"):
        raise error("DG603", "a train block counts epochs or steps, not both", fields["steps"][0].span)
    return TrainPlan(
        net or (block.net if block else next(iter(module.nets))),
        (block.name or block.net) if block else (net or next(iter(module.nets))),
        tuple(keywords.items()),
        tuple(positional),
        _data(module, fields, session),
        batch,
        values.whole("epochs"),
        values.whole("steps"),
        optimizers,
        lbfgs,
        tuple(f.value for f in fields.get("augment", ())),
        tuple(str(values.of(f)) for f in fields.get("freeze", ())),
        transforms,
        fields["average"][0].value if "average" in fields else None,
        _stop_early(fields, module, session),
        values.whole("seed", 0, least=0),
        module,
        fields["batch"][0].span if "batch" in fields else None,
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


class _Values:
    """Fields that are plain values."""

    def __init__(self, module: Module, session: Session, fields):
        self.module, self.session, self.fields = module, session, fields

    def of(self, f: syntax.Field) -> Any:
        return only_output(expressions.evaluate(f.value, self.module, self.session))

    def whole(self, name: str, default: int | None = None, least: int = 1) -> int | None:
        """A field that is an int."""
        if name not in self.fields:
            return default
        f = self.fields[name][-1]
        value = self.of(f)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise error("DG604", f"`{name}` is an int of at least {least}, not {describe(value)}", f.span)
        return value


def _transforms(module: Module, fields) -> tuple[tuple[str, syntax.Expr], ...]:
    found = []
    for name, given in fields.items():
        if name in FIELDS:
            continue
        holder = module.find(name)
        if holder is None or not isinstance(holder.get(name), FunctionValue):
            raise error("DG605", f"a train block has no field `{name}`", given[0].span, help=suggest(name, FIELDS))
        found += [(name, f.value) for f in given]
    return tuple(found)


def _optimizers(module: Module, fields, reach: dict, session: Session):
    """(optimizer calls, settings of L-BFGS or None)"""
    calls = []
    for f in fields.get("optimizer", ()):
        name = f.value.function if isinstance(f.value, syntax.CallOf) else f.value
        if isinstance(name, syntax.Name) and name.name == LBFGS and module.find(LBFGS) is None:
            arguments = f.value.arguments if isinstance(f.value, syntax.CallOf) else ()
            return (), {**expressions.arguments_of(arguments, module, session)[1], **_plain(reach, module, session)}
        value = _with_reach(f.value, reach)
        found = expressions.evaluate(value, module, session)
        if not isinstance(found, LayerValue) or getattr(found.declaration, "kind", "") != "optimizer":
            raise error("DG606", f"{describe(found)} is not an optimizer", f.span)
        patterns = None
        if f.scope is not None:
            given = expressions.evaluate(f.scope, module, session)
            patterns = tuple(given) if isinstance(given, list) else (given,)
        calls.append(OptimizerCall(value, patterns))
    return tuple(calls), None


def _plain(reach: dict, module: Module, session: Session) -> dict[str, Any]:
    return {
        key.partition(".")[2]: expressions.evaluate(parse_expression(_text(value), f"--set {key}"), module, session)
        for key, value in reach.items()
    }


def _with_reach(node: syntax.Expr, reach: dict) -> syntax.Expr:
    """The call with overridden settings."""
    if not reach:
        return node
    given = node.arguments if isinstance(node, syntax.CallOf) else ()
    function = node.function if isinstance(node, syntax.CallOf) else node
    names = {key.partition(".")[2]: value for key, value in reach.items()}
    kept = tuple(a for a in given if a.name not in names)
    more = []
    for name, value in names.items():
        expression = parse_expression(_text(value), f"--set optimizer.{name}")
        more.append(syntax.Argument(expression.span, name, expression))
    return syntax.CallOf(node.span, function, (*kept, *more))


def _stop_early(fields, module: Module, session: Session) -> Mapping[str, Any] | None:
    if "stop_early" not in fields:
        return None
    f = fields["stop_early"][-1]
    given: dict[str, Any] = {}
    if isinstance(f.value, syntax.CallOf):
        given = expressions.arguments_of(f.value.arguments, module, session)[1]
    else:
        given = {"patience": expressions.evaluate(f.value, module, session)}
    known = ("patience", "least")
    for name, value in given.items():
        if name not in known:
            raise error("DG607", f"`stop_early` has no `{name}`", f.span, help=suggest(name, known) or "patience")
        if not is_number(value):
            raise error("DG604", f"`{name}` is a number", f.span)
    return given


# ---------------------------------------------------------------- data


def _data(module: Module, fields, session: Session) -> DataCall | None:
    if "data" not in fields:
        return None
    return data_call(fields["data"][-1].value, module, session)


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


#: The source whose keywords are formulas of columns, and those of its keywords that are settings.
FORMULAS, FORMULA_SETTINGS = "function", ("n", "seed", "split", "standardize")


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

    Its run input is `seed`; its outputs are the columns [samples, ...]. A call of a function whose first parameter is the
    noise `u` draws; any other expression is computed from the columns before it.
    """
    session = Session(False, {}, Naming(), call.module.folder)
    scope = Scope(call.module)
    CURRENT.append(session)
    try:
        for name, given in call.keywords:
            if name in FORMULA_SETTINGS:
                continue
            value = _column(name, given, samples, scope, session)
            scope.bind(name, value)
            session.builder.outputs.append(Output(name, value.tensor.name))
        return session.builder.program()
    finally:
        CURRENT.pop()


def _column(name: str, given: Column, samples: int, scope: Scope, session: Session):
    span = given.span
    value = expressions.evaluate(_with_draws(name, given.node, samples, scope, session), scope, session)
    pending = as_pending(value, session, span)
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
    return bool(parameters) and parameters[0].name == "u"


# ---------------------------------------------------------------- expectations


def expectations(module: Module, net: str | None = None) -> list[syntax.Expect]:
    """The expect blocks of a net, or of all nets."""
    return [block for block in module.expects if net is None or block.net == net]
