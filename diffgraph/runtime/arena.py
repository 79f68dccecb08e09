"""One block of memory for everything that a step computes: tensors whose lives do not overlap share places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diffgraph.runtime.results import LINE, allocate


class Arena:
    """Memory that the runs of one executable share; it only grows."""

    def __init__(self):
        self._memory = np.empty(0, np.uint8)
        #: The address of the first place.
        self.base = 0

    def reserve(self, size: int) -> None:
        """Makes room for at least so many bytes; all that was in it may be lost."""
        if self._memory.nbytes < size + LINE:
            self._memory, start = allocate(size)
            self.base = self._memory.ctypes.data + start

    def view(self, offset: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """What lies at a place, as an array."""
        start = self.base - self._memory.ctypes.data + offset
        count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return self._memory[start : start + count].view(dtype).reshape(shape)


@dataclass(frozen=True)
class Life:
    """The first and the last step that touch a tensor."""

    first: int
    last: int


def place(lives: Mapping[str, Life], sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """(offset of each tensor, bytes of the block). The largest are placed first, each as low as it fits."""
    offsets: dict[str, int] = {}
    placed: list[tuple[int, int, Life]] = []
    total = 0
    for name in sorted(lives, key=lambda n: (-sizes[n], lives[n].first, n)):
        life, size = lives[name], _rounded(sizes[name])
        offset = 0
        for start, end, other in placed:
            if other.first <= life.last and life.first <= other.last:
                if offset + size <= start:
                    break
                offset = max(offset, end)
        offsets[name] = offset
        placed.append((offset, offset + size, life))
        placed.sort(key=lambda p: p[:2])
        total = max(total, offset + size)
    return offsets, total


def _rounded(size: int) -> int:
    # Places begin at multiples of a cache line, so that threads do not write to one line and vectors are aligned.
    return max(LINE, -(-size // LINE) * LINE)
