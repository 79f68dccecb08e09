"""Letters for the indices of a definition, as a textbook would choose them.

An index is named after an axis it stands for alone: `n` where that has the extent of the batch, the axes of a weight
are `u d` or `o c p q`, those of other tensors `n c h w`, `n t d`, `n k`. What is left takes `i j k l ...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count

from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.form import Form, alone_index

#: By the number of axes. A letter that is taken is passed over.
WEIGHT = {1: "u", 2: "ud", 3: "ocp", 4: "ocpq", 5: "ocpqr"}
TENSOR = {1: "n", 2: "nk", 3: "ntd", 4: "nchw", 5: "nchwz"}
OTHERS = "ijklmpqrstuvabcdefgxyz"


def reads_of(form: Form) -> list[Read]:
    """Every distinct read of a form, outermost and leftmost first."""
    found: dict[Expr, None] = {}
    pending: list[Expr] = [form.body, *form.write]
    while pending:
        expr = pending.pop(0)
        if expr not in found:
            found[expr] = None
            pending[:0] = expr.children
    return [e for e in found if isinstance(e, Read)]


def _numbered() -> Iterator[str]:
    return (f"i{k}" for k in count(1))


class Letters:
    """Hands out the names of the indices of one definition. `taken` are names that have a meaning already."""

    def __init__(self, taken: Iterable[str], batch: Size | None):
        self.taken = set(taken)
        self.batch = batch

    def choose(self, wishes: Iterable[str], extent: Size) -> str:
        """The first of the wished letters that is free, else any free name."""
        if self.batch is not None and extent == self.batch:
            wishes = ("n", *wishes)
        letter = next(name for name in chain(wishes, OTHERS, _numbered()) if name not in self.taken)
        self.taken.add(letter)
        return letter

    def fork(self) -> Letters:
        """For one term: what it takes is free for the next."""
        return Letters(self.taken, self.batch)


def wish(rank: int, axis: int, is_weight: bool) -> str:
    """The usual letter of an axis."""
    letters = (WEIGHT if is_weight else TENSOR).get(rank, "")
    return letters[axis : axis + 1]


def wishes_of_reads(form: Form, weights: Sequence[bool]) -> dict[int, list[str]]:
    """For each axis of the domain the letters of the axes it is read at alone, those of weights first."""
    found: dict[int, list[str]] = {}
    for read in sorted(reads_of(form), key=lambda r: not weights[r.slot]):
        for axis, place in enumerate(read.place):
            k = alone_index(place)
            if k is not None:
                letter = wish(len(read.place), axis, weights[read.slot])
                found.setdefault(k, []).extend(letter)
    return found
