"""Products between transforms: what is summed is made of cases, and so is what becomes of the sums.

    v[k, r, c] = case k of x around r;   m[k, r, o] = sum[c](v[k, r, c] * u[k, c, o]);   y[i, o] = case i % s of m[:, i // s, o]

A case is an index that is only compared with numbers: every case is written out. Block by block of the rows r, a thread
makes v, sums, and makes y, while v and m stay in memory of its own that is small enough for its cache. Minimal filtering is
written in this way; nothing here knows of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Definition, Statement, Tensor, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.kernels.access import nodes
from diffgraph.kernels.member import Piece
from diffgraph.kernels.tiles import Choice

#: Maps between the sums and the result, one for each axis that is taken in tiles.
MOST_STAGES = 4


@dataclass(frozen=True)
class Stage:
    """A map in cases that is no tensor of its own: what it is called, and its form over the operands of `piece`."""

    name: str
    piece: Piece


@dataclass(frozen=True)
class Transformed:
    """How a result is made: `signal` is v and the maps that it reads, `products` is m, `back` the maps from it to the result,
    the result's own term first."""

    signal: tuple[Stage, ...]
    products: Stage
    back: tuple[Stage, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that is never a tensor in memory."""
        return tuple(s.name for s in self.stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Everything that is computed on the way to the result's own term."""
        return (*self.signal, self.products, *self.back[1:])

    @cached_property
    def operands(self) -> frozenset[str]:
        """What is read from memory."""
        return frozenset(o for s in (*self.stages, self.back[0]) for o in s.piece.operands).difference(self.names)

    @cached_property
    def choice(self) -> Choice:
        """How what follows runs on vectors: along the lanes of the sums."""
        (read, *_) = _reads(results_at(self, made_cases(self)[0]))
        at = _written(self.products.piece.form).index(self.roles.lane)
        lane = self.back[0].piece.axes.index(alone_index(read.place[at]))
        return Choice(False, lane, None, 1, None, 1, 0.0)

    @cached_property
    def roles(self) -> Roles:
        """What the indices of the products are."""
        return roles(self.products.piece.form, self.signal)

    @cached_property
    def scales(self) -> dict[int, int]:
        """For each index of the result that says a row and a case, how many cases a row has: i // s, i % s."""
        inner = {s.name: s for s in self.back[1:]}
        found: dict[int, int] = {}

        def visit(stage: Stage, known: Mapping[int, int]) -> None:
            """`known`: the index of the result that an index of a stage is."""
            for read in _reads(stage.piece.form.body):
                for place in read.place:
                    digit = _quotient(place)
                    if digit is not None and digit[0] in known:
                        found[known[digit[0]]] = digit[1]
                of = inner.get(stage.piece.operands[read.slot])
                if of is not None:
                    alone = zip(_written(of.piece.form), map(alone_index, read.place))
                    visit(of, {own: known[k] for own, k in alone if k in known})

        visit(self.back[0], {k: k for k in range(len(self.back[0].piece.form.domain))})
        return found


@dataclass(frozen=True)
class Roles:
    """The indices of m[cases, rows, lane] = sum[depth](v[cases, rows, depth] * u[cases, depth, lane])."""

    cases: tuple[int, ...]
    rows: tuple[int, ...]
    lane: int
    depth: int
    signal: Read
    filter: Read


def roles(form: Form, stages: tuple[Stage, ...]) -> Roles | None:
    """What the indices of a sum of products are, `stages` making a factor in cases; None if they are not so."""
    signal, selected = stages[0].piece.form, cases_of(stages)
    factors = form.body.args if type(form.body) is Call and form.body.function == "mul" else ()
    if form.op != "sum" or not form.is_projection or len(factors) != 2 or not all(type(f) is Read for f in factors):
        return None
    for data, other in (factors, factors[::-1]):
        axes = [alone_index(p) for p in data.place]
        if form.operands[data.slot].shape != signal.shape or None in axes or data.otherwise or other.otherwise:
            continue
        cases = tuple(axes[p] for p, w in enumerate(signal.write) if alone_index(w) in selected)
        lane = form.written - data.indices
        rows = tuple(k for k in axes if k in form.written and k not in cases)
        if len(lane) != 1 or len(form.reduced) != 1 or not cases or not set(cases) <= other.indices & form.written:
            continue
        if set(rows) & other.indices or any(not isinstance(form.domain[k], int) for k in rows[1:]):
            continue
        taken = [alone_index(p) for p in other.place]
        if all(k in taken for k in cases) and all(isinstance(form.domain[k], int) for k in (*lane, *form.reduced)):
            return Roles(cases, rows, *lane, form.reduced[0], data, other)
    return None


def cases_of(stages: Sequence[Stage]) -> frozenset[int]:
    """The indices of the first of some maps that it, or the others that it reads, compare with numbers."""
    inner = {s.name: s for s in stages[1:]}

    def visit(stage: Stage) -> frozenset[int]:
        found = set(compared(stage.piece.form))
        for read in _reads(stage.piece.form.body):
            of = inner.get(stage.piece.operands[read.slot])
            if of is not None:
                told = visit(of)
                found |= {k for w, p in zip(_written(of.piece.form), read.place) if w in told for k in p.indices}
        return frozenset(found)

    return visit(stages[0])


def compared(form: Form) -> frozenset[int]:
    """The indices that are compared with numbers."""
    found = set()
    for node in nodes(form.body):
        match node:
            case Call("eq", (Index(axis), Const())):
                found.add(axis)
    return frozenset(found)


def _reads(body: Expr) -> list[Read]:
    return [n for n in nodes(body) if type(n) is Read]


def _quotient(place: Affine) -> tuple[int, int] | None:
    """(axis, radix) of index // radix."""
    match place:
        case Affine(0, ((Call("floordiv", (Affine(0, ((Index(axis), 1),)), Const(radix))), 1),)):
            return axis, radix
    return None


# ------------------------------------------------------------------------------------------------ recognition


def transformed(
    statements: Sequence[Statement], roots: frozenset[str], name: Callable[[str], str]
) -> dict[str, Transformed]:
    """The results that are made in this way, by name. `name` gives the name of a tensor in the schedule."""
    uses, makers = _uses_and_makers(statements, roots)
    search = _Search(uses, makers, name)
    found = [made for d in makers.values() if (made := search.around(d)) is not None]
    return {made.back[0].name: made for made in found}


def maps_in_cases(
    statements: Sequence[Statement], roots: frozenset[str], name: Callable[[str], str], taken: Set[str]
) -> list[tuple[Stage, ...]]:
    """Maps in cases with those that only serve them, but for those that are taken."""
    uses, makers = _uses_and_makers(statements, roots)
    search = _Search(uses, makers, name)
    found = []
    for definition in reversed(makers.values()):
        stages = search.signal(definition)
        if stages and stages[0].name not in taken:
            found.append(tuple(stages))
            taken |= {s.name for s in stages}
    return found


def _uses_and_makers(statements: Sequence[Statement], roots: frozenset[str]):
    """(by tensor, the definitions that read it, None for what else does; by tensor, the definition that makes it)."""
    uses: dict[str, list[Definition | None]] = {root: [None] for root in roots}
    makers: dict[str, Definition] = {}
    for statement in statements:
        plain = isinstance(statement, Definition) and statement.gradient is None
        for operand in statement.operands:
            uses.setdefault(operand, []).append(statement if plain else None)
        if plain:
            makers[statement.tensor.name] = statement
    return uses, makers


class _Search:
    """Finds the maps around a sum of products that only serve it."""

    def __init__(self, uses: Mapping[str, list[Definition | None]], makers: Mapping[str, Definition], name):
        self.uses = uses
        self.makers = makers
        self.name = name

    def around(self, definition: Definition) -> Transformed | None:
        """What is made of the sums of products of a definition."""
        stage = self._stage(definition)
        if stage is None or not stage.piece.form.reduced:
            return None
        for name in definition.operands:
            signal = self._signal(name)
            if signal and roles(stage.piece.form, tuple(signal)) is not None:
                return self._with_results(definition.tensor.name, stage, tuple(signal))
        return None

    def _stage(self, definition: Definition | None) -> Stage | None:
        """A definition of one term over floats."""
        if definition is None or len(definition.terms) != 1 or definition.tensor.kind != "float":
            return None
        (term,) = definition.terms
        return self._of_term(definition, term) if term.form.is_projection else None

    def _of_term(self, definition: Definition, term: Term) -> Stage:
        return Stage(self.name(definition.tensor.name), Piece(term.form, tuple(map(self.name, term.operands))))

    def _only_reader(self, name: str) -> Definition | None:
        """The definition that alone reads a tensor, in one of its terms."""
        found = self.uses.get(name, [])
        if len(found) != 1 or found[0] is None:
            return None
        return found[0]

    def _signal(self, name: str) -> list[Stage]:
        """The maps in cases that a tensor is made by, and nothing else reads."""
        return self.signal(self.makers.get(name)) if self._only_reader(name) is not None else []

    def signal(self, definition: Definition | None) -> list[Stage]:
        """The map in cases of a definition, and those that only it reads."""
        stage = self._stage(definition)
        if stage is None or not stage.piece.form.is_pointwise or not compared(stage.piece.form):
            return []
        found = [stage]
        for operand in definition.operands:
            found += self._signal(operand)
        return found

    def _with_results(self, name: str, products: Stage, signal: tuple[Stage, ...]) -> Transformed | None:
        """Goes from the sums to where every case is told."""
        back: list[Stage] = []
        for _ in range(MOST_STAGES):
            reader = self._only_reader(name)
            if reader is None:
                return None
            term = next(t for t in reader.terms if name in t.operands)
            stage = self._of_term(reader, term)
            if reader.tensor.kind != "float" or term.form.reduced or stage.piece.lattice is None or set(term.operands) != {name}:
                return None
            back.insert(0, stage)
            name = reader.tensor.name
            made = Transformed(signal, products, tuple(back))
            if is_told(made):
                return made
            if len(reader.terms) != 1 or not term.form.is_projection:
                return None
        return None


def apart(made: Transformed, tensor: Tensor) -> tuple[Transformed, Piece]:
    """The same as a tensor of its own, and a term that copies it to where the result's own term writes."""
    first = made.back[0]
    form = first.piece.form
    places = tuple(index(k) for k in first.piece.axes)
    own = Form(form.domain, form.op, places, tensor.shape, form.operands, form.body)
    copy = Form(form.domain, form.op, form.write, form.shape, (tensor.operand,), Read(0, places, None))
    stage = Stage(tensor.name, Piece(own, first.piece.operands))
    return replace(made, back=(stage, *made.back[1:])), Piece(copy, (tensor.name,))


def _written(form: Form) -> list[int]:
    return [alone_index(w) for w in form.write]


def is_told(made: Transformed) -> bool:
    """Every read of the sums is of a case that is a number, at a row that follows from the place of the result."""
    form, of = made.products.piece.form, made.roles
    lanes = set()
    for cases in made_cases(made):
        for read in _reads(results_at(made, cases)):
            for axis, place in zip(_written(form), read.place):
                if (axis in of.cases) != (not place.indices) or (place.indices and alone_index(place) is None):
                    return False
                if axis == of.lane:
                    lanes.add(alone_index(place))
    return len(lanes) == 1


# ------------------------------------------------------------------------------------------------ cases, written out


def made_cases(made: Transformed) -> list[dict[int, int]]:
    """Each combination of remainders that the scaled indices of the result have."""
    found: list[dict[int, int]] = [{}]
    for axis, scale in sorted(made.scales.items()):
        found = [{**f, axis: r} for f in found for r in range(scale)]
    return found


def rows_domain(made: Transformed) -> tuple[Size, ...]:
    """The domain of the result, with a row for each `scale` places of a scaled index."""
    form = made.back[0].piece.form
    return tuple(e if k not in made.scales else -(-e // made.scales[k]) for k, e in enumerate(form.domain))


def results_at(made: Transformed, cases: Mapping[int, int]) -> Expr:
    """The result where its scaled indices have some remainders: over reads of the sums (slot 0), the scaled indices now
    counting rows."""
    domain = rows_domain(made)
    indices: dict[int, Expr] = {k: index(k) for k in range(len(domain))}
    indices.update((k, affine(r, ((Index(k), made.scales[k]),))) for k, r in cases.items())
    inner = {s.name: s for s in made.back[1:]}
    return written_out(made.back[0], indices, domain, inner, {made.products.name: 0})


def every_case(stages: tuple[Stage, ...]) -> tuple[Piece, list[Expr]]:
    """Maps in cases as one: its operands, and a body for each combination of cases, row-major, over the indices of the first
    map. The piece has no body of its own."""
    inner = {s.name: s for s in stages}
    known = {o: k for s in stages for o, k in zip(s.piece.operands, s.piece.form.operands) if o not in inner}
    operands = sorted(known)
    form, selected = stages[0].piece.form, cases_of(stages)
    shell = Form(form.domain, "sum", form.write, form.shape, tuple(known[o] for o in operands), Const(0.0))
    slots = {o: n for n, o in enumerate(operands)}
    axes = _written(form)
    bodies = []
    for cases in itertools.product(*(range(form.domain[k]) for k in axes if k in selected)):
        told = iter(cases)
        indices = {k: affine(next(told)) if k in selected else index(k) for k in axes}
        bodies.append(written_out(stages[0], indices, form.domain, inner, slots))
    return Piece(shell, tuple(operands)), bodies


def written_out(stage: Stage, indices: Mapping[int, Expr], domain, inner: Mapping[str, Stage], slots) -> Expr:
    """The body of a stage at given indices, with what inner stages make in the place of their reads. Sums of different
    stages are not mixed, so that what is the same for many cases is one expression."""
    form, operands = stage.piece.form, stage.piece.operands
    kinds = tuple(o.kind for o in form.operands)
    body = substitute(form.body, indices, domain, None, kinds)

    def visit(e: Expr) -> Expr:
        match e:
            case Read(slot, place, otherwise):
                name = operands[slot]
                if name not in inner:
                    return Read(slots[name], place, otherwise)
                of = inner[name]
                at = {alone_index(w): p for w, p in zip(of.piece.form.write, place)}
                return written_out(of, at, domain, inner, slots)
            case Call(function, args):
                return Call(function, tuple(visit(a) for a in args))
        return e

    return visit(body)
