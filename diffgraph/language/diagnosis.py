"""Says what is wrong where reading stopped: a mistake that is known, or in general words what was expected."""

from __future__ import annotations

from diffgraph.diagnostics import Diagnostic, Note
from diffgraph.language.expressions import shortened
from diffgraph.language.lexing import OPENING, Token
from diffgraph.language.mistakes import MISTAKES, misspelt_word
from diffgraph.language.stop import (
    ENDS,
    OPERATORS,
    STARTS_OF_EXPRESSIONS,
    STARTS_OF_STATEMENTS,
    Diagnosis,
    Stop,
    found,
)
from diffgraph.language.tables import END
from diffgraph.language.words import RESERVED


def diagnose(stop: Stop) -> Diagnosis:
    """What is wrong, and how to read on."""
    for knows in (*MISTAKES, _incomplete, misspelt_word, _missing_separator):
        diagnosis = knows(stop)
        if diagnosis is not None:
            return diagnosis
    return _expected(stop)


def _incomplete(stop: Stop) -> Diagnosis | None:
    """`x =` and the line ends."""
    if not stop.wants_expression or stop.previous is None:
        return None
    if stop.token.kind not in ENDS and stop.token.kind not in (")", "]", ","):
        return None
    after = shortened(stop.previous.text)
    help = None
    if stop.token.kind == "_LINE_END" and stop.previous.kind in ("=", "~", "<-") and stop.pending:
        help = f"start the expression on the line of the `{after}`; it may go on in the next ones"
    return found("DG110", f"expected an expression after `{after}`, found {stop.found}", stop.place, help)


def _missing_separator(stop: Stop) -> Diagnosis | None:
    """Two things side by side: in brackets a comma is missing, elsewhere a line end."""
    starts_operand = stop.token.kind in STARTS_OF_EXPRESSIONS or stop.token.kind in STARTS_OF_STATEMENTS
    if not starts_operand or stop.wants_expression or stop.previous is None:
        return None
    opener = stop.open_bracket()
    if opener is not None and "," in stop.accepted:
        closer = OPENING[opener.kind]
        message = f"expected `,` or `{closer}` before {stop.found}"
        help = "put a comma or an operator between the two"
        problem = Diagnostic("DG150", message, stop.place, _bracket_note(stop, opener), help=help)
        # Read on as if the comma stood here, so that what follows is looked at, too.
        return Diagnosis(problem, [Token(",", ",", stop.token.start, stop.token.start), stop.token])
    if opener is None and "_LINE_END" in stop.accepted:
        before = shortened(stop.previous.text)
        message = f"expected the end of the line after `{before}`, found {stop.found}"
        help = "start another line, or put `;` between two statements"
        instead = [Token("_LINE_END", ";", stop.token.start, stop.token.start), stop.token]
        return found("DG151", message, stop.place, help, instead if stop.previous.text == "}" else None)
    return None


def _expected(stop: Stop) -> Diagnosis:
    message = f"expected {_in_words(stop)}, found {stop.found}"
    opener = stop.open_bracket()
    notes = _bracket_note(stop, opener) if opener is not None else ()
    help = None
    if stop.token.text in RESERVED and stop.wants_expression:
        help = f"`{stop.token.text}` is a reserved word"
    if stop.accepted & {"else"} and "if" not in stop.accepted:
        help = "a choice has both sides: `a if c else b`"
    return Diagnosis(Diagnostic("DG110", message, stop.place, notes, help=help))


def _in_words(stop: Stop) -> str:
    """What could have stood here, the most telling first."""
    rest = set(stop.accepted)
    words = []
    if stop.wants_expression:
        words.append("an expression")
        rest -= STARTS_OF_EXPRESSIONS
    elif "NAME" in rest:
        words.append("a name")
        rest -= {"NAME", "TEMPLATE", "INT"}
    if {"=", "<-", "~"} <= rest:
        rest -= {",", ".", "["}  # They would go on with what is bound, which goes without saying.
    if "STRING" in rest:
        words.append("the name of a file in quotes")
        rest -= {"STRING"}
    if rest & {"+", "->"} and not words:
        # After a whole expression: operators go without saying, where something else can follow as well.
        others = rest - OPERATORS
        words += ["an operator"] if not others - {"_LINE_END", END, "}"} else []
        rest = others
    elif not stop.read:
        return "a declaration" if "net" in rest else "a statement" if "param" in rest else words[0]
    if {"_LINE_END", END} & rest:
        words.append("the end of the line")
    rest -= {"_LINE_END", END, "}"} if words else {"_LINE_END", END}
    words += sorted(f"`{kind}`" for kind in rest if not kind.isupper())
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else "something else"


def _bracket_note(stop: Stop, opener: Token) -> tuple[Note, ...]:
    if stop.source.position(opener.start)[0] == stop.place.line:
        return ()
    return (Note(f"inside this `{opener.text}`", stop.span(opener)),)
