"""Convolutions with fewer multiplications: minimal filtering (Cook, Toom, Winograd)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, reduce

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.guards import ZERO_OF
from diffgraph.ir.inline import inline
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.ir.rewrite import substitute, substitute_place
from diffgraph.ir.settle import settle
from diffgraph.ir.simplify import call
from diffgraph.passes.cook_toom import Minimal, minimal
from diffgraph.passes.dce import dce
from diffgraph.passes.report import Report

#: Products for each axis of a window: so many cost a relative error of 1e-6 in float32, or 1e-5 where that is allowed.
ACCURATE, FAST = 4, 6

#: A window over more axes has more cases than a kernel can write out.
MOST_CASES = 40

#: Fewer channels leave the products nothing to gain beside the transforms.
FEWEST_CHANNELS = 32

#: Samples for which gains are reckoned: of a program that predicts, and of one that has derivatives.
BATCHES, TRAINING_BATCHES = (1, 8), (16, 64)

#: Bytes that stay near a core; how many tiles and columns are taken at a time (see `kernels/resident`); what filters from
#: further away cost.
NEAR, FEWEST_TILES, MOST_TILES, MOST_COLUMNS = 1 << 20, 14, 64, 128
CYCLES_PER_BYTE = 0.16

#: For few samples they cost so many times as much: two threads fetch all of them (ResNet-50's 14 x 14 places of 256
#: channels took 0.74 ms in tiles and 0.55 directly, VGG-16's 28 x 28 of 512 channels 10.9 and 9.8).
DEAR_BYTES = 1.4

#: It must be so many times as fast by the estimate.
WORTH = 1.1

#: Filters are kept in panels of so many channels, as `layout` does.
PANEL = 32

#: Elements of a vector on the widest machine, and multiply-adds of a cycle.
LANES, RATE = 16, 29


def winograd(program: Program, report: Report) -> Program:
    """Takes convolutions of unit stride in tiles: a tile of the signal and the filter are transformed by additions, their
    products are summed over the channels, and the sums transformed back. Only where that is faster, and only with as few
    points as keep the error near that of the sum itself.

    Before:
        input x[N, 34, 64]
        input w[64, 64, 3]
        y[n, i, o] = sum[p, c](w[o, c, p] * x[n, i + p, c])
        output y

    After:
        input x[N, 34, 64]
        input w[64, 64, 3]
        u[k < 4, h < 2, c < 64, z < 32] = where(k == 0, w[32 * h + z, c, 0],
            where(k == 1, 1/2 * w[32 * h + z, c, 0] + 1/2 * w[32 * h + z, c, 1] + 1/2 * w[32 * h + z, c, 2],
            where(k == 2, 1/2 * w[32 * h + z, c, 0] - 1/2 * w[32 * h + z, c, 1] + 1/2 * w[32 * h + z, c, 2],
                w[32 * h + z, c, 2])))
        v[k < 4, n, t < 16, c] = where(k == 0, x[n, 2 * t, c] - x[n, 2 * t + 2, c],
            where(k == 1, x[n, 2 * t + 1, c] + x[n, 2 * t + 2, c],
            where(k == 2, x[n, 2 * t + 2, c] - x[n, 2 * t + 1, c], x[n, 2 * t + 3, c] - x[n, 2 * t + 1, c])))
        m[k, n, t, o < 64] = sum[c](v[k, n, t, c] * u[k, o // 32, c, o % 32])
        y[n, i < 32, o] = where(i % 2 == 0, m[0, n, i // 2, o] + m[1, n, i // 2, o] + m[2, n, i // 2, o],
            m[1, n, i // 2, o] - m[2, n, i // 2, o] + m[3, n, i // 2, o])
        output y
    """
    return _rewritten(program, report, ACCURATE)


def winograd_fast(program: Program, report: Report) -> Program:
    """The same with larger tiles: fewer products, and an error some ten times as large."""
    return _rewritten(program, report, FAST)


def _rewritten(program: Program, report: Report, points: int) -> Program:
    names = Builder(program)
    statements: list[Statement] = []
    changed = False
    trains = any(o.phase == "backward" for s in program.statements for o in s.provenance)
    batches = TRAINING_BATCHES if trains else BATCHES
    for statement in program.statements:
        if isinstance(statement, Definition) and statement.gradient is None:
            terms: list[Term] = []
            for term in statement.terms:
                made = _of_term(statement.tensor.name, term, points, batches, names, program, report)
                statements += made[0]
                terms.append(made[1])
                changed = changed or bool(made[0])
            statement = replace(statement, terms=tuple(terms))
        statements.append(statement)
    return dce(program.with_(statements=tuple(statements)), Report()) if changed else program


def _of_term(name: str, term: Term, points: int, batches, names: Builder, program: Program, report: Report):
    """(definitions that come before it, the term)."""
    found = correlation(term.form)
    if found is None or not _in_order(found):
        return [], term
    gain, sizes = max(((_gain(term.form, found, s, batches), s) for s in _tilings(found, points)), default=(0.0, ()))
    if gain < WORTH:
        report.declined(f"{name}: products of transformed tiles would not be faster", term.provenance)
        return [], term
    what = " x ".join(str(s) for s in sizes)
    report.did(f"{name}: is computed in tiles of {what} by minimal filtering", term.provenance)
    return _Tiled(name, term, found, sizes, names, program).made()


# ------------------------------------------------------------------------------------------------ recognition


@dataclass(frozen=True)
class Sliding:
    """An axis of the signal that a filter moves along: it is read at `place` + `tap`, or - `tap` if `flipped`."""

    axis: int
    place: int
    tap: int
    flipped: bool
    constant: int


@dataclass(frozen=True)
class Correlation:
    """y[rows, places, columns] = sum[taps, depth](filter[taps, depth, columns] * signal[rows, places + taps, depth])."""

    signal: Read
    filter: Read
    windows: tuple[Sliding, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depth: tuple[int, ...]


@cache
def correlation(form: Form) -> Correlation | None:
    """The form as a correlation of unit stride and dilation with more than one channel, if it is one."""
    reads = form.body.args if type(form.body) is Call and form.body.function == "mul" else ()
    if form.op != "sum" or not form.is_projection or len(reads) != 2 or not all(type(r) is Read for r in reads):
        return None
    if any(form.operands[r.slot].kind != "float" for r in reads) or len({r.slot for r in reads}) != 2:
        return None
    for signal, filters in (reads, reversed(reads)):
        found = [_sliding(form, signal, filters, axis) for axis in range(len(signal.place))]
        windows = tuple(w for w in found if w is not None)
        if windows and filters.otherwise is None and signal.otherwise in (None, ZERO_OF["float"]):
            return _with_roles(form, signal, filters, windows)
    return None


def _sliding(form: Form, signal: Read, filters: Read, axis: int) -> Sliding | None:
    """How the filter moves along an axis of the signal; None if it does not."""
    place = signal.place[axis]
    if len(place.terms) != 2 or not all(type(a) is Index for a, _ in place.terms):
        return None
    (a, x), (b, y) = ((atom.axis, c) for atom, c in place.terms)
    (at, step), (tap, sign) = ((a, x), (b, y)) if a in form.written else ((b, y), (a, x))
    if at not in form.written or tap in form.written or step != 1 or abs(sign) != 1:
        return None
    if not all(isinstance(form.domain[k], int) for k in (at, tap)) or form.domain[tap] < 2:
        return None
    taken = [p for p in filters.place if tap in p.indices]
    if len(taken) != 1 or alone_index(taken[0]) != tap or at in filters.indices:
        return None
    return Sliding(axis, at, tap, sign < 0, place.constant)


def _with_roles(form: Form, signal: Read, filters: Read, windows: tuple[Sliding, ...]) -> Correlation | None:
    """What the other indices are; None where some are neither channels of one side nor summed."""
    moving = frozenset(k for w in windows for k in (w.place, w.tap))
    others = [p for axis, p in enumerate(signal.place) if axis not in {w.axis for w in windows}]
    if any(moving & p.indices for p in others) or len(moving) != 2 * len(windows):
        return None
    if any(len(p.indices) > 1 for p in (*others, *filters.place)):
        return None
    of_signal, of_filter = signal.indices - moving, filters.indices - moving
    rows, columns = (tuple(sorted((s & form.written) - t)) for s, t in ((of_signal, of_filter), (of_filter, of_signal)))
    depth = tuple(k for k in form.reduced if k not in moving)
    if len(columns) != 1 or len(depth) != 1 or not set(depth) <= of_signal & of_filter:
        return None
    if {*rows, *columns, *depth} != set(range(len(form.domain))) - moving or len(rows) > 1:
        return None
    if not all(isinstance(form.domain[k], int) for k in (*columns, *depth)):
        return None
    return Correlation(signal, filters, windows, rows, columns, depth)


def _in_order(found: Correlation) -> bool:
    """The channels of the signal are innermost in memory, or can be put there."""
    (depth,) = found.depth
    windows = {w.axis for w in found.windows}
    last = len(found.signal.place) - 1
    return depth in found.signal.place[last].indices or last in windows and _depth_axis(found) is not None


def _depth_axis(found: Correlation) -> int | None:
    """The axis of the signal that is its channels."""
    at = [k for k, p in enumerate(found.signal.place) if found.depth[0] in p.indices]
    return at[0] if len(at) == 1 and alone_index(found.signal.place[at[0]]) is not None else None


# ------------------------------------------------------------------------------------------------ what is worth it


def _tilings(found: Correlation, points: int) -> list[tuple[int, ...]]:
    """The tiles that are possible: results along each axis of the window, for each number of points that is accurate."""
    made = []
    for n in (ACCURATE, points) if points > ACCURATE else (ACCURATE,):
        if n ** len(found.windows) <= MOST_CASES:
            made.append((n,) * len(found.windows))
    return made


def _results(form: Form, found: Correlation, points: tuple[int, ...]) -> tuple[int, ...]:
    """How many results a tile has along each axis."""
    return tuple(n + 1 - form.domain[w.tap] for n, w in zip(points, found.windows))


def _gain(form: Form, found: Correlation, points: tuple[int, ...], batches: tuple[int, ...]) -> float:
    """How many times as fast tiles are by estimate, for that of the batches for which they gain least."""
    results = _results(form, found, points)
    (columns,), (depth,) = ([form.domain[k] for k in axes] for axes in (found.columns, found.depth))
    if min(results) < 2 or min(columns, depth) < FEWEST_CHANNELS:
        return 0.0
    places = product(form.domain[w.place] for w in found.windows)
    taps, cases = product(form.domain[w.tap] for w in found.windows), product(points)
    tiles = product(-(-form.domain[w.place] // m) for w, m in zip(found.windows, results))
    vectors = -(-columns // LANES) + -(-depth // LANES)
    products = cases * columns * depth / RATE
    # As many tiles at a time as leave their transforms near.
    block = min(MOST_TILES, max(FEWEST_TILES, NEAR // (4 * cases * (depth + min(columns, MOST_COLUMNS)))))
    direct, size = places * taps * columns * depth / RATE, 4 * columns * depth

    # A direct sum of few samples asks for its filter ahead of time (`kernels/strips`).
    hidden, dear = (0.0, DEAR_BYTES) if batches == BATCHES else (1.0, 1.0)

    def gain(batch: int) -> float:
        tiled = batch * tiles * (products + 2.5 * cases * vectors)
        passes = -(-batch * tiles // block)
        fetched = hidden * _fetching(taps * size), dear * passes * _fetching(cases * size)
        return (batch * direct + fetched[0]) / (tiled + fetched[1])

    return min(map(gain, batches))


def _fetching(size: int) -> float:
    """Cycles for filters of so many bytes."""
    return CYCLES_PER_BYTE * size if size > NEAR else 0.0


# ------------------------------------------------------------------------------------------------ definitions


class _Tiled:
    """Writes the definitions that stand for one correlation."""

    def __init__(self, name: str, term: Term, found: Correlation, points, names: Builder, program: Program):
        self.name = name
        self.term = term
        self.form = form = term.form
        self.found = found
        self.names = names
        self.program = program
        self.results = _results(form, found, points)
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
        at = _depth_axis(found)
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
            w, m, own = self.windows[done], self.results[done], self.minimal[done]
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
        # The last one writes as the correlation did.
        axes = (*self.found.rows, *(w.place for w in self.windows), *self.found.columns)
        order = sorted(range(len(axes)), key=lambda k: axes[k])
        renamed = {old: index(order.index(old)) for old in range(len(axes))}
        domain = tuple(form.domain[axes[k]] for k in order)
        body = substitute(body, renamed, domain, kinds=("float",))
        write = tuple(index(order.index(axes.index(alone_index(p)))) for p in form.write)
        made = settle(Form(domain, "sum", write, form.shape, (tensor.operand,), body))
        return replace(self.term, form=made, operands=(tensor.name,))


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
