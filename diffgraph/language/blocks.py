"""`train` blocks: what they say, with what is overridden from outside, as a `TrainPlan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Span, error, suggest
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.apply import settings_scope, with_settings
from diffgraph.language.arithmetic import constant_expr, describe, only_output
from diffgraph.language.computing import computing
from diffgraph.language.data_calls import OF_EVERY_SOURCE, DataCall, data_call
from diffgraph.language.elaborate import net_name, net_value
from diffgraph.language.module import Module
from diffgraph.language.overrides import given_node, is_of_optimizer, with_setting
from diffgraph.language.rewriting import dotted
from diffgraph.language.session import Session
from diffgraph.language.values import FunctionValue, Keywords, LayerValue, place_of

#: The optimizer that is not a formula: it evaluates a step several times.
LBFGS = "lbfgs"


@dataclass(frozen=True)
class OptimizerCall:
    """`optimizer adam(lr = 1e-4) for "*.bias"`: the expression, and the paths it is for (None for the rest)."""

    node: syntax.Expr
    patterns: tuple[str, ...] | None


@dataclass(frozen=True)
class TrainPlan:
    """A train block with its overrides.

    lbfgs: settings of the built-in optimizer if that is the one. transforms: functions of (gradients, setting) by
    name, in order (`clip_norm 1.0`). augment: expressions `input -> layer -> ...`. stop_early: its settings, or None.
    span: the head of the block. places: where each pattern of paths is written.
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
    span: Span | None = None
    places: Mapping[str, Span] = field(default_factory=dict, compare=False)


