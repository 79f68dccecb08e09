"""Values computed on single vectors, for kernels that write out what they are made of.

`of`, in what follows, is who writes a kernel: it has a `nest` and a `machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffgraph.ir.affine import affine
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.kernels.loops import Lanes, Loop, Statement, Tile, TileLoad, TileStart, TileStore, TileValue
from diffgraph.kernels.member import Piece
from diffgraph.kernels.operands import Along, Operands


def in_lanes(of, start: Affine, extent: int, columns: int, statements_of: Callable) -> tuple[Statement, ...]:
    """Blocks of `columns` vectors: what `statements_of` gives for the first lane of each, how many vectors and which lanes
    are active."""
    size = of.machine.lanes * columns
    full, rest = divmod(extent, size)
    statements: list[Statement] = []
    if full:
        axis = of.nest.new_axis()
        at = affine(0, ((start, 1), (Index(axis), size)))
        statements.append(Loop(axis, full, tuple(statements_of(at, columns, None))))
    if rest:
        vectors = -(-rest // of.machine.lanes)
        active = None if rest % of.machine.lanes == 0 else Lanes(None, Const(rest), True)
        statements += statements_of(affine(full * size, ((start, 1),)), vectors, active)
    return tuple(statements)


class Vectors:
    """Values computed on one vector, and where they are stored: the end of a tile that sums nothing."""

    def __init__(self, of, active: Lanes | None):
        self.of = of
        self.active = active
        self.found: list = []
        self.bodies: list[tuple[Expr, TileLoad]] = []

    def operands(self, piece: Piece, where, axis: int, known=None) -> Operands:
        """What turns the body of a piece into one over the operands of these vectors."""
        along = Along(axis, lanes=self.of.machine.lanes)
        return Operands(self.of.nest, piece, where, along, self.found, known or {})

    def load(self, load: TileLoad) -> TileValue:
        """A vector of memory as an operand."""
        if load not in self.found:
            self.found.append(load)
        return TileValue(1 + self.found.index(load))

    def sums(self, e: Expr, load_of) -> Expr:
        """A body whose reads are vectors of memory: those that `load_of` gives for their places."""
        match e:
            case Read(_, place):
                return self.load(load_of(place))
            case Call(function, args):
                return Call(function, tuple(self.sums(a, load_of) for a in args))
        return e

    def value(self, body: Expr, target: TileLoad) -> Expr:
        """Has a value stored; gives what stands for it in later ones."""
        self.bodies.append((body, target))
        return TileValue(-len(self.bodies))

    def statements(self) -> list[Statement]:
        """The tile, what occurs several times being computed once."""
        machine = self.of.machine
        tile = Tile(self.of.nest.new_tile(), 1, 1, machine.lanes, False, "sum")
        uses = _uses([b for b, _ in self.bodies])
        values: list[Expr] = []
        numbers: dict[Expr, TileValue] = {}
        stores = []

        def settled(e: Expr) -> Expr:
            if e in numbers:
                return numbers[e]
            if type(e) is not Call:
                return e
            made = Call(e.function, tuple(settled(a) for a in e.args))
            return kept(e, made) if uses[e] > 1 else made

        def kept(e: Expr, made: Expr) -> TileValue:
            values.append(made)
            numbers[e] = TileValue(len(self.found) + len(values))
            return numbers[e]

        for n, (body, target) in enumerate(self.bodies):
            made = settled(body)
            number = made if body in numbers else kept(body, made)
            numbers[TileValue(-1 - n)] = number
            stores.append((number.number - 1 - len(self.found), target))
        return [TileStart(tile), TileStore(tile, tuple(self.found), tuple(values), tuple(stores), self.active)]


def _uses(bodies: Sequence[Expr]) -> dict[Expr, int]:
    """How often each expression occurs in bodies, those in equal ones counted once."""
    found: dict[Expr, int] = {}
    stack = list(bodies)
    while stack:
        e = stack.pop()
        found[e] = found.get(e, 0) + 1
        if found[e] == 1:
            stack.extend(e.children)
    return found
