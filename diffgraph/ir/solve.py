"""From writing to gathering: the place written is solved for the indices.

    dx[2 * i + p - 1] += w[p] * dy[i]
    dx[h] = sum[p](w[p] * dy[(h - p + 1) // 2] if (h - p + 1) % 2 == 0 and 0 <= (h - p + 1) // 2 < I else 0)

What is left of the domain for one element written is its fibre: here the index p.
"""

from __future__ import annotations

from functools import cache

from diffgraph.ir.affine import affine, difference, divide, index, is_injective
from diffgraph.ir.digits import split_digits
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Const, Expr, Extent, Index
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.guards import inside, only_where
from diffgraph.ir.settle import compare_ints, settle
from diffgraph.ir.simplify import TRUE


@cache
def solve(form: Form) -> Form | None:
    """A form with the same slots and value that writes a projection, or None where that would be a search: where the
    place written is computed and each element written may get something from many points."""
    if form.is_projection:
        return form
    if form.op != "sum":
        return None
    if (marked := _marked(form)) is not None:
        return marked
    form = split_digits(form)
    if any(type(a) not in (Index, Extent) for w in form.write for a, _ in w.terms):
        return None
    return _Solution(form).form()


def _marked(form: Form) -> Form | None:
    """A form that writes at a computed place of each row, as a map over the rows that is 0 at all other places:

    d[n, label[n]] += g[n]        d[n, v] = g[n] if label[n] == v else 0
    """
    alone = [alone_index(w) for w in form.write]
    rows = [k for k in alone if k is not None]
    if sorted(rows) != list(range(len(form.domain))) or any(form.domain[k] != form.shape[alone.index(k)] for k in rows):
        return None
    values = {k: index(alone.index(k)) for k in rows}
    write = tuple(index(a) for a in range(len(form.shape)))
    moved = settle(Form(form.shape, "sum", form.write, form.shape, form.operands, form.body), values)
    map_ = Form(form.shape, "sum", write, form.shape, form.operands, moved.body)
    equal = [compare_ints("eq", moved.write[a], index(a), map_) for a, k in enumerate(alone) if k is None]
    return settle(only_where(map_, [c for c in equal if c is not TRUE]))


class _Solution:
    """The indices of a form as places over a new domain: the output's axes, then the fibre."""

    def __init__(self, form: Form):
        self.old = form
        self.domain: list[Size] = list(form.shape)
        self.values: dict[int, Affine] = {}
        self.equal_to_zero: list[Affine] = []
        self.ranges: list[int] = []
        for axis in sorted(range(len(form.write)), key=lambda a: (len(form.write[a].terms), a)):
            self._solve_axis(form.write[axis], index(axis))
        for k in range(len(form.domain)):
            self._stay(k)

    def form(self) -> Form:
        """The solved form."""
        old = self.old
        write = tuple(index(a) for a in range(len(old.shape)))
        unguarded = Form(tuple(self.domain), "sum", old.write, old.shape, old.operands, old.body)
        # Without simplification first: reads that leave their operands need their guards before anything is decided.
        moved = settle(unguarded, self.values)
        moved = Form(moved.domain, "sum", write, old.shape, old.operands, moved.body)
        conditions = [compare_ints("eq", e, Const(0), moved) for e in self.equal_to_zero]
        for k in self.ranges:
            conditions += inside(self.values[k], old.domain[k], moved)
        conditions = [c for c in conditions if c is not TRUE]
        return settle(only_where(moved, conditions))

    def _stay(self, k: int) -> Affine:
        """The value of an index; one that has none yet becomes an index of the fibre, and is no more to be solved
        for."""
        if k not in self.values:
            self.values[k] = index(len(self.domain))
            self.domain.append(self.old.domain[k])
        return self.values[k]

    def _set(self, k: int, value: Affine) -> None:
        self.values[k] = value
        self.ranges.append(k)

    def _divide(self, a: Affine, q: int, function: str) -> Affine:
        return divide(a, q, tuple(self.domain), function)

    def _solve_axis(self, write: Affine, target: Affine) -> None:
        """Adds what follows from write == target."""
        free = [(c, a.axis) for a, c in write.terms if type(a) is Index and a.axis not in self.values]
        if not free:
            self.equal_to_zero.append(difference(target, self._known(write, None)))
        elif len(free) > 1 and all(c > 0 for c, _ in free) and self._is_digits(write, free):
            rest = affine(0, ((target, 1), (self._known(write, {k for _, k in free}), -1)))
            self._solve_digits(sorted(free, reverse=True), rest)
        else:
            # The longest index is eliminated: the smallest fibre is left.
            coefficient, k = max(free, key=lambda f: self._length(f[1]))
            rest = affine(0, ((target, 1), (self._known(write, {k}), -1)))
            if coefficient < 0:
                coefficient, rest = -coefficient, affine(0, ((rest, -1),))
            self._solve_index(coefficient, k, rest)

    def _is_digits(self, write: Affine, free: list[tuple[int, int]]) -> bool:
        return is_injective(affine(0, [(Index(k), c) for c, k in free]), self.old.domain)

    def _length(self, k: int) -> tuple:
        extent = self.old.domain[k]
        return (0, extent, -k) if isinstance(extent, int) else (1, 0, -k)

    def _known(self, write: Affine, without: set[int] | None) -> Affine:
        """The place written without some indices, over the new domain."""
        terms: list[tuple[Expr, int]] = []
        for atom, c in write.terms:
            if type(atom) is not Index:
                terms.append((atom, c))
            elif without is None or atom.axis not in without:
                terms.append((self._stay(atom.axis), c))
        return affine(write.constant, terms)

    def _solve_digits(self, digits: list[tuple[int, int]], rest: Affine) -> None:
        """rest = sum of coefficient * index, a number in mixed radix: its digits from the most significant one down."""
        for coefficient, k in digits[:-1]:
            self._set(k, self._divide(rest, coefficient, "floordiv"))
            rest = self._divide(rest, coefficient, "mod")
        coefficient, k = digits[-1]
        self._solve_index(coefficient, k, rest)

    def _solve_index(self, coefficient: int, k: int, rest: Affine) -> None:
        """coefficient * index = rest"""
        if coefficient > 1:
            self.equal_to_zero.append(self._divide(rest, coefficient, "mod"))
        self._set(k, self._divide(rest, coefficient, "floordiv"))
