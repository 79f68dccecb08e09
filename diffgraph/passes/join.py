"""Parts of a concatenation in the memory of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import affine, is_inside
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Definition, Program, Statement, Term
from diffgraph.ir.rewrite import rewrite
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.report import Report

#: A part that is so small is as well copied.
SMALL = 1 << 10

Places = tuple[int, ...]


def join(program: Program, report: Report) -> Program:
    """A tensor that another one holds a copy of, beside other parts, gets the shape of the whole: it is written at the place
    that it has there, and read from there. The whole then keeps what it copied before, at the same places: both are in one
    memory, and nothing is copied (`kernels/growth`).

    Before:
        input x[N, 2048]
        a[n, i] = exp(x[n, i])
        b[n, i] = sum[j](a[n, j] * x[n, i])
        y[n, h < 4096] = sum[i](a[n, i] if h == i else 0) + sum[i](b[n, i] if h == i + 2048 else 0)
        z[n] = sum[h](y[n, h] * y[n, h])
        output z

    After:
        input x[N, 2048]
        a[n, h < 4096] = sum[i](exp(x[n, i]) if h == i else 0)
        b[n, i] = sum[j < 2048](a[n, j] * x[n, i])
        y[n, h < 4096] = sum[i < 2048](a[n, i] if h == i else 0) + sum[i](b[n, i] if h == i + 2048 else 0)
        z[n] = sum[h](y[n, h] * y[n, h])
        output z
    """
    joined = _Join(program, report)
    for statement in reversed(program.statements):
        if isinstance(statement, Definition):
            joined.look_at(statement.tensor.name)
    return program.with_(statements=tuple(joined.statements())) if joined.changed else program


@dataclass(frozen=True)
class Part:
    """A term that copies a box of a tensor: from `starts` of it to `places` of the whole, `extents` many."""

    name: str
    starts: Places
    places: Places
    extents: tuple[Size, ...]

    @property
    def offsets(self) -> Places:
        """How far a place is in the whole from where it was."""
        return tuple(b - a for a, b in zip(self.starts, self.places))


class _Join:
    """The definitions of a program as they change."""

    def __init__(self, program: Program, report: Report):
        self.program = program
        self.report = report
        self.made: dict[str, Definition] = {}
        self.order: dict[str, int] = {}
        self.readers: dict[str, list[str]] = {}
        self.fixed = set(program.roots) | {i.tensor.name for i in program.inputs}
        self.changed = False
        for at, statement in enumerate(program.statements):
            if not isinstance(statement, Definition) or statement.gradient is not None:
                self.fixed.update(statement.operands)
                self.fixed.update(t.name for t in statement.results)
                continue
            self.made[statement.tensor.name] = statement
            self.order[statement.tensor.name] = at
            for operand in statement.operands:
                self.readers.setdefault(operand, []).append(statement.tensor.name)

    def statements(self) -> list[Statement]:
        """All statements, changed or not."""
        return [self.made.get(s.results[0].name, s) for s in self.program.statements]

    def look_at(self, name: str) -> None:
        """Puts the parts of a whole into its memory that can be there."""
        whole = self.made.get(name)
        if whole is None or name in self.fixed or len(whole.terms) < 2 or whole.tensor.kind != "float":
            return
        parts = [part for term in whole.terms if (part := _part(term)) is not None and self._can_be(part, whole)]
        parts = [p for p in parts if sum(other.name == p.name for other in parts) == 1]
        kept: list[Part] = []
        for part in sorted(parts, key=lambda p: self.order[p.name]):
            self._move(part, whole, kept)
            kept.append(part)
        if not kept:
            return
        self.changed = True
        names = {p.name for p in kept}
        own = [t for t in whole.terms if (p := _part(t)) is None or p.name not in names]
        for part in kept:
            own = [_read_at(t, part, whole.tensor.shape) for t in own]
        origin = whole.terms[0].provenance
        own = [Term(_kept(p, whole.tensor.operand), (kept[-1].name,), origin) for p in kept] + own
        self.made[name] = replace(whole, terms=tuple(own))
        self.report.did(f"{name}: {', '.join(sorted(names))} are written where they are in it", whole.provenance)

    def _can_be(self, part: Part, whole: Definition) -> bool:
        """Whether a part may be in the memory of the whole: it is made by sums at places inside of what is copied, and others
        read it at such places only."""
        definition = self.made.get(part.name)
        if definition is None or part.name in self.fixed or definition.tensor.kind != "float":
            return False
        if product(usual(s) for s in part.extents) < SMALL or not _is_read_by_others(self.readers[part.name], whole):
            return False
        shape = definition.tensor.shape
        terms = definition.terms
        if any(t.form.op != "sum" or not _stays(t.form.write, t.form, part, shape) for t in terms):
            return False
        readers = [t for r in dict.fromkeys(self.readers[part.name]) for t in self.made[r].terms if _part(t) != part]
        reads = [(t, slot) for t in readers for slot, o in enumerate(t.operands) if o == part.name]
        return all(_reads_inside(t.form, slot, part) for t, slot in reads)

    def _move(self, part: Part, whole: Definition, before: Sequence[Part]) -> None:
        """Gives a part the shape of the whole, and the places that it has there; it keeps the parts before it."""
        definition = self.made[part.name]
        shape = whole.tensor.shape
        terms = [replace(t, form=_written_at(t.form, part.offsets, shape)) for t in definition.terms]
        if before:
            origin = definition.terms[0].provenance
            terms = [Term(_kept(p, whole.tensor.operand), (before[-1].name,), origin) for p in before] + terms
            self.readers[before[-1].name].append(part.name)
        self.made[part.name] = replace(definition, tensor=replace(definition.tensor, shape=shape), terms=tuple(terms))
        for reader in dict.fromkeys(self.readers[part.name]):
            if reader != whole.tensor.name:
                found = self.made[reader]
                self.made[reader] = replace(found, terms=tuple(_read_at(t, part, shape) for t in found.terms))


def _is_read_by_others(readers: Sequence[str], whole: Definition) -> bool:
    """What only the whole reads, its own kernel writes there."""
    return any(r != whole.tensor.name for r in readers)


@cache
def _line(place) -> tuple[int, int] | None:
    """(axis, start) of a place that moves with one index, step by step."""
    if len(place.terms) != 1 or type(place.terms[0][0]) is not Index or place.terms[0][1] != 1:
        return None
    return place.terms[0][0].axis, place.constant


def _part(term: Term) -> Part | None:
    """The term as a copy of a box."""
    form, body = term.form, term.form.body
    if form.op != "sum" or type(body) is not Read or body.otherwise is not None or form.reduced:
        return None
    if len(body.place) != len(form.write):
        return None
    lines = [(_line(a), _line(b)) for a, b in zip(body.place, form.write)]
    if any(a is None or b is None or a[0] != b[0] or min(a[1], b[1]) < 0 for a, b in lines):
        return None
    axes = [a[0] for a, _ in lines]
    if len(set(axes)) != len(axes):
        return None
    extents = tuple(form.domain[k] for k in axes)
    if any(not is_inside(w, s, form.domain) for w, s in zip(form.write, form.shape)):
        return None
    return Part(term.operands[body.slot], tuple(a[1] for a, _ in lines), tuple(b[1] for _, b in lines), extents)


def _stays(places, form: Form, part: Part, shape) -> bool:
    """Whether places of a tensor of a shape are all inside of what is copied of it."""
    for place, start, extent, size in zip(places, part.starts, part.extents, shape):
        whole = start == 0 and extent == size
        axis = alone_index(place)
        if whole and axis is not None and form.domain[axis] == size:
            continue
        if not is_inside(affine(-start, ((place, 1),)), extent, form.domain, form.operands):
            return False
    return True


@cache
def _reads_inside(form: Form, slot: int, part: Part) -> bool:
    """Whether an operand is only read inside of what is copied of it."""
    shape = form.operands[slot].shape
    for read in nodes(form.body):
        if type(read) is Read and read.slot == slot:
            if read.otherwise is not None or not _stays_where_copied(read, form, part, shape):
                return False
    return not any(slot in p.slots for p in form.write)


def _stays_where_copied(read: Read, form: Form, part: Part, shape) -> bool:
    pairs = zip(read.place, part.starts, part.extents, shape)
    partial = [(p, s, e) for p, s, e, size in pairs if not (s == 0 and e == size)]
    return all(is_inside(affine(-s, ((p, 1),)), e, form.domain, form.operands) for p, s, e in partial)


def _shifted(places, offsets: Places) -> tuple:
    return tuple(p if o == 0 else affine(o, ((p, 1),)) for p, o in zip(places, offsets))


@cache
def _written_at(form: Form, offsets: Places, shape) -> Form:
    return Form(form.domain, form.op, _shifted(form.write, offsets), shape, form.operands, form.body)


def _read_at(term: Term, part: Part, shape) -> Term:
    slots = frozenset(k for k, name in enumerate(term.operands) if name == part.name)
    return term if not slots else replace(term, form=_form_read_at(term.form, slots, part.offsets, shape))


@cache
def _form_read_at(form: Form, slots: frozenset[int], offsets: Places, shape) -> Form:
    def moved(e: Expr) -> Expr:
        if type(e) is not Read or e.slot not in slots:
            return e
        return Read(e.slot, _shifted(e.place, offsets), e.otherwise)

    operands = tuple(replace(o, shape=shape) if k in slots else o for k, o in enumerate(form.operands))
    body = rewrite(form.body, moved, tuple(o.kind for o in form.operands))
    return Form(form.domain, form.op, form.write, form.shape, operands, body)


@cache
def _kept(part: Part, whole: Operand) -> Form:
    """The form that copies what is at a part's places to the same places."""
    places = tuple(affine(start, ((Index(k), 1),)) for k, start in enumerate(part.places))
    return Form(part.extents, "sum", places, whole.shape, (whole,), Read(0, places, None))
