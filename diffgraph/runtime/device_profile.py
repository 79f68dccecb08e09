"""Where the time of a step on a device goes: each of its kernels by itself, on what the step left in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from diffgraph.kernels.steps import Launch, Repeat, Step
from diffgraph.runtime.device import DeviceExecutable, DeviceRun
from diffgraph.runtime.device_program import Start
from diffgraph.runtime.limits import Limits
from diffgraph.runtime.profile import Profile, Timing
from diffgraph.targets.cuda.machine import Machine

#: A kernel is started so often at once: a start by itself takes longer than many kernels run.
TOGETHER = 20


def limits_of(executable: DeviceExecutable, precision: str) -> Limits:
    """What the device can do at most, from what it says of itself."""
    machine = Machine.of(executable.driver)
    return Limits(machine.operations(precision), machine.bandwidth, 1)


def device_profile(executable: DeviceExecutable, inputs: Mapping[str, np.ndarray], commit: bool, repeats: int) -> Profile:
    """The medians of a number of runs of each kernel after a first one. With `commit`, parameters and states change."""
    arrays = executable._arrays(inputs)
    sizes = executable._sizes(arrays)
    run = DeviceRun(executable, sizes, commit, None, frozenset(), apart=True)
    run.upload({executable.given[path].tensor.name: array for path, array in arrays.items()})
    run.start()
    steps = _steps(executable.commits.schedule.steps)
    seconds: dict[object, float] = {}
    made: dict[object, Step | None] = {}
    again = 1 if repeats == 1 else TOGETHER
    for item in run.plan.items:
        key = item.function if isinstance(item, Start) else "copies"
        start = run.alone(item, again)
        taken = np.median([_timed(start, executable.driver.wait) for _ in range(repeats)]) / again
        seconds[key] = seconds.get(key, 0.0) + float(taken)
        made[key] = steps.get(key)
    timings = tuple(Timing(made[key], taken, 1) for key, taken in seconds.items())
    return Profile(executable.program, dict(sizes), timings, sum(seconds.values()), run.plan.arena)


def _steps(steps) -> dict[object, Step]:
    """The launches of a schedule by their kernels, those of loops too."""
    found: dict[object, Step] = {}
    for step in steps:
        if isinstance(step, Launch):
            found[step.kernel] = step
        elif isinstance(step, Repeat):
            found |= _steps(step.steps)
    return found


def _timed(start: Callable[[], None], wait: Callable[[], None]) -> float:
    wait()
    before = time.perf_counter()
    start()
    wait()
    return time.perf_counter() - before
