"""In which order an epoch sees the samples: a function of (seed, epoch) and nothing else."""

from __future__ import annotations

import threading

import numpy as np

#: The order of so many samples is worth a thread.
WORTH_A_THREAD = 1 << 12


def epoch_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """A permutation of the samples, int64; another one for each epoch (from 0)."""
    generator = np.random.Generator(np.random.Philox(key=[seed & (2**64 - 1), epoch]))
    return generator.permutation(samples)


class Orders:
    """The orders of the epochs of a run, one after the other. While one is in use the next one is made beside: that takes ten
    nanoseconds for each sample, which is a part of a step that takes two microseconds. NumPy lets others run meanwhile."""

    def __init__(self, seed: int, samples: int):
        self.seed = seed
        self.samples = samples
        self._ahead: _Ahead | None = None

    def of(self, epoch: int, is_last: bool = False) -> np.ndarray:
        """The order of an epoch; unless it is the last one, that of the next is begun."""
        ahead, self._ahead = self._ahead, None
        order = ahead.order() if ahead is not None and ahead.epoch == epoch else epoch_order(self.seed, epoch, self.samples)
        if not is_last and self.samples >= WORTH_A_THREAD:
            self._ahead = _Ahead(self.seed, epoch + 1, self.samples)
        return order


class _Ahead:
    """The order of an epoch in the making."""

    def __init__(self, seed: int, epoch: int, samples: int):
        self.epoch = epoch
        self._made: list[np.ndarray] = []
        make = lambda: self._made.append(epoch_order(seed, epoch, samples))  # noqa: E731
        self._thread = threading.Thread(target=make, daemon=True, name="diffgraph order")
        self._thread.start()

    def order(self) -> np.ndarray:
        self._thread.join()
        return self._made[0]


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
