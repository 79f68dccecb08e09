"""Lines of text whose columns are still open: tokens with their gaps, and what stands under what."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffgraph.language.lexing import Token

#: Signs of one class are lined up with each other where the writer did so.
_CLASSES = {"=": "binding", "~": "binding", "<-": "binding"}

_COMMENT = "COMMENT"


@dataclass(eq=False)
class Piece:
    """A token on a line. `gap` are the spaces before it, `least` the column, from the start of the line's first token,
    that it does not come before. In the source, `written` is its column, `leads` whether it is first on its line,
    `padded` whether it has more than a space before it."""

    token: Token
    gap: int
    written: int
    leads: bool
    padded: bool
    least: int = 0
    column: int = 0

    @property
    def text(self) -> str:
        if self.token.kind != _COMMENT:
            return self.token.text
        body = self.token.text.rstrip()
        return f"# {body[1:]}" if body[1:2].isalnum() else body

    @property
    def kind(self) -> str | None:
        """The class of what may be lined up with this, or None."""
        kind = self.token.kind
        if self.leads or self.gap == 0 or kind in ("NAME", "INT", "FLOAT", "STRING", "TEMPLATE"):
            return None
        return _CLASSES.get(kind, kind)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a line starts: `offset` columns from the start of another piece, or from the margin."""

    under: Piece | None
    offset: int

    def further(self, columns: int) -> Placement:
        return Placement(self.under, self.offset + columns)

    @property
    def column(self) -> int:
        return (self.under.column if self.under is not None else 0) + self.offset


@dataclass(eq=False)
class Line:
    """A line of the layout; `after_blank` where an empty line stands before it."""

    placement: Placement
    after_blank: bool
    pieces: list[Piece] = field(default_factory=list)

    @property
    def text(self) -> str:
        result = ""
        for piece in self.pieces:
            result += " " * (piece.column - len(result)) + piece.text
        return result


def settle(lines: list[Line]) -> None:
    """Gives every piece its column: as far left as the gaps allow, but what the writer lined up with the lines next to
    it stays lined up."""
    groups = _groups(lines)
    wanted: dict[Piece, int] = {}
    # Moving a piece moves those to its right, and the lines that start under them, never anything before: columns only
    # grow, and settle from left to right and from above to below.
    moved = True
    while moved:
        _place(lines, wanted)
        moved = False
        for group in groups:
            column = max(piece.column for piece in group)
            if any(piece.column != column for piece in group):
                wanted.update((piece, column) for piece in group)
                moved = True


def _place(lines: list[Line], wanted: dict[Piece, int]) -> None:
    for line in lines:
        start = line.placement.column
        column = start
        for piece in line.pieces:
            column = max(column + piece.gap, start + piece.least, wanted.get(piece, 0)) if column > start else start
            piece.column = column
            column += len(piece.text)


def _groups(lines: list[Line]) -> list[list[Piece]]:
    """Pieces that the writer lined up: in one column of lines in a row that start alike, of one class, one of them at
    least by padding. Between comments there may be lines without one."""
    groups: list[list[Piece]] = []
    above: dict[tuple, list[Piece]] = {}
    starts = _Starts(lines)
    for line in lines:
        here = {} if line.after_blank else {key: group for key, group in above.items() if key[2] == _COMMENT}
        start = starts.of(line)
        for piece in line.pieces[1:]:
            if piece.kind is None:
                continue
            key = (start, piece.written, piece.kind)
            group = above.get(key)
            if group is None or line.after_blank:
                group = []
                groups.append(group)
            group.append(piece)
            here[key] = group
        above = here
    return [group for group in groups if len(group) > 1 and any(piece.padded for piece in group)]


class _Starts:
    """Lines that start in one column whatever becomes of the columns: only those can be lined up with each other."""

    def __init__(self, lines: list[Line]):
        self.first = {line.pieces[0]: line for line in lines}

    def of(self, line: Line) -> tuple[Piece | None, int]:
        placement = line.placement
        while placement.offset == 0 and placement.under in self.first:
            placement = self.first[placement.under].placement
        return placement.under, placement.offset
