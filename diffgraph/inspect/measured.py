"""What tuning has found about a program: for each point that was measured, the way it goes and what that gains."""

from __future__ import annotations

from collections.abc import Iterator

from diffgraph.ir.program import Program, Provenance
from diffgraph.kernels.schedule import schedule
from diffgraph.kernels.tiles import tile_point
from diffgraph.passes.choices import THREADS, Point
from diffgraph.passes.report import Entry
from diffgraph.passes.winograd import choices_in
from diffgraph.runtime.measured import Measurement, Measurements, measured_machine
from diffgraph.runtime.plan import threads_point

#: What `explain` calls it, beside the passes.
STEP = "tune"

#: What the ways at a point of a kind are ways to do.
_WHAT = {"tile": "tiles", "loops": "order of blocks", "threads": "threads", "filtering": "convolution"}


def entries(before: Program, optimized: Program, known: Measurements, precision: str, fast: bool) -> list[Entry]:
    """What was measured of a program, as it comes to `winograd` and after the passes."""
    found = []
    for point, title, provenance in _points(before, optimized, known, precision, fast):
        measurement = known.of(point)
        if measurement is not None:
            found.append(Entry(STEP, measurement.is_news, f"{title}: {_said(measurement)}", provenance))
    return list(dict.fromkeys(found))


def _points(
    before: Program, optimized: Program, known: Measurements, precision: str, fast: bool
) -> Iterator[tuple[Point, str, Provenance]]:
    """Every point of a program, with a name of what it is about, and where that comes from."""
    for definition, ways in choices_in(before, fast):
        yield ways.point, definition.tensor.name, definition.provenance
    sizes = dict.fromkeys(m.sizes for m in known.all if m.point.kind == THREADS)
    for kernel in schedule(optimized, measured_machine(precision)).kernels:
        if kernel.ways is not None:
            yield tile_point(kernel.ways.forms, kernel.ways.written), kernel.name, kernel.provenance
            yield kernel.ways.point, kernel.name, kernel.provenance
        for of in sizes:
            if {str(s) for s in kernel.symbols} <= dict(of).keys():
                yield threads_point(kernel, dict(of)), kernel.name, kernel.provenance


def _said(found: Measurement) -> str:
    what = _WHAT[found.point.kind]
    if found.is_news:
        return f"{what}: {found.way}, {found.gain:.2f} times as fast as {found.estimated} (measured)"
    return f"{what}: {found.estimated} is the best that was measured"
