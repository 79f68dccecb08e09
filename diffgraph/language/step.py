"""A training step as one program: forward, backward, update.

Nothing here knows an optimizer: one is text, elaborated for each parameter with its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from diffgraph.autodiff.differentiate import gradients
from diffgraph.diagnostics import DiffgraphError, Span, error, suggest
from diffgraph.ir.program import Output, Program
from diffgraph.ir.replay import replay
from diffgraph.language import evaluate as expressions
from diffgraph.language import statements, syntax
from diffgraph.language.alike import apply_alike
from diffgraph.language.apply import call_function, settings_scope
from diffgraph.language.arithmetic import apply_scalar, describe, materialize, show_shape
from diffgraph.language.blocks import OptimizerCall, TrainPlan
from diffgraph.language.elaborate import Ports, elaborate
from diffgraph.language.network import Network, Variable
from diffgraph.language.paths import matches, unknown_path
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Frame, Session
from diffgraph.language.values import FunctionValue, LayerValue, TensorValue


def training_network(plan: TrainPlan, settings: dict | None = None, sizes: dict | None = None) -> Network:
    """The net of a plan in training mode; its program is a whole step.

    Outputs: the losses. Commits: parameters, states of layers, states of optimizers (`conv1.weight.m`), averages
    (`conv1.weight.average`). The initial program covers all of them.
    """
    network = _elaborated(plan, settings, sizes, lambda step: step.build())
    losses = tuple(Output(loss.name, loss.tensor) for loss in network.losses)
    return replace(network, program=network.program.with_(outputs=losses))


def training_program(module, plan: TrainPlan) -> tuple[Network, Program]:
    """(network, program) of a training step."""
    network = training_network(plan)
    return network, network.program


def loss_network(plan: TrainPlan, settings: dict | None = None, sizes: dict | None = None) -> Network:
    """The net in training mode; its program gives the losses and their sum's gradients by path (`gradient of
    conv1.weight`): what an optimizer outside the program needs."""

    def extend(step: _Step) -> None:
        for path, gradient in step.gradients_of_the_sum().items():
            step.session.builder.outputs.append(Output(f"gradient of {path}", gradient.tensor.name))

    network = _elaborated(plan, settings, sizes, extend)
    kept = {loss.name for loss in network.losses}
    outputs = tuple(o for o in network.program.outputs if o.name in kept or o.name.startswith("gradient of "))
    return replace(network, program=network.program.with_(outputs=outputs))


def _elaborated(plan: TrainPlan, settings, sizes, extend: Callable[[_Step], None]) -> Network:
    given = {**dict(plan.settings), **(settings or {})}
    augment = _augmentations(plan)

    def add(session: Session, ports: Ports) -> None:
        for name, change in augment.items():
            known = [p.name for p in (*ports.inputs, *ports.targets)]
            if name not in known:
                help = suggest(name, known) or f"it has {', '.join(known)}"
                raise error("DG617", f"the net has no input `{name}` to augment", change.span, help=help)
        extend(_Step(plan, session, ports))

    return elaborate(plan.module, plan.net, given, True, sizes, plan.positional, augment, plan.freeze, add)


# ---------------------------------------------------------------- augmentation


class _Augmentation:
    """What is done to an input of a net while it is trained: pipes, one after the other."""

    def __init__(self, plan: TrainPlan, pipes: Sequence[syntax.Pipe]):
        self.plan = plan
        self.pipes = pipes

    @property
    def span(self) -> Span:
        return self.pipes[0].span

    def __call__(self, value: TensorValue, scope: Scope, session: Session) -> TensorValue:
        """The augmented input, of the shape of the input."""
        for pipe in self.pipes:
            value = self._through(pipe, value, session)
        return value

    def _through(self, pipe: syntax.Pipe, value: TensorValue, session: Session) -> TensorValue:
        name = pipe.stages[0].value.name
        made = set(session.variables)
        # A frame of its own: the instances of the net are numbered as if there were no augmentation.
        with session.inside(Frame("augment", "augment", pipe.span, *session.augmented)):
            result = expressions.evaluate(pipe, Scope(self.plan.module, **{name: value}), session)
            result = materialize(result, session, "augmented", pipe.span)
        if session.variables.keys() - made:
            raise error("DG618", "what augments an input has no parameters or states of its own", pipe.span)

        def problem():
            shapes = f"{show_shape(value.shape)} into {show_shape(result.shape)}"
            return error("DG618", f"augmenting `{name}` changes its shape, {shapes}", pipe.span)

        if len(result.shape) != len(value.shape):
            raise problem()
        for own, other in zip(result.shape, value.shape):
            session.require_equal(own, other, problem, pipe.span)
        return result


def _augmentations(plan: TrainPlan) -> dict[str, _Augmentation]:
    """For each input that is augmented, what is done to it."""
    pipes: dict[str, list[syntax.Pipe]] = {}
    for node in plan.augment:
        pipes.setdefault(node.stages[0].value.name, []).append(node)
    return {name: _Augmentation(plan, own) for name, own in pipes.items()}


# ---------------------------------------------------------------- backward and update


class _Step:
    """Backward pass and update, added to the program of a net in training mode."""

    def __init__(self, plan: TrainPlan, session: Session, ports: Ports):
        self.plan, self.session = plan, session
        self.losses = ports.losses
        self.applied: set[str] = set()
        self.variables = list(session.variables.values())
        self.trained = [v for v in self.variables if v.trained]
        if not self.losses:
            help = "add one to the net, such as `loss mse(y, target)`"
            raise error("DG611", f"the net `{plan.net}` has no loss to train on", plan.span, help=help)
        self._check_patterns()

    def build(self) -> None:
        """Adds everything: for each loss in order, its gradients and the update of the parameters that it reaches. A
        later loss is computed with what the earlier ones have made of the parameters."""
        self.session.phase = "update"
        rules = [(self._settled(call), call) for call in self.plan.optimizers]
        if not rules:
            text = f"the train block `{self.plan.name}` has no optimizer"
            raise error("DG610", text, self.plan.span, help="add: optimizer adam")
        for k in range(len(self.losses)):
            for path, gradient in self._gradients_of(k).items():
                self._update(rules, path, gradient)
            if k + 1 < len(self.losses):
                self._hold()
        if self.plan.average is not None:
            self._average()

    def _check_patterns(self) -> None:
        """A path that names nothing is a misspelt one."""
        paths = [v.path for v in self.variables]
        patterns = [*self.plan.freeze, *(p for call in self.plan.optimizers for p in call.patterns or ())]
        found = (unknown_path(p, paths, self.plan.net, self.plan.places.get(p)) for p in patterns)
        if problems := [problem for problem in found if problem is not None]:
            raise DiffgraphError(*problems)

    # ------------------------------------------------------------ gradients

    def gradients_of_the_sum(self) -> dict[str, TensorValue]:
        """The gradient of the sum of the losses that reach it, for each trained parameter by path."""
        groups: dict[tuple[int, ...], list[Variable]] = {}
        for variable in self.trained:
            own = tuple(k for k in range(len(self.losses)) if self._reaches(k, variable))
            groups.setdefault(own, []).append(variable)
        found: dict[str, TensorValue] = {}
        for own, variables in groups.items():
            found |= self._derived([self.losses[k].tensor for k in own], variables)
        return self._transformed({v.path: found[v.path] for v in self.trained if v.path in found})

    def _gradients_of(self, k: int) -> dict[str, TensorValue]:
        """The gradient of one loss at the present values, for each parameter that it reaches."""
        session = self.session
        changed = {
            v.tensor.name: session.by_path[v.path].tensor.name
            for v in self.trained
            if session.by_path[v.path].tensor is not v.tensor
        }
        tensor = replay(session.builder, self.losses[k].tensor, changed)
        return self._transformed(self._derived([tensor], [v for v in self.trained if self._reaches(k, v)]))

    def _reaches(self, k: int, variable: Variable) -> bool:
        scope = self.losses[k].scope
        return scope is None or matches(scope, variable.path)

    def _derived(self, losses: list[str], variables: list[Variable]) -> dict[str, TensorValue]:
        builder = self.session.builder
        present = {v.path: self.session.by_path[v.path].tensor.name for v in variables}
        if not losses or not variables:
            return {}
        made = gradients(builder, [(loss, None) for loss in losses], list(present.values()))
        names = {path: made[name] for path, name in present.items()}
        return {p: TensorValue(builder.tensors[name]) for p, name in names.items() if name is not None}

    def _transformed(self, found: dict[str, TensorValue]) -> dict[str, TensorValue]:
        """The gradients after the functions of (gradients, setting) that the plan names."""
        module, session = self.plan.module, self.session
        session.phase = "update"
        for name, node in self.plan.transforms:
            function = expressions.lookup(name, module, session, node.span)
            assert isinstance(function, FunctionValue)
            given, named = [], {}
            if isinstance(node, syntax.CallOf) and isinstance(node.function, syntax.Name) and node.function.name == name:
                given, named = expressions.arguments_of(node.arguments, module, session)
            else:
                given = [expressions.evaluate(node, module, session)]
            changed = call_function(function, [list(found.values()), *given], named, session, node.span)
            if not isinstance(changed, (list, tuple)) or len(changed) != len(found):
                text = f"`{name}` gives {describe(changed)}, not a list of {len(found)} gradients"
                raise error("DG612", text, node.span)
            values = [materialize(v, session, f"{p}_{name}", node.span) for p, v in zip(found, changed)]
            found = dict(zip(found, values))
        return found

    # ------------------------------------------------------------ update

    def _settled(self, call: OptimizerCall) -> LayerValue:
        """An optimizer whose settings (a schedule is a formula of the step) have been computed once for all
        parameters."""
        value = expressions.evaluate(call.node, self.plan.module, self.session)
        settings = tuple((k, statements.settle(v, self.session, k, call.node.span)) for k, v in value.settings)
        return replace(value, settings=settings)

    def _update(self, rules: list[tuple[LayerValue, OptimizerCall]], path: str, gradient: TensorValue) -> None:
        session = self.session
        optimizer, call = self._chosen(rules, path)
        before = session.by_path[path]
        self._apply(optimizer, path, [(before, path), (gradient, None)], call.node.span)
        if session.by_path[path] is before:
            weight = optimizer.declaration.tensors[0].name
            text = f"the optimizer `{optimizer.name}` does not change its weight"
            raise error("DG619", text, optimizer.declaration.span, help=f"end it with `{weight} <- ...`")

    def _chosen(self, rules: list[tuple[LayerValue, OptimizerCall]], path: str) -> tuple[LayerValue, OptimizerCall]:
        """The optimizer of a parameter: the last one that names it, else the one for the rest."""
        for value, call in reversed(rules):
            if call.patterns is not None and any(matches(p, path) for p in call.patterns):
                return value, call
        rest = next(((value, call) for value, call in rules if call.patterns is None), None)
        if rest is None:
            text = f"no optimizer is for `{path}`"
            raise error("DG616", text, rules[-1][1].node.span, help="add one without `for`, or freeze it")
        return rest

    def _apply(
        self, optimizer: LayerValue, path: str, tensors: list[tuple[TensorValue, str | None]], span: Span
    ) -> None:
        """Runs the body of an optimizer with its tensors; those with a path may be updated."""
        session = self.session
        declaration = optimizer.declaration

        def evaluate() -> TensorValue:
            scope = settings_scope(optimizer, session, span)
            if len(declaration.tensors) != len(tensors):
                raise error("DG613", f"`{optimizer.name}` takes {len(declaration.tensors)} tensors", declaration.span)
            for parameter, (value, own) in zip(declaration.tensors, tensors):
                scope.bind(parameter.name, value)
                if own is not None:
                    scope.bind(f"&{parameter.name}", own)
            statements.run_block(declaration.body, scope, session)
            return session.by_path[path]

        frame = Frame(path, optimizer.name, span, reuse=path in self.applied)
        self.applied.add(path)
        with session.inside(frame):
            apply_alike(session, optimizer, [value for value, _ in tensors], path, span, evaluate)

    def _hold(self) -> None:
        """Makes the new values plain numbers for the losses that follow: a step is not differentiated through."""
        session = self.session
        for variable in self.trained:
            value = session.by_path[variable.path]
            if value.tensor is not variable.tensor:
                held = apply_scalar("stop_gradient", (value,), session, variable.span)
                session.by_path[variable.path] = materialize(held, session, f"{variable.path}_held", variable.span)

    def _average(self) -> None:
        """Keeps an average of each parameter as a state, which starts at the parameter's initial value."""
        session = self.session
        node = self.plan.average
        rule = expressions.evaluate(node, self.plan.module, session)
        initial = {o.name: o.tensor for o in session.initial.outputs}
        for variable in self.trained:
            path = f"{variable.path}.average"
            tensor = session.builder.input(path, variable.tensor.shape, "state", path=path, span=node.span)
            session.variables[path] = Variable(path, tensor, False, node.span)
            session.by_path[path] = TensorValue(tensor, node.span)
            session.initial.outputs.append(Output(path, initial[variable.path]))
            tensors = [(session.by_path[path], path), (session.by_path[variable.path], None)]
            self._apply(rule, path, tensors, node.span)
