"""What symbols must fulfil: comparisons of sizes that were left open, said as briefly as they can be.

Halving a size four times and doubling it again asks `H // 8 == 2 * (H // 16)`, `H // 4 == 2 * (H // 8)` and so on; all of
that is `H % 16 == 0`.
"""

from __future__ import annotations

from math import lcm

from diffgraph.ir.dimension import Size
from diffgraph.language import sizes
from diffgraph.language.values import Undecided

Comparison = tuple[str, Size, Size]  # (op, left, right)


class Requirements:
    """Comparisons that must hold, each with the place that asked first."""

    def __init__(self):
        self._places: dict[Comparison, str] = {}

    def add(self, comparison: Comparison, place: str) -> None:
        """One more; `place` is empty or such as `from concat at line 22`."""
        self._places.setdefault(comparison, place)

    def imply_equal(self, a: Size, b: Size) -> bool:
        """Whether two sizes are equal where all that is required holds: 2 * (T // 2) and T, where 2 divides T."""
        known = list(self._divisors()[0].items()) if self._places else []
        return bool(known) and sizes.where_divisible(sizes.difference(("==", a, b)), known) == 0

    def texts(self) -> tuple[str, ...]:
        """All of them without what follows from the rest: of each size the largest divisor, then what is left."""
        divisors, places = self._divisors()
        known = list(divisors.items())
        found: dict[str, None] = {}
        for comparison, place in self._places.items():
            rest = sizes.where_divisible(sizes.difference(comparison), known)
            if comparison[0] == ">=" and sizes.at_least(rest, 0):
                continue
            if comparison[0] != "==" or rest != 0:
                found[_text(comparison, place)] = None
                continue
            for size, (divisor, own) in places.items():
                if own == comparison:
                    whole = sizes.multiply(sizes.floor_of(size, divisor), divisor)
                    found[_text(("==", size, whole), place)] = None
        return tuple(found)

    def _divisors(self) -> tuple[dict[Size, int], dict[Size, tuple[int, Comparison]]]:
        """What divides each size for all equalities to hold: the divisor, and with the comparison that asked for most."""
        divisors: dict[Size, int] = {}
        places: dict[Size, tuple[int, Comparison]] = {}
        changed = True
        while changed:
            changed = False
            for comparison in self._places:
                if comparison[0] != "==":
                    continue
                left = sizes.where_divisible(sizes.difference(comparison), list(divisors.items()))
                size, divisor = sizes.divisibility(left) or (None, 1)
                before = divisors.get(size, 1)
                if before % divisor:
                    divisors[size] = lcm(before, divisor)
                    places[size] = divisors[size], comparison
                    changed = True
        return divisors, places


def _text(comparison: Comparison, place: str) -> str:
    text = str(Undecided((comparison,)))
    return f"{text}, {place}" if place else text
