"""How a diagnostic looks: the message, the lines it is about with a caret under the exact span, notes, the repair.

```
error[DG301]: the shapes [N, 3] and [N, 4] do not broadcast: 3 against 4 on axis 1
 --> model.net:5:9
  |
3 |     a = x -> linear(3)
  |              --------- this is [N, 3]
5 |     y = a + b
  |         ^^^^^
  = in block, applied at model.net:9 as block1
  = help: one of the two must be 1, or both the same
```
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width

if TYPE_CHECKING:
    from diffgraph.diagnostics import Diagnostic, Note, Source, Span

#: Longer lines are cut around what is marked in them.
WIDTH = 140

#: Of longer messages (a name may be as long as a file) the middle is left out.
MOST_LETTERS = 2000

#: Of more notes those in the middle are left out.
MOST_NOTES = 10

_STYLES = {"error": "1;31", "warning": "1;33", "note": "1;36", "help": "1;32", "gutter": "1;34", "bold": "1"}


@dataclass(frozen=True)
class _Mark:
    """A span that is underlined: with carets and without words if it is what the problem is about."""

    span: Span
    label: str
    main: bool


class Layout:
    """Writes diagnostics as text; `color` adds the escapes of a terminal."""

    def __init__(self, color: bool = False):
        self.color = color

    def lines(self, problem: Diagnostic) -> Iterator[str]:
        """The lines of one diagnostic."""
        head = self._style(problem.severity, f"{problem.severity}[{problem.code}]")
        yield head + self._style("bold", f": {_shortened(problem.message)}")
        marks = [] if problem.span is None else [_Mark(problem.span, "", True)]
        abroad: list[_Mark] = []
        said = []
        for note in _few(problem.notes):
            if note.span is None:
                said.append(note.message)
            elif problem.span is None or note.span.source is problem.span.source:
                marks.append(_Mark(note.span, note.message, False))
            elif note.span.source.is_library:
                said.append(f"{note.message}: `{note.span.text.splitlines()[0]}`, at {note.span}")
            else:
                abroad.append(_Mark(note.span, note.message, False))
        groups = [marks, *([m] for m in abroad)]
        gutter = max((len(str(m.span.line)) for group in groups for m in group), default=1)
        for k, group in enumerate(g for g in groups if g):
            yield from self._excerpt(group, gutter, "-->" if k == 0 else ":::")
        for text in said:
            yield from self._said(gutter, "", _shortened(text))
        if problem.help:
            yield from self._said(gutter, self._style("help", "help") + ": ", _shortened(problem.help))

    def _said(self, gutter: int, label: str, text: str) -> Iterator[str]:
        first, *rest = text.split("\n")
        yield f"{' ' * gutter} {self._style('gutter', '=')} {label}{first}"
        indent = " " * (gutter + 3 + (6 if label else 0))
        yield from (indent + line for line in rest)

    def _excerpt(self, marks: Sequence[_Mark], gutter: int, arrow: str) -> Iterator[str]:
        """The lines of a source that hold some marks, each once, with the marks below them."""
        place = next((m for m in marks if m.main), marks[0]).span
        bar = self._style("gutter", "|")
        where = f"{place.source.name}:{place.line}:{place.column}"
        yield f"{' ' * gutter}{self._style('gutter', arrow)} {where}"
        by_line: dict[int, list[_Mark]] = {}
        for mark in marks:
            by_line.setdefault(mark.span.line, []).append(mark)
        yield f"{' ' * gutter} {bar}"
        before = None
        for number in sorted(by_line):
            if before is not None and number > before + 1:
                yield self._style("gutter", "." * min(3, gutter + 1))
            before = number
            yield from self._marked_line(place.source, number, by_line[number], gutter)

    def _marked_line(self, source: Source, number: int, marks: list[_Mark], gutter: int) -> Iterator[str]:
        text = source.line(number)
        start = source.offset(number)
        first, text = _window(text, min(m.span.start for m in marks) - start, max(m.span.end for m in marks) - start)
        yield f"{self._style('gutter', str(number).rjust(gutter))} {self._style('gutter', '|')} {_printable(text)}"
        placed = []
        for mark in marks:
            begin = min(max(0, mark.span.start - start - first), len(text))
            placed.append((begin, max(begin + 1, min(mark.span.end - start - first, len(text))), mark))
        for row in _rows(placed):
            yield f"{' ' * gutter} {self._style('gutter', '|')} {self._underlines(text, row)}"

    def _underlines(self, text: str, row: list[tuple[int, int, _Mark, bool]]) -> str:
        """One row of underlines and labels, left to right."""
        pieces = []
        at = 0
        for begin, end, mark, underlined in row:
            pieces.append("".join("\t" if c == "\t" else " " * _columns(c) for c in text[at:begin].ljust(begin - at)))
            sign = ("^" if mark.main else "-") if underlined else ""
            lines = sign * max(1, sum(map(_columns, text[begin:end])))
            label = f"{' ' if lines else ''}{mark.label}" if mark.label else ""
            pieces.append(self._style("error" if mark.main else "gutter", lines + label))
            at = end
        return "".join(pieces)

    def _style(self, name: str, text: str) -> str:
        return f"\x1b[{_STYLES.get(name, '1')}m{text}\x1b[0m" if self.color else text


def _rows(placed: list[tuple[int, int, _Mark]]) -> Iterator[list[tuple[int, int, _Mark, bool]]]:
    """The rows below a line: (from, to, mark, whether it is underlined). What does not overlap is underlined in one row;
    the label of the last stands beside it, the others below."""
    # What the problem is about has a place in the first row.
    waiting = sorted(placed, key=lambda p: (not p[2].main, p[0]))
    while waiting:
        row: list[tuple[int, int, _Mark]] = []
        rest = []
        for begin, end, mark in waiting:
            free = all(end < b or begin > e for b, e, _ in row)
            (row if free else rest).append((begin, end, mark))
        row.sort(key=lambda p: p[0])
        silent = [(b, e, replace(m, label=""), True) for b, e, m in row[:-1]]
        yield [*silent, (*row[-1], True)]
        yield from ([(b, e, m, False)] for b, e, m in reversed(row[:-1]) if m.label)
        waiting = rest


def _few(notes: Sequence[Note]) -> Sequence[Note]:
    """Notes, without the middle of a long chain of calls."""
    if len(notes) <= MOST_NOTES:
        return notes
    between = replace(notes[0], message=f"... {len(notes) - MOST_NOTES} more calls ...", span=None)
    return (*notes[: MOST_NOTES - 3], between, *notes[-3:])


def _shortened(text: str) -> str:
    """A message without the middle of a very long one."""
    if len(text) <= MOST_LETTERS:
        return text
    return f"{text[: MOST_LETTERS // 2]} ... {text[-MOST_LETTERS // 4 :]}"


def _window(text: str, start: int, end: int) -> tuple[int, str]:
    """(where it starts, the part of a line to show): all of it, or what is around the marks where it is long."""
    if len(text) <= WIDTH:
        return 0, text
    first = max(0, min(start - 40, len(text) - WIDTH))
    return first, text[first : first + WIDTH]


def _columns(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _printable(text: str) -> str:
    """The text of a line without what would move the cursor or change the terminal."""
    return "".join(c if c == "\t" or category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}" for c in text)
