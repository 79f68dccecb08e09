"""How a reduction is computed in registers: which axis runs in the lanes of vectors, which two are unrolled.

    y[n, o, i, j] = sum[c, p, q](w[o, c, p, q] * x[n, c, i + p, j + q])

    lanes: j (across: neighbours in y and x), rows: o (each element of w meets each vector of x)

For each way a cost is reckoned from the access maps alone: loads and operations for one step of the innermost reduction,
against how many useful elements it adds. Matrix products, convolutions and their gradients, and plain sums and maxima over
an axis are all the same to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from diffgraph.ir.affine import is_inside
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form
from diffgraph.kernels.access import coefficient, cost, reads, step, strides, usual, usual_step
from diffgraph.kernels.vectorizable import is_vectorizable, is_vectorizable_or_constant
from diffgraph.passes.choices import ESTIMATED, TILE, Choices, Point, point

ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)
COLUMNS = (1, 2, 3, 4)

#: Rows further apart than this many elements are slower to load.
FAR = 1024

#: Bytes of the nearest cache that are left for one operand.
NEAREST = 1 << 14

#: Bytes of a cache line and of an element, and what a line from the second cache costs.
LINE, FLOAT = 64, 4
CYCLES_PER_LINE = 2.0

#: Lanes along an axis no longer than this leave no room for further vectors along it: columns are then another axis.
SHORT = 16

#: Innermost loops up to this length are written out.
WRITTEN_OUT = 5

#: Steps after which sums are put down whose every step reads other cache lines: three lines of each are in the nearest
#: cache, and putting down and taking up costs a few steps.
MOST_STEPS = 100

#: From so many cycles for an element on, loops are as good.
MOST_CYCLES = 0.3

#: A way whose cost is less than so many times the least may be the best; more than so many are not measured.
UNSURE, MOST_MEASURED = 1.4, 6

#: Below this many elements of the domain, loops without a plan are as good; where every vector is full, only below fewer.
SMALL, SMALL_IF_FULL = 4096, 256


@dataclass(frozen=True)
class Machine:
    """What a target's vectors are like: elements in a vector, and how many registers hold them; and how many cores there
    are to share work among. choices: what was measured on it."""

    lanes: int
    registers: int
    cores: int = 2
    choices: Choices = ESTIMATED


@dataclass(frozen=True)
class Choice:
    """A way to tile. Axes are positions in the result, but `lane` is an axis of the domain where `along`.

    along: the lanes run along a reduced axis. columns: unrolled along the position `column`, or, where that is None, further
    vectors along the lanes (across: then the lanes are whole vectors). row: None if only one row.
    """

    along: bool
    lane: int
    row: int | None
    rows: int
    column: int | None
    columns: int
    cost: float

    @property
    def name(self) -> str:
        """What it is called where it was measured."""
        rows = "" if self.row is None else f", {self.rows} rows along {self.row}"
        columns = f", {self.columns} columns" + ("" if self.column is None else f" along {self.column}")
        return f"lanes {'along the sum, ' if self.along else 'across '}{self.lane}{rows}{columns}"

    @property
    def positions(self) -> tuple[int | None, ...]:
        """The axes of the result of which a tile has several places."""
        return (None if self.along else self.lane, self.row, self.column)


@dataclass(frozen=True)
class Access:
    """A read of a tile's body: its stride along each axis of the domain, None where it does not move evenly; the axes that
    its guards look at, and of these the axis along which a guard is a range of lanes. panels: for each axis, where the
    stride holds only inside of panels, how long these are."""

    read: Read
    strides: tuple[int | None, ...]
    guarded: frozenset[int]
    panels: tuple[int | None, ...]


@cache
def choose(
    forms: tuple[Form, ...], written: tuple[tuple[int | None, ...], ...], machine: Machine, plain: int = 0
) -> Choice | None:
    """The cheapest way to tile the reductions that one result is the sum of; None if there is none, or none worth it.

    written: for each form, the axis of its domain that each axis of the result is. plain: of so many first axes of the
    result, a tile has one place only. Where one was measured to be the best, it is that.
    """
    measured = machine.choices.of(tile_point(forms, written)) if machine.choices else None
    best, least = None, MOST_CYCLES
    for choice, cycles in priced(forms, written, machine, plain):
        if measured is not None and choice.name == measured:
            return replace(choice, cost=cycles)
        if cycles < least * 0.999:
            best, least = choice, cycles
    return best and replace(best, cost=least)


def tile_point(forms: tuple[Form, ...], written: tuple[tuple[int | None, ...], ...]) -> Point:
    """What measurements of the ways to tile some reductions are known by."""
    return point(TILE, [f.digest for f in forms], written)


def priced(
    forms: tuple[Form, ...], written: tuple[tuple[int | None, ...], ...], machine: Machine, plain: int = 0
) -> Iterator[tuple[Choice, float]]:
    """Every way to tile some reductions, with its cycles for an element; none for those that loops are as good for. plain: see
    `choose`."""
    if any(f.op not in ("sum", "max", "min") for f in forms) or (len(forms) > 1 and forms[0].op != "sum"):
        return
    if all(_is_small(f) for f in forms) or not all(is_vectorizable(f) for f in forms):
        return
    accesses = [accesses_of(f) for f in forms]
    for choice in _choices(forms, written, machine):
        if any(p is not None and p < plain for p in choice.positions):
            continue
        costs = [_cost(f, w, a, choice, machine) for f, w, a in zip(forms, written, accesses)]
        if None not in costs:
            total = sum(c * _points(f) for c, f in zip(costs, forms)) / sum(_points(f) for f in forms)
            yield choice, total


def worth_measuring(
    forms: tuple[Form, ...], written: tuple[tuple[int | None, ...], ...], machine: Machine
) -> tuple[str, ...]:
    """The names of ways to tile that may be the best, that by estimate first: those near it in cost, of each kind (which axes
    are taken together) the cheapest, and of its own kind some more."""
    estimated = choose(forms, written, replace(machine, choices=ESTIMATED))
    if estimated is None:
        return ()
    near = [(c, cycles) for c, cycles in priced(forms, written, machine) if cycles < UNSURE * estimated.cost]
    found: dict[tuple, list[str]] = {_kind(estimated): [estimated.name]}
    for choice, _ in sorted(near, key=lambda pair: pair[1]):
        names = found.setdefault(_kind(choice), [])
        if choice.name not in names and len(names) < (3 if _kind(choice) == _kind(estimated) else 1):
            names.append(choice.name)
    return tuple(name for names in found.values() for name in names)[:MOST_MEASURED]


def _kind(choice: Choice) -> tuple:
    return choice.along, choice.lane, choice.row, choice.column


def can_follow(form: Form, written: Sequence[int | None], choice: Choice) -> bool:
    """Whether a pointwise form over the result of a tile can be computed on the tile's vectors."""
    if form.reduced or not is_vectorizable_or_constant(form):
        return False
    positions = (choice.row, choice.column, None if choice.along else choice.lane)
    axes = [written[p] for p in positions if p is not None]
    if None in axes or _bare(form.body, frozenset(axes)):
        return False
    for access in accesses_of(form):
        if any(access.panels[k] is not None for k in axes):
            return False
        if access.guarded & frozenset(axes) or any(access.strides[k] is None for k in axes):
            return False
        if access.guarded and any(access.strides[k] for k in axes):
            return False
    return True


