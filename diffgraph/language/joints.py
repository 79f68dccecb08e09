"""The tokens of a file that parses, each with what stands before it: comments, line breaks, empty lines."""

from __future__ import annotations

from dataclasses import dataclass, field

from diffgraph.diagnostics import Source
from diffgraph.language.lexing import CLOSING, OPENING, Token, tokenize
from diffgraph.language.reader import Taken
from diffgraph.language.tables import tables


@dataclass(eq=False)
class Joint:
    """A token and what stands before it.

    `trailing` is the comment at the end of the line of the token before; `comments` are those on lines of their own,
    each with whether an empty line stands before it, as `after_blank` says of the token itself. `separated`: a
    statement ends before the token. `broken`: it is on another line than the token before. `on_one_line`: for an
    opening brace, that its block is written on one line."""

    token: Token
    trailing: Token | None = None
    comments: list[tuple[Token, bool]] = field(default_factory=list)
    separated: bool = False
    broken: bool = False
    after_blank: bool = False
    on_one_line: bool = False

    @property
    def commented(self) -> bool:
        return self.trailing is not None or bool(self.comments)


def joints(source: Source, taken: Taken) -> list[Joint]:
    """The joints of a file, the last being that of the `END` token."""
    trivia = [token for token in tokenize(source, tables(), []) if token.kind in ("COMMENT", "_LINE_END")]
    # At the same place a line end comes before the separator that it was taken for.
    mixed = [(token, False) for token in trivia] + [(token, True) for token, _ in taken]
    result: list[Joint] = []
    before = Joint(Token("", "", 0, 0), broken=True)
    breaks = 0
    for token, is_taken in sorted(mixed, key=lambda pair: (pair[0].start, pair[1])):
        if token.kind == "_LINE_END":
            before.separated |= is_taken
            is_break = not is_taken and token.text != ";"
            breaks += is_break
            before.broken |= is_break
        elif token.kind == "COMMENT":
            if before.broken or before.commented:
                before.comments.append((token, breaks > 1))
            else:
                before.trailing = token
            breaks = 0
        else:
            before.token = token
            before.after_blank = breaks > 1
            result.append(before)
            before = Joint(token)
            breaks = 0
    result = _without_last_commas(result)
    _mark_blocks(source, result)
    return result


def _without_last_commas(all_joints: list[Joint]) -> list[Joint]:
    """The joints without the commas that a closing bracket follows; what stands before such a comma comes before the
    bracket. Where both brackets are at an end of a line, a last comma makes each line like the others, and stays."""
    result: list[Joint] = []
    hanging: list[bool] = []
    for joint, after in zip(all_joints, [*all_joints[1:], Joint(all_joints[-1].token)]):
        if joint.token.kind in OPENING:
            hanging.append(after.broken or after.commented)
        hangs = joint.token.kind in CLOSING and hanging.pop() and (joint.broken or joint.commented)
        if joint.token.kind in (")", "]") and result[-1].token.kind == "," and not hangs:
            comma = result.pop()
            if comma.commented and joint.trailing is not None:
                joint.comments.insert(0, (joint.trailing, False))
            if comma.commented:
                joint.trailing = comma.trailing
            joint.comments[:0] = comma.comments
            joint.broken |= comma.broken
        result.append(joint)
    return result


def _mark_blocks(source: Source, all_joints: list[Joint]) -> None:
    opened: list[int] = []
    for index, joint in enumerate(all_joints):
        if joint.token.kind in OPENING:
            opened.append(index)
        elif joint.token.kind in CLOSING:
            start = opened.pop()
            block = source.text[all_joints[start].token.end : joint.token.start]
            is_empty = start + 1 == index and not joint.commented
            all_joints[start].on_one_line = is_empty or not any(end in block for end in "\r\n")
