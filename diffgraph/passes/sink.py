"""What each step of a scan reads a row of is made row by row, inside of the scan."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache

from diffgraph.autodiff.sequences import axis_of_steps, read_by_step
from diffgraph.ir.affine import as_affine, index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.expression import Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.letters import reads_of
from diffgraph.ir.program import Builder, Definition, Program, Scan, Statement, Term
from diffgraph.ir.rewrite import rewrite
from diffgraph.passes.fuse import fuse
from diffgraph.passes.report import Report


def sink(program: Program, report: Report) -> Program:
    """Moves a map that only a scan reads, a row in each step, into the scan: all its rows are never in memory at once. The
    cotangent of the mean square of a path is such a map.

    Before:
        input x[9, N]
        y[t, n] = 2 * x[t, n]
        z = scan t in 0..9 from h = zeros([N]) {
            s[n] = sin(h[n] + y[t, n])
            next h = s
        }
        output z

    After:
        input x[9, N]
        z = scan t in 0..9 from h = zeros([N]) {
            s[n] = sin(h[n] + 2 * x[t, n])
            next h = s
        }
        output z
    """
    statements: list[Statement] = list(program.statements)
    while (found := _next(program, statements)) is not None:
        at, producer, scan = found
        report.did(f"{producer.tensor.name}: made row by row in the scan that reads it", producer.provenance)
        statements[at] = replace(scan, body=fuse(scan.body, report))
        statements = [s for s in statements if s is not producer]
    return program.with_(
        statements=tuple(replace(s, body=sink(s.body, report)) if isinstance(s, Scan) else s for s in statements)
    )


def _next(program: Program, statements: list[Statement]) -> tuple[int, Definition, Scan] | None:
    """(place of a scan, what may be moved into it, the scan with that inside)."""
    readers = Counter(name for s in statements for name in s.operands)
    readers.update(program.roots)
    maker = {s.tensor.name: s for s in statements if isinstance(s, Definition)}
    for at, scan in enumerate(statements):
        if not isinstance(scan, Scan):
            continue
        within = Counter(outer for _, outer in (*scan.sequences, *scan.constants))
        within.update(c.initial for c in scan.carries)
        for inner, outer in (*scan.sequences, *scan.constants):
            producer = maker.get(outer)
            if producer is None or readers[outer] != 1 or within[outer] != 1 or producer.gradient is not None:
                continue
            is_row = (inner, outer) in scan.sequences
            axis = 0 if is_row else axis_of_steps(scan, inner)
            if axis is not None and all(t.form.is_pointwise and t.form.op == "sum" for t in producer.terms):
                by_step = scan if is_row else read_by_step(scan, inner, outer, axis)
                return at, producer, _Sunk(by_step, producer, axis, is_row).scan
    return None


@dataclass(frozen=True)
class Row:
    """One row of a map: its form, and for each slot the slot of the map that it reads, and whether a row of it; the slot
    is None where it reads the number of the row."""

    form: Form
    slots: tuple[tuple[int | None, bool], ...]


@cache
def row_of(form: Form, axis: int, by_row: bool) -> Row:
    """What makes one row of the result of a map, along an axis. `by_row`: where it needs a row of an operand it is given
    that, not the operand."""
    row = alone_index(form.write[axis])
    count = len(form.operands)
    reads = list(reads_of(form))
    rows = {e.slot for e in reads if by_row} - {e.slot for e in reads if not _is_row(e, row, form)}

    def change(e: Expr) -> Expr:
        if type(e) is Index:
            return Read(count, (), None) if e.axis == row else index(e.axis - (e.axis > row))
        if type(e) is Read and e.slot in rows:
            return Read(e.slot, e.place[1:], e.otherwise)
        return e

    operands = tuple(replace(o, shape=o.shape[1:]) if k in rows else o for k, o in enumerate(form.operands))
    operands += (Operand((), "int", form.shape[axis]),)
    shape = form.shape[:axis] + form.shape[axis + 1 :]
    write = tuple(as_affine(rewrite(w, change)) for k, w in enumerate(form.write) if k != axis)
    body = rewrite(form.body, change, [o.kind for o in operands])
    made, kept = canonical(Form(form.domain[:row] + form.domain[row + 1 :], "sum", write, shape, operands, body))
    return Row(made, tuple((None, False) if k == count else (k, k in rows) for k in kept))


def _is_row(read: Read, row: int, form: Form) -> bool:
    """Whether a read takes the row of its operand that is being made, and places in it that do not depend on which."""
    shape = form.operands[read.slot].shape
    if not read.place or alone_index(read.place[0]) != row or shape[0] != form.domain[row]:
        return False
    return not any(row in p.indices for p in read.place[1:])


class _Sunk:
    """A scan with a map inside that made one of its sequences, of which a row is a place on an axis of the map."""

    def __init__(self, scan: Scan, producer: Definition, axis: int, by_row: bool):
        body = Builder(scan.body)
        self.body = body
        self.index = scan.index
        self.sequences = {outer: inner for inner, outer in scan.sequences}
        self.constants = {outer: inner for inner, outer in scan.constants}
        inner = self.sequences.pop(producer.tensor.name)
        body.inputs = [i for i in body.inputs if i.tensor.name != inner]
        self.length = scan.length
        row = Definition(body.tensors[inner], tuple(self._row(t, row_of(t.form, axis, by_row)) for t in producer.terms))
        body.statements.insert(0, row)
        self.scan = replace(
            scan,
            index=self.index,
            sequences=tuple((i, o) for o, i in self.sequences.items()),
            constants=tuple((i, o) for o, i in self.constants.items()),
            body=body.program(),
        )

    def _row(self, term: Term, row: Row) -> Term:
        operands = [
            self._number() if slot is None else self._operand(term.operands[slot], operand, is_row)
            for (slot, is_row), operand in zip(row.slots, row.form.operands)
        ]
        return Term(row.form, tuple(operands), term.provenance)

    def _number(self) -> str:
        if not self.index:
            self.index = self.body.input("t", (), "free", kind="int", bound=self.length).name
        return self.index

    def _operand(self, outer: str, like: Operand, is_row: bool) -> str:
        known = self.sequences if is_row else self.constants
        if outer not in known:
            known[outer] = self.body.input(outer, like.shape, "free", kind=like.kind, bound=like.bound).name
        return known[outer]