def _is_small(form: Form) -> bool:
    """Whether loops are as good as vectors, which are full where samples are side by side."""
    is_full = bool(form.shape) and form.shape[-1] == SHORT or any(SHORT in a.panels for a in accesses_of(form))
    return _points(form) < (SMALL_IF_FULL if is_full else SMALL)


def _points(form: Form) -> int:
    total = 1
    for extent in form.domain:
        total *= usual(extent)
    return total


@lru_cache(maxsize=1 << 14)
def accesses_of(form: Form) -> tuple[Access, ...]:
    """How each read of a body moves over the domain."""
    return tuple(_access(r, form) for r in reads(form.body))


def _access(read: Read, form: Form) -> Access:
    shape = form.operands[read.slot].shape
    steps = [step(read.place, strides(shape), k) for k in range(len(form.domain))]
    guarded = frozenset() if read.otherwise is None else frozenset().union(*(p.indices for p in unsafe(read, form)))
    return Access(read, tuple(s for s, _ in steps), guarded, tuple(p for _, p in steps))


@cache
def loop_order(form: Form) -> tuple[int, ...]:
    """The reduced axes from the outermost loop to the innermost: what reads from afar goes outside."""

    def reach(axis: int) -> int:
        return max((usual_step(r.place, form.operands[r.slot].shape, axis) for r in reads(form.body)), default=0)

    return tuple(sorted(form.reduced, key=lambda k: (-reach(k), k))) if form.op != "prod" else form.reduced


