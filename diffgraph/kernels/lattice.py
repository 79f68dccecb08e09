"""Places that are written once each, at even distances: the whole of a tensor, a slice, its inside, a phase.

y[n, c, 2 * i + 1, j + 3]      steps (1, 0), (1, 0), (2, 1), (1, 3)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from diffgraph.ir.affine import affine, is_inside
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Expr, Index
from diffgraph.ir.form import Form
from diffgraph.ir.settle import settle


@dataclass(frozen=True)
class Lattice:
    """For each axis of a tensor: how far apart the places are, where the first one is, and how many there are. `axes`: the
    axes of a domain that they are written by."""

    steps: tuple[int, ...]
    starts: tuple[int, ...]
    extents: tuple[Size, ...]
    axes: tuple[int, ...]

    @property
    def places(self) -> tuple:
        """What tells it from other lattices of a tensor."""
        return self.steps, self.starts, self.extents

    @property
    def is_identity(self) -> bool:
        """Each loop is the axis itself, from its start."""
        return all(s == 1 for s in self.steps) and not any(self.starts)

    def at(self, where: Sequence[Expr]) -> list[Affine]:
        """The place of a point of the loops."""
        return [affine(start, ((w, step),)) for start, step, w in zip(self.starts, self.steps, where)]

    def misses(self, other: Lattice) -> bool:
        """Whether no place is in both."""
        return any(
            (a - b) % math.gcd(s, t) or _before(a, s, m, b) or _before(b, t, n, a)
            for a, s, m, b, t, n in zip(self.starts, self.steps, self.extents, other.starts, other.steps, other.extents)
        )


def _before(start: int, step: int, extent: Size, other: int) -> bool:
    """All of the places come before another."""
    return isinstance(extent, int) and start + step * (extent - 1) < other


@cache
def lattice_of(form: Form) -> Lattice | None:
    """The lattice that a form writes; None where its writes are of another kind, or may be outside."""
    found = [_line(w) for w in form.write]
    if None in found or len({axis for axis, _, _ in found}) != len(found):
        return None
    if not all(is_inside(w, s, form.domain) for w, s in zip(form.write, form.shape)):
        return None
    axes = tuple(axis for axis, _, _ in found)
    extents = tuple(form.domain[k] for k in axes)
    return Lattice(tuple(s for _, s, _ in found), tuple(c for _, _, c in found), extents, axes)


@cache
def trimmed(form: Form) -> Form:
    """The form without the points of its domain that write outside of the result, where a single index says which these
    are: y[c - 16] for c < 64 writes the same as y[c] for c < 32."""
    for axis, extent in enumerate(form.shape):
        place = form.write[axis]
        if len(place.terms) != 1 or type(place.terms[0][0]) is not Index:
            continue
        ((atom, step),) = place.terms
        length = form.domain[atom.axis]
        if step < 1 or not all(isinstance(n, int) for n in (extent, length, step, place.constant)):
            continue
        first, end = max(0, -(place.constant // step)), min(length, -((place.constant - extent) // step))
        if first < end and (first, end) != (0, length):
            domain = (*form.domain[: atom.axis], end - first, *form.domain[atom.axis + 1 :])
            inside = {atom.axis: affine(first, ((atom, 1),))}
            form = settle(Form(domain, form.op, form.write, form.shape, form.operands, form.body), inside)
    return form


@cache
def spread(form: Form) -> Form:
    """The form, writing fixed places of a tensor along axes of one element: y[n, 2] as y[n, h + 2] for h < 1."""
    fixed = [axis for axis, w in enumerate(form.write) if not w.terms and form.shape[axis] != 1]
    if form.is_projection or not fixed:
        return form
    write, domain = list(form.write), form.domain
    for axis in fixed:
        write[axis] = affine(write[axis].constant, ((Index(len(domain)), 1),))
        domain = (*domain, 1)
    return Form(domain, form.op, tuple(write), form.shape, form.operands, form.body)


def _line(place: Affine) -> tuple[int, int, int] | None:
    """(axis, step, start) of a place that moves evenly with one index."""
    if len(place.terms) != 1 or type(place.terms[0][0]) is not Index or place.terms[0][1] < 1 or place.constant < 0:
        return None
    (atom, step) = place.terms[0]
    return atom.axis, step, place.constant


@dataclass(frozen=True)
class Box:
    """Neighbouring places on every axis: from `starts`, `extents` many."""

    starts: tuple[int, ...]
    extents: tuple[Size, ...]


def filled_box(lattices: Sequence[Lattice]) -> Box | None:
    """The box that lattices fill, each of its places in exactly one of them; None if they do not."""
    for n, a in enumerate(lattices):
        if not all(a.misses(b) for b in lattices[:n]):
            return None
    starts, extents = [], []
    for axis in range(len(lattices[0].steps)):
        start = min(a.starts[axis] for a in lattices)
        starts.append(start)
        ends = [a.starts[axis] + a.steps[axis] * (a.extents[axis] - 1) + 1 - start for a in lattices]
        if not all(isinstance(e, int) for e in ends) and len(set(ends)) > 1:
            return None
        extents.append(max(ends) if len(set(ends)) > 1 else ends[0])
    if sum((product(a.extents) for a in lattices), 0) != product(extents):
        return None
    return Box(tuple(starts), tuple(extents))


def by_lattice(pieces: Sequence) -> list[tuple]:
    """The terms that write the same places, together."""
    found: dict[tuple, list] = {}
    for piece in pieces:
        found.setdefault(piece.lattice.places, []).append(piece)
    return [tuple(together) for together in found.values()]


def box_of(pieces: Sequence) -> Box | None:
    """The box that the terms fill between them; None if some place is written by terms of different lattices."""
    if any(p.lattice is None or p.form.op != "sum" for p in pieces):
        return None
    return filled_box([together[0].lattice for together in by_lattice(pieces)])


def strips_around(shape: Sequence[Size], inside: Box, axes: Sequence[int], depth: int) -> Iterator[tuple[list, list]]:
    """(starts, extents) on the axes from `depth` on of each strip around a box."""
    for axis in axes:
        start, extent = inside.starts[axis], inside.extents[axis]
        for first, count in ((0, start), (start + extent, shape[axis] - start - extent)):
            if count != 0:
                rest = shape[axis + 1 :]
                yield [*inside.starts[depth:axis], first, *(0 for _ in rest)], [*inside.extents[depth:axis], count, *rest]
