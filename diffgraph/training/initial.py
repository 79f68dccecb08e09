"""Initial values: a program of draws, run once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np

from diffgraph.ir.dimension import product
from diffgraph.ir.interpret import interpret
from diffgraph.ir.program import Program
from diffgraph.ir.random import drawing
from diffgraph.runtime.library import default_library
from diffgraph.runtime.team import available_threads
from diffgraph.runtime.values import DTYPES

#: Elements to draw from which a thread is worth starting.
WORTH_A_THREAD = 1 << 19

#: Tensors of fewer elements are made together.
SMALL = 1 << 14


def initial_values(program: Program, seed: int, precision: str) -> dict[str, np.ndarray]:
    """What a program of initial values gives for a seed, by output name: contiguous arrays of their own, in the types
    of the precision, computed in float64 whatever it is."""
    scalars = {"seed": seed, "step": 0, "total_steps": 0}
    run = {i.tensor.name: np.int64(scalars[i.path]) for i in program.inputs if i.role == "run"}
    kinds, types = program.tensors, DTYPES[precision]

    def made(groups: list[list[str]], by: Callable | None = None) -> dict[str, np.ndarray]:
        arrays = {}
        with drawing(by) if by is not None else nullcontext():
            for names in groups:
                found = interpret(program, run, keep=names)
                arrays |= {n: np.array(found[n], dtype=types[kinds[n].kind], order="C") for n in names}
        return arrays

    parts = _parts(program)
    if len(parts) == 1:
        arrays = made(parts[0])
    else:
        by = default_library().drawing()
        with ThreadPoolExecutor(len(parts)) as threads:
            arrays = {n: a for part in threads.map(made, parts, [by] * len(parts)) for n, a in part.items()}
    return {o.name: arrays[o.tensor] for o in program.outputs}


def _parts(program: Program) -> list[list[list[str]]]:
    """The tensors to make, in as many parts as threads are worth while, each of about as much work and in groups: a large
    tensor by itself, so that its memory on the way is used again. What a value is does not depend on who makes it."""
    sizes = {o.tensor: product(s for s in program.tensors[o.tensor].shape if isinstance(s, int)) for o in program.outputs}
    count = max(1, min(available_threads(), sum(sizes.values()) // WORTH_A_THREAD))
    if count == 1:
        return [[list(sizes)]]
    small = [n for n in sizes if sizes[n] < SMALL]
    groups = [[n] for n in sizes if sizes[n] >= SMALL] + [small]
    parts: list[list[list[str]]] = [[] for _ in range(count)]
    filled = [0] * count
    for group in sorted(groups, key=lambda names: -sum(sizes[n] for n in names)):
        least = filled.index(min(filled))
        parts[least].append(group)
        filled[least] += sum(sizes[n] for n in group)
    return parts