def train_block(
    module: Module, net: str | None = None, name: str | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainPlan:
    """The plan of a train block: the one of that name (one without `as` has the name of its net), else the first one of
    the net, else the first one of the file.

    overrides: field -> value, or text of the language; `optimizer.lr` reaches a setting of a field. DiffgraphError with
    every problem of the block.
    """
    block = find_block(module, net, name)
    own = net or (block.net if block else next(iter(module.nets)))
    with computing(module) as session:
        return _Reader(module, block, own, session).plan(dict(overrides or {}))


def first_line(span: Span) -> Span:
    """The head of what holds a block, on its first line."""
    head = span.text.split("\n")[0].rstrip(" {")
    return Span(span.source, span.start, span.start + len(head))


def find_block(module: Module, net: str | None = None, name: str | None = None) -> syntax.Train | None:
    """The train block of that name, or the first one of the net; None where the net has none."""
    blocks = [b for b in module.trains if net is None or b.net == net]
    if name is not None:
        named = [b for b in blocks if (b.name or b.net) == name]
        if not named:
            known = [b.name or b.net for b in blocks]
            hint = suggest(name, known) or (f"the blocks are {', '.join(known)}" if known else None)
            raise error("DG601", f"there is no train block `{name}`", help=hint)
        return named[0]
    if not blocks and not module.nets:
        raise error("DG602", f"{module.source.name} has no train block", help="write one: train NET { ... }")
    return blocks[0] if blocks else None


def setting_names(module: Module, net: str | None = None, block: str | None = None) -> set[str]:
    """The settings that a net declares: the one of that name, else that of the train block, else the first of the file."""
    if not module.nets:
        return set()
    name = net or (net_name(module) if block is None else find_block(module, None, block).net)
    with computing(module):
        return {s.name for s in net_value(module, name).declaration.settings}


def is_field(module: Module, key: str) -> bool:
    """Whether a train block may have a field of that name; `optimizer.lr` is one of the optimizer."""
    name = key.partition(".")[0]
    if name in FIELDS or not module.knows(name) and module.find(name) is None:
        return name in FIELDS
    with computing(module) as session:
        found = expressions.lookup(name, module, session, None)
        return isinstance(found, FunctionValue) and _first_parameter(found) == "gradients"


def expectations(module: Module, net: str | None = None) -> list[syntax.Expect]:
    """The expect blocks of a net, or of all nets."""
    return [block for block in module.expects if net is None or block.net == net]


# ---------------------------------------------------------------- overriding


def _overridden(block: syntax.Train | None, overrides: dict[str, Any], module: Module, session: Session):
    """The fields of a block with those given from outside in the place of its own."""
    fields = list(block.fields) if block else []
    for key, value in overrides.items():
        if not is_field(module, key) and is_of_optimizer(fields, key, module, session):
            key = f"optimizer.{key}"
        name, _, setting = key.partition(".")
        if setting:
            if not any(f.name == name for f in fields):
                raise error("DG605", f"`{key}` has nothing to set: the train block has no `{name}`")
            fields = [with_setting(f, setting, key, value, module, session) if f.name == name else f for f in fields]
        else:
            other = {"epochs": "steps", "steps": "epochs"}.get(name)
            node = given_node(key, value)
            whole = Span(node.span.source, 0, node.span.end)
            fields = [f for f in fields if f.name not in (name, other)] + [syntax.Field(whole, name, node, None)]
    return fields


# ---------------------------------------------------------------- reading


class _Reader:
    """Reads the fields of a block, and collects every problem."""

    def __init__(self, module: Module, block: syntax.Train | None, net: str, session: Session):
        self.module = module
        self.block = block
        self.net = net
        self.session = session
        self.problems: list[Diagnostic] = []
        self.places: dict[str, Span] = {}
        self.written: dict[str, Span] = {}
        self.several: dict[str, list] = {"optimizer": [], "augment": [], "freeze": [], "transforms": []}
        self.values: dict[str, Any] = {"seed": 0}

    def plan(self, overrides: dict[str, Any]) -> TrainPlan:
        """The plan; DiffgraphError with every problem."""
        positional, settings = self._attempt(self._settings) or ((), {})
        fields = self._attempt(_overridden, self.block, overrides, self.module, self.session)
        for one in fields or ():
            self._attempt(self._field, one)
        self._attempt(self._check_together)
        if self.problems:
            raise DiffgraphError(*self.problems)
        values = self.values.get
        head = None if self.block is None else first_line(self.block.span)
        return TrainPlan(
            self.net, ((self.block.name or self.block.net) if self.block else self.net),
            tuple(settings.items()), tuple(positional), values("data"), values("batch"), values("epochs"),
            values("steps"), tuple(self.several["optimizer"]), values("lbfgs"), tuple(self.several["augment"]),
            tuple(self.several["freeze"]), tuple(self.several["transforms"]), values("average"), values("stop_early"),
            values("seed"), self.module, self.places.get("batch"), head, self.written,
        )  # fmt: skip

    def _attempt(self, step, *arguments):
        try:
            return step(*arguments)
        except DiffgraphError as problem:
            self.problems += problem.diagnostics
            return None

    def _settings(self) -> tuple[list, dict]:
        """The settings of the net that the block gives; the net must take them."""
        arguments = self.block.arguments if self.block else ()
        positional, keywords = expressions.arguments_of(arguments, self.module, self.session)
        value = net_value(self.module, self.net)
        span = self.block.span if self.block else value.declaration.span
        with_settings(value, positional, keywords, span)
        return positional, keywords

    def _field(self, one: syntax.Field) -> None:
        reader = FIELDS.get(one.name)
        if reader is None and not isinstance(self.module.find(one.name) and self._named(one.name), FunctionValue):
            place = Span(one.span.source, one.span.start, one.span.start + len(one.name))
            fields = known = [*FIELDS, *self._transforms()]
            if self.block is None or one.span.source is not self.block.span.source:
                # It was given from outside, where settings of the net are given as well.
                known = fields + [s.name for s in self._net().declaration.settings]
            hint = suggest(one.name, known) or f"there are {', '.join(fields)}"
            if one.name in OF_EVERY_SOURCE:
                hint = f"it is a setting of the data: `data csv(\"iris.csv\", {OF_EVERY_SOURCE[one.name]})`"
            raise error("DG605", f"a train block has no field `{one.name}`", place, help=hint)
        if one.scope is not None and one.name != "optimizer":
            raise error("DG608", f"`{one.name}` takes no `for`", one.scope.span)
        if reader is None:
            # `clip_norm 1.0`: a function of (gradients, setting).
            self.several["transforms"].append((one.name, one.value))
            return
        self.places[one.name] = one.span
        if one.name != "stop_early" and _is_alone(one):
            raise error("DG604", f"`{one.name}` has no value", one.span, help=f"write it behind the name: {_EXAMPLES[one.name]}")
        reader(self, one)

    def _net(self) -> LayerValue:
        return net_value(self.module, self.net)

    def _transforms(self) -> list[str]:
        """The functions that can stand as fields: of gradients and a setting."""
        named = ((n, self._named(n)) for n in self.module.names())
        return [n for n, f in named if isinstance(f, FunctionValue) and _first_parameter(f) == "gradients"]

    def _named(self, name: str) -> Any:
        return expressions.lookup(name, self.module, self.session, None)

    def _check_together(self) -> None:
        """What the fields must be beside one another."""
        if "epochs" in self.values and "steps" in self.values:
            epochs = Note("the epochs", self.places["epochs"])
            raise error(
                "DG603", "training runs for `epochs` or for `steps`, not for both", self.places["steps"], epochs
            )
        calls = self.several["optimizer"]
        if calls and "lbfgs" in self.values:
            raise error(
                "DG606", f"`{LBFGS}` steps all parameters at once, beside no other optimizer", calls[0].node.span
            )
        rest = [call for call in calls if call.patterns is None]
        if len(rest) > 1:
            first = Note("the first one", rest[0].node.span)
            raise error("DG606", "two optimizers are for the rest", rest[1].node.span, first, help='add: for "*.bias"')

    # ------------------------------------------------------------ fields

    def value(self, node: syntax.Expr) -> Any:
        """The value of an expression of the file."""
        return only_output(expressions.evaluate(node, self.module, self.session))

    def whole(self, one: syntax.Field, least: int) -> None:
        """A field that is an int."""
        value = self.value(one.value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            help = f"write it without quotes: {one.name} {value}" if isinstance(value, str) and value.isdigit() else None
            shown = describe(value) if isinstance(value, str) else _shown(value)
            text = f"`{one.name}` is a whole number of at least {least}, not {shown}"
            raise error("DG604", text, one.value.span, help=help)
        self.values[one.name] = value

    def data(self, one: syntax.Field) -> None:
        self.values["data"] = data_call(one.value, self.module, self.session)

    def optimizer(self, one: syntax.Field) -> None:
        call = one.value.function if isinstance(one.value, syntax.CallOf) else one.value
        name = dotted(call) or ""
        if name == LBFGS and self.module.find(LBFGS) is None:
            arguments = one.value.arguments if isinstance(one.value, syntax.CallOf) else ()
            self.values["lbfgs"] = _lbfgs_settings(*expressions.arguments_of(arguments, self.module, self.session), one)
            return
        if name and "." not in name and self.module.find(name) is None:
            hint = suggest(name, self._optimizers()) or f"there are {', '.join(self._optimizers())}"
            if name == "optimizer":
                raise error("DG606", "it is not said which optimizer", call.span, help="optimizer adam(lr = 1e-3)")
            raise error("DG606", f"there is no optimizer `{name}`", call.span, help=hint)
        value = self.value(one.value)
        if not _is_optimizer(value):
            hint = suggest(name, self._optimizers()) or "write `optimizer adam(lr = 1e-3)`, for example"
            raise error("DG606", f"{describe(value)} is not an optimizer", one.value.span, help=hint)
        settings_scope(value, self.session, one.value.span)
        patterns = None if one.scope is None else self.patterns(one.scope)
        self.several["optimizer"].append(OptimizerCall(one.value, patterns))

    def _optimizers(self) -> list[str]:
        return [n for n in self.module.names() if _is_optimizer(self._named(n))] + [LBFGS]

    def augment(self, one: syntax.Field) -> None:
        head = one.value.stages[0].value if isinstance(one.value, syntax.Pipe) else None
        if not isinstance(head, syntax.Name):
            raise error("DG613", "`augment` is a pipe from an input", one.span, help="augment image -> random_flip")
        self.several["augment"].append(one.value)

    def freeze(self, one: syntax.Field) -> None:
        self.several["freeze"] += self.patterns(one.value)

    def patterns(self, node: syntax.Expr) -> tuple[str, ...]:
        """Paths: texts, with `*` if need be, or the paths themselves; one or several."""
        if isinstance(node, (syntax.TupleOf, syntax.ListOf)):
            return tuple(p for item in node.items for p in self.patterns(item))
        if isinstance(node, syntax.Paren):
            return self.patterns(node.inside)
        path = dotted(node)
        value = self.value(node) if path is None else path
        if not isinstance(value, str):
            raise error("DG614", f"{_shown(value)} is not a path", node.span, help='"*.bias", for example')
        self.written.setdefault(value, node.span)
        return (value,)

    def stop_early(self, one: syntax.Field) -> None:
        given = {"patience": one.value}
        if isinstance(one.value, syntax.CallOf) and dotted(one.value.function) == one.name:
            given = {a.name: a.value for a in one.value.arguments}
        found = {}
        for name, node in given.items():
            if name not in ("patience", "least"):
                hint = suggest(name or "", ("patience", "least")) or "stop_early(patience = 5)"
                raise error("DG607", f"`stop_early` has no `{name}`", node.span, help=hint)
            value = self.value(node)
            known = constant_expr(value) is not None and not isinstance(value, bool)
            if not known or name == "patience" and (not isinstance(value, int) or value < 1):
                raise error("DG604", f"`{name}` cannot be {_shown(value)}", node.span, help="stop_early(patience = 5)")
            found[name] = value
        self.values["stop_early"] = found

    def average(self, one: syntax.Field) -> None:
        value = self.value(one.value)
        if not _is_optimizer(value):
            raise error("DG615", f"{describe(value)} is not an average", one.value.span, help="average ema(0.999)")
        self.values["average"] = one.value


def _lbfgs_settings(positional: list, keywords: Keywords, field: syntax.Field) -> dict[str, Any]:
    """The settings of the built-in optimizer: `lbfgs(memory = 20)`."""
    if len(positional) > 1 or positional and "memory" in keywords:
        raise error("DG231", "`lbfgs` takes 1 setting", field.value.span, help="it has `memory`: lbfgs(memory = 20)")
    for name in keywords:
        if name != "memory":
            help = suggest(name, ["memory"]) or "it has `memory`; how far a step goes is found by its line search"
            raise error("DG230", f"`lbfgs` has no setting `{name}`", place_of(name, keywords, field.value.span), help=help)
    memory = positional[0] if positional else keywords.get("memory")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or memory < 1):
        raise error("DG604", f"`memory` of `lbfgs` is an int of at least 1, not {_shown(memory)}", field.value.span)
    return {} if memory is None else {"memory": memory}


#: How each field is read. Any other is the name of a function of (gradients, setting).
FIELDS = {
    "data": _Reader.data,
    "augment": _Reader.augment,
    "batch": lambda reader, one: reader.whole(one, 1),
    "epochs": lambda reader, one: reader.whole(one, 1),
    "steps": lambda reader, one: reader.whole(one, 1),
    "optimizer": _Reader.optimizer,
    "freeze": _Reader.freeze,
    "stop_early": _Reader.stop_early,
    "average": _Reader.average,
    "seed": lambda reader, one: reader.whole(one, 0),
}


#: What is shown where a field stands without its value.
_EXAMPLES = {
    "data": "data digits",
    "augment": "augment image -> random_shift(2)",
    "batch": "batch 32",
    "epochs": "epochs 10",
    "steps": "steps 1000",
    "optimizer": "optimizer adam(lr = 1e-3)",
    "freeze": 'freeze "layer1"',
    "average": "average ema(0.999)",
    "seed": "seed 0",
}


def _is_alone(field: syntax.Field) -> bool:
    """Whether a field stands without a value."""
    value = field.value
    return isinstance(value, syntax.CallOf) and dotted(value.function) == field.name and not value.arguments


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, LayerValue) and getattr(value.declaration, "kind", None) == "optimizer"


def _first_parameter(function: FunctionValue) -> str | None:
    return next((p.name for p in function.declaration.parameters), None)


def _shown(value: Any) -> str:
    return expressions.show(value) if constant_expr(value) is not None or isinstance(value, str) else describe(value)
