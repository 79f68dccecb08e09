"""What a device can do at most, from what it says of itself, and how near simple programs come."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

#: Multiply-adds of a multiprocessor in each cycle, by compute capability: in registers, on matrix units in tf32 and bf16
#: (NVIDIA's tables of arithmetic throughput; dense).
RATES = {
    75: {"f32": 64, "tf32": 64, "bf16": 64}, 80: {"f32": 64, "tf32": 512, "bf16": 1024},
    86: {"f32": 128, "tf32": 128, "bf16": 256}, 89: {"f32": 128, "tf32": 128, "bf16": 256},
    90: {"f32": 128, "tf32": 1024, "bf16": 2048},
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """bandwidth: bytes in a second. clock: cycles in a second."""

    name: str
    capability: int
    multiprocessors: int
    clock: float
    bandwidth: float

    @classmethod
    def of(cls, driver) -> Machine:
        """What a device says; of a simulated one, something."""
        if not hasattr(driver, "attribute"):
            return cls("simulated", driver.capability, 1, 1e9, 1e9)
        say = driver.attribute
        width, rate = say("GLOBAL_MEMORY_BUS_WIDTH") / 8, say("MEMORY_CLOCK_RATE") * 1e3
        clock = say("CLOCK_RATE") * 1e3
        # A device that others share may not say how fast it is.
        bandwidth, clock = 2 * width * rate or float("nan"), clock or float("nan")
        return cls(driver.name, driver.capability, say("MULTIPROCESSOR_COUNT"), clock, bandwidth)

    def operations(self, precision: str) -> float:
        """Multiplications and additions in a second."""
        known = max(c for c in RATES if c <= self.capability)
        return 2 * RATES[known][precision] * self.multiprocessors * self.clock

    def seconds(self, macs: float, size: float, precision: str) -> float:
        """The least time of so many multiply-adds and bytes."""
        return max(2 * macs / self.operations(precision), size / self.bandwidth)

    def describe(self, precision: str) -> str:
        """A line."""
        rates = ", ".join(f"{p} {self.operations(p) / 1e12:.0f}" for p in dict.fromkeys(("f32", precision)))
        return (
            f"{self.name}, sm_{self.capability}, {self.multiprocessors} multiprocessors at {self.clock / 1e6:.0f} MHz; "
            f"at most {self.bandwidth / 1e9:.0f} GB/s and TFLOP/s: {rates}"
        )


@dataclass(frozen=True)
class Row:
    """A rate that was measured. unit: GB/s or TFLOP/s. share: of the most."""

    what: str
    rate: float
    unit: str
    share: float

    def describe(self) -> str:
        return f"{self.what:44} {self.rate:9.1f} {self.unit:8} {self.share:5.0%} of the limit"

    def as_json(self) -> dict:
        return asdict(self)


POINTWISE = "net pointwise { input x[N, 1024]; input z[N, 1024]; output y = tanh(x * z) + x }"
NORMALIZED = "net normalized { input x[N, 1024]; output y = softmax(x) }"
PRODUCT = "net product { input x[N, K]; input w[M, K]; output y = x @ transpose(w, 0, 1) }"


def measured(driver, machine: Machine, precision: str, dry: bool):
    """Programs that memory limits, and products, each beside what the device can do."""
    rows = 8 if dry else 1 << 17
    for name, text, arrays, moved in (("fused pointwise chain", POINTWISE, "xz", 3), ("softmax", NORMALIZED, "x", 2)):
        given = {a: np.ones((rows, 1024), np.float32) for a in arrays}
        seconds = _seconds(text, given, precision, driver, dry)
        rate = moved * 4096 * rows / seconds
        yield Row(f"{name} over {rows} x 1024", rate / 1e9, "GB/s", rate / machine.bandwidth)
    for size in (64,) if dry else (1024, 4096, 8192):
        given = {a: np.ones((size, size), np.float32) for a in "xw"}
        rate = 2 * size**3 / _seconds(PRODUCT, given, precision, driver, dry)
        yield Row(f"product of {size} x {size}, {precision}", rate / 1e12, "TFLOP/s", rate / machine.operations(precision))


def _seconds(text: str, given: dict, precision: str, driver, dry: bool) -> float:
    from diffgraph.compiler import Net
    from diffgraph.language.module import load_text

    net = Net(load_text(text), target="cuda", precision=precision)
    net.fix(given)
    start, wait = net.inference_executable().resident(given)
    return repeated(start, wait, 1 if dry else 5)


def repeated(start, wait, rounds: int, least: float = 0.02) -> float:
    """Median seconds of a start, of as many in a row as take `least` seconds."""
    start()
    wait()
    count, taken = 1, 0.0
    while rounds > 1 and taken < least:
        taken, count = _together(start, wait, count), count * 2
    times = sorted(_together(start, wait, count) / count for _ in range(rounds))
    return times[len(times) // 2]


def _together(start, wait, count: int) -> float:
    before = time.perf_counter()
    for _ in range(count):
        start()
    wait()
    return time.perf_counter() - before
