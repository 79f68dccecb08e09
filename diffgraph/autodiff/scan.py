"""The derivative of a scan is a scan: it runs the other way, and its body is the derivative of the body.

For each step it needs the carries as they were at the start of that step, and at its end. The forward scan gets further
yields for them, and where it has few steps for the results of its costly statements; what is pointwise is computed again.
Of many steps only the carries are kept, as with `checkpoint` 1. Cotangents of carries are carries of the derivative; those
of sequences are yielded. The gradient by a tensor that is constant over the steps, a weight, leaves the loop as one
contraction over all steps at once; of many steps it is summed step by step, so that not all cotangents are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from diffgraph.autodiff.forms import filled, summed_over_steps
from diffgraph.autodiff.invariant import Invariants
from diffgraph.autodiff.reach import behind, moved_inside, sources
from diffgraph.autodiff.sequences import axis_of_steps
from diffgraph.ir.form import copied
from diffgraph.ir.program import (
    Builder,
    Carry,
    Definition,
    Input,
    Output,
    Program,
    Provenance,
    Scan,
    Statement,
    Tensor,
    Term,
    Yield,
)

#: From so many steps on only the carries are stored: memory that grows with the steps holds nothing else.
MANY_STEPS = 64

Gradients = Callable[[Builder, list[tuple[str, str]], list[str]], dict[str, str | None]]


class ScanDerivative:
    """The derivative of one scan statement of a builder by the outer tensors in `moved`."""

    def __init__(self, builder: Builder, scan: Scan, moved: set[str], provenance: Provenance):
        self.builder = builder
        self.scan = scan
        self.provenance = provenance
        self.inside = moved_inside(scan, moved)
        self.body = Builder(scan.body)
        self.forward = frozenset(scan.body.tensors)
        many = not isinstance(scan.length, int) or scan.length >= MANY_STEPS
        self.carries_only = scan.checkpoint is not None or many
        self.ends = {c.next for c in scan.carries}
        self.invariants = Invariants(scan, builder, builder.statements)
        # Of the new scan, as they are found:
        self.carries: list[Carry] = []
        self.steady: dict[str, str] = {}  # cotangents of carries that pass through unchanged: what they are outside
        self.sequences: dict[str, str] = {}
        self.stacked: dict[str, Tensor] = {}  # what the new scan yields: the body's tensor, and its rows
        self.saved: dict[str, str] = {}  # what the forward scan keeps: the body's tensor, and its rows

    def run(self, cotangents: dict[str, str | None], gradients: Gradients) -> list[tuple[str, Term | str]]:
        """Appends the new scan. Gives what it contributes to the cotangents of outer tensors: terms, or whole tensors.

        `cotangents` holds those of the scan's results; `gradients` differentiates the body.
        """
        carries = self._live_carries(cotangents)
        incoming = {c.inner: self._free(f"d_{c.next}", c.inner) for c in carries}
        of = [(c.next, incoming[c.inner]) for c in carries]
        for y in self.scan.yields:
            if cotangents[y.stacked.name] is not None:
                inner = self._free(f"d_{y.inner}", y.inner)
                self.sequences[inner] = cotangents[y.stacked.name]
                of.append((y.inner, inner))
        wrt = [name for name in self._outer() if name in self.inside]
        found = gradients(self.body, of, [*(c.inner for c in carries), *wrt])
        contributions = [self._carry(c, incoming[c.inner], found[c.inner], cotangents) for c in carries]
        constants = dict(self.scan.constants)
        for name in wrt:
            if found[name] is None:
                continue
            if name not in constants:
                contributions.append((self._outer()[name], self._stack(found[name]).name))
            else:
                contributions += self._constant(name, constants[name], found[name])
        self._append()
        return contributions

    def _outer(self) -> dict[str, str]:
        return dict((*self.scan.sequences, *self.scan.constants))

    def _free(self, hint: str, like: str) -> str:
        """A new free input of the body, shaped like one of its tensors."""
        return self.body.input(hint, self.body.tensors[like].shape, "free").name

    def _live_carries(self, cotangents: dict[str, str | None]) -> list[Carry]:
        """The carries whose cotangent can be other than zero in some step."""
        moved = [c for c in self.scan.carries if c.inner in self.inside]
        names = {y.inner for y in self.scan.yields if cotangents[y.stacked.name] is not None}
        names |= {c.next for c in moved if cotangents[c.final.name] is not None}
        while True:
            _, live = behind(self.scan.body.statements, names)
            more = {c.next for c in moved if c.inner in live} - names
            if not more:
                return [c for c in moved if c.next in names]
            names |= more

    # ------------------------------------------------------------------------------- gradients, one kind at a time

    def _carry(self, carry: Carry, incoming: str, gradient: str | None, cotangents) -> tuple[str, str]:
        shape = carry.final.shape
        start = cotangents[carry.final.name] or self._zeros(self.builder, f"d_{carry.final.name}", shape)
        final = Tensor(self.builder.fresh(f"d_{carry.initial}"), shape)
        self._reserve(final)
        if gradient == incoming:
            # The same in every step.
            self.builder.forget(final.name)
            self.steady[incoming] = start
            return carry.initial, start
        following = gradient or self._zeros(self.body, f"d_{carry.inner}", shape)
        self.carries.append(Carry(incoming, start, following, final))
        return carry.initial, final.name

    def _stack(self, inner: str) -> Tensor:
        """The rows of a tensor of the body over all steps, yielded by the new scan."""
        if inner not in self.stacked:
            self.stacked[inner] = self._rows(self.body.tensors[inner])
        return self.stacked[inner]

    def _rows(self, inner: Tensor) -> Tensor:
        name = self.builder.fresh(f"{inner.name}_steps")
        rows = Tensor(name, (self.scan.length, *inner.shape), inner.kind, inner.bound)
        self._reserve(rows)
        return rows

    def _constant(self, inner: str, outer: str, gradient: str) -> list[tuple[str, Term | str]]:
        maker = next((s for s in self.body.statements if gradient in (t.name for t in s.results)), None)
        is_sum = isinstance(maker, Definition) and all(t.form.op == "sum" for t in maker.terms)
        if is_sum and (not self.carries_only or axis_of_steps(self.scan, inner) is not None):
            return [(outer, self._hoisted(term)) for term in maker.terms]
        total = self._free(f"sum_{gradient}", inner)
        shape = self.body.tensors[inner].shape
        following = gradient
        if not self._goes_on(gradient, total):
            parts = (total, gradient)
            terms = tuple(Term(copied(self.body.tensors[p].operand), (p,), self.provenance) for p in parts)
            following = self.body.append(Definition(Tensor(self.body.fresh(f"next_{total}"), shape), terms)).name
        final = Tensor(self.builder.fresh(f"d_{outer}"), shape)
        self._reserve(final)
        self.carries.append(Carry(total, self._zeros(self.builder, f"no_d_{outer}", shape), following, final))
        return [(outer, final.name)]

    def _goes_on(self, gradient: str, total: str) -> bool:
        """Lets a scan of the body that adds up a gradient from zeros begin with the total before it, if there is one."""
        for place, statement in enumerate(self.body.statements):
            if not isinstance(statement, Scan) or gradient not in (c.final.name for c in statement.carries):
                continue
            carry = next(c for c in statement.carries if c.final.name == gradient)
            start = next((s for s in self.body.statements if carry.initial in (t.name for t in s.results)), None)
            is_zero = isinstance(start, Definition) and [t.form for t in start.terms] == [filled(carry.final.shape, 0.0)]
            if not is_zero or not _is_sum(statement, carry) or any(gradient in s.operands for s in self.body.statements):
                return False
            carries = tuple(replace(c, initial=total) if c is carry else c for c in statement.carries)
            self.body.statements[place] = replace(statement, carries=carries)
            return True
        return False

    def _hoisted(self, term: Term) -> Term:
        """A term of the body, over all steps at once."""
        slot = term.operands.index(self.scan.index) if self.scan.index in term.operands else None
        steady = {self.scan.index, *self.invariants.same, *self.steady}
        stacked = [o not in steady for o in term.operands]
        form, kept = summed_over_steps(term.form, self.scan.length, stacked, slot)
        return Term(form, tuple(self._over_steps(term.operands[k]) for k in kept), term.provenance)

    def _over_steps(self, inner: str) -> str:
        """The outer tensor that holds a tensor of the body for every step, or its one value if it is constant."""
        if inner in self.steady:
            return self.steady[inner]
        if inner in self._outer():
            return self._outer()[inner]
        if inner in self.sequences:
            return self.sequences[inner]
        if inner in self.invariants.same:
            return self.invariants.outside(inner)
        return self._save(inner) if inner in self.forward else self._stack(inner).name

    def _save(self, inner: str) -> str:
        """The rows of a tensor of the forward body over all steps, yielded by the forward scan."""
        if inner not in self.saved:
            known = {y.inner: y.stacked.name for y in self.scan.yields}
            self.saved[inner] = known.get(inner) or self._rows(self.body.tensors[inner]).name
        return self.saved[inner]

    def _zeros(self, builder: Builder, hint: str, shape) -> str:
        zeros = Tensor(builder.fresh(hint), shape)
        return builder.append(Definition(zeros, (Term(filled(shape, 0.0), (), self.provenance),))).name

    def _reserve(self, tensor: Tensor) -> None:
        # The statement that makes it is appended last; until then its name is taken.
        self.builder.tensors[tensor.name] = tensor

    # ------------------------------------------------------------------------------------------- putting it together

    def _append(self) -> None:
        """Appends the new scan, and gives the forward scan the yields that it needs."""
        scan = self.scan
        wanted = dict.fromkeys((*(c.next for c in self.carries), *self.stacked))
        statements, live = self._needed(wanted)
        live |= {c.inner for c in self.carries}
        kept = {name: self._save(name) for name in self._kept(live, statements)}
        inputs = [i for i in self.body.inputs if i.tensor.name in live and i.tensor.name not in kept]
        inputs += [Input(self.body.tensors[name], "free", name) for name in kept]
        outputs = tuple(Output(name, name) for name in wanted)
        sequences = dict(scan.sequences) | kept | self.sequences
        new = Scan(
            scan.length,
            scan.index if scan.index in live else "",
            tuple(self.carries),
            tuple((inner, outer) for inner, outer in sequences.items() if inner in live),
            tuple((inner, outer) for inner, outer in (*scan.constants, *self.steady.items()) if inner in live),
            tuple(Yield(inner, rows) for inner, rows in self.stacked.items()),
            Program(tuple(inputs), tuple(statements), outputs),
            not scan.reverse,
            None,
            self.provenance,
        )
        self._extend_forward()
        self.builder.append(new)

    def _needed(self, wanted) -> tuple[list[Statement], set[str]]:
        """The statements of the new body, and every tensor they read: costly forward ones are not computed again."""
        live = set(wanted)
        found = []
        for statement in reversed(self.body.statements):
            names = {t.name for t in statement.results}
            if not names & live or (names <= self.forward and self._is_kept(statement)):
                continue
            live.update(sources(statement))
            found.append(statement)
        return found[::-1], live

    def _is_kept(self, statement: Statement) -> bool:
        """Whether the results of a forward statement are stored for every step."""
        names = {t.name for t in statement.results}
        if names <= self.ends:
            return True
        if self.carries_only or names <= self.invariants.same:
            return False
        return not isinstance(statement, Definition) or not all(t.form.is_pointwise for t in statement.terms)

    def _kept(self, live: set[str], statements: list[Statement]) -> list[str]:
        """The forward tensors that the new body reads and does not compute: carries, and results that are stored."""
        known = {self.scan.index, *self._outer()}
        known |= {i.tensor.name for i in self.scan.body.inputs if i.table is not None}
        known |= {t.name for s in statements for t in s.results}
        return [name for name in self.scan.body.tensors if name in live and name not in known]

    def _extend_forward(self) -> None:
        known = {y.inner for y in self.scan.yields}
        more = [Yield(i, self.builder.tensors[rows]) for i, rows in self.saved.items() if i not in known]
        if not more:
            return
        place = next(i for i, s in enumerate(self.builder.statements) if s is self.scan)
        body = self.scan.body
        there = {o.tensor for o in body.outputs}
        outputs = (*body.outputs, *(Output(y.inner, y.inner) for y in more if y.inner not in there))
        extended = replace(self.scan, yields=(*self.scan.yields, *more), body=body.with_(outputs=outputs))
        self.builder.statements[place] = extended



def _is_sum(scan: Scan, carry: Carry) -> bool:
    """Whether all that the steps of a scan do with a carry is to add to it."""
    readers = [s for s in scan.body.statements if carry.inner in s.operands]
    maker = scan.body.maker.get(carry.next)
    if readers != [maker] or carry.inner in (y.inner for y in scan.yields):
        return False
    if isinstance(maker, Scan):
        passed = [c for c in maker.carries if c.initial == carry.inner]
        alone = [*(o for _, o in (*maker.sequences, *maker.constants)), *(c.initial for c in maker.carries)].count(carry.inner)
        return alone == 1 and len(passed) == 1 and passed[0].final.name == carry.next and _is_sum(maker, passed[0])
    reading = [t for t in maker.terms if carry.inner in t.operands]
    return len(reading) == 1 and reading[0].form is copied(carry.final.operand)
