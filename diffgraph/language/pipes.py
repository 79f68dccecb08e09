"""`head -> stage -> stage`: what is at the head goes through the stages; without a tensor there, a layer of them all."""

from __future__ import annotations

from typing import Any

from diffgraph.language import apply, syntax
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Session
from diffgraph.language.values import (
    BuiltinFunction,
    Composition,
    FrozenLayer,
    FunctionValue,
    LayerValue,
    SharedLayer,
)


def evaluate_pipe(node: syntax.Pipe, scope: Scope, session: Session) -> Any:
    """The value behind the last stage, or a composition."""
    from diffgraph.language import evaluate as expressions

    applied = _applied_before_named(node)
    head, *stages = applied.stages
    if head.name is None:
        value = expressions.evaluate(head.value, scope, session)
        layers = (FunctionValue, BuiltinFunction, LayerValue, Composition, SharedLayer, FrozenLayer)
        if not isinstance(value, layers):
            for stage in stages:
                value = apply.apply_stage(value, stage.value, stage.name, stage, scope, session)
            return value
    return Composition(tuple((s.value, s.name) for s in node.stages), scope, node.span)


def _applied_before_named(node: syntax.Pipe) -> syntax.Pipe:
    """`(x -> f) as name`, where x is a tensor, is `x -> f as name`, and of several stages `x -> (f -> g) as name`."""
    head, *after = node.stages
    inside = head.value
    while isinstance(inside, syntax.Paren):
        inside = inside.inside
    if head.name is None or not isinstance(inside, syntax.Pipe) or inside.stages[0].name is not None:
        return node
    first, *stages = inside.stages
    named = stages[0].value
    if len(stages) > 1 or stages[0].name is not None:
        named = syntax.Paren(inside.span, syntax.Pipe(inside.span, tuple(stages)))
    return syntax.Pipe(node.span, (first, syntax.Stage(head.span, named, head.name), *after))
