"""Weights that PyTorch has kept: state dicts, and the files that `torch.save` made of them.

The standard library names parameters and states as PyTorch does, so a state dict fits as it is, but for one thing:
PyTorch's batch normalization also counts the batches it has seen, which nothing reads unless its momentum is None. Those
counts are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.diagnostics import error

#: What the names of files made by `torch.save` end in.
SUFFIXES = (".pth", ".pt", ".bin")

#: Under which names training scripts keep the state dict among other things.
HOLDERS = ("state_dict", "model_state_dict", "model")


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name. Only tensors are read, never code. Errors: not there, no such file, PyTorch is not
    installed."""
    try:
        import torch
    except ImportError:
        raise error(
            "DG744", f"{path} is a file of PyTorch, which is not installed",
            help="install torch, or convert it once: safetensors.torch.save_file(torch.load(...), ...)",
        ) from None  # fmt: skip
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise error("DG740", f"{path} cannot be read: {problem.strerror or problem}") from problem
    except Exception as problem:  # Unpickling what is damaged, or is more than tensors, can raise anything.
        text = f"{path} is not a file of weights: {str(problem).splitlines()[0]}"
        raise error("DG741", text, help="save the state dict: torch.save(model.state_dict(), ...)") from problem
    held = [found[name] for name in HOLDERS if isinstance(found, Mapping) and isinstance(found.get(name), Mapping)]
    return arrays(held[0] if held else found, str(path))


def arrays(state: Any, what: str) -> dict[str, np.ndarray]:
    """The values of a state dict as arrays, by name."""
    if not isinstance(state, Mapping):
        raise error("DG741", f"{what} holds no tensors by name", help="save the state dict of the model")
    return {str(name): _array(value, f"{what}: {name}") for name, value in state.items()}


def _array(value: Any, what: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise error("DG741", f"{what} is no tensor of numbers")
    return array


def without_counts(stored: Mapping[str, np.ndarray], wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Stored arrays without the counts of batches that stand beside running means of the net."""

    def is_count(name: str) -> bool:
        layer, _, own = name.rpartition(".")
        return own == "num_batches_tracked" and name not in wanted and f"{layer}.running_mean" in wanted

    return {name: array for name, array in stored.items() if not is_count(name)}
