"""The canonical form: forms that are equal up to renaming and simple algebra are one object.

In this order: extents of 1 vanish; guards are proved by intervals; `//` and `%` of summed indices vanish by splitting
them into digits; `where(c, a, 0)` stands outside of products, and a bound on a summed index in `c` becomes the index's
extent; sums and products are sorted; a summed index that does not occur becomes a factor; indices and slots are
renumbered by their structure. Only `sum` may reorder its reduced indices: for the others the first extreme in row-major
order counts.

An output axis always is written by an index of its own where that can be, also one of extent 1: so a map is a
projection.
"""

from __future__ import annotations

from functools import cache

from diffgraph.ir.affine import affine, index
from diffgraph.ir.colours import Vertex, order
from diffgraph.ir.digits import split_axes
from diffgraph.ir.dimension import Size, is_nonnegative
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.factors import conditions_and_factors
from diffgraph.ir.form import Form, alone_index
from diffgraph.ir.program import Term
from diffgraph.ir.settle import settle, settled
from diffgraph.ir.simplify import is_zero, mul, powi, truth


@cache
def canonical(form: Form) -> tuple[Form, tuple[int, ...]]:
    """The canonical form and, for each of its slots, the slot of `form` that it reads.

    A body that is 0 everywhere is the constant 0: then a term of this form vanishes.
    """
    reduced = simplified(form)
    if is_zero(reduced.body) and reduced.op == "sum":
        return _nothing(reduced), ()
    return _numbered(reduced)


@cache
def simplified(form: Form) -> Form:
    """The canonical form but for the numbering: slots are those of `form`."""
    steps = (_without_units, settled, _tightened, _split, _without_unused, _without_reduction)
    while True:
        before = form
        for step in steps:
            form = step(form)
        if form is before:
            return form


def canonical_term(term: Term) -> Term:
    """The term with its canonical form. A tensor read through several slots has one, and tensors in slots that may be
    exchanged are in the order of their names."""
    first: dict[str, int] = {}
    shared = tuple(first.setdefault(name, slot) for slot, name in enumerate(term.operands))
    form, kept = canonical(_with_shared_slots(term.form, shared) if len(first) < len(shared) else term.form)
    operands = [term.operands[slot] for slot in kept]
    for group in interchangeable(form):
        for slot, name in zip(group, sorted(operands[slot] for slot in group)):
            operands[slot] = name
    return Term(form, tuple(operands), term.provenance)


@cache
def interchangeable(form: Form) -> tuple[tuple[int, ...], ...]:
    """Groups of slots of a canonical form such that exchanging two of a group changes nothing (`a + b`)."""
    groups: list[list[int]] = []
    known = _surroundings(form)
    for slot in range(len(form.operands)):
        for group in groups:
            if known[group[0]] == known[slot] and _is_symmetric(form, group[0], slot):
                group.append(slot)
                break
        else:
            groups.append([slot])
    return tuple(tuple(g) for g in groups if len(g) > 1)


def _surroundings(form: Form) -> list[tuple]:
    """For each slot what exchanging it with another one keeps: its operand, and in what its reads stand. The order of
    arguments is left out, for that depends on the slots where the function has none."""
    around: list[set] = [set() for _ in form.operands]
    seen: set[Expr] = set()
    left: list[Expr] = [form.body, *form.write]
    while left:
        e = left.pop()
        if e in seen:
            continue
        seen.add(e)
        left.extend(e.children)
        own = (type(e), e.function, len(e.args)) if type(e) is Call else (type(e),)
        for child in e.children:
            if type(child) is Read:
                around[child.slot].add((own, len(child.place)))
    if type(form.body) is Read:
        around[form.body.slot].add(("body",))
    return [(operand, frozenset(found)) for operand, found in zip(form.operands, around)]


def _is_symmetric(form: Form, a: int, b: int) -> bool:
    exchanged = {k: k for k in range(len(form.operands))} | {a: b, b: a}
    return settle(form, {}, exchanged) is form


@cache
def _with_shared_slots(form: Form, shared: tuple[int, ...]) -> Form:
    """The form reading through slot shared[k] instead of k."""
    return settle(form, {}, dict(enumerate(shared)))


