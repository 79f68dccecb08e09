"""Which definitions go through rows together: one kernel does all that they do while a row is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from diffgraph.ir.expression import Call
from diffgraph.ir.form import Form
from diffgraph.ir.program import Tensor
from diffgraph.kernels.access import nodes
from diffgraph.kernels.member import Member, preserved_axes
from diffgraph.kernels.roles import ACROSS, ROW, SCALAR, Role, Space, reads_own_row, role_of, spaces_of

#: Definitions in one kernel: those that go through rows are short for what they do.
MOST = 24

#: Functions that take much longer than arithmetic.
SLOW = frozenset("exp expm1 log log1p tanh sigmoid softplus erf sin cos".split())


def common_space(
    members: Sequence[Member],
    space: Space | None,
    new: Member,
    tensors: Mapping[str, Tensor],
    memory: Mapping[str, str],
) -> Space | None:
    """The rows that some members (in `space`, if they go through rows already) and a new one go through together; None if
    they do not, or nothing would be gained: two must go through rows, and one reduce them. memory: see `Nest`."""
    if len(members) >= MOST:
        return None
    made = {m.tensor.name for m in members}
    read = {memory[o] for m in members for o in m.operands} | made
    if read.isdisjoint(memory[o] for o in new.operands):
        return None
    known = [space] if space else [s for m in (*members, new) for s in spaces_of(m)]
    for space in dict.fromkeys(known):
        roles = _roles((*members, new), space)
        if roles is None or sum(r.runs_in_rows for r in roles) < 2 or all(r.kind in (ROW, SCALAR) for r in roles):
            continue
        summed = {m.tensor.name for m, r in zip(members, roles) if r.kind == ACROSS}
        if summed.isdisjoint(memory[o] for o in new.operands) and _stays(new, roles[-1], made, tensors, memory):
            return space
    return None


def _roles(members: Sequence[Member], space: Space) -> list[Role] | None:
    """What each member does in a space; None if one has no part in it, or the space is not worth it."""
    if not space.is_worthwhile:
        return None
    # The new one last: it is the one that may not fit.
    found = [role_of(m, space) for m in reversed(members)]
    return None if None in found else found[::-1]


def _stays(new: Member, role: Role, made: set[str], tensors: Mapping[str, Tensor], memory: Mapping[str, str]) -> bool:
    """Whether every read of what others make is of the same row."""
    for operand in new.operands:
        source = tensors[memory[operand]]
        if source.name in made:
            preserved = preserved_axes(tensors[operand].shape, source.shape)
            if not reads_own_row(role, new, operand, preserved):
                return False
    return True


def space_of_maps(members: Sequence[Member], tensors: Mapping[str, Tensor], memory: Mapping[str, str]) -> Space | None:
    """The rows that maps go through, where that is better than a plain loop: where they compute what takes long, which
    vectors have functions of their own for. What one makes, the others read in the same row only."""
    if not any(_is_slow(p.form) for m in members for p in m.pieces):
        return None
    for space in spaces_of(members[0]):
        roles = [role_of(m, space) for m in members]
        if space.is_worthwhile and all(r is not None and r.kind == ROW for r in roles):
            made = {m.tensor.name for m in members}
            if all(_stays(m, role, made, tensors, memory) for m, role in zip(members, roles)):
                return space
    return None


@lru_cache(maxsize=1 << 14)
def _is_slow(form: Form) -> bool:
    return any(type(e) is Call and e.indices and e.function in SLOW for e in nodes(form.body))