@cache
def steps_apart(form: Form) -> bool:
    """Whether each step of the innermost loop finds all that it reads on other cache lines."""
    if not form.reduced or not isinstance(form.domain[loop_order(form)[-1]], int):
        return False
    steps = [a.strides[loop_order(form)[-1]] for a in accesses_of(form)]
    return all(s is not None and abs(s) * FLOAT >= LINE for s in steps)


def is_factor(read: Read, body: Expr) -> bool:
    """Whether a body is a product with a read: zero where the read is."""
    match body:
        case Call("mul", args):
            return any(is_factor(read, a) for a in args)
        case Call("neg", (of,)) | Call("div", (of, _)):
            return is_factor(read, of)
    return body is read


def unsafe(read: Read, form: Form) -> list[Affine]:
    """The places of a guarded read that may be outside."""
    pairs = zip(read.place, form.operands[read.slot].shape)
    return [p for p, s in pairs if not is_inside(p, s, form.domain, form.operands)]


def _choices(forms: Sequence[Form], written: Sequence[Sequence[int | None]], machine: Machine) -> Iterator[Choice]:
    form, positions = forms[0], written[0]
    # A tile knows how far its rows, columns and lanes are apart in the result.
    even = [p for p, s in enumerate(strides(form.shape)) if isinstance(s, int)]
    tiled = [p for p in even if positions[p] is not None and isinstance(form.domain[positions[p]], int)]
    rows = [(None, 1), *((p, r) for p in tiled for r in ROWS[1:] if r <= form.domain[positions[p]])]
    open_ended = [p for p in even if positions[p] is not None and not isinstance(form.domain[positions[p]], int)]
    rows += [(p, r) for p in open_ended for r in (4, 6, 8)]
    across = [(False, p) for p in even if positions[p] is not None]
    for (along, lane), (row, r) in itertools.product([*across, *((True, k) for k in form.reduced)], rows):
        if not along and row == lane:
            continue
        yield Choice(along, lane, row, r, None, 1, 0.0)
        if not along:
            yield from (Choice(along, lane, row, r, None, c, 0.0) for c in COLUMNS[1:])
            extent = form.domain[positions[lane]]
            if not isinstance(extent, int) or extent > SHORT or extent % machine.lanes:
                continue
        for column, c in itertools.product(tiled, (2, 3, 4, 5, 6)):
            if column not in (row, None if along else lane) and form.domain[positions[column]] % c == 0:
                yield Choice(along, lane, row, r, column, c, 0.0)


