"""Offsets of characters as editors count: lines from 0, and in a line the units of an encoding."""

from __future__ import annotations

from diffgraph.diagnostics import Source, Span

#: Bytes of a unit of an encoding.
_UNITS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def place_of(source: Source, offset: int, encoding: str = "utf-16") -> tuple[int, int]:
    """Line and unit, both from 0, of a character offset."""
    line, column = source.position(min(offset, len(source.text)))
    return line - 1, _units(source.line(line)[: column - 1], encoding)


def range_of(span: Span, encoding: str = "utf-16") -> tuple[tuple[int, int], tuple[int, int]]:
    """The places where a span starts and ends."""
    return place_of(span.source, span.start, encoding), place_of(span.source, span.end, encoding)


def offset_of(source: Source, line: int, unit: int, encoding: str = "utf-16") -> int:
    """The character offset of a place; one behind the end of its line or of the text is at that end."""
    if line >= source.position(len(source.text))[0]:
        return len(source.text)
    text = source.line(line + 1)
    column = next((k for k in range(len(text)) if _units(text[: k + 1], encoding) > unit), len(text))
    return source.offset(line + 1) + column


def _units(text: str, encoding: str) -> int:
    name, size = _UNITS[encoding]
    return len(text.encode(name, "surrogatepass")) // size
