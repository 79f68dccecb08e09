"""Kernel IR: loops over memory, with nothing left to decide but the words of the target.

A kernel computes some tensors from others. It walks `units`, the loops that may be shared out among threads: no two units
write to one place, and every unit gives the same bits whoever runs it.

    Kernel(buffers, units, body)
    Statement = Loop(axis, extent, body)          for axis in range(extent)
              | Let(local, value)                 a scalar with a name
              | Update(local, op, value)          local = local op value
              | Best(local, rank, op, value, at)  the extreme so far, and the place where it stood first
              | Store(buffer, address, value, op) an element of memory: set, or joined to by `op`
              | When(condition, body)
              | TileStart, TileStep, TilePause, TileStore      reductions in registers, many results at once
              | Prefetch(buffer, address)         what will soon be read
              | Contraction                           sums of products, a block of results at once

Values are expressions of `ir.expression` in which `Index(k)` is the variable of the loop with axis k, places are flat
addresses (`Load` instead of `Read`), and scalars computed before have names (`Local`). In one body, an expression has
one value: that which it has at the first statement that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from diffgraph.ir.dimension import Size, symbols
from diffgraph.ir.expression import Expr, digest_of
from diffgraph.ir.form import Form
from diffgraph.ir.program import Provenance
from diffgraph.passes.choices import Point


@dataclass(frozen=True)
class Address:
    """constant + sum of coefficient * atom, in elements from the start of a buffer. Atoms are int expressions."""

    constant: Size
    terms: tuple[tuple[Expr, Size], ...]

    @property
    def key(self):
        """Plain values that tell this address from any other."""
        return str(self.constant), tuple((a.digest, str(c)) for a, c in self.terms)


@dataclass(frozen=True)
class Inside:
    """0 <= place < extent: a condition."""

    place: Expr
    extent: Size


@dataclass(frozen=True, eq=False)
class Load(Expr):
    """An element of a buffer, or `otherwise` where one of the conditions fails."""

    buffer: int
    address: Address
    conditions: tuple[Inside, ...]
    otherwise: Expr | None

    @property
    def children(self):
        guarded = () if self.otherwise is None else (self.otherwise,)
        return (*(a for a, _ in self.address.terms), *(c.place for c in self.conditions), *guarded)

    @property
    def own(self):
        return self.buffer, self.address.key, tuple(str(c.extent) for c in self.conditions), self.otherwise is None


@dataclass(frozen=True, eq=False)
class Local(Expr):
    """A scalar of the kernel, by number."""

    number: int
    kind: str

    @property
    def own(self):
        return self.number, self.kind


@dataclass(frozen=True)
class Loop:
    """for axis in range(extent): body. `comment` says whose loop it is, for a reader. With a start: from there on, `extent`
    many, but not beyond `end`."""

    axis: int
    extent: Size
    body: tuple[Statement, ...]
    comment: str = field(default="", compare=False)
    start: Expr | None = None
    end: Size | None = None


@dataclass(frozen=True)
class Let:
    """local = value, cast to the local's kind."""

    local: Local
    value: Expr


@dataclass(frozen=True)
class Update:
    """local = local op value, for op of sum, prod, max, min, any, all."""

    local: Local
    op: str
    value: Expr


@dataclass(frozen=True)
class Best:
    """If value is better than `local` (greater for argmax, less for argmin; NaN is better than any number): local = value,
    rank = at."""

    local: Local
    rank: Local
    op: str
    value: Expr
    at: Expr


@dataclass(frozen=True)
class Store:
    """buffer[address] = value for op None, else buffer[address] = buffer[address] op value; nothing where a condition
    fails."""

    buffer: int
    address: Address
    value: Expr
    op: str | None = None
    conditions: tuple[Inside, ...] = ()


@dataclass(frozen=True)
class When:
    """if condition: body."""

    condition: Expr
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Tile:
    """Results that are reduced together, in registers: rows x columns vectors of `lanes` elements each.

    Across: the lanes of a vector are neighbours along an axis of the result. Along: they are partial results of one
    element, and joined in the end.
    """

    number: int
    rows: int
    columns: int
    lanes: int
    along: bool
    op: str


@dataclass(frozen=True)
class Lanes:
    """The lanes low <= lane < high, of the first column; each column further on counts `lanes` lanes more if `columns_go_on`.
    None for a bound that is no bound."""

    low: Expr | None
    high: Expr | None
    columns_go_on: bool


@dataclass(frozen=True)
class TileLoad:
    """What a tile reads: the element at `address` for the first row, column and lane, and from there on with strides (0:
    the same for all). `inside`: lanes that are inside the buffer; the others are `otherwise`."""

    buffer: int
    address: Address
    row: int
    column: int
    lane: int
    inside: Lanes | None = None
    otherwise: float = 0.0


@dataclass(frozen=True, eq=False)
class TileValue(Expr):
    """In the body of a tile: the value of its n-th operand (a `TileLoad`, or a scalar that is the same for all)."""

    number: int

    @property
    def own(self):
        return self.number


@dataclass(frozen=True, eq=False)
class LaneNumbers(Expr):
    """An operand of a tile: how far each lane is from the first lane of the first column, as a float."""

    @property
    def own(self):
        return ()


TileOperand = TileLoad | Expr


@dataclass(frozen=True)
class Scratch:
    """Memory of a kernel of its own, for the results of tiles that are laid aside: `slots` of them, each of at most
    `vectors` vectors."""

    number: int
    slots: int
    vectors: int
    lanes: int


