"""A tensor of which each step of a scan reads its own slice, `x[n, t, d]`, becomes a sequence of the scan.

Its gradient is then one slice a step. As a constant it would be summed in full over the steps.
"""

from __future__ import annotations

from dataclasses import replace

from diffgraph.ir.affine import index
from diffgraph.ir.canonical import canonical
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Expr, Read
from diffgraph.ir.form import Form, Operand
from diffgraph.ir.letters import reads_of
from diffgraph.ir.program import Builder, Definition, Scan, Tensor, Term
from diffgraph.ir.rewrite import rewrite


def with_sequences(builder: Builder, scan: Scan, moved: set[str]) -> tuple[list[Definition], Scan]:
    """The scan with such of the constants in `moved` as sequences, and the definitions to stand before it that put their
    steps first."""
    made: list[Definition] = []
    for inner, outer in scan.constants:
        axis = axis_of_steps(scan, inner) if outer in moved else None
        if axis is None:
            continue
        tensor = builder.tensors[outer]
        if axis > 0:
            made.append(_steps_first(builder, tensor, axis, scan))
            tensor = made[-1].tensor
        scan = read_by_step(scan, inner, tensor.name, axis)
    return made, scan


def axis_of_steps(scan: Scan, inner: str) -> int | None:
    """The axis that every read of a constant takes at the number of the step, if there is one."""
    axes: set[int | None] = set()
    for statement in scan.body.statements:
        if inner not in statement.operands:
            continue
        if not isinstance(statement, Definition) or statement.gradient is not None:
            return None
        for term in statement.terms:
            reads = (r for r in reads_of(term.form) if term.operands[r.slot] == inner)
            axes |= {_step_axis(r, term, scan) for r in reads}
    ends = {y.inner for y in scan.yields} | {c.next for c in scan.carries}
    return axes.pop() if len(axes) == 1 and inner not in ends else None


def _step_axis(read: Read, term: Term, scan: Scan) -> int | None:
    shape = term.form.operands[read.slot].shape
    found = [
        axis
        for axis, place in enumerate(read.place)
        if _is_step(place, term, scan.index) and shape[axis] == scan.length
    ]
    return found[0] if found else None


def _is_step(place: Affine, term: Term, name: str) -> bool:
    if place.constant != 0 or len(place.terms) != 1:
        return False
    atom, coefficient = place.terms[0]
    return coefficient == 1 and isinstance(atom, Read) and not atom.place and term.operands[atom.slot] == name


def _steps_first(builder: Builder, tensor: Tensor, axis: int, scan: Scan) -> Definition:
    """The tensor with one axis moved to the front."""
    shape = (tensor.shape[axis], *_without(tensor.shape, axis))
    places = [index(k if k > axis else k + 1) for k in range(len(shape))]
    places[axis] = index(0)
    write = tuple(index(k) for k in range(len(shape)))
    form = Form(shape, "sum", write, shape, (tensor.operand,), Read(0, tuple(places), None))
    made = Tensor(builder.fresh(f"{tensor.name}_by_step"), shape, tensor.kind, tensor.bound)
    builder.tensors[made.name] = made
    return Definition(made, (Term(form, (tensor.name,), scan.provenance),))


def _without(items: tuple, axis: int) -> tuple:
    return items[:axis] + items[axis + 1 :]


def read_by_step(scan: Scan, inner: str, outer: str, axis: int) -> Scan:
    """The scan with a constant as a sequence: its reads lose an axis."""
    statements = tuple(
        replace(s, terms=tuple(_sliced(t, inner, axis) for t in s.terms)) if inner in s.operands else s
        for s in scan.body.statements
    )
    inputs = tuple(
        replace(i, tensor=replace(i.tensor, shape=_without(i.tensor.shape, axis))) if i.tensor.name == inner else i
        for i in scan.body.inputs
    )
    return replace(
        scan,
        sequences=(*scan.sequences, (inner, outer)),
        constants=tuple(pair for pair in scan.constants if pair[0] != inner),
        body=scan.body.with_(inputs=inputs, statements=statements),
    )


def _sliced(term: Term, inner: str, axis: int) -> Term:
    slots = {slot for slot, name in enumerate(term.operands) if name == inner}
    form = term.form

    def change(e: Expr) -> Expr:
        if isinstance(e, Read) and e.slot in slots:
            return Read(e.slot, _without(e.place, axis), e.otherwise)
        return e

    def shape_of(slot: int, operand: Operand) -> tuple[Size, ...]:
        return _without(operand.shape, axis) if slot in slots else operand.shape

    operands = tuple(replace(o, shape=shape_of(slot, o)) for slot, o in enumerate(form.operands))
    body = rewrite(form.body, change, [o.kind for o in operands])
    write = tuple(rewrite(w, change) for w in form.write)
    sliced, kept = canonical(Form(form.domain, form.op, write, form.shape, operands, body))
    return Term(sliced, tuple(term.operands[k] for k in kept), term.provenance)
