"""Narrow products of one tensor become one product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import affine, index
from diffgraph.ir.canonical import canonical, canonical_term
from diffgraph.ir.expression import Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.passes.dce import dce
from diffgraph.passes.linear import linear
from diffgraph.passes.prepare import steady_tensors
from diffgraph.passes.report import Report

#: Sums that give so many numbers for each point together fill the vectors of any machine; wider ones do so alone.
WIDEST = 128

#: An extent that no net has: forms that differ in one extent only look equal with it.
ANY = 1_000_003


def merge(program: Program, report: Report) -> Program:
    """Makes one sum of those that read one tensor in one way, each with a filter of its own that does not depend on a
    run: what they read is read once, and vectors are full. Done where they are narrow, such as two heads of a network
    or the narrow branches of an inception block; functions that follow all of them are merged as well.

    Before:
        input x[N, 8]
        param v[3, 8] = 1
        param w[2, 8] = 1
        a[n, i] = sum[k](v[i, k] * x[n, k])
        b[n, i] = sum[k](w[i, k] * x[n, k])
        output a
        output b

    After:
        input x[N, 8]
        param v[3, 8] = 1
        param w[2, 8] = 1
        f[i < 5, k < 8] = sum[j](v[j, k] if i == j else 0) + sum[j](w[j, k] if i == j + 3 else 0)
        y[n, i] = sum[k](f[i, k] * x[n, k])
        a[n, i < 3] = y[n, i]
        b[n, i < 2] = y[n, i + 3]
        output a
        output b
    """
    return _Merging(program, report).program()


@dataclass(frozen=True)
class _Sum:
    """A definition that is a sum with a filter, and perhaps a shift for each of its results. axis: of the result that
    the filter alone has; filter_axis: that of the filter. width: its extent."""

    definition: Definition
    source: str
    filter: str
    shift: str | None
    axis: int
    filter_axis: int
    width: int
    pattern: str


class _Merging:
    """One run of the pass."""

    def __init__(self, program: Program, report: Report):
        self.before = program
        self.report = report
        self.names = Builder(program)
        self.steady = steady_tensors(program)
        self.readers: dict[str, list[Statement]] = {}
        for statement in program.statements:
            for name in statement.operands:
                self.readers.setdefault(name, []).append(statement)

    def program(self) -> Program:
        """The program after the pass."""
        groups: dict[tuple, list[_Sum]] = {}
        for statement in self.before.statements:
            found = self._sum(statement)
            if found is not None:
                groups.setdefault((found.source, found.axis, found.filter_axis, found.pattern), []).append(found)
        made: dict[int, list[Statement]] = {}
        instead: dict[int, Statement] = {}
        for group in groups.values():
            if len(group) > 1 and self._is_worthwhile(group):
                self._merge(group, made, instead)
        if not made:
            return self.before
        # Filters may be made later than the first of the sums: what does not depend on a run comes first.
        first = [s for s in self.before.statements if self._is_steady(s)]
        rest: list[Statement] = []
        for statement in self.before.statements:
            if not self._is_steady(statement):
                rest += made.get(id(statement), [])
                rest.append(instead.get(id(statement), statement))
        return dce(self.before.with_(statements=(*first, *rest)), Report())

    def _is_steady(self, statement: Statement) -> bool:
        return all(t.name in self.steady for t in statement.results)

    # ------------------------------------------------------------------------------------------------- decisions

    def _sum(self, statement: Statement) -> _Sum | None:
        """A statement as a sum that could be merged."""
        if not isinstance(statement, Definition) or statement.gradient is not None or self._is_steady(statement):
            return None
        sums = [t for t in statement.terms if t.form.reduced]
        others = [t for t in statement.terms if not t.form.reduced]
        if len(sums) != 1 or len(others) > 1 or statement.tensor.kind != "float":
            return None
        (term,) = sums
        found = linear(term.form, frozenset(k for k, o in enumerate(term.operands) if o in self.steady))
        if found is None or not term.form.is_projection or len(term.operands) != 2 or type(found.filter) is not Read:
            return None
        places = [alone_index(p) for p in found.filter.place]
        own = [k for k in term.form.written if k in places and k not in found.read.indices]
        varying = [k for k, p in zip(places, found.filter.place) if p.indices]
        if None in varying or len(set(varying)) != len(varying) or len(own) != 1 or found.filter.otherwise is not None:
            return None
        axis = next(a for a, w in enumerate(term.form.write) if alone_index(w) == own[0])
        filter_axis = places.index(own[0])
        width = term.form.domain[own[0]]
        shift = others[0].operands[0] if others else None
        if not isinstance(width, int):
            return None
        if others and (shift not in self.steady or not _is_repeated(others[0].form, axis)):
            return None
        pattern = _pattern(term.form, own[0], axis, (found.filter.slot, filter_axis))
        source, weights = term.operands[found.read.slot], term.operands[found.filter.slot]
        return _Sum(statement, source, weights, shift, axis, filter_axis, width, pattern)

    def _is_worthwhile(self, group: list[_Sum]) -> bool:
        names = ", ".join(s.definition.tensor.name for s in group)
        provenance = group[0].definition.provenance
        if sum(s.width for s in group) > WIDEST:
            self.report.declined(f"{names} are not made one sum: they are wide enough", provenance)
            return False
        maps = [self._map(s) for s in group]
        if any(m is not None for m in maps) and len({m and _map_pattern(m, s.axis) for m, s in zip(maps, group)}) > 1:
            self.report.declined(f"{names} are not made one sum: other functions follow each", provenance)
            return False
        return True

    def _map(self, found: _Sum) -> Definition | None:
        """The map that alone reads a sum, and reads nothing else."""
        name = found.definition.tensor.name
        readers = self.readers.get(name, [])
        if len(readers) != 1 or name in self.before.roots or not isinstance(readers[0], Definition):
            return None
        (reader,) = readers
        if len(reader.terms) != 1 or reader.gradient is not None or reader.terms[0].operands != (name,):
            return None
        form = reader.terms[0].form
        same = form.is_pointwise and form.op == "sum" and form.shape == found.definition.tensor.shape
        return reader if same else None

    # ------------------------------------------------------------------------------------------------- merging

    def _merge(self, group: list[_Sum], made: dict, instead: dict) -> None:
        first = group[0]
        total = sum(s.width for s in group)
        origins = tuple(dict.fromkeys(o for s in group for o in s.definition.provenance))
        hint = first.definition.tensor.name
        filters = [(s.filter, s.width) for s in group]
        weights = self._joined(f"{hint}_filters", filters, first.filter_axis, total, origins)
        new: list[Statement] = [weights]
        term = next(t for t in first.definition.terms if t.form.reduced)
        slot = term.operands.index(first.filter)
        form = _widened(term.form, first.axis, total, (slot, first.filter_axis))
        operands = tuple(weights.tensor.name if k == slot else o for k, o in enumerate(term.operands))
        terms = [canonical_term(Term(form, operands, origins))]
        if any(s.shift for s in group):
            shifts = self._joined(f"{hint}_shifts", [(s.shift, s.width) for s in group], 0, total, origins)
            new.append(shifts)
            places = tuple(index(k) for k in range(len(form.shape)))
            read = Read(0, (index(first.axis),), None)
            added = Form(form.shape, "sum", places, form.shape, (shifts.tensor.operand,), read)
            terms.append(canonical_term(Term(added, (shifts.tensor.name,), origins)))
        whole = self._definition(f"{hint}_and_more", form.shape, terms)
        new.append(whole)
        results = [s.definition for s in group]
        maps = [self._map(s) for s in group]
        if maps[0] is not None:
            inner = maps[0].terms[0]
            wide = _widened(inner.form, first.axis, total, (0, first.axis))
            results = maps
            terms = [canonical_term(Term(wide, (whole.tensor.name,), origins))]
            whole = self._definition(f"{maps[0].tensor.name}_and_more", wide.shape, terms)
            new.append(whole)
        made[id(first.definition)] = new
        offset = 0
        for found, result in zip(group, results):
            part = _slice(result.tensor.shape, found.axis, offset, whole.tensor.operand)
            read = canonical_term(Term(part, (whole.tensor.name,), result.provenance))
            instead[id(result)] = replace(result, terms=(read,))
            offset += found.width
        self.report.did(", ".join(s.definition.tensor.name for s in group) + " are one sum", origins)

    def _definition(self, hint: str, shape, terms) -> Definition:
        tensor = Tensor(self.names.fresh(hint), shape)
        self.names.tensors[tensor.name] = tensor
        return Definition(tensor, tuple(terms))

    def _joined(self, hint: str, parts: list[tuple[str | None, int]], axis: int, total: int, origins) -> Definition:
        """Tensors one after the other along an axis; zeros where there is none."""
        known = next(self.before.tensors[name] for name, _ in parts if name is not None)
        shape = tuple(total if k == axis else s for k, s in enumerate(known.shape))
        terms, offset = [], 0
        for name, width in parts:
            if name is not None:
                form = _placed(self.before.tensors[name].operand, axis, offset, shape)
                terms.append(canonical_term(Term(form, (name,), origins)))
            offset += width
        return self._definition(hint, shape, terms)


def _is_repeated(form: Form, axis: int) -> bool:
    """The form reads a vector along an axis of the result."""
    body = form.body
    plain = form.is_pointwise and form.op == "sum" and type(body) is Read and body.otherwise is None
    return plain and len(body.place) == 1 and alone_index(body.place[0]) == alone_index(form.write[axis])


def _widened(form: Form, axis: int, width: int, operand: tuple[int, int]) -> Form:
    """The form with another extent along an axis of the result, and along an axis of an operand."""
    k = alone_index(form.write[axis])
    slot, own = operand
    domain = tuple(width if n == k else s for n, s in enumerate(form.domain))
    shape = tuple(width if a == axis else s for a, s in enumerate(form.shape))
    old = form.operands[slot]
    wide = replace(old, shape=tuple(width if a == own else s for a, s in enumerate(old.shape)))
    operands = tuple(wide if n == slot else o for n, o in enumerate(form.operands))
    return Form(domain, form.op, form.write, shape, operands, form.body)


@cache
def _pattern(form: Form, k: int, axis: int, operand: tuple[int, int]) -> str:
    """Equal for forms that differ in the extent of an index only."""
    return canonical(_widened(form, axis, ANY, operand))[0].digest


def _map_pattern(definition: Definition, axis: int) -> str:
    return _pattern(definition.terms[0].form, axis, axis, (0, axis))


@cache
def _placed(operand: Operand, axis: int, offset: int, shape) -> Form:
    """A tensor written at an offset along an axis of a larger one."""
    places = tuple(index(k) for k in range(len(operand.shape)))
    write = tuple(affine(offset, ((Index(k), 1),)) if k == axis else p for k, p in enumerate(places))
    return Form(operand.shape, "sum", write, shape, (operand,), Read(0, places, None))


@cache
def _slice(shape, axis: int, offset: int, operand: Operand) -> Form:
    """A part of a tensor along an axis."""
    write = tuple(index(k) for k in range(len(shape)))
    places = tuple(affine(offset, ((Index(k), 1),)) if k == axis else p for k, p in enumerate(write))
    return Form(shape, "sum", write, shape, (operand,), Read(0, places, None))
