"""Fair timing of several programs: each in a process of its own, in short rounds, while the others wait.

A round asks every configuration of every side for calls until its share of time is over. A turn during which other
processes of the machine used its processors is taken again. What counts is the median over the rounds of the median of
each.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from diffgraph.runtime.foreign import Foreign

#: Idle seconds before a turn, in which the spinning threads of the last one go to sleep.
PAUSE = 0.03

#: A turn is taken again if others used more than this part of it.
FOREIGN = 0.08


@dataclass(frozen=True)
class Configuration:
    """A way of one side to do the work. exact: it computes the same numbers as the first side."""

    name: str
    make: Callable[[], Prepared]
    exact: bool = True


@dataclass(frozen=True)
class Prepared:
    """run() makes the steps of one call. evidence: numbers that must agree with those of the first side, or None."""

    run: Callable[[], Any]
    evidence: np.ndarray | None


@dataclass
class Result:
    """Of one configuration. seconds: median of each round, for one call. agrees: None where it cannot be told. dirty:
    rounds that others disturbed to the end. error: why it could not be measured."""

    name: str
    seconds: list[float] = field(default_factory=list)
    agrees: bool | None = None
    dirty: int = 0
    error: str = ""

    @property
    def median(self) -> float:
        """Seconds of a call."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Effort:
    """How carefully to measure: turns of each configuration, seconds of a turn, how often a disturbed one is taken
    again, and files whose locks are held meanwhile."""

    rounds: int = 7
    seconds: float = 0.2
    retries: int = 5
    locks: tuple[Path, ...] = ()


class Side:
    """A process that makes configurations and runs them when asked. `make(*arguments)` is a function of a module; the
    process may use so many processors as threads."""

    def __init__(self, threads: int, make: Callable[..., Iterable[Configuration]], *arguments):
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, threads, make, arguments), daemon=True)
        self.process.start()
        far.close()
        #: (result, evidence or None) of each configuration.
        self.prepared: list[tuple[Result, np.ndarray | None]] = []

    def prepare(self) -> None:
        """Waits until every configuration is made."""
        while (message := self._receive()) is not None:
            name, exact, evidence, problem = message
            self.prepared.append((Result(name, error=problem), evidence if exact else None))

    def turn(self, number: int, seconds: float) -> tuple[list[float], float]:
        """(seconds of each call, processor time of strangers as a part of the turn) of a configuration."""
        try:
            self.connection.send((number, seconds))
            found, foreign, problem = self.connection.recv()
        except (EOFError, OSError):
            found, foreign, problem = [], 0.0, "the process has died"
        self.prepared[number][0].error = problem
        return found, foreign

    def _receive(self):
        try:
            return self.connection.recv()
        except EOFError:
            self.prepared.append((Result("?", error="the process has died"), None))
            return None

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()


def compare(contests: Iterable[Iterable[Callable[[], Side]]], effort: Effort) -> list[list[Result]]:
    """The results of each contest, a number of sides. All are made ready, what each computed is compared with what the
    first of its contest did, and then one contest after the other is timed while the locks are held."""
    ready: list[list[Side]] = []
    try:
        for sides in contests:
            ready.append([])
            with held(effort.locks, shared=True):
                _prepare(sides, ready[-1])
            _judge(ready[-1])
        with held(effort.locks):
            for sides in ready:
                for _ in range(effort.rounds):
                    _round(sides, effort)
        return [[result for side in sides for result, _ in side.prepared] for sides in ready]
    finally:
        for side in (side for sides in ready for side in sides):
            side.close()


def _prepare(sides: Iterable[Callable[[], Side]], started: list[Side]) -> None:
    """Starts the first side and then, since they may read what it has written, the others."""
    first, *others = sides
    started.append(first())
    started[0].prepare()
    started += [start() for start in others]
    for side in started[1:]:
        side.prepare()


def _round(sides: Sequence[Side], effort: Effort) -> None:
    for side in sides:
        for number, (result, _) in enumerate(side.prepared):
            if result.error:
                continue
            for attempt in range(1 + effort.retries):
                time.sleep(PAUSE if not attempt else 0.25)
                found, foreign = side.turn(number, effort.seconds)
                if foreign < FOREIGN or result.error:
                    break
            else:
                result.dirty += 1
            result.seconds += [statistics.median(found)] if found else []


def _judge(sides: Sequence[Side]) -> None:
    if not sides[0].prepared or (first := sides[0].prepared[0][1]) is None:
        return
    for side in sides[1:]:
        for result, evidence in side.prepared:
            if evidence is not None:
                result.agrees = agree(first, evidence)


def agree(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two results are the same but for rounding: within 0.5 % of the largest number."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return False
    return bool(np.abs(ours - theirs).max(initial=0) <= 5e-3 * np.abs(ours).max(initial=0))


# ------------------------------------------------------------------------------------------------ in the process


def _serve(connection, threads: int, make: Callable, arguments: tuple) -> None:
    """The other end of a `Side`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    runs = []
    try:
        for configuration in make(*arguments):
            prepared, problem = _prepared(configuration)
            runs.append(prepared and prepared.run)
            connection.send((configuration.name, configuration.exact, prepared and prepared.evidence, problem))
    except Exception as problem:
        connection.send(("?", False, None, _said(problem)))
    connection.send(None)
    while (asked := connection.recv()) is not None:
        number, seconds = asked
        try:
            connection.send((*timed(runs[number], seconds), ""))
        except Exception as problem:
            connection.send(([], 0.0, _said(problem)))


def _prepared(configuration: Configuration):
    try:
        prepared = configuration.make()
        prepared.run()
        return prepared, ""
    except Exception as problem:
        return None, _said(problem)


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {str(problem).strip() or traceback.format_exc()}"[:500]


def available_threads() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def timed(run: Callable[[], Any], seconds: float) -> tuple[list[float], float]:
    """(seconds of each call, processor time of other processes as a part of it all) over at least so long."""
    start = time.perf_counter()
    run()
    if time.perf_counter() - start < seconds:
        # Caches are warm again, and threads awake.
        while time.perf_counter() - start < seconds / 8:
            run()
    others, found = Foreign(), []
    begin = end = time.perf_counter()
    while end - begin < seconds or not found:
        before = time.perf_counter()
        run()
        end = time.perf_counter()
        found.append(end - before)
    return found, others.share


@contextlib.contextmanager
def held(locks: Sequence[Path], shared: bool = False) -> Iterator[None]:
    """Holds locks of files, taken one after the other, for machines that several people use: exclusive ones, while
    something is timed, or shared ones."""
    if not locks:
        yield
        return
    import fcntl

    with contextlib.ExitStack() as stack:
        for path in locks:
            fcntl.flock(stack.enter_context(open(path, "a")), fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
