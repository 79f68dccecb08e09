"""Rewriting expressions from the bottom up, simplifying on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from diffgraph.ir.affine import affine, as_affine, divide, divided_anew
from diffgraph.ir.dimension import Size
from diffgraph.ir.expression import Affine, Call, Const, Expr, Index, Read
from diffgraph.ir.numbers import Kinds
from diffgraph.ir.simplify import call


def rewrite(
    expr: Expr,
    replace: Callable[[Expr], Expr],
    kinds: Kinds = (),
    memo: dict | None = None,
    before: Callable[[Expr], Expr] | None = None,
) -> Expr:
    """The expression with `replace` applied to every node from the leaves up, simplified on the way.

    `replace` gets a node whose children have been rewritten, and gives what takes its place (itself to keep it); inside
    a place that must be int-valued. `before` is applied to a node before its children are looked at. Equal expressions
    share a `memo`, which may serve several calls. Each index and each read is replaced once: a call that is simplified
    to one of its arguments gives an argument that has been replaced.
    """
    memo = {} if memo is None else memo

    def visit(e: Expr) -> Expr:
        found = memo.get(e)
        if found is None:
            found = rebuilt(e if before is None else before(e))
            if type(found) is type(e) or type(found) not in (Index, Read):
                found = replace(found)
            memo[e] = found
        return found

    def rebuilt(e: Expr) -> Expr:
        match e:
            case Affine(number, terms):
                return affine(number, [(visit(a), c) for a, c in terms]) if terms else e
            case Read(slot, place, otherwise):
                return Read(slot, tuple(as_affine(visit(p)) for p in place), otherwise and visit(otherwise))
            case Call(function, args):
                return call(function, *(visit(a) for a in args), kinds=kinds)
        return e

    return visit(expr)


def substitute(
    expr: Expr,
    indices: Mapping[int, Expr],
    domain: tuple[Size, ...] | None,
    slots: Mapping[int, int] | None = None,
    kinds: Kinds = (),
) -> Expr:
    """The expression with indices replaced (at once) by int-valued expressions over the new domain, and slots
    renumbered. `//` and `%` are simplified by the intervals of the new domain; `kinds` are those of the new slots."""
    renumbered = None if slots is None else tuple(slots.items())
    return _substituted(expr, tuple(indices.items()), domain, renumbered, tuple(kinds))


@lru_cache(maxsize=1 << 15)
def _substituted(expr: Expr, places: tuple, domain: tuple | None, renumbered: tuple | None, kinds: Kinds) -> Expr:
    indices = dict(places)
    slots = None if renumbered is None else dict(renumbered)

    def replace(e: Expr) -> Expr:
        match e:
            case Index(axis):
                return indices.get(axis, e)
            case Read(slot, place, otherwise) if slots is not None:
                return Read(slots.get(slot, slot), place, otherwise)
            case Call("floordiv" | "mod" as function, (Affine() as a, Const(q))) if type(q) is int and q:
                return divide(a, q, domain, function)
            case Affine():
                return divided_anew(e, domain)
        return e

    return rewrite(expr, replace, kinds)


def substitute_place(place: Affine, indices: Mapping[int, Expr], domain, slots=None) -> Affine:
    """`substitute` for a place."""
    return as_affine(substitute(place, indices, domain, slots))
