"""Where reading stopped, and what is said of it: what the knowledge of mistakes works on."""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.diagnostics import Diagnostic, Source, Span
from diffgraph.language.automaton import Automaton
from diffgraph.language.expressions import shortened
from diffgraph.language.lexing import CLOSING, OPENING, Token
from diffgraph.language.tables import END

COMPARISONS = frozenset("== != < <= > >= ~=".split())
OPERATORS = frozenset("+ - * / // % @ ^ .. -> or and ( [ . if as".split()) | COMPARISONS
STARTS_OF_EXPRESSIONS = frozenset("NAME INT FLOAT STRING true false ( [ - scan not".split())
STARTS_OF_STATEMENTS = frozenset("param state input target output loss metric return if for assert next yield".split())

#: What ends a statement.
ENDS = frozenset(["_LINE_END", END, "}"])

_AFTER_OPERANDS = frozenset(["and", "or", ",", "{", "if", "else"])


@dataclass
class Stop:
    """Where reading stopped: at `token`. `read` is what had been read of the statement, which began in the state on
    top of `states`; `pending` is what follows, the next token last."""

    source: Source
    automaton: Automaton
    states: list[int]
    read: list[Token]
    token: Token
    pending: list[Token]

    def __post_init__(self):
        self.accepted = frozenset(self.automaton.acceptable())
        self.previous = self.read[-1] if self.read else None
        self.next = self.pending[-1] if self.pending else self.token

    @property
    def wants_expression(self) -> bool:
        return {"NAME", "INT", "("} <= self.accepted

    @property
    def first(self) -> str:
        """The first word of the statement."""
        return self.read[0].text if self.read else ""

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    @property
    def place(self) -> Span:
        """The token itself; where a line ends too soon, the place after what was read of it."""
        if self.line_ended or (self.token.kind == END and self.previous is not None):
            return Span(self.source, self.previous.end, self.previous.end)
        return self.span(self.token)

    @property
    def line_ended(self) -> bool:
        """Whether a line was left too soon."""
        if self.previous is None or self.token.kind not in ENDS or self.token.text == ";":
            return False
        return "\n" in self.source.text[self.previous.end : self.token.end]

    @property
    def found(self) -> str:
        """The token in words."""
        if self.token.kind == END:
            return "the end of the file" if self.token.end == len(self.source.text) else "the end of the braces"
        if self.line_ended:
            return "the end of the line"
        return f"`{shortened(self.token.text)}`"

    @property
    def row(self) -> dict[str, int]:
        """What can start the statement."""
        return self.automaton.tables.actions[self.states[-1]]

    def open_bracket(self) -> Token | None:
        """The innermost parenthesis or square bracket that is open in this statement."""
        depth = 0
        for token in reversed(self.read):
            depth += (token.kind in (")", "]")) - (token.kind in ("(", "["))
            if depth < 0:
                return token
        return None

    def operand_ahead(self) -> str:
        """The text of the operand that follows."""
        depth = 0
        end = self.token.end
        for token in reversed(self.pending):
            if depth == 0 and (token.kind in ENDS or token.kind in CLOSING or token.text in _AFTER_OPERANDS):
                break
            depth += (token.kind in OPENING) - (token.kind in CLOSING)
            end = token.end
        return shortened(self.source.text[self.token.end : end]) or "..."


@dataclass
class Diagnosis:
    """What is wrong, and how to read on.

    Where it is plain what was meant, `instead` are the tokens to read in place of the token, or (`from_start`) of the
    whole statement up to it; `taken` of those that follow are part of the mistake. Else the statement is left out,
    but for the last `unread` tokens of what had been read, which begin the next one."""

    diagnostic: Diagnostic
    instead: list[Token] | None = None
    from_start: bool = False
    taken: int = 0
    unread: int = 0


def found(code, message, span, help=None, instead=None, from_start=False) -> Diagnosis:
    """A diagnosis without notes."""
    return Diagnosis(Diagnostic(code, message, span, help=help), instead, from_start)
