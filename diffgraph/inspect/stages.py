"""Every stage of the compiler as text: what a person reads to see what became of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffgraph.autodiff.differentiate import gradients
from diffgraph.diagnostics import error, suggest
from diffgraph.inspect import summary
from diffgraph.inspect.kernels import kernels_text
from diffgraph.inspect.memory import memory_text
from diffgraph.ir.program import Builder, Input, Output, Program
from diffgraph.ir.text import show
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import Module
from diffgraph.language.network import Network
from diffgraph.passes.dce import dce
from diffgraph.passes.pipeline import optimize, stages
from diffgraph.passes.report import Report
from diffgraph.passes.select import select

#: What `show --stage` knows, in the order of the compiler.
STAGES = ("layers", "forward", "gradient", "optimized", "kernels", "source", "memory")


def stage_text(
    module: Module,
    stage: str,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    layer: str | None = None,
    target: str = "cpu",
    precision: str = "f32",
    positional: tuple = (),
    fast: bool = False,
) -> str:
    """One stage of a net as text. `layer` keeps what belongs to a layer and those inside it. positional: settings without
    their names. fast: see `optimize`."""
    if stage not in STAGES:
        raise error("DG920", f"there is no stage `{stage}`", help=suggest(stage, STAGES) or ", ".join(STAGES))
    network = elaborate(module, net, settings, training=stage != "layers", positional=positional)
    _check_layer(network, layer)
    if stage == "layers":
        return summary.text(network, precision, layer)
    if stage == "forward":
        return show(_only(network.program, layer), network.name)
    # Without a loss there is nothing to differentiate: what is compiled is the outputs.
    outputs = None if network.losses or stage == "gradient" else [o.name for o in network.outputs]
    program = gradient_program(network) if outputs is None else select(network.program, outputs)
    if stage == "gradient":
        return show(_only(program, layer), f"{network.name}_gradient")
    if stage == "optimized":
        return show(_only(optimize(program, target=target, fast=fast), layer), f"{network.name}_optimized")
    return _lowered(network, program, stage, target, precision, fast)


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


def _lowered(network: Network, program: Program, stage: str, target: str, precision: str, fast: bool) -> str:
    from diffgraph.runtime.executable import build

    if stage == "kernels":
        plain = precision if precision in ("f32", "f64") else "f32"
        each = {"cpu": plain, "cuda": precision}
        programs = {t: optimize(program, target=t, fast=fast) for t in each}
        kernels = (build(programs[t], t, p).kernels for t, p in each.items())
        return kernels_text([statement for t in each for statement in programs[t].statements], *kernels)
    # What a sample takes is told of programs for one.
    optimized = optimize(program, target=target, interleaved=stage != "memory", fast=fast)
    executable = build(optimized, target=target, precision=precision)
    return executable.listing() if stage == "source" else memory_text(network, executable)


def last_change(module: Module, net: str | None, settings: Mapping[str, Any] | None, target: str, fast: bool) -> str:
    """What the last pass that changed something did: a unified diff of the program's text."""
    from difflib import unified_diff

    network = elaborate(module, net, settings, training=True)
    program = gradient_program(network) if network.losses else network.program
    before = None
    steps = stages(program, target=target, fast=fast)
    for earlier, later in zip(steps, steps[1:]):
        if earlier.program != later.program:
            before, after = earlier, later
    if before is None:
        return "no pass changed anything"
    lines = [show(s.program, network.name).splitlines() for s in (before, after)]
    return "\n".join(unified_diff(*lines, fromfile=before.name, tofile=after.name, lineterm=""))


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
