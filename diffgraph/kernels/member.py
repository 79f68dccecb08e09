"""What takes part in a kernel: a definition seen as loops over its own axes.

A `Member` is a definition each of whose terms writes a projection. Its loops are its axes, in order; inside them each
term reduces, and the sum of the terms is stored. Its first `depth` axes may be loops that it shares with others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Expr, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Provenance, Tensor
from diffgraph.kernels.access import coefficient, cost, reads, step, strides, usual
from diffgraph.kernels.contraction import Split, split
from diffgraph.kernels.grid import Device
from diffgraph.kernels.lattice import Lattice, lattice_of
from diffgraph.kernels.tiles import Choice, Machine, can_follow, choose

if TYPE_CHECKING:
    from diffgraph.kernels.cases import InCases
    from diffgraph.kernels.transformed import Transformed

#: Reductions whose value does not depend on the order of their indices (sum: by agreement).
REORDERABLE = frozenset(("sum", "max", "min", "any", "all"))

#: Scalar operations that reading an element costs where neighbours are far apart.
OUT_OF_ORDER = 4

#: Extents beyond this are all alike to a vector loop.
LONG_LOOP = 32


@dataclass(frozen=True)
class Piece:
    """A term with the names of its tensors."""

    form: Form
    operands: tuple[str, ...]

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The axis of the domain that each axis of the tensor is written by."""
        return self.lattice.axes

    @cached_property
    def lattice(self) -> Lattice | None:
        """The places that the term writes, if they are a lattice."""
        return lattice_of(self.form)


@dataclass(frozen=True)
class Member:
    """A definition, or those of its terms that write one lattice, as a part of a kernel.

    style: `element`: all its axes are loops, a scalar takes the sum; `row`: the last axis is the innermost loop, inside
    the reductions, and memory takes the sum; `tile`: registers take the sums of many elements at once, as `choice` says;
    `contraction`: a block of threads takes a block of sums of products, as `choice` says; `transformed`: blocks of sums of
    products between transforms, as `choice` says; `cases`: every case of a map is written out, as `choice` says.
    """

    tensor: Tensor
    pieces: tuple[Piece, ...]
    style: str
    provenance: Provenance = ()
    choice: Choice | Split | Transformed | InCases | None = None
    #: The axis of the tensor that each loop is, from the outermost to the innermost; None: as they come.
    order: tuple[int, ...] | None = None

    @property
    def lattice(self) -> Lattice:
        """The places that it writes."""
        return self.pieces[0].lattice

    @property
    def extents(self) -> tuple[Size, ...]:
        """The lengths of its loops."""
        return self.in_order(self.lattice.extents)

    @property
    def is_whole(self) -> bool:
        """It writes the whole tensor, each loop being an axis, as they come."""
        return self.order is None and self.lattice.is_identity and self.extents == self.tensor.shape

    def in_order(self, values: tuple) -> tuple:
        """What is known for each axis of the tensor, for each loop."""
        return values if self.order is None else tuple(values[k] for k in self.order)

    def axes_of(self, piece: Piece) -> tuple[int, ...]:
        """The axis of the domain of a piece that each loop is."""
        return self.in_order(piece.axes)

    def place(self, where: Sequence[Expr]) -> list[Affine]:
        """The place in the tensor for values of the loops."""
        at = list(where)
        for loop, axis in enumerate(self.order or ()):
            at[axis] = where[loop]
        return self.lattice.at(at)

    @property
    def depth(self) -> int:
        """How many leading axes may be shared loops."""
        return len(self.tensor.shape) - (self.style == "row")

    @cached_property
    def operands(self) -> frozenset[str]:
        read = frozenset(o for p in self.pieces for o in p.operands)
        return self.choice.operands | read - {*self.choice.names} if self.style in ("transformed", "cases") else read

    @cached_property
    def reduces(self) -> bool:
        return any(p.form.reduced for p in self.pieces)

    @cached_property
    def work(self) -> Size:
        """Scalar operations, roughly."""
        if self.style == "cases":
            return self.choice.work
        pieces = [*self.pieces, *(s.piece for s in self.choice.stages)] if self.style == "transformed" else self.pieces
        each = 1 if self.order is None else OUT_OF_ORDER
        return sum((each * product(p.form.domain) * cost(p.form.body) for p in pieces), 0)


