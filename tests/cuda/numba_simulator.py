"""Kernels in Numba's own simulator: their text, run as Python, a thread of the host for each of a block.

    NUMBA_ENABLE_CUDASIM=1 python numba_simulator.py        checks a few programs; prints one line for each

The words that kernels are written in (`targets/cuda/prelude.py`) are instructions that the simulator does not know: here they are
plain Python, written anew. So the text of a kernel, its places, its barriers and its shared memory are run by something that
knows neither NVVM nor the interpreter of PTX. One block at a time: whole steps as one launch need more.
"""

import math
import sys
import threading
import types
from pathlib import Path

import numpy as np

#: Threads begin with shared memory that holds whatever was there: not a number.
SHARED = 48 * 1024

_ENTRY = threading.Lock()


class Buffer:
    """Memory as a kernel sees it: elements of a type from an address on, within what was allocated there."""

    def __init__(self, memory, offset, kind):
        self.elements = memory[offset : len(memory) - (len(memory) - offset) % np.dtype(kind).itemsize].view(kind)
        self.address = memory.ctypes.data + offset

    def __getitem__(self, index):
        return self.elements[self._inside(index)]

    def __setitem__(self, index, value):
        self.elements[self._inside(index)] = value

    def _inside(self, index):
        if not 0 <= index < len(self.elements):
            raise IndexError(f"element {index} of {len(self.elements)}")
        return index


def _me():
    """The thread that runs: the simulator knows where it is."""
    return threading.current_thread()


def _number():
    return np.int32(_me().threadIdx.x)


def _block():
    """What the threads of a block share."""
    manager = _me()._manager
    with _ENTRY:
        if not hasattr(manager, "slots"):
            manager.bytes, manager.slots = np.full(SHARED, 255, np.uint8), {}
    return manager


def _meet():
    _me().syncthreads()


# ------------------------------------------------------------------------------------------------ numbers


def _sign(x):
    return type(x)(x if x != x else int(x > 0) - int(x < 0))


def _raised(x, n):
    n = int(n)
    if isinstance(x, np.floating):
        return type(x)(x**n) if n >= 0 else type(x)(type(x)(1) / x**-n)
    return np.int64(int(x) ** n) if n >= 0 else np.int64({1: 1, -1: 1 if n % 2 == 0 else -1}.get(int(x), 0))


def _whole(x):
    return np.int64(-(2**63)) if isinstance(x, np.floating) and not abs(x) < 9.2233715e18 else np.int64(x)


def _extreme(better):
    def function(a, b):
        return a if a != a or better(a, b) else b

    return function


_maximum, _minimum = _extreme(lambda a, b: a > b), _extreme(lambda a, b: a < b)
_JOIN = {
    "sum": lambda a, b: a + b, "prod": lambda a, b: a * b, "max": _maximum, "min": _minimum,
    "any": lambda a, b: a | b, "all": lambda a, b: a & b,
}  # fmt: skip


class _Library:
    """The functions of NVIDIA's library that kernels call."""

    def __getattr__(self, name):
        of = getattr(np, name.removesuffix("f")) if not hasattr(np, name) else getattr(np, name)
        return lambda *args: of(*args)


# ------------------------------------------------------------------------------------------------ teams


