"""What this machine can do at most, measured: multiply-adds in registers and bytes through memory, with some threads."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from diffgraph.runtime.library import default_library

#: Seconds that a thread works before it is timed, so that its processor runs at full speed, and while it is.
WARM, TIMED = 0.03, 0.06

#: So many measurements of each, of which the best counts.
TRIES = 5

#: Bytes of each of the three arrays of the stream: far more than a core's own caches hold.
STREAM_BYTES = 64 << 20


@dataclass(frozen=True)
class Limits:
    """flops: floating-point operations per second, a multiply-add being two. bandwidth: bytes read and written per second
    by a stream of two reads and a write through memory. threads: how many took part."""

    flops: float
    bandwidth: float
    threads: int

    def seconds(self, operations: float, moved: float) -> float:
        """The least time for so many floating-point operations and bytes, both at the limit, one beside the other."""
        return max(operations / self.flops, moved / self.bandwidth)


@lru_cache
def measure(threads: int, precision: str = "f32") -> Limits:
    """The limits of some threads: the best of a few tries, since others may be at work. Takes about a second, once."""
    from diffgraph.targets.cpu.limits import chains
    from diffgraph.targets.cpu.machine import machine

    arithmetic = f"arithmetic_{precision}"
    addresses = default_library().entries((arithmetic, "stream"))
    rounds = 200_000
    per_call = 2 * rounds * chains(precision) * machine(precision).lanes
    calls = [_arithmetic_call(addresses[arithmetic], rounds) for _ in range(threads)]
    flops = per_call * max(sum(_rates(calls)) for _ in range(TRIES))
    elements = STREAM_BYTES // 4
    arrays = [np.ones(elements, np.float32) for _ in range(3)]
    cuts = [elements * k // threads for k in range(threads + 1)]
    calls = [_Call(addresses["stream"], arrays, (), low, high) for low, high in zip(cuts, cuts[1:])]
    parts = [12 * (high - low) for low, high in zip(cuts, cuts[1:])]
    bandwidth = max(sum(p * rate for p, rate in zip(parts, _rates(calls))) for _ in range(TRIES))
    return Limits(flops, bandwidth, threads)


class _Call:
    """A kernel with its arguments. Calling it does not hold the interpreter's lock."""

    def __init__(self, address: int, arrays, sizes, first: int, last: int):
        word = ctypes.c_int64
        self.function = ctypes.CFUNCTYPE(None, *(word,) * 6)(address)
        self.arrays = arrays
        tables = ([a.ctypes.data for a in arrays], range(len(arrays)), sizes or [0])
        self.tables = [np.array(t, np.int64) for t in tables]
        self.arguments = (*(t.ctypes.data for t in self.tables), first, last, 0)

    def __call__(self) -> None:
        self.function(*self.arguments)


def _arithmetic_call(address: int, rounds: int) -> _Call:
    return _Call(address, [np.zeros(64, np.float64)], (rounds,), 0, 1)


def _rates(calls: list[Callable[[], None]]) -> list[float]:
    """Calls per second of each, all running at the same time in threads of their own."""
    rates = [0.0] * len(calls)
    ready = threading.Barrier(len(calls))

    def work(number: int) -> None:
        call = calls[number]
        _repeat(call, WARM)
        ready.wait()
        rates[number] = _repeat(call, TIMED)
        _repeat(call, WARM)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(calls))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return rates


def _repeat(call: Callable[[], None], seconds: float) -> float:
    """Calls per second over at least so long."""
    start = now = time.perf_counter()
    count = 0
    while now - start < seconds:
        call()
        count += 1
        now = time.perf_counter()
    return count / (now - start)
