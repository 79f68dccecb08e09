"""A net with its settings becomes a `Network`: the layer graph, and the program it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Span, error, suggest
from diffgraph.ir.dimension import symbols
from diffgraph.ir.program import Commit, Output
from diffgraph.language import evaluate as expressions
from diffgraph.language import statements, syntax
from diffgraph.language.apply import settings_scope, with_settings
from diffgraph.language.arithmetic import as_pending, binary, materialize
from diffgraph.language.budget import STEPS_OF_ELABORATION
from diffgraph.language.calls import head_of
from diffgraph.language.module import Module, under_way
from diffgraph.language.network import LossTerm, Network, Port, Result
from diffgraph.language.parser import parse_expression
from diffgraph.language.paths import unknown_path
from diffgraph.language.reductions import reduce_axes
from diffgraph.language.session import Naming, Session
from diffgraph.language.statements import NetScope, declared_shape, element_type, result_name
from diffgraph.language.values import LayerValue, TensorValue


class Ports:
    """The ports, outputs, losses and metrics of the net that is elaborated."""

    def __init__(self):
        self.inputs: list[Port] = []
        self.targets: list[Port] = []
        self.outputs: list[Result] = []
        self.losses: list[LossTerm] = []
        self.metrics: list[Result] = []
        self.augment: dict[str, Any] = {}
        self._declared: dict[str, Span] = {}
        self._named: set[str] = set()

    def port(self, node: syntax.Port, scope, session: Session) -> None:
        """Declares an input or a target."""
        shape = declared_shape(node, scope, session)
        kind, bound = element_type(node, scope, session)
        tensor = session.builder.input(
            node.name, shape, node.role, kind=kind, bound=bound, path=node.name, span=node.span
        )
        ports = self.inputs if node.role == "input" else self.targets
        if (first := self._declared.setdefault(node.name, node.span)) is not node.span:
            raise error("DG515", f"`{node.name}` is declared twice", node.span, Note("it is declared first here", first),
                        help="give one of them another name")  # fmt: skip
        ports.append(Port(node.name, tensor, node.span))
        value: Any = TensorValue(tensor, node.span)
        if node.name in self.augment:
            value = self.augment[node.name](value, scope, session)
        scope.bind(node.name, value)

    def output(self, item: syntax.Named, scope, session: Session) -> None:
        """Declares a result."""
        value = expressions.evaluate(item.value, scope, session)
        name = item.name or result_name(item.value, "output")
        tensor = materialize(value, session, session.hint(name), item.span)
        if item.name is not None:
            scope.bind(item.name, tensor)
        self._new(name, item)
        self.outputs.append(Result(name, tensor.tensor.name, item.span))

    def _new(self, name: str, item: syntax.Named) -> None:
        if name in self._named:
            raise error("DG516", f"two results are called `{name}`", item.span, help="give one a name: output y = ...")
        self._named.add(name)

    def loss(self, node: syntax.Loss, scope, session: Session) -> None:
        """Declares a loss: what is not a scalar is averaged over its elements."""
        value = expressions.evaluate(node.item.value, scope, session)
        pending = as_pending(value, session, node.span)
        if pending.shape:
            pending = as_pending(reduce_axes("mean", pending, None, False, session, node.span), session, node.span)
        if pending.kind != "float":
            pending = as_pending(binary("*", 1.0, pending, session, node.span), session, node.span)
        name = node.item.name or ("loss" if not self.losses else f"loss_{len(self.losses) + 1}")
        tensor = materialize(pending, session, name, node.span)
        path = None if node.scope is None else _path_text(node.scope, scope, session)
        self.losses.append(LossTerm(name, tensor.tensor.name, path, node.span))

    def metric(self, item: syntax.Named, scope, session: Session) -> None:
        """Declares a number that is computed over a whole evaluation set."""
        before, session.phase = session.phase, "metric"
        try:
            value = expressions.evaluate(item.value, scope, session)
            pending = as_pending(value, session, item.span)
            if pending.shape:
                pending = as_pending(reduce_axes("mean", pending, None, False, session, item.span), session, item.span)
            if pending.kind != "float":
                pending = as_pending(binary("*", 1.0, pending, session, item.span), session, item.span)
            name = item.name or result_name(item.value, "metric")
            tensor = materialize(pending, session, name, item.span)
        finally:
            session.phase = before
        self._new(name, item)
        self.metrics.append(Result(name, tensor.tensor.name, item.span))


def _refuse_unknown_scopes(losses: list[LossTerm], session: Session, net: str) -> None:
    """`loss E for path`: the path names parameters."""
    paths = list(session.variables)
    found = (unknown_path(x.scope, paths, net, _scope_span(x)) for x in losses if x.scope is not None)
    if problems := [problem for problem in found if problem is not None]:
        raise DiffgraphError(*problems)


def _scope_span(loss: LossTerm) -> Span:
    """Where the path stands in `loss E for path`."""
    start = loss.span.start + loss.span.text.rindex(loss.scope)
    return Span(loss.span.source, start, start + len(loss.scope))


def _path_text(node, scope, session) -> str:
    if isinstance(node, syntax.String):
        return expressions.evaluate(node, scope, session)
    return node.span.text


# ---------------------------------------------------------------- a net by name


def net_name(module: Module) -> str:
    """The net that is meant where none is named: the only one, else that of the first train block, else the first that
    the file declares itself, else the first that it brings from another."""
    if not module.nets:
        raise error("DG207", f"{module.source.name} has no net", help="declare one: net model { ... }")
    if len(module.nets) > 1 and module.trains:
        return module.trains[0].net
    return next((name for name in module.nets if name in module.declarations), module.nets[0])


def net_value(module: Module, name: str) -> LayerValue:
    """The net of that name."""
    value = _named(module, name)
    if not isinstance(value, LayerValue) or not isinstance(value.declaration, syntax.Net):
        raise _no_net(module, name)
    return value


def refuse_unknown_net(module: Module, name: str) -> None:
    """Refuses the name of a net that the file does not have."""
    if name.split(".")[0] not in {*module.nets, *module.imported}:
        raise _no_net(module, name)


def _no_net(module: Module, name: str) -> DiffgraphError:
    names = list(module.nets)
    help = suggest(name, names) or (f"it has {', '.join(names)}" if names else "it has no net at all")
    return error("DG209", f"{module.source.name} has no net `{name}`", help=help)


def _named(module: Module, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not isinstance(value, Module) or not value.knows(part):
            raise _no_net(module, name)
        value = value.get(part)
    return value


def setting_values(settings: Mapping[str, Any], module: Module, session: Session) -> dict[str, Any]:
    """Settings given from outside: texts are read as expressions of the language."""
    values = {}
    for name, value in settings.items():
        if isinstance(value, str):
            value = expressions.evaluate(parse_expression(value, f"--set {name}"), module, session)
        values[name] = value
    return values


# ---------------------------------------------------------------- elaboration


def elaborate(
    module: Module,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    training: bool = False,
    sizes: Mapping[str, int] | None = None,
    positional: tuple = (),
    augment: Mapping[str, Any] | None = None,
    freeze: tuple[str, ...] = (),
    extend: Callable[[Session, Ports], None] | None = None,
) -> Network:
    """A net of the module as a `Network`, in one mode.

    settings: by name; texts are expressions. sizes: values for symbols other than the batch. In training mode, augment:
    changes of inputs by name; freeze: patterns of paths that are not trained; extend: adds to the program (the backward
    pass, the update). DiffgraphError with every independent problem.
    """
    arguments = (module, net, dict(settings or {}), dict(sizes or {}), positional)
    if not training:
        return _modes(*arguments).inference
    if not (augment or freeze or extend):
        return _modes(*arguments).training
    naming = Naming()
    if freeze:
        # What is frozen works as at inference, but keeps the names of training.
        _Elaboration(True, {}, naming, *arguments).run()
    elaboration = _Elaboration(True, augment or {}, naming, *arguments)
    elaboration.session.freeze = freeze
    return elaboration.run(extend)


class _Modes:
    """A net with its settings in both modes, each elaborated when it is asked for. Training mode gives the automatic
    names; inference mode finds them again."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.naming = Naming()

    @property
    def training(self) -> Network:
        if isinstance(self._trained, DiffgraphError):
            raise DiffgraphError(*self._trained.diagnostics)
        return self._trained[0]

    @cached_property
    def _trained(self) -> tuple[Network, bool] | DiffgraphError:
        """The net in training mode, and whether it asked for the mode; or what is wrong with it."""
        elaboration = _Elaboration(True, {}, self.naming, *self.arguments)
        try:
            return elaboration.run(), elaboration.session.mode_matters
        except DiffgraphError as problem:
            return problem

    @cached_property
    def inference(self) -> Network:
        trained = self.training
        if not self._trained[1]:
            return replace(trained, training=False)
        inferring = _Elaboration(False, {}, self.naming, *self.arguments).run()
        _refuse_conditional(trained, inferring, "training")
        _refuse_conditional(inferring, trained, "inference")
        return inferring


