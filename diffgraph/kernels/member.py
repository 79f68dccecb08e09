"""What takes part in a kernel: a definition seen as loops over its own axes.

A `Member` is a definition each of whose terms writes a projection. Its loops are its axes, in order; inside them each
term reduces, and the sum of the terms is stored. Its first `depth` axes may be loops that it shares with others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Affine, Expr, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Provenance, Tensor

#: Reductions whose value does not depend on the order of their indices (sum: by agreement).
REORDERABLE = frozenset(("sum", "max", "min", "any", "all"))

#: A symbolic extent counts as this many when kernels are planned.
USUAL_EXTENT = 64

#: Extents beyond this are all alike to a vector loop.
LONG_LOOP = 32


@dataclass(frozen=True)
class Piece:
    """A term with the names of its tensors."""

    form: Form
    operands: tuple[str, ...]

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """The axis of the domain that each axis of the tensor is."""
        return tuple(alone_index(w) for w in self.form.write)


@dataclass(frozen=True)
class Member:
    """A definition that can be a part of a kernel.

    style: `element`: all its axes are loops, a scalar takes the sum; `row`: the last axis is the innermost loop, inside
    the reductions, and memory takes the sum.
    """

    tensor: Tensor
    pieces: tuple[Piece, ...]
    style: str
    provenance: Provenance = ()

    @property
    def depth(self) -> int:
        """How many leading axes may be shared loops."""
        return len(self.tensor.shape) - (self.style == "row")

    @cached_property
    def operands(self) -> frozenset[str]:
        return frozenset(o for p in self.pieces for o in p.operands)

    @cached_property
    def reduces(self) -> bool:
        return any(p.form.reduced for p in self.pieces)

    @cached_property
    def work(self) -> Size:
        """Scalar operations, roughly."""
        return sum((product(p.form.domain) * cost(p.form.body) for p in self.pieces), 0)


def member(tensor: Tensor, pieces: tuple[Piece, ...], provenance: Provenance) -> Member:
    """A member in the style that suits its access to memory."""
    style = "row" if len(tensor.shape) > 0 and _prefers_row(pieces) else "element"
    return Member(tensor, pieces, style, provenance)


def usual(size: Size) -> int:
    """A plain number for an extent."""
    return size if isinstance(size, int) else USUAL_EXTENT


@lru_cache(maxsize=1 << 14)
def cost(body: Expr) -> int:
    """Scalar operations of one evaluation, roughly; a call of a function like `exp` counts as ten."""
    total = 0
    for node in nodes(body):
        function = getattr(node, "function", None)
        if function is not None:
            total += max(1, len(node.args) - 1) if function in _CHEAP else 10
    return max(1, total)


_CHEAP = frozenset(
    "add mul sub neg div recip relu abs sign max min where eq ne lt le gt ge and or not clamp float int stop_gradient"
    " floordiv mod powi floor".split()
)


def nodes(body: Expr) -> Iterator[Expr]:
    """Every distinct node of an expression."""
    seen: set[Expr] = set()
    stack = [body]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(node.children)


@lru_cache(maxsize=1 << 14)
def reads(body: Expr) -> tuple[Read, ...]:
    """Every distinct read of an expression, in a fixed order."""
    return tuple(sorted((n for n in nodes(body) if type(n) is Read), key=lambda r: r.digest))


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


def coefficient(place: Affine, axis: int) -> int | None:
    """The factor of an index in a place, None if the index occurs in any other way."""
    found = 0
    for atom, factor in place.terms:
        if type(atom) is Index and atom.axis == axis:
            found = factor
        elif axis in atom.indices:
            return None
    return found


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
