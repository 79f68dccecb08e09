"""Where a problem is, what it is, and how to mend it: the values every error of diffgraph is made of.

A mistake of the user is a `Diagnostic` (one or several, carried by a `DiffgraphError`): what is wrong, the exact
place, where the other side came from, and a repair. A mistake of ours is a `CompilerBug` that names the pass.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Source:
    """A text that was read: its name as the user knows it, and the text itself."""

    name: str
    text: str

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

    def render(self) -> str:
        """The problem as a person reads it: message, place, the line with a caret, notes, repair."""
        lines = [f"{self.severity}[{self.code}]: {self.message}"]
        if self.span is not None:
            lines += _excerpt(self.span)
        for note in self.notes:
            lines.append(f"  note: {note.message}")
            if note.span is not None:
                lines += _excerpt(note.span)
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)

    def as_json(self) -> dict:
        """Plain values for editors."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            **_place(self.span),
            "notes": [{"message": n.message, **_place(n.span)} for n in self.notes],
            "help": self.help,
        }


def _place(span: Span | None) -> dict:
    if span is None:
        return {}
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {"file": span.source.name, "line": line, "column": column, "end_line": end_line, "end_column": end_column}


def _excerpt(span: Span) -> list[str]:
    line, column = span.source.position(span.start)
    text = span.source.line(line)
    width = min(span.end, span.start + len(text) - column + 1) - span.start
    gutter = len(str(line))
    return [
        f"{' ' * gutter} --> {span.source.name}:{line}:{column}",
        f"{line} | {text}",
        f"{' ' * gutter} | {' ' * (column - 1)}{'^' * max(1, width)}",
    ]


class DiffgraphError(Exception):
    """The user's model, command or data is wrong. Carries every problem that was found.

    `status` is the exit status of the command line: 2 where the model or the command is wrong."""

    status = 2

    def __init__(self, *diagnostics: Diagnostic):
        self.diagnostics = diagnostics
        super().__init__("\n\n".join(d.render() for d in diagnostics))


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


def suggest(name: str, known) -> str | None:
    """`did you mean "conv"?`, or None when nothing known is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, [k for k in known if isinstance(k, str)], n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else None
