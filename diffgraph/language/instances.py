"""Instances: one for each application of a layer, function or net, with a path of its own."""

from __future__ import annotations

import re
from typing import Any

from diffgraph.diagnostics import Note, error
from diffgraph.language import evaluate as expressions
from diffgraph.language import syntax
from diffgraph.language.budget import STEPS_OF_INSTANCE
from diffgraph.language.limits import limits, raise_by
from diffgraph.language.network import Instance
from diffgraph.language.scopes import Scope
from diffgraph.language.session import FrameNaming, Session
from diffgraph.language.values import LayerValue, NetResult, TensorValue


def path_for(name, type_name: str, node: syntax.Node, scope: Scope, session: Session) -> str:
    """The path of an instance: its given name, or its type and number within the parent."""
    frame = session.frame
    if name is None:
        own = _automatic_name(type_name, node, session)
    else:
        own = given_name(name, scope, session)
        if own in frame.names and not frame.reuse:
            first = frame.names[own]
            again = first == node.span and session.loop_variables
            raise error(
                "DG525", f"two instances are called `{own}`", name.span,
                *([Note("the first one", first)] if first and not again else ()),
                help=f"each turn of the loop makes one: name it `as {own}[{session.loop_variables[-1]}]`" if again
                else f"name them apart: `as {own}[0]`, `as {own}[1]`",
            )  # fmt: skip
    frame.names[own] = node.span
    session.count_step(node.span, STEPS_OF_INSTANCE)
    if len(session.instances) > limits().nodes:
        raise error("DG595", f"the net has more than {limits().nodes:,} layers", node.span, help=raise_by("nodes"))
    return f"{frame.path}.{own}" if frame.path else own


def given_name(name: syntax.InstanceName, scope: Scope, session: Session) -> str:
    """The name after `as`: a subscript is a level of its own."""
    first = "".join(p if isinstance(p, str) else _text(p, scope, session) for p in name.parts)
    levels = [first, *(_text(s, scope, session) for s in name.subscripts)]
    for level in levels:
        if not re.fullmatch(r"\w+", level):
            text = f"`{level}` cannot be the name of an instance"
            raise error("DG528", text, name.span, help="letters, digits and _ can: as block[0]")
    return ".".join(levels)


def _text(node: syntax.Expr, scope: Scope, session: Session) -> str:
    return expressions.show(expressions.evaluate(node, scope, session))


def _automatic_name(type_name: str, node: syntax.Node, session: Session) -> str:
    frame = session.frame
    naming = session.naming.frames.setdefault(frame.path, FrameNaming())
    occurrence = frame.calls.get(id(node), 0)
    frame.calls[id(node)] = occurrence + 1
    key = (id(node), occurrence)
    if key not in naming.by_call:
        count = naming.counts.get(type_name, 0) + 1
        while f"{type_name}{count}" in frame.names:
            count += 1
        naming.counts[type_name] = count
        naming.by_call[key] = f"{type_name}{count}"
    return naming.by_call[key]


def record(path: str, type_name: str, kind: str, span, inputs, result, session: Session, settings: str = "") -> None:
    """Notes an instance for `show` and the layer graph."""
    outputs = result if isinstance(result, tuple) else (result,)
    if isinstance(result, NetResult):
        outputs = tuple(result.outputs.values())
    names = [tuple(v.tensor.name for v in values if isinstance(v, TensorValue)) for values in (inputs, outputs)]
    session.instances.append(Instance(path, type_name, kind, span, *names, settings))


def settings_text(layer: LayerValue) -> str:
    """The settings that a layer was given: `channels = 64, kernel = 3`."""
    return ", ".join(f"{name} = {expressions.show(value)}" for name, value in layer.settings)


def under_path(dotted: str, session: Session, absolute: bool = False) -> Any:
    """What has been made under a path: a tensor, or the list of parameters below it; None if nothing."""
    session.outside += 1
    prefixes = [""] if absolute else [f"{session.frame.path}." if session.frame.path else ""]
    for prefix in prefixes:
        path = prefix + dotted
        if path in session.by_path:
            return session.by_path[path]
        below = [session.by_path[p] for p, v in session.variables.items() if p.startswith(path + ".") and v.trained]
        if below:
            return below
    return None


def trained_parameters(session: Session) -> list:
    """Every parameter made so far that training changes."""
    session.outside += 1
    return [session.by_path[p] for p, v in session.variables.items() if v.trained]
