"""Sums of products as blocks of results: which axes are the rows of a block, which its columns.

    y[n, o, i, j] = sum[c, p, q](w[o, c, p, q] * x[n, c, i + p, j + q])

    rows: o (only w moves)   columns: n, i, j (only x moves)   depth: c, p, q

A factor may be any expression: it is computed once for a block, on its way to shared memory. So every convolution and
its gradients are matrix products whose matrices are never written down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffgraph.ir.expression import Call, Expr
from diffgraph.ir.form import Form
from diffgraph.ir.scalar import kind_of
from diffgraph.kernels.access import usual
from diffgraph.kernels.loops import Block, Contraction

#: Results with fewer rows or columns than this are left to teams of threads.
FEWEST = 4

#: Blocks that keep a device busy; steps of the depth that are worth a block of their own.
BUSY = 128
SHARE = 256

#: So are contractions with less to do.
SMALL = 2048


@dataclass(frozen=True)
class Split:
    """Positions of the result: batch, rows and columns; for each term the factors on the left and on the right. parts: of
    the depth, summed by different blocks and then joined; 1 where there are blocks enough."""

    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    factors: tuple[tuple[tuple[Expr, ...], tuple[Expr, ...]], ...]
    block: Block
    parts: int = 1


def split(forms: Sequence[Form], axes: Sequence[tuple[int, ...]], cores: bool = False) -> Split | None:
    """How the sum of some forms is a contraction; None if it is none, or too small. axes: for each form, the axis of its
    domain that each position of the result is. cores: whether matrix units multiply."""
    found = [_sides(form, places) for form, places in zip(forms, axes)]
    if not found or None in found or len({sides[:3] for sides in found}) > 1:
        return None
    batch, rows, columns, _ = found[0]
    form, places = forms[0], axes[0]
    extents = [_count(form, places, positions) for positions in (rows, columns)]
    work = extents[0] * extents[1] * sum(_depth(f) for f in forms)
    if min(extents) < FEWEST or work < SMALL:
        return None
    depth = max(_depth(f) for f in forms)
    block = block_for(*extents, depth, cores)
    blocks = _count(form, places, batch) * -(-extents[0] // block.rows) * -(-extents[1] // block.columns)
    parts = _parts(blocks, depth) if len(forms) == 1 else 1
    return Split(batch, rows, columns, tuple(sides[3] for sides in found), block, parts)


def _parts(blocks: int, depth: int) -> int:
    """How many blocks share a depth: as many as keep a device busy, each with enough to do."""
    parts = min(BUSY // max(1, blocks), depth // SHARE)
    return parts if parts >= 4 else 1


def block_for(rows: int, columns: int, depth: int, cores: bool = False) -> Block:
    """The block for a product of usual sizes: at least two warps of threads, no larger than needed."""
    if rows >= 1024 and columns >= 1024:
        return Block(128, 128, 16 if cores else 8, 8, 8)
    high, wide = (next((size for size in (16, 32, 64) if extent <= size), 64) for extent in (rows, columns))
    if high * wide < 1024:
        high, wide = (high, 64) if high <= wide else (64, wide)
    return Block(high, wide, 16 if cores or depth > 8 else 8, 4, 4)


def _sides(form: Form, places: Sequence[int]):
    """(batch, rows, columns, (factors on the left, on the right)) of one form."""
    if form.op != "sum" or not form.reduced or kind_of(form.body, [o.kind for o in form.operands]) != "float":
        return None
    factors = _factors(form.body)
    written = frozenset(places)
    pairs = [(a, b) for a in factors for b in factors if a is not b]
    best = max(pairs, key=lambda pair: _gain(pair, written, form), default=None)
    if best is None or _gain(best, written, form) == 0:
        return None
    left, right = [best[0]], [best[1]]
    for factor in factors:
        if factor not in best:
            fits_left = factor.indices & written <= best[0].indices
            (left if fits_left else right).append(factor)
    in_left, in_right = (frozenset().union(*(f.indices for f in side)) for side in (left, right))
    rows = tuple(p for p, k in enumerate(places) if k in in_left - in_right)
    columns = tuple(p for p, k in enumerate(places) if k in in_right - in_left)
    batch = tuple(p for p, k in enumerate(places) if p not in rows and p not in columns)
    if not rows or not columns:
        return None
    if max(rows) > max(columns):
        rows, columns, left, right = columns, rows, right, left
    return batch, rows, columns, (tuple(left), tuple(right))


def _factors(body: Expr) -> list[Expr]:
    if type(body) is Call and body.function == "mul":
        return [f for a in body.args for f in _factors(a)]
    return [body]


def _gain(pair, written: frozenset[int], form: Form) -> int:
    """How much is saved by computing each of two factors once for all that the other varies over."""
    only_left, only_right = (
        _extent(form, (one.indices - other.indices) & written) for one, other in (pair, pair[::-1])
    )
    return min(only_left, only_right) - 1


def _extent(form: Form, axes) -> int:
    total = 1
    for k in axes:
        total *= usual(form.domain[k])
    return total


def _count(form: Form, places: Sequence[int], positions: Sequence[int]) -> int:
    return _extent(form, [places[p] for p in positions])


def _depth(form: Form) -> int:
    return _extent(form, form.reduced)


def describe(contraction: Contraction) -> str:
    """A few words on how it is blocked."""
    block = contraction.block
    return f"blocks of {block.rows} x {block.columns} x {block.depth}"