def _nothing(form: Form) -> Form:
    """The form of a term that is 0 everywhere."""
    write = tuple(index(k) for k in range(len(form.shape)))
    return Form(form.shape, "sum", write, form.shape, (), form.body)


# ------------------------------------------------------------------------------------------------ indices come and go


def _with_indices(form: Form, indices: dict[int, Expr], domain: tuple[Size, ...]) -> Form:
    """The form over another domain, with indices replaced."""
    return settle(Form(domain, form.op, form.write, form.shape, form.operands, form.body), indices)


def _without(form: Form, dropped: set[int], values: dict[int, Expr]) -> Form:
    """The form without some indices, which have constant values."""
    left = [k for k in range(len(form.domain)) if k not in dropped]
    indices: dict[int, Expr] = {k: Index(new) for new, k in enumerate(left) if k != new}
    return _with_indices(form, indices | values, tuple(form.domain[k] for k in left))


def _without_units(form: Form) -> Form:
    """Indices of extent 1 are 0; each output axis of extent 1 that is written at 0 gets one of its own that stands
    nowhere else."""
    own = {alone_index(w) for w, s in zip(form.write, form.shape) if s == 1}
    body_indices = form.body.indices
    units = {k for k, e in enumerate(form.domain) if e == 1 and not (k in own and k not in body_indices)}
    if units:
        form = _without(form, units, {k: Const(0) for k in units})
    write, domain = list(form.write), list(form.domain)
    zero = affine()
    for axis, (place, extent) in enumerate(zip(form.write, form.shape)):
        if extent == 1 and place is zero:
            write[axis] = index(len(domain))
            domain.append(1)
    return Form(tuple(domain), form.op, tuple(write), form.shape, form.operands, form.body)


def _tightened(form: Form) -> Form:
    """A guard that bounds one summed index bounds its extent instead: sum[i < 9](a[i] if i < 4 else 0)."""
    if form.op != "sum":
        return form
    conditions, _ = conditions_and_factors(form.body)
    for c in conditions:
        match c:
            case Call("lt" | "ge" as function, (Index(axis), bound)) if axis in form.reduced:
                size = _as_size(bound)
                extent = form.domain[axis]
                if size is None or not is_nonnegative(size) or not is_nonnegative(extent - size):
                    continue
                start, rest = (0, size) if function == "lt" else (size, extent - size)
                domain = (*form.domain[:axis], rest, *form.domain[axis + 1 :])
                moved = affine(0, ((Index(axis), 1), (Extent(start), 1)))
                return _tightened(settled(_with_indices(form, {axis: moved} if start != 0 else {}, domain)))
    return form


def _as_size(expr: Expr) -> Size | None:
    """A value that is known when the program starts, as a size."""
    match expr:
        case Const(int() as value):
            return int(value)
        case Extent(size):
            return size
        case Affine(constant, terms) if all(type(a) is Extent for a, _ in terms):
            return sum((a.size * c for a, c in terms), constant)
    return None


def _split(form: Form) -> Form:
    """Digits of indices, but not of those that alone write an axis: so a map stays a map."""
    alone = {alone_index(w) for w in form.write} if form.op == "sum" else form.written
    return split_axes(form, [k for k in range(len(form.domain)) if k not in alone])


def _without_unused(form: Form) -> Form:
    """A reduced index that does not occur becomes a factor, a power, or nothing."""
    unused = [k for k in form.reduced if k not in form.body.indices]
    if not unused or form.op in ("argmax", "argmin"):
        return form
    kinds = tuple(o.kind for o in form.operands)
    body = form.body
    for k in unused:
        extent = form.domain[k]
        if not is_nonnegative(extent - 1) and form.op != "sum":
            return form
        count = Const(extent) if isinstance(extent, int) else Extent(extent)
        if form.op == "sum":
            body = mul(count, body, kinds=kinds)
        elif form.op == "prod":
            body = powi(body, count, kinds)
    return _without(Form(form.domain, form.op, form.write, form.shape, form.operands, body), set(unused), {})


