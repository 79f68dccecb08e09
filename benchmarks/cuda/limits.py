"""How near simple programs come to what a device can do at most."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

from diffgraph.targets.cuda.machine import Machine


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
