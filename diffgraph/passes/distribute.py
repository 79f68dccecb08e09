"""What the steps of a scan need not do one after the other is done for many of them at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from diffgraph.autodiff.checkpoint import in_chunks
from diffgraph.autodiff.forms import made_for_all_steps, summed_over_steps
from diffgraph.autodiff.invariant import Invariants
from diffgraph.autodiff.reach import behind
from diffgraph.autodiff.scan import MANY_STEPS
from diffgraph.autodiff.sequences import axis_of_steps
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Call, Read
from diffgraph.ir.form import copied
from diffgraph.ir.program import Builder, Carry, Definition, Input, Output, Program, Scan, Statement, Tensor, Term, Yield
from diffgraph.passes.cost import cost, usual
from diffgraph.passes.report import Report

#: Arithmetic of a map from which it is worth writing its results to memory and reading them back.
COSTLY = 8

#: All steps are taken at once where that makes what is in memory larger by at most this part.
SHARE = 4

#: Rows that are in memory at once take at most this part of what the scan reads and writes over all steps, but ...
PART = 16

#: ... chunks have at least so many steps, and at most.
FEWEST, MOST = 8, 32


def distribute(program: Program, report: Report) -> Program:
    """Takes out of a scan what its steps make without what is carried, and what they only add up: one product of large
    matrices in place of many of small ones. Of many steps that is done chunk by chunk, so that there is no more in memory
    than the scan reads and writes anyway.

    Before:
        input x[N, 9, 256]
        input w[256, 64]
        y = scan t in 0..9 from h = zeros([N, 64]) {
            g[n, i] = sum[j](x[n, t, j] * w[j, i])
            s[n, i] = tanh(h[n, i] + g[n, i])
            next h = s
        }
        output y

    After:
        input x[N, 9, 256]
        input w[256, 64]
        each[t, n, i] = sum[j](x[n, t, j] * w[j, i])
        y = scan t in 0..9 from h = zeros([N, 64]) {
            s[n, i] = tanh(h[n, i] + each[t, n, i])
            next h = s
        }
        output y
    """
    names = Builder(program)
    names.statements = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=distribute(statement.body, report))
            names.statements += _distributed(statement, names, report)
        else:
            names.statements.append(statement)
    return program.with_(inputs=tuple(names.inputs), statements=tuple(names.statements))


def _distributed(scan: Scan, names: Builder, report: Report) -> list[Statement]:
    plan = _Plan(scan)
    if not plan.is_worthwhile or not isinstance(scan.length, int):
        return [scan]
    if scan.length < MANY_STEPS:
        if SHARE * plan.each() * scan.length > plan.whole():
            return [scan]
        report.did(f"{scan.results[0].name}: {plan.what} for all steps at once", scan.provenance)
        return _Distribution(plan, names).statements()
    size = plan.chunk()
    if size is None:
        return [scan]
    report.did(f"{scan.results[0].name}: {plan.what} for {size} steps at once", scan.provenance)
    made = in_chunks(names, replace(scan, checkpoint=None), size)
    return [_inside(s, report) if isinstance(s, Scan) and _is_of_chunks(s) else s for s in made]


def _is_of_chunks(scan: Scan) -> bool:
    return len(scan.body.statements) == 1 and isinstance(scan.body.statements[0], Scan)


def _inside(outer: Scan, report: Report) -> Scan:
    """The scan over chunks with the scan over the steps of one distributed."""
    body = Builder(outer.body)
    (inner,) = outer.body.statements
    body.statements = []
    body.statements = _Distribution(_Plan(inner), body).statements()
    return replace(outer, checkpoint=None, body=body.program())


@dataclass(frozen=True)
class Sum:
    """A carry that is only added to: what its step adds is the tensor `added` of the body."""

    carry: Carry
    added: str


class _Plan:
    """What can leave a scan.

    sums: the carries that are only added to. dependent: the tensors that depend on what is carried otherwise. before: the
    statements that are made for all steps first. after: those that only the sums need, which are summed at once.
    """

    def __init__(self, scan: Scan):
        self.scan = scan
        self.body = scan.body
        self.invariant = Invariants(scan, Builder(), []).same
        readers = Counter(name for s in self.body.statements for name in s.operands)
        ends = Counter([*(c.next for c in scan.carries), *(y.inner for y in scan.yields)])
        found = (self._sum(c, readers, ends) for c in scan.carries)
        self.sums = [s for s in found if s is not None]
        summed = {s.carry.inner for s in self.sums}
        self.kept = [c for c in scan.carries if c.inner not in summed]
        self.dependent = self._dependent(summed)
        self.movable = self._movable()
        self.yielded = {y.inner for y in scan.yields}
        self.loop = self._loop()
        self.before = [s for s in self.body.statements if self._is_before(s)]
        self.after = [s for s in self.sums if self._summand(s.added) is not None]

    def _sum(self, carry: Carry, readers: Counter, ends: Counter) -> Sum | None:
        maker = self.body.maker.get(carry.next)
        alone = readers[carry.inner] == 1 and readers[carry.next] == 0 and ends[carry.next] == 1
        if not alone or ends[carry.inner] or not isinstance(maker, Definition) or len(maker.terms) != 1:
            return None
        (term,) = maker.terms
        body = term.form.body
        if not term.form.is_pointwise or not (isinstance(body, Call) and body.function == "add" and len(body.args) == 2):
            return None
        names = [term.operands[a.slot] for a in body.args if type(a) is Read and a.place == term.form.write]
        if len(names) != 2 or carry.inner not in names or names[0] == names[1]:
            return None
        return Sum(carry, names[1 - names.index(carry.inner)])

    def _dependent(self, summed: set[str]) -> set[str]:
        found = {c.inner for c in self.kept}
        for statement in self.body.statements:
            if not found.isdisjoint(statement.operands):
                found.update(t.name for t in statement.results)
        return found - summed

    def _movable(self) -> set[str]:
        """The tensors that can be made for all steps without the scan, or are there for all."""
        found = {self.scan.index, *self.invariant, *(inner for inner, _ in self.scan.sequences)}
        for statement in self.body.statements:
            if isinstance(statement, Definition) and statement.gradient is None and found.issuperset(statement.operands):
                found.add(statement.tensor.name)
        return found

    def _loop(self) -> set[str]:
        """The tensors that the steps need one after the other, with what they read."""
        roots = [*(c.next for c in self.kept), *(y.inner for y in self.scan.yields)]
        return behind(self.body.statements, roots)[1]

    def _is_before(self, statement: Statement) -> bool:
        name = statement.results[0].name
        if name not in self.movable or name in self.invariant or name not in self.loop:
            return False
        return name in self.yielded or any(t.form.reduced or cost(t.form.body) > COSTLY for t in statement.terms)

    def _summand(self, name: str) -> Definition | None:
        """The statement that makes what is added, if sums over the steps can be made of its terms."""
        maker = self.body.maker.get(name)
        if not isinstance(maker, Definition) or maker.gradient is not None or name in self.invariant:
            return None
        there = self.movable | self.dependent
        return maker if all(t.form.op == "sum" for t in maker.terms) and there.issuperset(maker.operands) else None

    @property
    def is_worthwhile(self) -> bool:
        """Whether a product is among what can leave, not only what costs as little as the memory that it would take."""
        summands = (self._summand(s.added) for s in self.after)
        return any(t.form.reduced for s in (*self.before, *summands) for t in s.terms if s is not None)

    @property
    def what(self) -> str:
        """What leaves, in words."""
        return ", ".join([*(s.tensor.name for s in self.before), *(f"the sum of {s.added}" for s in self.after)])

    def rows(self) -> dict[str, None]:
        """The tensors of the body of which there are rows for all steps of a chunk."""
        found = {s.tensor.name: None for s in self.before}
        for s in self.after:
            for name in self._summand(s.added).operands:
                if name in self.dependent:
                    found[name] = None
        return found

    def each(self) -> int:
        """The usual number of elements of the rows of one step that are not in memory anyway."""
        return self._elements(name for name in self.rows() if name not in self.yielded)

    def whole(self) -> int:
        """The usual number of elements that the scan reads and writes row by row, over all steps."""
        by_step = [i for i, _ in self.scan.constants if axis_of_steps(self.scan, i) is not None]
        rows = [i for i, _ in self.scan.sequences] + [y.inner for y in self.scan.yields]
        return self.scan.length * self._elements(rows) + self._elements(by_step)

    def _elements(self, names: Iterable[str]) -> int:
        return sum(product(usual(e) for e in self.body.tensors[name].shape) for name in names)

    def chunk(self) -> int | None:
        """How many steps make a chunk; None where nothing is gained. Where it can be, chunks of that size are all."""
        if not self.after:
            return None
        wanted = max(FEWEST, min(MOST, self.whole() // (PART * max(1, self.each()))))
        fitting = [k for k in range(FEWEST, min(MOST, 2 * wanted) + 1) if self.scan.length % k == 0]
        return min(fitting, key=lambda k: abs(k - wanted), default=wanted)


class _Distribution:
    """The statements that a scan becomes. `names` is the builder of the enclosing program."""

    def __init__(self, plan: _Plan, names: Builder):
        self.plan = plan
        self.scan = plan.scan
        self.names = names
        self.made: list[Statement] = []
        self.later: list[Statement] = []
        self.invariants = Invariants(self.scan, names, self.made)
        self.outer = dict(self.scan.sequences)
        self.yields = list(self.scan.yields)
        self.length = self.scan.length

    def statements(self) -> list[Statement]:
        """What is made first, the scan of what is left, and the sums."""
        for statement in self.plan.before:
            self._for_all(statement.tensor.name)
        for found in self.plan.after:
            self._summed(found)
        return [*self.made, self._rest(), *self.later]

    def _rest(self) -> Scan:
        """The scan without what has left it."""
        scan, gone = self.scan, {s.carry.inner for s in self.plan.after}
        carries = tuple(c for c in scan.carries if c.inner not in gone)
        roots = dict.fromkeys([*(c.next for c in carries), *(y.inner for y in self.yields)])
        kept = [s for s in scan.body.statements if s.results[0].name not in self.outer]
        statements, live = behind(kept, roots)
        rows = {inner: outer for inner, outer in self.outer.items() if inner in live}
        tensors = scan.body.tensors
        known = {i.tensor.name for i in scan.body.inputs}
        inputs = [i for i in scan.body.inputs if i.role != "free" or i.tensor.name in live | {c.inner for c in carries}]
        inputs += [Input(tensors[inner], "free", inner) for inner in rows if inner not in known]
        return replace(
            scan,
            index=scan.index if scan.index in live else "",
            carries=carries,
            sequences=tuple(rows.items()),
            constants=tuple((i, o) for i, o in scan.constants if i in live),
            yields=tuple(self.yields),
            body=Program(tuple(inputs), tuple(statements), tuple(Output(name, name) for name in roots)),
        )

    # ------------------------------------------------------------------------------------------------ rows

    def _for_all(self, name: str) -> str:
        """The outer tensor that has a row for each step of a tensor of the body that does not depend on what is carried."""
        if name in self.outer:
            return self.outer[name]
        statement = self.scan.body.maker[name]
        terms = tuple(self._term(t, made_for_all_steps) for t in statement.terms)
        tensor = statement.tensor
        yielded = next((y for y in self.yields if y.inner == name), None)
        if yielded is not None:
            self.yields.remove(yielded)
        rows = yielded.stacked if yielded else self._tensor(f"{name}_all", (self.length, *tensor.shape), tensor)
        self.made.append(Definition(rows, terms))
        self.outer[name] = rows.name
        return rows.name

    def _term(self, term: Term, over) -> Term:
        """A term of the body for all steps, or summed over them."""
        step = term.operands.index(self.scan.index) if self.scan.index in term.operands else None
        alone = {self.scan.index, *self.invariants.same}
        form, kept = over(term.form, self.length, [o not in alone for o in term.operands], step)
        return Term(form, tuple(self._operand(term.operands[k]) for k in kept), term.provenance)

    def _operand(self, name: str) -> str:
        if name in self.invariants.same:
            return self.invariants.outside(name)
        return self._yielded(name) if name in self.plan.dependent else self._for_all(name)

    def _yielded(self, name: str) -> str:
        """The rows of a tensor that the scan makes, yielded by it."""
        known = next((y.stacked.name for y in self.yields if y.inner == name), None)
        if known is not None:
            return known
        like = self.scan.body.tensors[name]
        rows = self._tensor(f"{name}_rows", (self.length, *like.shape), like)
        self.yields.append(Yield(name, rows))
        return rows.name

    def _tensor(self, hint: str, shape, like: Tensor) -> Tensor:
        tensor = Tensor(self.names.fresh(hint), tuple(shape), like.kind, like.bound)
        self.names.tensors[tensor.name] = tensor
        return tensor

    def _summed(self, found: Sum) -> None:
        """The final value of a carry that is only added to."""
        maker = self.scan.body.maker[found.added]
        start = Term(copied(found.carry.final.operand), (found.carry.initial,), maker.provenance)
        terms = tuple(self._term(t, summed_over_steps) for t in maker.terms)
        self.later.append(Definition(found.carry.final, (start, *terms)))