def _cost(form: Form, written, accesses: Sequence[Access], choice: Choice, machine: Machine) -> float | None:
    """Cycles for one element of the domain, None if the choice does not fit the form."""
    lane = choice.lane if choice.along else written[choice.lane]
    row = None if choice.row is None else written[choice.row]
    column = None if choice.column is None else written[choice.column]
    if lane is None or _bare(form.body, frozenset(k for k in (lane, row, column) if k is not None)):
        return None
    if choice.along and lane not in form.reduced:  # The lanes of another of the sums, which is over other axes.
        return None
    loads, lines, registers = 0.0, 0.0, 0
    moves = False
    cells = choice.rows * choice.columns
    inmost = _inmost(form, accesses, choice)
    for access in accesses:
        steps = [0 if k is None else access.strides[k] for k in (lane, row, column)]
        if None in steps or access.guarded & {row, column} or not _guard_is_a_range(access, lane):
            return None
        if not _stays_in_panels(access, choice, machine, lane, row, column):
            return None
        on_lane, on_row, on_column = steps
        moves = moves or on_lane != 0
        count = (choice.rows if on_row else 1) * (choice.columns if on_column or (column is None and on_lane) else 1)
        if not on_lane and access.guarded and not access.guarded.isdisjoint(range(len(form.domain))) and count > 1:
            return None
        seen = _seen(form, access, choice, inmost, on_row) if on_lane and count == cells else None
        loads += (count if seen is None else count / choice.rows * seen[0]) * _load_cost(access, on_lane, on_row, machine)
        if not choice.along or (on_column if column is not None else on_row) or _passes_by(access, choice, form, on_row):
            # Along a sum, rows of one operand stay near while blocks of the other pass by, if they are no more than that.
            lines += _lines(access, (on_lane, on_row, on_column), choice, inmost, machine)
        registers += choice.columns if on_lane and not on_row else 1
        registers += 0 if seen is None else seen[1] * choice.columns
    if not moves or cells + registers + 1 > machine.registers:
        return None
    cycles = max(loads, 0.5 * cells * _operations(form.body), CYCLES_PER_LINE * lines, 4.0) + 0.5 + 0.02 * loads
    cycles += 0.3 * lines
    cycles += _end(form, written, choice, machine) * cells
    cycles *= _imbalance(form, written, accesses, choice, machine)
    return cycles / (cells * machine.lanes * _use(form, written, choice, machine, lane))


def _seen(form: Form, access: Access, choice: Choice, inmost: int, on_row: int) -> tuple[float, int] | None:
    """(rows loaded in a step, rows in registers) where a window goes over rows, each vector of which is for one result only:
    the compiler writes out a short innermost loop, and keeps what the next step looks at again, on the stack if it must
    (a 3 x 3 window on 14 x 2 vectors: three times slower). None for other reads."""
    moved, extent = access.strides[inmost], form.domain[inmost]
    if choice.along or not (on_row and moved) or not isinstance(extent, int) or extent > WRITTEN_OUT:
        return None
    rows = {r * on_row + q * moved for r in range(choice.rows) for q in range(extent)}
    return None if len(rows) == choice.rows * extent else (len(rows) / extent, len(rows))


def _inmost(form: Form, accesses: Sequence[Access], choice: Choice) -> int:
    """The axis of the innermost loop."""
    if not choice.along:
        return loop_order(form)[-1]
    others = [k for k in loop_order(form) if k != choice.lane]
    return others[-1] if others and any(a.panels[choice.lane] for a in accesses) else choice.lane


def _passes_by(access: Access, choice: Choice, form: Form, on_row: int) -> bool:
    """Whether the rows of an operand are more, panel by panel, than the nearest cache holds."""
    if not on_row or access.panels[choice.lane] is None:
        return False
    points = 1
    for k in form.reduced:
        points *= usual(form.domain[k]) if access.strides[k] else 1
    return FLOAT * choice.rows * points > NEAREST


