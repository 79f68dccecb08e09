"""A step that fits into a given amount of memory."""

from __future__ import annotations

from collections.abc import Mapping

from diffgraph.diagnostics import error
from diffgraph.ir.dimension import evaluate, product
from diffgraph.ir.program import Program
from diffgraph.kernels.commit import place_commits
from diffgraph.kernels.reuse import reuse
from diffgraph.kernels.schedule import schedule
from diffgraph.passes.order import BYTES
from diffgraph.passes.recompute import peak_of, recompute
from diffgraph.passes.report import Report
from diffgraph.runtime import values
from diffgraph.runtime.amounts import readable
from diffgraph.runtime.measured import measured_machine
from diffgraph.runtime.plan import Code, Planner

#: How often the estimate of what a program takes is corrected by what its plan really takes.
MOST_ATTEMPTS = 6


class _AnyCode(dict):
    """Stands for machine code while only memory is planned."""

    def __missing__(self, key):
        return Code(0, ())


def kept_bytes(program: Program, sizes: Mapping[str, int], precision: str) -> int:
    """Bytes of what a step is given: inputs, parameters, states, constants."""
    width = values.DTYPES[precision]["float"].itemsize
    widths = {**BYTES, "float": width}
    tensors = [i.tensor for i in program.inputs]
    return sum(widths[t.kind] * evaluate(product(t.shape), sizes) for t in tensors)


def arena_bytes(program: Program, sizes: Mapping[str, int], precision: str) -> int:
    """Bytes that a step with commits takes beside what it is given."""
    commits = reuse(place_commits(schedule(program, measured_machine(precision)), program), program)
    given = frozenset(i.tensor.name for i in program.inputs)
    real = values.DTYPES[precision]["float"].name
    planner = Planner(commits, sizes, real, 1, _AnyCode(), given, True, frozenset())
    return planner.plan().arena


def fit(program: Program, sizes: Mapping[str, int], limit: int, precision: str, report: Report | None = None) -> Program:
    """The optimized program of a step, changed so that inputs, parameters, states and everything between take at most
    `limit` bytes: what is large and idle is computed again. An error says by how much it fails.

    sizes: of the symbols, the batch among them.
    """
    report = report if report is not None else Report()
    width = values.DTYPES[precision]["float"].itemsize
    kept = kept_bytes(program, sizes, precision)
    wanted = limit - kept
    found, taken = program, arena_bytes(program, sizes, precision)
    estimate = min(wanted, peak_of(program, sizes, width))
    least = taken
    for _ in range(MOST_ATTEMPTS):
        if taken <= wanted:
            return found
        # What is shared by kernels, and what only they see, is not in the estimate: it is corrected by the difference.
        estimate -= max(0, taken - wanted) if found is not program else 0
        found = recompute(program, sizes, max(0, estimate), report, width)
        taken = arena_bytes(found, sizes, precision)
        least = min(least, taken)
        if estimate <= 0:
            break
    if taken <= wanted:
        return found
    raise error(
        "DG815",
        f"a step takes {readable(kept + least)} at least, {readable(kept + least - limit)} more than the"
        f" {readable(limit)} that it may: {readable(kept)} of inputs, parameters and states, {readable(least)} between",
        help="a smaller batch takes less",
    )
