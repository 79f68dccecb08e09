"""Sums that leave little are taken in two steps, so that several threads find work."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from diffgraph.ir.affine import index
from diffgraph.ir.digits import split_index
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.expression import Expr, Read
from diffgraph.ir.form import Form, Operand, alone_index
from diffgraph.ir.program import Builder, Definition, Program, Statement, Tensor, Term
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.report import Report

#: Reductions whose value is that of parts, reduced in turn.
OPS = ("sum", "max", "min")

#: Results that are enough to share out by themselves.
ENOUGH_RESULTS = 1024

#: Points from which a reduction is worth sharing out.
LARGE = 1 << 16

#: The same, of each sample, where the samples may be too few to share out.
LARGE_OF_SAMPLE = 1 << 17

#: Steps of a sum of products that is long.
LONG = 128

#: The parts of a sum may be so much less than what it reads.
PARTS_BESIDE_READS = 1

#: Parts of a reduction: enough for the threads, and not more than are quickly put together.
FEWEST, MOST = 8, 4096


def split(program: Program, report: Report) -> Program:
    """Reduces first over all axes but one, the outermost in memory, and then over that one. The parts are the same for any
    number of threads, and so is the result.

    Before:
        input x[N, 64, 64, 16]
        y[c] = sum[n, i, j](x[n, i, j, c])
        output y

    After:
        input x[N, 64, 64, 16]
        p[n, c] = sum[i, j](x[n, i, j, c])
        y[c] = sum[n](p[n, c])
        output y
    """
    names = Builder(program)
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Definition) and statement.tensor.kind == "float" and len(statement.terms) == 1:
            statements += _split(statement, names, report)
        else:
            statements.append(statement)
    return program.with_(statements=tuple(statements))


def _split(definition: Definition, names: Builder, report: Report) -> list[Definition]:
    (term,) = definition.terms
    divided, axis = parted(term.form)
    if axis is None or definition.gradient is not None:
        return [definition]
    tensor = definition.tensor
    form = _parts(divided, axis)
    parts = Tensor(names.fresh(f"{tensor.name}_parts"), form.shape)
    names.tensors[parts.name] = parts
    report.did(f"{tensor.name}: is reduced in {form.shape[0]} parts", term.provenance)
    whole = Term(_joined(parts.operand, term.form.op), (parts.name,), term.provenance)
    return [Definition(parts, (replace(term, form=form),)), replace(definition, terms=(whole,))]


@cache
def parted(form: Form) -> tuple[Form, int | None]:
    """The form, or the same with one of its axes as two, and the axis of a reduction by whose values it is best taken
    apart; None where it is as good as it is."""
    axis = part_axis(form)
    if axis is not None or not _leaves_little(form):
        return form, axis
    lengths = {k: _pieces(form.domain[k]) for k in form.reduced if isinstance(form.domain[k], int)}
    axis = max((k for k, count in lengths.items() if count), key=lambda k: (form.domain[k], -k), default=None)
    return (form, None) if axis is None else (split_index(form, axis, form.domain[axis] // lengths[axis]), axis)


def _pieces(extent: int) -> int | None:
    """A divisor of an extent, near its square root, that is a good number of parts."""
    fitting = [d for d in range(FEWEST, min(MOST, extent) + 1) if extent % d == 0]
    return min(fitting, key=lambda d: (abs(d * d - extent), d), default=None)


def _leaves_little(form: Form) -> bool:
    """Whether a large reduction has hardly any results."""
    if form.op not in OPS or not form.is_projection or not form.reduced:
        return False
    return product(usual(s) for s in form.shape) <= FEWEST and product(usual(s) for s in form.domain) >= LARGE


@cache
def part_axis(form: Form) -> int | None:
    """The axis of a reduction by whose values it is best taken apart; None where it is as good as it is."""
    if form.op not in OPS or not form.is_projection or len(form.reduced) < 2:
        return None
    reads = [n for n in nodes(form.body) if type(n) is Read]
    size, least = usual, LARGE
    if any(not isinstance(form.domain[k], int) for k in form.written) and _is_innermost(form, reads):
        # A batch may be a single sample, and then only what is known counts.
        size, least = _known, LARGE_OF_SAMPLE
    if product(size(s) if k in form.written else usual(s) for k, s in enumerate(form.domain)) < least:
        return None
    fitting = [k for k in form.reduced if FEWEST <= usual(form.domain[k]) <= MOST and _is_read(k, reads)]
    axis = min(fitting, key=lambda k: (_depth(k, reads), k), default=None)
    if product(size(s) for s in form.shape) < ENOUGH_RESULTS and product(size(s) for s in form.shape[:-1]) < FEWEST:
        return axis
    return axis if axis is not None and _parts_are_small(form, axis, reads) else None


def _parts_are_small(form: Form, axis: int, reads: list[Read]) -> bool:
    """Whether the parts of a long sum of products are little beside what it reads, each by itself: threads that shared out
    the results instead would all read everything."""
    results = product(usual(s) for s in form.shape)
    steps = product(usual(form.domain[k]) for k in form.reduced if k != axis)
    read = sum(product(usual(s) for s in form.operands[n.slot].shape) for n in reads)
    apart = all(axis in n.indices for n in reads) and len({n.slot for n in reads}) > 1
    return form.op == "sum" and apart and steps >= LONG and PARTS_BESIDE_READS * results * usual(form.domain[axis]) <= read


def _known(size: Size) -> int:
    return size if isinstance(size, int) else 1


def _is_innermost(form: Form, reads: list[Read]) -> bool:
    """Whether the last axis of the result is the innermost one of what is read, so that there are no other units."""
    across = alone_index(form.write[-1])
    return all(alone_index(n.place[-1]) == across for n in reads if len(n.place) >= len(form.shape))


def _is_read(axis: int, reads: list[Read]) -> bool:
    return any(axis in r.indices for r in reads)


def _depth(axis: int, reads: list[Read]) -> float:
    """How far inside in memory an axis is: 0 for the outermost axis of what is read."""
    return min(at / len(r.place) for r in reads for at, p in enumerate(r.place) if axis in p.indices)


def _parts(form: Form, axis: int) -> Form:
    shape = (form.domain[axis], *form.shape)
    return Form(form.domain, form.op, (index(axis), *form.write), shape, form.operands, form.body)


def _joined(parts: Operand, op: str) -> Form:
    """The reduction over the first axis."""
    places = tuple(index(k) for k in range(len(parts.shape)))
    body: Expr = Read(0, places, None)
    return Form(parts.shape, op, places[1:], parts.shape[1:], (parts,), body)
