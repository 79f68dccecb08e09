"""Peak memory of a few steps, in a new process for each configuration.

working: how far the resident memory rose above what the process had with its libraries loaded and its samples made, a
little work done; weights, optimizer state and everything between are in it. peak: the highest of the whole process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.workloads import Workload
from diffgraph.inspect.turns import held

#: Steps of which the highest is taken.
CALLS = 3


def compare(
    work: Workload, sides: Sequence[str], threads: int, folder: Path, locks: Sequence[Path] = ()
) -> dict[str, dict[str, int]]:
    """{configuration: {"working": bytes, "peak": bytes}} of ours and PyTorch's eager ones; nothing where the system
    does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return {}
    found: dict[str, dict[str, int]] = {}
    context = multiprocessing.get_context("spawn")
    # Ours twice: the first leaves compiled kernels and the initial values for the others.
    for side in ["ours", "ours", *(s for s in sides if s == "torch")]:
        near, far = context.Pipe()
        process = context.Process(target=_measure, args=(far, side, work, threads, folder / f"{work.name}-memory.npz"))
        with held(locks, shared=True):
            process.start()
            far.close()
            with contextlib.suppress(EOFError):
                found |= near.recv()
            process.join()
    return found


def _measure(connection, side: str, work: Workload, threads: int, arrays: Path) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    module = importlib.import_module(f"benchmarks.sides.{side}")
    module.warm_up()
    configuration = next(iter(module.configurations(work, threads, arrays)))
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    prepared = configuration.make()
    for _ in range(CALLS):
        prepared.run()
    peak = _status("VmHWM")
    connection.send({configuration.name: {"working": peak - before, "peak": peak}})


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0
