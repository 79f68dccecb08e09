"""How a definition is written in `.net`: `y[n, u] = sum[d](weight[u, d] * x[n, d]) + bias[u]`.

Every form can be written. Where a place that is not an index of its own is written, an output index occurs only in an
equality with that place: `d_x[n, h < 9] = sum[i, p](w[p] * d_y[n, i] if h == 2 * i + p else 0)`; it is read back as the
same write. The extent of an index is stated where it does not follow from what is read. A single number is written
`loss[] = ...`: so it is a tensor of that name, also where its value is known when compiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffgraph.ir import scalar
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index
from diffgraph.ir.form import OPS, Form, alone_index
from diffgraph.ir.formula import Formula, Text, size_text
from diffgraph.ir.letters import Letters, reads_of, wish, wishes_of_reads
from diffgraph.ir.scalar import COMPARISON, OR, SUM, TERNARY
from diffgraph.ir.simplify import is_zero

#: A definition of more characters is broken before each further term, and inside of long reductions.
WIDTH = 110


@dataclass(frozen=True)
class NamedTerm:
    """A term to be written: its form, the name of the tensor in each slot, and whether that is a weight."""

    form: Form
    operands: tuple[str, ...]
    weights: tuple[bool, ...]


@dataclass(frozen=True)
class Sight:
    """An index standing alone in a read: the extent of that axis, and whether the read is guarded."""

    extent: Size
    guarded: bool


def definition_text(name: str, kind: str, is_weight: bool, terms: Sequence[NamedTerm], letters: Letters) -> list[str]:
    """The lines of a definition of a tensor. `is_weight`: it is shaped like a parameter, being a gradient of one."""
    shape = terms[0].form.shape
    outputs = _output_letters(shape, is_weight, terms, letters)
    sights: dict[str, list[Sight]] = {}
    pieces = [_term(term, kind, outputs, letters.fork(), sights, len(terms) > 1) for term in terms]
    target = ", ".join(_bounded(letter, extent, sights) for letter, extent in zip(outputs, shape))
    return _lines(f"{name}[{target}]", pieces)


def elementwise_text(terms: Sequence[NamedTerm]) -> str | None:
    """The definition without indices, `where(x > 0, x, 0)`, if it takes each element of tensors of its own shape to one
    of its own; else None."""
    form = terms[0].form
    if len(terms) > 1 or not form.is_pointwise:
        return None
    reads = reads_of(form)
    same = all(not r.place or r.place == form.write and form.operands[r.slot].shape == form.shape for r in reads)
    if not reads or not same or any(r.otherwise is not None for r in reads) or _has_index(form.body):
        return None
    return Formula(terms[0].operands, [o.kind for o in form.operands], None).write(form.body).text


def _has_index(expr: Expr) -> bool:
    """Whether an index stands in an expression beside those in what it reads."""
    if isinstance(expr, (Index, Affine)):
        return bool(expr.indices)
    return isinstance(expr, Call) and any(_has_index(a) for a in expr.args)


def _lines(target: str, pieces: list[Text]) -> list[str]:
    joined = [pieces[0].text if len(pieces) == 1 else f"{pieces[0]:{SUM}}"]
    for piece in pieces[1:]:
        negative = piece.text.startswith("-") and piece.level >= SUM
        joined.append(f"- {piece.text[1:]}" if negative else f"+ {piece:{SUM}}")
    whole = f"{target} = {' '.join(joined)}"
    if len(whole) <= WIDTH:
        return [whole]
    first, *others = (_broken(term, len(target) + 3 if k == 0 else 4) for k, term in enumerate(joined))
    return [f"{target} = {first[0]}", *first[1:], *(f"    {line}" for lines in others for line in lines)]


def _broken(term: str, start: int) -> list[str]:
    """A reduction that is too long, its body on a line of its own."""
    head, opened, body = term.partition("](")
    if start + len(term) <= WIDTH or not opened or not head.lstrip("+- ").split("[")[0] in OPS or term[-1] != ")":
        return [term]
    return [f"{head}](", f"    {body[:-1]}", ")"]


def _bounded(letter: str, extent: Size, sights: dict[str, list[Sight]]) -> str:
    """The index, with its extent where that does not follow from the axes it stands alone in."""
    seen = sights.get(letter, [])
    telling = [s for s in seen if not s.guarded] or seen
    if telling and all(s.extent == extent for s in telling):
        return letter
    return f"{letter} < {size_text(extent):{SUM}}"


# ------------------------------------------------------------------------------------------------ indices


def _own_indices(form: Form) -> list[int | None]:
    """For each axis written the index of the domain that runs over it and nothing else, or None."""
    own: list[int | None] = []
    for place, extent in zip(form.write, form.shape):
        k = alone_index(place)
        own.append(k if k is not None and k not in own and form.domain[k] == extent else None)
    return own


def _output_letters(shape, is_weight: bool, terms: Sequence[NamedTerm], letters: Letters) -> list[str]:
    found = []
    for axis, extent in enumerate(shape):
        wishes = [wish(len(shape), axis, True)] if is_weight else []
        for term in terms:
            k = _own_indices(term.form)[axis]
            wishes += wishes_of_reads(term.form, term.weights).get(k, [])
        wishes.append(wish(len(shape), axis, False))
        found.append(letters.choose(filter(None, wishes), extent))
    return found


def _index_letters(term: NamedTerm, outputs: Sequence[str], letters: Letters) -> dict[int, str]:
    """The name of each index of the domain: that of the output axis it runs over, or one of its own."""
    names = {k: output for k, output in zip(_own_indices(term.form), outputs) if k is not None}
    wishes = wishes_of_reads(term.form, term.weights)
    for k, extent in enumerate(term.form.domain):
        if k not in names:
            names[k] = letters.choose(wishes.get(k, ()), extent)
    return names


# ------------------------------------------------------------------------------------------------ terms


def _term(term: NamedTerm, kind: str, outputs: Sequence[str], letters: Letters, sights, one_of_many: bool) -> Text:
    """One term; adds to `sights` where output indices stand alone."""
    form = term.form
    own = _own_indices(form)
    names = _index_letters(term, outputs, letters)
    inside: dict[str, list[Sight]] = {}
    for read in reads_of(form):
        for place, extent in zip(read.place, form.operands[read.slot].shape):
            k = alone_index(place)
            if k is not None:
                inside.setdefault(names[k], []).append(Sight(extent, read.otherwise is not None))
    for letter in outputs:
        sights.setdefault(letter, []).extend(inside.get(letter, []))
    formula = Formula(term.operands, [o.kind for o in form.operands], names)
    places = [(outputs[axis], place) for axis, place in enumerate(form.write) if own[axis] is None]
    body = _body(form, kind, formula, places)
    bound = [k for k in range(len(form.domain)) if k not in own]
    if not bound and places and one_of_many:
        # Addends without a reduction are read as one term; this one writes elsewhere.
        return Text(f"sum[{letters.choose((), 1)} < 1]({body.text})")
    if not bound:
        return body
    indices = ", ".join(_bounded(names[k], form.domain[k], inside) for k in bound)
    return Text(f"{form.op}[{indices}]({body.text})")


def _body(form: Form, kind: str, formula: Formula, places: Sequence[tuple[str, Affine]]) -> Text:
    """The body, under the condition that each output index without an index of its own is at its place."""
    value = _in_kind(form.body, kind, form)
    conditions = [Text(f"{letter} == {formula.write(place):{SUM}}", COMPARISON) for letter, place in places]
    if conditions and isinstance(value, Call) and value.function == "where" and is_zero(value.args[2]):
        guard, value, _ = value.args
        conditions += [formula.write(c) for c in (guard.args if _is_and(guard) else (guard,))]
    text = formula.write(value)
    if not conditions:
        return text
    condition = " and ".join(f"{c:{COMPARISON}}" for c in conditions)
    return Text(f"{text:{OR}} if {condition} else 0", TERNARY)


def _is_and(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.function == "and"


def _in_kind(body: Expr, kind: str, form: Form) -> Expr:
    """The body in the kind of the tensor, where it has another."""
    of = scalar.kind_of(body, [o.kind for o in form.operands])
    if of == kind or form.op in ("argmax", "argmin", "any", "all") or (of, kind) == ("bool", "int") and form.reduced:
        return body
    if isinstance(body, Const):
        return Const({"float": float, "int": int, "bool": bool}[kind](body.value))
    return Call(kind, (body,)) if kind != "bool" else Call("ne", (body, Const(0)))


