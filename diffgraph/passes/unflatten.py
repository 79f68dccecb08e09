"""Maps over a flattened axis become maps over its digits, and a view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.digits import quasi_affine_atoms, split_digits
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Expr, Index, Read
from diffgraph.ir.form import Form
from diffgraph.ir.program import Builder, Definition, Program, Reshape, Scan, Statement, Term
from diffgraph.ir.settle import settle
from diffgraph.passes.cost import usual
from diffgraph.passes.report import Report


#: A map is not given an innermost loop shorter than this: dividing is then the lesser evil.
SHORT = 4


def unflatten(program: Program, report: Report) -> Program:
    """Removes `//` and `%` from what is read where an axis of the result can be split into digits: the result is made
    with an axis for each digit, and is a view of that. So is a result that is written in digits, such as 3 * i + j.

    Before:
        input x[N, 2, 3, 5]
        y[n, f < 30] = exp(x[n, f // 15, f // 5 % 3, f % 5])
        output y

    After:
        input x[N, 2, 3, 5]
        t[n, c, i, j] = exp(x[n, c, i, j])
        y = reshape(t, [N, 30])
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Scan):
            statement = replace(statement, body=unflatten(statement.body, report))
        elif isinstance(statement, Definition) and len(statement.terms) == 1:
            statements += _unflattened(statement, names, report)
            continue
        statements.append(statement)
    return program.with_(statements=tuple(statements))


def _unflattened(definition: Definition, names: Builder, report: Report) -> list[Statement]:
    (term,) = definition.terms
    over_digits = digits_of(term.form)
    if over_digits is None or not over_digits.is_worthwhile:
        return [definition]
    tensor = definition.tensor
    report.did(f"{tensor.name}: is a view of its digits, so that nothing is divided", term.provenance)
    if over_digits.is_copy and names.tensors[term.operands[over_digits.slots[0]]].kind == tensor.kind:
        return [Reshape(tensor, term.operands[over_digits.slots[0]], term.provenance)]
    inner = replace(tensor, name=names.fresh(f"{tensor.name}_digits"), shape=over_digits.form.shape)
    names.tensors[inner.name] = inner
    operands = tuple(term.operands[k] for k in over_digits.slots)
    made = replace(definition, tensor=inner, terms=(Term(over_digits.form, operands, term.provenance),))
    return [made, Reshape(tensor, inner.name, term.provenance)]


@dataclass(frozen=True)
class OverDigits:
    """A form whose result, in row-major order, is that of another form. `is_copy`: it is its only operand,
    unchanged."""

    form: Form
    slots: tuple[int, ...]
    is_copy: bool

    @property
    def is_worthwhile(self) -> bool:
        """Loops over the digits are long enough, or there is nothing to do at all, or a sum to be recognized."""
        return self.is_copy or bool(self.form.reduced) or usual(self.form.shape[-1]) >= SHORT


@cache
def digits_of(form: Form) -> OverDigits | None:
    """The form with an axis for each digit of its axes, if that leaves no `//` and `%`; None where there is nothing to
    gain."""
    if form.op != "sum" or form.is_projection and not quasi_affine_atoms(form):
        return None
    split = split_digits(form)
    if quasi_affine_atoms(split):
        return None
    digits = [_digits(w, s, split.domain) for w, s in zip(split.write, split.shape)]
    if None in digits:
        return None
    axes = [k for found in digits for k in found]
    if len(set(axes)) != len(axes):
        return None
    shape = tuple(split.domain[k] for k in axes)
    over = Form(split.domain, "sum", tuple(index(k) for k in axes), shape, split.operands, split.body)
    made, slots = canonical(settle(over))
    return OverDigits(made, slots, _is_copy(made))


def _digits(place: Affine, extent: Size, domain: tuple[Size, ...]) -> list[int] | None:
    """The indices that are the digits of a place, most significant first, if every number below the extent is written
    exactly once."""
    if place.constant != 0 or any(type(a) is not Index for a, _ in place.terms):
        return None
    if not place.terms:
        return [] if extent == 1 else None
    expected: Size = 1
    found = []
    for atom, coefficient in sorted(place.terms, key=lambda t: t[1]):
        if coefficient != expected:
            return None
        found.append(atom.axis)
        expected = expected * domain[atom.axis]
    return found[::-1] if expected == extent else None


def _is_copy(form: Form) -> bool:
    """The form makes its operand again."""
    body: Expr = form.body
    if type(body) is not Read or form.operands[body.slot].shape != form.shape or not form.is_pointwise:
        return False
    return body.place == form.write
