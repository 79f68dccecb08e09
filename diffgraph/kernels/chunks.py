"""What a reduction reads again and again, and in which parts it is best gone through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Call, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Tensor
from diffgraph.kernels.access import reads, usual
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import (
    MOST_STEPS,
    Choice,
    Machine,
    accesses_of,
    imbalance,
    is_factor,
    loop_order,
    steps_apart,
    unsafe,
)

#: Bytes that a core keeps close: what a reduction goes over again and again should fit.
NEAR = 1 << 20

#: Partial sums are put down after so many bytes of operands, and taken up again with the next ones.
CHUNK = 1 << 18

#: An element from far away takes as long as so many multiply-adds.
POINTS_OF_A_READ = 40

#: More units than these are not needed.
MOST_UNITS = 512

#: About how many lanes a block of lanes has.
LANES_OF_A_BLOCK = 32

#: Sums of so many parts at most are kept apart, one for each core, and added afterwards.
MOST_SHARES = 8

#: The results of all shares together are at most this part of what is read.
RESULTS_OF_READS = 1 / 2

#: Bytes of the results that are gone through for each part: those of one unit, if more, are taken group by group of rows.
GROUP = 1 << 18

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


@dataclass(frozen=True)
class Chunks:
    """parts: reduced axes that are gone through in parts, the outermost first, each with the length of a part; those inside
    of the last one are gone through whole. units: positions of the result (its lanes and rows among them, block by block)
    whose places are worked on independently; all others are gone through again for each part. shares: into so many equal
    shares the outermost parts are divided, with a result for each, which are added afterwards. group: so many blocks of rows
    are gone through for all parts before the next ones; None for all."""

    parts: tuple[tuple[int, int], ...]
    units: tuple[int, ...]
    shares: int = 1
    group: int | None = None


@cache
def chunks_of(member: Member, choice: Choice, machine: Machine) -> Chunks | None:
    """How a sum is best gone through that many results go over again, and that is more than a core keeps close; None for
    others."""
    (piece, *more) = member.pieces
    form = piece.form
    if more or choice.along or form.op != "sum" or (choice.column is not None and not steps_apart(form)):
        return None
    if not isinstance(member.extents[choice.lane], int) or guards_of_factors(piece, piece.axes[choice.lane]):
        return None
    parts = _parts_of_steps(form) if steps_apart(form) else _part_of_bytes(member, choice)
    if parts is None:
        return None
    shares = _shares(piece, parts[0][0], machine)
    units = _units(member, choice, machine, shares)
    return Chunks(parts, units, shares, _group(member, choice, parts, units, shares))


def shares_of(member: Member, machine: Machine) -> int:
    """Into how many shares a tiled sum is divided."""
    chunks = chunks_of(member, member.choice, machine)
    return 1 if chunks is None else chunks.shares


def _group(member: Member, choice: Choice, parts, units: tuple[int, ...], shares: int) -> int | None:
    """How many blocks of rows have results that stay near while all parts are gone through, where these results would come
    and go with each part otherwise, and that is more than what has to be read again for each group."""
    (piece,) = member.pieces
    form, row = piece.form, choice.row
    if row is None or row in units or not all(isinstance(e, int) for e in member.extents):
        return None
    results = 4 * product(e for p, e in enumerate(member.extents) if p not in units)
    blocks = -(-member.extents[row] // choice.rows)
    size = max(1, GROUP * blocks // results)
    if results <= GROUP or blocks < 2 * size:
        return None
    size = -(-blocks // -(-blocks // size))
    times = product(usual(form.domain[k]) for k in form.reduced) / product(length for _, length in parts) / shares
    again = sum(
        4 * product(usual(s) for s in form.operands[a.read.slot].shape) / shares
        for a in accesses_of(form)
        if piece.axes[row] not in a.read.indices
    )
    return size if 2 * results * times > again * -(-blocks // size) else None


def joined_shares(shares: Tensor, count: int) -> Piece:
    """The sum of the shares of a sum, which lie one after the other along the first axis."""
    first, *others = (index(k) for k in range(len(shares.shape)))
    length = shares.shape[0] // count
    reads = tuple(Read(0, (affine(k * length, ((first, 1),)), *others), None) for k in range(count))
    shape = (length, *shares.shape[1:])
    form = Form(shape, "sum", (first, *others), shape, (shares.operand,), Call("add", reads))
    return Piece(form, (shares.name,))


def _shares(piece: Piece, axis: int, machine: Machine) -> int:
    """As many shares as there are cores, where the results are little beside what is read, and each share reads its own part
    of it: what a core has made itself before, if the axis is the outermost one in memory. To read what another core has
    made takes longer than the sum itself (2,048 products of 64 x 256, two cores: 1.9 times as long)."""
    form = piece.form
    count = min(machine.cores, MOST_SHARES)
    found = accesses_of(form)
    apart = all(axis in a.read.place[0].indices for a in found) and len({a.read.slot for a in found}) > 1
    if count < 2 or not apart or not piece.lattice.is_identity or piece.lattice.extents != form.shape:
        return 1
    if not all(isinstance(s, int) for s in form.shape):
        return 1
    read = sum(product(usual(s) for s in form.operands[a.read.slot].shape) for a in found)
    return count if count * product(form.shape) <= RESULTS_OF_READS * read else 1


def stays_alone(member: Member, machine: Machine) -> bool:
    """Whether results are put down and taken up again so often that nothing should be computed of them on the way."""
    return steps_apart(member.pieces[0].form) and chunks_of(member, member.choice, machine) is not None


def _parts_of_steps(form: Form) -> tuple[tuple[int, int], ...] | None:
    """Parts of so many steps that what they read stays in the nearest cache while all results are gone through."""
    points, parts = 1, []
    for axis in reversed(loop_order(form)):
        extent = form.domain[axis]
        most = MOST_STEPS // points
        if isinstance(extent, int) and extent <= most:
            points *= extent
            continue
        size = max(1, most)
        # What is left over takes code of its own.
        if isinstance(extent, int):
            size = max((s for s in range(1, size + 1) if extent % s == 0 and 2 * s > size), default=size)
        else:
            size = 1 << (size.bit_length() - 1)
        parts.append((axis, size))
        points *= size
    total = product(usual(form.domain[k]) for k in form.reduced)
    return tuple(reversed(parts)) if parts and total >= 4 * MOST_STEPS else None


def _part_of_bytes(member: Member, choice: Choice) -> tuple[tuple[int, int], ...] | None:
    """Parts of the outermost axis of which a block of results reads no more than a core keeps close."""
    (piece,) = member.pieces
    form = piece.form
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
    return ((axis, size),)


def _units(member: Member, choice: Choice, machine: Machine, shares: int) -> tuple[int, ...]:
    """The positions that units are made of: those with which all is soonest done, what is read again included."""
    (piece,) = member.pieces
    form = piece.form
    blocks = {p: -(-usual(e) // _length(p, choice, machine)) for p, e in enumerate(member.extents)}
    reads = [
        (
            product(usual(s) for s in form.operands[a.read.slot].shape),
            {k for place in a.read.place if place.indices <= form.written for k in place.indices},
        )
        for a in accesses_of(form)
    ]
    points = product(usual(e) for e in form.domain)

    def time(units: tuple[int, ...]) -> float:
        again = sum(size * product(blocks[p] for p in units if piece.axes[p] not in own) for size, own in reads)
        return _imbalance(member, choice, machine, blocks, units, shares) * (1 + POINTS_OF_A_READ * again / points)

    # Rows come last, since the last block of them may be smaller.
    several = sorted((p for p in blocks if blocks[p] > 1), key=lambda p: (p == choice.row, p))
    found = (c for size in range(len(several) + 1) for c in combinations(several, size))
    return min((c for c in found if product(blocks[p] for p in c) <= MOST_UNITS), key=time)


def _imbalance(member: Member, choice: Choice, machine: Machine, blocks, units: tuple[int, ...], shares: int) -> float:
    """How much longer the core with the most to do takes than if all had the same."""
    work = [1.0] * shares
    for position in units:
        length = _length(position, choice, machine)
        last = (usual(member.extents[position]) - length * (blocks[position] - 1)) / length
        work = [w * part for w in work for part in (*(1.0,) * (blocks[position] - 1), last)]
    return imbalance(work, machine.cores)


def _length(position: int, choice: Choice, machine: Machine) -> int:
    """How many places of a position are in one tile."""
    if position == choice.column:
        return choice.columns
    if position == choice.lane:
        return machine.lanes * (choice.columns if choice.column is None else 1)
    return choice.rows if position == choice.row else 1


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
