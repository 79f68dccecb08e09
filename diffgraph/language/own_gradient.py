"""Functions with a derivative of one's own: `fn f(x) = ... with gradient(dy) = ...`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffgraph.diagnostics import Note, Span, error
from diffgraph.ir.program import Definition, OwnGradient
from diffgraph.language import sizes, statements, syntax
from diffgraph.language.arithmetic import (
    apply_scalar,
    as_pending,
    binary,
    broadcast_shapes,
    define,
    is_tensor,
    materialize,
    show_shape,
)
from diffgraph.language.builders import BodyBuilder
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.tensors import filled
from diffgraph.language.values import Indexed, TensorValue


def with_own_gradient(declaration: syntax.Function, scope: Scope, session: Session, span: Span) -> Any:
    """The function's value, its last definition carrying the derivative that the user wrote.

    Inside index notation the arguments become tensors over the open indices first."""
    indexed = [p.name for p in declaration.parameters if isinstance(scope.values[p.name], Indexed)]
    if indexed:
        return _on_elements(declaration, scope, indexed, session, span)
    value = statements.run_body(declaration.body, scope, session, declaration.name)
    tensors = [p.name for p in declaration.parameters if isinstance(scope.values[p.name], TensorValue)]
    if not is_tensor(value) or not tensors:
        return value
    # A definition of its own, so that the derivative belongs to this call and to nothing else; of floats, since ints have
    # no derivative: where(v > 0, 1, 0) gets one here.
    pending = as_pending(value, session, span)
    if pending.kind != "float":
        pending = as_pending(apply_scalar("float", (pending,), session, span), session, span)
    tensor = define(session, session.hint(declaration.name), pending, span)
    own = _rule(declaration, scope, tensors, tensor, session, span)
    last = session.builder.statements[-1]
    assert isinstance(last, Definition) and last.tensor is tensor
    session.builder.statements[-1] = replace(last, gradient=own)
    return TensorValue(tensor, span)


def _on_elements(declaration, scope: Scope, indexed: list[str], session: Session, span: Span) -> Indexed:
    def apply(*tensors: TensorValue) -> Any:
        whole = Scope(scope.parent, **{**scope.values, **dict(zip(indexed, tensors))})
        value = as_pending(with_own_gradient(declaration, whole, session, span), session, span)
        if value.shape != tensors[0].shape:
            text = f"`{declaration.name}` turns {show_shape(tensors[0].shape)} into {show_shape(value.shape)}"
            raise error("DG530", f"{text}: it is no function of elements", span, help="apply it to whole tensors")
        return value if value.kind == "float" else apply_scalar("float", (value,), session, span)

    return session.notations[-1].applied([scope.values[name] for name in indexed], span, apply)


def _rule(declaration, scope: Scope, tensors: list[str], made, session: Session, span: Span) -> OwnGradient:
    """The body that computes the cotangents of the arguments."""
    rule = declaration.gradient
    body = BodyBuilder(session.builder)
    with session.building(body):
        cotangent = body.free(f"d_{made.name}", made.shape)
        inner = Scope(scope)
        inner.bind(rule.cotangent, TensorValue(cotangent, rule.span))
        given = statements.run_body(rule.body, inner, session, f"gradient of {declaration.name}")
        values = given if isinstance(given, tuple) else (given,)
        if len(values) > len(tensors):
            raise error("DG531", f"{len(values)} gradients for {len(tensors)} tensor arguments", rule.span)
        gradients = []
        for name, value in zip(tensors, values):
            argument = scope.values[name]
            gradient = _shaped(value, argument, name, session, rule.span)
            gradients.append((session.operand(argument.tensor, span), gradient.tensor.name))
    return OwnGradient(cotangent.name, body.program(), tuple(gradients))


def _shaped(value: Any, argument: TensorValue, name: str, session: Session, span: Span) -> TensorValue:
    """A gradient has the shape of what it belongs to; a number is spread over it."""
    pending = as_pending(value, session, span)
    if pending.shape != argument.shape:
        own, wanted = pending.shape, argument.shape
        fits = all(a == 1 or sizes.equal(a, b) is not False for a, b in zip(own[::-1], wanted[::-1]))
        if len(own) > len(wanted) or not fits:
            raise error(
                "DG532", f"the gradient for `{name}` is {show_shape(own)}, but `{name}` is {show_shape(wanted)}", span,
                *([Note(f"this is {show_shape(wanted)}", argument.span)] if argument.span else ()),
                help=f"a gradient has the shape of its argument: {show_shape(wanted)}",
            )  # fmt: skip
        broadcast_shapes([own, wanted], session, span)
        pending = binary("+", pending, filled(list(argument.shape), 0.0, session, span), session, span)
    result = materialize(pending, session, f"d_{name}", span)
    if result.tensor.name not in session.builder.tensors or result.tensor in (i.tensor for i in session.builder.inputs):
        # The rule hands on a tensor as it is (straight through): the body still defines its own.
        return TensorValue(define(session, f"d_{name}", as_pending(result, session, span), span), span)
    return result
