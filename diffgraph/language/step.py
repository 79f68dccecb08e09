"""A training step as one program: forward, backward, update.

Nothing here knows an optimizer: one is text, elaborated for each parameter with its gradient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffgraph.autodiff.differentiate import gradients
from diffgraph.diagnostics import error
from diffgraph.ir.program import Output, Program
from diffgraph.language import evaluate as expressions
from diffgraph.language import statements, syntax
from diffgraph.language.apply import apply_stage, call_function, settings_scope
from diffgraph.language.arithmetic import describe, materialize
from diffgraph.language.blocks import OptimizerCall, TrainPlan
from diffgraph.language.elaborate import Ports, elaborate
from diffgraph.language.network import Network, Variable
from diffgraph.language.paths import matches
from diffgraph.language.session import Frame, Session
from diffgraph.language.values import FunctionValue, LayerValue, TensorValue


def training_network(plan: TrainPlan, settings: dict | None = None, sizes: dict | None = None) -> Network:
    """The net of a plan in training mode; its program is a whole step.

    Outputs: the losses. Commits: parameters, states of layers, states of optimizers (`conv1.weight.m`), averages
    (`conv1.weight.average`). The initial program covers all of them.
    """
    given = {**dict(plan.settings), **(settings or {})}

    def extend(session: Session, ports: Ports) -> None:
        _Step(plan, session, ports).build()

    network = elaborate(
        plan.module, plan.net, given, True, sizes, plan.positional, _augmentations(plan), plan.freeze, extend
    )
    losses = tuple(Output(loss.name, loss.tensor) for loss in network.losses)
    return replace(network, program=network.program.with_(outputs=losses))


def training_program(module, plan: TrainPlan) -> tuple[Network, Program]:
    """(network, program) of a training step."""
    network = training_network(plan)
    return network, network.program


def loss_network(plan: TrainPlan, settings: dict | None = None, sizes: dict | None = None) -> Network:
    """The net in training mode; its program gives the losses and their sum's gradients by path (`gradient of conv1.weight`):
    what an optimizer outside the program needs."""
    given = {**dict(plan.settings), **(settings or {})}

    def extend(session: Session, ports: Ports) -> None:
        step = _Step(plan, session, ports)
        for variable, gradient in step.gradients().items():
            session.builder.outputs.append(Output(f"gradient of {variable}", gradient.tensor.name))

    network = elaborate(
        plan.module, plan.net, given, True, sizes, plan.positional, _augmentations(plan), plan.freeze, extend
    )
    kept = {loss.name for loss in network.losses}
    outputs = tuple(o for o in network.program.outputs if o.name in kept or o.name.startswith("gradient of "))
    return replace(network, program=network.program.with_(outputs=outputs))


def _augmentations(plan: TrainPlan) -> dict[str, Any]:
    """For each input that is augmented, what is done to it."""
    found: dict[str, Any] = {}
    for node in plan.augment:
        if not isinstance(node, syntax.Pipe) or not isinstance(node.stages[0].value, syntax.Name):
            raise error("DG609", "`augment` is a pipe from an input", node.span, help="augment image -> random_flip")
        found[node.stages[0].value.name] = _pipeline(node, plan)
    return found


def _pipeline(node: syntax.Pipe, plan: TrainPlan):
    def change(value: TensorValue, scope, session: Session) -> TensorValue:
        result: Any = value
        for stage in node.stages[1:]:
            result = apply_stage(result, stage.value, stage.name, stage, plan.module, session)
        return materialize(result, session, "augmented", node.span)

    return change


class _Step:
    """Backward pass and update, added to the program of a net in training mode."""

    def __init__(self, plan: TrainPlan, session: Session, ports: Ports):
        self.plan, self.session, self.ports = plan, session, ports
        self.trained = [v for v in session.variables.values() if v.trained]

    def build(self) -> None:
        """Adds everything."""
        found = self.gradients()
        self.session.phase = "update"
        optimizers = [(self._settled(call), call.patterns) for call in self.plan.optimizers]
        if not optimizers:
            raise error("DG610", f"the train block `{self.plan.name}` has no optimizer", help="add: optimizer adam")
        for variable in self.trained:
            if variable.path not in found:
                continue
            optimizer = _chosen(optimizers, variable.path)
            if optimizer is not None:
                self._update(optimizer, variable, found[variable.path])
        if self.plan.average is not None:
            self._average()

    # ------------------------------------------------------------ backward

    def gradients(self) -> dict[str, TensorValue]:
        """The gradient of each trained parameter by path, transformed as the plan says."""
        losses = self.ports.losses
        if not losses:
            raise error("DG611", f"the net `{self.plan.net}` has no loss to train on", help="add: loss ...")
        groups: dict[tuple, list[Variable]] = {}
        for variable in self.trained:
            own = tuple(k for k, loss in enumerate(losses) if loss.scope is None or matches(loss.scope, variable.path))
            groups.setdefault(own, []).append(variable)
        builder = self.session.builder
        found: dict[str, TensorValue] = {}
        for own, variables in groups.items():
            if not own:
                continue
            names = [v.tensor.name for v in variables]
            made = gradients(builder, [(losses[k].tensor, None) for k in own], names)
            for v in variables:
                name = made[v.tensor.name]
                if name is not None:
                    found[v.path] = TensorValue(builder.tensors[name], v.span)
        ordered = {v.path: found[v.path] for v in self.trained if v.path in found}
        for name, node in self.plan.transforms:
            ordered = self._transformed(name, node, ordered)
        return ordered

    def _transformed(self, name: str, node, found: dict[str, TensorValue]) -> dict[str, TensorValue]:
        """The gradients after a function of (gradients, setting)."""
        module, session = self.plan.module, self.session
        self.session.phase = "update"
        function = expressions.lookup(name, module, session, node.span)
        setting = expressions.evaluate(node, module, session)
        assert isinstance(function, FunctionValue)
        changed = call_function(function, [list(found.values()), setting], {}, session, node.span)
        if not isinstance(changed, (list, tuple)) or len(changed) != len(found):
            raise error("DG612", f"`{name}` gives {describe(changed)}, not a list of {len(found)} gradients", node.span)
        return {
            path: materialize(value, session, f"{path}_{name}", node.span) for path, value in zip(found, changed)
        }

    # ------------------------------------------------------------ update

    def _settled(self, call: OptimizerCall) -> LayerValue:
        """An optimizer whose settings (a schedule is a formula of the step) have been computed once for all parameters."""
        value = expressions.evaluate(call.node, self.plan.module, self.session)
        settings = tuple((k, statements.settle(v, self.session, k, call.node.span)) for k, v in value.settings)
        return replace(value, settings=settings)

    def _update(self, optimizer: LayerValue, variable: Variable, gradient: TensorValue) -> None:
        session = self.session
        weight = session.by_path[variable.path]
        self._apply(optimizer, variable.path, [(weight, variable.path), (gradient, None)])

    def _apply(self, optimizer: LayerValue, path: str, tensors: list[tuple[TensorValue, str | None]]) -> None:
        """Runs the body of an optimizer with its tensors; those with a path may be updated."""
        session = self.session
        declaration = optimizer.declaration
        with session.inside(Frame(path, optimizer.name, declaration.span)):
            scope = settings_scope(optimizer, session, declaration.span)
            if len(declaration.tensors) != len(tensors):
                raise error("DG613", f"`{optimizer.name}` takes {len(declaration.tensors)} tensors", declaration.span)
            for parameter, (value, own) in zip(declaration.tensors, tensors):
                scope.bind(parameter.name, value)
                if own is not None:
                    scope.bind(f"&{parameter.name}", own)
            statements.run_block(declaration.body, scope, session)

    def _average(self) -> None:
        """Keeps an average of each parameter as a state, which starts at the parameter's initial value."""
        session = self.session
        node = self.plan.average
        rule = expressions.evaluate(node, self.plan.module, session)
        if not isinstance(rule, LayerValue):
            raise error("DG614", f"{describe(rule)} is not an average", node.span, help="average ema(0.999)")
        initial = {o.name: o.tensor for o in session.initial.outputs}
        for variable in self.trained:
            path = f"{variable.path}.average"
            tensor = session.builder.input(path, variable.tensor.shape, "state", path=path, span=node.span)
            session.variables[path] = Variable(path, tensor, False, node.span)
            session.by_path[path] = TensorValue(tensor, node.span)
            session.initial.outputs.append(Output(path, initial[variable.path]))
            self._apply(rule, path, [(session.by_path[path], path), (session.by_path[variable.path], None)])


def _chosen(optimizers, path: str) -> LayerValue | None:
    """The optimizer of a parameter: the last one that names it, else the one for the rest."""
    rest = None
    named = None
    for value, patterns in optimizers:
        if patterns is None:
            rest = rest or value
        elif any(matches(p, path) for p in patterns):
            named = value
    return named or rest

