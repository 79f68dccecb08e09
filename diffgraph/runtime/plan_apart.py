"""The rows of steps whose samples are apart: threads go through them share by share (see `kernels/regions.py`).

What the steps alone need lies in memory that each thread has for itself, planned for one share. What lies outside is
written and read from the first sample of the share on.
"""

from __future__ import annotations

from copy import copy

from diffgraph.kernels.steps import Apart, Launch, Repeat, Step
from diffgraph.runtime.arena import Life, place
from diffgraph.targets.cpu.rows import APART, BEGIN, END, LINK, PLACE, WIDTH


def write_apart(planner, step: Apart) -> None:
    """Writes the rows of a step of a planner, which has just come to it."""
    size, count = planner.extent_of(step.share), planner.extent_of(step.shares)
    if count == 1:
        _together(planner, step)
        return
    own = f"{step.share} (own)"
    rest = planner.extent(step.samples) - (count - 1) * size
    shares = [_Share(planner, step, s) for s in dict.fromkeys((size, rest))]
    # Smaller shares find their tensors where those of whole ones are.
    offsets, total = shares[0].placed()
    work = planner.extent(step.samples) * _work(planner, step.steps) // max(1, size)
    threads = planner.threads_for(count, work)
    planner.spare[own] = total * threads
    for name in (own, *shares[0].outside(), *(v.outer for v in step.views), *(outer for _, outer in step.sums)):
        planner.touch(planner.memory.get(name, name))
    planner.row(APART, count, 0, 0, 0, threads)
    at = len(planner.rows) - 1
    starts = [shares[k].write(own, offsets, total, size) for k in (0, len(shares) - 1)]
    planner.rows[at][2], planner.rows[at][6] = len(planner.rows), starts[1]
    # Where a plan ends threads wait for each other at a row.
    planner.row(LINK, 0, 0, 0)


def _together(planner, step: Apart) -> None:
    """All samples are one share, whose kernels are shared out."""
    around = [*((v.inner, v.outer) for v in step.views), *step.sums]
    for inner, outer in around:
        planner.linked.add(inner)
        planner.touch(planner.memory[outer])
        planner.row(LINK, planner.slot(inner), planner.slot(outer), 0)
    for inner in step.steps:
        planner.write(inner)
    for _, outer in around:
        planner.touch(planner.memory[outer])


def _work(planner, steps: tuple[Step, ...]) -> int:
    """Scalar operations for one share, roughly."""
    total = 0
    for step in steps:
        if isinstance(step, Launch):
            total += planner.extent(step.kernel.work)
        elif isinstance(step, Repeat):
            total += planner.extent(step.length) * _work(planner, step.steps)
    return total


class _Share:
    """The rows for a share of some size, as one thread runs them."""

    def __init__(self, planner, step: Apart, size: int):
        self.planner = planner
        self.step = step
        inner = copy(planner)
        inner.sizes = {**planner.sizes, step.share: size}
        inner.threads, inner.clock = 1, 0
        inner.rows, inner.linked = [], {*(v.inner for v in step.views), *(i for i, _ in step.sums)}
        inner.spare, inner.first, inner.last, inner._known = {}, {}, {}, {}
        for one in step.steps:
            inner.write(one)
        self.inner = inner

    def placed(self) -> tuple[dict[str, int], int]:
        """(the place of each tensor in a thread's own memory, how much that is)."""
        inner = self.inner
        own = self.step.own | inner.spare.keys()
        lives = {n: Life(f, inner.last[n]) for n, f in inner.first.items() if n in own and n not in inner.linked}
        return place(lives, {n: inner.bytes(n) for n in lives})

    def outside(self) -> list[str]:
        """The memories that it touches and that are no thread's own."""
        inner = self.inner
        return sorted(n for n in inner.first if n not in self.step.own | inner.spare.keys() | inner.linked)

    def write(self, own: str, offsets: dict[str, int], total: int, size: int) -> int:
        """Adds the rows to the plan; gives the number of the first. size: of a whole share."""
        planner, step = self.planner, self.step
        first = len(planner.rows)
        parts = self.inner.parts.items()
        offsets = offsets | {n: offsets[p.base] + self.inner.part_offset(n) for n, p in parts if p.base in offsets}
        rows = [[PLACE, planner.slot(n), planner.slot(own), at, 0, total] for n, at in offsets.items() if n in planner.slots]
        for view in step.views:
            more = size * planner.extent(view.stride) * planner.element_bytes(view.outer)
            rows.append([PLACE, planner.slot(view.inner), planner.slot(view.outer), 0, more, 0])
        for inner, outer in step.sums:
            rows.append([PLACE, planner.slot(inner), planner.slot(outer), 0, planner.bytes(inner), 0])
        base = first + len(rows)
        planner.rows += [[*row, *[0] * (WIDTH - len(row))] for row in rows]
        for row in self.inner.rows:
            moved = list(row)
            if row[0] == BEGIN:
                moved[3] += base
            elif row[0] == END:
                moved[2] += base
            planner.rows.append(moved)
        return first
