"""States that stay, over many steps, in memory as the steps want them: what each step would put in another order first is
already so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from diffgraph.ir.dimension import product
from diffgraph.ir.digits import split_digits
from diffgraph.ir.expression import Read
from diffgraph.ir.form import alone_index, copied
from diffgraph.ir.program import Builder, Commit, Definition, Input, Program, Scan, Statement, Term
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.prepare import PREPARED
from diffgraph.passes.report import Report
from diffgraph.passes.stored import Stored, copy_of, stored_copy, stored_form

#: Roles of what a program may keep between its steps.
KEPT = ("parameter", "state")


@dataclass(frozen=True)
class Packing:
    """A program whose steps find some parameters and states in another order. `steps` is the program on inputs of the role
    `prepared` in their place; `pack` commits to these what is in the states, `unpack` to the states what is in these."""

    pack: Program
    steps: Program
    unpack: Program


def split_packed(program: Program, report: Report) -> Packing | None:
    """A program in three, where its steps copy states that they change into another order; None where they do not.

    A copy of what a step commits to is left out: state, copy and new value become one tensor in the order of the copy, and
    with them all that is made from them, or that they are made from, element by element (the gradient, the moments of an
    optimizer). A state that others want in yet another order (the gradient of a layer's input, as it is) stays as it is: to
    put it back would cost what putting it in order does.

    Before:
        input x[N, 3]
        state w[4, 3] = 1
        v[d, u] = w[u, d]
        y[n, u] = sum[d](v[d, u] * x[n, d])
        w_new[u, d] = w[u, d] - sum[n](x[n, d] * y[n, u])
        output y
        w <- w_new

    The steps:
        input x[N, 3]
        state w[3, 4] = 1
        y[n, u] = sum[d](w[d, u] * x[n, d])
        w_new[d, u] = w[d, u] - sum[n](x[n, d] * y[n, u])
        output y
        w <- w_new
    """
    orders: dict[str, Stored] = {}
    copies = _copies(program)
    kin = _Kin(program) if copies else None
    for copy, stored in copies:
        (state,) = copy.operands
        if state in orders:
            continue
        together = kin.together(state, stored, copy)
        if together is not None and orders.keys().isdisjoint(together):
            orders.update(dict.fromkeys(together, stored))
            report.did(f"{state} stays as {copy.tensor.name} is over all steps", copy.provenance)
    if not orders:
        return None
    kept = [i for i in program.inputs if i.tensor.name in orders]
    changed = {c.state for c in program.commits}
    pack = _moving([(i, orders[i.tensor.name]) for i in kept], to_packed=True)
    unpack = _moving([(i, orders[i.tensor.name]) for i in kept if i.tensor.name in changed], to_packed=False)
    return Packing(pack, _Steps(program, orders).made(), unpack)


def _copies(program: Program) -> list[tuple[Definition, Stored]]:
    """The copies, in another order, of states that the program changes; the largest first."""
    changed = {c.state for c in program.commits}
    kept = {i.tensor.name for i in program.inputs if i.role in KEPT and i.tensor.name in changed}
    found = []
    for statement in program.statements:
        if isinstance(statement, Definition) and len(statement.terms) == 1 and kept.issuperset(statement.operands):
            stored = copy_of(statement.terms[0].form)
            if stored is not None:
                found.append((statement, stored))
    return sorted(found, key=lambda f: -product(usual(s) for s in f[0].tensor.shape))


class _Kin:
    """Which tensors of a program belong together element by element."""

    def __init__(self, program: Program):
        self.inputs = {i.tensor.name: i for i in program.inputs}
        self.visible = {o.tensor for o in program.outputs} | {c.tensor for c in program.checks}
        #: The statements that read or make each tensor.
        self.touching: dict[str, list[Statement]] = {}
        #: For each tensor those of its shape that are read where it is written, or written where it is read, and for a
        #: state its new value.
        self.pairs: dict[str, set[str]] = {}
        for commit in program.commits:
            self._join(commit.state, commit.tensor)
        for statement in program.statements:
            for name in (*statement.operands, *(t.name for t in statement.results)):
                self.touching.setdefault(name, []).append(statement)
            if isinstance(statement, Definition):
                self._join_read(statement)

    def _join(self, a: str, b: str) -> None:
        self.pairs.setdefault(a, set()).add(b)
        self.pairs.setdefault(b, set()).add(a)

    def _join_read(self, definition: Definition) -> None:
        for term in definition.terms:
            form = term.form
            for node in nodes(form.body):
                if type(node) is Read and node.place == form.write and node.otherwise is None:
                    if form.operands[node.slot].shape == form.shape:
                        self._join(definition.tensor.name, term.operands[node.slot])

    def together(self, state: str, stored: Stored, copy: Definition) -> set[str] | None:
        """What takes the order of a copy with its state. None if something of it must stay as it is, or others read it
        element by element."""
        found, waiting = {state}, [state]
        while waiting:
            for other in self.pairs.get(waiting.pop(), set()) - found:
                found.add(other)
                waiting.append(other)
        if not found.isdisjoint(self.visible):
            return None
        if any(n in self.inputs and self.inputs[n].role not in KEPT for n in found):
            return None
        for name in found:
            for statement in self.touching.get(name, ()):
                if not isinstance(statement, Definition) or not _can_move(statement, found, stored):
                    return None
                if statement is not copy and statement.tensor.name not in found and not _takes_any(statement, found):
                    return None
        return found


def _can_move(definition: Definition, found: set[str], stored: Stored) -> bool:
    """Whether the results of a definition, if they are among what moves, can be written in another order."""
    if definition.gradient is not None:
        return False
    if definition.tensor.name not in found:
        return True
    axis = stored.order[-1]
    for term in definition.terms:
        own = alone_index(term.form.write[axis])
        if not term.form.is_projection or own is None:
            return False
        if stored.panel is not None and term.form.domain[own] != definition.tensor.shape[axis]:
            return False
    return True


def _path(name: str) -> str:
    """The path of a state as it is between steps: none that a user can write."""
    return f"({name} in order)"


def _packed(given: Input, stored: Stored, name: str) -> Input:
    """The input that a state is for the steps."""
    shape = stored.shape(given.tensor.shape)
    return Input(replace(given.tensor, name=name, shape=shape), PREPARED, _path(given.tensor.name))


def _moving(kept: list[tuple[Input, Stored]], to_packed: bool) -> Program:
    """The program that commits states to what they are between steps, or back."""
    builder = Builder()
    for given, stored in kept:
        own = given.tensor.name
        there = _packed(given, stored, builder.fresh(f"{own}_in_order"))
        builder.inputs += [given, there]
        builder.tensors |= {own: given.tensor, there.tensor.name: there.tensor}
        source, target = (given, there) if to_packed else (there, given)
        made = replace(target.tensor, name=builder.fresh(f"{target.tensor.name}_new"))
        builder.tensors[made.name] = made
        if to_packed:
            form = stored_copy(given.tensor.operand, stored)
        else:
            form = stored_form(copied(given.tensor.operand), None, (stored,))
        builder.statements.append(Definition(made, (Term(form, (source.tensor.name,)),)))
        builder.commits.append(Commit(target.tensor.name, made.name))
    return builder.program()


class _Steps:
    """Makes the program on states in order."""

    def __init__(self, program: Program, orders: Mapping[str, Stored]):
        self.program = program
        self.orders = orders
        #: Copies that are no longer made: the state is one.
        self.same: dict[str, str] = {}

    def made(self) -> Program:
        """The program."""
        inputs = tuple(
            _packed(i, self.orders[i.tensor.name], i.tensor.name) if i.tensor.name in self.orders else i
            for i in self.program.inputs
        )
        statements: list[Statement] = []
        for statement in self.program.statements:
            statements += self._statement(statement)
        return self.program.with_(inputs=inputs, statements=tuple(statements))

    def _statement(self, statement: Statement) -> list[Statement]:
        if not isinstance(statement, Definition):
            return [_reading(statement, self.same)]
        name = statement.tensor.name
        (first, *more) = statement.terms
        if not more and len(first.operands) == 1 and first.operands[0] in self.orders:
            if copy_of(first.form) == self.orders[first.operands[0]]:
                self.same[name] = first.operands[0]
                return []
        terms = tuple(self._term(statement, t) for t in statement.terms)
        tensor = statement.tensor
        if name in self.orders:
            tensor = replace(tensor, shape=self.orders[name].shape(tensor.shape))
        return [replace(statement, tensor=tensor, terms=terms)]

    def _term(self, statement: Definition, term: Term) -> Term:
        """A term over states in order."""
        write = self.orders.get(statement.tensor.name)
        reads = tuple(self.orders.get(operand) for operand in term.operands)
        operands = tuple(self.same.get(operand, operand) for operand in term.operands)
        if write is None and not any(reads):
            return replace(term, operands=operands)
        form = stored_form(term.form, write, reads)
        return replace(term, form=form if write is not None else split_digits(form), operands=operands)


def _takes_any(definition: Definition, tensors: set[str]) -> bool:
    """Whether the order of some tensors does not matter to a definition: it only sums over all of each (a norm)."""
    for term in definition.terms:
        read = [n for n in nodes(term.form.body) if type(n) is Read and term.operands[n.slot] in tensors]
        indices = frozenset().union(*(place.indices for n in read for place in n.place))
        if not indices.isdisjoint(term.form.written) or len({n.slot for n in read}) > 1:
            return False
    return True


def _reading(statement: Statement, same: Mapping[str, str]) -> Statement:
    """A statement that is no definition, with other tensors in the place of some that it reads."""

    def named(pairs):
        return tuple((inner, same.get(outer, outer)) for inner, outer in pairs)

    if isinstance(statement, Scan):
        carries = tuple(replace(c, initial=same.get(c.initial, c.initial)) for c in statement.carries)
        return replace(
            statement, carries=carries, sequences=named(statement.sequences), constants=named(statement.constants)
        )
    return replace(statement, operand=same.get(statement.operand, statement.operand))
