"""A user's own program through every pass and on the target, against the interpreter: which step changed the meaning,
and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diffgraph.inspect.samples import fitting_inputs, sample_sizes
from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Program
from diffgraph.ir.verify import verify
from diffgraph.passes.pipeline import optimize, stages
from diffgraph.runtime.executable import build

#: Largest relative difference in float64 that is rounding.
TOLERANCE = 1e-9

#: What is smaller than this part of the largest result may be nothing but rounding: the derivative by a bias that a
#: normalization takes away.
SMALL = 1e-4


@dataclass(frozen=True)
class Step:
    """A pass or a target: the largest relative difference of a result, and at which layer and line it is."""

    name: str
    error: float
    where: str

    @property
    def ok(self) -> bool:
        return self.error <= TOLERANCE

    def as_json(self) -> dict:
        return {"step": self.name, "error": self.error, "ok": self.ok, "where": self.where.strip()}


def verify_net(net) -> list[Step]:
    """Compares the training program of a net (losses and gradients; without a loss, its outputs) after each pass, and as
    compiled for the cpu (for many samples, and for a few), with the interpreter on the elaborated one. `net` is a
    `compiler.Net` in float64."""
    network = net.network(True)
    net.set_sizes({k: v for k, v in sample_sizes(network).items() if k != network.batch})
    network = net.network(True)
    program = gradient_program(network) if network.losses else net.forward([o.name for o in network.outputs])
    inputs = fitting_inputs(network, _reference_losses(net, network))
    known = {**net.storage, **inputs, "seed": 0, "step": 1, "total_steps": 1}
    values = {i.tensor.name: known[i.path] for i in program.inputs if i.table is None}
    expected = _results(program, values)
    found = []
    for stage in stages(program, fast=net.fast):
        verify(stage.program, f"after {stage.name}")
        found.append(_compare(stage.name, stage.program, _results(stage.program, values), expected))
        last = stage.program
    if net.target == "reference":
        return found
    few = optimize(program, interleaved=False, fast=net.fast)
    ways = {"cpu": last} | ({"cpu, few samples": few} if few != last else {})
    for name, compiled in ways.items():
        executable = build(compiled, target="cpu", precision="f64", threads=net.threads)
        executable.bind({path: array for path, array in net.storage.items()})
        given = {path: known[path] for path in executable.given}
        found.append(_compare(name, compiled, executable.run(given), expected))
    return found


def _reference_losses(net, network):
    """The losses of a net, computed by the interpreter."""
    executable = build(net.forward([t.name for t in network.losses], True), target="reference", precision="f64")
    executable.bind(net.storage)
    return lambda training, **inputs: executable.run({k: v for k, v in inputs.items() if k in executable.given})


def _results(program: Program, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = interpret(program, {k: v for k, v in values.items() if k in program.tensors})
    return {o.name: found[o.tensor] for o in program.outputs}


def _compare(name: str, program: Program, found: Mapping, expected: Mapping) -> Step:
    worst, where = 0.0, ""
    floor = max(1e-6, SMALL * max(_largest(v) for v in expected.values()))
    for output in program.outputs:
        a, b = (np.asarray(results[output.name], np.float64) for results in (found, expected))
        scale = max(floor, _largest(b))
        error = _largest(a - b) / scale if np.array_equal(np.isnan(a), np.isnan(b)) else np.inf
        if error > worst:
            worst, where = error, _place(program, output)
    return Step(name, worst, where if worst > TOLERANCE else "")


def _largest(values: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(values, np.float64)), initial=0.0))


def _place(program: Program, output) -> str:
    statement = program.maker.get(output.tensor)
    origins = [o for o in statement.provenance if o.span is not None] if statement is not None else []
    return (
        f"   in {output.name}, {origins[0].path or 'the net'} at {origins[0].span}"
        if origins
        else f"   in {output.name}"
    )