def _team(team, members, along):
    """The threads of this one's team."""
    me = int(_number())
    if along:
        return range(me // team * team, me // team * team + team)
    return range(me % members, team * members, members)


def _exchanged(value, team, members, along):
    """The values of all threads of a team, in order."""
    slots = _block().slots
    _meet()
    slots[int(_number())] = value
    _meet()
    return [slots[t] for t in _team(team, members, along)]


def reduction(op, kind, team, members, along):
    def reduce(value):
        first, *others = _exchanged(value, team, members, along)
        for other in others:
            first = _JOIN[op](first, other)
        return first

    return reduce


def first_extreme(op, kind, team, members, along):
    def find(value, rank):
        pairs = _exchanged((value, rank), team, members, along)
        sign = 1 if op == "argmax" else -1
        best = min(pairs, key=lambda pair: (pair[0] == pair[0], -sign * pair[0] if pair[0] == pair[0] else 0, pair[1]))
        return best[1]

    return find


class products:  # noqa: N801 (a word of kernels)
    """See `targets/cuda/products.py`: which thread holds which sums is its own affair."""

    def __init__(self, rows, columns, depth, thread_rows, thread_columns):
        self.depth, self.thread_rows, self.thread_columns = depth, thread_rows, thread_columns
        self.pitches = rows + 8, columns + 8, columns + 4
        self.across, self.down = columns // thread_columns, rows // thread_rows

    def _own(self, thread):
        y, x = divmod(int(thread), self.across)
        return y, slice(x * self.thread_columns, (x + 1) * self.thread_columns)

    def start(self):
        return lambda: np.zeros((self.thread_rows, self.thread_columns), np.float32)

    def step(self):
        def step(sums, left, right, at_left, at_right, thread):
            y, columns = self._own(thread)
            for k in range(self.depth):
                line = left.elements[at_left + k * self.pitches[0] :][y :: self.down][: self.thread_rows]
                sums += np.outer(line, right.elements[at_right + k * self.pitches[1] :][columns])

        return step

    def put(self):
        def put(sums, stage, part, thread):
            y, columns = self._own(thread)
            stage.elements[y * self.pitches[2] :][columns] = sums[part]

        return put

    def row(self):
        return lambda part, y: part * self.down + y


def copy(shared, at, memory, index, count, inside):
    for n in range(count):
        shared[at + n] = memory[index + n] if inside else 0.0


def store4(buffer, index, *values):
    for n, value in enumerate(values):
        buffer[index + n] = value


def words():
    """The module that kernels import."""
    from diffgraph.ir.scalar import KERNEL_FUNCTIONS

    found = types.ModuleType("diffgraph.targets.cuda.prelude")
    for function in KERNEL_FUNCTIONS:
        found.__dict__.update({f"{precision}_{function.__name__}": function for precision in ("single", "double")})
    found.__dict__.update(
        np=np, math=math, libdevice=_Library(), boolean=bool, products=products, reduction=reduction, copy=copy,
        first_extreme=first_extreme, team_barrier=lambda team, members, along: _meet, store4=store4,
        thread_of_block=_number, block_of_grid=lambda: np.int32(_me().blockIdx.x),
        barrier=lambda count: _meet(), copies_sent=lambda: None, copies_done=lambda left: None,
        shared_memory=lambda offset: Buffer(_block().bytes, 4 * offset, np.float32),
        is_aligned=lambda buffer: buffer.address % 16 == 0, load4=lambda buffer, index: [buffer[index + n] for n in range(4)],
        select=lambda condition, a, b: a if condition else b, quotient=lambda a, b: a // b, maximum=_maximum, minimum=_minimum,
        floor_divide=lambda a, b: a // b if b else 0 * a, remainder=lambda a, b: a % b if b else 0 * a,
        within=lambda x, low, high: min(max(x, low), high), whole=_whole, raised=_raised, raised_to=_raised, sign_of=_sign,
        relu_of=lambda x: type(x)(0) if x < 0 else x,
        **{kind: getattr(np, kind) for kind in ("int32", "int64", "uint8", "float32", "float64")},
    )  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------ the device


class SimulatorLibrary:
    """Kernels as Python, and the device that runs them. See `DeviceLibrary` and `operations.Driver`."""

    capability = 80

    def __init__(self):
        self.driver = self
        self.memories = {}
        self.launches = 0

    def ready(self, sources):
        """Nothing is compiled ahead: kernels are Python."""

    def load(self, source):
        from numba import cuda

        names = {}
        exec(source.readable, names)
        return cuda.jit(names["kernel"]), source.kinds

    def allocate(self, size):
        memory = np.full(max(16, size) + 16, 255, np.uint8)
        memory = memory[-memory.ctypes.data % 16 :]
        self.memories[memory.ctypes.data] = memory
        return memory.ctypes.data

    def free(self, address):
        """Memory is given back with the device."""

    def _at(self, address, kind=np.uint8):
        start = max(a for a in self.memories if a <= address)
        return Buffer(self.memories[start], address - start, kind)

    def upload(self, address, array):
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._at(address).elements[: data.size] = data

    def download(self, address, array):
        data = self._at(address).elements[: array.nbytes]
        array[...] = data.view(array.dtype).reshape(array.shape)

    def program(self, operations):
        return lambda: [self._do(o) for o in operations]

    def _do(self, operation):
        from diffgraph.targets.cuda.operations import Launch

        if not isinstance(operation, Launch):
            self._at(operation.target).elements[: operation.size] = self._at(operation.source).elements[: operation.size]
            return
        kernel, kinds = operation.function
        buffers = (self._at(a, kind) for a, kind in zip(operation.addresses, kinds))
        kernel[operation.blocks, operation.threads](*buffers, *map(np.int32, operation.sizes))
        self.launches += 1


def programs():
    """Programs by name: forms of every kind, a scan, and the gradients of a small network in training."""
    from agreement import program_of
    from test_forms import CASES
    from test_scans import CASES as SCANS
    from test_training import NETS

    from diffgraph.inspect.stages import gradient_program
    from diffgraph.language.elaborate import elaborate
    from diffgraph.language.module import load_text

    kinds = ("pointwise", "matrix product", "pooling", "totals", "softmax and norms", "reductions", "gather and scatter", "ints")
    found = {name: program_of(CASES[name]) for name in kinds}
    found["scan"] = program_of(SCANS["carry"])
    found["training"] = gradient_program(elaborate(load_text(NETS["mlp"][0]), training=True))
    return found


def main():
    """Each program, beside the interpreter."""
    sys.modules["diffgraph.targets.cuda.prelude"] = words()
    np.seterr(over="ignore")
    from simulation import compare

    from diffgraph.passes.pipeline import optimize
    from diffgraph.runtime import device_launch
    from diffgraph.runtime.device import DeviceExecutable

    device_launch.MOST_STARTS = 0
    for name, program in programs().items():
        library = SimulatorLibrary()
        device = DeviceExecutable(optimize(program, target="cuda"), "f32", library)
        device.library = library
        compare(device, program, 3, np.random.default_rng(1))
        print(f"{name}: {library.launches} launches")


if __name__ == "__main__":
    sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "targets"), str(Path(__file__).parents[1])]
    main()
