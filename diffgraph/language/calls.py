"""What is said of calls that do not fit what they call."""

from __future__ import annotations

from collections.abc import Sequence

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Span, error, suggest
from diffgraph.language import syntax
from diffgraph.language.values import place_of


def refuse_unknown(owner: str, word: str, keywords: dict, names: Sequence[str], span: Span) -> None:
    """Refuses keywords that are not among the names of the arguments (or settings: `word`)."""
    for name in keywords:
        if name not in names:
            raise DiffgraphError(unknown_keyword(owner, word, name, names, place_of(name, keywords, span)))


def unknown_keyword(owner: str, word: str, name: str, names: Sequence[str], span: Span | None) -> Diagnostic:
    """A keyword that a function or a layer does not have."""
    help = suggest(name, names) or (f"it takes {', '.join(names)}" if names else f"it takes no {word}s")
    return Diagnostic("DG230", f"`{owner}` has no {word} `{name}`", span, (), help)


def given_twice(owner: str, name: str, names: Sequence[str], keywords: dict, span: Span) -> DiffgraphError:
    """An argument that is given at its place and by its name."""
    help = f"leave `{name} = ...` out, or the value at place {names.index(name) + 1}, which is `{name}` too"
    return error("DG232", f"`{owner}` is given `{name}` twice", place_of(name, keywords, span), help=help)


def counted(count: int, noun: str) -> str:
    """`1 argument`, `3 arguments`"""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def enumerated(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`"""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def head_of(declaration: syntax.Function | syntax.Layer | syntax.Net) -> Span:
    """A declaration up to its body."""
    span = declaration.span
    head = span.text[: declaration.body.span.start - span.start].rstrip(" {=")
    return Span(span.source, span.start, span.start + len(head))
