"""What lies around the places that terms write: set to 0 by a kernel of its own."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Call, Const, Index
from diffgraph.ir.program import Provenance, Tensor
from diffgraph.kernels.access import address
from diffgraph.kernels.blocks import size_expr
from diffgraph.kernels.lattice import Box, strips_around
from diffgraph.kernels.loops import Kernel, Statement, Store, Unit, When
from diffgraph.kernels.nest import Nest, identity, nested

#: Setting an element of memory that is not at hand takes as long as so many scalar operations in registers.
COST_OF_SETTING = 8


def margins(nest: Nest, name: str, tensor: Tensor, inside: Box, provenance: Provenance) -> Kernel:
    """The kernel that sets everything outside of a box to 0. Units go down to the first axis along which the box is smaller
    (not into rows): what is outside along that axis is set as a whole, all else strip by strip, each axis inside of
    those before it."""
    number = nest.number(tensor.name, written=True)
    rank = len(tensor.shape)
    smaller = [k for k in range(rank) if inside.extents[k] != tensor.shape[k]]
    lead = smaller[0]
    depth = min(lead + 1, rank - 1)
    units = tuple(Unit(nest.new_axis(), tensor.shape[k]) for k in range(depth))
    where = [index(u.axis) for u in units]
    work: Size = 0

    def zeros(starts: Sequence[Size], extents: Sequence[Size]) -> tuple[Statement, ...]:
        loops = [(nest.new_axis(), e) for e in extents]
        places = (affine(0, ((Index(axis), 1), (size_expr(s), 1))) for (axis, _), s in zip(loops, starts))
        store = Store(number, address([*where, *places], tensor.shape), identity("sum", tensor.kind))
        return nested(loops, (store,))

    body: tuple[Statement, ...] = ()
    for starts, extents in strips_around(tensor.shape, inside, [k for k in smaller if k >= depth], depth):
        body += zeros(starts, extents)
        work = work + product([*tensor.shape[:depth], *extents])
    if lead < depth:
        first, count = size_expr(inside.starts[lead]), inside.extents[lead]
        at = affine(0, ((where[lead], 1), (first, -1)))
        is_inside = Call("and", (Call("ge", (at, Const(0))), Call("lt", (at, size_expr(count)))))
        around = When(Call("not", (is_inside,)), zeros([0] * (rank - depth), tensor.shape[depth:]))
        body = (*((When(is_inside, body),) if body else ()), around)
        outside = tensor.shape[lead] - count
        work = work + product([*tensor.shape[:lead], outside, *tensor.shape[depth:]])
    return Kernel(name, tuple(nest.buffers), units, body, work * COST_OF_SETTING, provenance)
