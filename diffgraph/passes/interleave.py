"""Samples side by side in memory, where channels are too few to fill vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from diffgraph.ir.affine import affine, index
from diffgraph.ir.dimension import Size, floor_divide, product, symbol, symbols
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, Operand, alone_index, copied
from diffgraph.ir.guards import ZERO_OF, guard_reads
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.ir.rewrite import rewrite, substitute
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.layout import LANES, innermost, movable
from diffgraph.passes.report import Report

#: What it costs to bring an element from one order into another, in multiply-adds of full vectors.
CONVERSION = 16

#: How good vectors along the last axis of a tensor are that windows move over, beside those along its channels.
ALONG_WINDOWS = 0.5


def interleave(program: Program, report: Report) -> Program:
    """Puts 16 samples of a batch side by side as the last axis of tensors with few channels, where vectors along any
    other axis would be half empty and the conversions at the edges cost less than that. Only tensors that are the
    program's own affair change; of what others depend on, a copy is made afterwards. The last block is filled up with samples that read zeros; nothing reads these.

    Before:
        input x[N, 4]
        input v[8, 4]
        input w[8, 8]
        s[n, k] = sum[d](v[k, d] * x[n, d])
        a[n, k] = tanh(s[n, k])
        y[k] = sum[n, d](w[k, d] * a[n, d])
        output y

    After:
        input x[N, 4]
        input v[8, 4]
        input w[8, 8]
        x_interleaved[b < (N + 15) // 16, d, l < 16] = (x[16 * b + l, d] else 0)
        s[b, k, l] = sum[d](x_interleaved[b, d, l] * v[k, d])
        a[b, k, l] = tanh(s[b, k, l])
        y[k] = sum[d, n < N](a[n // 16, d, n % 16] * w[k, d])
        output y
    """
    plan = _Plan(program)
    if not plan.chosen:
        return program
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Definition):
            moved = plan.moved(statement)
            statements += plan.taken()
            if statement.tensor.name in plan.chosen:
                text = f"{statement.tensor.name}: {LANES} samples are side by side in memory"
                report.did(text, statement.provenance)
            if statement.tensor.name in plan.inner:
                statements.append(moved)
                moved = plan.copied_out(statement)
            statement = moved
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def blocks_of(samples: Size) -> Size:
    """How many blocks some samples are."""
    return floor_divide(samples + (LANES - 1), LANES)


class _Plan:
    """Which tensors are interleaved, and what becomes of definitions."""

    def __init__(self, program: Program):
        self.program = program
        self.names = Builder(program)
        self.channels = innermost(program)
        self.terms = [(s.tensor, t) for s in program.statements if isinstance(s, Definition) for t in s.terms]
        self.chosen: set[str] = set()
        self.copies: dict[str, Definition] = {}
        self._made: list[Definition] = []
        self.free = movable(program)
        candidates = self._candidates()
        for names in (candidates, candidates & self.free):
            for component in _components(names - self.chosen, self.terms):
                if self._gain(component) > 0:
                    self.chosen |= component
        #: The names of interleaved tensors whose own names go to copies in the old order.
        self.inner = {n: self._inner(n) for n in sorted(self.chosen - self.free)}

    # ------------------------------------------------------------------------------------------------ which tensors

    def _candidates(self) -> set[str]:
        """The tensors that could be interleaved: made sample by sample, with few channels."""
        found = set()
        for statement in self.program.statements:
            if isinstance(statement, Definition) and statement.gradient is None:
                tensor = statement.tensor
                if _is_of_samples(tensor) and usual(tensor.shape[self._channel(tensor)]) <= LANES:
                    if all(sample_axis(t.form) is not None for t in statement.terms):
                        found.add(tensor.name)
        for _, term in self.terms:
            found -= {term.operands[slot] for slot in _read_elsewhere(term.form)}
        return found

    def _channel(self, tensor: Tensor) -> int:
        return self.channels.get(tensor.name, len(tensor.shape) - 1)

    def _gain(self, component: set[str]) -> float:
        """What is saved by interleaving some tensors, in multiply-adds of full vectors."""
        gain, converted = 0.0, {}
        for tensor, term in self.terms:
            operands = {o for o in term.operands if o in component}
            if tensor.name not in component and not operands:
                continue
            along = sample_axis(term.form)
            if tensor.name in component:
                own = {o: self.program.tensors[o] for o in _samples_read(term, along)}
                converted.update((o, _elements(t)) for o, t in own.items() if o not in component)
                if tensor.name not in self.free:
                    converted[tensor.name] = _elements(tensor)
            elif along is not None:
                converted.update((o, _elements(self.program.tensors[o])) for o in operands & self.free)
                continue
            if term.form.reduced and not self._runs_along(term):
                sides = [tensor] if along is not None else [self.program.tensors[o] for o in operands]
                points = product(usual(s) for s in term.form.domain)
                gain += points * (1 / max(self._use(t) for t in sides) - 1)
        return gain - CONVERSION * sum(converted.values())

    def _runs_along(self, term: Term) -> bool:
        """Whether vectors along a sum are as good: all that it reads lies side by side along an axis of the sum, and nothing
        is read for several results at once, so that vectors along these would only mean fewer loads."""
        form = term.form
        for axis in form.reduced:
            found = [r for r in _reads(form) if axis in r.indices]
            if not found or usual(form.domain[axis]) < LANES:
                continue
            inner = [self._channel(self.program.tensors[term.operands[r.slot]]) for r in found]
            if not all(alone_index(r.place[k]) == axis for r, k in zip(found, inner)):
                continue
            sides = sorted((r.indices & form.written for r in found), key=len)
            alone = not any(axis in p.indices for r, k in zip(found, inner) for p in (*r.place[:k], *r.place[k + 1 :]))
            if alone and all(a <= b for a, b in zip(sides, sides[1:])):
                return True
        return False

    def _use(self, tensor: Tensor) -> float:
        """The share of lanes that is busy in vectors as the tensor is."""
        last = _use(usual(tensor.shape[-1]))
        if tensor.name not in self.channels:
            return last
        return max(_use(usual(tensor.shape[self.channels[tensor.name]])), ALONG_WINDOWS * last)

    # ------------------------------------------------------------------------------------------------ definitions

    def taken(self) -> list[Definition]:
        """The definitions of interleaved copies made since this was last asked."""
        made, self._made = self._made, []
        return made

    def moved(self, definition: Definition) -> Definition:
        """The definition over what is interleaved now."""
        tensor, is_own = definition.tensor, definition.tensor.name in self.chosen
        if is_own:
            name = self.inner.get(tensor.name, tensor.name)
            tensor = replace(tensor, name=name, shape=_blocked(tensor.shape))
        terms = tuple(self._moved_term(t, is_own) for t in definition.terms)
        return replace(definition, tensor=tensor, terms=terms)

    def _moved_term(self, term: Term, is_own: bool) -> Term:
        operands = list(term.operands)
        for slot in _read_often(term.form) if is_own else ():
            if operands[slot] not in self.chosen:
                operands[slot] = self._copy(term, slot)
        by_sample = sample_axis(term.form) is not None
        if not by_sample and not self.chosen.isdisjoint(operands):
            # A sum over samples reads all that it can in one order.
            for slot in set(range(len(operands))) - _read_elsewhere(term.form):
                copy = self.copies.get(operands[slot])
                operands[slot] = operands[slot] if copy is None else copy.tensor.name
        for slot, name in enumerate(operands):
            if is_own or not by_sample:
                operands[slot] = self.inner.get(name, name)
        plain = self.inner.keys()
        moved = frozenset(
            n for n, (new, old) in enumerate(zip(operands, term.operands)) if new != old or new in self.chosen - plain
        )
        if not is_own and not moved:
            return term
        form = _form_by_blocks(term.form, moved) if is_own else _form_over_blocks(term.form, moved)
        return replace(term, form=form, operands=tuple(operands))

    def copied_out(self, definition: Definition) -> Definition:
        """A tensor as it was, from what is interleaved now."""
        tensor = definition.tensor
        form = _form_over_blocks(copied(tensor.operand), frozenset((0,)))
        return replace(definition, terms=(Term(form, (self.inner[tensor.name],), definition.provenance),))

    def _inner(self, name: str) -> str:
        made = replace(self.program.tensors[name], name=self.names.fresh(f"{name}_interleaved"))
        self.names.tensors[made.name] = made
        return made.name

    def _copy(self, term: Term, slot: int) -> str:
        """The name of an interleaved copy of an operand."""
        name = term.operands[slot]
        if name not in self.copies:
            of = self.program.tensors[name]
            made = Tensor(self.names.fresh(f"{name}_interleaved"), _blocked(of.shape), of.kind)
            self.names.tensors[made.name] = made
            copied = Definition(made, (Term(_copying(of.operand), (name,), term.provenance),))
            self.copies[name] = copied
            self._made.append(copied)
        return self.copies[name].tensor.name


def _is_of_samples(tensor: Tensor) -> bool:
    """Its first axis is a symbol, as the batch is; it has others, whose lengths are known. One number of each sample is
    beside that of the next one already."""
    shape = tensor.shape
    if tensor.kind != "float" or not all(isinstance(s, int) for s in shape[1:]) or product(shape[1:]) == 1:
        return False
    return len(symbols(shape[0])) == 1 and shape[0] == symbol(next(iter(symbols(shape[0]))))


def _elements(tensor: Tensor) -> int:
    return product(usual(s) for s in tensor.shape)


def _use(extent: int) -> float:
    return extent / (-(-extent // LANES) * LANES)


def _components(names: set[str], terms) -> list[set[str]]:
    """Tensors that occur together in a term are interleaved together."""
    component = {name: {name} for name in sorted(names)}
    for tensor, term in terms:
        together = [n for n in (tensor.name, *term.operands) if n in component]
        for other in together[1:]:
            one, two = component[together[0]], component[other]
            if one is not two:
                one |= two
                component.update((n, one) for n in two)
    return list({id(c): c for c in component.values()}.values())


@cache
def sample_axis(form: Form) -> int | None:
    """The index that is the first place of the result, and occurs in no other one; None if there is none."""
    axis = alone_index(form.write[0]) if form.write else None
    if axis is None or form.domain[axis] != form.shape[0] or isinstance(form.shape[0], int):
        return None
    return None if any(axis in w.indices for w in form.write[1:]) else axis


@cache
def _read_elsewhere(form: Form) -> frozenset[int]:
    """The slots that are not read at one whole sample each."""
    found = {slot for w in form.write for slot in w.slots}
    for read in _reads(form):
        found |= {slot for p in read.place for slot in p.slots}
        if not read.place:
            continue
        axis = alone_index(read.place[0])
        if axis is None or form.domain[axis] != form.operands[read.slot].shape[0]:
            found.add(read.slot)
    return frozenset(found)


def _reads(form: Form) -> Iterator[Read]:
    return (n for n in nodes(form.body) if type(n) is Read)


def _samples_read(term: Term, along: int) -> set[str]:
    """The operands that are read sample by sample."""
    return {term.operands[r.slot] for r in _reads(term.form) if any(along in p.indices for p in r.place)}


@cache
def _read_often(form: Form) -> tuple[int, ...]:
    """The slots of tensors of samples that are read more often than they have elements, or whose guards are for what is
    around each sample: a copy in the new order pays."""
    along, elsewhere = sample_axis(form), _read_elsewhere(form)
    points = product(usual(s) for s in form.domain)
    found = []
    for slot, operand in enumerate(form.operands):
        first = {r.place[:1] for r in _reads(form) if r.slot == slot}
        of_samples = operand.kind == "float" and len(operand.shape) >= 2 and slot not in elsewhere
        if of_samples and first == {(index(along),)} and all(isinstance(s, int) for s in operand.shape[1:]):
            if points > product(usual(s) for s in operand.shape):
                found.append(slot)
    return tuple(found)


# ------------------------------------------------------------------------------------------------ forms


def _blocked(shape: tuple[Size, ...]) -> tuple[Size, ...]:
    return (blocks_of(shape[0]), *shape[1:], LANES)


def _sample(block: int, lane: int) -> Affine:
    return affine(0, ((Index(block), LANES), (Index(lane), 1)))


@cache
def _form_by_blocks(form: Form, moved: frozenset[int]) -> Form:
    """A form whose result is interleaved, as are the operands in some slots."""
    axis, lane = sample_axis(form), len(form.domain)
    domain = (*form.domain[:axis], blocks_of(form.domain[axis]), *form.domain[axis + 1 :], LANES)
    kinds = tuple(o.kind for o in form.operands)
    sample = _sample(axis, lane)
    body = substitute(form.body, {axis: sample}, domain, None, kinds)
    operands = _operands(form, moved)

    def in_block(e: Expr) -> Expr:
        if type(e) is not Read or e.slot not in moved:
            return e
        # The first place is a whole sample: this one, or one that is summed over.
        if e.place[0] == sample:
            return Read(e.slot, (index(axis), *e.place[1:], index(lane)), e.otherwise)
        return _over_blocks(e)

    body = rewrite(body, in_block, kinds)
    shape = _blocked(form.shape)
    return guard_reads(Form(domain, form.op, (*form.write, index(lane)), shape, operands, body))


@cache
def _form_over_blocks(form: Form, moved: frozenset[int]) -> Form:
    """A form that reads interleaved operands in some slots, its result being as it was."""
    kinds = tuple(o.kind for o in form.operands)
    body = rewrite(form.body, lambda e: _over_blocks(e) if type(e) is Read and e.slot in moved else e, kinds)
    return Form(form.domain, form.op, form.write, form.shape, _operands(form, moved), body)


def _over_blocks(e: Read) -> Read:
    high, low = (affine(0, ((Call(f, (e.place[0], Const(LANES))), 1),)) for f in ("floordiv", "mod"))
    return Read(e.slot, (high, *e.place[1:], low), e.otherwise)


def _operands(form: Form, moved: frozenset[int]) -> tuple[Operand, ...]:
    return tuple(replace(o, shape=_blocked(o.shape)) if n in moved else o for n, o in enumerate(form.operands))


@cache
def _copying(operand: Operand) -> Form:
    """The form that makes an interleaved copy."""
    shape = _blocked(operand.shape)
    lane = len(shape) - 1
    places = tuple(index(k) for k in range(len(shape)))
    body = Read(0, (_sample(0, lane), *places[1:-1]), ZERO_OF[operand.kind])
    return Form(shape, "sum", places, shape, (operand,), body)
