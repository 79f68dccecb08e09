"""Scalar expressions: what one element of a comprehension is made of.

    Expr = Const(value) | Extent(size) | Index(axis) | Affine(constant, ((atom, coefficient), ...))
         | Read(slot, place: (Affine, ...), otherwise) | Call(function, args)

Expressions are interned: two that are equal are the same object, so `is` compares and a memo keyed by an expression is
cheap. They are nameless: indices are positions in the domain of their form, operands are slots. Constructors do not
simplify; `ir/simplify.py` does.

Kinds. Every expression is a `float` (in the precision of the program), an `int` or a `bool`. `Const` of an int, a bool,
a float or a `Fraction` (an exact real, kept rational until it is lowered: 49 * (1/49) is 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b

from diffgraph.ir.dimension import Size


class Interned(type):
    """A metaclass: constructing an equal value twice gives the same object."""

    def __init__(cls, *args):
        super().__init__(*args)
        cls._table = {}

    def __call__(cls, *args):
        key = cls.identity(*args)
        found = cls._table.get(key)
        if found is None:
            found = cls._table[key] = super().__call__(*args)
        return found

    def identity(cls, *args):
        """What makes two values the same one."""
        return args


class _InternedConst(Interned):
    def identity(cls, value):
        # 1, 1.0, True and -0.0 are four different constants though Python finds some of them equal.
        return type(value), repr(value)


def digest_of(*parts) -> str:
    """A short content hash of a nested tuple of plain values."""
    return blake2b(repr(parts).encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, eq=False)
class Expr(metaclass=Interned):
    """A scalar expression. Compare with `is`."""

    @property
    def children(self) -> tuple[Expr, ...]:
        return ()

    @property
    def own(self):
        """What distinguishes this node beside its children, as plain values."""
        return None

    @cached_property
    def indices(self) -> frozenset[int]:
        """The axes of the domain that occur anywhere inside."""
        return frozenset().union(*(c.indices for c in self.children))

    @cached_property
    def slots(self) -> frozenset[int]:
        """The operand slots that are read anywhere inside."""
        return frozenset().union(*(c.slots for c in self.children))

    @cached_property
    def nodes(self) -> int:
        """How many nodes it has, written out as a tree."""
        return 1 + sum(c.nodes for c in self.children)

    @cached_property
    def digest(self) -> str:
        """A content hash, the same in every process."""
        return digest_of(type(self).__name__, self.own, [c.digest for c in self.children])


@dataclass(frozen=True, eq=False)
class Const(Expr, metaclass=_InternedConst):
    """A number known now: int, bool, float or Fraction."""

    value: int | bool | float | Fraction

    @property
    def own(self):
        return type(self.value).__name__, repr(self.value)


@dataclass(frozen=True, eq=False)
class Extent(Expr):
    """A symbolic size as an int value, known when the program runs."""

    size: Size

    @property
    def own(self):
        return str(self.size)


@dataclass(frozen=True, eq=False)
class Index(Expr):
    """The position along one axis of the domain, as an int."""

    axis: int

    @property
    def own(self):
        return self.axis

    @cached_property
    def indices(self) -> frozenset[int]:
        return frozenset((self.axis,))


@dataclass(frozen=True, eq=False)
class Affine(Expr):
    """constant + sum of coefficient * atom, an int.

    Atoms: `Index`; `Call("floordiv" | "mod", (Affine, Const))`; `Call("clamp", (Affine, Const low, Const high))` with
    inclusive bounds; `Extent`; and any other int-valued expression (a `Read` of an int tensor, a cast). Sorted, without
    zero coefficients and without nested `Affine`: build it with `ir.affine.affine`.
    """

    constant: int
    terms: tuple[tuple[Expr, int], ...]

    @property
    def children(self):
        return tuple(atom for atom, _ in self.terms)

    @property
    def own(self):
        return self.constant, tuple(c for _, c in self.terms)


@dataclass(frozen=True, eq=False)
class Read(Expr):
    """An element of the operand in a slot. `otherwise` (a scalar without indices) is its value outside the operand's
    shape; None says that the place is always inside."""

    slot: int
    place: tuple[Affine, ...]
    otherwise: Expr | None

    @property
    def children(self):
        return self.place if self.otherwise is None else (*self.place, self.otherwise)

    @property
    def own(self):
        return self.slot, len(self.place), self.otherwise is None

    @cached_property
    def slots(self) -> frozenset[int]:
        return frozenset((self.slot,)).union(*(c.slots for c in self.children))


@dataclass(frozen=True, eq=False)
class Call(Expr):
    """A scalar function (a row of `ir.scalar.FUNCTIONS`) applied to its arguments."""

    function: str
    args: tuple[Expr, ...]

    @property
    def children(self):
        return self.args

    @property
    def own(self):
        return self.function
