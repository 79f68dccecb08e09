"""Which of several ways something is computed in, where a cost can only be estimated: what was measured says so.

    point = Point("tile", digest of what is computed)
    ways: texts, each the name of a way that the compiler can go; the first one is what its cost model would choose

A way that was measured to be the best is kept by its name. Where a name is not among the ways of its point (it is of another
version, or damaged), the cost model chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from diffgraph.ir.expression import digest_of

#: Kinds of points.
TILE, LOOPS, FILTERING, THREADS = "tile", "loops", "filtering", "threads"


@dataclass(frozen=True, order=True)
class Point:
    """Something that can be computed in several ways: its kind, and a hash of all that the ways depend on."""

    kind: str
    digest: str


def point(kind: str, *of) -> Point:
    """The point of a kind for plain values."""
    return Point(kind, digest_of(*of))


@dataclass(frozen=True)
class Choices:
    """The ways that were chosen by measurement: (point, name of the way), in order of the points. All others are left to the
    cost model."""

    made: tuple[tuple[Point, str], ...] = ()

    @cached_property
    def _ways(self) -> Mapping[Point, str]:
        return dict(self.made)

    @cached_property
    def _hash(self) -> int:
        return hash(self.made)

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        return bool(self.made)

    def of(self, point: Point) -> str | None:
        """The name of the way that was chosen for a point."""
        return self._ways.get(point)

    def with_(self, ways: Mapping[Point, str]) -> Choices:
        """These choices and others, which take the place of those for the same points."""
        return Choices(tuple(sorted({**self._ways, **ways}.items())))

    def only(self, kinds: Iterable[str]) -> Choices:
        """The choices for points of some kinds."""
        wanted = frozenset(kinds)
        return Choices(tuple((p, way) for p, way in self.made if p.kind in wanted))


#: The cost model alone.
ESTIMATED = Choices()
