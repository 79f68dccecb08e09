"""The order of the axes in memory: what runs in vectors goes innermost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

from diffgraph.ir.classify import classify
from diffgraph.ir.dimension import product
from diffgraph.ir.expression import Affine, Read
from diffgraph.ir.form import Form, alone_index, copied
from diffgraph.ir.program import Argsort, Builder, Definition, Program, Reshape, Scan, Statement, Tensor, Term
from diffgraph.passes.cost import nodes, usual
from diffgraph.passes.prepare import steady_tensors
from diffgraph.passes.report import Report
from diffgraph.passes.stored import Stored, moved_last, stored_copy, stored_form

#: Elements of a vector on the widest machine; what is shorter leaves lanes idle.
LANES = 16

#: Filters are kept in panels of so many channels: two vectors of the widest machine, four or eight of others.
PANEL = 32

#: A matrix that changes from run to run is turned where each of its elements is used at least so often.
WORTH_TURNING = 64

#: A matrix of fewer elements is left as it is.
SMALL_MATRIX = 4096

#: Elements from one place to the next from which a vector's way through memory is bad for caches.
FAR_APART = 512

#: Rows of so many elements are far apart for who goes down a column of panels.
FAR_ROWS = 256

#: A matrix is copied into panels where each of its elements is used at least so often: it could be read as it is.
WORTH_PANELS = 512

#: A filter is packed where each of its elements is used at least so often.
WORTH_PACKING = 8


def layout(program: Program, report: Report) -> Program:
    """Puts the channels of what windows move over innermost, and packs filters so that neighbouring channels of the result
    are neighbours in them. Only tensors that are the program's own affair change; what goes in and out stays.

    Before:
        input x[N, 16, 9, 9]
        input w[16, 16, 3, 3]
        a[n, c, i, j] = 2 * x[n, c, i, j]
        y[n, o, i, j] = sum[c, p, q](w[o, c, p, q] * a[n, c, i + p, j + q])
        b[n, o] = sum[i, j](y[n, o, i, j])
        output b

    After:
        input x[N, 16, 9, 9]
        input w[16, 16, 3, 3]
        a[n, i, j, c] = 2 * x[n, c, i, j]
        v[p, q, c, o] = w[o, c, p, q]
        y[n, i, j, o] = sum[p, q, c](v[p, q, c, o] * a[n, i + p, j + q, c])
        b[n, o] = sum[i, j](y[n, i, j, o])
        output b
    """
    inner = innermost(program)
    if not _is_worthwhile(program, inner):
        # Not for all together: then for each by itself.
        inner = {t: a for t, a in inner.items() if _gain(program.tensors[t].shape, a) > 0}
    names = Builder(program)
    program, gradients = _with_filter_gradients(program, inner, names)
    free = movable(program)
    orders = {t: moved_last(a, len(program.tensors[t].shape)) for t, a in inner.items() if t in free} | gradients
    packer = _Packer(names, inner, orders, steady_tensors(program))
    statements: list[Statement] = []
    for statement in program.statements:
        if isinstance(statement, Definition):
            terms = tuple(_ordered(statement.tensor.name, t, orders, packer) for t in statement.terms)
            statements += packer.taken()
            tensor = statement.tensor
            order = orders.get(tensor.name)
            if order is not None:
                tensor = replace(tensor, shape=order.shape(tensor.shape))
                report.did(f"{tensor.name}: axis {order.order[-1]} is innermost in memory", statement.provenance)
            statement = replace(statement, tensor=tensor, terms=terms)
        statements.append(statement)
    return program.with_(statements=tuple(statements))


# ------------------------------------------------------------------------------------------------ which axis


def innermost(program: Program) -> dict[str, int]:
    """For each tensor that windows move over, or that goes along with one, the axis of its channels."""
    windows: dict[str, set[int]] = {}
    terms = [(s.tensor.name, t) for s in program.statements if isinstance(s, Definition) for t in s.terms]
    for name, term in terms:
        for tensor, axis in _under_windows(name, term):
            windows.setdefault(tensor, set()).add(axis)
    inner: dict[str, int] = {}
    for tensor, axes in windows.items():
        shape = program.tensors[tensor].shape
        rest = [k for k in range(len(shape)) if k not in axes]
        if len(shape) >= 3 and (len(rest) == 2 and rest[0] == 0 or len(rest) == 1 and isinstance(shape[rest[0]], int)):
            inner[tensor] = rest[-1]
    _spread(program, terms, inner)
    return inner


def _under_windows(name: str, term: Term) -> Iterator[tuple[str, int]]:
    """(tensor, axis) for each axis of an operand or of the result along which a window moves: that of the longer of the two
    indices of the window."""
    form = term.form
    moving = set()
    for window in classify(form).windows:
        if window.slot is not None and len(window.indices) == 2 and classify(form).form is form:
            yield term.operands[window.slot], window.axis
            moving.add(max(window.indices, key=lambda k: (usual(form.domain[k]), -k)))
    for tensor, places in _places(name, term):
        for axis, place in enumerate(places):
            if alone_index(place) in moving:
                yield tensor, axis


def _places(name: str, term: Term) -> Iterator[tuple[str, tuple[Affine, ...]]]:
    """Each tensor of a term with the places at which it is written or read."""
    yield name, term.form.write
    for node in nodes(term.form.body):
        if type(node) is Read:
            yield term.operands[node.slot], node.place


def _spread(program: Program, terms, inner: dict[str, int]) -> None:
    """What shares all other axes with a tensor whose innermost axis is known has its own one innermost."""
    waiting = [(n, t) for n, t in terms if len(t.form.shape) >= 3 or any(len(o.shape) >= 3 for o in t.form.operands)]
    changed = True
    while changed:
        changed = False
        for name, term in waiting:
            found = [(t, [alone_index(p) for p in places]) for t, places in _places(name, term) if len(places) >= 3]
            known = [(t, at) for t, at in found if t in inner]
            for tensor, at in found:
                if tensor in inner:
                    continue
                for other, there in known:
                    outer = [k for a, k in enumerate(there) if a != inner[other]]
                    left = [a for a, k in enumerate(at) if k not in outer]
                    if None not in outer and len(left) == 1 and len(at) == len(there):
                        inner[tensor] = left[0]
                        changed = True
                        break


def _is_worthwhile(program: Program, inner: Mapping[str, int]) -> bool:
    """Whether vectors along the innermost axes are as well filled as those along the last ones, weighted by arithmetic."""
    gain = 0.0
    for statement in program.statements:
        if not isinstance(statement, Definition) or statement.tensor.name not in inner:
            continue
        own = _gain(statement.tensor.shape, inner[statement.tensor.name])
        gain += own * sum(product(usual(e) for e in t.form.domain) for t in statement.terms if t.form.reduced)
    return gain >= 0


def _gain(shape, axis: int) -> float:
    """How much more of its lanes vectors along an axis fill than those along the last one."""
    return _use(usual(shape[axis])) - _use(usual(shape[-1]))


def _use(extent: int) -> float:
    """The share of lanes that is busy."""
    return extent / (-(-extent // LANES) * LANES)


def movable(program: Program) -> set[str]:
    """The tensors whose order nobody outside of definitions depends on."""
    fixed = set(program.roots) | {i.tensor.name for i in program.inputs}
    for statement in program.statements:
        if isinstance(statement, (Reshape, Argsort, Scan)):
            fixed.update(statement.operands)
            fixed.update(t.name for t in statement.results)
    return {s.tensor.name for s in program.statements if isinstance(s, Definition)} - fixed


# ------------------------------------------------------------------------------------------------ gradients of filters


def _with_filter_gradients(
    program: Program, inner: Mapping[str, int], names: Builder
) -> tuple[Program, dict[str, Stored]]:
    """How sums over places that leave a filter are stored: with channels innermost, as the sums are made. Where others
    depend on such a tensor as it is, it becomes a copy of one that is the program's own affair."""
    free = movable(program)
    found: dict[str, Stored] = {}
    statements: list[Statement] = []
    for statement in program.statements:
        stored = _filter_gradient(statement, inner) if isinstance(statement, Definition) else None
        if stored is None:
            statements.append(statement)
            continue
        tensor = statement.tensor
        if tensor.name in free:
            found[tensor.name] = stored
            statements.append(statement)
            continue
        own = replace(tensor, name=names.fresh(f"{tensor.name}_sums"))
        names.tensors[own.name] = own
        found[own.name] = stored
        copy = Term(copied(tensor.operand), (own.name,), statement.provenance)
        statements += [replace(statement, tensor=own), replace(statement, terms=(copy,))]
    return (program.with_(statements=tuple(statements)) if found else program), found


