"""Which definitions form a kernel, and what happens in which order.

    schedule(program) -> Schedule(tensors, memory, steps, ...)       see `steps`

A schedule is symbolic: it holds for every batch size. Names are those of the program; tensors of the body of a scan have
the name of the scan before theirs. Definitions are taken in their order and put into the last kernel that they may join:
not before what they read, sharing at least the outermost loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from diffgraph.ir.program import Argsort, Definition, Program, Provenance, Reshape, Scan, Statement, Table, Tensor
from diffgraph.kernels.band_steps import band_launches
from diffgraph.kernels.bands import Outside
from diffgraph.kernels.blocking import in_parts
from diffgraph.kernels.cases import InCases, in_cases
from diffgraph.kernels.chunks import joined_shares, shares_of
from diffgraph.kernels.grid import Device
from diffgraph.kernels.grouping import Group, Grouping
from diffgraph.kernels.growth import Growth, is_kept, stays_inside
from diffgraph.kernels.lattice import Box, box_of, by_lattice, spread, trimmed
from diffgraph.kernels.loop_memory import LoopMemory
from diffgraph.kernels.margins import margins
from diffgraph.kernels.member import Member, Piece, follows, member
from diffgraph.kernels.nest import Nest
from diffgraph.kernels.regions import Region, divided, needed
from diffgraph.kernels.roles import ACROSS, role_of
from diffgraph.kernels.row_groups import space_of_maps
from diffgraph.kernels.rows import joined_parts, parts_of
from diffgraph.kernels.scatter import added, scatter
from diffgraph.kernels.share import region_steps
from diffgraph.kernels.steps import Launch, Part, Repeat, Schedule, Sort, Step
from diffgraph.kernels.tiles import Machine
from diffgraph.kernels.transformed import Transformed, apart, maps_in_cases, transformed


def schedule(program: Program, machine: Machine | Device | None = None) -> Schedule:
    """The schedule of a program; reductions are tiled for a machine, if one is given."""
    tensors: dict[str, Tensor] = {}
    memory: dict[str, str] = {}
    tables: dict[str, Table] = {}
    parts: dict[str, Part] = {}
    maker = _Scheduler(tensors, memory, tables, parts, "", machine)
    maker.declare(program)
    roots = frozenset(program.roots)
    statements: list[Statement | Region] = needed(program, roots)
    if isinstance(machine, Machine):
        maker.of = program.tensors
        statements = divided(program, statements, roots)
    steps = maker.steps_of(statements, roots)
    return Schedule(tensors, memory, steps, tables, parts)


class _Scheduler:
    """Schedules the statements of one program: the whole one, or the body of a scan (names get a prefix)."""

    def __init__(self, tensors, memory, tables, parts, prefix: str, machine: Machine | Device | None):
        self.machine = machine
        self.parts: dict[str, Part] = parts
        self.tensors = tensors
        self.memory = memory
        self.tables = tables
        self.prefix = prefix
        self.groups: list[Group | list[Step]] = []
        self.grouping = Grouping(tensors, memory, machine)
        self.made_in: dict[str, int] = {}
        #: What is made between transforms, by result; and what is only made on the way.
        self.transformed: dict[str, Transformed] = {}
        self.inner: set[str] = set()
        #: Maps in cases, by result.
        self.cases: dict[str, InCases] = {}
        #: What grows out of what; who reads what.
        self.growth = Growth({}, {})
        #: Definitions that several kernels may compute.
        self.scattered: set[str] = set()
        #: Sums that cores take shares of, by the tensor of the shares.
        self.shared_out: dict[str, str] = {}
        #: The tensors of the program, by their names in it.
        self.of: Mapping[str, Tensor] = {}
        #: In a region: the tensors that have other names there, and of these those that it makes.
        self.renamed: Mapping[str, str] = {}
        self.viewed: frozenset[str] = frozenset()
        #: Whether one thread runs the steps alone.
        self.is_apart = False

    def name(self, tensor: str) -> str:
        """The name of a tensor of this program in the schedule."""
        return self.renamed.get(tensor) or self.prefix + tensor

    def declare(self, program: Program) -> None:
        """Makes the inputs known."""
        for given in program.inputs:
            self.declare_tensor(given.tensor)
            if given.table is not None:
                self.tables[self.name(given.tensor.name)] = given.table

    def within(self, renamed: Mapping[str, str], viewed: frozenset[str]) -> _Scheduler:
        """The scheduler of a region of this program."""
        made = _Scheduler(self.tensors, self.memory, self.tables, self.parts, self.prefix, self.machine)
        made.renamed, made.viewed, made.is_apart = renamed, viewed, True
        return made

    def joined(self, tensor: Tensor, piece: Piece, provenance: Provenance) -> list[Step]:
        """The steps that make a tensor of one term, by itself."""
        made = member(tensor, (piece,), provenance, self.machine)
        return self._launch(Group([made], made.depth), frozenset((tensor.name,)))

    def declare_tensor(self, tensor: Tensor, source: str | None = None) -> Tensor:
        """A tensor of this program under the name that it has in the schedule."""
        named = replace(tensor, name=self.name(tensor.name))
        self.tensors[named.name] = named
        self.memory[named.name] = named.name if source is None else self.memory[source]
        return named

    def steps(self, program: Program, roots: frozenset[str]) -> tuple[Step, ...]:
        """The steps that make the roots (names of this program)."""
        return self.steps_of(needed(program, roots), roots)

    def steps_of(self, parts: Sequence[Statement | Region], roots: frozenset[str]) -> tuple[Step, ...]:
        """The steps of statements, and of regions of others."""
        statements = [s for s in parts if not isinstance(s, Region)]
        simple = isinstance(self.machine, Machine) and not self.prefix and not self.is_apart
        self.growth = Growth.of(parts, roots, simple and len(statements) == len(parts))
        if isinstance(self.machine, Machine):
            self.transformed = transformed(statements, roots, self.name)
            self.inner = {name for made in self.transformed.values() for name in made.names}
            for stages in maps_in_cases(statements, roots, self.name, self.inner | self.transformed.keys()):
                if (made := in_cases(stages)) is not None:
                    self.cases[stages[0].name] = made
                    self.inner.update(made.names)
        for part in parts:
            if isinstance(part, Region):
                self._alone([self.name(n) for n in part.results], region_steps(part, self))
            else:
                self._place(part)
        outside = self._outside(parts, roots)
        kernels = [g.members if isinstance(g, Group) and g.space is None else () for g in self.groups]
        banded, within = band_launches(kernels, outside, self.tensors, self.memory, self.machine)
        steps: list[Step] = []
        for at, group in enumerate(self.groups):
            if isinstance(group, list):
                steps += group
            elif at not in within:
                made = [banded[at]] if at in banded else self._launch(group, frozenset(outside.get(at, ())))
                steps += [*group.before, *made]
        return tuple(steps)

    # ------------------------------------------------------------------------------------------------- placing

    def _place(self, statement: Statement) -> None:
        match statement:
            case Reshape(tensor, operand):
                self.declare_tensor(tensor, self.name(operand))
                self.made_in[self.name(tensor.name)] = self.made_in.get(self.name(operand), -1)
            case Argsort(tensor, operand, descending, provenance):
                named = self.declare_tensor(tensor)
                self._alone([named.name], [Sort(named.name, self.name(operand), descending, provenance)])
            case Scan():
                results = [self.declare_tensor(t).name for t in statement.results]
                self._alone(results, self._scan(statement))
            case Definition():
                self._define(statement)

    def _alone(self, results: list[str], steps: list[Step]) -> None:
        self.groups.append(steps)
        for name in results:
            self.made_in[name] = len(self.groups) - 1

    def _define(self, definition: Definition) -> None:
        grown = self.growth.before.get(definition.tensor.name)
        tensor = self.declare_tensor(definition.tensor, grown and self.name(grown))
        if tensor.name in self.inner:
            return
        shape = tensor.shape
        whole = tuple(Piece(spread(trimmed(t.form)), tuple(self.name(o) for o in t.operands)) for t in definition.terms)
        pieces = tuple(p for p, t in zip(whole, definition.terms) if grown is None or not is_kept(t, shape))
        if all(p.form.is_projection for p in pieces):
            self._join(self._in_shares(self._member(tensor, pieces, definition.provenance)))
        elif (box := box_of(whole)) is not None:
            bare = box.extents == shape or stays_inside(self.growth.readings.get(definition.tensor.name), box, shape)
            self._define_by_lattices(tensor, pieces, None if bare else box, definition.provenance)
        else:
            pieces = self._without_transforms(tensor, pieces, definition.provenance)
            self._alone([tensor.name], self._accumulate(tensor, pieces, definition.provenance))

    def _between(self, tensor: Tensor, pieces: Sequence[Piece]) -> tuple[Transformed | None, Piece | None]:
        """How a tensor is made between transforms, and which of its terms that is; None if none is."""
        made = self.transformed.get(tensor.name)
        return made, next((p for p in pieces if made is not None and p == made.back[0].piece), None)

    def _without_transforms(self, tensor: Tensor, pieces: tuple[Piece, ...], provenance: Provenance) -> tuple[Piece, ...]:
        """The terms, of which one that is made between transforms is only a copy: it is a tensor of its own, made before."""
        made, own = self._between(tensor, pieces)
        if own is None:
            return pieces
        alone = replace(tensor, name=f"{tensor.name}.transformed", shape=own.lattice.extents)
        self.tensors[alone.name], self.memory[alone.name] = alone, alone.name
        made, copy = apart(made, alone)
        self._join(self._between_transforms(alone, (made.back[0].piece,), provenance, made))
        return tuple(copy if p is own else p for p in pieces)

    def _member(self, tensor: Tensor, pieces: tuple[Piece, ...], provenance: Provenance) -> Member:
        """Terms that write one lattice as a member; what one of them is made of between transforms is part of it, or where
        the others cannot be added on the way, a tensor of its own before."""
        if tensor.name in self.cases:
            made = self.cases[tensor.name]
            self.made_in.update((name, len(self.groups)) for name in made.names)
            return Member(tensor, pieces, "cases", provenance, made)
        made, own = self._between(tensor, pieces)
        if own is None:
            return member(tensor, pieces, provenance, self.machine)
        if all(follows(p, made.choice) for p in pieces if p is not own):
            return self._between_transforms(tensor, pieces, provenance, made)
        return member(tensor, self._without_transforms(tensor, pieces, provenance), provenance, self.machine)

    def _in_shares(self, whole: Member) -> Member:
        """A sum that several cores take a share of as the sum of these, which are a tensor of their own, made before."""
        is_shared = isinstance(self.machine, Machine) and whole.style == "tile" and not self.is_apart
        count = shares_of(whole, self.machine) if is_shared else 1
        if count == 1:
            return whole
        shape = (count * whole.tensor.shape[0], *whole.tensor.shape[1:])
        shares = replace(whole.tensor, name=f"{whole.tensor.name}.shares", shape=shape)
        self.tensors[shares.name], self.memory[shares.name] = shares, shares.name
        self.shared_out[shares.name] = whole.tensor.name
        self._join(replace(whole, tensor=shares))
        return member(whole.tensor, (joined_shares(shares, count),), whole.provenance, self.machine)

    def _between_transforms(self, tensor: Tensor, pieces, provenance: Provenance, made: Transformed) -> Member:
        for name in made.names:
            self.made_in[name] = len(self.groups)
        return Member(tensor, pieces, "transformed", provenance, made)

    def _define_by_lattices(self, tensor: Tensor, pieces: tuple[Piece, ...], box: Box | None, provenance: Provenance):
        """Terms that write places of their own each set them; what lies around the box that they fill is set to 0. box: None
        where nobody reads that, or nothing is there."""
        made: list[int] = []
        for together in by_lattice(pieces):
            earliest = made[0] if made and box is not None else -1
            made.append(self._join(self._member(tensor, together, provenance), earliest))
        self.scattered.add(tensor.name)
        self.made_in[tensor.name] = max([*made, self.made_in.get(self.growth.before.get(tensor.name, ""), -1)])
        if box is not None:
            nest = Nest(self.tensors, self.memory, frozenset())
            kernel = margins(nest, f"{_title([tensor.name])}_margins", tensor, box, provenance)
            self.groups[made[0]].before.append(Launch(kernel, (tensor.name,), (tensor.name,)))

    def _join(self, new: Member, earliest: int = -1) -> int:
        """Puts a member into the last kernel that it may be a part of, or into one of its own; gives which one that is."""
        first = max((self.made_in.get(o, -1) for o in new.operands), default=-1)
        first = max(first, earliest)
        later = range(len(self.groups) - 1, max(first, -1), -1)
        for at in [first, *later] if first >= 0 else later:
            group = self.groups[at]
            if not isinstance(group, Group) or self.growth.meets(group.members, new, self.memory):
                continue
            if self.grouping.puts(new, group):
                self.made_in[new.tensor.name] = at
                return at
        self.groups.append(Group([new], new.depth))
        self.made_in[new.tensor.name] = len(self.groups) - 1
        return len(self.groups) - 1

    # ------------------------------------------------------------------------------------------------- launching

    def _outside(self, statements: Sequence[Statement | Region], roots: frozenset[str]) -> Outside:
        """Who reads the results of groups outside of them; see `bands.Outside`."""
        found: Outside = {}
        makers: dict[str, list[int]] = {}
        for number, group in enumerate(self.groups):
            for name in group.names if isinstance(group, Group) else ():
                makers.setdefault(self.memory[name], []).append(number)

        def reads(name: str, at: int) -> None:
            source = self.memory.get(name)
            for maker in makers.get(source, ()):
                if maker != at:
                    found.setdefault(maker, {}).setdefault(source, set()).add((name, at))

        for root in roots:
            reads(self.name(root), -1)
        for statement in statements:
            if isinstance(statement, Reshape):
                continue
            first = statement.results[0]
            name = self.name(first if isinstance(statement, Region) else first.name)
            for operand in statement.operands if name not in self.scattered else ():
                reads(self.name(operand), self.made_in[name])
        for at, group in enumerate(self.groups):
            # What only the schedule knows: which kernel reads what, and parts that are tensors of their own.
            members = group.members if isinstance(group, Group) else ()
            alone = () if isinstance(group, Group) else [s.kernel for s in group if isinstance(s, Launch)]
            for operand in (*(o for m in members for o in m.operands), *(b.name for k in alone for b in k.buffers)):
                reads(operand, at)
        return found

    def _launch_rows(self, group: Group, kept: frozenset[str], provenance: Provenance) -> list[Step]:
        """The kernel that goes through rows, and those that join its sums over rows."""
        parts = {m.tensor.name: parts_of(m, group.space) for m in group.members if role_of(m, group.space).kind == ACROSS}
        for tensor in parts.values():
            self.tensors[tensor.name], self.memory[tensor.name] = tensor, tensor.name
        nest = Nest(self.tensors, self.memory, kept | {t.name for t in parts.values()}, self.machine)
        named = [m.tensor.name for m in group.members if self.memory[m.tensor.name] in kept]
        kernel = nest.rows(_title(named), group.members, group.space, provenance, parts)
        steps: list[Step] = [Launch(kernel, kernel.results, self._computed(group))]
        for m in group.members:
            if m.tensor.name in parts:
                steps += self.joined(m.tensor, joined_parts(parts[m.tensor.name]), m.provenance)
        return steps

    def _launch(self, group: Group, kept: frozenset[str]) -> list[Step]:
        provenance = tuple(dict.fromkeys(o for m in group.members for o in m.provenance))
        if group.space is None and isinstance(self.machine, Machine):
            group.space = space_of_maps(group.members, self.tensors, self.memory)
        if group.space is not None:
            return self._launch_rows(group, kept, provenance)
        nest = Nest(self.tensors, self.memory, kept, self.machine)
        named = [m.tensor.name for m in group.members if self.memory[m.tensor.name] in kept] or [group.members[-1].tensor.name]
        first = group.members[0]
        parts, before = None, []
        if first.style == "contraction" and first.choice.parts > 1:
            parts = replace(first.tensor, name=f"{first.tensor.name}.parts", shape=(first.choice.parts, *first.extents))
            self.tensors[parts.name], self.memory[parts.name] = parts, parts.name
            nest_of_parts = Nest(self.tensors, self.memory, frozenset(), self.machine)
            before = [Launch(in_parts(nest_of_parts, f"{_title(named)}_parts", first, parts), (parts.name,))]
        kernel = nest.kernel(_title(named), group.members, group.shared, provenance, parts)
        for buffer in (b for b in kernel.buffers if b.private):
            self.tensors[buffer.name], self.memory[buffer.name] = Tensor(buffer.name, (buffer.size,)), buffer.name
        return [*before, Launch(kernel, kernel.results, self._computed(group))]

    def _computed(self, group: Group) -> tuple[str, ...]:
        """The tensors that a group computes: what cores take shares of is computed by them, not where these are added."""
        added = self.shared_out.values()
        return tuple(self.shared_out.get(n, n) for n in (m.tensor.name for m in group.members) if n not in added)

    def _accumulate(self, tensor: Tensor, pieces: tuple[Piece, ...], provenance: Provenance) -> list[Step]:
        """A definition some of whose terms write elsewhere than along their own axes: set what can be set, join the rest."""
        named = _title([tensor.name])
        plain = tuple(p for p in pieces if p.form.is_projection)
        written = [p for p in pieces if not p.form.is_projection]
        if plain:
            first = Nest(self.tensors, self.memory, frozenset((tensor.name,)), self.machine)
            start = member(tensor, plain, provenance, self.machine)
            kernels = [first.kernel(named, [start], start.depth, provenance)]
        else:
            first = Nest(self.tensors, self.memory, frozenset())
            kernels = [first.fill(f"{named}_start", tensor, written[0].form.op, provenance)]
        for number, piece in enumerate(written):
            nest = Nest(self.tensors, self.memory, frozenset(), self.machine)
            part = f"{named}_part{number}"
            if (present := added(tensor, piece, provenance, self.machine)) is not None:
                kernels.append(nest.kernel(part, [present], present.depth, provenance))
            else:
                kernels.append(scatter(nest, part, tensor, piece, provenance))
        return [Launch(k, (tensor.name,), (tensor.name,)) for k in kernels]

    # ------------------------------------------------------------------------------------------------- scans

    def _scan(self, scan: Scan) -> list[Step]:
        """Copies of the initial carries, the loop, copies of the final ones."""
        prefix = f"{self.name(scan.results[0].name)}."
        inside = _Scheduler(self.tensors, self.memory, self.tables, self.parts, prefix, self.machine)
        inside.is_apart = self.is_apart
        inside.declare(scan.body)
        for inner, outer in scan.constants:
            self.memory[inside.name(inner)] = self.memory[self.name(outer)]
        wanted = [*(c.next for c in scan.carries), *(y.inner for y in scan.yields)]
        body = inside.steps(scan.body, frozenset(wanted))
        made = (inside.name(t.name) for t in _made(scan.body))
        loop = LoopMemory(scan, self, inside, {n for n in made if self.memory[n] == n}, body)
        loop.place()
        repeat = Repeat(
            scan.length,
            inside.name(scan.index) if scan.index else "",
            tuple(loop.rows),
            tuple(loop.states),
            (*loop.steps, *loop.copies),
            scan.reverse,
            tuple(self.name(t.name) for t in scan.results),
        )
        return [*loop.before, repeat, *loop.after]


def _made(program: Program) -> list[Tensor]:
    return [t for s in program.statements if not isinstance(s, Reshape) for t in s.results]


def _title(names: list[str]) -> str:
    """A name for a kernel out of the names of what it makes: an identifier of moderate length."""
    text = "_".join(names[:2]) + ("_and_more" if len(names) > 2 else "")
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text)[:60]
