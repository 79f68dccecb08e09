"""A reduction in registers, as statements: blocks of results, the reductions inside, and what is done with each block.

    for n: for i: for block of o:                        loops over what is not in the tile
        start
        for c, p, q: step                                 result[o, j] += w[o, c, p, q] * x[n, c, i + p, j + q]
        store                                             y[n, o, i, j] = tanh(result + bias[o])

The last block along an axis may be smaller: it is a tile of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, floor_divide, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index
from diffgraph.kernels.access import strides, usual
from diffgraph.kernels.blocks import Block, Blocks, Level, Loops, fixed_place, size_expr
from diffgraph.kernels.chunks import LARGE_FILTER, Chunks, chunks_of, filter_bytes, guards_of_factors, other_bytes
from diffgraph.kernels.loops import (
    Lanes,
    Loop,
    Statement,
    Tile,
    TileLoad,
    TileOperand,
    TileStart,
    TileStep,
    TileStore,
    TileValue,
    Ways,
    When,
    nested,
)
from diffgraph.kernels.member import Member, Piece
from diffgraph.kernels.operands import Along, Operands, inside, settled
from diffgraph.kernels.panels import PanelWriter, grouped_position
from diffgraph.kernels.strips import StripWriter, strips_of
from diffgraph.kernels.tiles import FLOAT, NEAREST, Choice, Machine, accesses_of, loop_order
from diffgraph.passes.choices import LOOPS, Point, point

#: Enough units of extents that are known: a batch may be a single sample.
ENOUGH_KNOWN_UNITS = 16


class Tiling:
    """Writes the loops of a tiled member and of the pointwise members that follow it (`nest` is the kernel's `Nest`)."""

    def __init__(self, nest, members: Sequence[Member], machine: Machine):
        self.nest = nest
        self.members = members
        self.machine = machine
        self.choice: Choice = members[0].choice
        self.shape = members[0].extents
        self.blocks = Blocks(self.shape, self.choice, machine, nest.new_axis)
        #: Where results are one of several shares of a sum: which one.
        self.share: Affine | None = None

    def statements(self) -> tuple[list[tuple[int, Size]], tuple[Statement, ...]]:
        """(parallel loops from the outside in, as axis and extent; the statements inside them)."""
        ways = self.ways()
        measured = self.machine.choices.of(self.point) if self.machine.choices else None
        return ways.get(measured, next(iter(ways.values())))()

    @cached_property
    def point(self) -> Point:
        """What measurements of the ways to go through the blocks are known by."""
        forms = [[(p.form.digest, p.axes) for p in m.pieces] for m in self.members]
        return point(LOOPS, forms, self.choice.name)

    @property
    def known_ways(self) -> Ways:
        """What may be measured."""
        reducing = [p for p in self.members[0].pieces if p.form.reduced]
        return Ways(tuple(p.form for p in reducing), tuple(p.axes for p in reducing), self.point, tuple(self.ways()))

    def ways(self) -> dict[str, Callable[[], tuple[list[tuple[int, Size]], tuple[Statement, ...]]]]:
        """The ways to go through the blocks, by name; the first is the best by estimate. Each gives `statements`."""
        choice, first = self.choice, self.members[0]
        tiled = {choice.row, choice.column} | (set() if choice.along else {choice.lane})
        plain = [p for p in range(len(self.shape)) if p not in tiled]
        found = {}
        if (strips := strips_of(first, choice, self.machine)) is not None:
            found["strip by strip"] = lambda: StripWriter(self, strips, plain).statements()
        if (group := grouped_position(first, choice, plain, self.machine)) is not None:
            found["groups over panels"] = lambda: PanelWriter(self, group, plain).statements()
        if len(self.members) == 1 and (chunks := chunks_of(first, choice, self.machine)) is not None:
            found["part by part"] = lambda: self._in_chunks(chunks)
        return found | self._whole_ways(plain)

    def _whole_ways(self, plain: Sequence[int]):
        """Those in which the whole sum of a block is taken before the next one."""
        rows = [] if self.choice.row is None else [self.blocks.rows]
        places = [self.blocks.plain(p) for p in plain]
        if self.choice.column is not None:
            in_columns = lambda b: self._along_columns(b.places, b.rows)  # noqa: E731
            return {"block by block": lambda: self.blocks.inside([*places, *rows], in_columns)}

        def in_order(*levels):
            return lambda: self.blocks.inside(levels, lambda b: self._tile(b.places, b.rows, b.columns, b.active))

        row_by_row = lambda: self.blocks.inside([*places, *rows], lambda b: self._along_lanes(b.places, b.rows))  # noqa: E731
        if self.choice.along:
            return {"row by row": row_by_row}
        found = {}
        if self._writes_apart():
            # What neighbouring tiles write is on the same cache lines.
            found["lanes, rows, places"] = in_order(self.blocks.lanes, *rows, *places)
        if self._goes_panel_by_panel():
            found["panel by panel"] = in_order(self.blocks.lanes, *places, *rows)
        if (more := self._more_units(plain)) is not None:
            found["row by row, lanes shared out"] = in_order(*places, *rows, more)
        found["row by row"] = row_by_row
        if self._has_panels():
            found.setdefault("panel by panel", in_order(self.blocks.lanes, *places, *rows))
        return found

    def in_band(self, within: Block, position: int, band: Level) -> tuple[Statement, ...]:
        """The statements of results within a block, for the places that a level has on a position. Where what changes with
        the lanes stays in the nearest cache, lanes are outermost, and that level innermost: under a window its places read
        almost the same."""
        choice = self.choice
        tiled = {position, *choice.positions}
        levels = [self.blocks.plain(p) for p in range(len(self.shape)) if p not in tiled and p not in within.places]
        rows = [] if choice.row is None else [self.blocks.rows]
        if choice.column is not None:
            levels = [*levels, *rows, band]
            return nested(*self.blocks.inside(levels, lambda b: self._along_columns(b.places, b.rows), within))
        steps = product(usual(e) for k, e in enumerate(self.piece.form.domain) if k in self.piece.form.reduced)
        if FLOAT * steps * choice.columns * self.machine.lanes <= NEAREST:
            levels = [self.blocks.lanes, *levels, *rows, band]
            return nested(*self.blocks.inside(levels, lambda b: self._tile(b.places, b.rows, b.columns, b.active), within))
        levels = [*levels, band, *rows]
        return nested(*self.blocks.inside(levels, lambda b: self._along_lanes(b.places, b.rows), within))

    @property
    def piece(self) -> Piece:
        """The first of the terms that are reduced."""
        return next(p for p in self.members[0].pieces if p.form.reduced)

    def _writes_apart(self) -> bool:
        """Whether lanes are not neighbours in the result."""
        lane = self.choice.lane
        return isinstance(self.shape[lane], int) and strides(self.members[0].tensor.shape)[lane] != 1

    def _goes_panel_by_panel(self) -> bool:
        """Whether what changes with the lanes only is too large to be read again for each row, or larger than all else: then
        threads share it out, each reading all of what changes with the rows."""
        if not self._has_panels():
            return False
        return filter_bytes(self.members[0], self.choice) > min(LARGE_FILTER, other_bytes(self.members, self.choice))

    def _has_panels(self) -> bool:
        """Whether there are several blocks of lanes, known when compiling."""
        extent = self.shape[self.choice.lane]
        return isinstance(extent, int) and extent > self.machine.lanes * self.choice.columns

    def _more_units(self, plain: Sequence[int]):
        """A level of blocks of lanes, where a batch of one sample would leave too few units without it."""
        choice = self.choice
        count = product(e for p in plain if isinstance(e := self.shape[p], int))
        if choice.row is not None and isinstance(rows := self.shape[choice.row], int):
            count *= -(-rows // choice.rows)
        if count >= ENOUGH_KNOWN_UNITS:
            return None
        if choice.along or not self._has_panels():
            return None
        return lambda: self.blocks.lanes_in_groups(-(-ENOUGH_KNOWN_UNITS // count))

    # ------------------------------------------------------------------------------------------------ chunks

    def _in_chunks(self, chunks: Chunks):
        """Sums over more than a core keeps close, part by part: for each, all results of a unit are gone through."""
        form = self.members[0].pieces[0].form
        outer = [self._shares(chunks.shares)] if chunks.shares > 1 else []
        outer += [self.blocks.level(p) for p in chunks.units]
        rest = [p for p in range(len(self.shape)) if p not in chunks.units]
        # Plain places innermost: under a window they read almost the same.
        rest.sort(key=lambda p: (p != self.choice.lane, p != self.choice.row))
        inner = [self.blocks.level(p) for p in rest]
        if chunks.group is not None:
            group, inner[rest.index(self.choice.row)] = self.blocks.rows_in_groups(chunks.group)
            outer.append(group)

        def inside(unit: Block) -> tuple[Statement, ...]:
            def go(over) -> tuple[Statement, ...]:
                loops, body = self.blocks.inside(
                    inner, lambda b: self._tile(b.places, b.rows, b.columns, b.active, over), unit
                )
                return nested(loops, body)

            if chunks.shares > 1:
                return (*go(None), *self._over_share(form.domain, chunks, go))
            return (*go(None), *self._over_parts(form.domain, chunks.parts, go))

        return self.blocks.inside(outer, inside)

    def _shares(self, count: int):
        """A level: the shares of a sum, one after the other."""

        def level():
            axis = self.nest.new_axis()
            self.share = index(axis)
            return [(axis, count)], [Block({})]

        return level

    def _over_share(self, domain, chunks: Chunks, go) -> tuple[Statement, ...]:
        """The statements that `go` gives for each part of a share: an equal number of whole ones for each share, and what is
        left for the last one."""
        (axis, size), *further = chunks.parts
        full = floor_divide(domain[axis], size)
        rest = domain[axis] - full * size
        statements: tuple[Statement, ...] = ()
        if full != 0:
            each = floor_divide(full + chunks.shares - 1, chunks.shares)
            chunk = self.nest.new_axis()
            is_known = isinstance(each, int)
            first = affine(0, ((self.share, each),)) if is_known else Call("mul", (self.share, size_expr(each)))
            number = affine(0, ((first, 1), (Index(chunk), 1)))
            part = (axis, affine(0, ((number, size),)), size)
            body = self._over_parts(domain, further, go, (part,))
            if not isinstance(full, int) or full % chunks.shares:
                body = (When(Call("lt", (number, size_expr(full))), body),)
            statements = (Loop(chunk, each, body),)
        if rest != 0:
            part = (axis, fixed_place(full * size), rest)
            is_last = Call("eq", (self.share, Const(chunks.shares - 1)))
            statements += (When(is_last, self._over_parts(domain, further, go, (part,))),)
        return statements

    def _over_parts(self, domain, parts, go, over=()) -> tuple[Statement, ...]:
        """The statements that `go` gives for each part of the axes of a sum: whole ones in loops, then what is left."""
        if not parts:
            return go(over)
        (axis, size), *further = parts
        full = floor_divide(domain[axis], size)
        rest = domain[axis] - full * size
        chunk = self.nest.new_axis()
        part = (axis, affine(0, ((Index(chunk), size),)), size)
        statements: tuple[Statement, ...] = ()
        if full != 0:
            statements = (Loop(chunk, full, self._over_parts(domain, further, go, (*over, part))),)
        if rest != 0:
            part = (axis, fixed_place(full * size), rest)
            statements += self._over_parts(domain, further, go, (*over, part))
        return statements

    # ------------------------------------------------------------------------------------------------ lanes

    def _along_columns(self, places, rows: int) -> tuple[Statement, ...]:
        """Blocks of columns along an axis of their own; across, lanes are whole vectors, one after the other."""
        choice, loops, at = self.choice, [], dict(places)
        steps = [(choice.column, choice.columns)]
        if not choice.along:
            steps.insert(0, (choice.lane, self.machine.lanes))
        for position, size in steps:
            count = floor_divide(self.shape[position], size)
            axis = self.nest.new_axis()
            at[position] = fixed_place(0) if count == 1 else affine(0, ((Index(axis), size),))
            loops += [(axis, count)] if count != 1 else []
        return nested(loops, self._tile(at, rows, choice.columns, None))

    def _along_lanes(self, places, rows: int) -> tuple[Statement, ...]:
        """Blocks of whole vectors across the lanes; in the last one only some lanes are active. One tile where the lanes run
        along the reduction."""
        choice, lanes = self.choice, self.machine.lanes
        if choice.along:
            return self._tile(places, rows, 1, None)
        extent = self.shape[choice.lane]
        size = lanes * choice.columns
        full = floor_divide(extent, size)
        rest = extent - full * size
        axis = self.nest.new_axis()
        statements: list[Statement] = []
        if full == 1:
            statements += self._tile({**places, choice.lane: fixed_place(0)}, rows, choice.columns, None)
        elif full != 0:
            start = affine(0, ((Index(axis), size),))
            body = self._tile({**places, choice.lane: start}, rows, choice.columns, None)
            statements.append(Loop(axis, full, body))
        if isinstance(rest, int) and rest:
            columns = -(-rest // lanes)
            active = None if rest == columns * lanes else Lanes(None, Const(rest), True)
            statements += self._tile({**places, choice.lane: fixed_place(full * size)}, rows, columns, active)
        elif not isinstance(rest, int):
            statements.append(self._open_rest(places, rows, full * size, rest))
        return tuple(statements)

    def _open_rest(self, places, rows: int, start: Size, rest: Size) -> Statement:
        """What is left of an axis of unknown length, vector by vector."""
        lanes = self.machine.lanes
        axis = self.nest.new_axis()
        place = affine(0, ((Index(axis), lanes), (size_expr(start), 1)))
        left = affine(0, ((size_expr(rest), 1), (Index(axis), -lanes)))
        body = self._tile({**places, self.choice.lane: place}, rows, 1, Lanes(None, left, True))
        return Loop(axis, floor_divide(rest + lanes - 1, lanes), body)

    # ------------------------------------------------------------------------------------------------ one tile

    def _tile(
        self, places: Mapping[int, Affine], rows: int, columns: int, active: Lanes | None, over=()
    ) -> tuple[Statement, ...]:
        """The statements of a tile. over: nothing for the whole reduction; None for none of it, the results being set to
        the identity; (axis, start, extent) for each axis of which a part is taken, added to what the results are already."""
        choice, first = self.choice, self.members[0]
        reducing = [p for p in first.pieces if p.form.reduced]
        op = reducing[0].form.op
        tile = Tile(self.nest.new_tile(), rows, columns, self.machine.lanes, choice.along, op)
        statements: list[Statement] = [TileStart(tile)]
        for piece in reducing if over is not None else ():
            statements += self._reduction(tile, piece, places, active, over)
        return (*statements, self.end(tile, places, active, adds=bool(over)))

    def _reduction(self, tile: Tile, piece: Piece, places, active, over) -> tuple[Statement, ...]:
        """The loops of a term around its step. over: see `_tile`."""
        if not self.choice.along:
            around, where = self._around(piece, places, over)
            return around(self.step(tile, piece, where, active))
        return tuple(s for loops, body in self.parts(tile, piece, places, over) for s in nested(loops, body))

    def _around(self, piece: Piece, places, over):
        """(what puts statements inside the loops of a term, but those over lanes; where the indices of its form are).
        Where a guard does not depend on the lanes, and nothing is added outside of it, the loops that it depends on come
        first, and the others run only inside."""
        form, choice = piece.form, self.choice
        where = {piece.axes[p]: place for p, place in places.items()}
        guards = guards_of_factors(piece, self.lane_axis(piece))
        guarding = frozenset().union(*(p.indices for p, _ in guards))
        order = [k for k in loop_order(form) if not (choice.along and k == choice.lane)]
        outer = [(self.nest.new_axis(), k) for k in order if k in guarding]
        inner = [(self.nest.new_axis(), k) for k in order if k not in guarding]
        where |= {k: index(axis) for axis, k in (*outer, *inner)}
        domain = form.domain
        for part, start, extent in over:
            where[part] = affine(0, ((where[part], 1), (start, 1)))
            domain = (*domain[:part], extent, *domain[part + 1 :])
        lowered = [(self.nest.lower_at(p, piece, where), extent) for p, extent in guards]
        conditions = [c for p, extent in lowered for c in inside(p, extent)]

        def around(body: tuple[Statement, ...]) -> tuple[Statement, ...]:
            body = _in_loops(inner, domain, body)
            if conditions:
                body = (When(conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions)), body),)
            return _in_loops(outer, domain, body)

        return around, where

    def parts(self, tile: Tile, piece: Piece, places, over=()) -> list[tuple[Loops, tuple[Statement, ...]]]:
        """A sum along lanes, as (loops, statements inside of them): whole vectors, then what is left. From panel to panel
        it is far: each is gone through before the next one; without panels, lanes are the innermost loop."""
        lane, lanes = self.choice.lane, self.machine.lanes
        around, where = self._around(piece, places, over)
        extent = piece.form.domain[lane]
        full = floor_divide(extent, lanes)
        rest = extent - full * lanes
        parts: list[tuple[Loops, tuple[Statement, ...]]] = []
        if full != 0:
            axis = self.nest.new_axis()
            start = affine(0, ((Index(axis), lanes),))
            parts.append(([(axis, full)], self.step(tile, piece, {**where, lane: start}, None)))
        if rest != 0:
            active = Lanes(None, size_expr(rest), False)
            body = self.step(tile, piece, {**where, lane: fixed_place(full * lanes)}, active)
            is_some = floor_divide(rest + lanes - 1, lanes)
            parts.append(([] if is_some == 1 else [(self.nest.new_axis(), is_some)], body))
        if any(a.panels[lane] for a in accesses_of(piece.form)):
            return [(loops, around(body)) for loops, body in parts]
        return [([], around(tuple(s for loops, body in parts for s in nested(loops, body))))]

    def step(self, tile: Tile, piece: Piece, where: Mapping[int, Affine], active) -> tuple[Statement, ...]:
        """One step of a reduction, the indices of its form being at places of the kernel."""
        operands = Operands(self.nest, piece, where, self._along(piece))
        body = operands.lower(piece.form.body)
        step = TileStep(tile, tuple(operands.found), body, active)
        return (step,)

    def end(self, tile: Tile, places: Mapping[int, Affine], active, adds: bool = False) -> TileStore:
        """The results plus the terms that reduce nothing (or, where it adds, what is in memory already), then the members
        that follow, and the stores."""
        operands: list[TileOperand] = []
        values: list[Expr] = []
        stores: list[tuple[int, TileLoad]] = []
        known: dict[str, Expr] = {}
        bodies: list[list[Expr]] = []
        for member in self.members:
            parts: list[Expr] = [TileValue(0)] if member is self.members[0] else []
            for piece in member.pieces:
                if piece.form.reduced:
                    continue
                where = {piece.axes[p]: place for p, place in places.items()}
                found = Operands(self.nest, piece, where, self._along(piece), operands, known)
                parts.append(found.lower(piece.form.body))
            if adds:
                operands.append(self._target(member, places))
                parts.append(TileValue(len(operands)))
            bodies.append(parts)
            known[member.tensor.name] = TileValue(-1 - len(bodies))
        shift = len(operands) + 1
        for number, (member, parts) in enumerate(zip(self.members, bodies)):
            body = parts[0] if len(parts) == 1 else Call("add", tuple(parts))
            values.append(settled(body, shift))
            stores.append((number, self._target(member, places)))
        active = None if self.choice.along else active
        return TileStore(tile, tuple(operands), tuple(values), tuple(stores), active)

    def _target(self, member: Member, places: Mapping[int, Affine]) -> TileLoad:
        lattice = member.lattice
        sizes = [s * step for s, step in zip(strides(member.tensor.shape), lattice.steps)]
        choice = self.choice
        step = {
            p: sizes[p] for p in (choice.row, choice.column, None if choice.along else choice.lane) if p is not None
        }
        at = lattice.at([places[p] for p in range(len(sizes))])
        if self.share is not None:
            at[0] = affine(0, ((at[0], 1), (self.share, lattice.extents[0])))
        place = self.nest.address_in(member.tensor.name, at, member.tensor.shape)
        lane = 0 if choice.along else step[choice.lane]
        column = step.get(choice.column, 0) if choice.column is not None else lane * self.machine.lanes
        return TileLoad(self.nest.number(member.tensor.name), place, step.get(choice.row, 0), column, lane)

    def _along(self, piece: Piece) -> Along:
        choice = self.choice
        row = None if choice.row is None else piece.axes[choice.row]
        column = None if choice.column is None else piece.axes[choice.column]
        return Along(self.lane_axis(piece), row, column, 0 if choice.along or column is not None else self.machine.lanes)

    def lane_axis(self, piece: Piece) -> int | None:
        """The axis of the piece's domain that runs in the lanes."""
        if self.choice.along:
            return self.choice.lane if piece.form.reduced else None
        return piece.axes[self.choice.lane]


def _in_loops(loops, domain, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
    for axis, k in reversed(loops):
        body = (Loop(axis, domain[k], body),)
    return body
