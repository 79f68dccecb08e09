"""The legality of a program: what every pass may rely on, and must leave true.

A violation is a bug of diffgraph, told with the name of the pass it was found after: `after fuse: h3 reads h1 before it
is defined`. What can only be known when the program runs, such as whether two symbolic sizes agree, is no error here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from diffgraph.diagnostics import CompilerBug
from diffgraph.ir import scalar
from diffgraph.ir.affine import interval, is_inside
from diffgraph.ir.dimension import Size, is_nonnegative, product
from diffgraph.ir.evaluate import result_kind
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import KINDS, OPS, Form
from diffgraph.ir.program import Argsort, Definition, OwnGradient, Program, Reshape, Scan, Statement, Tensor, Term

ROLES = ("input", "target", "parameter", "state", "run", "constant", "prepared", "free")


def verify(program: Program, where: str = "verify") -> None:
    """CompilerBug if the program is not legal. `where` says after what it was found."""
    _Verifier(where).program(program)


class _Verifier:
    def __init__(self, where: str):
        self.where = where

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            raise CompilerBug(self.where, message)

    # ---------------------------------------------------------------------------------------------- programs

    def program(self, program: Program) -> dict[str, Tensor]:
        """Checks a program or a body; gives its tensors."""
        known: dict[str, Tensor] = {}
        for given in program.inputs:
            name = given.tensor.name
            self.require(given.role in ROLES, f"the input {name} has the role {given.role}")
            self._define(given.tensor, known)
            if given.table is not None:
                shape = tuple(given.table.array.shape)
                self.require(shape == given.tensor.shape, f"the table of {name} is {shape}, not {given.tensor.shape}")
        for statement in program.statements:
            self._statement(statement, known)
            for result in statement.results:
                self._define(result, known)
        self._ends(program, known)
        return known

    def _define(self, tensor: Tensor, known: dict[str, Tensor]) -> None:
        name = tensor.name
        self.require(name.isidentifier(), f"{name!r} is not a name")
        self.require(name not in known, f"{name} is defined twice")
        self.require(tensor.kind in KINDS, f"{name} has the kind {tensor.kind}")
        self.require(tensor.bound is None or tensor.kind == "int", f"{name} has a bound but is {tensor.kind}")
        negative = [s for s in tensor.shape if isinstance(s, int) and s < 0]
        self.require(not negative, f"{name} has the shape {tensor.shape}")
        known[name] = tensor

    def _ends(self, program: Program, known: dict[str, Tensor]) -> None:
        for output in program.outputs:
            self.require(output.tensor in known, f"the output {output.name} is {output.tensor}, which is not defined")
        names = [o.name for o in program.outputs]
        self.require(len(set(names)) == len(names), f"two outputs have one name: {names}")
        states = {i.tensor.name for i in program.inputs if i.role in ("state", "parameter", "input", "prepared")}
        for commit in program.commits:
            self.require(commit.state in states, f"{commit.state} is committed to, but is no state")
            value = self._get(commit.tensor, known, "a commit")
            self._same(f"the commit to {commit.state}", known[commit.state], value)
        committed = [c.state for c in program.commits]
        self.require(len(set(committed)) == len(committed), f"one state has two commits: {committed}")
        for check in program.checks:
            tensor = self._get(check.tensor, known, "a check")
            single = tensor.kind == "bool" and not tensor.shape
            self.require(single, f"the check {check.tensor} is not a single bool")

    def _get(self, name: str, known: dict[str, Tensor], reader: str) -> Tensor:
        self.require(name in known, f"{reader} reads {name} before it is defined")
        return known[name]

    def _same(self, what: str, a: Tensor, b: Tensor) -> None:
        """Two tensors that stand for each other."""
        self.require(a.kind == b.kind, f"{what}: {a.name} is {a.kind} and {b.name} is {b.kind}")
        self._same_shape(what, a.shape, b.shape)

    def _same_shape(self, what: str, a: tuple[Size, ...], b: tuple[Size, ...]) -> None:
        agree = len(a) == len(b) and all(_may_be_equal(x, y) for x, y in zip(a, b))
        self.require(agree, f"{what}: the shapes {_list(a)} and {_list(b)} differ")

    # -------------------------------------------------------------------------------------------- statements

    def _statement(self, statement: Statement, known: dict[str, Tensor]) -> None:
        name = statement.results[0].name if statement.results else "a scan without results"
        for operand in statement.operands:
            self._get(operand, known, name)
        match statement:
            case Definition():
                self._definition(statement, known)
            case Reshape(tensor, operand):
                of = known[operand]
                self.require(of.kind == tensor.kind, f"{name} is {tensor.kind}, but {operand} is {of.kind}")
                same = _may_be_equal(product(of.shape), product(tensor.shape))
                self.require(same, f"{name} views {_list(of.shape)} as {_list(tensor.shape)}")
            case Argsort(tensor, operand):
                self.require(tensor.kind == "int" and len(tensor.shape) > 0, f"{name} sorts, but is no int tensor")
                self._same_shape(name, tensor.shape, known[operand].shape)
            case Scan():
                self._scan(name, statement, known)
            case _:
                raise CompilerBug(self.where, f"not a statement: {statement!r}")

    def _definition(self, definition: Definition, known: dict[str, Tensor]) -> None:
        tensor, terms = definition.tensor, definition.terms
        self.require(len(terms) > 0, f"{tensor.name} has no terms")
        self.require(tensor.kind == "float" or len(terms) == 1, f"{tensor.name} is {tensor.kind} and a sum of terms")
        for term in terms:
            self._term(tensor, term, known)
        if definition.gradient is not None:
            self._own_gradient(tensor, definition.gradient, known)

    def _term(self, tensor: Tensor, term: Term, known: dict[str, Tensor]) -> None:
        form, name = term.form, tensor.name
        problem = form_problem(form)
        self.require(problem is None, f"{name}: {problem}")
        self._same_shape(f"{name} and its term", tensor.shape, form.shape)
        kind = result_kind(form)
        fits = tensor.kind == "float" or kind == tensor.kind or (tensor.kind, kind) == ("int", "bool")
        self.require(fits, f"{name} is {tensor.kind} but its term is {kind}")
        self.require(len(term.operands) == len(form.operands), f"{name}: {len(term.operands)} operands for {form!r}")
        for operand, wanted in zip(term.operands, form.operands):
            given = known[operand]
            self.require(given.kind == wanted.kind, f"{name} reads {operand} as {wanted.kind}, but it is {given.kind}")
            self._same_shape(f"{name} reads {operand}", wanted.shape, given.shape)
            bounded = wanted.bound is None or (given.bound is not None and _may_be_equal(given.bound, wanted.bound))
            self.require(bounded, f"{name} reads {operand} below {wanted.bound}, but its bound is {given.bound}")

    def _own_gradient(self, tensor: Tensor, own: OwnGradient, known: dict[str, Tensor]) -> None:
        name = f"the gradient of {tensor.name}"
        inner = self.program(own.body)
        for given in own.body.inputs:
            if given.tensor.name == own.cotangent:
                self._same_shape(name, given.tensor.shape, tensor.shape)
            elif given.table is None:
                outer = tensor if given.tensor.name == tensor.name else self._get(given.tensor.name, known, name)
                self._same(name, given.tensor, outer)
        for target, gradient in own.gradients:
            outer = self._get(target, known, name)
            self._same(name, self._get(gradient, inner, name), outer)

    def _scan(self, name: str, scan: Scan, known: dict[str, Tensor]) -> None:
        inner = self.program(scan.body)
        given = [scan.index] if scan.index else []
        given += [c.inner for c in scan.carries] + [i for i, _ in (*scan.sequences, *scan.constants)]
        self.require(len(set(given)) == len(given), f"{name}: an input of the body is set twice: {given}")
        free = {i.tensor.name for i in scan.body.inputs if i.table is None}
        self.require(free == set(given), f"{name}: the body wants {sorted(free)} and is given {sorted(given)}")
        if scan.index:
            step = inner[scan.index]
            self.require(step.kind == "int" and not step.shape, f"{name}: the step {scan.index} is not a single int")
        for c in scan.carries:
            for other in (self._get(c.next, inner, name), known[c.initial], c.final):
                self._same(f"{name}: the carry {c.inner}", inner[c.inner], other)
        for i, outer in scan.sequences:
            self._same(f"{name}: the sequence {i}", _stacked(inner[i], scan.length), known[outer])
        for i, outer in scan.constants:
            self._same(f"{name}: the constant {i}", inner[i], known[outer])
        for y in scan.yields:
            row = self._get(y.inner, inner, name)
            self._same(f"{name}: the yield {y.inner}", _stacked(row, scan.length), y.stacked)


def _stacked(tensor: Tensor, length: Size) -> Tensor:
    return Tensor(tensor.name, (length, *tensor.shape), tensor.kind, tensor.bound)


def _may_be_equal(a: Size, b: Size) -> bool:
    """Not certainly different, for symbols from 1 up."""
    difference = a - b
    return not (is_nonnegative(difference - 1) or is_nonnegative(-difference - 1))


def _list(shape: Iterable[Size]) -> str:
    return f"[{', '.join(map(str, shape))}]"


# ------------------------------------------------------------------------------------------------ forms


@lru_cache(maxsize=None)
def form_problem(form: Form) -> str | None:
    """What is wrong with a form, or None."""
    if form.op not in OPS:
        return f"there is no reduction {form.op}"
    if len(form.write) != len(form.shape):
        return f"{len(form.write)} places written in a tensor of {len(form.shape)} axes"
    if form.op != "sum" and any(w.terms and not _is_index(w) for w in form.write):
        return f"{form.op} writes at computed places: {form.write!r}"
    seen: set[Expr] = set()
    pending: list[Expr] = [*form.write, form.body]
    while pending:
        expr = pending.pop()
        if expr not in seen:
            seen.add(expr)
            if problem := _problem(expr, form):
                return problem
            pending.extend(expr.children)
    return None


def _is_index(place: Affine) -> bool:
    return len(place.terms) == 1 and type(place.terms[0][0]) is Index and place.terms[0][1] == 1


def _problem(expr: Expr, form: Form) -> str | None:
    match expr:
        case Const(value):
            return None if isinstance(scalar.kind_of(expr, ()), str) else f"the constant {value!r}"
        case Extent() | Index():
            inside = not isinstance(expr, Index) or 0 <= expr.axis < len(form.domain)
            return None if inside else f"the index {expr.axis} of a domain of {len(form.domain)} axes"
        case Affine(constant, terms):
            return _affine_problem(constant, terms, form)
        case Call(function, args):
            row = scalar.FUNCTIONS.get(function)
            if row is None:
                return f"there is no function {function}"
            wrong = not args if row.arity is None else row.arity != len(args)
            return f"{function} of {len(args)} arguments" if wrong else None
        case Read():
            return _read_problem(expr, form)
    return f"not an expression: {expr!r}"


def _affine_problem(constant, terms, form: Form) -> str | None:
    kinds = [o.kind for o in form.operands]
    if type(constant) is not int:
        return f"the constant {constant!r} of a place"
    for atom, coefficient in terms:
        if type(coefficient) is not int or coefficient == 0:
            return f"the coefficient {coefficient!r} in a place"
        if type(atom) in (Affine, Const):
            return f"{atom!r} nested in a place"
        if atom.slots and max(atom.slots) >= len(kinds):
            return f"the slot {max(atom.slots)} of {len(kinds)}"
        if scalar.kind_of(atom, kinds) == "float":
            return f"a float in a place: {atom!r}"
    return None


def _read_problem(read: Read, form: Form) -> str | None:
    if not 0 <= read.slot < len(form.operands):
        return f"the slot {read.slot} of {len(form.operands)}"
    operand = form.operands[read.slot]
    if len(read.place) != len(operand.shape):
        return f"{len(read.place)} subscripts for {_list(operand.shape)}"
    if any(type(p) is not Affine for p in read.place):
        return f"a place that is not affine: {read!r}"
    if read.otherwise is not None:
        return f"what is read outside has indices: {read!r}" if read.otherwise.indices else None
    if 0 in form.domain:
        return None
    for place, extent in zip(read.place, operand.shape):
        if _is_exact(place) and not is_inside(place, extent, form.domain, form.operands):
            low, high = interval(place, form.domain, form.operands)
            if _certainly_outside(low, high, extent):
                return f"an unguarded read from {low} to {high} of an axis of {extent}: {read!r}"
    return None


def _is_exact(place: Affine) -> bool:
    """Whether an interval gives the values that a place really takes."""
    return all(type(atom) is Index for atom, _ in place.terms)


def _certainly_outside(low: Size | None, high: Size | None, extent: Size) -> bool:
    return (low is not None and is_nonnegative(-1 - low)) or (high is not None and is_nonnegative(high - extent))
