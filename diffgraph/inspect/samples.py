"""Made-up inputs for a net: what a gradient check and a benchmark run on."""

from __future__ import annotations

import numpy as np

from diffgraph.ir.dimension import substitute, symbols

#: Samples in a made batch: odd, and more than one.
BATCH = 3

#: The size of an axis that the net leaves open.
OPEN_SIZE = 16


def sample_sizes(network, batch: int = BATCH) -> dict[str, int]:
    """A size for every symbol of a network."""
    return {name: batch if name == network.batch else OPEN_SIZE for name in network.symbols}


def sample_inputs(network, batch: int = BATCH, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs and targets by name: normal floats, ints within their bounds, bools."""
    generator = np.random.default_rng(seed)
    sizes = sample_sizes(network, batch)
    return {p.name: _sample(p.tensor, sizes, generator) for p in (*network.inputs, *network.targets)}


def _sample(tensor, sizes: dict[str, int], generator) -> np.ndarray:
    shape = tuple(substitute(s, sizes) for s in tensor.shape)
    if tensor.kind == "float":
        return generator.standard_normal(shape)
    if tensor.kind == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    bound = tensor.bound if tensor.bound is not None else 2
    bound = substitute(bound, sizes) if symbols(bound) else bound
    return generator.integers(0, max(1, bound), shape)
