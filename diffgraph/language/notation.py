"""The texts of index notation: definitions by element, reductions over indices, guarded reads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.expression import Const
from diffgraph.language import evaluate as expressions
from diffgraph.language import slicing, syntax
from diffgraph.language.arithmetic import constant_expr, only_output
from diffgraph.language.comprehension import Notation
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.slicing import guarding
from diffgraph.language.tensors import as_size
from diffgraph.language.values import Indexed, TensorValue


def open_around(scope: Scope) -> Notation | None:
    """The definition that is open around this text."""
    current: Scope | None = scope
    while current is not None:
        if "..." in current.values:
            return current.values["..."]
        current = current.parent
    return None


def beside(value: Any, scope: Scope) -> Any:
    """A value as it stands in a text: inside index notation a tensor of rank 0 is a number."""
    notation = open_around(scope)
    return only_output(value) if notation is None else notation.beside(value, notation.span)


def guarded(node: syntax.Guarded, scope: Scope, session: Session) -> Any:
    """`(read else otherwise)`"""
    notation = session.notations[-1] if session.notations else None
    if notation is None:
        if session.guards is not None:
            raise error("DG406", "a guard inside a guard", node.span)
        with guarding(session) as conditions:
            value = expressions.evaluate(node.read, scope, session)
        return slicing.guarded(value, conditions, expressions.evaluate(node.otherwise, scope, session), session, node.span)
    if notation.otherwise is not None:
        raise error("DG406", "a guard inside a guard", node.span)
    otherwise = expressions.evaluate(node.otherwise, scope, session)
    first = len(notation.reads)
    known = constant_expr(otherwise)
    notation.otherwise = Const(0) if known is None else known
    try:
        value = expressions.evaluate(node.read, scope, session)
    finally:
        notation.otherwise = None
    return notation.guarded(value, otherwise, first, node.span)


def reduction(node: syntax.Reduction, scope: Scope, session: Session) -> Any:
    """`sum[c, p](body)`: a part of the definition that is open around it, or a tensor of rank 0."""
    notation = open_around(scope)
    if notation is not None:
        return _reduce(node, scope, session, notation)
    with _open(node.op, node.span, scope, session) as (notation, inner):
        return notation.finish((), _reduce(node, inner, session, notation))


@contextmanager
def _open(hint: str, span: Span, scope: Scope, session: Session):
    """(an open definition, the scope of its text)."""
    notation = Notation(session, session.hint(hint), span)
    session.notations.append(notation)
    try:
        yield notation, Scope(scope, **{"...": notation})
    finally:
        session.notations.pop()


def _reduce(node: syntax.Reduction, scope: Scope, session: Session, notation: Notation) -> Indexed:
    inner = Scope(scope)
    guard, notation.otherwise = notation.otherwise, None
    own, rest = _bind_indices(node.indices, inner, scope, session, notation)
    with notation.ellipsis_bound(rest):
        value = expressions.evaluate(node.body, inner, session)
    notation.otherwise = guard
    if rest is not None:
        own = [*own, *notation.axes_met(rest.span)]
    return notation.part(node.op, own, value, node.span)


def _bind_indices(indices, inner: Scope, scope: Scope, session: Session, notation: Notation):
    """Binds new indices in a scope: (their numbers, the node of `...` if it is among them)."""
    numbers: list[int] = []
    rest = None
    for node in indices:
        if node.name == "...":
            if rest is not None:
                raise error("DG414", "`...` stands twice here", node.span, Note("the first one", rest.span))
            rest = node
            continue
        holder = scope.find(node.name)
        if node.name in inner.values or holder is not None and isinstance(holder.values.get(node.name), Indexed):
            raise error("DG414", f"the index `{node.name}` is bound already", node.span, help="choose another name")
        size = None
        if node.bound is not None:
            size = as_size(expressions.evaluate(node.bound, scope, session), session, node.bound.span)
        if node.name.isdigit():
            size = _fixed_place(node)
        value = notation.bind(node.name, size, node.span)
        numbers.append(value.expression.axis)
        if not node.name.isdigit():
            inner.bind(node.name, value)
    return numbers, rest


def _fixed_place(node: syntax.BoundIndex) -> int:
    """`y[n, 0] = ...` makes an axis of one place."""
    if node.name == "0":
        return 1
    raise error(
        "DG416",
        f"a definition makes all of a tensor, and `{node.name}` is one place of an axis",
        node.span,
        help="write an index, `k < n`, and choose by it: a if k == 0 else b; or join parts with concat",
    )


def define(hint: str, indices, value: syntax.Expr, span: Span, scope: Scope, session: Session) -> TensorValue:
    """`name[indices] = value`"""
    with _open(hint, span, scope, session) as (notation, inner):
        numbers, rest = _bind_indices(indices, inner, scope, session, notation)
        with notation.ellipsis_bound(rest):
            result = expressions.evaluate(value, inner, session)
        if rest is not None:
            at = list(indices).index(rest)
            numbers = [*numbers[:at], *notation.axes_met(rest.span), *numbers[at:]]
        return notation.finish(numbers, result, value.span)
