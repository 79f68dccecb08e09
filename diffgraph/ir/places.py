"""The range of a place, exactly: by trying every index where interval arithmetic says too much.

i - i % 4 + i % 2 stays within 0 and i, but an interval of each part alone does not see that.
"""

from __future__ import annotations

from math import prod

from diffgraph.ir.affine import Interval, interval
from diffgraph.ir.evaluate import values_over
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Operand
from diffgraph.ir.rewrite import rewrite

#: At most so many combinations of indices are tried.
MOST_POINTS = 1 << 18


def exact_range(expr: Expr, domain: tuple, operands: tuple[Operand, ...]) -> Interval:
    """The least and the greatest value of an int-valued expression over the domain, as `interval`, but exact where an
    index occurs several times and all that it depends on is known. An int that is read may be anything in its bound."""
    if not _repeats(expr):
        return interval(expr, domain, operands)
    read: dict[Read, Index] = {}
    extents = list(domain)

    def free(e: Expr) -> Expr:
        if type(e) is Read and e.otherwise is None and operands[e.slot].bound is not None:
            if e not in read:
                read[e] = Index(len(extents))
                extents.append(operands[e.slot].bound)
            return read[e]
        return e

    moved = rewrite(expr, free, [o.kind for o in operands])
    used = sorted(moved.indices)
    lengths = [extents[k] for k in used]
    if moved.slots or not _is_countable(moved) or not all(isinstance(n, int) for n in lengths):
        return interval(expr, domain, operands)
    if not 0 < prod(lengths) <= MOST_POINTS:
        return interval(expr, domain, operands)
    values = values_over(moved, tuple(n if k in used else 1 for k, n in enumerate(extents)))
    return int(values.min()), int(values.max())


def _repeats(expr: Expr) -> bool:
    """Whether an index or an int that is read occurs in several places."""
    seen: set[Expr] = set()
    left = [expr]
    while left:
        e = left.pop()
        if type(e) in (Index, Read):
            if e in seen:
                return True
            seen.add(e)
        if type(e) is not Read:
            left.extend(e.children)
    return False


def _is_countable(expr: Expr) -> bool:
    return type(expr) in (Affine, Call, Const, Index) and all(_is_countable(c) for c in expr.children)
