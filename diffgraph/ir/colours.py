"""An order of indices and slots that does not depend on how they happen to be numbered.

Two forms that differ only in the numbering of their indices and slots are the same form. Each index and slot (a vertex)
gets a colour: a digest of what is known of it. Colours are refined by where vertices occur among each other until that
tells no more apart (Weisfeiler and Leman). What is left alike is either interchangeable, then any order will do, or
told apart by trying: each of them in turn is made different, and the numbering that gives the least form wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from diffgraph.ir.affine import difference
from diffgraph.ir.expression import Affine, Call, Expr, Index, Read, digest_of
from diffgraph.ir.form import Form
from diffgraph.ir.simplify import certain_kind

Vertex = tuple[str, int]  # ("index", axis) or ("slot", number)
Colours = dict[Vertex, str]

#: Functions whose arguments have no order.
UNORDERED = frozenset(("add", "mul", "and", "or", "eq", "ne"))


def order(form: Form, first: Mapping[Vertex, object], renumbered: Callable[[list[Vertex]], Form]) -> list[Vertex]:
    """The vertices of a form (the keys of `first`) in an order that depends on its structure only.

    `first` says what is known to tell vertices apart. `renumbered(vertices)` is the form with its vertices numbered in
    that order.
    """
    return _Search(form, renumbered).best(_refined(form, {v: digest_of(str(known)) for v, known in first.items()}))


class _Search:
    def __init__(self, form: Form, renumbered: Callable[[list[Vertex]], Form]):
        self.form = form
        self.renumbered = renumbered

    def best(self, colours: Colours) -> list[Vertex]:
        """The order that gives the least form, among those that the colours leave open."""
        cell = self._open_cell(colours)
        if cell is None:
            return _sorted(colours)
        candidates = [(self.renumbered(found), found) for found in map(self.best, self._without_images(colours, cell))]
        return min(candidates, key=lambda c: c[0].digest)[1]

    def _open_cell(self, colours: Colours) -> list[Vertex] | None:
        """Vertices of one colour that are not interchangeable; the interchangeable ones get colours of their own."""
        while (cell := _first_cell(colours)) is not None:
            if not all(self._are_twins(colours, cell[0], v) for v in cell[1:]):
                return cell
            colours.update((v, digest_of(colours[v], "twin", k)) for k, v in enumerate(cell))
            colours.update(_refined(self.form, colours))
        return None

    def _are_twins(self, colours: Colours, a: Vertex, b: Vertex) -> bool:
        """Exchanging the two gives the same form."""
        vertices = _sorted(colours)
        i, j = vertices.index(a), vertices.index(b)
        exchanged = list(vertices)
        exchanged[i], exchanged[j] = b, a
        return self.renumbered(vertices) is self.renumbered(exchanged)

    def _without_images(self, colours: Colours, cell: list[Vertex]) -> list[Colours]:
        """The colours with one vertex of the cell told apart, for each that is not the image of another one under a
        symmetry of the form."""
        found: list[Colours] = []
        leaves: set[Form] = set()
        for vertex in cell:
            marked = _marked(self.form, colours, vertex)
            leaf = self._any_leaf(marked)
            if leaf not in leaves:
                leaves.add(leaf)
                found.append(marked)
        return found

    def _any_leaf(self, colours: Colours) -> Form:
        colours = dict(colours)
        while (cell := self._open_cell(colours)) is not None:
            colours = _marked(self.form, colours, cell[0])
        return self.renumbered(_sorted(colours))


def _sorted(colours: Colours) -> list[Vertex]:
    return sorted(colours, key=lambda v: (colours[v], v))


def _first_cell(colours: Colours) -> list[Vertex] | None:
    """The vertices of the first colour that several have."""
    cells: dict[str, list[Vertex]] = {}
    for v in colours:
        cells.setdefault(colours[v], []).append(v)
    shared = [c for c, cell in cells.items() if len(cell) > 1]
    return cells[min(shared)] if shared else None


def _marked(form: Form, colours: Colours, vertex: Vertex) -> Colours:
    return _refined(form, {**colours, vertex: digest_of(colours[vertex], "marked")})


def _refined(form: Form, colours: Colours) -> Colours:
    """Colours told apart as far as occurrences tell them apart."""
    count = len(set(colours.values()))
    while count < len(colours):
        colours = _round(form, colours)
        before, count = count, len(set(colours.values()))
        if count == before:
            break
    return colours


def _round(form: Form, colours: Colours) -> Colours:
    """One step: each colour joined with all places where the vertex occurs."""
    contents = _Contents(colours, tuple(o.kind for o in form.operands))
    roots = [("body", form.body), *(("write", k, w) for k, w in enumerate(form.write))]
    contexts: dict[Expr, list[str]] = {}
    for *role, root in roots:
        contexts.setdefault(root, []).append(digest_of(role))
    occurrences: dict[Vertex, list[str]] = {v: [] for v in colours}
    for e in _parents_first([root for *_, root in roots], contents):
        context = digest_of(sorted(contexts[e]))
        if type(e) is Index:
            occurrences[("index", e.axis)].append(context)
            continue
        if type(e) is Read:
            occurrences[("slot", e.slot)].append(digest_of(context, contents.of(e)))
        for role, child in contents.roles(e):
            contexts.setdefault(child, []).append(digest_of(context, contents.of(e), role))
    return {v: digest_of(colour, sorted(occurrences[v])) for v, colour in colours.items()}


class _Contents:
    """Digests of expressions in which indices and slots are known by their colours."""

    def __init__(self, colours: Colours, kinds: Sequence[str]):
        self.colours = colours
        self.kinds = kinds
        self._known: dict[Expr, str] = {}

    def of(self, e: Expr) -> str:
        found = self._known.get(e)
        if found is None:
            found = self._known[e] = self._digest(e)
        return found

    def _digest(self, e: Expr) -> str:
        match e:
            case Index(axis):
                return self.colours[("index", axis)]
            case Affine(constant, terms):
                return digest_of("affine", constant, sorted((c, self.of(a)) for a, c in terms))
            case Read(slot, place, otherwise):
                rest = None if otherwise is None else self.of(otherwise)
                return digest_of("read", self.colours[("slot", slot)], [self.of(p) for p in place], rest)
            case Call("eq" | "ne" as function, args) if self._are_ints(args):
                # a == b may stand as b == a, and a + c == b as a == b - c.
                both = difference(*args), difference(*reversed(args))
                return digest_of(function, sorted(self._digest(d) for d in both))
            case Call(function, args) if function in UNORDERED:
                return digest_of(function, sorted(self.of(a) for a in args))
            case Call(function, args):
                return digest_of(function, [self.of(a) for a in args])
        return e.digest

    def _are_ints(self, args) -> bool:
        return all(certain_kind(a, self.kinds) in ("int", "bool") for a in args)

    def roles(self, e: Expr) -> list[tuple[object, Expr]]:
        """(role, part) for each part of an expression: what it does there, as far as that has a meaning."""
        match e:
            case Affine(_, terms):
                return [(c, a) for a, c in terms]
            case Call("eq" | "ne", args) if self._are_ints(args):
                d = difference(*args)
                return [((abs(c), d.constant if c > 0 else -d.constant), a) for a, c in d.terms]
            case Call(function, args) if function in UNORDERED:
                return [("any", a) for a in args]
        return list(enumerate(e.children))


def _parents_first(roots: Sequence[Expr], contents: _Contents) -> list[Expr]:
    """Every expression below the roots, each after all expressions that it stands in."""
    done: list[Expr] = []
    seen: set[Expr] = set()

    def visit(e: Expr) -> None:
        if e in seen:
            return
        seen.add(e)
        for _, part in contents.roles(e):
            visit(part)
        done.append(e)

    for root in roots:
        visit(root)
    return done[::-1]
