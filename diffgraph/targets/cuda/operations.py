"""What a device does: operations on addresses, in order. A driver turns a list of them into something to start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Launch:
    """A kernel on `blocks` x `threads` threads. arguments: addresses, then sizes, as its parameters say. shared: bytes of
    shared memory of a block. together: all blocks must be on the device at once, since they wait for each other."""

    function: object
    blocks: int
    threads: int
    addresses: tuple[int, ...]
    sizes: tuple[int, ...]
    shared: int = 0
    together: bool = False


@dataclass(frozen=True)
class Move:
    """So many bytes from one address to another; the two do not overlap."""

    target: int
    source: int
    size: int


Operation = Launch | Move


class Driver(Protocol):
    """A device. capability: its compute capability, such as 80. linked: the one that its machine code is made for;
    None: it takes PTX."""

    capability: int
    linked: int | None

    def load(self, code: bytes) -> object:
        """A kernel that `Launch` can name."""

    def most_together(self, function: object, threads: int, shared: int) -> int:
        """How many blocks of a kernel can be on the device at once."""

    def allocate(self, size: int) -> int:
        """The address of so many bytes. DiffgraphError if there is no room."""

    def free(self, address: int) -> None:
        """Gives memory back."""

    def room(self) -> int:
        """How many bytes could be allocated now."""

    def wait(self) -> None:
        """Returns when all that was started has ended."""

    def upload(self, address: int, array: np.ndarray) -> None:
        """Copies an array to the device."""

    def download(self, address: int, array: np.ndarray) -> None:
        """Copies from the device into an array, when all that was started has ended."""

    def program(self, operations: Sequence[Operation]) -> Callable[[], None]:
        """A function that starts the operations, one after the other."""