def _filter_gradient(definition: Definition, inner: Mapping[str, int]) -> Stored | None:
    """How the result of a sum of products is best stored: the axis innermost along which most is read side by side; None for
    other sums, and for those where this is so already."""
    (term, *more) = definition.terms
    form = term.form
    shape = form.shape
    if more or definition.tensor.name in inner or definition.gradient is not None:
        return None
    if form.op != "sum" or not form.is_projection or not all(isinstance(s, int) for s in shape):
        return None
    if not classify(form).is_contraction or not form.reduced or classify(form).form is not form:
        return None
    reads = [n for n in nodes(form.body) if type(n) is Read and term.operands[n.slot] in inner]
    windowed = {w.slot for w in classify(form).windows}
    written = {alone_index(w): axis for axis, w in enumerate(form.write)}
    across = {}
    for read in reads:
        axis = written.get(alone_index(read.place[inner[term.operands[read.slot]]]))
        if axis is not None:
            across.setdefault(axis, read.slot in windowed)
    last = max((axis for axis in across if _use(shape[axis]) > 0.5), default=None)
    if last is None or all(s == 1 for s in shape[last + 1 :]):
        return None
    lane = max(across, key=lambda axis: (_use(shape[axis]), not across[axis], -axis))
    rest = sorted((k for k in range(len(shape)) if k != lane), key=lambda k: k in across)
    panel = PANEL if shape[lane] > PANEL and shape[lane] % PANEL == 0 else None
    stored = Stored((*rest, lane), panel)
    return None if stored.is_plain else stored


