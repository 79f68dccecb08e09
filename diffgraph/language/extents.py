"""How far each index of a definition runs, and whether every read stays inside.

The extent of an index is the first of these that applies: a stated bound; the axes where it stands alone in unguarded reads,
which must agree; the same in guarded reads; the largest extent that keeps inside all unguarded affine reads it occurs in,
once their other indices are known, repeated until nothing changes.
"""

from __future__ import annotations

from diffgraph.diagnostics import Note, error
from diffgraph.ir.affine import Affine, interval
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Index
from diffgraph.ir.form import Operand, alone_index
from diffgraph.ir.program import Tensor
from diffgraph.language import sizes


def solve(notation) -> dict[int, Size]:
    """The extent of every index of a `Notation`. Every unguarded read is checked over the whole box."""
    extents: dict[int, Size] = {k: i.bound for k, i in enumerate(notation.indices) if i.bound is not None}
    for guarded in (False, True):
        _alone(notation, extents, guarded)
    while _largest(notation, extents):
        pass
    for k, info in enumerate(notation.indices):
        if k not in extents:
            raise error(
                "DG420",
                f"how far `{info.name}` runs is not known: no tensor is read at `{info.name}` alone",
                info.span,
                help=f"state a bound: `{info.name} < 10`",
            )
    domain = tuple(extents[k] for k in range(len(notation.indices)))
    for read in notation.reads:
        if not read.guarded:
            _check(read, domain, notation)
    return extents


def _alone(notation, extents: dict[int, Size], guarded: bool) -> None:
    """Extents of indices that stand alone in reads; two such reads must agree."""
    first: dict[int, tuple] = {}
    for read in notation.reads:
        if read.guarded is not guarded:
            continue
        for axis, place in enumerate(read.place):
            k = alone_index(place)
            if k is None or k in extents and k not in first:
                continue
            size = read.tensor.shape[axis]
            if k in first:
                _agree(notation, k, first[k], (read, axis, size))
            else:
                first[k] = (read, axis, size)
                extents[k] = size


def _agree(notation, k: int, first, second) -> None:
    (read, axis, size), (other, other_axis, other_size) = first, second
    name = notation.indices[k].name

    def problem():
        return error(
            "DG421",
            f"`{name}` runs over {size} here and over {other_size} there: axis {axis} of `{read.tensor.name}`"
            f" {_shape(read)} and axis {other_axis} of `{other.tensor.name}` {_shape(other)} differ",
            other.span,
            *[
                Note(f"`{r.tensor.name}` {_shape(r)} was made here", r.origin)
                for r in (read, other)
                if r.origin is not None
            ],
            help=f"state a bound: `{name} < {size}`",
        )

    notation.session.require_equal(size, other_size, problem, other.span)


def _shape(read) -> str:
    return "[" + ", ".join(map(str, read.tensor.shape)) + "]"


def _largest(notation, extents: dict[int, Size]) -> bool:
    """Finds the extent of an index from the reads it occurs in; False when there is nothing left to find."""
    for k in range(len(notation.indices)):
        if k in extents:
            continue
        limits = []
        for read in notation.reads:
            if read.guarded:
                continue
            for axis, place in enumerate(read.place):
                if k not in place.indices:
                    continue
                limit = _limit(place, k, read.tensor.shape[axis], extents, notation)
                if limit is None:
                    break
                limits.append(limit)
            else:
                continue
            break
        else:
            if limits:
                extents[k] = _least(limits)
                return True
    return False


def _least(limits: list[Size]) -> Size:
    best = limits[0]
    for limit in limits[1:]:
        smaller = sizes.smaller(best, limit)
        best = best if smaller is None else smaller
    return best


def _limit(place: Affine, k: int, size: Size, extents, notation) -> Size | None:
    """The largest extent of index k that keeps an affine place inside an axis; None while other indices are open."""
    own = [(a, c) for a, c in place.terms if k in a.indices]
    if len(own) != 1 or type(own[0][0]) is not Index:
        return None
    coefficient = own[0][1]
    others = Affine(place.constant, tuple((a, c) for a, c in place.terms if a is not own[0][0]))
    if not others.indices <= extents.keys():
        return None
    domain = tuple(extents.get(j, 1) for j in range(len(notation.indices)))
    low, high = interval(others, domain, _bounds(notation))
    if coefficient > 0:
        return None if high is None else sizes.floor_of(size - 1 - high, coefficient) + 1
    return None if low is None else sizes.floor_of(low, -coefficient) + 1


def _bounds(notation) -> list[Operand]:
    """What is known of the operands; a reduction that is not yet a tensor has no bound."""
    return [o.operand if isinstance(o, Tensor) else Operand((), o.kind) for o in notation.operands]


def _check(read, domain, notation) -> None:
    """An unguarded read must be inside for every index of the box."""
    if any(isinstance(e, int) and e == 0 for e in domain):
        return
    for axis, place in enumerate(read.place):
        size = read.tensor.shape[axis]
        k = alone_index(place)
        if k is not None and domain[k] == size:
            continue
        low, high = interval(place, domain, _bounds(notation))
        if low is None or high is None:
            raise error(
                "DG422",
                f"the place on axis {axis} of `{read.tensor.name}` {_shape(read)} has no known range",
                read.span,
                help=f"guard the read, `({read.span.text} else 0)`, or bound the index: `: int < {size}`, clamp, %",
            )
        inside = (sizes.at_least(low, 0), sizes.at_least(size - 1, high))
        if False in inside:
            raise error(
                "DG423",
                f"axis {axis} of `{read.tensor.name}` {_shape(read)} is read from {low} to {high},"
                f" but it has the places 0 to {size - 1}",
                read.span,
                *([Note(f"`{read.tensor.name}` was made here", read.origin)] if read.origin else ()),
                help=f"say what is read outside, `({read.span.text} else 0)`, or bound an index",
            )
        if None in inside:
            notation.session.requirements.setdefault(f"{high} < {size}, at line {read.span.line}", read.span)
