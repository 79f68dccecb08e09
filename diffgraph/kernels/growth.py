"""Tensors that grow: a definition that keeps all that is of interest of another one of its shape, and fills other places.

    a[n, h < 6] = sum[i < 4](f(x[n, i]) if h == i)
    b[n, h < 6] = sum[i < 4](a[n, i] if h == i) + sum[i < 2](g(x[n, i]) if h == i + 4)

b is in the memory of a; its first term does nothing. That is right where whoever reads a does so at the places that b keeps.
Places that nobody reads are not set to 0 either. `passes.join` writes programs in this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffgraph.ir.affine import affine, is_inside
from diffgraph.ir.expression import Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Definition, Statement, Term
from diffgraph.kernels.access import nodes
from diffgraph.kernels.lattice import Box, filled_box, lattice_of
from diffgraph.kernels.member import Member


@dataclass(frozen=True)
class Reading:
    """Who reads a tensor: (definition, form, slot) where that is a definition; others do so as a whole."""

    forms: tuple[tuple[str, Form, int], ...]
    whole: bool


@dataclass(frozen=True)
class Growth:
    """Of some statements: by result what it grows out of, and by tensor who reads it."""

    before: Mapping[str, str]
    readings: Mapping[str, Reading]

    @staticmethod
    def of(statements: Sequence, roots: frozenset[str], is_wanted: bool) -> Growth:
        """That of statements. is_wanted: whether anything shall grow."""
        return Growth(growths(statements, roots) if is_wanted else {}, readings(statements, roots))

    def meets(self, members: Sequence[Member], new: Member, memory: Mapping[str, str]) -> bool:
        """Whether a new member of a kernel reads memory in which tensors grow, and another one writes there; or the other
        way round. memory: of each tensor."""

        def reads(one: Member, other: Member) -> bool:
            name = other.tensor.name
            grows = name in self.before or name in self.before.values()
            return grows and memory[name] in {memory[o] for o in one.operands}

        return bool(self.before) and any(reads(m, new) or reads(new, m) for m in members)


def readings(statements: Sequence[Statement], roots: frozenset[str]) -> dict[str, Reading]:
    """For each tensor who reads it."""
    forms: dict[str, list] = {}
    whole = set(roots)
    for statement in statements:
        if not isinstance(statement, Definition) or statement.gradient is not None:
            whole.update(statement.operands)
            continue
        for term in statement.terms:
            for slot, name in enumerate(term.operands):
                forms.setdefault(name, []).append((statement.tensor.name, term.form, slot))
    names = forms.keys() | whole
    return {name: Reading(tuple(forms.get(name, ())), name in whole) for name in names}


def stays_inside(reading: Reading | None, box: Box, shape: tuple, but: str = "") -> bool:
    """Whether nobody reads places outside of a box, `but` of the definition of that name excepted."""
    if reading is None:
        return True
    return not reading.whole and all(_is_inside(f, slot, box, shape) for who, f, slot in reading.forms if who != but)


def _is_inside(form: Form, slot: int, box: Box, shape: tuple) -> bool:
    for read in nodes(form.body):
        if type(read) is not Read or read.slot != slot:
            continue
        for place, start, extent, size in zip(read.place, box.starts, box.extents, shape):
            if start == 0 and extent == size:
                continue
            if read.otherwise is not None or not is_inside(affine(-start, ((place, 1),)), extent, form.domain, form.operands):
                return False
    return True


def is_kept(term: Term, shape: tuple) -> bool:
    """Whether a term copies elements of a tensor of the same shape to where they were."""
    form = term.form
    body = form.body
    if form.op != "sum" or type(body) is not Read or body.otherwise is not None or lattice_of(form) is None:
        return False
    return form.operands[body.slot].shape == shape and form.operands[body.slot].kind == "float" and body.place == form.write


def growths(statements: Sequence[Statement], roots: frozenset[str]) -> dict[str, str]:
    """By result, the tensor that it grows out of: each tensor grows into one other at most."""
    known = readings(statements, roots)
    made: Mapping[str, Definition] = {s.tensor.name: s for s in statements if isinstance(s, Definition)}
    found: dict[str, str] = {}
    for definition in made.values():
        before = _grows_from(definition)
        if before is None or before not in made or before in found.values() or definition.tensor.kind != "float":
            continue
        shape = definition.tensor.shape
        kept = filled_box([lattice_of(t.form) for t in definition.terms if is_kept(t, shape)])
        own = _box_of(made[before])
        if kept is None or own is None or _box_of(definition) is None or _adds_to_what_it_keeps(definition):
            continue
        # What the one before leaves open shall not be set to 0 later than others fill it.
        inside = stays_inside(known.get(before), kept, shape) and stays_inside(known.get(before), own, shape)
        if inside:
            found[definition.tensor.name] = before
    return found


def _grows_from(definition: Definition) -> str | None:
    shape = definition.tensor.shape
    names = {t.operands[t.form.body.slot] for t in definition.terms if is_kept(t, shape)}
    (name,) = names if len(names) == 1 else (None,)
    others = [t for t in definition.terms if not is_kept(t, shape)]
    return name if others and definition.gradient is None else None


def _adds_to_what_it_keeps(definition: Definition) -> bool:
    """Whether terms write the places that others keep: what is there would be lost, not added to."""
    shape = definition.tensor.shape
    kept, filled = (
        {lattice_of(t.form).places for t in definition.terms if is_kept(t, shape) == keeps} for keeps in (True, False)
    )
    return bool(kept & filled)


def _box_of(definition: Definition) -> Box | None:
    """The box that the terms of a definition fill between them."""
    lattices = [lattice_of(t.form) for t in definition.terms]
    if None in lattices or any(t.form.op != "sum" for t in definition.terms):
        return None
    return filled_box(list({lattice.places: lattice for lattice in lattices}.values()))
