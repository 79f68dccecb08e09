"""The texts of the standard library, of which a program parses what it uses.

Its files are laid out by `diffgraph fmt`: a line that begins a declaration begins with a word, and no other line does.
So their names are found without reading what is declared, and every program starts at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from diffgraph.diagnostics import Source
from diffgraph.language import syntax
from diffgraph.language.parser import parse_declaration

#: Folders whose names are brought into scope by `from "std/..." import` only, each with a file that brings all of them.
THEMES = ("vision",)

_BEGINNING = re.compile(r"^(?=\w)(?:(fn|layer|optimizer|net|train|expect|from|import)\b[ ]*)?(\w*)", re.MULTILINE)

_PATH = re.compile(r"std/((?:\w+/)?\w+\.net)")


@dataclass(frozen=True)
class Place:
    """Where a declaration stands: its keyword (empty for a constant), its name, and its stretch of the text."""

    word: str
    name: str
    source: Source
    start: int
    stop: int


def folder() -> Path:
    """Where the files of the standard library are."""
    return Path(__file__).parent.parent / "std"


def in_scope() -> Iterator[Source]:
    """The files whose names are known in every program."""
    for entry in sorted(folder().iterdir(), key=lambda e: e.name):
        name = entry.name.removesuffix(".net")
        if entry.name.endswith(".net") and name not in THEMES:
            yield Source(f"std/{entry.name}", entry.read_text(encoding="utf-8"))


def source(path: str) -> Source | None:
    """The text of `std/NAME.net` or `std/THEME/NAME.net`, or None where there is no such file."""
    inside = _PATH.fullmatch(path)
    entry = folder() / inside[1] if inside else None
    return Source(path, entry.read_text(encoding="utf-8")) if entry is not None and entry.is_file() else None


def paths() -> list[str]:
    """What can be imported."""
    found = [f"std/{e.name}" for e in folder().iterdir() if e.name.endswith(".net")]
    inside = [f"std/{theme}/{e.name}" for theme in THEMES for e in (folder() / theme).iterdir()]
    return sorted(found) + sorted(inside)


def places(source: Source) -> Iterator[Place]:
    """Every declaration of a text, in order, unread."""
    beginnings = list(_BEGINNING.finditer(source.text))
    ends = [b.start() for b in beginnings[1:]] + [len(source.text)]
    for beginning, end in zip(beginnings, ends):
        yield Place(beginning[1] or "", beginning[2], source, beginning.start(), end)


def read(place: Place) -> syntax.Declaration:
    """The declaration that stands there."""
    return parse_declaration(place.source, place.start, place.stop)


#: A line of a comment: what others call what is declared below it.
ELSEWHERE = "Elsewhere: "

_NAMED = re.compile(r"^# Elsewhere: (?P<names>.*)$|^(?:fn|layer|optimizer) (?P<own>\w+)", re.MULTILINE)


@lru_cache(maxsize=1)
def elsewhere() -> dict[str, str]:
    """What other libraries call something -> its name here, as comments say. See `plain`."""
    found: dict[str, str] = {}
    for text in in_scope():
        waiting: list[str] = []
        for line in _NAMED.finditer(text.text):
            if line["own"] is None:
                waiting += line["names"].split(", ")
            else:
                found |= {plain(name): line["own"] for name in waiting}
                waiting = []
    return found


#: A line of a comment: what is mended by putting what is declared below it in front.
MENDS = "Mends: "

_MENDING = re.compile(r"^# Mends: (?P<what>.*)$|^(?:fn|layer) (?P<own>\w+)", re.MULTILINE)


@lru_cache(maxsize=None)
def mending(what: str) -> str | None:
    """The function that mends something: `too many axes`."""
    for text in in_scope():
        is_next = False
        for line in _MENDING.finditer(text.text):
            if is_next and line["own"]:
                return line["own"]
            is_next = line["what"] == what
    return None


def plain(name: str) -> str:
    """A name without what differs between styles: `MSELoss` and `mse_loss` are one."""
    return name.replace("_", "").lower()


class Declarations(Mapping[str, syntax.Declaration]):
    """Declarations by name, each read when it is first asked for."""

    def __init__(self):
        self._places: dict[str, Place] = {}
        self._read: dict[str, syntax.Declaration] = {}

    def add(self, place: Place) -> None:
        """One more; a name is declared once."""
        if place.name in self._places:
            raise ValueError(f"{place.source.name}: `{place.name}` is declared twice")
        self._places[place.name] = place

    def __getitem__(self, name: str) -> syntax.Declaration:
        if name not in self._read:
            self._read[name] = read(self._places[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
