"""What a form is, from its access maps alone.

An index belongs to a factor of a product if it occurs anywhere in it. W is the set of indices written; A and B are the
largest index sets among the factors, of which those nested in one of them are a prologue (but under a window a nested
one is the filter). Then

    batch = W & A & B      m = W & A - B      n = W & B - A      k = A & B - W

An axis of a tensor is a window if its place is not one-to-one in its indices, such as 2 * i + p. One-to-one places are
views, so patch embeddings, groups and flattened matrix products are plain contractions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from diffgraph.ir.affine import is_injective
from diffgraph.ir.digits import split_digits
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form

KINDS = (
    "pointwise",  # nothing is reduced
    "view",  # nothing is reduced and nothing computed: elements of one tensor at other places
    "gather",  # read at a place that is read itself
    "scatter",  # written at a place that is read
    "reduction",  # of one operand, or not a sum
    "contraction",  # a sum of products over indices that two operands share
    "windowed contraction",  # the same through a window: a convolution, or the gradient of its filter
    "data gradient",  # written through a window: lowered by phases
    "depthwise",  # a window for each channel by itself
)


@dataclass(frozen=True)
class Window:
    """An axis whose place several pairs of indices share: of the output, or of the operand in a slot."""

    slot: int | None
    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Classification:
    """What a form is. `form`: the form with digits split, to whose indices the rest refers. `a` and `b`: the slots of
    the operands of a contraction, with those of their prologues."""

    kind: str
    form: Form
    batch: tuple[int, ...] = ()
    m: tuple[int, ...] = ()
    n: tuple[int, ...] = ()
    k: tuple[int, ...] = ()
    a: tuple[int, ...] = ()
    b: tuple[int, ...] = ()
    windows: tuple[Window, ...] = ()

    @property
    def is_contraction(self) -> bool:
        """A sum of products of two operands, through a window or not."""
        return self.kind in ("contraction", "windowed contraction", "data gradient", "depthwise")


@cache
def classify(form: Form) -> Classification:
    """What a canonical form is."""
    form = split_digits(form)
    reads = _reads(form.body)
    windows = _windows(form, reads)
    if any(_is_computed(w) for w in form.write):
        return Classification("scatter", form, windows=windows)
    if any(_is_computed(p) for r in reads for p in r.place):
        return Classification("gather", form, windows=windows)
    if not form.reduced and not any(w.slot is None for w in windows):
        is_view = type(form.body) is Read and (form.body.otherwise is None or type(form.body.otherwise) is Const)
        return Classification("view" if is_view else "pointwise", form, windows=windows)
    return _contraction(form, windows) or Classification("reduction", form, windows=windows)


def _contraction(form: Form, windows: tuple[Window, ...]) -> Classification | None:
    """The form as a sum of products of two operands, if it is one."""
    conditions, factors = conditions_and_factors(form.body)
    if form.op != "sum" or any(c.slots for c in conditions):
        return None
    factors = [f for f in factors if f.indices and f.slots]
    sides = _operands(factors, form, windows)
    if sides is None:
        return None
    left, right = sides
    a, b = (frozenset().union(*(f.indices for f in side)) for side in sides)
    written = form.written
    if (a ^ b) - written:
        return None
    batch, m, n, k = written & a & b, (written & a) - b, (written & b) - a, (a & b) - written
    if not k and not any(w.slot is None for w in windows):
        return None
    through = frozenset(i for w in windows for i in w.indices)
    if any(w.slot is None for w in windows):
        kind = "data gradient"
    else:
        kind = "windowed contraction" if windows else "contraction"
    if windows and not ((m - through) and (n - through)) and batch - through:
        kind = "depthwise"
    parts = (tuple(sorted(s)) for s in (batch, m, n, k))
    slots = (tuple(sorted(frozenset().union(*(f.slots for f in side)))) for side in (left, right))
    return Classification(kind, form, *parts, *slots, windows)


def _operands(factors: list[Expr], form: Form, windows: tuple[Window, ...]) -> tuple[list[Expr], list[Expr]] | None:
    """The factors of the two operands, each with its prologue."""
    sets = sorted({f.indices for f in factors}, key=lambda s: (-len(s), sorted(s)))
    largest = [s for s in sets if not any(s < t for t in sets)]
    read_through = [w for w in windows if w.slot is not None]
    if len(largest) == 1 and len(sets) > 1 and read_through:
        # Under a window the filter is nested in what the window moves over.
        whole = [f for f in factors if f.indices == largest[0]]
        return whole, [f for f in factors if f.indices != largest[0]]
    if len(largest) == 1 and len(factors) == 2 and len(sets) == 1:
        return [factors[0]], [factors[1]]
    if len(largest) != 2:
        return None
    first = [f for f in factors if f.indices <= largest[0]]
    second = [f for f in factors if f.indices <= largest[1] and f not in first]
    return first, second


def _windows(form: Form, reads: list[Read]) -> tuple[Window, ...]:
    places = [(None, axis, w) for axis, w in enumerate(form.write)]
    places += [(r.slot, axis, p) for r in reads for axis, p in enumerate(r.place)]
    found = (Window(slot, axis, tuple(sorted(p.indices))) for slot, axis, p in places if _is_window(p, form))
    return tuple(dict.fromkeys(found))


def _is_window(place: Affine, form: Form) -> bool:
    varying = Affine(0, tuple((a, c) for a, c in place.terms if type(a) is not Extent))
    return len(place.indices) > 1 and not _is_computed(place) and not is_injective(varying, form.domain)


def _is_computed(place: Affine) -> bool:
    """The place is read from a tensor, or cut off at bounds."""
    return bool(place.slots) or any(type(a) is Call and a.function not in ("floordiv", "mod") for a, _ in place.terms)


def _reads(expr: Expr) -> list[Read]:
    """Every read in an expression, in an order of their content."""
    found: list[Read] = []
    seen: set[Expr] = set()
    left = [expr]
    while left:
        e = left.pop()
        if e not in seen:
            seen.add(e)
            left.extend(e.children)
            if type(e) is Read:
                found.append(e)
    return sorted(found, key=lambda r: (r.slot, r.digest))
