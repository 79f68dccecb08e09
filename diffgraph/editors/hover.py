"""What is shown where the pointer rests: signature, what the comment says, and what elaboration found."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass

from diffgraph.diagnostics import Span
from diffgraph.editors.analysis import Analysis
from diffgraph.editors.fields import FIELD_NOTES, NAME_NOTES, source_note
from diffgraph.editors.words import Meaning, meaning_at
from diffgraph.inspect.catalogue import entry_of
from diffgraph.language import syntax
from diffgraph.language.core_functions import CORE
from diffgraph.language.core_notes import CORE_NOTES
from diffgraph.language.network import Instance, Network

#: A call in a loop stands for many instances; as many are shown.
_MOST_INSTANCES = 4

#: A definition of more lines is not shown as a whole.
_MOST_LINES = 16


@dataclass(frozen=True)
class Hover:
    """Markdown about the text at `span`."""

    span: Span
    text: str


def hover(analysis: Analysis, offset: int) -> Hover | None:
    """What there is to say about the word at an offset, None where there is nothing."""
    if analysis.tree is None:
        return None
    meaning = meaning_at(analysis.tree, analysis.module, offset)
    if meaning is None:
        return None
    parts = [*_about(meaning), *_found(meaning, analysis.networks)]
    text = "\n\n".join(part for part in parts if part)
    return Hover(meaning.span, text) if text else None


def _about(meaning: Meaning) -> Iterator[str]:
    """What is known of a word from its text alone."""
    node = meaning.node
    if isinstance(node, (syntax.Function, syntax.Layer, syntax.Net, syntax.NetAlias)):
        yield from declaration_text(node)
    elif meaning.kind == "core":
        yield _code(f"fn {CORE[meaning.word].signature}")
        yield CORE_NOTES[meaning.word][0]
    elif meaning.kind == "source":
        yield source_note(meaning.word)
    elif meaning.kind == "field":
        yield FIELD_NOTES.get(meaning.word, "")
    elif meaning.kind == "special":
        yield NAME_NOTES.get(meaning.word, "")
    elif meaning.kind == "setting" and node is not None:
        yield _code(" ".join(node.span.text.split()))
        said = next((s.about for s in entry_of(meaning.owner).settings if s.name == meaning.word), "")
        yield f"a setting of `{meaning.owner.name}`" + (f": {said}" if said else "")
    elif meaning.kind == "file":
        yield f"`{meaning.path}`" if meaning.path is not None else ""
    elif node is not None and meaning.kind != "instance":
        yield _code(_head(node))


def declaration_text(node: syntax.Declaration) -> Iterator[str]:
    """A function, layer or net: its signature, its comment, and its definition if it is short."""
    if isinstance(node, syntax.NetAlias):
        yield _code(_first_lines(node))
        yield node.doc
        return
    entry = entry_of(node)
    is_short = entry.definition.count("\n") < _MOST_LINES
    yield _code(entry.signature)
    yield _prose(entry.doc)
    if is_short and entry.definition.strip() != entry.signature:
        yield _code(entry.definition)
    elif entry.parameters:
        yield _code("\n".join(entry.parameters))


def _found(meaning: Meaning, networks: tuple[Network, ...]) -> Iterator[str]:
    """What elaboration found at a word: instances with their shapes and parameters, the shape of a name."""
    place = meaning.call
    if place is not None and meaning.kind in ("declaration", "core", "local", "instance"):
        lines = [line for network in networks for line in _instances(network, place)]
        lines += [line for network in networks for line in _variables(network, meaning)]
        if lines:
            more = [f"- and {len(lines) - _MOST_INSTANCES} more"] if len(lines) > _MOST_INSTANCES else []
            yield "\n".join(lines[:_MOST_INSTANCES] + more)
            return
    if meaning.kind == "local" and meaning.node is not None:
        shapes = dict.fromkeys(shape for network in networks for shape in _shapes(network, meaning.node))
        yield "\n".join(f"- `{meaning.word}{shape}`" for shape in list(shapes)[:_MOST_INSTANCES])


def _instances(network: Network, place: Span) -> Iterator[str]:
    for instance in network.instances:
        if _same(instance.span, place):
            variables = [
                f"{v.path.removeprefix(instance.path + '.')}{_shape(v.tensor.shape)}"
                for v in (*network.parameters, *network.states)
                if v.path.startswith(f"{instance.path}.")
            ]
            shown = ", ".join(variables[:6] + ["..."] * (len(variables) > 6))
            own = f" with `{shown}`" if variables else ""
            yield f"- `{instance.path}` gives `{_made(network, instance)}`{own}"


def _variables(network: Network, meaning: Meaning) -> Iterator[str]:
    """The parameters and states that a path such as `encoder.weight` means."""
    path = meaning.call.text if meaning.kind == "instance" and meaning.call is not None else ""
    for variable in (*network.parameters, *network.states):
        if path and (variable.path == path or variable.path.endswith(f".{path}")):
            yield f"- `{variable.path}{_shape(variable.tensor.shape)}`"


def _made(network: Network, instance: Instance) -> str:
    return ", ".join(_shape(network.program.tensors[t].shape) for t in instance.outputs if t in network.program.tensors)


def _shapes(network: Network, node: syntax.Node) -> Iterator[str]:
    """The shapes of what a node binds, in one network."""
    ports = (*network.inputs, *network.targets, *network.parameters, *network.states)
    if isinstance(node, (syntax.Port, syntax.Variable)):
        yield from (_shape(p.tensor.shape) for p in ports if _same(p.span, node.span))
        return
    value = getattr(node, "value", None)
    if value is None:
        return
    last = _last_stage(value)
    made = [_made(network, instance) for instance in network.instances if _same(instance.span, last.span)]
    yield from made
    if not made:
        places = (node.span, value.span)
        for statement in network.program.statements:
            if any(_same(origin.span, place) for origin in statement.provenance for place in places):
                yield from (_shape(tensor.shape) for tensor in statement.results)


def _last_stage(value: syntax.Expr) -> syntax.Expr:
    """What gives the value of an expression: the last stage of a pipe."""
    while isinstance(value, (syntax.Pipe, syntax.Paren)):
        value = value.stages[-1].value if isinstance(value, syntax.Pipe) else value.inside
    return value


def _same(one: Span | None, other: Span) -> bool:
    """Whether two spans are one place; the sources may be two readings of one text."""
    return one is not None and (one.start, one.end, one.source.name) == (other.start, other.end, other.source.name)


def _shape(shape) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _head(node: syntax.Node) -> str:
    """A statement without the block it holds."""
    body = getattr(node, "body", None)
    if isinstance(body, syntax.Block) and isinstance(node, (syntax.For, syntax.ScanOf)):
        return node.span.text[: body.span.start - node.span.start].strip()
    return _first_lines(node)


def _first_lines(node: syntax.Node) -> str:
    lines = inspect.cleandoc(node.span.text).splitlines()
    return "\n".join(lines[:_MOST_LINES] + ["..."] * (len(lines) > _MOST_LINES))


def _code(text: str) -> str:
    return f"```net\n{text}\n```"


def _prose(doc: str) -> str:
    """A comment as markdown: its lists keep their lines."""
    return "  \n".join(line.rstrip() for line in doc.splitlines())
