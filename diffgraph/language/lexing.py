"""From text to tokens: words, numbers, strings and signs, and the line ends that end something.

The patterns are those of the grammar. A word is a `NAME` here; the parser takes it for a keyword where one may stand.
Nothing raises: what is no token is reported and left out.
"""

from __future__ import annotations

import re
from functools import lru_cache

from diffgraph.diagnostics import Diagnostic, Source, Span
from diffgraph.language.tables import END, Tables

#: What fills the space between tokens.
TRIVIA = frozenset({"SPACE", "COMMENT"})

OPENING = {"(": ")", "[": "]", "{": "}"}
CLOSING = {closer: opener for opener, closer in OPENING.items()}

_SIGNS_BETWEEN = "-> == != < <= > >= ~= .. + - * / // % @ ^"

#: A line that starts with one of these continues the one before.
CONTINUES = frozenset(f"{_SIGNS_BETWEEN} <- or and else as with within".split())

#: A line that ends in one of these goes on in the next.
GOES_ON = frozenset(f"{_SIGNS_BETWEEN} , or and not if else as with".split())


class Token:
    """A piece of text. `kind` is a terminal of the grammar: the name of a pattern, or a sign itself."""

    __slots__ = ("kind", "text", "start", "end")

    def __init__(self, kind: str, text: str, start: int, end: int):
        self.kind = kind
        self.text = text
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"{self.kind}({self.text!r})"

    @property
    def ends_line(self) -> bool:
        return self.kind == "_LINE_END"


def tokenize(
    source: Source, tables: Tables, problems: list[Diagnostic], start: int = 0, stop: int | None = None
) -> list[Token]:
    """Every token from `start` up to `stop`, comments and line ends included, spaces left out."""
    match, template = _patterns(tables)
    text = source.text
    stop = len(text) if stop is None else stop
    place = start
    after_as = False
    tokens = []
    while place < stop:
        found = after_as and template(text, place, stop) or match(text, place, stop)
        if found is None:
            place = _report(source, place, tokens, problems)
            after_as = False
            continue
        kind = found.lastgroup
        end = found.end()
        if kind != "SPACE":
            word = found.group()
            if kind == "SIGN":
                kind = word
            tokens.append(Token(kind, word, place, end))
            after_as = word == "as"
        place = end
    return tokens


@lru_cache(maxsize=1)
def _patterns(tables: Tables):
    """Matchers for any token, and for a name with computed parts."""
    patterns = dict(tables.patterns)
    template = patterns.pop("TEMPLATE")
    # A number with a point before one without, so that the longer is tried first.
    order = sorted(patterns, key=lambda name: name == "INT")
    signs = "|".join(re.escape(sign) for sign in tables.signs)
    alternatives = [f"(?P<{name}>{patterns[name]})" for name in order] + [f"(?P<SIGN>{signs})"]
    return re.compile("|".join(alternatives)).match, re.compile(f"(?P<TEMPLATE>{template})").match


def _report(source: Source, place: int, tokens: list[Token], problems: list[Diagnostic]) -> int:
    """Says what is wrong with the character at `place`; gives the place to go on at."""
    character = source.text[place]
    if character == '"':
        end = re.compile(r"[^\r\n]*").match(source.text, place).end()
        problems.append(
            Diagnostic(
                "DG104", "this string is never closed", Span(source, place, end), help='close it with `"` on the same line'
            )
        )
        tokens.append(Token("STRING", source.text[place:end] + '"', place, end))
        return end
    problems.append(Diagnostic("DG103", f"`{character}` means nothing here", Span(source, place, place + 1)))
    return place + 1


def significant(tokens: list[Token], end: int) -> list[Token]:
    """The tokens that the parser reads: no comments, no line end that ends nothing; then one `END` at offset `end`."""
    result: list[Token] = []
    open_brackets: list[str] = []
    pending: Token | None = None
    for token in tokens:
        kind = token.kind
        if kind == "COMMENT":
            continue
        if kind == "_LINE_END":
            if not open_brackets or open_brackets[-1] == "{":
                pending = _stronger(pending, token)
            continue
        if pending is not None and _separates(result, pending, token):
            result.append(pending)
        pending = None
        if kind in OPENING:
            open_brackets.append(kind)
        elif kind in CLOSING and open_brackets:
            open_brackets.pop()
        result.append(token)
    result.append(Token(END, "", end, end))
    return result


def _stronger(pending: Token | None, token: Token) -> Token:
    """Of several line ends in a row a `;` counts: nothing continues across it."""
    return pending if pending is not None and pending.text == ";" else token


def _separates(before: list[Token], line_end: Token, after: Token) -> bool:
    if not before or before[-1].kind == "{" or after.kind == "}":
        return False
    if line_end.text == ";":
        return True
    return after.text not in CONTINUES and before[-1].text not in GOES_ON