def _without_reduction(form: Form) -> Form:
    """Reducing nothing is no reduction."""
    if form.op == "sum" or form.reduced or not form.is_projection:
        return form
    kinds = tuple(o.kind for o in form.operands)
    body = form.body
    if form.op in ("argmax", "argmin"):
        body = Const(0)
    elif form.op in ("any", "all"):
        body = truth(body, kinds)
    return Form(form.domain, "sum", form.write, form.shape, form.operands, body)


# ------------------------------------------------------------------------------------------------ numbering


def _numbered(form: Form) -> tuple[Form, tuple[int, ...]]:
    """The form with indices and slots numbered by structure: written ones first, then in order of their occurrence."""
    first: dict[Vertex, object] = {("index", k): str(e) for k, e in enumerate(form.domain)}
    for axis, place in reversed(list(enumerate(form.write))):
        if (k := alone_index(place)) is not None:
            first[("index", k)] = ("writes", axis)
    first.update({("index", k): ("reduces", n) for n, k in enumerate(form.reduced) if form.op != "sum"})
    used = form.body.slots.union(*(w.slots for w in form.write))
    first.update({("slot", s): form.operands[s] for s in used})
    vertices = order(form, first, lambda found: _renumbered(form, found))
    canonically = _renumbered(form, vertices)
    slots = [k for kind, k in vertices if kind == "slot"]
    axis_order, slot_order = _reading_order(canonically)
    final = _renumbered(canonically, [("index", k) for k in axis_order] + [("slot", s) for s in slot_order])
    return final, tuple(slots[s] for s in slot_order)


def _renumbered(form: Form, vertices: list[Vertex]) -> Form:
    """The form with its indices and slots (those that are listed) numbered in the order of the list; but indices whose
    order has a meaning after those written, and in that order. The form is settled, so that its own numbers give it
    back."""
    axes = [k for kind, k in vertices if kind == "index"]
    if form.op != "sum":
        axes = [*(k for k in axes if k in form.written), *form.reduced]
    slots = [k for kind, k in vertices if kind == "slot"]
    if axes == list(range(len(form.domain))) and slots == list(range(len(form.operands))):
        return form
    domain = tuple(form.domain[k] for k in axes)
    operands = tuple(form.operands[s] for s in slots)
    moved = Form(domain, form.op, form.write, form.shape, operands, form.body)
    indices: dict[int, Expr] = {k: Index(new) for new, k in enumerate(axes)}
    return settle(moved, indices, {s: new for new, s in enumerate(slots)})


def _reading_order(form: Form) -> tuple[list[int], list[int]]:
    """An order of the indices and of the slots of a form, made from its structure as it is numbered, that reads well.

    Indices: as they occur in the places written, the larger strides first; then as they occur in the reads, slot by
    slot. Slots: as the indices written occur in them, so that x comes before w in y[n, u] = sum[d](x[n, d] * w[u, d]).
    """
    written = (t for w in form.write for t in sorted(w.terms, key=lambda t: (-abs(t[1]), t[0].digest)))
    axes = list(dict.fromkeys(k for atom, _ in written for k in sorted(atom.indices)))
    place = {k: n for n, k in enumerate(axes)}
    reads: dict[int, list[Read]] = {s: [] for s in range(len(form.operands))}
    for read in _reads(form):
        reads[read.slot].append(read)

    def occurrence(slot: int) -> tuple:
        found = sorted(place[k] for r in reads[slot] for k in r.indices if k in place)
        return not found, found, slot

    slots = sorted(reads, key=occurrence)
    if form.op != "sum":
        return [*axes, *(k for k in form.reduced)], slots
    occurring = [k for s in slots for r in sorted(reads[s], key=lambda r: r.digest) for p in r.place for k in _axes(p)]
    return list(dict.fromkeys([*axes, *occurring, *range(len(form.domain))])), slots


def _axes(place: Affine) -> list[int]:
    return [k for a, _ in place.terms for k in sorted(a.indices)]


def _reads(form: Form) -> list[Read]:
    found: list[Read] = []
    seen: set[Expr] = set()
    left: list[Expr] = [form.body, *form.write]
    while left:
        e = left.pop()
        if e not in seen:
            seen.add(e)
            left.extend(e.children)
            if type(e) is Read:
                found.append(e)
    return found
