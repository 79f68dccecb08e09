"""What is known of a text while it is being written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Source
from diffgraph.inspect.check import check_text
from diffgraph.language import syntax
from diffgraph.language.module import Module
from diffgraph.language.network import Network
from diffgraph.language.parser import parse


@dataclass(frozen=True, eq=False)
class Analysis:
    """A text, and everything found in it. tree: None where it does not parse; module: where its names are wrong;
    networks: of the nets that can be elaborated, in training mode."""

    source: Source
    tree: syntax.File | None
    module: Module | None
    networks: tuple[Network, ...]
    problems: tuple[Diagnostic, ...]


def analyse(text: str, path: Path | None = None) -> Analysis:
    """Checks a text as `diffgraph check` checks the file at `path`, whose folder its imports are relative to."""
    name = path.name if path is not None else "untitled.net"
    checked = check_text(text, name, path.parent if path is not None else None)
    if checked.module is None:
        return Analysis(Source(name, text), read_tree(text, name), None, (), checked.problems)
    source = checked.module.source
    # The module keeps declarations only; the tree is read again, over the very source that all spans are in.
    return Analysis(source, parse(source), checked.module, checked.networks, checked.problems)


def read_tree(text: str, name: str = "untitled.net") -> syntax.File | None:
    """The syntax tree of a text, None where it does not parse."""
    try:
        return parse(Source(name, text))
    except DiffgraphError:
        return None
