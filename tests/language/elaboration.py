"""Small programs, elaborated and run: what the tests of elaboration share."""

from __future__ import annotations

import numpy as np
import pytest

from diffgraph.diagnostics import DiffgraphError
from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text
from diffgraph.language.network import Network


def network(text: str, net: str | None = None, **options) -> Network:
    """The network of a text."""
    return elaborate(load_text(text), net, **options)


def body(statements: str, head: str = "") -> str:
    """A file with a net of some statements, and declarations before it."""
    return f"{head}\nnet test {{\n{statements}\n}}\n"


def initial(made: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Initial values of parameters and states by path."""
    given = {i.tensor.name: np.int64(seed) for i in made.initial.inputs if i.role == "run"}
    found = interpret(made.initial, given)
    return {o.name: found[o.tensor] for o in made.initial.outputs}


def values_of(made: Network, variables=None, seed: int = 0, step: int = 0, **inputs) -> dict[str, np.ndarray]:
    """Outputs, losses and metrics by name, and committed states as `path <-`."""
    given = {**initial(made, seed), **(variables or {}), **inputs, "seed": seed, "step": step, "total_steps": 10}
    found = interpret(made.program, {i.tensor.name: given[i.path] for i in made.program.inputs if i.table is None})
    paths = {i.tensor.name: i.path for i in made.program.inputs}
    results = {o.name: found[o.tensor] for o in made.program.outputs}
    return results | {f"{paths[c.state]} <-": found[c.tensor] for c in made.program.commits}


def run(statements: str, head: str = "", training: bool = False, **inputs) -> dict[str, np.ndarray]:
    """What a net of some statements gives."""
    return values_of(network(body(statements, head), "test", training=training), **inputs)


def value(expression: str, head: str = "", **inputs) -> np.ndarray:
    """The value of an expression; inputs are declared by their shapes."""
    ports = "\n".join(f"input {n}[{', '.join(map(str, np.shape(a)))}]" for n, a in inputs.items())
    return run(f"{ports}\noutput y = {expression}", head, **inputs)["y"]


def problems(text: str, **options):
    """The diagnostics of a text that is wrong."""
    with pytest.raises(DiffgraphError) as caught:
        network(text, **options)
    return caught.value.diagnostics


def problem(text: str, **options):
    """The only diagnostic of a text that is wrong."""
    found = problems(text, **options)
    assert len(found) == 1, "\n".join(d.render() for d in found)
    return found[0]


def paths(made: Network) -> list[str]:
    """The paths of the parameters, in order."""
    return [v.path for v in made.parameters]
