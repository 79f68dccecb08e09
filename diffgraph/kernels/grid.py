"""How a kernel is laid over the blocks and threads of a device.

Units are independent, so each may have a thread of its own; where a unit holds long loops, a team of threads walks them
together: a thread takes every `team`-th step, and reductions are joined in the end.

    softmax over 64 rows of 1000:   8 units in a block, a team of 32 neighbouring threads for each
    sums over the rows of a matrix: 32 neighbouring units in a block, a team of 8 threads for each, 32 apart
"""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.ir.dimension import Size, floor_divide, product
from diffgraph.ir.expression import Affine, Expr, Index
from diffgraph.kernels.access import nodes, usual
from diffgraph.kernels.loops import Address, Best, Contraction, Kernel, Load, Loop, Statement, Store, Update, When

#: Threads of a block that has no reason for another number; no block has more, so that a thread may have 255 registers.
THREADS = 256

#: A team walks at least so many steps for each of its threads, where there are other units to do.
STEPS_PER_THREAD = 4

#: Enough threads to keep a device busy.
MANY_THREADS = 1 << 16


@dataclass(frozen=True)
class Device:
    """The kind of machine that kernels are made for. cores: what its matrix units multiply (`tf32`, `bf16`), if they are to
    be used. asynchronous: whether copies to shared memory run by themselves. contractions: whether blocks of threads make
    blocks of sums of products (in float32)."""

    cores: str | None = None
    asynchronous: bool = True
    contractions: bool = True


@dataclass(frozen=True)
class Grid:
    """blocks x threads. Each block holds `members` units at once, with `team` threads for each: neighbours if `along`,
    otherwise `members` apart. `width`: consecutive units that one thread does together, with wide accesses."""

    blocks: Size
    threads: int
    members: int
    team: int = 1
    along: bool = True
    width: int = 1


def grid(kernel: Kernel) -> Grid:
    """The grid of a kernel."""
    if len(kernel.body) == 1 and isinstance(kernel.body[0], Contraction):
        return _of_contraction(kernel.body[0])
    units = product([u.extent for u in kernel.units])
    loops = [s for s in kernel.body if isinstance(s, Loop)]
    steps = max((_steps(loop) for loop in loops), default=0)
    if steps < 8 or _joins_memory(kernel.body):
        return Grid(_blocks(units, THREADS), THREADS, THREADS)
    count = _usual(units)
    if kernel.units and _moves_with(kernel, loops) == "units":
        team = _power_of_two(min(THREADS // 32, steps // STEPS_PER_THREAD, max(1, MANY_THREADS // count)))
        if team < 2:
            return Grid(_blocks(units, THREADS), THREADS, THREADS)
        return Grid(_blocks(units, 32), 32 * team, 32, team, False)
    team = _power_of_two(max(32, min(steps // STEPS_PER_THREAD, THREADS if count < 512 else 128)))
    members = 4 if team == 32 else 1
    return Grid(_blocks(units, members), team * members, members, team, True)


def _of_contraction(contraction: Contraction) -> Grid:
    block = contraction.block
    batch = product([u.extent for u in contraction.batch])
    rows = _blocks(product([u.extent for u in contraction.rows]), block.rows)
    columns = _blocks(product([u.extent for u in contraction.columns]), block.columns)
    return Grid(batch * rows * columns, block.threads, 1, block.threads)


def _blocks(count: Size, size: int) -> Size:
    return floor_divide(count + (size - 1), size)


def _usual(size: Size) -> int:
    return usual(size) if isinstance(size, int) else 1 << 12


def _power_of_two(count: int) -> int:
    return 1 << (max(1, count).bit_length() - 1)


def is_reduction(loop: Loop) -> bool:
    """Whether a loop, or the nest that it begins, only updates a scalar."""
    return len(loop.body) == 1 and (
        isinstance(loop.body[0], (Update, Best)) or (isinstance(loop.body[0], Loop) and is_reduction(loop.body[0]))
    )


def nest_of(loop: Loop) -> tuple[tuple[tuple[int, Size], ...], tuple[Statement, ...]]:
    """((axis, extent) of the loops that a team shares, what is inside): loops that hold nothing but a loop are one, but a
    reduction inside of a loop over results is left to each thread."""
    axes = [(loop.axis, loop.extent)]
    reduces = is_reduction(loop)
    while len(loop.body) == 1 and isinstance(loop.body[0], Loop) and is_reduction(loop.body[0]) == reduces:
        loop = loop.body[0]
        axes.append((loop.axis, loop.extent))
    return tuple(axes), loop.body


def _steps(loop: Loop) -> int:
    total = 1
    for _, extent in nest_of(loop)[0]:
        total *= usual(extent)
    return total


def _joins_memory(body: tuple[Statement, ...]) -> bool:
    """Whether a kernel adds to memory: then every unit does its steps one after the other."""
    for statement in body:
        if isinstance(statement, Store) and statement.op is not None:
            return True
        if isinstance(statement, (Loop, When)) and _joins_memory(statement.body):
            return True
    return False


def _moves_with(kernel: Kernel, loops: list[Loop]) -> str:
    """What neighbouring elements of memory belong to: neighbouring `units`, or neighbouring steps of the `loops`."""
    unit = kernel.units[-1].axis
    votes = 0
    for loop in loops:
        axes, body = nest_of(loop)
        inner = axes[-1][0]
        for load in _loads(body):
            votes += _step(load.address, inner) == 1
            votes -= _step(load.address, unit) == 1
    return "loops" if votes >= 0 else "units"


def _step(address: Address, axis: int) -> Size | None:
    """How many elements an address moves with an axis, None if it is not a fixed number."""
    total: Size = 0
    for atom, factor in address.terms:
        if type(atom) is Index and atom.axis == axis:
            total = total + factor
        elif type(atom) is Affine and axis in atom.indices:
            return None
        elif axis in atom.indices:
            return None
    return total


def _loads(body: tuple[Statement, ...]):
    for statement in body:
        for name in statement.__dataclass_fields__:
            value = getattr(statement, name)
            if isinstance(value, Expr):
                yield from (n for n in nodes(value) if type(n) is Load)
            elif name == "body":
                yield from _loads(value)
