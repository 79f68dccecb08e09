"""Kernels of maps in cases (`kernels/transformed.py`): every case is written out, so that what they have in common is read
and computed once, on vectors along the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product as combinations

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Call, Const, Expr, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.kernels.access import address, nodes, step, strides
from diffgraph.kernels.loops import Statement, TileLoad
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.tiles import Machine, accesses_of
from diffgraph.kernels.transformed import Stage, cases_of, every_case
from diffgraph.kernels.vectors import Vectors, in_lanes

#: More cases are not written out.
MOST_CASES = 64


@dataclass(frozen=True)
class InCases:
    """How a result is made: maps in cases, the result's own first, the others being no tensors of their own."""

    stages: tuple[Stage, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What is never a tensor in memory."""
        return tuple(s.name for s in self.stages[1:])

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """The axes of the result that say which case."""
        selected = cases_of(self.stages)
        return tuple(p for p, w in enumerate(self.stages[0].piece.form.write) if alone_index(w) in selected)

    @cached_property
    def operands(self) -> frozenset[str]:
        """What is read from memory."""
        return frozenset(self.written_out[0].operands)

    @cached_property
    def written_out(self) -> tuple[Piece, list[Expr]]:
        """See `every_case`."""
        return every_case(self.stages)

    @cached_property
    def lane(self) -> int:
        """The axis of the result that runs in vectors: where what is read lies side by side."""
        piece, bodies = self.written_out
        reads = [n for n in nodes(bodies[-1]) if type(n) is Read]

        def jumps(position: int) -> int:
            steps = [step(r.place, strides(piece.form.operands[r.slot].shape), piece.axes[position])[0] for r in reads]
            return sum(s not in (0, 1) for s in steps)

        return min(set(range(len(piece.axes))) - {*self.positions}, key=lambda p: (jumps(p), -p))

    @property
    def work(self) -> Size:
        """Scalar operations, roughly."""
        return 4 * product(self.stages[0].piece.form.shape)


def in_cases(stages: tuple[Stage, ...]) -> InCases | None:
    """Maps in cases as one that vectors along the last axis of the result can make; None if they cannot."""
    made, form = InCases(stages), stages[0].piece.form
    shape = form.shape
    if not made.positions or len(made.positions) == len(shape) or not isinstance(shape[made.lane], int):
        return None
    counts = [shape[p] for p in made.positions]
    if not all(isinstance(c, int) for c in counts) or product(counts) > MOST_CASES:
        return None
    piece, bodies = made.written_out
    forms = (Form(form.domain, "sum", form.write, shape, piece.form.operands, body) for body in bodies)
    return made if all(_runs_in_vectors(f, piece.axes[made.lane]) for f in forms) else None


def _runs_in_vectors(form: Form, lane: int) -> bool:
    """Whether a body can be computed for neighbours along an axis at once: sums and products of what moves evenly."""
    accesses = accesses_of(form)
    even = all(a.strides[lane] is not None and a.panels[lane] is None and lane not in a.guarded for a in accesses)
    guards = (a.read.otherwise for a in accesses)
    floats = all(form.operands[a.read.slot].kind == "float" for a in accesses)
    return _is_linear(form.body) and even and floats and all(g is None or type(g) is Const for g in guards)


def _is_linear(body: Expr) -> bool:
    if type(body) is Call:
        return body.function in ("add", "mul", "neg") and all(map(_is_linear, body.args))
    return type(body) in (Read, Const)


class Cases:
    """Writes the kernel of a member in cases (`nest` is the kernel's `Nest`)."""

    def __init__(self, nest, member: Member, machine: Machine):
        self.nest = nest
        self.member = member
        self.machine = machine
        self.made: InCases = member.choice

    def statements(self) -> tuple[list[tuple[int, Size]], tuple[Statement, ...]]:
        """(parallel loops from the outside in, as axis and extent; the statements inside them)."""
        shape, piece, last = self.member.tensor.shape, self.made.written_out[0], self.made.lane
        plain = [p for p in range(len(shape)) if p != last and p not in self.made.positions]
        loops = [(self.nest.new_axis(), p) for p in plain]
        where = {p: index(axis) for axis, p in loops}

        def vector(lane, columns: int, active) -> list[Statement]:
            writer = Vectors(self, active)
            at = {**where, last: lane}
            lowered = writer.operands(piece, {piece.axes[p]: place for p, place in at.items()}, piece.axes[last])
            cases = combinations(*(range(shape[p]) for p in self.made.positions))
            for case, body in zip(cases, self.made.written_out[1]):
                told = dict(zip(self.made.positions, map(affine, case)))
                writer.value(lowered.lower(body), self._target([{**at, **told}[p] for p in range(len(shape))]))
            return writer.statements()

        return [(axis, shape[p]) for axis, p in loops], in_lanes(self, affine(0), shape[last], 1, vector)

    def _target(self, places) -> TileLoad:
        tensor = self.member.tensor
        apart = strides(tensor.shape)[self.made.lane]
        return TileLoad(self.nest.number(tensor.name), address(places, tensor.shape), 0, apart * self.machine.lanes, apart)
