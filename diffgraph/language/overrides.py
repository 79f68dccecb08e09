"""Fields of train blocks that are given from outside: by a command (`--set`) or a caller."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffgraph.diagnostics import Span, error
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.module import Module
from diffgraph.language.parser import parse_expression
from diffgraph.language.rewriting import dotted
from diffgraph.language.session import Session
from diffgraph.language.values import LayerValue


def is_of_optimizer(fields: list[syntax.Field], name: str, module: Module, session: Session) -> bool:
    """Whether an optimizer of the block has a setting of that name: `lr` is meant as `optimizer.lr`."""
    for one in fields:
        call = one.value.function if isinstance(one.value, syntax.CallOf) else one.value
        callee = dotted(call) if one.name == "optimizer" else None
        if callee and module.find(callee.partition(".")[0]) is not None:
            value = expressions.lookup(callee, module, session, call.span)
            if isinstance(value, LayerValue) and name in {s.name for s in value.declaration.settings}:
                return True
    return False


def given_node(key: str, value: Any) -> syntax.Expr:
    """A value from outside, read as text that is shown as `--set` and the assignment."""
    if isinstance(value, Mapping):
        text = f"{key}({', '.join(f'{name} = {as_text(v)}' for name, v in value.items())})"
    else:
        text = as_text(value)
    return parse_expression(text, "--set", f"{key}=")


def as_text(value: Any) -> str:
    """A Python value as text of the language."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(json.dumps(v) if isinstance(v, str) else as_text(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    plain = value.item() if hasattr(value, "item") else value
    if not isinstance(plain, (int, float)):
        help = 'give numbers, lists, or text of the language: optimizer = "adam(lr = 1e-3)"'
        raise error("DG604", f"a {type(plain).__name__} is no field of a train block", help=help)
    return repr(plain)


def with_setting(field: syntax.Field, setting: str, key: str, value: Any, module: Module, session: Session):
    """The field with one setting of its call replaced or added: `optimizer.lr`."""
    call = field.value
    if isinstance(call, syntax.Name):
        call = syntax.CallOf(call.span, call, ())
    if not isinstance(call, syntax.CallOf):
        raise error("DG605", f"`{field.name}` has no settings of its own", field.span)
    node = given_node(key, value)
    start = key.rindex(".") + 1
    where = Span(node.span.source, start, node.span.end)
    given = list(call.arguments)
    place = _place(call, setting, module, session)
    if place is None:
        given.append(syntax.Argument(where, setting, node))
    else:
        given[place] = syntax.Argument(where, given[place].name, node)
    return replace(field, value=replace(call, arguments=tuple(given)))


def _place(call: syntax.CallOf, setting: str, module: Module, session: Session) -> int | None:
    """Where a call gives a setting, by keyword or by position."""
    for k, argument in enumerate(call.arguments):
        if argument.name == setting:
            return k
    callee = dotted(call.function)
    value = expressions.lookup(callee, module, session, call.span) if callee else None
    declared = [s.name for s in value.declaration.settings] if isinstance(value, LayerValue) else []
    positional = sum(a.name is None for a in call.arguments)
    return declared.index(setting) if setting in declared[:positional] else None