#: How many nets with their settings a module remembers.
MOST_REMEMBERED = 8


def _modes(module: Module, net: str | None, settings: dict, sizes: dict, positional: tuple) -> _Modes:
    """What the module remembers of a net with settings that are plain values."""
    if not all(map(_is_plain, (*settings.values(), *positional))):
        return _Modes(module, net, settings, sizes, positional)
    key = (net, repr((settings, sizes, positional)))
    if key not in module.elaborated:
        while len(module.elaborated) >= MOST_REMEMBERED:
            del module.elaborated[next(iter(module.elaborated))]
        module.elaborated[key] = _Modes(module, net, settings, sizes, positional)
    return module.elaborated[key]


def _is_plain(value: Any) -> bool:
    """Whether a value is all that its `repr` says."""
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return type(value) in (int, float, bool, str)


def _refuse_conditional(network: Network, other: Network, mode: str) -> None:
    """Refuses parameters and states that are made in one mode only, or with another shape."""
    there = {v.path: v.tensor.shape for v in (*other.parameters, *other.states)}
    instances = {i.path: i.span for i in network.instances}
    for instance in other.instances:
        instances.pop(instance.path, None)
    places: dict[str, Span | None] = {}
    for variable in (*network.parameters, *network.states):
        if there.get(variable.path) != variable.tensor.shape:
            path = next((p for p in _ancestors(variable.path) if p in instances), variable.path)
            places[path] = instances.get(path, variable.span)
    text = f"is made in {mode} mode only; both modes must have the same parameters"
    help = "make it in both, outside what depends on `training`"
    if places:
        raise DiffgraphError(*(Diagnostic("DG518", f"`{p}` {text}", span, (), help) for p, span in places.items()))


