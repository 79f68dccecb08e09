"""A device of NumPy: kernels are run by the interpreter of PTX. Slow, and strict."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from diffgraph.targets.cuda.operations import Launch, Operation
from diffgraph.targets.cuda.ptx import launch, parse
from diffgraph.targets.cuda.ptx.memory import Memory


#: The blocks of a launch that wait for each other: few, so that each has several blocks of a kernel to do.
MOST_TOGETHER = 3


class SimulatedDriver:
    """See `operations.Driver`. executed: how many instructions have been run, by groups of threads. launches: how
    many kernels were started."""

    linked = None

    def __init__(self, capability: int = 80, capacity: int = 1 << 28):
        self.capability = capability
        self.memory = Memory(capacity)
        self.executed = 0
        self.launches = 0

    def load(self, code: bytes) -> parse.Kernel:
        return parse.parse(code.decode())

    def most_together(self, function: object, threads: int, shared: int) -> int:
        return MOST_TOGETHER

    def allocate(self, size: int) -> int:
        return self.memory.allocate(size)

    def free(self, address: int) -> None:
        """Memory is given back with the device."""

    def room(self) -> int:
        return self.memory.room()

    def wait(self) -> None:
        """Everything ends before it is left."""

    def upload(self, address: int, array: np.ndarray) -> None:
        if array.size:
            self.memory.write(address, array)

    def download(self, address: int, array: np.ndarray) -> None:
        array[...] = self.memory.read(address, array.dtype, array.shape)

    def program(self, operations: Sequence[Operation]) -> Callable[[], None]:
        def start() -> None:
            for operation in operations:
                self._do(operation)

        return start

    def _do(self, operation: Operation) -> None:
        if isinstance(operation, Launch):
            arguments = (*operation.addresses, *operation.sizes)
            grid, block = (operation.blocks,), (operation.threads,)
            done = launch.Launch(operation.function, self.memory, grid, block, arguments, operation.shared)
            self.executed += done.executed
            self.launches += 1
            return
        data = self.memory.read(operation.source, np.uint8, (operation.size,))
        self.memory.write(operation.target, data)
