"""Tuning: where a cost is only estimated, the ways to compute something are tried out on this machine.

Each point is measured alone, on tensors of real shapes, its ways taking turns. Another way than the estimated one is only
taken where it is clearly better, twice. What was found is kept (`measured`), so that it serves every later compilation, and
nothing is measured again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from diffgraph.ir.dimension import evaluate, symbols
from diffgraph.ir.program import Program
from diffgraph.kernels.tiles import Machine, tile_point, worth_measuring
from diffgraph.passes.choices import Choices, Point
from diffgraph.passes.cost import USUAL_EXTENT
from diffgraph.passes.pipeline import optimize, position, resumed
from diffgraph.passes.prepare import split_prepared
from diffgraph.passes.report import Report
from diffgraph.passes.winograd import choices_in
from diffgraph.runtime.fit import arena_bytes, kept_bytes
from diffgraph.runtime.foreign import Foreign
from diffgraph.runtime.measured import Measurement, Measurements, measurements
from diffgraph.runtime.native import compiled_ahead
from diffgraph.runtime.parts import Part, around, kernel_parts
from diffgraph.runtime.plan import WORK_PER_THREAD, threads_point
from diffgraph.runtime.team import available_threads
from diffgraph.runtime.trial import SECOND_CACHE, Trial, timed
from diffgraph.runtime.variants import is_many
from diffgraph.targets.cpu.machine import machine

#: Another way is taken where it is so many times as fast as the estimated one, in so many of the rounds.
CLEARLY, MOSTLY = 1.05, 0.75

#: Rounds of a first look at all ways, and of the comparison of the best one with the estimated one.
ROUNDS, ROUNDS_AGAIN = 5, 9

#: Threads are measured where the work of a kernel is within this factor of what is worth another one.
UNSURE_OF_THREADS = 8

#: What is timed while others use more than this part of a processor is timed again, so often, after so many seconds.
MOST_FOREIGN, ATTEMPTS, PAUSE = 0.08, 5, 0.2

#: The best of some ways: given trials, the estimated one first, the number of the best and how many times as fast it is.
Judge = Callable[[Sequence[Trial]], tuple[int, float] | None]


@dataclass(frozen=True)
class Way:
    """A way at a point: its name, and what to run."""

    name: str
    program: Program
    machine: Machine
    threads: int


@dataclass
class Tuning:
    """Tunes programs. found: what was measured by it, in order. disturbed: at how many points nothing could be measured."""

    measurements: Measurements
    machine: Machine
    precision: str
    threads: int
    judge: Judge = field(default_factory=lambda: judged)
    trial: Callable[..., Trial] = Trial
    found: list[Measurement] = field(default_factory=list)
    disturbed: int = 0

    @staticmethod
    def on_this_machine(precision: str, threads: int | None) -> Tuning:
        """What tunes for at most so many threads, and keeps what it finds in the default cache directory."""
        own = machine(precision)
        return Tuning(measurements(precision), own, precision, max(1, threads or available_threads()))

    def program(
        self, program: Program, sizes: Mapping[str, int], fast: bool, prepare: bool, batch: str | None = None
    ) -> None:
        """Tunes all of a program that is as it was before the passes, for sizes of its symbols; those that are not given
        count as usual. batch: the symbol of the number of samples. prepare: see `build`."""
        open_sizes = {s for i in program.inputs for extent in i.tensor.shape for s in symbols(extent)}
        sizes = {**dict.fromkeys(open_sizes, USUAL_EXTENT), **sizes}
        before = optimize(program, until=position("winograd"), interleaved=is_many(sizes.get(batch)))
        self.filters(before, sizes, fast, prepare)
        self.kernels(resumed(before, "winograd", fast, self.measurements.choices()), sizes, prepare)

    def filters(self, program: Program, sizes: Mapping[str, int], fast: bool, prepare: bool) -> None:
        """How convolutions are computed. program: as it comes to `winograd`. prepare: see `build`."""
        for definition, ways in choices_in(program, fast):
            alone = around(definition, program)
            names = sorted(ways.named, key=lambda name: ways.named[name] != ways.estimated)
            made = []
            for name in names:
                lowered = resumed(alone, "winograd", fast, Choices(((ways.point, name),)))
                made.append(Way(name, _rest(lowered, prepare), self._machine_now(), self.threads))
            compiled_ahead([(w.program, w.machine) for w in made], self.precision)
            paths = dict.fromkeys(o.path for o in definition.provenance if o.path)
            self._measure(ways.point, made, sizes, True, ", ".join(paths) or definition.tensor.name)

    def kernels(self, program: Program, sizes: Mapping[str, int], prepare: bool) -> None:
        """How kernels are written, and how many threads run them. program: after the passes. prepare: see `build`."""
        rest = _rest(program, prepare)
        # Other kernels leave little of what one has touched in a near cache, if there is that much.
        moved = arena_bytes(rest, sizes, self.precision) + kept_bytes(rest, sizes, self.precision)
        spread = moved > SECOND_CACHE
        for ways_of in (self._tiles, self._orders, self._thread_counts(sizes)):
            parts = kernel_parts(rest, self._machine_now())
            tried = [(part, *found) for part in parts if (found := ways_of(part)) is not None]
            compiled_ahead([(w.program, w.machine) for _, _, ways in tried for w in ways], self.precision)
            for part, point, ways in tried:
                self._measure(point, ways, sizes, spread, part.about)

    def _machine_now(self) -> Machine:
        return replace(self.machine, choices=self.measurements.choices())

    def _with(self, point: Point, way: str) -> Machine:
        """The machine as if a way had been measured to be the best."""
        now = self._machine_now()
        return replace(now, choices=now.choices.with_({point: way}))

    def _tiles(self, part: Part) -> tuple[Point, list[Way]] | None:
        ways = part.kernel.ways
        if ways is None:
            return None
        point = tile_point(ways.forms, ways.written)
        names = worth_measuring(ways.forms, ways.written, self.machine)
        return point, [Way(n, part.program, self._with(point, n), self.threads) for n in names]

    def _orders(self, part: Part) -> tuple[Point, list[Way]] | None:
        ways = part.kernel.ways
        if ways is None:
            return None
        return ways.point, [Way(n, part.program, self._with(ways.point, n), self.threads) for n in ways.orders]

    def _thread_counts(self, sizes: Mapping[str, int]):
        def ways_of(part: Part) -> tuple[Point, list[Way]] | None:
            work, all_of_them = evaluate(part.kernel.work, sizes), self.threads
            if all_of_them == 1 or not 1 / UNSURE_OF_THREADS < work / (all_of_them * WORK_PER_THREAD) < UNSURE_OF_THREADS:
                return None
            point = threads_point(part.kernel, sizes)
            estimated = max(1, min(all_of_them, work // WORK_PER_THREAD))
            counts = dict.fromkeys((estimated, 1, all_of_them))
            return point, [Way(str(n), part.program, self._with(point, str(n)), all_of_them) for n in counts]

        return ways_of

    def _measure(self, point: Point, ways: Sequence[Way], sizes: Mapping[str, int], spread: bool, about: str) -> None:
        """Keeps which way is the best, unless that is known for these sizes, or others use the processors all the time."""
        known = self.measurements.of(point)
        of_sizes = tuple(sorted(sizes.items()))
        if len(ways) < 2 or known is not None and known.sizes == of_sizes:
            return
        trials: dict[tuple, tuple[str, Trial]] = {}
        shared: dict = {}
        for way in ways:
            trial = self.trial(way.program, sizes, self.precision, way.threads, way.machine, spread, shared)
            trials.setdefault(trial.identity, (way.name, trial))
        names, made = zip(*trials.values())
        verdict = self.judge(made)
        if verdict is None:
            self.disturbed += 1
            return
        best, gain = verdict
        found = Measurement(point, names[best], ways[0].name, float(gain), of_sizes, about)
        self.measurements.keep(found)
        self.found.append(found)


def _rest(program: Program, prepare: bool) -> Program:
    """What of a program is computed in each run."""
    split = split_prepared(program, Report()) if prepare else None
    return program if split is None else split.rest


def judged(
    trials: Sequence[Trial], times: Callable = timed, others: Callable = Foreign, pause: Callable = time.sleep
) -> tuple[int, float] | None:
    """(number of the best way, how many times as fast it is as the first one): the first one unless another is clearly
    better, and is so again when the two are compared alone. None where other processes disturb every attempt.

    times(trials, rounds): as `trial.timed`. others(): what has a `share`, see `Foreign`.
    """
    for _ in range(ATTEMPTS):
        watch = others()
        found = _compared(trials, times)
        if watch.share < MOST_FOREIGN:
            return found
        pause(PAUSE)
    return None


def _compared(trials: Sequence[Trial], times: Callable) -> tuple[int, float]:
    if len(trials) < 2:
        return 0, 1.0
    medians = [statistics.median(taken) for taken in times(trials, ROUNDS)]
    best = min(range(len(trials)), key=lambda k: medians[k])
    if best == 0 or medians[0] < CLEARLY * medians[best]:
        return 0, 1.0
    first, other = times([trials[0], trials[best]], ROUNDS_AGAIN)
    gain = statistics.median(first) / statistics.median(other)
    wins = sum(a > b for a, b in zip(first, other))
    return (best, gain) if gain >= CLEARLY and wins >= MOSTLY * len(first) else (0, 1.0)
