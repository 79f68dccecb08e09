"""Writes at computed places: terms that are joined to what is in memory already, wherever they write."""

from __future__ import annotations

from diffgraph.ir.affine import divide, index, is_inside
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Call, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Provenance, Tensor
from diffgraph.kernels.access import address, cost, usual
from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import Inside, Kernel, Store, Unit, When
from diffgraph.kernels.member import Member, Piece, member
from diffgraph.kernels.nest import Nest, only_index, wrap
from diffgraph.kernels.tiles import Machine

#: On a device so many threads share the places of a computed write, where the other axes give fewer than these.
WAYS = 64
BUSY_THREADS = 1 << 13


def scatter(nest: Nest, name: str, tensor: Tensor, piece: Piece, provenance: Provenance) -> Kernel:
    """The kernel that joins a term to what is in memory already, wherever it writes. Units are the axes along which no
    place is written twice; all else runs in the order of the domain, so that every place sums in one order."""
    form = piece.form
    number = nest.number(tensor.name, written=True)
    alone = [k for k in sorted(form.written) if any(only_index(w) == k for w in form.write)]
    units = tuple(Unit(nest.new_axis(), form.domain[k]) for k in alone[:2])
    where = {k: u.axis for k, u in zip(alone, units)}
    loops = [(nest.new_axis(), k) for k in sorted(form.written) if k not in where]
    where.update((k, axis) for axis, k in loops)
    made, value = nest.reduce(piece, where)
    place = [nest.lower(w, piece, where) for w in form.write]
    pairs = zip(form.write, place, form.shape)
    conditions = tuple(Inside(p, s) for w, p, s in pairs if not is_inside(w, s, form.domain))
    op = None if form.op in ("argmax", "argmin") else form.op
    store = Store(number, address(place, form.shape), value, op, conditions)
    computed = [p for w, p in zip(form.write, place) if only_index(w) is None]
    if isinstance(nest.machine, Device) and computed and product(usual(u.extent) for u in units) < BUSY_THREADS:
        # Threads that each walk all of the domain, and join what belongs to places of their own: one in `WAYS`.
        way = nest.new_axis()
        units = (Unit(way, WAYS), *units)
        mine = Call("eq", (divide(computed[0], WAYS, None, "mod"), index(way)))
        body = wrap(loops, form.domain, (When(mine, (*made, store)),))
    else:
        body = wrap(loops, form.domain, (*made, store))
    work = product(form.domain) * cost(form.body)
    return Kernel(name, tuple(nest.buffers), units, body, work, provenance)


def added(tensor: Tensor, piece: Piece, provenance: Provenance, machine: Machine | Device | None) -> Member | None:
    """A reduction over a lattice of places and what is there already, as a tile of registers; None if it is none."""
    if not isinstance(machine, Machine) or piece.lattice is None or piece.form.op != "sum":
        return None
    lattice = piece.lattice
    places = tuple(lattice.at([index(k) for k in range(len(lattice.extents))]))
    there = Form(lattice.extents, "sum", places, tensor.shape, (tensor.operand,), Read(0, places, None))
    found = member(tensor, (piece, Piece(there, (tensor.name,))), provenance, machine)
    return found if found.style == "tile" else None
