"""One canonical layout for `.net` files.

Spaces, indentation and empty lines are ours; line breaks and comments are the writer's. What the writer lined up with
the lines next to it stays lined up: the `=` of bindings, the `->` of a pipe, comments at the ends of lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from diffgraph.diagnostics import CompilerBug, DiffgraphError, Source
from diffgraph.language import syntax
from diffgraph.language.dump import dump
from diffgraph.language.joints import Joint, joints
from diffgraph.language.lexing import CLOSING, CONTINUES, GOES_ON, OPENING, Token
from diffgraph.language.lines import Line, Piece, Placement, settle
from diffgraph.language.parser import parse, parse_with_tokens
from diffgraph.language.reader import Taken
from diffgraph.language.spacing import Spacing
from diffgraph.language.tables import END

_INDENT = 4
_TAB = 4

#: The next lines may stand under what follows these, or under a sign that binds.
_BEFORE_ANCHORS = frozenset("= ~ <- , if return yield output loss metric".split())
_BINDING = frozenset("= ~ <-".split())


def format_file(source: Source) -> str:
    """The text of a file in the canonical layout: it parses to the same tree, holds the same comments, and formats to
    itself. Raises a `DiffgraphError` where the file does not parse."""
    file, taken = parse_with_tokens(source)
    text = _Layout(source, file, taken).text()
    try:
        again = dump(parse(Source(source.name, text)))
    except DiffgraphError as problem:
        raise CompilerBug("fmt", f"the layout of {source.name} would not parse\n{problem}") from problem
    if again != dump(file):
        raise CompilerBug("fmt", f"the layout of {source.name} would change its meaning")
    return text


@dataclass(eq=False)
class Context:
    """An open bracket (or the file), and what has been laid out of the present statement in it.

    A line inside starts at `inside`; the closing bracket, where it is first on a line, at `outside`. `hangs`: the
    bracket ends its line. A line that goes on may stand under one of the `anchors`, an arrow under the `arrow`, which is
    the first of the pipe; the lines of one pipe that start with an arrow do so at `arrows`."""

    kind: str
    inside: Placement
    outside: Placement
    on_one_line: bool = False
    hangs: bool = False
    anchors: list[Piece] = field(default_factory=list)
    arrow: Piece | None = None
    arrows: Placement | None = None
    awaits_anchor: bool = False


class _Layout:
    """Lays the tokens of a file out, one after the other."""

    def __init__(self, source: Source, file: syntax.File, taken: Taken):
        self.source = source
        self.keywords = frozenset(token.start for token, kind in taken if token.kind == "NAME" and kind != "NAME")
        self.spacing = Spacing(file, self.keywords)
        self.joints = joints(source, taken)
        self.apart = _apart(file)
        self.lines: list[Line] = []
        margin = Placement(None, 0)
        self.contexts = [Context("{", margin, margin)]

    def text(self) -> str:
        before: Token | None = None
        for joint in self.joints:
            placement = self._placement(before, joint)
            if joint.separated and (placement is None or _would_go_on(before, joint.token)):
                self._semicolon(joint.token)
            self._comments(before, joint, placement)
            if joint.token.kind != END:
                self._token(before, joint, placement)
            before = joint.token
        settle(self.lines)
        return "".join("\n" * line.after_blank + line.text + "\n" for line in self.lines)

    # ------------------------------------------------------------ where a token goes

    def _placement(self, before: Token | None, joint: Joint) -> Placement | None:
        """Where the token starts a line; None where it goes on in the present one."""
        context = self.contexts[-1]
        token = joint.token
        if before is None:
            return context.inside
        if token.kind == "}" or before.kind == "{" or joint.separated:
            if context.on_one_line:
                return None
            return context.outside if token.kind == "}" else context.inside
        if joint.commented or (joint.broken and not self._joins(before, token)):
            return self._continuation(before, token)
        return None

    def _joins(self, before: Token, token: Token) -> bool:
        """Whether a line break before the token is undone."""
        if token.kind in (")", "]"):
            return not self.contexts[-1].hangs
        return token.kind in ("{", ",") or self._goes_on_after_block(before, token)

    def _goes_on_after_block(self, before: Token, token: Token) -> bool:
        return before.kind == "}" and token.text in ("else", "with")

    def _continuation(self, before: Token, token: Token) -> Placement:
        """Where a line starts that continues the one before."""
        context = self.contexts[-1]
        if token.kind in CLOSING:
            return context.outside if context.hangs else context.inside
        if token.kind == "{" or self._goes_on_after_block(before, token):
            return context.inside
        usual = context.inside.further(_INDENT if context.kind == "{" else 0)
        if before.kind in OPENING:
            return usual
        column = self._written(token)
        if token.kind == "->":
            return self._arrow(context, column, usual)
        for anchor in self._anchors():
            if anchor.written == column:
                return Placement(anchor, 0)
        return usual

    def _arrow(self, context: Context, column: int, usual: Placement) -> Placement:
        """Where a line starts with an arrow: under the first arrow of the pipe where the first such line does."""
        if context.arrows is None:
            under = context.arrow is not None and context.arrow.written == column
            context.arrows = Placement(context.arrow, 0) if under else usual
        return context.arrows

    def _anchors(self) -> list[Piece]:
        """What the writer may have put the start of a line under, the nearest first."""
        anchors: list[Piece] = []
        for context in reversed(self.contexts):
            anchors += reversed(context.anchors)
            if context.hangs or context.kind == "{":
                break
        return anchors

    # ------------------------------------------------------------ laying out

    def _comments(self, before: Token | None, joint: Joint, placement: Placement | None) -> None:
        if joint.trailing is not None:
            self.lines[-1].pieces.append(self._piece(joint.trailing, 2))
        context = self.contexts[-1]
        if joint.token.kind in ("}", END) or placement is None:
            placement = context.inside
        goes_on = None if joint.trailing is None else self.lines[-1].pieces[-1]
        for comment, after_blank in joint.comments:
            if goes_on is not None and (after_blank or self._written(comment) != goes_on.written):
                goes_on = None
            where = placement if goes_on is None else Placement(goes_on, 0)
            self._open_line(where, after_blank and self._may_be_apart(before, joint, comment))
            self.lines[-1].pieces.append(self._piece(comment, 0))

    def _may_be_apart(self, before: Token | None, joint: Joint, comment: Token | None = None) -> bool:
        """Whether an empty line may stand before the token, or the comment before it."""
        opens = before is None or before.kind == "{"
        is_first = not joint.comments if comment is None else comment is joint.comments[0][0]
        if opens and is_first:
            return False
        return opens or joint.separated or joint.token.kind in ("}", END)

    def _open_line(self, placement: Placement, after_blank: bool) -> None:
        self.lines.append(Line(placement, after_blank))

    def _token(self, before: Token | None, joint: Joint, placement: Placement | None) -> None:
        token = joint.token
        context = self.contexts[-1]
        if before is None or joint.separated or before.kind == "{":
            _start_statement(context)
        if placement is not None:
            is_apart = token.kind != "}" and self._may_be_apart(before, joint)
            self._open_line(placement, joint.after_blank and is_apart)
            self._set_apart(joint)
        piece = self._piece(token, self._gap(before, token))
        line = self.lines[-1]
        if len(line.pieces) == 1 and not context.on_one_line:
            piece.least = self.spacing.least(line.pieces[0].token)
        line.pieces.append(piece)
        self._follow(context, before, joint, piece)

    def _semicolon(self, after: Token) -> None:
        self.lines[-1].pieces.append(Piece(Token(";", ";", after.start, after.start), 0, -1, True, False))

    def _gap(self, before: Token | None, token: Token) -> int:
        if before is None or not self.lines[-1].pieces:
            return 0
        if self.lines[-1].pieces[-1].token.kind == ";":
            return 1
        return self.spacing.gap(before, token, self.contexts[-1].kind == "[")

    def _set_apart(self, joint: Joint) -> None:
        """Sees to the empty line before a declaration, with the comments above it, that has several lines or follows
        one that has."""
        if joint.token.start not in self.apart:
            return
        first = len(self.lines) - 1 - len(joint.comments)
        if first > 0 and not any(line.after_blank for line in self.lines[first:]):
            self.lines[first].after_blank = True

    def _follow(self, context: Context, before: Token | None, joint: Joint, piece: Piece) -> None:
        """Notes what the token means for those that come after it."""
        token = joint.token
        if before is not None and before.kind in ("(", "["):
            self._first_inside(context, piece)
        elif context.awaits_anchor:
            context.anchors.append(piece)
        if token.kind in _BINDING and context.kind == "{":
            context.anchors.append(piece)
        is_name = token.kind == "NAME" and token.start not in self.keywords
        context.awaits_anchor = token.text in _BEFORE_ANCHORS and not is_name
        if token.kind == "->" and context.arrow is None:
            context.arrow = piece
        elif token.kind == "," and context.kind != "{":
            context.arrow = context.arrows = None
        if token.kind in OPENING:
            self._enter(token, joint)
        elif token.kind in CLOSING:
            self.contexts.pop()

    def _first_inside(self, context: Context, piece: Piece) -> None:
        if piece is self.lines[-1].pieces[0]:
            context.hangs = True
        elif piece.token.kind not in CLOSING:
            context.anchors.append(piece)
            context.inside = Placement(piece, 0)

    def _enter(self, token: Token, joint: Joint) -> None:
        around = self.contexts[-1]
        start = around.inside if token.kind == "{" and around.kind == "{" else self.lines[-1].placement
        self.contexts.append(Context(token.kind, start.further(_INDENT), start, joint.on_one_line))

    # ------------------------------------------------------------ the source

    def _piece(self, token: Token, gap: int) -> Piece:
        line, column = self.source.position(token.start)
        before = self.source.line(line)[: column - 1]
        leads = not before.strip()
        return Piece(
            token, gap, self._written(token), leads, not leads and before[-2:] != before[-1:] and before[-2:].isspace()
        )

    def _written(self, token: Token) -> int:
        line, column = self.source.position(token.start)
        return len(self.source.line(line)[: column - 1].expandtabs(_TAB))


def _would_go_on(before: Token, after: Token) -> bool:
    """Whether a line break alone does not end the statement between the two."""
    return before.text in GOES_ON or after.text in CONTINUES


def _start_statement(context: Context) -> None:
    context.anchors = []
    context.arrow = context.arrows = None
    context.awaits_anchor = False


def _apart(file: syntax.File) -> frozenset[int]:
    """Where the declarations start that an empty line stands before: one of several lines, or one after such."""
    result = set()
    follows_long = False
    for declaration in file.declarations:
        is_long = "\n" in declaration.span.text
        if is_long or follows_long:
            result.add(declaration.span.start)
        follows_long = is_long
    return frozenset(result)
