"""What a reduction reads again and again, and in which parts it is best gone through."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine
from diffgraph.kernels.access import reads, usual
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import Choice, accesses_of, is_factor, loop_order, unsafe

#: Bytes that a core keeps close: what a reduction goes over again and again should fit.
NEAR = 1 << 20

#: Partial sums are put down after so many bytes of operands, and taken up again with the next ones.
CHUNK = 1 << 18

#: About how many lanes a block of lanes has.
LANES_OF_A_BLOCK = 32

#: A filter larger than this is gone through panel by panel, each for all places of the result.
LARGE_FILTER = 1 << 19


def filter_bytes(member: Member, choice: Choice) -> int:
    """The bytes of the largest operand that is the same for all rows and plain places of the result."""
    largest = 0
    for piece in member.pieces:
        lane = piece.axes[choice.lane]
        for access in accesses_of(piece.form):
            written = access.read.indices & piece.form.written
            if written == {lane}:
                points = product(usual(piece.form.domain[k]) for k in access.read.indices)
                largest = max(largest, 4 * points)
    return largest


def other_bytes(members: Sequence[Member], choice: Choice) -> int:
    """The bytes of the operands of a reduction that are the same for all lanes, and of the results of all members."""
    total = sum(4 * product(usual(e) for e in m.extents) for m in members)
    for piece in members[0].pieces:
        for access in accesses_of(piece.form):
            if piece.axes[choice.lane] not in access.read.indices:
                total += 4 * product(usual(s) for s in piece.form.operands[access.read.slot].shape)
    return total


@cache
def chunked_axis(member: Member, choice: Choice) -> tuple[int, int] | None:
    """(axis, how much of it at a time) for a sum that many results go over again, and that is more than a core keeps
    close; None for others."""
    (piece, *more) = member.pieces
    form = piece.form
    extent = member.extents[choice.lane] if not choice.along else None
    if more or choice.along or form.op != "sum" or not isinstance(extent, int) or choice.column is not None:
        return None
    if guards_of_factors(piece, piece.axes[choice.lane]):
        return None
    axis = loop_order(form)[0]
    read = sum(4 * product(usual(s) for s in form.operands[a.read.slot].shape) for a in accesses_of(form))
    each = sum(
        product(usual(form.domain[k]) for k in a.read.indices if k != axis and k in form.reduced)
        * (4 * LANES_OF_A_BLOCK if piece.axes[choice.lane] in a.read.indices else 64)
        for a in accesses_of(form)
    )
    steps = product(usual(form.domain[k]) for k in form.reduced if k != axis)
    results = product(usual(s) for s in member.extents) // (choice.rows * choice.columns)
    size = max(1, CHUNK // max(1, each))
    if read <= NEAR or results < 64 or size * steps < 64 or usual(form.domain[axis]) < 2 * size:
        return None
    return axis, size


def guards_of_factors(piece: Piece, lane: int | None) -> list[tuple[Affine, Size]]:
    """The guarded places that do not depend on the lanes, of reads that make the whole body zero outside, with the extents
    that they must be inside of."""
    form = piece.form
    if form.op != "sum" or not form.reduced:
        return []
    found = []
    for read in reads(form.body):
        if read.otherwise is None or float(read.otherwise.value) != 0.0 or not is_factor(read, form.body):
            continue
        risky = unsafe(read, form)
        pairs = zip(read.place, form.operands[read.slot].shape)
        found += [(p, s) for p, s in pairs if p in risky and lane not in p.indices]
    return list(dict.fromkeys(found))
