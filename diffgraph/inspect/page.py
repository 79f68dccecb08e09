"""A network as one page that needs nothing else: the picture, with boxes that open, and what is known of each of
them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Protocol

from diffgraph.diagnostics import Span
from diffgraph.inspect import summary
from diffgraph.inspect.flow import definitions
from diffgraph.inspect.layer_tree import Box
from diffgraph.inspect.layered import Bend, Node
from diffgraph.inspect.picture import STYLE, closed_size, css_class, layers_of, shown_shapes, shown_type
from diffgraph.ir.dimension import Size, product
from diffgraph.ir.graph import statements_of
from diffgraph.ir.program import Input, Output, Program, Statement, Tensor
from diffgraph.ir.text import shape_text, show
from diffgraph.language.network import Network

#: A formula of more lines is cut.
_MOST_LINES = 60


class Facts(Protocol):
    """What a page tells of boxes: `NetworkFacts`, `flow.FlowFacts`."""

    totals: Mapping[str, Size]

    def about(self, box: Box) -> Iterator[tuple[str, str]]: ...
    def formula(self, box: Box) -> str: ...


def text_page(title: str, text: str) -> str:
    """A page that shows a text, such as a listing."""
    look = "body { margin: 2rem; font: 14px/1.5 system-ui, sans-serif } pre { font: 12.5px/1.45 ui-monospace, monospace }"
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>:root {{ color-scheme: light dark }} {look}</style>'
    return f"<!doctype html>\n<html><head>{head}</head><body><h1>{escape(title)}</h1><pre>{escape(text)}</pre></body></html>\n"


def page(tree: Box, facts: Facts, opened: tuple[str, ...] = ()) -> str:
    """The page of a network, of a layer of it, of a program or its kernels. `facts` are of what `tree` was made of."""
    data = {
        "title": tree.label,
        "facts": [[name.replace("macs", "MACs"), _number(value)] for name, value in facts.totals.items()],
        "root": _node(tree, facts),
        "opened": list(opened),
    }
    folder = files("diffgraph.inspect")
    text = (folder / "page.html").read_text(encoding="utf-8")
    # `<` has no place in the JSON: no text of a model can end the element that it stands in.
    parts = {
        "TITLE": escape(tree.label),
        "STYLE": STYLE,
        "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "SCRIPT": (folder / "page.js").read_text(encoding="utf-8"),
    }
    for name, part in parts.items():
        text = text.replace(f"/*{name}*/", part, 1)
    return text


def _node(box: Box, facts: Facts) -> dict:
    """A box as plain values: what the script draws."""
    width, height = closed_size(box)
    node = {
        "name": box.name,
        "label": box.label,
        "type": shown_type(box),
        "shapes": shown_shapes(box),
        "class": css_class(box),
        "round": box.kind in ("input", "target", "output", "loss", "metric"),
        "size": [round(width, 1), round(height, 1)],
        "about": list(facts.about(box)),
        "text": facts.formula(box),
        "source": source_of(box.span),
    }
    if box.boxes:
        layers = layers_of(box)
        node["boxes"] = [_node(inner, facts) for inner in box.boxes]
        node["rows"] = [[key(n) for n in row] for row in layers.rows]
        node["chains"] = [[key(n) for n in chain] for chain in layers.chains.values()]
    return node


def key(node: Node) -> str:
    """The name of a box, or one for a bend, which no box can have."""
    return f"~{node.source}~{node.target}~{node.layer}" if isinstance(node, Bend) else str(node)


class NetworkFacts:
    """What is known of each box of a network."""

    def __init__(self, network: Network, precision: str):
        self.network = network
        self.rows = {row.path: row for row in summary.rows(network, precision)}
        self.totals = summary.totals(network, precision)
        self.statements: dict[str, list[Statement]] = {}
        self.tensors: dict[str, Tensor] = {}
        self.made: dict[str, Statement] = {}
        for statement, inside in statements_of(network.program):
            self.tensors.update(inside.tensors)
            self.made.update((tensor.name, statement) for tensor in statement.results)
            for path in dict.fromkeys(origin.path for origin in statement.provenance):
                self.statements.setdefault(path, []).append(statement)
        self.inputs = {i.tensor.name: i for i in network.program.inputs}

    def about(self, box: Box) -> Iterator[tuple[str, str]]:
        """(what, value) in the order they are shown."""
        row = self.rows.get(box.name)
        yield "path", box.name
        yield "type", box.type or box.kind
        yield "settings", box.settings
        yield "output", ", ".join(shape_text(shape) for shape in box.shapes)
        variables = [(v, "") for v in self.network.parameters] + [(v, "state ") for v in self.network.states]
        own = [(v, word) for v, word in variables if box.name and v.path.startswith(f"{box.name}.")]
        count: Size = 0
        for variable, word in own:
            count = count + (0 if word else product(variable.tensor.shape))
        yield "parameters", _number(count) if own else ""
        if not box.boxes:
            for variable, word in own:
                name = variable.path.removeprefix(f"{box.name}.")
                frozen = "" if variable.trained or word else ", frozen"
                yield f"{word}{name}", shape_text(variable.tensor.shape) + frozen
        if row is not None:
            yield "MACs", _number(row.macs) if row.macs else ""
            yield "bytes", _number(row.bytes) if row.bytes else ""

    def formula(self, box: Box) -> str:
        """The definitions that a box consists of, as text of the language, where it holds no other box."""
        if box.boxes:
            return ""
        if box.kind == "formula":
            made = self.made.get(box.name.rpartition(":")[2])
            statements = [made] if made is not None else []
        else:
            statements = self.statements.get(box.name, []) if box.kind in ("layer", "function", "net") else []
        if not statements:
            return ""
        lines = list(_body(self._program(statements), box.name.rpartition(":")[0] or box.name))
        return "\n".join(lines[:_MOST_LINES] + ["..."] * (len(lines) > _MOST_LINES))

    def _program(self, statements: list[Statement]) -> Program:
        """The statements alone; what they read from elsewhere is an input."""
        made = {t.name for s in statements for t in s.results}
        read = dict.fromkeys(name for s in statements for name in s.operands if name not in made)
        inputs = tuple(self.inputs.get(name) or Input(self.tensors[name], "input", name) for name in read)
        return Program(inputs, tuple(statements), tuple(Output(name, name) for name in made))


def source_of(span: Span | None) -> list | None:
    """Where a box comes from: file and line, and the line in three parts, of which the middle one is meant."""
    if span is None:
        return None
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    stop = min(len(text), column - 1 + span.end - span.start)
    return [str(span), text[: column - 1].lstrip(), text[column - 1 : stop], text[stop:]]


def _body(program: Program, path: str) -> Iterator[str]:
    """The definitions of a printed program, without what the path says already."""
    prefix = path.replace(".", "_") + "_" if path else ""
    for line in definitions(show(program).splitlines()):
        yield line.replace(prefix, "") if prefix else line


def _number(value) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
