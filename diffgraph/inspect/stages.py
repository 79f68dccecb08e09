"""Every stage of the compiler as text, as plain values or as a picture: what became of a network."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any

from diffgraph.autodiff.differentiate import gradients
from diffgraph.diagnostics import error, suggest
from diffgraph.inspect import summary
from diffgraph.inspect.drawing import FORMS, draw, drawn
from diffgraph.inspect.flow import FlowFacts, kernels_box, layers_of, program_box
from diffgraph.inspect.kernels import kernels_json, kernels_text
from diffgraph.inspect.memory import memory_json, memory_text
from diffgraph.inspect.page import text_page
from diffgraph.ir.program import Builder, Input, Output, Program
from diffgraph.ir.text import show
from diffgraph.kernels.loops import Kernel
from diffgraph.language.network import Network
from diffgraph.passes.dce import dce
from diffgraph.passes.pipeline import optimize, stages
from diffgraph.passes.report import Report
from diffgraph.passes.select import select
from diffgraph.runtime.executable import Executable, build

#: What `show --stage` knows, in the order of the compiler.
STAGES = ("layers", "forward", "gradient", "optimized", "kernels", "source", "memory")


def shown(net, stage: str = "layers", layer: str | None = None, form: str = "text", depth: int = 1, diff: bool = False) -> str:
    """A stage of a net (a `compiler.Net`). layer: keeps what belongs to a layer and those inside it. form: text, json, or
    one of `FORMS`, boxes open down to `depth`. diff: what was changed on the way to the stage: by the last pass, or by
    differentiation (`gradient`)."""
    if stage not in STAGES:
        raise error("DG920", f"there is no stage `{stage}`", help=suggest(stage, STAGES) or ", ".join(STAGES))
    if form not in ("text", "json", *FORMS):
        raise error("DG925", f"nothing is shown as `{form}`", help=f"the formats are text, json, {', '.join(FORMS)}")
    found = _Stage(net, stage, layer)
    if diff:
        text = found.changes()
        plain: dict[str, Any] = {"net": found.network.name, "stage": stage, "diff": text}
    elif stage == "layers" and form in FORMS:
        return draw(found.network, form, layer, depth, net.precision)
    elif form in FORMS and (box := found.flow()) is not None:
        return drawn(box[0], form, ("",), box[1])
    else:
        text, plain = found.text_and_json()
    if form in ("svg", "dot"):
        what = "a diff" if diff else f"the stage `{stage}`"
        raise error("DG923", f"{what} has no picture", help="use --format text, json or html")
    if form == "html":
        return text_page(f"{found.network.name}: {stage}", text)
    return text if form == "text" else json.dumps(plain, indent=2)


class _Stage:
    """One stage of a net, made as far as it is asked for."""

    def __init__(self, net, stage: str, layer: str | None):
        self.net = net
        self.stage = stage
        self.layer = layer
        self.network: Network = net.network(True)
        _check_layer(self.network, layer)

    def text_and_json(self) -> tuple[str, dict]:
        """The stage as text and as plain values."""
        net, network = self.net, self.network
        if self.stage == "layers":
            inference = net.network()
            return summary.text(inference, net.precision, self.layer), layers_json(inference, net.precision, self.layer)
        plain: dict[str, Any] = {"net": network.name, "stage": self.stage}
        if self.stage in ("kernels", "source", "memory"):
            text, more = self._lowered()
            return text, {**plain, **more, "text": text}
        program = _only(self.program(), self.layer)
        name = network.name if self.stage == "forward" else f"{network.name}_{self.stage}"
        definitions = [
            {"name": t.name, "shape": [s if isinstance(s, int) else str(s) for s in t.shape], "type": t.kind,
             "layers": layers_of(s.provenance), "phases": list(dict.fromkeys(o.phase for o in s.provenance))}
            for s in program.statements for t in s.results
        ]  # fmt: skip
        text = show(program, name)
        return text, {**plain, "definitions": definitions, "text": text}

    def program(self) -> Program:
        """The program of the stage: forward, gradient, else the optimized one."""
        net, network = self.net, self.network
        if self.stage == "forward":
            return network.program
        program = self._differentiated()
        return program if self.stage == "gradient" else optimize(program, target=self._target, fast=net.fast)

    def flow(self):
        """(boxes, what is known of them) of the stage, where it is a flow."""
        name = f"{self.network.name}: {self.stage}"
        if self.stage in ("forward", "gradient", "optimized"):
            program = _only(self.program(), self.layer)
            box = program_box(program, name)
            return box, lambda: FlowFacts(box, program)
        if self.stage == "kernels":
            kernels = [k for k in self._executable().kernels if self._is_shown(k)]
            box = kernels_box(kernels, name)
            return box, lambda: FlowFacts(box, None, kernels)
        return None

    def changes(self) -> str:
        """A unified diff of the program's text: what the last step before the stage changed."""
        if self.stage == "forward":
            return "nothing was changed before this stage: it is the first"
        if self.stage == "gradient":
            pair = (("forward", self.network.program), ("gradient", self._differentiated()))
        else:
            steps = stages(self._differentiated(), target=self._target, fast=self.net.fast)
            changed = [(a, b) for a, b in zip(steps, steps[1:]) if a.program != b.program]
            if not changed:
                return "no pass changed anything"
            pair = tuple((step.name, step.program) for step in changed[-1])
        lines = [show(_only(program, self.layer), self.network.name).splitlines() for _, program in pair]
        found = list(unified_diff(*lines, fromfile=pair[0][0], tofile=pair[1][0], lineterm=""))
        return "\n".join(found) or f"`{pair[1][0]}` changed nothing of {self.layer or 'the program'}"

    @property
    def _target(self) -> str:
        """Whose passes are shown; the interpreter runs what they get."""
        return "cpu" if self.net.target == "reference" else self.net.target

    def _differentiated(self) -> Program:
        """The program that trains; without a loss there is nothing to differentiate, and the outputs are compiled."""
        network = self.network
        if network.losses or self.stage == "gradient":
            return gradient_program(network)
        return select(network.program, [o.name for o in network.outputs])

    def _executable(self, target: str | None = None, interleaved: bool = True) -> Executable:
        """What runs the program, to be looked at only."""
        target = target or self._target
        precision = self.net.precision
        if target == "cpu" and precision not in ("f32", "f64"):
            if self.net.target == "cpu":
                build(self._differentiated(), target, precision, runnable=False)
            precision = "f32"
        program = optimize(self._differentiated(), target=target, interleaved=interleaved, fast=self.net.fast)
        return build(program, target=target, precision=precision, runnable=False)

    def _is_shown(self, kernel: Kernel) -> bool:
        return self.layer is None or any(_within(o.path, self.layer) for o in kernel.provenance)

    def _lowered(self) -> tuple[str, dict]:
        if self.stage == "kernels":
            each = [self._executable(target) for target in ("cpu", "cuda")]
            kernels = [[k for k in e.kernels if self._is_shown(k)] for e in each]
            statements = [statement for e in each for statement in e.program.statements]
            return kernels_text(statements, *kernels), {"kernels": kernels_json(*kernels)}
        if self.stage == "source":
            if self.net.target == "reference":
                raise error("DG924", "the interpreter runs programs as they are: it has no source", help="--target cpu")
            return self._executable().listing(self._is_shown), {"target": self.net.target}
        # What a sample takes is told of programs for one.
        executable = self._executable(interleaved=False)

        def of(path: str) -> bool:
            return self.layer is None or _within(path, self.layer)

        return memory_text(self.network, executable, of), memory_json(self.network, executable, of)


