"""Made-up inputs for a net: what a gradient check and a benchmark run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from diffgraph.diagnostics import RunFailed
from diffgraph.ir.dimension import substitute, symbols

#: Samples in a made batch: odd, and more than one.
BATCH = 3

#: The size of an axis that the net leaves open.
OPEN_SIZE = 16


def sample_sizes(network, batch: int = BATCH) -> dict[str, int]:
    """A size for every symbol of a network."""
    return {name: batch if name == network.batch else OPEN_SIZE for name in network.symbols}


def sample_inputs(
    network, batch: int = BATCH, seed: int = 0, positive: bool = False, sizes: Mapping[str, int] = {}
) -> dict[str, np.ndarray]:
    """Random inputs and targets by name: floats that are normal, or (`positive`) between 0.1 and 0.9; ints within their
    bounds; bools. sizes: of symbols, where they should be others than `sample_sizes`."""
    generator = np.random.default_rng(seed)
    sizes = {**sample_sizes(network, batch), **sizes}
    return {p.name: _sample(p.tensor, sizes, generator, positive) for p in (*network.inputs, *network.targets)}


def fitting_inputs(network, losses: Callable[..., Mapping[str, float]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs on which the losses are finite and no `assert` fails: normal ones, or positive ones where a formula
    wants these (a root, a logarithm). Normal ones if neither fit."""
    normal = sample_inputs(network, seed=seed)
    for inputs in (normal, sample_inputs(network, seed=seed, positive=True)):
        try:
            if np.all(np.isfinite(list(losses(training=True, **inputs).values()))):
                return inputs
        except RunFailed:
            continue
    return normal


def _sample(tensor, sizes: dict[str, int], generator, positive: bool) -> np.ndarray:
    shape = tuple(substitute(s, sizes) for s in tensor.shape)
    if tensor.kind == "float":
        return generator.uniform(0.1, 0.9, shape) if positive else generator.standard_normal(shape)
    if tensor.kind == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    bound = tensor.bound if tensor.bound is not None else 2
    bound = substitute(bound, sizes) if symbols(bound) else bound
    return generator.integers(0, max(1, bound), shape)
