"""From the text of a `.net` file to its syntax tree, or to every syntax error in it."""

from __future__ import annotations

from pathlib import Path

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Source, Span, error
from diffgraph.language import syntax
from diffgraph.language.automaton import Automaton
from diffgraph.language.lexing import Token, significant, tokenize
from diffgraph.language.tables import END, tables
from diffgraph.language.tree import TreeBuilder
from diffgraph.language.words import RESERVED

#: The longest text that is read, in bytes.
LARGEST_TEXT = 1 << 20


def parse(source: Source) -> syntax.File:
    """The syntax tree of a file. Raises a `DiffgraphError` with all syntax errors found."""
    if len(source.text.encode("utf-8", "surrogatepass")) > LARGEST_TEXT:
        raise error("DG101", f"{source.name} is larger than {LARGEST_TEXT >> 20} MiB")
    problems: list[Diagnostic] = []
    tokens = significant(tokenize(source, tables(), problems), len(source.text))
    result = _Reader(source, problems).read("file", tokens)
    if problems:
        raise DiffgraphError(*sorted(problems, key=lambda p: p.span.start))
    return result


def parse_text(text: str, name: str = "<text>") -> syntax.File:
    """The syntax tree of a text."""
    return parse(Source(name, text))


def parse_expression(text: str, name: str = "<text>") -> syntax.Expr:
    """The syntax tree of one expression."""
    source = Source(name, text)
    problems: list[Diagnostic] = []
    tokens = significant(tokenize(source, tables(), problems), len(text))
    result = _Reader(source, problems).read("interpolation", tokens)
    if problems:
        raise DiffgraphError(*sorted(problems, key=lambda p: p.span.start))
    return result


def read_source(path: str | Path) -> Source:
    """The text of a file. Raises a `DiffgraphError` where it is too large or is not UTF-8."""
    path = Path(path)
    with open(path, "rb") as file:
        data = file.read(LARGEST_TEXT + 1)
    if len(data) > LARGEST_TEXT:
        raise error("DG101", f"{path} is larger than {LARGEST_TEXT >> 20} MiB")
    try:
        return Source(str(path), data.decode("utf-8"))
    except UnicodeDecodeError as problem:
        raise error("DG102", f"{path} is not UTF-8 text (byte {problem.start})") from None


class _Reader:
    def __init__(self, source: Source, problems: list[Diagnostic]):
        self.source = source
        self.problems = problems
        self.builder = TreeBuilder(source, problems, self._inside)

    def read(self, start: str, tokens: list[Token]):
        automaton = Automaton(tables(), start, self.builder.build)
        pending = list(reversed(tokens))
        previous = None
        while pending:
            token = pending.pop()
            kind = self._kind(automaton, token, previous, pending)
            if kind not in automaton.row and (pieces := self._split(token)):
                pending.extend(reversed(pieces))
                continue
            if not automaton.feed(token, kind):
                what = "the end" if token.kind == END else f"`{token.text}`"
                self.problems.append(
                    Diagnostic("DG110", f"unexpected {what}", Span(self.source, token.start, token.end))
                )
                return None
            previous = token
        return automaton.values[0]

    def _kind(self, automaton: Automaton, token: Token, previous, pending) -> str:
        if token.kind != "NAME" or token.text not in automaton.tables.words:
            return token.kind
        word = token.text
        if previous is not None and previous.kind in (".",) or (previous is not None and previous.text == "as"):
            return "NAME"
        row = automaton.row
        if word in RESERVED:
            return word
        if word not in row:
            return "NAME"
        if "NAME" in row and pending:
            after = automaton.tables.actions[automaton.leads(word)]
            following = pending[-1]
            if following.kind not in after and not (following.kind == "NAME" and following.text in after):
                named = automaton.tables.actions[automaton.leads("NAME")]
                if following.kind in named:
                    return "NAME"
        return word

    def _split(self, token: Token) -> list[Token]:
        """The tokens of a text that was taken for one: `0.1` in `down.0.1`, `<-` in `a <-1`, `name{` in a header."""
        if token.kind == "FLOAT" and "." in token.text:
            return self._cut(token, "INT", token.text.index("."), ".", "INT")
        if token.kind == "<-":
            return self._cut(token, "<", 1, "-")
        if token.kind == "TEMPLATE" and not token.text.startswith("{"):
            name = token.text.index("{")
            word = Token("NAME", token.text[:name], token.start, token.start + name)
            return [word, *significant(tokenize(self.source, tables(), self.problems, word.end, token.end), 0)[:-1]]
        return []

    def _cut(self, token: Token, first: str, place: int, second: str, third: str | None = None) -> list[Token]:
        middle = token.start + place
        pieces = [Token(first, token.text[:place], token.start, middle), Token(second, second, middle, middle + 1)]
        if third is not None:
            pieces.append(Token(third, token.text[place + 1 :], middle + 1, token.end))
        return pieces

    def _inside(self, start: int, end: int):
        tokens = tokenize(self.source, tables(), self.problems, start, end)
        return self.read("interpolation", significant(tokens, end))
