"""In which order an epoch sees the samples: a function of (seed, epoch) and nothing else."""

from __future__ import annotations

import numpy as np


def epoch_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """A permutation of the samples, int64; another one for each epoch (from 0)."""
    generator = np.random.Generator(np.random.Philox(key=[seed & (2**64 - 1), epoch]))
    return generator.permutation(samples)


def batches(order: np.ndarray, batch: int, first: int = 0) -> list[np.ndarray]:
    """The order as blocks [steps, batch], the ragged last batch as a block of its own; the first `first` batches left
    out."""
    order = order[first * batch :]
    whole = len(order) // batch
    blocks = [order[: whole * batch].reshape(whole, batch)] if whole else []
    rest = order[whole * batch :]
    return [*blocks, rest[None]] if len(rest) else blocks


def batches_per_epoch(samples: int, batch: int) -> int:
    """How many batches an epoch has, the ragged one included."""
    return -(-samples // batch)
