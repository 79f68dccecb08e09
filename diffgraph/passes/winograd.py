"""Convolutions with fewer multiplications: minimal filtering (Cook, Toom, Winograd)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.dimension import product
from diffgraph.ir.form import Form
from diffgraph.ir.program import Builder, Definition, Program, Statement, Term
from diffgraph.passes.choices import ESTIMATED, FILTERING, Choices, Point, point
from diffgraph.passes.correlation import Correlation, correlation, filter_gradient, in_order
from diffgraph.passes.dce import dce
from diffgraph.passes.report import Report
from diffgraph.passes.tiled import Tiled, TiledGradient, results_of

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

#: For few samples they cost so many times as much: threads share them out, and ask for them ahead of time (`kernels/resident`;
#: two layers of 256 channels and 14 x 14 places take 0.82 ms in tiles and 1.43 directly).
DEAR_BYTES = 0.6

#: Multiply-adds of a cycle in sums over places, and what an element costs that goes through memory.
RATE_OF_GRADIENTS, CYCLES_IN_MEMORY = 25, 1.6

#: It must be so many times as fast by the estimate; where that says less than this, it is not even measured.
WORTH, HOPELESS = 1.1, 0.6

#: Elements of a vector on the widest machine, and multiply-adds of a cycle.
LANES, RATE = 16, 29


def winograd(program: Program, report: Report, choices: Choices = ESTIMATED) -> Program:
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
    return _rewritten(program, report, ACCURATE, choices)


def winograd_fast(program: Program, report: Report, choices: Choices = ESTIMATED) -> Program:
    """The same with larger tiles: fewer products, and an error some ten times as large."""
    return _rewritten(program, report, FAST, choices)


def _rewritten(program: Program, report: Report, points: int, choices: Choices) -> Program:
    names = Builder(program)
    statements: list[Statement] = []
    changed = False
    batches = _batches(program)
    for statement in program.statements:
        if isinstance(statement, Definition) and statement.gradient is None:
            terms: list[Term] = []
            for term in statement.terms:
                made = _of_term(statement.tensor.name, term, points, batches, names, program, report, choices)
                statements += made[0]
                terms.append(made[1])
                changed = changed or bool(made[0])
            statement = replace(statement, terms=tuple(terms))
        statements.append(statement)
    return dce(program.with_(statements=tuple(statements)), Report()) if changed else program


def _batches(program: Program) -> tuple[int, ...]:
    """The samples for which gains are reckoned."""
    trains = any(o.phase == "backward" for s in program.statements for o in s.provenance)
    return TRAINING_BATCHES if trains else BATCHES


def _of_term(name: str, term: Term, points: int, batches, names: Builder, program: Program, report: Report, choices: Choices):
    """(definitions that come before it, the term)."""
    ways = ways_of(term.form, points, batches)
    if ways is None:
        return [], term
    measured = choices.of(ways.point)
    way = ways.named.get(measured, ways.estimated)
    how = f" (measured: {measured})" if measured in ways.named else ""
    if way is None:
        report.declined(f"{name}: products of transformed tiles would not be faster{how}", term.provenance)
        return [], term
    what = " x ".join(str(s) for s in way)
    report.did(f"{name}: is computed in tiles of {what} by minimal filtering{how}", term.provenance)
    return ways.writer(name, term, ways.found, way, names, program).made()


@dataclass(frozen=True)
class Ways:
    """The ways to compute a convolution, by name: in tiles with so many points along each axis, as `writer` writes it, or
    (None) as it is. estimated: the best of them, by the cost model."""

    point: Point
    found: Correlation
    writer: type[Tiled]
    named: Mapping[str, tuple[int, ...] | None]
    estimated: tuple[int, ...] | None


@cache
def ways_of(form: Form, points: int, batches: tuple[int, ...]) -> Ways | None:
    """The ways to compute a sum; None if it is not a convolution, or cannot be taken in tiles."""
    found, estimate, writer = correlation(form), _gain, Tiled
    if found is None:
        found, estimate, writer = filter_gradient(form), _gain_of_gradient, TiledGradient
    if found is None or not in_order(found):
        return None
    gains = {sizes: estimate(form, found, sizes, batches) for sizes in _tilings(found, points)}
    named = {f"tiles of {' x '.join(map(str, s))} points": s for s, gain in gains.items() if gain > HOPELESS}
    gain, best = max(((gain, sizes) for sizes, gain in gains.items()), default=(0.0, ()))
    known_by = point(FILTERING, form.digest, points, batches)
    return Ways(known_by, found, writer, {"direct": None, **named}, best if gain >= WORTH else None)


def choices_in(program: Program, fast: bool) -> list[tuple[Definition, Ways]]:
    """The definitions of a program that are convolutions with several ways to compute them. fast: see `winograd_fast`."""
    points, batches = FAST if fast else ACCURATE, _batches(program)
    definitions = [s for s in program.statements if isinstance(s, Definition) and s.gradient is None]
    found = ((d, ways_of(t.form, points, batches)) for d in definitions for t in d.terms)
    return [(d, ways) for d, ways in found if ways is not None and len(ways.named) > 1]


# ------------------------------------------------------------------------------------------------ what is worth it


def _tilings(found: Correlation, points: int) -> list[tuple[int, ...]]:
    """The tiles that are possible: results along each axis of the window, for each number of points that is accurate."""
    made = []
    for n in (ACCURATE, points) if points > ACCURATE else (ACCURATE,):
        if n ** len(found.windows) <= MOST_CASES:
            made.append((n,) * len(found.windows))
    return made


def _gain(form: Form, found: Correlation, points: tuple[int, ...], batches: tuple[int, ...]) -> float:
    """How many times as fast tiles are by estimate, for that of the batches for which they gain least."""
    results = results_of(form, found, points)
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


def _gain_of_gradient(form: Form, found: Correlation, points: tuple[int, ...], batches: tuple[int, ...]) -> float:
    """The same for the derivative by the filter, whose transformed tiles go through memory."""
    results = results_of(form, found, points)
    columns, depth = (product(form.domain[k] for k in axes) for axes in (found.columns, found.depth))
    if min(results) < 2 or min(columns, depth) < FEWEST_CHANNELS:
        return 0.0
    places = product(form.domain[w.place] for w in found.windows)
    taps, cases = product(form.domain[w.tap] for w in found.windows), product(points)
    tiles = product(-(-form.domain[w.place] // m) for w, m in zip(found.windows, results))
    direct = places * taps * columns * depth / RATE_OF_GRADIENTS
    filters = CYCLES_PER_BYTE * 8 * cases * columns * depth

    def gain(batch: int) -> float:
        tiled = batch * tiles * cases * (columns * depth / RATE_OF_GRADIENTS + CYCLES_IN_MEMORY * (columns + depth))
        return batch * direct / (tiled + filters)

    return min(map(gain, batches))


def _fetching(size: int) -> float:
    """Cycles for filters of so many bytes."""
    return CYCLES_PER_BYTE * size if size > NEAR else 0.0
