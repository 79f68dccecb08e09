"""Where a problem is, what it is, and how to mend it: the values every error of diffgraph is made of.

A mistake of the user is a `Diagnostic` (one or several, carried by a `DiffgraphError`): what is wrong, the exact
place, where the other side came from, and a repair. A mistake of ours is a `CompilerBug` that names the pass.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Source:
    """A text that was read: its name as the user knows it, and the text itself."""

    name: str
    text: str

    @property
    def is_library(self) -> bool:
        """Whether it is a file of the standard library, which the user did not write."""
        return self.name.startswith("std/")

    @cached_property
    def _starts(self) -> list[int]:
        return [0] + [i + 1 for i, c in enumerate(self.text) if c == "\n"]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column (both from 1) of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def offset(self, line: int) -> int:
        """Where a line (from 1) starts."""
        return self._starts[line - 1]

    def line(self, number: int) -> str:
        """The text of a line (from 1), without its end."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """The characters `start` up to, not including, `end` of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """From the start of this span to the end of the other."""
        return Span(self.source, self.start, max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}"

    def __repr__(self) -> str:
        return f"<{self.source.name}:{self.line}:{self.column}>"


@dataclass(frozen=True)
class Note:
    """Something a reader needs beside the problem itself: where the other side came from, the chain of layers."""

    message: str
    span: Span | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One problem. `code` is stable (`DG012`), `help` is a repair that works."""

    code: str
    message: str
    span: Span | None = None
    notes: tuple[Note, ...] = ()
    help: str | None = None
    severity: str = "error"

    def seen_from(self, call: Span | None) -> Diagnostic:
        """The problem where the user can mend it: what fails inside the standard library is a problem of the call."""
        if call is None or self.span is not None and (call.source.is_library or not self.span.source.is_library):
            return self
        own = tuple(n for n in self.notes if n.span is None or not n.span.source.is_library)
        inside = (Note(f"found inside the standard library, at {self.span}"),) if self.span is not None else ()
        return replace(self, span=call, notes=(*own, *inside))

    def render(self, color: bool = False) -> str:
        """The problem as a person reads it (`layout`): message, place, the line with a caret, notes, repair."""
        from diffgraph.diagnostics.layout import Layout

        return "\n".join(Layout(color).lines(self))

    def as_json(self) -> dict:
        """Plain values for editors. Lines and columns count from 1; a range ends before its end."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            **_place(self.span),
            "notes": [{"message": n.message, **_place(n.span)} for n in self.notes],
            "repair": self.help,
        }


def _place(span: Span | None) -> dict:
    if span is None:
        return {"file": None, "range": None}
    (line, column), (end_line, end_column) = (span.source.position(at) for at in (span.start, span.end))
    start, end = {"line": line, "column": column}, {"line": end_line, "column": end_column}
    return {"file": span.source.name, "range": {"start": start, "end": end}}


class DiffgraphError(Exception):
    """The user's model, command or data is wrong. Carries every problem that was found.

    `status` is the exit status of the command line: 2 where the model or the command is wrong. `code`, `message`, `span`,
    `notes` and `repair` are those of the first problem."""

    status = 2

    def __init__(self, *diagnostics: Diagnostic):
        self.diagnostics = diagnostics
        super().__init__(*diagnostics)

    @property
    def code(self) -> str:
        return self.diagnostics[0].code

    @property
    def message(self) -> str:
        return self.diagnostics[0].message

    @property
    def span(self) -> Span | None:
        return self.diagnostics[0].span

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.diagnostics[0].notes

    @property
    def repair(self) -> str | None:
        return self.diagnostics[0].help

    def __str__(self) -> str:
        return "\n\n".join(d.render() for d in self.diagnostics)


class RunFailed(DiffgraphError):
    """The model is right but the run was not: a loss that is not a number, a full disk, an expectation not met."""

    status = 1


class CompilerBug(Exception):
    """diffgraph itself is wrong: `where` names the pass or the part that broke its promise."""

    def __init__(self, where: str, message: str):
        self.where = where
        super().__init__(f"{where}: {message}\nThis is a bug in diffgraph, not in your model. Please report it.")


def error(code: str, message: str, span: Span | None = None, *notes: Note, help: str | None = None) -> DiffgraphError:
    """A `DiffgraphError` of one diagnostic, ready to be raised."""
    return DiffgraphError(Diagnostic(code, message, span, notes, help))


#: Of more names than this, those with the same first letter are compared, and no more than so many.
MOST_COMPARED = 1_000


def suggest(name: str, known: Iterable[str]) -> str | None:
    """"did you mean `conv`?", or None when nothing known is near."""
    meant = nearest(name, known)
    return f"did you mean `{meant}`?" if meant else None


def nearest(name: str, known: Iterable[str], loose: bool = True) -> str | None:
    """What was probably meant: the same but for upper and lower case, else what is few edits away, else (`loose`) what
    has most of its letters in the same order; None when nothing is near."""
    from difflib import get_close_matches

    plain = {k.lower(): k for k in known if isinstance(k, str) and k and k != name}
    wanted = name.lower()
    if wanted in plain:
        return plain[wanted]
    if len(plain) > MOST_COMPARED:
        plain = {k: v for k, v in plain.items() if k[:1] == wanted[:1]}
        plain = dict(list(plain.items())[:MOST_COMPARED])
    # A third of the letters may be wrong, as in rustc; names of one letter are like all others.
    most = max(len(wanted), 3) // 3 if len(wanted) > 1 else 0
    distances = {k: d for k in plain if (d := _edits(wanted, k, most)) <= most}
    if distances:
        return plain[min(distances, key=distances.get)]
    near = get_close_matches(wanted, plain, n=1, cutoff=0.6) if loose and len(wanted) > 3 else []
    return plain[near[0]] if near else None


def _edits(a: str, b: str, most: int) -> int:
    """How many letters are to be changed, added, left out, or swapped with their neighbour; more than `most` if it is
    more."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, last, row = row, before, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], last[j - 2] + 1)
    return row[-1]