def _imbalance(form: Form, written, accesses: Sequence[Access], choice: Choice, machine: Machine) -> float:
    """How much longer the core with the most to do takes where blocks of rows of a sum that leaves little are shared out."""
    if choice.row is None or choice.along or not steps_apart(form):
        return 1.0
    blocks = 1
    for position, axis in enumerate(written):
        own = any(axis in p.indices and p.indices <= form.written for a in accesses for p in a.read.place)
        if own and position != choice.row:
            length = machine.lanes * choice.columns if position == choice.lane else 1
            blocks *= -(-usual(form.domain[axis]) // length)
    full, rest = divmod(usual(form.domain[written[choice.row]]), choice.rows)
    one = [1.0] * full + [rest / choice.rows] * (rest > 0)
    return imbalance(one * min(blocks, 8 * machine.cores), machine.cores)


def imbalance(work: Sequence[float], cores: int) -> float:
    """How much longer the core with the most to do takes than if all had the same, for units that are handed out in
    order, in equal numbers."""
    bounds = [t * len(work) // cores for t in range(cores + 1)]
    return max(sum(work[a:b]) for a, b in zip(bounds, bounds[1:])) * cores / sum(work)


def _stays_in_panels(access: Access, choice: Choice, machine: Machine, lane: int, row, column) -> bool:
    """Whether no block of lanes, rows or columns reaches from one panel into the next."""
    lanes = machine.lanes * (1 if choice.along else choice.columns)
    blocks = ((lane, lanes), (row, choice.rows), (column, choice.columns))
    panels = ((access.panels[axis], length) for axis, length in blocks if axis is not None)
    return all(panel is None or panel % length == 0 for panel, length in panels)


def _lines(access: Access, steps: tuple[int, int, int], choice: Choice, inmost: int, machine: Machine) -> float:
    """Cache lines that one step fetches from further away than the nearest cache: what the innermost loop moves on to, a
    share of a line where it moves by less."""
    on_lane, on_row, on_column = (abs(s) for s in steps)
    moved = access.strides[inmost]
    share = 1.0 if moved is None else min(1.0, abs(moved) * FLOAT / LINE)
    vectors = choice.columns if on_lane and choice.column is None else 1
    span = vectors * (machine.lanes * FLOAT / LINE if on_lane == 1 else machine.lanes if on_lane else 1.0)
    rows = choice.rows if on_row * FLOAT >= LINE else max(1.0, choice.rows * on_row * FLOAT / LINE)
    columns = choice.columns if on_column else 1
    # Neighbours that the innermost loop moves on to are there already.
    rows, columns = (1 if on and on == moved else count for on, count in ((on_row, rows), (on_column, columns)))
    return share * max(1.0, span) * rows * columns if moved else 0.0


def _load_cost(access: Access, on_lane: int, on_row: int, machine: Machine) -> float:
    """Cycles for one load. Rows a multiple of a page apart fall into one set of the cache, and each needs a page of its own."""
    if on_lane not in (0, 1):
        return 1.2 * machine.lanes
    masked = 0.1 if on_lane and access.guarded else 0.0
    return 0.5 + masked + (0.2 if on_row >= FAR else 0.0)


def _bare(body: Expr, axes: frozenset[int]) -> bool:
    """Whether an index of the tile is used as a value, not as a place."""
    match body:
        case Read() | Const():
            return False
        case Index(axis):
            return axis in axes
    return any(_bare(c, axes) for c in body.children)


def _guard_is_a_range(access: Access, lane: int) -> bool:
    """The places whose guards depend on the lane move with it by one."""
    return all(coefficient(p, lane) in (0, 1) for p in access.read.place) or lane not in access.guarded


@lru_cache(maxsize=1 << 14)
def _operations(body: Expr) -> float:
    return 1.0 if type(body) is Call and body.function == "mul" and len(body.args) == 2 else float(cost(body))


def _end(form: Form, written, choice: Choice, machine: Machine) -> float:
    """Cycles for the end of one vector of results, spread over the steps that led to it."""
    steps = 1
    for k in form.reduced:
        extent = usual(form.domain[k])
        steps *= -(-extent // machine.lanes) if choice.along and k == choice.lane else extent
    if choice.along:
        return 8.0 / steps
    if steps_apart(form):
        steps = min(steps, MOST_STEPS)
    stride = strides(form.shape)[choice.lane]
    # Lanes on different cache lines: each is fetched, and written back, for one element.
    apart = 1.5 if isinstance(stride, int) and stride < machine.lanes else 6.0
    return (1.0 if stride == 1 else apart * machine.lanes) / steps


def _use(form: Form, written, choice: Choice, machine: Machine, lane: int) -> float:
    """The share of rows, columns and lanes that is not wasted."""
    extent = usual(form.domain[lane])
    columns = choice.columns if choice.column is None else 1
    full, rest = divmod(extent, machine.lanes * columns)
    # A last block with fewer vectors takes nearly as much less time as it has fewer of them.
    last = min(1.0, 1.1 * -(-rest // machine.lanes) / columns)
    use = extent / ((full + last) * machine.lanes * columns)
    if choice.row is not None:
        rows = usual(form.domain[written[choice.row]])
        # A last block with fewer rows takes as long as its loads: most of the time of a full one. Of an axis whose length
        # is not known any rest may come, row by row; but most batches are multiples of 8.
        full, rest = divmod(rows, choice.rows)
        use *= rows / (choice.rows * (full + (0.75 if rest else 0)))
        if not isinstance(form.domain[written[choice.row]], int):
            use *= 1 - (0.01 if choice.rows % 4 == 0 else 0.02) * choice.rows
    return use
