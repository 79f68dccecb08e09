"""Where the time of a run goes: a plan that looks at the clock after each of its kernels."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diffgraph.diagnostics import error
from diffgraph.ir.program import Program
from diffgraph.kernels.steps import Step
from diffgraph.runtime.executable import Executable
from diffgraph.runtime.native import NativeExecutable
from diffgraph.runtime.packed import PackedExecutable
from diffgraph.runtime.plan import Planner
from diffgraph.runtime.prepared import PreparedExecutable
from diffgraph.runtime.run import Run
from diffgraph.targets.cpu.rows import CALL, TICK

#: Rows of a plan that can be timed.
MOST_ROWS = 1 << 16


@dataclass(frozen=True)
class Timing:
    """Seconds that a step of the schedule took in one run, all its repetitions together, waiting for other threads
    included. step: None for what is copied around the steps. threads: how many shared it."""

    step: Step | None
    seconds: float
    threads: int


@dataclass(frozen=True)
class Profile:
    """Of one run. timings: in order. seconds: the whole run. arena: bytes of everything that is computed between.
    program: what was run: without what had been prepared before. sizes: what its symbols were.
    """

    program: Program
    sizes: Mapping[str, int]
    timings: tuple[Timing, ...]
    seconds: float
    arena: int


class _Watch:
    """Writes a plan of one step with a look at the clock after each row that takes time. Samples that are apart are one share:
    threads that go through theirs without waiting for each other could not be told apart by one clock.

    words: the last tick, the time before the first row, and then the time of each of `rows` (step, threads).
    """

    def __init__(self):
        self.words = np.zeros(MOST_ROWS, np.int64)
        self.rows: list[tuple[Step | None, int]] = []

    def __call__(self, planner: Planner) -> None:
        planner.take_one_share()
        self._tick(planner, 1)
        planner.watch = self._note
        planner.step()

    def _note(self, planner: Planner) -> None:
        row = planner.rows[-1]
        self.rows.append((planner.now, row[5] if row[0] == CALL else 1))
        self._tick(planner, 1 + len(self.rows))

    def _tick(self, planner: Planner, cell: int) -> None:
        planner.row(TICK, self.words.ctypes.data, min(cell, MOST_ROWS - 1))


def profile(
    executable: Executable, inputs: Mapping[str, np.ndarray], commit: bool = False, repeats: int = 5
) -> Profile:
    """The medians of a number of runs after a first one. With `commit`, parameters and states change as in training."""
    executable = executable.for_inputs(inputs)
    if executable.is_on_device:
        from diffgraph.runtime.device_profile import device_profile

        return device_profile(executable, inputs, commit, repeats)
    if isinstance(executable, PreparedExecutable):
        executable.run(inputs)
        executable = executable.rest
    if commit and isinstance(executable, PackedExecutable):
        executable = executable.settled()
    if not isinstance(executable, NativeExecutable):
        raise error("DG940", "only programs for the targets cpu and cuda have kernels that can be timed")
    arrays = executable._arrays(inputs)
    watch = _Watch()
    run = Run(executable, executable._sizes(arrays), commit, watch, frozenset())
    prepared = run.prepared({executable.given[path].tensor.name: array for path, array in arrays.items()})
    words = watch.words[: 2 + len(watch.rows)]
    run.execute(prepared)
    began, first = time.perf_counter(), words[0]
    ticks = np.zeros((repeats, len(words)), np.int64)
    for number in range(repeats):
        words[1:] = 0
        run.execute(prepared)
        ticks[number] = words
    # Both ends are the end of a run, so that the units of the clock follow from the time between.
    unit = (time.perf_counter() - began) / max(1, words[0] - first)
    seconds = np.median(ticks[:, 2:], axis=0) * unit
    timings = [Timing(step, float(s), threads) for (step, threads), s in zip(watch.rows, seconds)]
    whole = float(np.median(ticks[:, 2:].sum(axis=1)) * unit)
    return Profile(executable.program, dict(run.planner.sizes), tuple(timings), whole, run.plan.arena)
