"""How far each index of a definition runs, and whether every read stays inside.

The extent of an index is the first of these that applies: (1) a stated bound; (2) the axes where it stands alone in
unguarded reads, which must agree; (3) the same in guarded reads; (4) the largest extent that keeps inside all unguarded
affine reads it occurs in, once their other indices are known, repeated until nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from diffgraph.diagnostics import DiffgraphError, Note, Span, error
from diffgraph.ir.affine import affine, as_affine
from diffgraph.ir.dimension import Dimension, Size, product
from diffgraph.ir.expression import Affine, Call, Const, Expr, Extent, Index, Read
from diffgraph.ir.form import Operand, alone_index
from diffgraph.ir.places import exact_range
from diffgraph.ir.program import Tensor
from diffgraph.language import sizes


def solve(notation) -> dict[int, Size]:
    """The extent of every index that a `Notation` bound. Every unguarded read is checked over the whole box."""
    solver = _Solver(notation)
    solver.stated()
    solver.alone(guarded=False)
    solver.alone(guarded=True)
    while solver.largest():
        pass
    solver.refuse_open()
    for use in solver.uses:
        if not use.read.guarded:
            solver.check(use)
    return solver.extents


@dataclass(frozen=True)
class _Use:
    """One axis of one read."""

    read: object
    axis: int

    @property
    def place(self) -> Affine:
        return self.read.place[self.axis]

    @property
    def size(self) -> Size:
        return self.read.tensor.shape[self.axis]

    @property
    def text(self) -> str:
        return one_line(self.read.span, f"`{self.read.tensor.name}`")


class _Solver:
    """The extents found so far, and the reads they are found from."""

    def __init__(self, notation):
        self.notation = notation
        self.own = range(notation.first_index, len(notation.indices))
        reads = notation.reads[notation.first_read :]
        self.uses = [_Use(read, axis) for read in reads for axis in range(len(read.place))]
        self.extents: dict[int, Size] = {}

    # ------------------------------------------------------------ the four rules

    def stated(self) -> None:
        """Rule 1."""
        for k in self.own:
            if self.notation.indices[k].bound is not None:
                self.extents[k] = self.notation.indices[k].bound

    def alone(self, guarded: bool) -> None:
        """Rules 2 and 3."""
        first: dict[int, _Use] = {}
        for use in self.uses:
            k = alone_index(use.place)
            if k is None or use.read.guarded is not guarded:
                continue
            if k in first:
                self._agree(k, first[k], use)
            elif k not in self.extents:
                first[k] = use
                self.extents[k] = use.size

    def _agree(self, k: int, first: _Use, use: _Use) -> None:
        name = self.notation.indices[k].name
        least = sizes.smaller(first.size, use.size)

        def problem() -> DiffgraphError:
            return error(
                "DG421",
                f"`{name}` runs over {first.size} in {first.text} and over {use.size} in {use.text}",
                use.read.span,
                Note(f"the other read, axis {first.axis} of {_described(first.read)}", first.read.span),
                *_origins(first.read, use.read),
                help="use two indices, or say what is read outside"
                + ("" if least is None else f", or state a bound: `{name} < {least}`"),
            )

        self.notation.session.require_equal(first.size, use.size, problem, use.read.span)

    def largest(self) -> bool:
        """Rule 4 for one index; False when there is nothing left to find."""
        for k in self.own:
            if k in self.extents:
                continue
            uses = [u for u in self.uses if not u.read.guarded and k in u.place.indices]
            limits = [self.limit(u.place, k, u.size) for u in uses]
            if limits and None not in limits:
                self.extents[k] = self._least(k, limits, uses)
                return True
        return False

    def _least(self, k: int, limits: list[Size], uses: list[_Use]) -> Size:
        best = limits[0]
        for limit in limits[1:]:
            best = sizes.smaller(best, limit)
            if best is None:
                raise error(
                    "DG420",
                    f"how far `{self.notation.indices[k].name}` runs depends on symbols:"
                    f" the smallest of {', '.join(map(str, limits))}",
                    self.notation.indices[k].span,
                    help=f"state a bound: `{self.notation.indices[k].name} < {limits[0]}`",
                )
        if sizes.at_least(best, 1) is False:
            use = uses[limits.index(best)]
            raise error(
                "DG424",
                f"there is no place for `{self.notation.indices[k].name}`: {use.text} would be outside"
                f" axis {use.axis} of {_described(use.read)} wherever it stands",
                use.read.span,
                *_origins(use.read),
                help=f"say what is read outside, `({use.text} else 0)`, and state a bound",
            )
        return best

    def limit(self, place: Expr, k: int, size: Size) -> Size | None:
        """The largest extent of index k that keeps a place below a size, or from 0 up where it falls; None while that
        is open."""
        place = as_affine(place)
        own = [(a, c) for a, c in place.terms if k in a.indices]
        if len(own) != 1:
            return None
        atom, coefficient = own[0]
        others = affine(place.constant, [(a, c) for a, c in place.terms if a is not atom])
        low, high = self.range_of(others)
        if coefficient < 0:
            most = None if low is None else sizes.floor_of(low, -coefficient)
        else:
            most = None if high is None else sizes.floor_of(size - 1 - high, coefficient)
        if most is None:
            return None
        if type(atom) is Index:
            return most + 1
        if type(atom) is Call and atom.function == "floordiv" and type(atom.args[1]) is Const:
            # floor(a / q) <= most where a <= q * most + q - 1.
            divisor = atom.args[1].value
            return self.limit(atom.args[0], k, most * divisor + divisor)
        return None

    def refuse_open(self) -> None:
        """An index that no rule reached is an error that asks for a bound."""
        for k in self.own:
            if k in self.extents:
                continue
            info = self.notation.indices[k]
            uses = [u for u in self.uses if k in u.place.indices]
            if not uses:
                why = "nothing is read at it"
            elif all(u.read.guarded for u in uses):
                why = "it stands alone in no read, and what is guarded sets no limit"
            else:
                why = "it stands alone in no read, and the other indices beside it are open or have no known range"
            raise error(
                "DG420",
                f"how far `{info.name}` runs is not known: {why}",
                info.span,
                *(Note(f"`{info.name}` is used here", u.read.span) for u in uses[:1]),
                help=f"state a bound where it is bound: `{info.name} < {uses[0].size if uses else 10}`"
                + (", as far as that axis goes" if uses else ", if there are 10"),
            )

    # ------------------------------------------------------------ ranges

    def range_of(self, expression: Expr) -> tuple[Size | None, Size | None]:
        """The least and the greatest value over the indices that are known; (None, None) where one is open."""
        if not expression.indices <= self.extents.keys():
            return None, None
        domain = tuple(self.extents.get(k, 1) for k in range(len(self.notation.indices)))
        operands = tuple(self._operand(o) for o in self.notation.operands)
        return exact_range(expression, domain, operands)

    def _operand(self, operand) -> Operand:
        if isinstance(operand, Tensor):
            return operand.operand
        known = operand.op in ("argmax", "argmin") and all(k in self.extents for k in operand.bound)
        bound = product(self.extents[k] for k in operand.bound) if known else None
        return Operand(tuple(self.extents.get(k, 1) for k in operand.free), operand.kind, bound)

    def check(self, use: _Use) -> None:
        """An unguarded read is inside for every index of the box."""
        k = alone_index(use.place)
        if k is not None and self.extents.get(k) == use.size:
            return
        if any(self.extents[j] == 0 for j in use.place.indices):
            return
        low, high = self.range_of(use.place)
        if low is None or high is None:
            raise self._unknown(use)

        def problem() -> DiffgraphError:
            return error(
                "DG423",
                f"{use.text} reads {_places(low, high)} of axis {use.axis} of {_described(use.read)},"
                f" which has {_places(0, use.size - 1)}",
                use.read.span,
                *_origins(use.read),
                *self._bounds_of(use),
                help=" or ".join(self._repairs(use)) or None,
            )

        session = self.notation.session
        session.require_at_least(low, 0, problem, use.read.span)
        if isinstance(use.size, Dimension):
            session.require_at_least(use.size, high + 1, problem, use.read.span)
        elif sizes.at_least(use.size - 1, high) is not True:
            raise problem()

    def _ints_at(self, use: _Use) -> Iterator[Tensor]:
        """The tensors of ints that a place is read from."""
        for atom in _atoms(use.place):
            operand = self.notation.operands[atom.slot] if type(atom) is Read else None
            if isinstance(operand, Tensor) and operand.bound is not None:
                yield operand

    def _bounds_of(self, use: _Use) -> Iterator[Note]:
        """Where the ints come from that a place is read from, and how far they go."""
        for tensor in self._ints_at(use):
            origin = next((r.origin for r in self.notation.reads if r.tensor is tensor), None)
            if origin is not None:
                yield Note(f"`{tensor.name}` is an int < {tensor.bound}", origin)

    def _unknown(self, use: _Use) -> DiffgraphError:
        culprit = next((a for a in _atoms(use.place) if self.range_of(a)[1] is None), None)
        subject = f"`{culprit_name(culprit, self.notation)}`" if culprit is not None else "the place"
        return error(
            "DG422",
            f"{subject} has no known range, so {use.text} may be outside axis {use.axis} of {_described(use.read)}",
            use.read.span,
            *_origins(use.read),
            help=f"guard the read, `({use.text} else 0)`, or give the int a range: declare it `: int < {use.size}`,"
            f" or use clamp(..., 0, {use.size - 1}) or ... % {use.size}",
        )

    def _repairs(self, use: _Use) -> Iterator[str]:
        low, _ = self.range_of(use.place)
        named = [k for k in sorted(use.place.indices) if self.notation.indices[k].name != "..."]
        for k in named if sizes.at_least(low, 0) else ():
            kept = self.extents
            self.extents = {j: e for j, e in kept.items() if j != k}
            bound = self.limit(use.place, k, use.size)
            self.extents = kept
            if bound is not None and sizes.at_least(bound, 1) is not False:
                yield f"bound an index, `{self.notation.indices[k].name} < {bound}`,"
                break
        ports = [i.tensor for i in self.notation.session.main.inputs if i.role in ("input", "target")]
        for tensor in self._ints_at(use):
            if tensor in ports:
                yield f"declare `{tensor.name}` as `int < {use.size}`"
        if not use.read.span.source.is_library:
            yield f"say what is read outside, `({use.text} else 0)`"


def _atoms(place: Expr) -> Iterator[Expr]:
    """What a place is made of, innermost first; a cast hides what it is made of."""
    for atom, _ in as_affine(place).terms:
        if type(atom) is Call and atom.function in ("floordiv", "mod", "clamp", "max", "min"):
            yield from (a for argument in atom.args for a in _atoms(argument))
        yield atom


def culprit_name(atom: Expr, notation) -> str:
    """What an atom of a place is called, for messages."""
    if type(atom) is Read:
        operand = notation.operands[atom.slot]
        return operand.name if isinstance(operand, Tensor) else operand.op
    if type(atom) is Index:
        return notation.indices[atom.axis].name
    if type(atom) is Extent:
        return str(atom.size)
    return atom.function if type(atom) is Call else "the place"


def one_line(span: Span, otherwise: str) -> str:
    """The text of a span where it is short and on one line."""
    text = span.text
    return text if "\n" not in text and len(text) <= 60 else otherwise


def _described(read) -> str:
    return f"`{read.tensor.name}` [{', '.join(map(str, read.tensor.shape))}]"


def _origins(*reads) -> list[Note]:
    notes = {r.tensor.name: Note(f"{_described(r)} was made here", r.origin) for r in reads if r.origin is not None}
    return list(notes.values())


def _places(low: Size, high: Size) -> str:
    return f"the place {low}" if low == high else f"the places {low} to {high}"
