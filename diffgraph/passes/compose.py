"""Linear maps after linear maps are one linear map, where their filters do not depend on a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffgraph.ir.canonical import canonical_term
from diffgraph.ir.dimension import product, symbols
from diffgraph.ir.expression import Call, Expr, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.ir.simplify import is_zero
from diffgraph.passes.composition import SMALL, broadcast, composition, over_axes, shift_of, varying_axes
from diffgraph.passes.cost import usual
from diffgraph.passes.dce import dce
from diffgraph.passes.fold import joined
from diffgraph.passes.linear import Linear, linear, peeled
from diffgraph.passes.prepare import steady_tensors
from diffgraph.passes.report import Report


def compose(program: Program, report: Report) -> Program:
    """Multiplies the filter of a linear map into that of the linear map that reads its result: the scale and shift of a
    batch normalization that has learned into the convolution before it or after it, a linear layer into the next one.
    The new filter is made of what stays the same from run to run, so it is computed once (see `prepare`).

    Done where it takes less multiplications, and nothing else reads what vanishes.

    Before:
        input x[N, 3]
        param w[4, 3] = 1
        param b[4] = 1
        param s[4] = 2
        h[n, o] = sum[i](w[o, i] * x[n, i]) + b[o]
        y[n, o] = relu(s[o] * h[n, o] + 1)
        output y

    After:
        input x[N, 3]
        param w[4, 3] = 1
        param b[4] = 1
        param s[4] = 2
        f[o, i] = s[o] * w[o, i]
        c[o]    = s[o] * b[o] + 1
        h[n, o] = sum[i](f[o, i] * x[n, i]) + c[o]
        y[n, o] = relu(h[n, o])
        output y
    """
    return _Composing(program, report).program()


class _Composing:
    """One run of the pass."""

    def __init__(self, program: Program, report: Report):
        self.before = program
        self.report = report
        self.names = Builder(program)
        self.steady_before = steady_tensors(program)
        self.steady = set(self.steady_before)
        self.statements: list[Statement] = []
        self.told: set[str] = set()
        self.roots = frozenset(program.roots)
        self.maker: dict[str, Definition] = {}
        self.readers: dict[str, list[Statement]] = {}
        for statement in program.statements:
            for name in statement.operands:
                self.readers.setdefault(name, []).append(statement)

    def program(self) -> Program:
        """The program after the pass."""
        for statement in self.before.statements:
            if isinstance(statement, Definition) and statement.gradient is None:
                statement = self._composed(statement)
                self.maker[statement.tensor.name] = statement
            self.statements.append(statement)
        found = self.before.with_(statements=tuple(self.statements))
        return dce(found, Report()) if self.steady != self.steady_before else found

    # ------------------------------------------------------------------------------------------------- decisions

    def _composed(self, definition: Definition) -> Definition:
        """The definition with every linear map in it that can be one with what it reads."""
        definition = self._peeled(self._without_zeros(definition))
        while True:
            better = self._once(definition)
            if better is None:
                return definition
            definition = better

    def _without_zeros(self, definition: Definition) -> Definition:
        """The definition without terms that only read a tensor of zeros, such as the bias of a layer that has none."""
        kept = [t for t in definition.terms if not (type(t.form.body) is Read and self._is_zero(t))]
        return replace(definition, terms=tuple(kept)) if kept else definition

    def _is_zero(self, term: Term) -> bool:
        maker = self.maker.get(term.operands[term.form.body.slot])
        return maker is not None and all(t.form.op == "sum" and is_zero(t.form.body) for t in maker.terms)

    def _peeled(self, definition: Definition) -> Definition:
        """The definition without its linear part, which becomes a definition of its own if it can be composed."""
        if len(definition.terms) != 1:
            return definition
        (term,) = definition.terms
        for slot, name in enumerate(term.operands):
            if not self._vanishes(name) or not self._sums(name):
                continue
            split = peeled(term.form, slot, self._steady_slots(term))
            if split is None:
                continue
            inner = Tensor(self.names.fresh(f"{name}_scaled"), definition.tensor.shape)
            made = Definition(inner, (canonical_term(Term(split.inner, term.operands, term.provenance)),))
            made = self._once(made)
            if made is not None:
                self.names.tensors[inner.name] = inner
                self.statements.append(made)
                self.maker[inner.name] = made
                operands = (*term.operands, inner.name)
                return replace(definition, terms=(canonical_term(Term(split.outer, operands, term.provenance)),))
        return definition

    def _once(self, definition: Definition) -> Definition | None:
        """The definition with one operand composed into it."""
        for term in definition.terms:
            consumer = linear(term.form, self._steady_slots(term))
            if consumer is None or not term.form.is_projection:
                self._tell_what_is_between(definition, term)
                continue
            name = term.operands[consumer.read.slot]
            producer = self.maker.get(name)
            if producer is None or not self._vanishes(name) or not (term.form.reduced or self._sums(name)):
                self._tell_what_is_between(definition, term)
                continue
            if len([t for t in definition.terms if name in t.operands]) > 1:
                continue
            composed = self._composition(definition, term, consumer, producer)
            if isinstance(composed, str):
                if self._tell_what_is_between(definition, term):
                    continue
                if name not in self.told:
                    self.told.add(name)
                    text = f"{_layer(producer)} and {_layer(definition)} not folded: {composed}"
                    self.report.declined(text, definition.provenance)
                continue
            made, definition = composed
            self.statements += made
            self.maker.update((d.tensor.name, d) for d in made)
            self.steady.update(d.tensor.name for d in made)
            self.report.did(f"{name} is folded into {definition.tensor.name}", definition.provenance)
            return definition
        return None

    def _vanishes(self, name: str) -> bool:
        """Nothing but one definition needs the tensor."""
        return len(self.readers.get(name, ())) == 1 and name not in self.roots and name not in self.steady

    def _sums(self, name: str) -> bool:
        """The tensor is made by a reduction."""
        maker = self.maker.get(name)
        return maker is not None and any(not t.form.is_pointwise for t in maker.terms)

    def _steady_slots(self, term: Term) -> frozenset[int]:
        return frozenset(k for k, o in enumerate(term.operands) if o in self.steady)

    def _composition(self, definition: Definition, term: Term, consumer: Linear, producer: Definition):
        """(new definitions, the definition) with the producer composed into a term, or why that is not done."""
        parts = [_Part(t, t.form, self._steady_slots(t)) for t in producer.terms]
        linears = [p for p in parts if p.linear is not None]
        if not linears or any(p.linear is None and not p.is_steady for p in parts):
            return "what the first gives is not linear"
        if producer.tensor.kind != "float" or definition.tensor.kind != "float":
            return "they do not give floats"
        if not term.form.reduced and consumer.filter.slots and not all(p.linear.filter.slots for p in linears):
            return "a plain sum would become one of products"
        pieces = [composition(consumer, p.linear) for p in linears]
        for piece in pieces:
            if isinstance(piece, str):
                return piece
        if not all(p.form.is_projection for p in parts if p.linear is None or p.has_shift):
            return "what is added is written elsewhere"
        before = sum(p.points for p in linears) + _points(term.form)
        if (after := sum(_points(p.form) for p in pieces)) >= before:
            return f"it would take {after:,} multiplications instead of {before:,}"
        shifts = [p for p in parts if p.has_shift]
        return self._assembled(definition, term, consumer, producer, pieces, linears, shifts)

    # ------------------------------------------------------------------------------------------------- assembling

    def _assembled(self, definition, term, consumer, producer, pieces, linears, shifts):
        """The filters and the shift as definitions, and the definition that reads them; or why there is no shift."""
        origins = tuple(dict.fromkeys((*term.provenance, *producer.provenance)))
        new: list[Definition] = []
        terms: list[Term] = []
        for piece, part in zip(pieces, linears):
            operands = (*term.operands, *part.term.operands)
            if piece.filter is not None:
                filter_form, slots = piece.filter
                tensor = Tensor(self.names.fresh(f"{definition.tensor.name}_filter"), filter_form.shape)
                self.names.tensors[tensor.name] = tensor
                of = tuple(operands[k] for k in slots)
                new.append(Definition(tensor, (canonical_term(Term(filter_form, of, origins)),)))
                operands = (*operands, tensor.name)
            terms.append(canonical_term(Term(piece.form, tuple(operands[k] for k in piece.slots), origins)))
        rest = [t for t in definition.terms if t is not term]
        own = [t for t in rest if t.form.is_pointwise and t.form.op == "sum" and self.steady.issuperset(t.operands)]
        shifted = self._shift(definition, term, consumer, shifts, own, origins)
        if isinstance(shifted, str):
            return shifted
        if shifted is not None:
            made, read = shifted
            new += made
            terms.append(read)
        terms += [t for t in rest if t not in own]
        return new, replace(definition, terms=tuple(terms))

    def _shift(self, definition, term, consumer, shifts, own, origins):
        """What is added and stays the same from run to run, as one tensor, and the term that reads it."""
        found: list[tuple[Form, tuple[str, ...]]] = []
        for part in shifts:
            found.append((shift_of(consumer, part.form, part.shift), (*term.operands, *part.term.operands)))
        if not is_zero(consumer.shift):
            f = consumer.form
            found.append((Form(f.domain, "sum", f.write, f.shape, f.operands, consumer.shift), term.operands))
        found += [(t.form, t.operands) for t in own]
        found = [(f, o) for f, o in found if not is_zero(f.body)]
        if not found:
            return None
        axes = sorted({k for form, _ in found for k in varying_axes(form)})
        shape = tuple(definition.tensor.shape[k] for k in axes)
        if any(symbols(s) for s in shape):
            return "what is added depends on the batch"
        filters = [consumer.form.operands[k] for k in self._steady_slots(term)]
        if product(usual(s) for s in shape) > max([SMALL, *(product(usual(s) for s in o.shape) for o in filters)]):
            return f"the border would take a map of {list(shape)}"
        tensor = Tensor(self.names.fresh(f"{definition.tensor.name}_shift"), shape)
        self.names.tensors[tensor.name] = tensor
        terms = tuple(canonical_term(Term(over_axes(f, axes), o, origins)) for f, o in found)
        read = broadcast(definition.tensor.shape, tuple(axes), tensor.operand)
        return [Definition(tensor, joined(terms))], canonical_term(Term(read, (tensor.name,), origins))

    def _tell_what_is_between(self, definition: Definition, term: Term) -> bool:
        """Notes that a function stands between two sums, if one does."""
        found = linear(term.form, self._steady_slots(term)) if term.form.reduced else None
        between = self.maker.get(term.operands[found.read.slot]) if found is not None else None
        if between is None or len(between.terms) != 1 or not between.terms[0].form.is_pointwise:
            return False
        body = between.terms[0].form.body
        sums = [n for n in between.operands if self._sums(n) and n not in self.steady]
        if type(body) is not Call or body.function in ("add", "mul") or not sums:
            return False
        for name in sums if between.tensor.name not in self.told else ():
            self.told.add(between.tensor.name)
            text = f"{_layer(self.maker[name])} and {_layer(definition)} not folded: {body.function} between them"
            self.report.declined(text, definition.provenance)
        return True


@dataclass(frozen=True)
class _Part:
    """A term of a producer."""

    term: Term
    form: Form
    steady: frozenset[int]

    @property
    def linear(self) -> Linear | None:
        return linear(self.form, self.steady)

    @property
    def is_steady(self) -> bool:
        return self.steady.issuperset(range(len(self.form.operands))) and self.form.is_pointwise

    @property
    def points(self) -> int:
        return _points(self.form)

    @property
    def shift(self) -> Expr:
        return self.form.body if self.linear is None else self.linear.shift

    @property
    def has_shift(self) -> bool:
        return not is_zero(self.shift)


def _layer(definition: Definition) -> str:
    """What a person calls a definition."""
    return next((o.path for o in definition.provenance if o.path), definition.tensor.name)


def _points(form: Form) -> int:
    return product(usual(s) for s in form.domain)
