"""Products of several tensors under one sum are summed step by step, two at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Builder, Definition, Program, Scan, Statement, Tensor, Term
from diffgraph.ir.rewrite import substitute
from diffgraph.ir.simplify import certain_kind, mul
from diffgraph.passes.cost import usual
from diffgraph.passes.report import Report

#: An intermediate result may be this many times as large as the largest of what goes in and comes out.
MOST_GROWTH = 4

#: Orders of more operands than this are not searched but chosen step by step.
MOST_SEARCHED = 5


def contract(program: Program, report: Report) -> Program:
    """Chooses an order in which a product of tensors is summed, so that each step multiplies two and sums what neither
    the others nor the result need, where that takes less than half the work of summing all at once.

    Before:
        input a[N, 64]
        input b[64, 64]
        input c[64, 8]
        y[n, k] = sum[i, j](a[n, i] * b[i, j] * c[j, k])
        output y

    After:
        input a[N, 64]
        input b[64, 64]
        input c[64, 8]
        t[i, k] = sum[j](b[i, j] * c[j, k])
        y[n, k] = sum[i](a[n, i] * t[i, k])
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=contract(statement.body, report))
        elif isinstance(statement, Definition):
            terms = []
            for term in statement.terms:
                made, term = _in_steps(statement.tensor, term, names)
                statements += made
                terms.append(term)
                if made:
                    text = f"{statement.tensor.name}: summed in {len(made) + 1} steps"
                    report.did(text, term.provenance)
            statement = replace(statement, terms=tuple(terms))
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def _in_steps(tensor: Tensor, term: Term, names: Builder) -> tuple[list[Definition], Term]:
    steps = contraction_steps(term.form)
    if steps is None:
        return [], term
    made: list[Definition] = []
    operands = list(term.operands)
    for step in steps[:-1]:
        new = Tensor(names.fresh(f"{tensor.name}_product"), step.form.shape, "float")
        names.tensors[new.name] = new
        made.append(Definition(new, (Term(step.form, tuple(operands[k] for k in step.slots), term.provenance),)))
        operands.append(new.name)
    last = steps[-1]
    return made, Term(last.form, tuple(operands[k] for k in last.slots), term.provenance)


@dataclass(frozen=True)
class Step:
    """A sum of products of two. `slots`: for each of the form's slots an operand of the original form, or, from their
    number on, the result of an earlier step."""

    form: Form
    slots: tuple[int, ...]


@dataclass(frozen=True)
class _Group:
    """Factors that are one operand of the product: together they depend on these indices."""

    indices: frozenset[int]
    factors: tuple[Expr, ...]


#: The operands that each step joins: two, or one of which only is summed.
Order = tuple[tuple[int, ...], ...]


@cache
def contraction_steps(form: Form) -> tuple[Step, ...] | None:
    """The steps in which a sum of products is best computed; None where at once is best."""
    conditions, factors = conditions_and_factors(form.body)
    if form.op != "sum" or conditions or not form.is_projection or not form.reduced:
        return None
    groups = _groups(factors)
    if len(groups) < 2 or certain_kind(form.body, tuple(o.kind for o in form.operands)) != "float":
        return None
    order = _best_order(form, [g.indices for g in groups])
    return None if order is None else _Steps(form).follow(groups, order)


def _groups(factors: tuple[Expr, ...]) -> list[_Group]:
    """One group for each set of indices; numbers go with the smallest."""
    members: dict[frozenset[int], list[Expr]] = {}
    for f in sorted(factors, key=lambda f: (len(f.indices), sorted(f.indices))):
        members.setdefault(f.indices, []).append(f)
    numbers = members.pop(frozenset(), [])
    groups = [_Group(s, tuple(fs)) for s, fs in members.items()]
    return [_Group(g.indices, (*numbers, *g.factors) if k == 0 else g.factors) for k, g in enumerate(groups)]


def _points(form: Form, indices: frozenset[int]) -> int:
    return product(usual(form.domain[k]) for k in indices)


def _kept(form: Form, joined: frozenset[int], others: list[frozenset[int]]) -> frozenset[int]:
    """What is left of the indices of two operands once they are contracted."""
    return joined & form.written.union(*others)


