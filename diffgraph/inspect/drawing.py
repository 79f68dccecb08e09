"""A network drawn: as a picture, as a page, or for Graphviz."""

from __future__ import annotations

from collections.abc import Callable

from diffgraph.diagnostics import error, suggest
from diffgraph.inspect.layer_tree import Box, find, layer_tree
from diffgraph.inspect.page import Facts, NetworkFacts, page
from diffgraph.inspect.picture import shown_shapes, shown_type, svg
from diffgraph.language.network import Network

#: Forms of pictures.
FORMS = ("svg", "html", "dot")


def draw(network: Network, form: str, layer: str | None = None, depth: int = 1, precision: str = "f32") -> str:
    """A network, or a layer of it, in one of `FORMS`. depth: boxes are open down to this level; at 1 all are closed."""
    tree = layer_tree(network)
    shown = tree
    if layer is not None:
        shown = find(tree, layer)
        if shown is None:
            known = [box.name for box in tree.walk()]
            raise error("DG921", f"`{network.name}` has no layer `{layer}`", help=suggest(layer, known))
    if not shown.boxes:
        shown = Box("", network.name, "group", boxes=(shown,))
    return drawn(shown, form, _opened(shown, depth), lambda: NetworkFacts(network, precision))


def drawn(tree: Box, form: str, opened: tuple[str, ...], facts: Callable[[], Facts]) -> str:
    """Boxes in one of `FORMS`; facts: what a page tells of them."""
    if form == "html":
        return page(tree, facts(), opened)
    return svg(tree, opened) if form == "svg" else _dot(tree, set(opened))


def _opened(tree: Box, depth: int) -> tuple[str, ...]:
    """The boxes that are open when all are down to a level."""
    found: list[str] = []
    level = [tree]
    for _ in range(depth):
        found += [box.name for box in level if box.boxes]
        level = [inner for box in level for inner in box.boxes]
    return tuple(found)


def _dot(tree: Box, opened: set[str]) -> str:
    """For Graphviz: open boxes are clusters."""
    lines = [
        f"digraph {_quoted(tree.label)} {{",
        "  rankdir = TB; compound = true;",
        '  node [shape = box, style = rounded, fontname = "Helvetica"];',
    ]
    edges: list[str] = []
    _cluster(tree, opened, "  ", lines, edges)
    return "\n".join([*lines, *dict.fromkeys(edges), "}"]) + "\n"


def _cluster(box: Box, opened: set[str], indent: str, lines: list[str], edges: list[str]) -> None:
    boxes = {inner.name: inner for inner in box.boxes}
    for inner in box.boxes:
        if inner.boxes and inner.name in opened:
            lines.append(f"{indent}subgraph {_quoted(f'cluster {inner.name}')} {{")
            lines.append(f"{indent}  label = {_quoted(inner.label)};")
            _cluster(inner, opened, indent + "  ", lines, edges)
            lines.append(f"{indent}}}")
        else:
            text = "\n".join(t for t in (f"{inner.label} {shown_type(inner)}".strip(), shown_shapes(inner)) if t)
            lines.append(f"{indent}{_quoted(inner.name)} [label = {_quoted(text)}];")
    for source, target in box.edges:
        if source in boxes and target in boxes:
            for a in _ends(boxes[source], opened):
                edges += [f"  {_quoted(a)} -> {_quoted(b)};" for b in _starts(boxes[target], source, opened)]


def _ends(box: Box, opened: set[str]) -> list[str]:
    """The closed boxes inside whose results leave a box."""
    if not box.boxes or box.name not in opened:
        return [box.name]
    inside = {inner.name: inner for inner in box.boxes}
    return [end for source, target in box.edges if target == "out" for end in _ends(inside[source], opened)]


def _starts(box: Box, source: str, opened: set[str]) -> list[str]:
    """The closed boxes inside that read what comes into a box from another one."""
    if not box.boxes or box.name not in opened:
        return [box.name]
    inside = {inner.name: inner for inner in box.boxes}
    entered = [target for start, target in box.edges if start == f"in {source}"]
    return [start for target in entered for start in _starts(inside[target], source, opened)]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
