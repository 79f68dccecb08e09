"""The one construct: a comprehension.

    for d in domain:  out[write(d)]  op=  body(d)

Writes outside `shape` are dropped; places that are never written hold the identity of `op`. Every layer, its
derivative, and every optimized kernel is this. A `Form` is interned, nameless and has no operands of its own: a `Term`
joins it to tensors, so two layers of one shape share one form, and every analysis is memoised per form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Expr, Index, Interned, Read, digest_of

#: Reductions. All but `sum` write a projection of the domain. `sum` alone may reorder its indices.
OPS = ("sum", "max", "min", "prod", "argmax", "argmin", "any", "all")

#: Kinds of element: `float` has the precision of the program, `int` is int64, `bool` counts as 0 and 1.
KINDS = ("float", "int", "bool")


@dataclass(frozen=True)
class Operand:
    """What a form knows of a tensor it reads: shape, kind, and for ints with 0 <= value < bound that bound."""

    shape: tuple[Size, ...]
    kind: str = "float"
    bound: Size | None = None


@dataclass(frozen=True, eq=False)
class Form(metaclass=Interned):
    """A comprehension without names. Compare with `is`."""

    domain: tuple[Size, ...]
    op: str
    write: tuple[Affine, ...]
    shape: tuple[Size, ...]
    operands: tuple[Operand, ...]
    body: Expr

    @cached_property
    def digest(self) -> str:
        """A content hash, the same in every process."""
        operands = [(str(o.shape), o.kind, str(o.bound)) for o in self.operands]
        writes = [w.digest for w in self.write]
        return digest_of(str(self.domain), self.op, writes, str(self.shape), operands, self.body.digest)

    @cached_property
    def written(self) -> frozenset[int]:
        """The axes of the domain that the place written depends on."""
        return frozenset().union(*(w.indices for w in self.write))

    @cached_property
    def reduced(self) -> tuple[int, ...]:
        """The other axes, in order: those that are reduced over."""
        return tuple(k for k in range(len(self.domain)) if k not in self.written)

    @cached_property
    def is_projection(self) -> bool:
        """Each output axis is written by one index of its own that runs over all of it."""
        alone = [alone_index(w) for w in self.write]
        return None not in alone and len(set(alone)) == len(alone) and all(
            self.domain[k] == s for k, s in zip(alone, self.shape)
        )

    @property
    def is_pointwise(self) -> bool:
        """A projection that reduces nothing: one value of the body is one element of the result."""
        return self.is_projection and not self.reduced


def alone_index(place: Affine) -> int | None:
    """The axis k if the place is exactly Index(k), else None."""
    if place.constant == 0 and len(place.terms) == 1:
        atom, coefficient = place.terms[0]
        if coefficient == 1 and type(atom) is Index:
            return atom.axis
    return None


def copied(operand: Operand) -> Form:
    """The operand itself, element by element."""
    places = tuple(Affine(0, ((Index(k), 1),)) for k in range(len(operand.shape)))
    return Form(operand.shape, "sum", places, operand.shape, (operand,), Read(0, places, None))