def _ancestors(path: str) -> list[str]:
    """The paths of the layers around something, outermost first."""
    parts = path.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _distinct(problems) -> list[Diagnostic]:
    """Each problem once: a layer that is wrong is wrong wherever it is applied, and may be known to be beforehand."""
    found: dict[tuple, Diagnostic] = {}
    for problem in problems:
        found.setdefault((problem.code, problem.span or problem.message), problem)
    return list(found.values())


class _Elaboration:
    """One pass over a net."""

    def __init__(self, training, augment, naming, module, net, settings, sizes, positional):
        self.session = Session(training, sizes, naming, module.folder)
        self.module = module
        self.net = net
        self.settings = settings
        self.positional = positional
        self.ports = Ports()
        self.ports.augment = dict(augment)

    def run(self, extend: Callable[[Session, Ports], None] | None = None) -> Network:
        """The network; `extend` may add to its program before it is closed."""
        self.session.steps = STEPS_OF_ELABORATION
        try:
            with under_way(self.session) as session:
                self.net = self.net or net_name(self.module)
                value = net_value(self.module, self.net)
                span = value.declaration.span
                given = setting_values(self.settings, self.module, session)
                value = with_settings(value, list(self.positional), given, span)
                scope = settings_scope(value, session, span)
                settings = dict(scope.values)
                body = NetScope(scope.parent, self.ports)
                body.values.update(settings)
                session.expect_steps(span, session.scale.weight(value.declaration, value.scope))
                statements.run_block(value.declaration.body, body, session)
                if extend is not None:
                    extend(session, self.ports)
                network = self._network(value, settings, span)
        except DiffgraphError as problem:
            raise DiffgraphError(*_distinct((*problem.diagnostics, *self.module.problems))) from None
        finally:
            self.module.steps += self.session.steps
        if self.module.problems:
            raise DiffgraphError(*self.module.problems)
        return network

    def _network(self, value: LayerValue, settings: dict, span: Span) -> Network:
        session, ports = self.session, self.ports
        builder = session.builder
        if not ports.outputs and not ports.losses:
            help = "add what it computes: `output y`, or `loss ...`"
            raise error("DG517", f"the net `{value.name}` gives nothing", head_of(value.declaration), help=help)
        _refuse_unknown_scopes(ports.losses, session, value.name)
        named = [*ports.outputs, *ports.losses, *ports.metrics]
        builder.outputs += [Output(r.name, r.tensor) for r in named]
        builder.commits += [Commit(session.variables[path].tensor.name, name) for path, name in session.updates.items()]
        batch = self._batch()
        variables = session.variables.values()
        roles = {i.path: i.role for i in builder.inputs}
        return Network(
            self.net,
            session.training,
            {k: v for k, v in settings.items() if not k.startswith("&")},
            builder.program(),
            session.initial.program(),
            tuple(session.instances),
            tuple(v for v in variables if roles[v.path] == "parameter"),
            tuple(v for v in variables if roles[v.path] == "state"),
            tuple(ports.inputs),
            tuple(ports.targets),
            tuple(ports.outputs),
            tuple(ports.losses),
            tuple(ports.metrics),
            batch,
            tuple(session.requirements),
            self._symbols(),
        )

    def _batch(self) -> str | None:
        """The first axis of the first input (else target) if that is a symbol."""
        for port in (*self.ports.inputs[:1], *self.ports.targets[:1])[:1]:
            if port.tensor.shape:
                first = port.tensor.shape[0]
                found = symbols(first)
                if len(found) == 1 and str(first) in found:
                    return str(first)
        return None

    def _symbols(self) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for port in (*self.ports.inputs, *self.ports.targets):
            for size in port.tensor.shape:
                found.update(dict.fromkeys(sorted(symbols(size))))
        return tuple(found)
