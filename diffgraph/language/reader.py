"""Drives the automaton over the tokens of a text, and gets it going again after a mistake.

A statement that cannot be read is reported, mended where that is safe (a misspelt keyword), or else left out: the
automaton returns to where the statement began and goes on after its end. So one run finds the mistakes of every
statement, and none is a consequence of another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from diffgraph.diagnostics import Diagnostic, Source
from diffgraph.language.automaton import Automaton
from diffgraph.language.diagnosis import diagnose
from diffgraph.language.lexing import CLOSING, MOST_PROBLEMS, OPENING, Token, significant, tokenize
from diffgraph.language.follow_ups import without_follow_ups
from diffgraph.language.nesting import Repair, balance, refuse_depth
from diffgraph.language.stop import Diagnosis, Stop
from diffgraph.language.tables import END, tables
from diffgraph.language.tree import TreeBuilder
from diffgraph.language.words import RESERVED

#: How often one statement is mended before it is left out.
_MOST_REPAIRS = 4

#: What the grammar calls a statement in each kind of braces.
_STATEMENTS = ("_declaration", "_statement", "_field", "_claim")

#: What stands between the braces of a statement that starts with this word.
_BODIES = {
    "train": "fields",
    "expect": "claims",
    **dict.fromkeys(("net", "layer", "fn", "optimizer", "if", "for", "with"), "block"),
}


#: The tokens of a text, each with the terminal it was taken for: a keyword is a word taken for itself.
Taken = list[tuple[Token, str]]


class Reader:
    """Reads stretches of a source, each with a start symbol of the grammar, and collects what is wrong with them."""

    def __init__(self, source: Source):
        self.source = source
        self.errors: list[Diagnostic] = []
        self.builder = TreeBuilder(source, self._inside)

    def read(self, start: str, begin: int, end: int, taken: Taken | None = None):
        """The value of a stretch, or None where it has errors. `taken` receives its tokens."""
        found: list[Diagnostic] = []
        tokens = list(refuse_depth(self.source, tokenize(self.source, tables(), found, begin, end)))
        repair = balance(self.source, tokens, found)
        self.errors += found
        if len(self.errors) >= MOST_PROBLEMS:
            return None
        stream = list(refuse_depth(self.source, significant(repair.tokens, end)))
        noted = self.builder.problems
        before = len(noted)
        value = _Run(self, start, stream, repair, taken).result()
        noted[before:] = [problem for problem in noted[before:] if not repair.touches(problem.span)]
        return value

    def problems(self) -> list[Diagnostic]:
        """Everything found, in the order of the text."""
        found = sorted(self.errors + self.builder.problems, key=lambda p: (p.span.start, p.span.end))
        return without_follow_ups(found)[:MOST_PROBLEMS]

    def _inside(self, start: int, end: int):
        value = self.read("interpolation", start, end)
        return self.builder.nothing(start, end) if value is None else value


@dataclass
class Mark:
    """Where a statement begins: the stacks of the automaton, and what has been read of the statement since.

    `depth` counts the parentheses and square brackets that are open; blocks inside the statement have marks of their
    own. `noted` is how many problems the builder had by then."""

    states: list[int]
    values: list
    starts: list[int]
    noted: int
    read: list[Token] = field(default_factory=list)
    depth: int = 0
    repairs: int = 0
    reported: int = -1

    @property
    def holds_block(self) -> bool:
        return any(token.kind == "}" for token in self.read)


class _Run:
    """One pass over a list of tokens that ends with `END`."""

    def __init__(self, reader: Reader, start: str, tokens: list[Token], repair: Repair, taken: Taken | None = None):
        self.reader = reader
        self.taken = taken
        self.repair = repair
        self.automaton = Automaton(tables(), start, reader.builder.build, tokens[0].start)
        self.pending = tokens[::-1]
        self.marks = [self._mark()]
        self.failed = False

    def result(self):
        """The value of the tokens, or None where they have errors."""
        while self.pending:
            token = self.pending.pop()
            kind = self._kind(token)
            if kind not in self.automaton.row and (pieces := self._split(token)):
                self.pending.extend(reversed(pieces))
            elif self.automaton.feed(token, kind):
                self._note(token, kind)
            elif not self._recover(token):
                return None
        return None if self.failed else self.automaton.values[0]

    # ------------------------------------------------------------ reading on

    def _note(self, token: Token, kind: str) -> None:
        if self.taken is not None:
            self.taken.append((token, kind))
        if kind == "_LINE_END":
            self.marks[-1] = self._mark()
            return
        if kind == "}":
            self.marks.pop()
        mark = self.marks[-1]
        mark.read.append(token)
        if kind in ("(", "["):
            mark.depth += 1
        elif kind in (")", "]"):
            mark.depth -= 1
        elif kind == "{":
            self.marks.append(self._mark())

    def _mark(self) -> Mark:
        stacks = self.automaton
        noted = len(self.reader.builder.problems)
        return Mark(list(stacks.states), list(stacks.values), list(stacks.starts), noted)

    def _kind(self, token: Token) -> str:
        """A word is a keyword where one may stand, unless what follows shows that it is a name."""
        word = token.text
        if token.kind != "NAME" or word not in self.automaton.tables.words:
            return token.kind
        row = self.automaton.row
        if "NAME" in row and (self._is_after(".") or self._is_after("as")):
            return "NAME"
        if word in RESERVED:
            return word
        if word not in row or ("NAME" in row and not self._may_follow(word) and self._may_follow("NAME")):
            return "NAME"
        return word

    def _is_after(self, text: str) -> bool:
        read = self.marks[-1].read
        return bool(read) and read[-1].text == text

    def _may_follow(self, kind: str) -> bool:
        """Whether the next token can stand after a token of this kind."""
        state = self.automaton.leads(kind)
        if state is None:
            return False
        following = self.pending[-1]
        row = self.automaton.tables.actions[state]
        return following.kind in row or (following.kind == "NAME" and following.text in row)

    def _split(self, token: Token) -> list[Token]:
        """The tokens of a text that was taken for one: `0.1` in `down.0.1`, `<-` in `a <-1`, `name{` in a header."""
        if token.kind == "FLOAT" and self._is_after(".") and token.text.replace(".", "").isdigit():
            return _cut(token, "INT", token.text.index("."), ".", "INT")
        if token.kind == "<-":
            return _cut(token, "<", 1, "-")
        if token.kind == "TEMPLATE" and not token.text.startswith("{"):
            brace = token.start + token.text.index("{")
            word = Token("NAME", self.reader.source.text[token.start : brace], token.start, brace)
            rest = tokenize(self.reader.source, tables(), self.reader.errors, brace, token.end)
            return [word, *significant(rest, token.end)[:-1]]
        return []

    # ------------------------------------------------------------ after a mistake

    def _recover(self, token: Token) -> bool:
        """Reports a token that cannot stand where it does and prepares to go on; False where that is impossible."""
        self.failed = True
        mark = self.marks[-1]
        diagnosis = diagnose(Stop(self.reader.source, self.automaton, mark.states, mark.read, token, self.pending))
        self._report(diagnosis, mark, token)
        if len(self.reader.errors) >= MOST_PROBLEMS:
            return False
        if self._mend(diagnosis, mark):
            return True
        if diagnosis.unread:
            self.pending.append(token)
            self.pending.extend(reversed(mark.read[-diagnosis.unread :]))
            place = self.pending[-1].start
            token = Token("_LINE_END", ";", place, place)
        return self._leave_out(mark, token)

    def _report(self, diagnosis: Diagnosis, mark: Mark, token: Token) -> None:
        is_known = any(self.repair.touches(place) for place in (token, *mark.read[-1:]))
        if token.start > mark.reported and not is_known:
            self.reader.errors.append(diagnosis.diagnostic)
        mark.reported = token.start

    def _mend(self, diagnosis: Diagnosis, mark: Mark) -> bool:
        """Puts other tokens in the place of what was wrong, where the diagnosis knows better ones."""
        if diagnosis.instead is None or mark.repairs == _MOST_REPAIRS:
            return False
        if diagnosis.from_start:
            if mark.holds_block:
                return False
            self._return_to(mark)
        mark.repairs += 1
        del self.pending[len(self.pending) - diagnosis.taken :]
        self.pending.extend(reversed(diagnosis.instead))
        return True

    def _return_to(self, mark: Mark) -> None:
        stacks = self.automaton
        stacks.states[:] = mark.states
        stacks.values[:] = mark.values
        stacks.starts[:] = mark.starts
        del self.reader.builder.problems[mark.noted :]
        mark.read.clear()
        mark.depth = 0

    def _leave_out(self, mark: Mark, token: Token) -> bool:
        """Skips the rest of the statement, and takes it for read."""
        body = _BODIES.get(mark.read[0].text if mark.read else token.text)
        self.pending.append(token)
        self._skip(mark.depth, body)
        if self.pending[-1].kind == END and len(self.marks) > 1:
            return False
        noted = self.reader.builder.problems[mark.noted :]
        self._return_to(mark)
        self.reader.builder.problems += noted
        gotos = self.automaton.tables.gotos[mark.states[-1]]
        statement = next((name for name in _STATEMENTS if name in gotos), None)
        if statement is None:
            return False
        self.automaton.states.append(gotos[statement])
        self.automaton.values.append([])
        self.automaton.starts.append(token.start)
        return True

    def _skip(self, depth: int, body: str | None) -> None:
        """Drops tokens up to the end of the statement; `depth` brackets of it are open."""
        while True:
            kind = self.pending[-1].kind
            if kind == END or (depth == 0 and kind in ("_LINE_END", "}")):
                return
            if kind == "{":
                self._skip_block(body)
                continue
            self.pending.pop()
            depth += kind in OPENING
            depth -= kind in CLOSING

    def _skip_block(self, body: str | None) -> None:
        """Drops a block, but looks for mistakes in it, if it is known what it holds and has lines of its own."""
        block = [self.pending.pop()]
        depth = 1
        while depth and self.pending[-1].kind != END:
            block.append(self.pending.pop())
            depth += block[-1].kind == "{"
            depth -= block[-1].kind == "}"
        if body is not None and "\n" in self.reader.source.text[block[0].end : block[-1].start]:
            end = block[-1].end
            _Run(self.reader, body, [*block, Token(END, "", end, end)], self.repair).result()


def _cut(token: Token, first: str, place: int, second: str, third: str | None = None) -> list[Token]:
    middle = token.start + place
    pieces = [Token(first, token.text[:place], token.start, middle), Token(second, second, middle, middle + 1)]
    if third is not None:
        pieces.append(Token(third, token.text[place + 1 :], middle + 1, token.end))
    return pieces
