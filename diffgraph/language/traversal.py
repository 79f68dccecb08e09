"""Going through a syntax tree."""

from __future__ import annotations

from collections.abc import Iterator

from diffgraph.language.syntax import Node


def walk(node: Node) -> Iterator[Node]:
    """A piece of the tree and everything inside it, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        inside: list[Node] = []
        # `vars` is four times as fast as `dataclasses.fields`, and the standard library is walked at every start.
        for value in vars(current).values():
            if isinstance(value, Node):
                inside.append(value)
            elif isinstance(value, tuple):
                inside += [item for item in value if isinstance(item, Node)]
        waiting += reversed(inside)