@dataclass(frozen=True)
class Slot:
    """A place in a scratch."""

    scratch: Scratch
    at: Expr


@dataclass(frozen=True)
class TileStart:
    """Sets every result to the identity of the reduction, or to what was laid aside."""

    tile: Tile
    resumed: Slot | None = None


@dataclass(frozen=True)
class TilePause:
    """Lays the results aside."""

    tile: Tile
    slot: Slot


@dataclass(frozen=True)
class Prefetch:
    """Asks for a line of memory that will be read before long. It may lie behind the end of the buffer."""

    buffer: int
    address: Address


@dataclass(frozen=True)
class TileStep:
    """result op= body(operands), for every row and column, in the active lanes."""

    tile: Tile
    operands: tuple[TileOperand, ...]
    body: Expr
    active: Lanes | None


@dataclass(frozen=True)
class TileStore:
    """The end of a tile: values computed from the results (operand 0) and from each other, some of them stored.

    values: each a body over the operands, the results being `TileValue(0)` and the earlier values following after the
    operands. stores: (which value, where): a `TileLoad` says where its first element goes, and the strides.
    """

    tile: Tile
    operands: tuple[TileOperand, ...]
    values: tuple[Expr, ...]
    stores: tuple[tuple[int, TileLoad], ...]
    active: Lanes | None


@dataclass(frozen=True)
class Product:
    """sum over depth of left * right. left does not depend on the columns of the result, right not on its rows."""

    depth: tuple[Unit, ...]
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Block:
    """How many rows and columns of results a block of threads makes, how far it goes at a time along the depth, and how
    many rows and columns each thread holds in registers."""

    rows: int
    columns: int
    depth: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.rows // self.thread_rows) * (self.columns // self.thread_columns)


@dataclass(frozen=True)
class Contraction:
    """For every batch, row and column (each an index of several axes, row-major): result = the sum of the products, then
    body. A kernel holds it alone, without units. part: an axis of the batch that says which part of the depth (of its
    extent many, of equal length) is summed; None: all of it."""

    batch: tuple[Unit, ...]
    rows: tuple[Unit, ...]
    columns: tuple[Unit, ...]
    products: tuple[Product, ...]
    result: Local
    body: tuple[Statement, ...]
    block: Block
    part: Unit | None = None


Statement = Loop | Let | Update | Best | Store | When | TileStart | TileStep | TilePause | TileStore | Prefetch | Contraction


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel works on: the name and kind of a tensor, and how many elements it has. Buffers of one kernel
    never overlap, except that an updated one is both read and written. private: each thread has one of its own, whose
    contents do not outlive a unit."""

    name: str
    kind: str
    size: Size
    written: bool = False
    private: bool = False


#: Enough units for any number of threads that we expect to share a kernel.
ENOUGH_UNITS = 48


@dataclass(frozen=True)
class Unit:
    """A loop whose steps may run on different threads."""

    axis: int
    extent: Size


@dataclass(frozen=True)
class Ways:
    """What of a kernel may be done in several ways, and measured: how the sums of `forms`, whose axes each result's axis is
    `written` by, are tiled; and, at `point`, in which order it goes through blocks, by name, the estimated one first."""

    forms: tuple[Form, ...]
    written: tuple[tuple[int | None, ...], ...]
    point: Point
    orders: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """A loop nest.

    units: the outer loops, flattened row-major into one range that is cut into consecutive pieces. Empty: one unit.
    work: scalar operations in all units together, for the decision how many threads it deserves.
    """

    name: str
    buffers: tuple[Buffer, ...]
    units: tuple[Unit, ...]
    body: tuple[Statement, ...]
    work: Size
    provenance: Provenance = field(default=(), compare=False)
    ways: Ways | None = field(default=None, compare=False)

    @property
    def results(self) -> tuple[str, ...]:
        """The buffers that it leaves something in."""
        return tuple(b.name for b in self.buffers if b.written and not b.private)

    @property
    def is_flat(self) -> bool:
        """Whether the units are the loop that runs in vectors."""
        return len(self.units) == 1 and not any(isinstance(s, (Loop, When, TileStart)) for s in self.body)

    @property
    def symbols(self) -> frozenset[str]:
        """What its units and its work depend on."""
        return frozenset().union(symbols(self.work), *(symbols(u.extent) for u in self.units))

    @cached_property
    def digest(self) -> str:
        """A content hash without names: kernels that differ in names only are compiled once."""
        buffers = [(b.kind, str(b.size), b.written, b.private) for b in self.buffers]
        units = [(u.axis, str(u.extent)) for u in self.units]
        return digest_of(buffers, units, [_key(s) for s in self.body])


def nested(loops: Sequence[tuple[int, Size]], body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The body inside loops (axis, extent), the first outermost."""
    for axis, extent in reversed(loops):
        body = (Loop(axis, extent, body),)
    return body


def _key(value):
    """Plain nested values of a statement, without names and comments."""
    if isinstance(value, Expr):
        return value.digest
    if isinstance(value, Address):
        return value.key
    if isinstance(value, tuple):
        return tuple(_key(v) for v in value)
    if isinstance(value, Loop):
        start = None if value.start is None else (_key(value.start), str(value.end))
        return "Loop", value.axis, str(value.extent), _key(value.body), start
    if hasattr(value, "__dataclass_fields__"):
        return type(value).__name__, tuple(_key(getattr(value, f)) for f in value.__dataclass_fields__)
    return str(value)
