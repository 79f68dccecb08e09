"""Columns that formulas of the language draw and compute: `function(n = 256, x = uniform(-3, 3), y = sin(2 * x))`."""

from __future__ import annotations

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.ir.interpret import interpret
from diffgraph.language.data_calls import Column, DataCall, column_program
from diffgraph.training.data.dataset import Dataset


def computed(call: DataCall, samples: int, seed: int) -> Dataset:
    """The columns in order, in float64; a later one may use the ones before it."""
    if not any(isinstance(value, Column) for _, value in call.keywords):
        raise error(
            "DG701",
            "`function` needs a formula for each column",
            call.span,
            help="function(n = 256, x = uniform(-3, 3))",
        )
    program = column_program(call, samples)
    scalars = {"seed": seed, "step": 0, "total_steps": 0}
    run = {i.tensor.name: np.int64(scalars[i.path]) for i in program.inputs if i.role == "run"}
    found = interpret(program, run)
    return Dataset("function", {o.name: found[o.tensor] for o in program.outputs})
