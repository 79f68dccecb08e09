"""The memory of large results: kernels write into it directly, and it is used again once nobody can see it any more.

A result is an array on a loan, and so is every view of it, every memory view and every tensor of another library that
shares its memory: the loan ends when the last of them is gone. A caller's array never changes under him.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping

import numpy as np

#: Bytes from which a result is worth memory of its own; smaller ones are copied.
LARGE = 1 << 16

#: Large pages of memory: what reaches over several of them begins at one.
PAGE = 1 << 21

#: Bytes of a cache line.
LINE = 64


def allocate(size: int) -> tuple[np.ndarray, int]:
    """(bytes, how many of them to leave out): at least `size` bytes of zeros from there on, at the start of a cache line;
    of a large page where they fill one, which the system is asked to use."""
    if size < PAGE:
        memory = np.zeros(size + LINE, np.uint8)
        return memory, -memory.ctypes.data % LINE
    mapped = mmap.mmap(-1, size + PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        try:
            mapped.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            # A system without large pages: ordinary ones do.
            pass
    memory = np.frombuffer(mapped, np.uint8)
    return memory, -memory.ctypes.data % PAGE


def arrays(kinds: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> dict[str, np.ndarray]:
    """Arrays of zeros by name, of given shapes and types, in one block of memory: each at the start of a cache line, since
    a vector that lies on two lines is loaded twice."""
    sizes = {n: math.prod(shape) * dtype.itemsize for n, (shape, dtype) in kinds.items()}
    memory, start = allocate(sum(-(-size // LINE) * LINE for size in sizes.values()))
    found = {}
    for name, (shape, dtype) in kinds.items():
        found[name] = memory[start : start + sizes[name]].view(dtype).reshape(shape)
        start += -(-sizes[name] // LINE) * LINE
    return found


class _Block:
    """Memory for one result of a size."""

    def __init__(self, size: int):
        self._memory, start = allocate(size)
        self.address = self._memory.ctypes.data + start


class Loan:
    """Stands behind an array as the owner of its memory, and gives the memory back to its pool in the end."""

    def __init__(self, block: _Block, free: list[_Block], most: int):
        self.address = block.address
        self._block = block
        self._free = free
        self._most = most

    def __del__(self):
        # Of two threads that come at once both may add theirs: one block too many is kept, none is lent twice.
        if len(self._free) < self._most:
            self._free.append(self._block)

    def array(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The array that is lent."""
        self.__array_interface__ = {"data": (self.address, False), "typestr": dtype.str, "shape": shape, "version": 3}
        return np.asarray(self)


class Pool:
    """Memory for results of one size, `most` of which are made in a run: so many blocks are kept for the next one."""

    def __init__(self, size: int, most: int):
        self._size = size
        self._most = most
        self._free: list[_Block] = []

    def lend(self) -> Loan:
        """Memory that nobody else sees."""
        try:
            block = self._free.pop()
        except IndexError:
            block = _Block(self._size)
        return Loan(block, self._free, self._most)
