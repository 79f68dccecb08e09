"""Initial values: a program of draws, run once."""

from __future__ import annotations

import numpy as np

from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Program
from diffgraph.runtime.values import DTYPES


def initial_values(program: Program, seed: int, precision: str) -> dict[str, np.ndarray]:
    """What a program of initial values gives for a seed, by output name: contiguous arrays of their own, in the types
    of the precision, computed in float64 whatever it is."""
    scalars = {"seed": seed, "step": 0, "total_steps": 0}
    run = {i.tensor.name: np.int64(scalars[i.path]) for i in program.inputs if i.role == "run"}
    found = interpret(program, run)
    kinds, types = program.tensors, DTYPES[precision]
    return {o.name: np.array(found[o.tensor], dtype=types[kinds[o.tensor].kind], order="C") for o in program.outputs}
