"""Where a brace is missing or too many, told by the indentation.

Counting alone finds the brace at which the count goes wrong, which may be a screen away from the mistake. Nearly every
file is indented as its writer meant it, so the lines are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from diffgraph.diagnostics import Source
from diffgraph.language.lexing import CONTINUES, GOES_ON, Token

#: A line that starts with one of these opens a block, but for `fn` and `net` where they bind with `=`.
_HEADERS = frozenset("net layer fn train expect optimizer if for".split())

#: A line that starts with one of these and a name continues nothing.
_DECLARATIONS = frozenset("net layer fn train expect import from".split())


@dataclass(frozen=True)
class Fix:
    """What is wrong with a brace, by indices of tokens.

    `kind` is "unclosed" (the brace at `brace` lacks its partner, which belongs before `place`), "unopened" (the brace
    at `brace` is one too many) or "missing" (an opening brace belongs before `place`, behind the header)."""

    kind: str
    brace: int
    place: int


@dataclass
class _Line:
    """The tokens of a line, as indices, with how far it is indented and whether it continues the line before."""

    tokens: list[int]
    indent: int
    continues: bool


@dataclass
class _Open:
    brace: int
    indent: int
    line: int


def fixes(source: Source, tokens: list[Token]) -> list[Fix]:
    """What to do with which brace so that blocks are as the lines are indented."""
    return _Blocks(source, tokens).found


class _Blocks:
    """Follows the lines with a stack of the blocks that are open."""

    def __init__(self, source: Source, tokens: list[Token]):
        self.tokens = tokens
        self.found: list[Fix] = []
        self.open: list[_Open] = []
        self.header: _Line | None = None
        self.doubtful: tuple[int, int, _Open] | None = None
        statement = None
        end = 0
        for number, line in enumerate(_lines(source, tokens)):
            if not line.continues:
                self._check(line, end, number)
                statement = line
                self.header = None
            self._read(line, statement.indent if statement is not None else 0, number)
            self._remember_header(line, statement)
            end = line.tokens[-1] + 1
        self.found += [Fix("unclosed", b.brace, end) for b in reversed(self.open) if b.brace >= 0]

    def _check(self, line: _Line, end: int, number: int) -> None:
        """Compares the indentation of a statement with the blocks that are open. The line before ended at `end`."""
        first = self.tokens[line.tokens[0]]
        closes = first.kind == "}"
        if self.doubtful is not None:
            brace, level, block = self.doubtful
            self.doubtful = None
            if line.indent + closes > block.indent:
                # The block went on: the brace inside the line above did not end it.
                self.found.append(Fix("unopened", brace, brace))
                self.open.insert(level, block)
        if self.header is not None and line.indent > self.header.indent:
            self.found.append(Fix("missing", self.header.tokens[0], end))
            self.open.append(_Open(-1, self.header.indent, number - 1))
        while self.open and self.open[-1].indent >= line.indent + closes:
            block = self.open.pop()
            if block.brace >= 0:
                self.found.append(Fix("unclosed", block.brace, end))

    def _read(self, line: _Line, indent: int, number: int) -> None:
        for position, index in enumerate(line.tokens):
            kind = self.tokens[index].kind
            if kind == "{":
                self.open.append(_Open(index, indent, number))
            elif kind == "}":
                first = position == 0 and not line.continues
                if not self.open or (first and self.open[-1].indent != line.indent):
                    self.found.append(Fix("unopened", index, index))
                else:
                    block = self.open.pop()
                    if not first and block.line != number:
                        self.doubtful = (index, len(self.open), block)

    def _remember_header(self, line: _Line, statement: _Line | None) -> None:
        if statement is None or self.tokens[statement.tokens[0]].text not in _HEADERS:
            return
        kinds = {self.tokens[index].kind for index in line.tokens}
        if kinds & {"{", "}"}:
            self.header = None
        elif not line.continues and not self._binds(line):
            self.header = _Line(line.tokens, line.indent, False)

    def _binds(self, line: _Line) -> bool:
        """`fn f(x) = ...`, `net a = ...`"""
        depth = 0
        for index in line.tokens:
            kind = self.tokens[index].kind
            depth += (kind in ("(", "[")) - (kind in (")", "]"))
            if kind == "=" and depth == 0:
                return True
        return False


def _lines(source: Source, tokens: list[Token]) -> Iterator[_Line]:
    line: list[int] = []
    depth = 0
    before: Token | None = None
    for index, token in enumerate(tokens):
        if token.kind == "COMMENT":
            continue
        if token.kind != "_LINE_END":
            line.append(index)
            continue
        if token.text == ";" or not line:
            continue
        continues, depth = _continues(tokens, line, depth, before)
        yield _Line(line, _indent(source, tokens[line[0]]), continues)
        before = tokens[line[-1]]
        line = []
    if line:
        yield _Line(line, _indent(source, tokens[line[0]]), _continues(tokens, line, depth, before)[0])


def _continues(tokens: list[Token], line: list[int], depth: int, before: Token | None) -> tuple[bool, int]:
    """Whether a line continues the one before, and how many parentheses are open behind it."""
    first = tokens[line[0]]
    declares = first.text in _DECLARATIONS and len(line) > 1 and tokens[line[1]].kind in ("NAME", "STRING")
    if first.kind == "}" or declares:
        depth = 0
    goes_on = before is not None and before.text in GOES_ON
    continues = depth > 0 or goes_on or (first.text in CONTINUES and first.text != "else")
    for index in line:
        kind = tokens[index].kind
        depth += (kind in ("(", "[")) - (kind in (")", "]"))
    if tokens[line[-1]].kind == "{":
        depth = 0
    return continues, max(depth, 0)


def _indent(source: Source, token: Token) -> int:
    line, column = source.position(token.start)
    return len(source.line(line)[: column - 1].expandtabs(4))
