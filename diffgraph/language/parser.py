"""From the text of a `.net` file to its syntax tree, or to every syntax error in it."""

from __future__ import annotations

import sys
from pathlib import Path

from diffgraph.diagnostics import DiffgraphError, Source, error
from diffgraph.language import syntax
from diffgraph.language.limits import limits, raise_by
from diffgraph.language.reader import Reader, Taken

def parse(source: Source) -> syntax.File:
    """The syntax tree of a file. Raises a `DiffgraphError` with all syntax errors found."""
    return _parse(source, None)


def parse_with_tokens(source: Source) -> tuple[syntax.File, Taken]:
    """The syntax tree of a file, and the tokens it was read from."""
    taken: Taken = []
    return _parse(source, taken), taken


def _parse(source: Source, taken: Taken | None) -> syntax.File:
    # Every character takes at least a byte, so a text that is far too long is not encoded to learn that.
    most = limits().text
    if len(source.text) > most or len(source.text.encode("utf-8", "surrogatepass")) > most:
        raise _too_large(source.name)
    reader = Reader(source)
    file = reader.read("file", 0, len(source.text), taken)
    if problems := reader.problems():
        raise DiffgraphError(*problems)
    return file


def parse_declaration(source: Source, start: int, stop: int) -> syntax.Declaration:
    """The syntax tree of the only declaration in a stretch of a text."""
    reader = Reader(source)
    file = reader.read("file", start, stop)
    if problems := reader.problems():
        raise DiffgraphError(*problems)
    (declaration,) = file.declarations
    return declaration


def parse_text(text: str, name: str = "<text>") -> syntax.File:
    """The syntax tree of a text."""
    return parse(Source(name, text))


def parse_expression(text: str, name: str = "<text>", before: str = "") -> syntax.Expr:
    """The syntax tree of a text that is one expression, such as a setting given on the command line; messages show it
    behind `before`, what it is given to."""
    reader = Reader(Source(name, before + text))
    if len(text) > limits().text:
        raise _too_large(name)
    value = reader.read("interpolation", len(before), len(before) + len(text))
    if problems := reader.problems():
        raise DiffgraphError(*problems)
    return value


def read_source(path: str | Path) -> Source:
    """The text of a file; `-` is the standard input. Raises a `DiffgraphError` where it is too large or is not UTF-8."""
    if str(path) == "-":
        return _source("<stdin>", sys.stdin.buffer.read(limits().text + 1))
    if Path(path).exists() and not Path(path).is_file():
        raise error("DG206", f"{path} is not a file")
    with open(path, "rb") as file:
        return _source(str(path), file.read(limits().text + 1))


def _source(path: str, data: bytes) -> Source:
    if len(data) > limits().text:
        raise _too_large(path)
    try:
        return Source(path, data.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise error(
            "DG102", f"{path} is not UTF-8 text: byte {problem.start}, on line {line}", help="save it as UTF-8"
        ) from None


def _too_large(name: str) -> DiffgraphError:
    help = f'split it: `import "other.net"`; {raise_by("text")}'
    return error("DG101", f"{name} is larger than {limits().text:,} bytes", help=help)
