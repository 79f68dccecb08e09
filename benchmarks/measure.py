"""Workloads on every side, ours first, taking turns."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.workloads import Workload
from diffgraph.inspect import turns
from diffgraph.inspect.turns import Configuration, Effort, Result


def compare(
    works: Sequence[Workload], names: Sequence[str], threads: int, effort: Effort, folder: Path
) -> list[list[Result]]:
    """Seconds of a step of each workload, all made ready before the first is timed. names: modules of
    `benchmarks.sides`. folder: for files of the workloads."""

    def contest(work: Workload) -> list:
        arguments = (work, threads, folder / f"{work.name}.npz")
        every = dict.fromkeys(["ours", *names])
        return [partial(turns.Side, threads, configurations, name, *arguments) for name in every]

    found = turns.compare([contest(work) for work in works], effort)
    for work, results in zip(works, found):
        for result in results:
            result.seconds = [seconds / work.steps for seconds in result.seconds]
    return found


def configurations(name: str, work: Workload, threads: int, arrays: Path) -> Iterator[Configuration]:
    """Those of a side."""
    yield from importlib.import_module(f"benchmarks.sides.{name}").configurations(work, threads, arrays)
