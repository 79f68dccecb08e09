"""The definitions that stand for a correlation by minimal filtering, and for its derivative by the filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.guards import ZERO_OF
from diffgraph.ir.inline import inline
from diffgraph.ir.program import Builder, Definition, Program, Tensor, Term
from diffgraph.ir.rewrite import substitute, substitute_place
from diffgraph.ir.settle import settle
from diffgraph.ir.simplify import call
from diffgraph.passes.cook_toom import Minimal, minimal
from diffgraph.passes.correlation import Correlation, depth_axis

#: Filters are kept in panels of so many channels, as `layout` does.
PANEL = 32


def results_of(form: Form, found: Correlation, points: tuple[int, ...]) -> tuple[int, ...]:
    """How many results a tile has along each axis."""
    return tuple(n + 1 - form.domain[w.tap] for n, w in zip(points, found.windows))


class Tiled:
    """Writes the definitions that stand for one correlation."""

    #: A copy of the signal in another order serves what reads it without transforms only.
    reads_through_copies = False

    def __init__(self, name: str, term: Term, found: Correlation, points, names: Builder, program: Program):
        self.name = name
        self.term = term
        self.form = form = term.form
        self.found = found
        self.names = names
        self.program = program
        self.results = results_of(form, found, points)
        self.windows = found.windows
        self.minimal: list[Minimal] = [
            minimal(m, form.domain[w.tap]) for m, w in zip(self.results, self.windows)
        ]
        self.points = points
        self.tiles = tuple(-(-form.domain[w.place] // m) for w, m in zip(self.windows, self.results))
        self.definitions: list[Definition] = []

    def made(self) -> tuple[list[Definition], Term]:
        """(the definitions, the term that reads them in place of the one that there was)."""
        filters = self._filter()
        self._put_in_order()
        signal = self._signal()
        products = self._products(signal, filters)
        return self.definitions, self._back(products)

    def _define(self, what: str, domain: Sequence[Size], operands: Sequence[str], body: Expr, op="sum", rank=None) -> Tensor:
        """A new tensor with an axis for each index of a domain (for the first `rank` of them)."""
        rank = len(domain) if rank is None else rank
        known = tuple(self.names.tensors[o].operand for o in operands)
        shape = tuple(domain[:rank])
        form = settle(Form(tuple(domain), op, tuple(index(k) for k in range(rank)), shape, known, body))
        tensor = Tensor(self.names.fresh(f"{self.name}_{what}"), shape)
        self.names.tensors[tensor.name] = tensor
        self.definitions.append(Definition(tensor, (Term(form, tuple(operands), self.term.provenance),)))
        return tensor

    def _put_in_order(self) -> None:
        """Has a copy of the signal whose channels are innermost, if they are not."""
        found, place = self.found, self.found.signal.place
        self.source = self.term.operands[found.signal.slot]
        if found.depth[0] in place[-1].indices:
            return
        at = depth_axis(found)
        order = [*(k for k in range(len(place)) if k != at), at]
        shape = self.names.tensors[self.source].shape
        read = Read(0, tuple(index(order.index(k)) for k in range(len(place))), None)
        self.source = self._define("signal", [shape[k] for k in order], [self.source], read).name
        windows = tuple(replace(w, axis=order.index(w.axis)) for w in self.windows)
        signal = Read(found.signal.slot, tuple(place[k] for k in order), found.signal.otherwise)
        self.found, self.windows = replace(found, signal=signal, windows=windows), windows

    # The axes of everything: cases, rows, tiles (or what is not yet in tiles), channels.

    def _signal(self) -> Tensor:
        """v[cases, rows, tiles, depth]: window by window, each tile of the signal times the matrix for data."""
        found, form = self.found, self.form
        rows, depth = [form.domain[k] for k in found.rows], [form.domain[k] for k in found.depth]
        tensor: Tensor | None = None
        for done, (w, m, own) in enumerate(zip(self.windows, self.results, self.minimal)):
            spans = [t * s + p - s for t, s, p in zip(self.tiles, self.results, self.points)]
            domain = [*self.points[: done + 1], *rows, *self.tiles[: done + 1], *spans[done + 1 :], *depth]
            first = done + 1 + len(rows)
            last = len(domain) - 1

            def value(a: int) -> Expr:
                at = affine(a, ((Index(first + done), m),))
                places = [index(first + k) if k != done else at for k in range(len(self.windows))]
                if tensor is None:
                    return self._signal_at([index(first - 1)] if rows else [], places, index(last))
                cases = [index(k) for k in range(done)]
                return Read(0, (*cases, *(index(done + 1 + k) for k in range(len(rows))), *places, index(last)), None)

            body = _cases(index(done), own.data, value)
            operand = self.source if tensor is None else tensor.name
            tensor = self._define("tiles", domain, [operand], body)
            if done == 0 and self.reads_through_copies:
                self._without_copy(operand)
        return tensor

    def _signal_at(self, rows: list[Affine], places: list[Affine], depth: Affine) -> Expr:
        """The signal at places of the windows, counted from where the first tap of the first place is."""
        found = self.found
        names = dict(zip((*found.rows, *found.depth), (*rows, depth)))
        at = [substitute_place(p, names, None) if p.indices <= names.keys() else p for p in found.signal.place]
        for w, place in zip(self.windows, places):
            start = w.constant - (self.form.domain[w.tap] - 1 if w.flipped else 0)
            at[w.axis] = affine(start, ((place, 1),))
        return Read(0, tuple(at), ZERO_OF["float"])

    def _filter(self) -> Tensor:
        """u[cases, depth, columns], the columns in panels: the filter times the matrix for filters."""
        found, form = self.found, self.form
        operand = self.term.operands[found.filter.slot]
        (columns,), (depth,) = ([form.domain[k] for k in axes] for axes in (found.columns, found.depth))
        panels = columns > PANEL
        tensor: Tensor | None = None
        for done, (w, own) in enumerate(zip(self.windows, self.minimal)):
            taps = [form.domain[v.tap] for v in self.windows[done + 1 :]]
            outer = [-(-columns // PANEL)] if panels else []
            domain = [*self.points[: done + 1], *taps, *outer, depth, PANEL if panels else columns]
            first = len(self.windows)
            column = affine(0, ((Index(first), PANEL), (Index(first + 2), 1))) if panels else index(first + 1)

            def value(a: int) -> Expr:
                flipped = [affine(form.domain[v.tap] - 1, ((Index(done + 1 + k), -1),)) if v.flipped else index(done + 1 + k)
                           for k, v in enumerate(self.windows[done + 1 :])]  # fmt: skip
                if tensor is not None:
                    rest = [index(k) for k in range(done + 1, len(domain))]
                    return Read(0, (*(index(k) for k in range(done)), affine(a), *rest), None)
                at = {found.depth[0]: index(first + len(outer)), found.columns[0]: column}
                at[w.tap] = affine(form.domain[w.tap] - 1 - a if w.flipped else a)
                at.update((v.tap, p) for v, p in zip(self.windows[done + 1 :], flipped))
                places = tuple(substitute_place(p, at, tuple(domain)) for p in found.filter.place)
                return Read(0, places, ZERO_OF["float"])

            body = _cases(index(done), own.filter, value)
            tensor = self._define("filter", domain, [operand if tensor is None else tensor.name], body)
            if done == 0:
                self._without_copy(operand)
        return tensor

    def _without_copy(self, operand: str) -> None:
        """The last definition reads what the filter is a copy of in another order, if it is one."""
        definition = self.definitions[-1]
        (term,) = definition.terms
        maker = self.program.maker.get(operand)
        if not isinstance(maker, Definition) or len(maker.terms) != 1 or maker.gradient is not None:
            return
        (copy,) = maker.terms
        if not copy.form.is_pointwise or type(copy.form.body) is not Read:
            return
        form, operands = _used(inline(term.form, 0, copy.form), (*term.operands, *copy.operands))
        self.definitions[-1] = replace(definition, terms=(replace(term, form=form, operands=operands),))

    def _products(self, signal: Tensor, filters: Tensor) -> Tensor:
        """m[cases, rows, tiles, columns]: sums over the channels of the signal."""
        form, count = self.form, len(self.windows)
        (columns,), (depth,) = ([form.domain[k] for k in axes] for axes in (self.found.columns, self.found.depth))
        outer = signal.shape[:-1]
        at, summed = len(outer), len(outer) + 1
        places = tuple(index(k) for k in range(at))
        column: tuple[Affine, ...] = (index(at),)
        if len(filters.shape) == count + 3:
            column = tuple(affine(0, ((Call(f, (index(at), Const(PANEL))), 1),)) for f in ("floordiv", "mod"))
        read = Read(1, (*places[:count], *column[:-1], index(summed), column[-1]), None)
        body = Call("mul", (Read(0, (*places, index(summed)), None), read))
        return self._define("products", (*outer, columns, depth), (signal.name, filters.name), body, rank=at + 1)

    def _back(self, tensor: Tensor) -> Term:
        """The results of the tiles, the last window first."""
        form, count, rows = self.form, len(self.windows), len(self.found.rows)
        for done in reversed(range(count)):
            m, own = self.results[done], self.minimal[done]
            extents = [form.domain[v.place] for v in self.windows[done:]]
            outer = [form.domain[k] for k in self.found.rows]
            domain = [*self.points[:done], *outer, *self.tiles[:done], *extents, form.domain[self.found.columns[0]]]
            here = done + rows + done
            tile, within = (affine(0, ((Call(f, (index(here), Const(m))), 1),)) for f in ("floordiv", "mod"))
            places = [index(k) for k in range(len(domain))]

            def value(k: int) -> Expr:
                return Read(0, (*places[:done], affine(k), *places[done:here], tile, *places[here + 1 :]), None)

            body = _cases(within, own.result, value)
            if done:
                tensor = self._define("rows", domain, [tensor.name], body)
        return self._last((*self.found.rows, *(w.place for w in self.windows), *self.found.columns), body, tensor)

    def _last(self, axes: tuple[int, ...], body: Expr, tensor: Tensor) -> Term:
        """The term that writes as the one that there was did. axes: what the indices of the body were there."""
        order = sorted(range(len(axes)), key=lambda k: axes[k])
        renamed = {old: index(order.index(old)) for old in range(len(axes))}
        domain = tuple(self.form.domain[axes[k]] for k in order)
        body = substitute(body, renamed, domain, kinds=("float",))
        write = tuple(index(order.index(axes.index(alone_index(p)))) for p in self.form.write)
        made = settle(Form(domain, "sum", write, self.form.shape, (tensor.operand,), body))
        return replace(self.term, form=made, operands=(tensor.name,))


class TiledGradient(Tiled):
    """The same for the derivative of a correlation by its filter: the products of transformed tiles of the signal and of the
    derivative by the result, transposed maps around them, are summed over the tiles.

    In `found`, `filter` is how the derivative by the result is read.
    """

    reads_through_copies = True

    def made(self) -> tuple[list[Definition], Term]:
        self._put_in_order()
        signal = self._signal()
        others = self._others()
        return self.definitions, self._taps(self._sums(signal, others))

    def _others(self) -> Tensor:
        """z[cases, rows, tiles, columns]: each tile of the derivative by the result times the matrix for results, turned."""
        found, form, count = self.found, self.form, len(self.windows)
        rows, columns = ([form.domain[k] for k in axes] for axes in (found.rows, found.columns))
        tensor: Tensor | None = None
        for done, (w, m, own) in enumerate(zip(self.windows, self.results, self.minimal)):
            rest = [form.domain[v.place] for v in self.windows[done + 1 :]]
            domain = [*self.points[: done + 1], *rows, *self.tiles[: done + 1], *rest, *columns]
            first = done + 1 + len(rows)
            places = [index(first + k) for k in range(count)]

            def value(i: int, done=done, w=w, m=m, domain=domain, first=first, places=places, tensor=tensor) -> Expr:
                at = affine(i, ((Index(first + done), m),))
                if tensor is not None:
                    before = [index(k) for k in range(done)]
                    rest = (*(index(done + 1 + k) for k in range(len(rows))), *places[:done], at, *places[done + 1 :])
                    last = (index(k) for k in range(first + count, len(domain)))
                    return Read(0, (*before, *rest, *last), ZERO_OF["float"])
                names = {k: index(1 + n) for n, k in enumerate(found.rows)}
                names |= {v.place: p for v, p in zip(self.windows, places)} | {w.place: at}
                names |= {k: index(first + count + n) for n, k in enumerate(found.columns)}
                read = tuple(substitute_place(p, names, tuple(domain)) for p in found.filter.place)
                return Read(0, read, ZERO_OF["float"])

            body = _cases(index(done), tuple(zip(*own.result)), value)
            operand = self.term.operands[found.filter.slot] if tensor is None else tensor.name
            tensor = self._define("others", domain, [operand], body)
            if done == 0:
                self._without_copy(operand)
        return tensor

    def _sums(self, signal: Tensor, others: Tensor) -> Tensor:
        """u[cases, outer columns, depth, columns]: sums over the rows and the tiles."""
        count, more = len(self.windows), len(self.found.columns) - 1
        summed = signal.shape[count:-1]
        cases, outer = ([index(k + n) for n in range(m)] for k, m in ((0, count), (count, more)))
        depth, lane = index(count + more), index(count + more + 1)
        inner = [index(count + more + 2 + k) for k in range(len(summed))]
        reads = (Read(0, (*cases, *inner, depth), None), Read(1, (*cases, *inner, *outer, lane), None))
        columns = others.shape[len(others.shape) - 1 - more :]
        domain = (*signal.shape[:count], *columns[:-1], signal.shape[-1], columns[-1], *summed)
        operands = (signal.name, others.name)
        return self._define("sums", domain, operands, Call("mul", tuple(reads)), rank=count + more + 2)

    def _taps(self, tensor: Tensor) -> Term:
        """The derivatives by the taps, the last window first."""
        count = len(self.windows)
        channels_of = (*self.found.columns[:-1], *self.found.depth, self.found.columns[-1])
        for done in reversed(range(count)):
            w, own = self.windows[done], self.minimal[done]
            taps = [self.form.domain[v.tap] for v in self.windows[done:]]
            channels = [self.form.domain[k] for k in channels_of]
            domain = [*self.points[:done], *taps, *channels]
            places = [index(k) for k in range(len(domain))]

            def value(k: int, done=done, places=places) -> Expr:
                return Read(0, (*places[:done], affine(k), *places[done + 1 :]), None)

            matrix = tuple(zip(*own.filter))
            body = _cases(index(done), matrix[::-1] if w.flipped else matrix, value)
            if done:
                tensor = self._define("taps", domain, [tensor.name], body)
        return self._last((*(w.tap for w in self.windows), *channels_of), body, tensor)


def _cases(which: Affine, matrix, value: Callable[[int], Expr]) -> Expr:
    """The row of a matrix that an index says, times values."""
    (atom, _) = which.terms[0]
    rows = [_combined(row, value) for row in matrix]
    body = rows[-1]
    for number, row in reversed(list(enumerate(rows[:-1]))):
        body = Call("where", (Call("eq", (atom, Const(number))), row, body))
    return body


def _combined(row: Sequence[Fraction], value: Callable[[int], Expr]) -> Expr:
    """A sum of multiples, without those that are 0."""
    addends = [
        value(k) if factor == 1 else call("mul", Const(_number(factor)), value(k), kinds=("float",))
        for k, factor in enumerate(row)
        if factor
    ]
    return reduce(lambda a, b: call("add", a, b, kinds=("float",)), addends)


def _number(factor: Fraction) -> float | Fraction:
    """A float where that is exact."""
    return float(factor) if Fraction(float(factor)) == factor else factor


def _used(form: Form, operands: tuple[str, ...]) -> tuple[Form, tuple[str, ...]]:
    """The form with the slots that it reads only."""
    used = sorted(form.body.slots)
    slots = {old: new for new, old in enumerate(used)}
    kept: tuple[Operand, ...] = tuple(form.operands[k] for k in used)
    body = substitute(form.body, {}, form.domain, slots, tuple(o.kind for o in kept))
    return Form(form.domain, form.op, form.write, form.shape, kept, body), tuple(operands[k] for k in used)
