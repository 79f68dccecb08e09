"""A random program with its gradients, and what the interpreter makes of it: what targets and formats are compared with."""

import numpy as np

from diffgraph.inspect.stages import gradient_program
from diffgraph.ir.interpret import interpret
from diffgraph.language.elaborate import elaborate
from diffgraph.language.module import load_text


def evaluated(text):
    """(network, program of loss and gradients, its inputs' values by tensor name, those by path, results in order)."""
    network = elaborate(load_text(text), training=True)
    program = gradient_program(network)
    start = interpret(network.initial, {i.tensor.name: 1 for i in network.initial.inputs if i.role == "run"})
    by_path = {o.name: start[o.tensor] for o in network.initial.outputs}
    by_path["x"] = np.random.default_rng(0).standard_normal((3, 3, 4))
    values = {i.tensor.name: by_path.get(i.path, 1) for i in program.inputs if i.table is None}
    results = interpret(program, values)
    return network, program, values, by_path, [results[o.tensor] for o in program.outputs]