# ------------------------------------------------------------------------------------------------ forms in another order


def _ordered(name: str, term: Term, orders: Mapping[str, Stored], packer: _Packer) -> Term:
    """The term over tensors in their new orders."""
    reads: list[Stored | None] = []
    operands = list(term.operands)
    for slot, operand in enumerate(term.operands):
        packed = packer.packed(name, term, slot)
        if packed is None and operand in orders:
            reads.append(orders[operand])
            continue
        reads.append(None if packed is None else packed[0])
        if packed is not None:
            operands[slot] = packed[1]
    if name not in orders and not any(reads):
        return term
    return replace(term, form=stored_form(term.form, orders.get(name), tuple(reads)), operands=tuple(operands))


# ------------------------------------------------------------------------------------------------ filters


class _Packer:
    """Makes copies of filters in which the channels of the result are innermost."""

    def __init__(self, names: Builder, inner: Mapping[str, int], orders: Mapping[str, Stored], steady):
        self.names = names
        self.inner = inner
        self.orders = orders
        self.steady = steady
        self._copies: dict[tuple, str] = {}
        self._made: list[Definition] = []

    def taken(self) -> list[Definition]:
        """The definitions of copies made since this was last asked."""
        made, self._made = self._made, []
        return made

    def packed(self, name: str, term: Term, slot: int) -> tuple[Stored, str] | None:
        """How a term reads a packed copy of what is in a slot, and its name; None where it reads the tensor as it is."""
        form, operand = term.form, term.operands[slot]
        if name not in self.inner:
            return self._own_panels(term, slot) or self._matrix(term, slot)
        across = alone_index(form.write[self.inner[name]])
        if (
            operand in self.orders
            or across is None
            or len(form.operands[slot].shape) < 2
            or not form.reduced
            or form.op != "sum"
        ):
            return None
        along = self._along(term, slot)
        read = packing_of(form, slot, across, along)
        if read is None:
            return None
        return read, self._copy_once(operand, read, term)

    def _copy_once(self, operand: str, read: Stored, term: Term) -> str:
        """The copy of an operand as it is read, made for the first who reads it so."""
        key = operand, read
        if key not in self._copies:
            self._copies[key] = self._copy(operand, read, term)
        return self._copies[key]

    def _matrix(self, term: Term, slot: int) -> tuple[Stored, str] | None:
        """How a product reads a matrix whose rows it sums along: turned, so that vectors are of results and nothing is left
        to sum at their ends. Not worth it for a matrix that changes and is used a few times only. And one that it goes down
        column by column, in panels, so that what it goes through lies together."""
        form, operand = term.form, term.operands[slot]
        if not form.reduced or form.op != "sum" or not form.is_projection or operand in self.orders:
            return None
        read = turned(form, slot, operand in self.steady) or in_panels(form, slot)
        if read is None:
            return None
        return read, self._copy_once(operand, read, term)

    def _own_panels(self, term: Term, slot: int) -> tuple[Stored, str] | None:
        """How a sum over places (the gradient of a filter) reads its operands in panels: else the elements that it goes
        through are far apart, and fall into few sets of the cache."""
        form, operand = term.form, term.operands[slot]
        inner = self.inner.get(operand)
        if inner is None or form.op != "sum" or classify(form).kind != "windowed contraction":
            return None
        channels = form.operands[slot].shape[inner]
        read = replace(moved_last(inner, len(form.operands[slot].shape)), panel=PANEL)
        found = [n for n in nodes(form.body) if type(n) is Read and n.slot == slot]
        alone = len(found) == 1 and alone_index(found[0].place[inner]) in form.written
        if not alone or not isinstance(channels, int) or channels < FAR_APART or channels % PANEL:
            return None
        return read, self._copy_once(operand, read, term)

    def _along(self, term: Term, slot: int) -> frozenset[int]:
        """The summed indices that are innermost in the other operands."""
        found = set()
        for node in nodes(term.form.body):
            if type(node) is Read and node.slot != slot and term.operands[node.slot] in self.inner:
                found |= node.place[self.inner[term.operands[node.slot]]].indices
        return frozenset(found)

    def _copy(self, operand: str, read: Stored, term: Term) -> str:
        of = self.names.tensors[operand]
        made = Tensor(self.names.fresh(f"{operand}_packed"), read.shape(of.shape), of.kind)
        self.names.tensors[made.name] = made
        form = stored_copy(of.operand, read)
        if operand in self.orders:
            form = stored_form(form, None, (self.orders[operand],))
        definition = Definition(made, (Term(form, (operand,), term.provenance),))
        self._made.append(definition)
        return made.name