def gradient_program(network: Network) -> Program:
    """The program of the losses and their derivatives by every trained parameter, without metrics and outputs."""
    builder = Builder(network.program)
    of = [(loss.tensor, None) for loss in network.losses]
    if not of:
        raise error("DG922", f"`{network.name}` has no loss, so it has no gradient", help="add a loss to the net")
    wrt = [v.tensor.name for v in network.parameters if v.trained]
    if not wrt:
        wrt = [p.tensor.name for p in network.inputs if p.tensor.kind == "float"]
    found = gradients(builder, of, wrt)
    losses = [Output(loss.name, loss.tensor) for loss in network.losses]
    paths = {i.tensor.name: i.path for i in builder.inputs}
    derivatives = [Output(f"gradient of {paths[name]}", made) for name, made in found.items() if made is not None]
    builder.outputs = losses + derivatives
    return dce(builder.program(), Report())


def _only(program: Program, layer: str | None) -> Program:
    """The statements that come from a layer or from inside it; what they read from elsewhere becomes an input."""
    if layer is None:
        return program
    kept = [s for s in program.statements if any(_within(o.path, layer) for o in s.provenance)]
    made = {t.name for s in kept for t in s.results}
    read = dict.fromkeys(name for s in kept for name in s.operands if name not in made)
    known = {i.tensor.name: i for i in program.inputs}
    inputs = tuple(known.get(name) or Input(program.tensors[name], "input", name) for name in read)
    later = {n for s in program.statements if s not in kept for n in s.operands} | set(program.roots)
    ends = [t.name for s in kept for t in s.results if t.name in later]
    return Program(inputs, tuple(kept), tuple(Output(n, n) for n in ends))


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + ".")


def layers_json(network: Network, precision: str = "f32", layer: str | None = None) -> dict:
    """The summary as plain values; `layer` keeps what is inside it."""
    _check_layer(network, layer)
    totals = summary.totals(network, precision, layer or "")
    plain = {k: v if isinstance(v, int) else str(v) for k, v in totals.items()}
    rows = [r for r in summary.rows(network, precision) if layer is None or _within(r.path, layer)]
    kernels = summary.kernel_counts(network, precision, layer or "")
    layers = [r.as_json() | {"kernels": kernels[r.path]} for r in rows]
    return {"net": network.name, "layers": layers, "total": plain | {"kernels": kernels[""]}}


def _check_layer(network: Network, layer: str | None) -> None:
    """Whether instances are under a path: `layer1.0`, and `layer1` too."""
    known = [i.path for i in network.instances]
    if layer is not None and not any(_within(path, layer) for path in known):
        raise error("DG921", f"`{network.name}` has no layer `{layer}`", help=suggest(layer, known))
