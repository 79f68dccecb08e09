"""The declarations of a text, with what is in them: what an editor lists beside it."""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.diagnostics import Span
from diffgraph.editors.words import name_span
from diffgraph.language import syntax
from diffgraph.language.traversal import walk

_KINDS = {syntax.Function: "fn", syntax.Net: "net", syntax.NetAlias: "net", syntax.Bind: "constant"}


@dataclass(frozen=True)
class Entry:
    """A name, what it is, its place, and what it holds. `span` is the whole, `name_place` the name in it."""

    name: str
    kind: str
    span: Span
    name_place: Span
    inside: tuple[Entry, ...] = ()


def outline(tree: syntax.File) -> list[Entry]:
    """Every declaration of a file, in its order."""
    return [entry for declaration in tree.declarations for entry in _entries(declaration)]


def _entries(node: syntax.Declaration) -> list[Entry]:
    if isinstance(node, syntax.Bind):
        return [Entry(name, "constant", node.span, name_span(node, name)) for name in node.names]
    if isinstance(node, syntax.Import):
        return [Entry(node.name, "import", node.span, node.span)]
    if isinstance(node, syntax.FromImport):
        return [Entry(name, "import", node.span, name_span(node, name)) for name in node.names]
    if isinstance(node, (syntax.Train, syntax.Expect)):
        word = "train" if isinstance(node, syntax.Train) else "expect"
        name = getattr(node, "name", None) or node.net
        fields = [Entry(f.name, "field", f.span, name_span(f, f.name)) for f in getattr(node, "fields", ())]
        return [Entry(f"{word} {name}", word, node.span, name_span(node, node.net.split(".")[0]), tuple(fields))]
    kind = node.kind if isinstance(node, syntax.Layer) else _KINDS[type(node)]
    return [Entry(node.name, kind, node.span, name_span(node, node.name), tuple(_inside(node)))]


def _inside(node: syntax.Declaration) -> list[Entry]:
    """The ports, parameters, states, outputs, losses and metrics of a body."""
    found = []
    for inner in walk(node):
        if isinstance(inner, (syntax.Port, syntax.Variable)):
            found.append(Entry(inner.name, inner.role, inner.span, name_span(inner, inner.name)))
        elif isinstance(inner, syntax.OutputOf):
            found += [_result(item, "output", item.span) for item in inner.items]
        elif isinstance(inner, (syntax.Loss, syntax.Metric)):
            found.append(_result(inner.item, "loss" if isinstance(inner, syntax.Loss) else "metric", inner.span))
    return found


def _result(item: syntax.Named, kind: str, span: Span) -> Entry:
    if item.name is not None:
        return Entry(item.name, kind, span, name_span(item, item.name))
    return Entry(" ".join(item.value.span.text.split())[:40], kind, span, item.value.span)