def member(
    tensor: Tensor, pieces: tuple[Piece, ...], provenance: Provenance, machine: Machine | Device | None = None
) -> Member:
    """A member in the style that suits its access to memory; tiles only for a machine, contractions only for a device."""
    reducing = [p for p in pieces if p.form.reduced]
    if isinstance(machine, Device):
        forms, axes = [p.form for p in reducing], [p.axes for p in reducing]
        fits = machine.contractions and tensor.kind == "float"
        choice = split(forms, axes, machine.cores is not None) if fits else None
        return Member(tensor, pieces, "element" if choice is None else "contraction", provenance, choice)
    if machine is not None and reducing and tensor.kind == "float":
        choice = choose(tuple(p.form for p in reducing), tuple(p.axes for p in reducing), machine)
        plain = [p for p in pieces if not p.form.reduced]
        if choice is not None and all(follows(p, choice) for p in plain):
            return Member(tensor, pieces, "tile", provenance, choice)
    style = "row" if len(tensor.shape) > 0 and _prefers_row(pieces) else "element"
    return Member(tensor, pieces, style, provenance, order=_order_of_copy(pieces))


def _order_of_copy(pieces: tuple[Piece, ...]) -> tuple[int, ...] | None:
    """For a map that reads one operand in another order than it writes: the last axis innermost, since it is written in
    vectors, the others so that what is read stays near; None for what is in order."""
    if len(pieces) != 1 or pieces[0].form.reduced or len(pieces[0].form.operands) != 1:
        return None
    (piece,) = pieces
    found = reads(piece.form.body)
    if len(found) != 1 or len(piece.axes) < 3:
        return None
    sizes = strides(piece.form.operands[0].shape)
    steps = [step(found[0].place, sizes, k)[0] for k in piece.axes]
    if None in steps or abs(steps[-1]) <= 1:
        return None
    order = (*sorted(range(len(steps) - 1), key=lambda k: (-abs(steps[k]), k)), len(steps) - 1)
    return None if order == tuple(range(len(steps))) else order


def follows(piece: Piece, choice: Choice) -> bool:
    """Whether a pointwise term can be computed on the vectors of a tile of the same shape."""
    return can_follow(piece.form, piece.axes, choice)


def can_share(reader: Member, tensor: str, preserved: int, depth: int) -> bool:
    """Whether each read of a tensor by a member stays, in the first `depth` axes, at the very place that is written.
    `preserved`: so many leading axes of the tensor are axes of the memory it is in (fewer than all for a view)."""
    if depth > preserved:
        return False
    for piece in reader.pieces:
        for read in reads(piece.form.body):
            if piece.operands[read.slot] != tensor:
                continue
            pairs = zip(read.place, reader.axes_of(piece)[:depth], piece.form.operands[read.slot].shape)
            if any(alone_index(p) != axis for p, axis, extent in pairs if extent != 1) or len(read.place) < depth:
                return False
    return True


def preserved_axes(shape: Sequence[Size], source: Sequence[Size]) -> int:
    """How many leading axes two views of one memory have in common; all of them only if they are the same."""
    if tuple(shape) == tuple(source):
        return len(shape)
    count = 0
    while count < min(len(shape), len(source)) and shape[count] == source[count]:
        count += 1
    return count


def reduction_order(form: Form) -> tuple[int, ...]:
    """The reduced axes from the outermost loop to the innermost: what is contiguous goes innermost."""
    reduced = form.reduced
    if form.op not in REORDERABLE or len(reduced) < 2:
        return reduced
    inner = max(reduced, key=lambda k: (contiguity(form, k), k))
    return (*(k for k in reduced if k != inner), inner)


@lru_cache(maxsize=1 << 14)
def contiguity(form: Form, axis: int) -> int:
    """How well a loop over an axis runs in vectors: 0 if a read jumps, else its extent, up to a limit."""
    found = reads(form.body)
    if not found or not all(stride_kind(r, axis) in ("same", "next") for r in found):
        return 0
    if not any(axis in r.indices for r in found):
        return 0
    return min(usual(form.domain[axis]), LONG_LOOP)


def stride_kind(read: Read, axis: int) -> str:
    """How the address of a read moves with an axis: `same`, `next` (one element on), or `jump`."""
    if axis not in read.indices:
        return "same"
    if any(axis in p.indices for p in read.place[:-1]):
        return "jump"
    return "next" if coefficient(read.place[-1], axis) == 1 else "jump"


def _prefers_row(pieces: tuple[Piece, ...]) -> bool:
    reducing = [p for p in pieces if p.form.reduced]
    if not reducing:
        return False
    if any(p.form.op not in ("sum", "max", "min") for p in reducing):
        return False
    if any(p.form.op != "sum" for p in reducing) and len(pieces) > 1:
        return False
    gain = 0
    for piece in reducing:
        across = contiguity(piece.form, piece.axes[-1])
        along = max(contiguity(piece.form, k) for k in piece.form.reduced)
        gain += across - along
    return gain > 0