def _best_order(form: Form, sets: list[frozenset[int]]) -> Order | None:
    """The operands of each step, numbers from len(sets) on being results; None if at once is not much dearer."""
    limit = MOST_GROWTH * max(_points(form, s) for s in [*sets, form.written])
    search = _cheapest if len(sets) <= MOST_SEARCHED else _stepwise
    found = search(form, dict(enumerate(sets)), len(sets), limit)
    if found is None or 2 * found[0] > _points(form, frozenset(range(len(form.domain)))) * (len(sets) - 1):
        return None
    return found[1]


def _steps_from(form: Form, left: dict[int, frozenset[int]], limit: int):
    """(cost, operands, indices of the result) for each step that may come next."""
    for a in sorted(left):
        others = [s for k, s in left.items() if k != a]
        kept = _kept(form, left[a], others)
        if others and kept != left[a]:
            # What nothing else reads is summed first, in any case.
            yield _points(form, left[a]), (a,), kept
            return
    for a, b in combinations(sorted(left), 2):
        others = [s for k, s in left.items() if k not in (a, b)]
        joined = left[a] | left[b]
        kept = _kept(form, joined, others)
        if not others or _points(form, kept) <= limit:
            yield _points(form, joined), (a, b), kept


def _cheapest(form: Form, left: dict[int, frozenset[int]], new: int, limit: int) -> tuple[int, Order] | None:
    """The cheapest way to contract all that is left, by trying every way."""
    if len(left) == 1:
        return 0, ()
    best = None
    for price, step, kept in _steps_from(form, left, limit):
        rest = _cheapest(form, {k: s for k, s in left.items() if k not in step} | {new: kept}, new + 1, limit)
        if rest is not None and (best is None or price + rest[0] < best[0]):
            best = price + rest[0], (step, *rest[1])
    return best


def _stepwise(form: Form, left: dict[int, frozenset[int]], new: int, limit: int) -> tuple[int, Order] | None:
    """Always the cheapest next step."""
    total, order = 0, []
    while len(left) > 1:
        found = min(_steps_from(form, left, limit), default=None, key=lambda s: (s[0], s[1]))
        if found is None:
            return None
        price, step, kept = found
        total += price
        order.append(step)
        left = {k: s for k, s in left.items() if k not in step} | {new: kept}
        new += 1
    return total, tuple(order)


class _Steps:
    """Makes the forms of an order of contraction."""

    def __init__(self, form: Form):
        self.form = form
        self.operands = list(form.operands)
        self.steps: list[Step] = []

    def follow(self, groups: list[_Group], order: Order) -> tuple[Step, ...]:
        """The steps of the order; the last one writes what the form wrote."""
        left = dict(enumerate(groups))
        for number, step in enumerate(order):
            joined = frozenset().union(*(left[k].indices for k in step))
            factors = tuple(f for k in step for f in left.pop(k).factors)
            if not left:
                written = [alone_index(w) for w in self.form.write]
                self._step(joined.union(written), written, factors)
                break
            kept = self._in_order(_kept(self.form, joined, [g.indices for g in left.values()]), left)
            self._step(joined, kept, factors)
            read = Read(len(self.operands) - 1, tuple(index(k) for k in kept), None)
            left[len(groups) + number] = _Group(frozenset(kept), (read,))
        return tuple(self.steps)

    def _in_order(self, kept: frozenset[int], left: dict[int, _Group]) -> list[int]:
        """The axes of an intermediate result: what it shares with others and the result, what is summed later, and last
        what it alone brings to the result, along which the next step has its vectors."""
        others = frozenset().union(*(g.indices for g in left.values()))
        return sorted(kept, key=lambda k: (k not in others, k not in self.form.written, k))

    def _step(self, indices: frozenset[int], written: list[int], factors: tuple[Expr, ...]) -> None:
        """Sums the product of the factors over those of the indices that are not written."""
        axes = [*written, *sorted(indices - set(written))]
        domain = tuple(self.form.domain[k] for k in axes)
        shape = domain[: len(written)]
        kinds = tuple(o.kind for o in self.operands)
        places = {k: index(n) for n, k in enumerate(axes)}
        body = mul(*(substitute(f, places, domain, None, kinds) for f in factors), kinds=kinds)
        write = tuple(index(n) for n in range(len(written)))
        made, slots = canonical(Form(domain, "sum", write, shape, tuple(self.operands), body))
        self.steps.append(Step(made, slots))
        self.operands.append(Operand(shape))
