"""A syntax tree as text: what two trees have in common when they mean the same."""

from __future__ import annotations

from dataclasses import fields

from diffgraph.diagnostics import Source, Span
from diffgraph.language.syntax import Node

#: A node that is longer than this has its parts on lines of their own.
_WIDTH = 100


def dump(tree: object, indent: str = "") -> str:
    """The tree in parentheses: the kind of each node, then its fields in order. Spans are left out, so that equal texts
    mean equal structures.

    >>> from diffgraph.language.parser import parse_expression
    >>> print(dump(parse_expression("a + f(2)")))
    (Binary '+' (Name 'a') (CallOf (Name 'f') [(Argument None (Number 2))]))
    """
    deeper = indent + "  "
    if isinstance(tree, Node):
        values = (getattr(tree, field.name) for field in fields(tree))
        parts = [dump(value, deeper) for value in values if not isinstance(value, (Span, Source))]
        return _joined(f"({type(tree).__name__}", parts, ")", deeper)
    if isinstance(tree, tuple):
        return _joined("[", [dump(item, deeper) for item in tree], "]", deeper)
    return repr(tree)


def _joined(head: str, parts: list[str], tail: str, indent: str) -> str:
    space = "" if head == "[" else " "
    flat = f"{head}{space if parts else ''}{' '.join(parts)}{tail}"
    if len(indent) + len(flat) <= _WIDTH and "\n" not in flat:
        return flat
    return f"\n{indent}".join([head, *parts]) + tail
