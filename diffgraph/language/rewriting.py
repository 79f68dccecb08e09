"""Replacing parts of a syntax tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from diffgraph.language import syntax


def rewrite(node: syntax.Expr, change: Callable[[syntax.Expr], syntax.Expr | None]) -> syntax.Expr:
    """The tree with each part, outermost first, replaced by what `change` gives for it; where that is None the part
    stays and its own parts are tried. Parts that do not change keep their identity."""
    changed = change(node)
    return _inside(node, change) if changed is None else changed


def _inside(node, change):
    new = {f.name: _value(getattr(node, f.name), change) for f in fields(node) if f.name != "span"}
    kept = all(value is getattr(node, name) for name, value in new.items())
    return node if kept else replace(node, **new)


def _value(value, change):
    if isinstance(value, syntax.Expr):
        return rewrite(value, change)
    if isinstance(value, syntax.Node):
        return _inside(value, change)
    if isinstance(value, tuple):
        items = tuple(_value(item, change) for item in value)
        return value if all(a is b for a, b in zip(items, value)) else items
    return value


def dotted(node: syntax.Expr) -> str | None:
    """The text of a name or a chain of attributes: `layer2.0.weight`."""
    if isinstance(node, syntax.Name):
        return node.name
    if isinstance(node, syntax.Attribute):
        before = dotted(node.value)
        return None if before is None else f"{before}.{node.name}"
    return None
