"""A workload on every side, ours first, taking turns."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.workloads import Workload
from diffgraph.inspect import turns
from diffgraph.inspect.turns import Configuration, Effort, Result


def compare(work: Workload, names: Sequence[str], threads: int, effort: Effort, folder: Path) -> list[Result]:
    """Seconds of a step. names: modules of `benchmarks.sides`. folder: for files of this workload."""
    arrays = folder / f"{work.name}.npz"
    sides = [
        partial(turns.Side, threads, configurations, name, work, threads, arrays)
        for name in dict.fromkeys(["ours", *names])
    ]
    results = turns.compare(sides, effort)
    arrays.unlink(missing_ok=True)
    for result in results:
        result.seconds = [seconds / work.steps for seconds in result.seconds]
    return results


def configurations(name: str, work: Workload, threads: int, arrays: Path) -> Iterator[Configuration]:
    """Those of a side."""
    yield from importlib.import_module(f"benchmarks.sides.{name}").configurations(work, threads, arrays)