@cache
def turned(form: Form, slot: int, is_steady: bool) -> Stored | None:
    """The order of a matrix for a product that runs along its rows; None for what is no such product."""
    found = [n for n in nodes(form.body) if type(n) is Read]
    if len(found) != 2 or len(form.reduced) != 1 or not all(n.otherwise is None for n in found):
        return None
    along, shape = form.reduced[0], form.operands[slot].shape
    across = _last_indices(form.write, form.shape, 1)
    (read,) = [n for n in found if n.slot == slot] if sum(n.slot == slot for n in found) == 1 else (None,)
    if read is None or across in ([], [None]) or not all(isinstance(s, int) for s in shape):
        return None
    if any(_last_indices(n.place, form.operands[n.slot].shape, 1) != [along] for n in found):
        return None
    if _last_indices(read.place, shape, 2) != [*across, along] or form.domain[across[0]] < LANES:
        return None
    row, column = [k for k, s in enumerate(shape) if s != 1][-2:]
    if (shape[row], shape[column]) != (form.domain[across[0]], form.domain[along]):
        return None
    uses = product(usual(form.domain[k]) for k in range(len(form.domain)) if k not in read.indices)
    if uses < (2 if is_steady else WORTH_TURNING) or product(shape) < SMALL_MATRIX:
        return None
    order = (*(k for k in range(len(shape)) if k not in (row, column)), column, row)
    return Stored(order, PANEL if shape[row] > PANEL else None)


@cache
def in_panels(form: Form, slot: int) -> Stored | None:
    """The order of a matrix for a product that goes down its long rows, from one to the next: else the elements of a panel
    fall into few sets of the cache. None for what is no such product, or reads each element too seldom."""
    found = [n for n in nodes(form.body) if type(n) is Read]
    if len(found) != 2 or len(form.reduced) != 1 or not all(n.otherwise is None for n in found):
        return None
    along, shape = form.reduced[0], form.operands[slot].shape
    across = _last_indices(form.write, form.shape, 1)
    (read,) = [n for n in found if n.slot == slot] if sum(n.slot == slot for n in found) == 1 else (None,)
    if read is None or len(shape) != 2 or across in ([], [None]) or not all(isinstance(s, int) for s in shape):
        return None
    if [alone_index(p) for p in read.place] != [along, *across] or form.domain[across[0]] != shape[1]:
        return None
    uses = product(usual(form.domain[k]) for k in range(len(form.domain)) if k not in read.indices)
    if shape[1] < FAR_ROWS or shape[1] % PANEL or form.domain[along] != shape[0] or uses < WORTH_PANELS:
        return None
    return Stored((0, 1), PANEL)


def _last_indices(places: tuple[Affine, ...], shape, count: int) -> list[int | None]:
    """The indices that are alone on the last axes, those of extent 1 left out."""
    return [alone_index(p) for p, s in zip(places, shape) if s != 1][-count:]


@cache
def packing_of(form: Form, slot: int, across: int, along: frozenset[int]) -> Stored | None:
    """The order in which a filter should be for a form whose vectors run along an index of the result; None where it is
    good as it is, or no filter: it is read once, by that index alone on one axis, and used often."""
    reads = [n for n in nodes(form.body) if type(n) is Read and n.slot == slot]
    shape = form.operands[slot].shape
    if len(reads) != 1 or reads[0].otherwise is not None or not all(isinstance(s, int) for s in shape):
        return None
    (read,) = reads
    at = [k for k, p in enumerate(read.place) if across in p.indices]
    if len(at) != 1 or alone_index(read.place[at[0]]) != across or form.domain[across] != shape[at[0]]:
        return None
    own = frozenset().union(*(p.indices for p in read.place))
    if product(usual(form.domain[k]) for k in range(len(form.domain)) if k not in own) < WORTH_PACKING:
        return None
    rest = [k for k in range(len(shape)) if k != at[0]]
    order = (*sorted(rest, key=lambda k: bool(read.place[k].indices & along)), at[0])
    panel = PANEL if shape[at[0]] > PANEL else None
    read = Stored(order, panel)
    return None if read.is_plain else read
