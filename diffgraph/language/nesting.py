"""Brackets, looked at before anything is parsed: how deep they nest, and which have no partner.

A bracket without a partner is reported at its own place, then mended where it was most likely meant to end, so that the
rest of the file can be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, Source, Span
from diffgraph.language.braces import Fix, fixes
from diffgraph.language.lexing import CLOSING, CONTINUES, GOES_ON, MOST_PROBLEMS, OPENING, Token
from diffgraph.language.limits import limits, raise_by

#: How many operations may stand inside one another, those of surrounding brackets included. What walks a syntax tree
#: calls itself two or three times an operation, and Python allows a thousand calls.
DEEPEST_EXPRESSION = 200

#: An `else` counts three times: `else if` nests a statement in a block.
_OPERATIONS = frozenset("+ - * / // % @ ^ == != < <= > >= ~= .. . or and not else".split())
_SEPARATORS = frozenset(", : = ~ <- -> _LINE_END".split())

#: How many words what stands in braces in a string counts as.
WORDS_OF_INTERPOLATION = 5

#: Words that start a declaration. (`optimizer` starts a field of a train block as well.)
_DECLARATIONS = frozenset("net layer fn train expect import from".split())


def refuse_depth(source: Source, tokens: Iterable[Token]) -> Iterator[Token]:
    """Hands the tokens on; raises a `DiffgraphError` at the first that is too deep.

    Tokens as they come from the text may be checked before anything else is done with them, so that a text made to
    exhaust the machine costs no more than reading up to there; but a line that goes on in the next counts from zero
    there. Tokens whose line ends all separate are measured exactly."""
    deepest = limits().nesting
    base = [0]
    depth = [0]
    in_parentheses = [False]
    most = limits().nodes
    for number, token in enumerate(tokens):
        if token.kind == "STRING":
            most -= WORDS_OF_INTERPOLATION * token.text.count("{")
        if number >= most:
            span = Span(source, token.start, token.end)
            text = f"the text has more than {limits().nodes:,} words and signs"
            raise DiffgraphError(Diagnostic("DG101", text, span, help=raise_by("nodes")))
        kind = token.text if token.kind == "NAME" else token.kind
        if kind in OPENING:
            base.append(depth[-1] + 1)
            depth.append(depth[-1] + 1)
            in_parentheses.append(kind != "{")
            if len(base) > deepest + 1:
                raise _too_deep("DG108", f"brackets nest more than {deepest} deep here", source, token)
        elif kind in CLOSING:
            if len(base) > 1:
                base.pop()
                depth.pop()
                in_parentheses.pop()
                # What follows a bracket is one deeper than what stood before it: `f(x)(y)`, `x[0][1]`.
                depth[-1] += kind != "}"
        elif kind in _SEPARATORS:
            if kind != "_LINE_END" or not in_parentheses[-1]:
                depth[-1] = base[-1]
        elif kind in _OPERATIONS:
            depth[-1] += 3 if kind == "else" else 1
        if depth[-1] > DEEPEST_EXPRESSION:
            raise _too_deep("DG109", f"more than {DEEPEST_EXPRESSION} operations stand in one another", source, token)
        yield token


def _too_deep(code: str, message: str, source: Source, token: Token) -> DiffgraphError:
    span = Span(source, token.start, token.end)
    return DiffgraphError(Diagnostic(code, message, span, help="bind a part of it to a name of its own"))


class Repair:
    """What `balance` did: the tokens with every bracket in a pair, and the stretches of text that hold a mistake which
    has been reported, so that what follows from it is not."""

    def __init__(self, tokens: list[Token], stretches: list[tuple[int, int]]):
        self.tokens = tokens
        self.stretches = stretches

    def touches(self, place: Token | Span) -> bool:
        """Whether a problem at this place may be a consequence of a mistake that has been reported already."""
        return any(start <= place.start <= end for start, end in self.stretches)


def balance(source: Source, tokens: list[Token], problems: list[Diagnostic]) -> Repair:
    """Pairs the brackets, which nest no deeper than they may; reports those without a partner.

    `problems` holds what was met so far, in tokens themselves. Where there are `MOST_PROBLEMS` or more in the end, some
    brackets may still be without a partner."""
    stretches = [_line(source, problem.span.start) for problem in problems]
    pairs = _Pairs(tokens)
    if pairs.blocks_are_wrong():
        tokens, pairs = _mend_blocks(source, tokens, pairs, problems)
    if not pairs.wrong:
        return Repair(tokens, stretches)
    for index in pairs.unopened[:MOST_PROBLEMS]:
        problems.append(_unopened(source, tokens[index]))
        stretches.append(_line(source, tokens[index].start))
    added: dict[int, list[Token]] = {}
    for opener, noticed in pairs.unclosed[:MOST_PROBLEMS]:
        problems.append(_unclosed(source, tokens, opener, noticed))
        place = _likely_end(tokens, opener, noticed)
        closer = _added(OPENING[tokens[opener].kind], tokens, place)
        added.setdefault(place, []).append(closer)
        if closer.kind != "}":
            stretches.append((tokens[opener].start, closer.end))
    return Repair(list(_changed(tokens, frozenset(pairs.unopened), added)), stretches)


def _mend_blocks(source: Source, tokens: list[Token], pairs: _Pairs, problems: list[Diagnostic]):
    """The tokens with their braces as the lines are indented, where that explains what is wrong at least as well as
    counting does; else with a declaration ending any block."""
    found = fixes(source, tokens)
    left_out = frozenset(fix.brace for fix in found if fix.kind == "unopened")
    added: dict[int, list[Token]] = {}
    for fix in found:
        if fix.kind != "unopened":
            brace = "}" if fix.kind == "unclosed" else "{"
            added.setdefault(fix.place, []).append(_added(brace, tokens, fix.place))
    mended = list(_changed(tokens, left_out, added))
    paired = _Pairs(mended)
    if len(found) + paired.wrong <= pairs.wrong and not paired.blocks_are_wrong():
        problems += (_explain(source, tokens, fix) for fix in found)
        return mended, paired
    if any(tokens[opener].kind == "{" for opener, _ in pairs.unclosed):
        # A block that is never closed would swallow the rest of the file: a declaration ends it.
        return tokens, _Pairs(tokens, declarations_end_blocks=True)
    return tokens, pairs


def _explain(source: Source, tokens: list[Token], fix: Fix) -> Diagnostic:
    if fix.kind == "unopened":
        return _unopened(source, tokens[fix.brace])
    if fix.kind == "unclosed":
        following = fix.place
        while following < len(tokens) and tokens[following].kind in ("COMMENT", "_LINE_END"):
            following += 1
        return _unclosed(source, tokens, fix.brace, following)
    header = tokens[fix.brace]
    place = Span(source, tokens[fix.place - 1].end, tokens[fix.place - 1].end)
    text = source.text[header.start : place.end]
    return Diagnostic("DG132", "a block is missing its `{`", place, help=f"write `{text} {{`")


def _added(kind: str, tokens: list[Token], place: int) -> Token:
    """A bracket of no width behind the token before `place`."""
    offset = tokens[place - 1].end
    return Token(kind, kind, offset, offset)


def _line(source: Source, place: int) -> tuple[int, int]:
    """The stretch of the line that a place is on."""
    start = source.text.rfind("\n", 0, place) + 1
    end = source.text.find("\n", place)
    return start, end if end >= 0 else len(source.text)


def _changed(tokens: list[Token], left_out: frozenset[int], added: dict[int, list[Token]]) -> Iterator[Token]:
    for index in range(len(tokens) + 1):
        yield from added.get(index, ())
        if index < len(tokens) and index not in left_out:
            yield tokens[index]


class _Pairs:
    """`unclosed`: (opening bracket, token at which that was noticed), the innermost first; `unopened`: closing ones."""

    def __init__(self, tokens: list[Token], declarations_end_blocks: bool = False):
        self.tokens = tokens
        self.open: list[int] = []
        self.unclosed: list[tuple[int, int]] = []
        self.unopened: list[int] = []
        for index, token in enumerate(tokens):
            if token.kind in OPENING:
                self.open.append(index)
            elif token.kind in CLOSING:
                self._close(index)
            elif declarations_end_blocks and self.open and _starts_declaration(tokens, index):
                self._give_up(0, index)
        self._give_up(0, len(tokens))

    @property
    def wrong(self) -> int:
        """How many brackets have no partner."""
        return len(self.unclosed) + len(self.unopened)

    def blocks_are_wrong(self) -> bool:
        """Whether a brace is among them."""
        wrong = [opener for opener, _ in self.unclosed] + self.unopened
        return any(self.tokens[index].kind in "{}" for index in wrong)

    def _close(self, index: int) -> None:
        closer = self.tokens[index].kind
        opener = CLOSING[closer]
        for level in range(len(self.open) - 1, -1, -1):
            kind = self.tokens[self.open[level]].kind
            if kind == opener and not (closer == "}" and self._is_inside_line(level, index)):
                self._give_up(level + 1, index)
                self.open.pop()
                return
            if kind == "{" and self._line_ends_between(self.open[level], index):
                break  # A parenthesis does not close one that was opened before the block.
        self.unopened.append(index)

    def _is_inside_line(self, level: int, index: int) -> bool:
        """Whether parentheses above this level close later in the line: then a brace between them is one too many."""
        depth = len(self.open) - 1 - level
        for at in range(index + 1, len(self.tokens)) if depth > 0 else ():
            token = self.tokens[at]
            if depth <= 0 or token.kind == "_LINE_END":
                break
            depth += (token.kind in ("(", "[")) - (token.kind in (")", "]"))
        return level + 1 < len(self.open) and depth <= 0

    def _line_ends_between(self, first: int, last: int) -> bool:
        return any(self.tokens[k].kind == "_LINE_END" for k in range(last - 1, first - 1, -1))

    def _give_up(self, level: int, noticed: int) -> None:
        while len(self.open) > level:
            self.unclosed.append((self.open.pop(), noticed))


def _starts_declaration(tokens: list[Token], index: int) -> bool:
    if tokens[index].text not in _DECLARATIONS or index + 1 >= len(tokens) or not _starts_line(tokens, index):
        return False
    return tokens[index + 1].kind in ("NAME", "STRING")


def _starts_line(tokens: list[Token], index: int) -> bool:
    return index == 0 or tokens[index - 1].kind == "_LINE_END"


def _likely_end(tokens: list[Token], opener: int, noticed: int) -> int:
    """The index before which the missing bracket belongs: a block ends where that was noticed, anything else with the
    first line whose next does not continue it."""
    last = _last_significant(tokens, noticed)
    if tokens[opener].kind == "{":
        return last + 1
    depth = 0
    for index in range(opener + 1, noticed):
        kind = tokens[index].kind
        depth += (kind in OPENING) - (kind in CLOSING)
        if kind == "_LINE_END" and depth == 0 and _line_stands_alone(tokens, index, noticed):
            return _last_significant(tokens, index) + 1
    return last + 1


def _last_significant(tokens: list[Token], before: int) -> int:
    index = before - 1
    while tokens[index].kind in ("COMMENT", "_LINE_END"):
        index -= 1
    return index


def _line_stands_alone(tokens: list[Token], line_end: int, stop: int) -> bool:
    following = line_end + 1
    while following < stop and tokens[following].kind in ("COMMENT", "_LINE_END"):
        following += 1
    if following == stop:
        return True
    before = tokens[_last_significant(tokens, line_end)]
    return before.text not in GOES_ON and before.kind not in OPENING and tokens[following].text not in CONTINUES


def _unopened(source: Source, token: Token) -> Diagnostic:
    opener = CLOSING[token.kind]
    span = Span(source, token.start, token.end)
    return Diagnostic("DG131", f"this `{token.kind}` closes no `{opener}`", span, help="remove it, or open it before")


def _unclosed(source: Source, tokens: list[Token], opener: int, noticed: int) -> Diagnostic:
    token = tokens[opener]
    notes: tuple[Note, ...] = ()
    if noticed < len(tokens):
        found = tokens[noticed]
        place = Span(source, found.start, found.end)
        line = source.position(token.start)[0]
        notes = (Note(f"`{found.text}` was found first", place),) if place.line != line else ()
    span = Span(source, token.start, token.end)
    message = f"this `{token.kind}` is never closed"
    return Diagnostic("DG130", message, span, notes, help=f"add the missing `{OPENING[token.kind]}`")
