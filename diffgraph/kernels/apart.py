"""What statements do with each sample of a batch without looking at the others.

    y[n, u] = sum[d](w[u, d] * x[n, d])         each sample by itself
    d_w[u, d] = sum[n](x[n, d] * d_y[n, u])     a sum over samples: the sum of those over some of them
    m[u] = mean[n](y[n, u]);  z[n, u] = y[n, u] - m[u]      not apart: all samples are needed before the first z

A tensor that has the batch as one of its axes is read and written at the sample that is being made; one without it is the
same for all samples, or a sum over them, to which things may be added but which nothing else reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffgraph.ir.dimension import Size, product, symbols
from diffgraph.ir.expression import Call, Const, Expr, Index, Read
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Definition, Program, Reshape, Scan, Statement, Tensor, Term


@dataclass(frozen=True)
class Kind:
    """What a tensor is to the samples. batched: it has a place for each. Otherwise it is the same for all; but a sum over
    samples where `adds_to` says to what is added: a carry of the scan around, or "" for nothing."""

    batched: bool = False
    adds_to: str | None = None
    zero: bool = False


BATCHED, SAME, ZERO, SUM = Kind(batched=True), Kind(), Kind(zero=True), Kind(adds_to="")


def axis_of(shape: Sequence[Size], batch: Size) -> int | None:
    """The axis of the samples, None if there is none. ValueError where the shape depends on their number in another way."""
    found = [k for k, size in enumerate(shape) if size == batch]
    if len(found) > 1 or any(symbols(s) & symbols(batch) for s in shape if s != batch):
        raise ValueError(f"{list(shape)} is not a number of samples")
    return found[0] if found else None


class Samples:
    """Judges the statements of programs whose batch is `batch`."""

    def __init__(self, batch: Size):
        self.batch = batch

    def kind_of(self, tensor: Tensor) -> Kind:
        """The kind that an input has. ValueError if it has none."""
        return SAME if axis_of(tensor.shape, self.batch) is None else BATCHED

    def judge(self, statement: Statement, tensors: Mapping[str, Tensor], known: Mapping[str, Kind]) -> dict[str, Kind] | None:
        """The kinds of the results, of those of the operands; None if the samples are not apart."""
        if any(o not in known for o in statement.operands):
            return None
        try:
            match statement:
                case Definition():
                    kind = self._definition(statement, tensors, known)
                    return None if kind is None else {statement.tensor.name: kind}
                case Reshape(tensor, operand):
                    return self._reshape(tensor, tensors[operand], known[operand])
                case Scan():
                    return self._scan(statement, tensors, known)
        except ValueError:
            return None
        return None

    # --------------------------------------------------------------------------------------------- definitions

    def _definition(self, definition: Definition, tensors, known: Mapping[str, Kind]) -> Kind | None:
        axis = axis_of(definition.tensor.shape, self.batch)
        kinds = [self._term(t, axis, known) for t in definition.terms]
        if None in kinds:
            return None
        if axis is not None:
            return BATCHED
        return _total(kinds)

    def _term(self, term: Term, axis: int | None, known: Mapping[str, Kind]) -> Kind | None:
        """What a term makes; `axis`: of the samples in what is written."""
        form = term.form
        if any(known[o].adds_to is not None for o in term.operands):
            return _total([known[o] for o in term.operands]) if adds_up(form) else None
        own = axis_of(form.domain, self.batch)
        if not _keeps_to(form, own, [self._axis(o.shape) for o in form.operands]):
            return None
        if axis is not None:
            at_own = own is not None and alone_index(form.write[axis]) == own
            return BATCHED if at_own and not any(own in w.indices for k, w in enumerate(form.write) if k != axis) else None
        if own is None:
            return ZERO if type(form.body) is Const and form.body.value == 0 and form.op == "sum" else SAME
        return SUM if form.op == "sum" and own in form.reduced else None

    def _axis(self, shape) -> int | None:
        return axis_of(shape, self.batch)

    def _reshape(self, tensor: Tensor, operand: Tensor, kind: Kind) -> dict[str, Kind] | None:
        after, before = self._axis(tensor.shape), self._axis(operand.shape)
        if kind.adds_to is not None or (after is None) != (before is None):
            return None
        if after is not None and product(tensor.shape[:after]) != product(operand.shape[:before]):
            return None
        return {tensor.name: BATCHED if after is not None else kind}

    # --------------------------------------------------------------------------------------------- scans

    def _scan(self, scan: Scan, tensors, known: Mapping[str, Kind]) -> dict[str, Kind] | None:
        if not isinstance(scan.length, int):
            return None
        for sums in (True, False):
            found = self._scan_with(scan, tensors, known, sums)
            if found is not None:
                return found
        return None

    def _scan_with(self, scan: Scan, tensors, known: Mapping[str, Kind], sums: bool) -> dict[str, Kind] | None:
        """sums: carries that begin with zeros, or with a sum over samples, are such sums."""
        inside = self._inputs(scan, tensors, known, sums)
        if inside is None:
            return None
        for statement in scan.body.statements:
            made = self.judge(statement, scan.body.tensors, inside)
            if made is None:
                return None
            inside.update(made)
        results: dict[str, Kind] = {}
        for carry in scan.carries:
            kind, following = inside[carry.inner], inside[carry.next]
            if kind.adds_to is not None:
                if following.adds_to != carry.inner:
                    return None
                results[carry.final.name] = Kind(adds_to=known[carry.initial].adds_to or "")
            elif following.adds_to is not None or kind.batched != following.batched:
                return None
            else:
                results[carry.final.name] = BATCHED if kind.batched else SAME
        for y in scan.yields:
            if inside[y.inner].adds_to is not None or not self._is_first(scan.body.tensors[y.inner]):
                return None
            results[y.stacked.name] = BATCHED if inside[y.inner].batched else SAME
        return results

    def _inputs(self, scan: Scan, tensors, known: Mapping[str, Kind], sums: bool) -> dict[str, Kind] | None:
        """The kinds of the inputs of a body."""
        inside = {i.tensor.name: self.kind_of(i.tensor) for i in scan.body.inputs if i.table is not None}
        inside |= {scan.index: SAME} if scan.index else {}
        for inner, outer in (*scan.sequences, *scan.constants):
            if known[outer].adds_to is not None:
                return None
            inside[inner] = BATCHED if known[outer].batched else SAME
        for inner, outer in scan.sequences:
            if self._axis(tensors[outer].shape) == 0:
                return None
        for carry in scan.carries:
            kind = known[carry.initial]
            if not self._is_first(carry.final):
                return None
            if sums and (kind.zero or kind.adds_to is not None):
                inside[carry.inner] = Kind(adds_to=carry.inner)
            elif kind.adds_to is not None:
                return None
            else:
                inside[carry.inner] = BATCHED if kind.batched else SAME
        return inside

    def _is_first(self, tensor: Tensor) -> bool:
        """Whether samples, if it has them, are its first axis: what belongs to some of them is in one piece."""
        return self._axis(tensor.shape) in (None, 0)


def _total(kinds: Sequence[Kind]) -> Kind | None:
    """What some things without samples are, added up; None if that is not to be told apart."""
    sums = [k for k in kinds if k.adds_to is not None]
    if not sums:
        return kinds[0] if len(kinds) == 1 else SAME
    bases = [k for k in sums if k.adds_to]
    alone = len(bases) <= 1 and all(k.adds_to is not None or k.zero for k in kinds)
    return (bases[0] if bases else SUM) if alone else None


def adds_up(form: Form) -> bool:
    """Whether each element of the result is the sum of the same element of all operands."""
    body = form.body
    added = body.args if type(body) is Call and body.function == "add" else (body,)
    slots = [e.slot for e in added if type(e) is Read and e.place == form.write and e.otherwise is None]
    return form.is_pointwise and form.op == "sum" and len(slots) == len(added) and sorted(slots) == list(range(len(form.operands)))


def _keeps_to(form: Form, own: int | None, axes: Sequence[int | None]) -> bool:
    """Whether the index of the samples is used for nothing but to read operands at the sample that is being made, and
    operands with samples are read nowhere else. axes: that of the samples in each operand."""
    stack: list[Expr] = [form.body]
    seen: set[Expr] = set()
    while stack:
        e = stack.pop()
        if e in seen:
            continue
        seen.add(e)
        if type(e) is Index and e.axis == own:
            return False
        if type(e) is not Read:
            stack.extend(e.children)
            continue
        axis = axes[e.slot]
        if axis is not None and (own is None or alone_index(e.place[axis]) != own):
            return False
        stack.extend(p for k, p in enumerate(e.place) if k != axis)
        stack.extend(() if e.otherwise is None else (e.otherwise,))
    return True


def steady_elements(scan: Scan, program: Program, samples: Samples) -> int:
    """How many elements that are the same for all samples a scan reads again in every step."""
    outer = {o for _, o in scan.constants}
    shapes = [program.tensors[o].shape for o in outer if samples.kind_of(program.tensors[o]) is SAME]
    return sum(size for size in (product(s) for s in shapes) if isinstance(size, int))
