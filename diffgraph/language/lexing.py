"""From text to tokens: words, numbers, strings and signs, and the line ends that end something.

The patterns are those of the grammar. A word is a `NAME` here; the parser takes it for a keyword where one may stand.
Nothing raises: what is no token is reported and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from diffgraph.diagnostics import Diagnostic, Source, Span
from diffgraph.language.tables import END, Tables

OPENING = {"(": ")", "[": "]", "{": "}"}
CLOSING = {closer: opener for opener, closer in OPENING.items()}

_SIGNS_BETWEEN = "-> == != < <= > >= ~= .. + - * / // % @ ^"

#: A line that starts with one of these continues the one before.
CONTINUES = frozenset(f"{_SIGNS_BETWEEN} <- or and else as with within".split())

#: A line that ends in one of these goes on in the next.
GOES_ON = frozenset(f"{_SIGNS_BETWEEN} <- , or and not if else as with".split())


#: After this many problems a text is not read further.
MOST_PROBLEMS = 100


class Token:
    """A piece of text. `kind` is a terminal of the grammar: the name of a pattern, or a sign itself."""

    __slots__ = ("kind", "text", "start", "end")

    def __init__(self, kind: str | None, text: str, start: int, end: int):
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
) -> Iterator[Token]:
    """Every token from `start` up to `stop`, comments and line ends included, spaces left out.

    Ends early where there are `MOST_PROBLEMS`."""
    match, template = _patterns(tables)
    text = source.text
    stop = len(text) if stop is None else stop
    place = start
    after_as = False
    while place < stop and len(problems) < MOST_PROBLEMS:
        found = after_as and template(text, place, stop) or match(text, place, stop)
        if found is None:
            token = _report(source, place, problems)
            place = token.end
            after_as = False
            if token.kind is not None:
                yield token
            continue
        kind = found.lastgroup
        end = found.end()
        if kind != "SPACE":
            word = found.group()
            if kind == "SIGN":
                kind = word
            elif kind == "NAME" and not word.isidentifier():
                problems.append(_odd_name(source, place, word))
            yield Token(kind, word, place, end)
            after_as = word == "as" or (after_as and kind in ("COMMENT", "_LINE_END"))
        place = end


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


#: Signs of other languages: what is said of them, and the word to read in their place.
_FOREIGN = {
    "&&": ("write `and`", "and"),
    "&": ("write `and`", "and"),
    "||": ("write `or`", "or"),
    "|": ("write `or`", "or"),
    "!": ("write `not`", "not"),
    "?": ("a choice is written `a if c else b`", None),
    "\\": ("a line that ends in an operator goes on in the next", None),
    "`": ("strings stand in double quotes", None),
    "'": ("strings stand in double quotes", None),
}


def _report(source: Source, place: int, problems: list[Diagnostic]) -> Token:
    """Says what is wrong with the character at `place`; gives what to read instead, of kind None for nothing."""
    text = source.text
    if text[place] in "\"'":
        return _report_string(source, place, problems)
    sign = text[place : place + 2] if text[place : place + 2] in _FOREIGN else text[place]
    end = place + len(sign)
    help, meant = _FOREIGN.get(sign, (None, None))
    shown = sign if sign.isprintable() else f"\\u{ord(sign):04x}"
    problems.append(Diagnostic("DG103", f"`{shown}` means nothing here", Span(source, place, end), help=help))
    return Token(None if meant is None else "NAME", meant or "", place, end)


def _report_string(source: Source, place: int, problems: list[Diagnostic]) -> Token:
    quote = source.text[place]
    line_end = re.compile(r"[^\r\n]*").match(source.text, place).end()
    closing = source.text.find(quote, place + 1, line_end)
    end = closing + 1 if closing >= 0 else line_end
    span = Span(source, place, end)
    if quote == "'":
        problems.append(Diagnostic("DG103", "strings stand in double quotes", span, help="write `\"` instead of `'`"))
        return Token("STRING", '""', place, end if closing >= 0 else place + 1)
    problem = Diagnostic("DG104", "this string is never closed", span, help='close it with `"` on the same line')
    problems.append(problem)
    # The rest of the line is read as if it were no string: most likely it holds the brackets that belong there.
    return Token("STRING", '""', place, place + 1)


def _odd_name(source: Source, place: int, word: str) -> Diagnostic:
    odd = next(i for i in range(1, len(word) + 1) if not word[:i].isidentifier()) - 1
    span = Span(source, place + odd, place + odd + 1)
    power = "²³".find(word[odd])
    help = f"write `{word[:odd]}^{power + 2}`" if power >= 0 else None
    return Diagnostic("DG103", f"`{word[odd]}` cannot stand in a name", span, help=help)


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
