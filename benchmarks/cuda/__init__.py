"""The CUDA target on a GPU machine: `python -m benchmarks --target cuda [WORKLOAD...] [--precision f32|tf32|bf16]`.

    1. every kernel of the workloads on fresh inputs, beside float64 on the host
    2. what the device does at most: memory, products
    3. the workloads beside PyTorch on the same device, eager, compiled and as a captured graph, at equal precision

It needs a GPU, the extra `cuda` and, to compare, PyTorch with CUDA; it stops by itself when its minutes are over, and says
what was left out. `--dry-run` goes the same way on a simulated device with tiny batches: what it prints then means nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.cuda import checks, limits, timing
from benchmarks.workloads import named
from diffgraph.diagnostics import DiffgraphError
from diffgraph.runtime import device
from diffgraph.targets.cuda.driver import CudaDriver
from diffgraph.targets.cuda.simulated import SimulatedDriver

#: Of all the time, what the checks may take.
CHECKS = 0.4


class Clock:
    """How much of some minutes is left."""

    def __init__(self, minutes: float):
        self.end = time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks --target cuda")
    parser.add_argument("workloads", nargs="*", help="names or their beginnings; all by default")
    parser.add_argument("--precision", choices=sorted(checks.TOLERANCE), default="f32")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--dry-run", action="store_true", help="on a simulated device, with tiny batches")
    return parser.parse_args(given)


def main(given: list[str]) -> None:
    """Checks, measures, prints; exit status 1 if a number is wrong, 2 if there is no device."""
    asked = arguments(given)
    try:
        driver = SimulatedDriver() if asked.dry_run else CudaDriver()
    except DiffgraphError as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(2) from None
    device.use(driver)
    try:
        found = _measure(asked, driver)
    finally:
        device.use(None)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))
    if found["wrong"]:
        raise SystemExit(1)


def _measure(asked: argparse.Namespace, driver) -> dict:
    works = [w for w in named(tuple(asked.workloads)) if w.kind != "start"]
    if asked.dry_run:
        works = [timing.tiny(w) for w in works]
    machine = limits.Machine.of(driver)
    print(machine.describe(asked.precision), flush=True)
    clock, wrong = Clock(asked.minutes * CHECKS), []
    rest = Clock(asked.minutes)
    for work in works:
        wrong += checks.report(work, asked.precision, clock)
    found = {"device": machine.name, "precision": asked.precision, "limits": [], "workloads": []}
    for row in limits.measured(driver, machine, asked.precision, asked.dry_run):
        print(row.describe(), flush=True)
        found["limits"].append(row.as_json())
    print(timing.HEAD, flush=True)
    for work in works:
        row = timing.measured(work, asked.precision, asked.rounds, machine, rest, asked.dry_run)
        print(row.describe(), flush=True)
        found["workloads"].append(row.as_json())
        wrong += [work.name] if row.is_wrong else []
    return {**found, "wrong": wrong}
