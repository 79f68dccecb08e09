"""What is computed together: which kernel a definition may be a part of, and gains by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffgraph.ir.dimension import product
from diffgraph.ir.program import Tensor
from diffgraph.kernels.chunks import stays_alone
from diffgraph.kernels.grid import Device
from diffgraph.kernels.member import Member, can_share, follows, preserved_axes
from diffgraph.kernels.roles import Space
from diffgraph.kernels.row_groups import common_space
from diffgraph.kernels.steps import Step
from diffgraph.kernels.tiles import Machine
from diffgraph.passes.cost import usual

#: Kernels are not made larger than this: compiling takes longer than linearly in their size.
MOST_MEMBERS = 12

#: From so many elements on, the memory of a result weighs more than starting a kernel.
LARGE = 1 << 18

#: A map of so many elements for each sample is worth several threads.
LARGE_MAP = 1 << 14


@dataclass
class Group:
    """A kernel in the making: its members, how many leading axes they share, and what is done before it."""

    members: list[Member]
    shared: int
    before: list[Step] = field(default_factory=list)
    #: Where the members go through rows together: the rows.
    space: Space | None = None

    @property
    def names(self) -> set[str]:
        return {m.tensor.name for m in self.members}


@dataclass(frozen=True)
class Grouping:
    """The rules. tensors, memory: those of the schedule, as far as it has come."""

    tensors: Mapping[str, Tensor]
    memory: Mapping[str, str]
    machine: Machine | Device | None

    def puts(self, new: Member, group: Group) -> bool:
        """Puts a member into a group if it may and should be a part of it; whether it did."""
        if (space := self._common_space(group, new)) is not None:
            group.space = space
        elif group.space is not None or (shared := self._shared(group, new)) is None:
            return False
        else:
            group.shared = shared
        group.members.append(new)
        return True

    def _shared(self, group: Group, new: Member) -> int | None:
        """How many axes the group shares with the new member in it; None if it may not or should not join."""
        if len(group.members) >= MOST_MEMBERS or new.order != group.members[0].order:
            return None
        if "cases" in (new.style, group.members[0].style) or new.style in ("tile", "contraction", "transformed"):
            return None
        if group.members[0].style in ("tile", "transformed"):
            return self._follows_tile(group, new)
        if group.members[0].style == "contraction":
            return self._follows_contraction(group, new)
        if isinstance(self.machine, Device) and self._are_other_maps(group, new):
            return None
        shared = min(group.shared, new.depth)
        shape = group.members[0].extents
        while shared and new.extents[:shared] != shape[:shared]:
            shared -= 1
        while shared and not self._served(group, new, shared):
            shared -= 1
        if shared == 0:
            scalars = not new.extents and all(not m.extents for m in group.members)
            return 0 if scalars else None
        if any(self.memory[o] in group.names for o in new.operands):
            return None if self._gains_units_alone(group, new, shared) else shared
        return shared if shared == new.depth == group.shared and self._are_siblings(group, new) else None

    def _gains_units_alone(self, group: Group, new: Member, shared: int) -> bool:
        """Whether a large map would share nothing but the batch, which may be a single sample, and with what reads and
        makes little: in a kernel of its own several threads find work."""

        def each(tensor: Tensor) -> int:
            return product(e for e in tensor.shape if isinstance(e, int))

        if any(isinstance(e, int) for e in new.extents[:shared]) or each(new.tensor) < LARGE_MAP:
            return False
        around = {o for m in group.members for o in (m.tensor.name, *m.operands)}
        return all(each(self.tensors[o]) * 8 <= each(new.tensor) for o in around)

    def _are_other_maps(self, group: Group, new: Member) -> bool:
        """Whether a group and a new member reduce nothing, do not need each other and are of different shapes: on a device
        each is better off with a thread for each of its elements."""
        if any(m.reduces for m in (*group.members, new)) or new.extents == group.members[0].extents:
            return False
        return not any(self.memory[o] in group.names for o in new.operands)

    def _common_space(self, group: Group, new: Member) -> Space | None:
        if not isinstance(self.machine, Machine):
            return None
        return common_space(group.members, group.space, new, self.tensors, self.memory)

    def _are_siblings(self, group: Group, new: Member) -> bool:
        """Members that do not need each other share a kernel if they read something in common, or are small: large results
        that are made before they are needed would only take memory."""
        read = {self.memory[o] for m in group.members for o in m.operands}
        return not read.isdisjoint(self.memory[o] for o in new.operands) or usual(product(new.tensor.shape)) < LARGE

    def _follows_tile(self, group: Group, new: Member) -> int | None:
        """The rank if a pointwise member can be computed on the vectors of the tile that the group makes."""
        first, rank = group.members[0], len(new.tensor.shape)
        choice = first.choice.choice if first.style == "transformed" else first.choice
        if choice.along or new.tensor.kind != "float" or new.extents != group.members[0].extents:
            return None
        if stays_alone(group.members[0], self.machine):
            return None
        inside = [o for o in new.operands if self.memory[o] in group.names]
        if not inside or not group.names.issuperset(inside) or not self._served(group, new, rank):
            return None
        return rank if all(follows(p, choice) for p in new.pieces) else None

    def _follows_contraction(self, group: Group, new: Member) -> int | None:
        """The rank if a pointwise member can be computed where the contraction of the group leaves each result."""
        rank = len(new.tensor.shape)
        if new.reduces or new.extents != group.members[0].extents:
            return None
        inside = any(self.memory[o] in group.names for o in new.operands)
        return rank if inside and self._served(group, new, rank) else None

    def _served(self, group: Group, new: Member, depth: int) -> bool:
        """Whether every read of what the group makes stays at the place of the shared loops."""
        for operand in new.operands:
            source = self.memory[operand]
            if source not in group.names:
                continue
            if not all(m.is_whole for m in group.members if m.tensor.name == source):
                return False
            preserved = preserved_axes(self.tensors[operand].shape, self.tensors[source].shape)
            if not can_share(new, operand, preserved, depth):
                return False
        return True
