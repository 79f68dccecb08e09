"""What a person meant who wrote a token where none of its kind can stand.

Each function of `SITUATIONS` knows one mistake: it looks at the place where reading stopped and gives a diagnosis, or
None. The first that knows wins; `_expected` knows them all, in general words.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffgraph.diagnostics import Diagnostic, Note, Source, Span, suggest
from diffgraph.language.automaton import Automaton
from diffgraph.language.expressions import shortened
from diffgraph.language.lexing import CLOSING, GOES_ON, OPENING, Token
from diffgraph.language.tables import END
from diffgraph.language.words import READABLE, RESERVED

_COMPARISONS = frozenset("== != < <= > >= ~=".split())
_STARTS_OF_EXPRESSIONS = frozenset("NAME INT FLOAT STRING true false ( [ - scan not".split())
_OPERATORS = frozenset("+ - * / // % @ ^ .. -> or and ( [ . if as".split()) | _COMPARISONS
_ARITHMETIC = frozenset("+ - * / // % @ ^".split())
_ENDS = frozenset(["_LINE_END", END, "}"])

#: Words of other languages, and what stands for them here.
_FOREIGN = {
    "def": "fn",
    "func": "fn",
    "function": "fn",
    "class": "layer",
    "module": "layer",
    "model": "net",
    "network": "net",
    "include": "import",
    "dataset": "data",
    "let": "",
    "var": "",
    "val": "",
    "const": "",
}

_STATEMENT_WORDS = frozenset("param state input target output loss metric return if for assert next yield".split())
_DECLARATION_WORDS = frozenset("net layer fn train expect optimizer import from".split())


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
        if self.previous is None or self.token.kind not in _ENDS or self.token.text == ";":
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


def diagnose(stop: Stop) -> Diagnosis:
    """Says what is wrong where reading stopped."""
    for situation in SITUATIONS:
        diagnosis = situation(stop)
        if diagnosis is not None:
            return diagnosis
    return _expected(stop)


# ---------------------------------------------------------------- words


def _word_of_another_language(stop: Stop) -> Diagnosis | None:
    if len(stop.read) != 1 or stop.token.kind != "NAME" or stop.first not in _FOREIGN:
        return None
    word = stop.read[0]
    meant = _FOREIGN[word.text]
    if not meant:
        help = f"a binding has no keyword: `{stop.token.text} = ...`"
        return _diagnosis(stop, "DG140", f"`{word.text}` is no keyword", stop.span(word), help, [stop.token], True)
    if not _accepts_at_start(stop, meant):
        return None
    instead = [_renamed(word, meant), stop.token]
    return _diagnosis(
        stop, "DG140", f"`{word.text}` is no keyword", stop.span(word), f"write `{meant}`", instead, True
    )  # fmt: skip


def _misspelt_first_word(stop: Stop) -> Diagnosis | None:
    """`nett lenet {`: two names in a row where the first is nearly a keyword."""
    if len(stop.read) != 1 or stop.read[0].kind != "NAME" or stop.token.kind not in ("NAME", "STRING", "INT", "FLOAT"):
        return None
    word = stop.read[0]
    words = [w for w in stop.automaton.tables.actions[stop.states[-1]] if w.isidentifier() and w.islower()]
    meant = _nearest(word.text, words) if word.text not in words else None
    if meant is None:
        return None
    instead = [_renamed(word, meant), stop.token]
    return _diagnosis(
        stop, "DG140", f"`{word.text}` is no keyword", stop.span(word), f"did you mean `{meant}`?", instead, True
    )  # fmt: skip


def _misspelt_word(stop: Stop) -> Diagnosis | None:
    """`for i im 0..3`: a name where only a keyword can stand, and it is nearly one."""
    if stop.token.kind != "NAME" or stop.wants_expression:
        return None
    words = [w for w in stop.accepted if w.isidentifier() and w.islower()]
    meant = _nearest(stop.token.text, words)
    if meant is None:
        return None
    message = f"`{stop.token.text}` cannot stand here"
    return _diagnosis(
        stop, "DG140", message, stop.span(stop.token), f"did you mean `{meant}`?", [_renamed(stop.token, meant)]
    )


def _stray_else(stop: Stop) -> Diagnosis | None:
    """`elif`, an `else` without an `if`, a guard without parentheses."""
    word = stop.token
    if word.text == "elif" and stop.previous is not None and stop.previous.kind == "}":
        instead = [_renamed(word, "else"), _renamed(word, "if")]
        return _diagnosis(stop, "DG140", "`elif` is no keyword", stop.span(word), "write `else if`", instead)
    if word.text != "else" or stop.wants_expression:
        return None
    if not stop.read or stop.previous.kind == "}":
        return _diagnosis(stop, "DG141", "this `else` belongs to no `if`", stop.span(word))
    help = "what a read gives outside stands with it in parentheses: `(x[i - 1] else 0)`"
    return _diagnosis(stop, "DG141", "this `else` belongs to no `if`", stop.span(word), help)


def _reserved_as_name(stop: Stop) -> Diagnosis | None:
    """`loss = 3`, `param for = 1`: a word that cannot be a name."""
    word = stop.token
    bound = stop.next.kind == "=" or not stop.wants_expression
    if word.text in RESERVED and "NAME" in stop.accepted and bound:
        instead = [_renamed(word, f"{word.text}_")]
    elif len(stop.read) == 1 and _is_reserved_here(stop) and stop.token.kind in ("=", "<-", ",", "~"):
        word = stop.read[0]
        instead = None
    else:
        return None
    message = f"`{word.text}` is a reserved word and cannot be a name"
    return _diagnosis(stop, "DG111", message, stop.span(word), f"call it `{word.text}_`", instead)


def _is_reserved_here(stop: Stop) -> bool:
    return stop.first in RESERVED | READABLE and _accepts_at_start(stop, stop.first)


def _out_of_place(stop: Stop) -> Diagnosis | None:
    """A statement among declarations, or a declaration among statements."""
    if stop.read and stop.read[0].kind != "NAME":
        return None
    row = stop.automaton.tables.actions[stop.states[-1]]
    first = stop.read[0] if stop.read else stop.token
    if first.text in _STATEMENT_WORDS and "net" in row and len(stop.read) <= 1:
        message = f"`{first.text}` belongs inside a net or a layer"
        return _diagnosis(stop, "DG142", message, stop.span(first))
    if first.text in _DECLARATION_WORDS and "param" in row and len(stop.read) == 1 and stop.token.kind == "NAME":
        message = f"`{first.text}` declares at the top level of a file, not inside braces"
        return _diagnosis(stop, "DG142", message, stop.span(first))
    return None


# ---------------------------------------------------------------- signs


def _chained_comparison(stop: Stop) -> Diagnosis | None:
    """`a < b < c`"""
    values = stop.automaton.values
    if stop.token.kind not in _COMPARISONS or "and" not in stop.accepted:
        return None
    sign = next((i for i in range(len(values) - 1, 0, -1) if isinstance(values[i], Token)), 0)
    if not sign or values[sign].kind not in _COMPARISONS or sign + 1 == len(values):
        return None
    starts = stop.automaton.starts
    left = stop.source.text[starts[sign - 1] : values[sign].start].strip()
    middle = stop.source.text[starts[sign + 1] : stop.automaton.end]
    first, second = values[sign].text, stop.token.text
    help = f"write `{left} {first} {middle} and {middle} {second} {_operand_ahead(stop)}`"
    # Read on as if an `and` stood here, so that what follows is looked at, too.
    instead = [_renamed(stop.token, "and")]
    return _diagnosis(stop, "DG123", "comparisons cannot be chained", stop.span(stop.token), help, instead)


def _operand_ahead(stop: Stop) -> str:
    """The text from here to the end of the operand that follows."""
    depth = 0
    end = stop.token.end
    for token in reversed(stop.pending):
        if depth == 0 and (
            token.kind in CLOSING or token.kind in _ENDS or token.text in ("and", "or", ",", "{", "if", "else")
        ):
            break
        depth += (token.kind in OPENING) - (token.kind in CLOSING)
        end = token.end
    return shortened(stop.source.text[stop.token.end : end]) or "..."


def _binding_as_comparison(stop: Stop) -> Diagnosis | None:
    """`if x = 3 {`"""
    if stop.token.kind != "=" or "==" not in stop.accepted:
        return None
    message = "`=` binds a name; it does not compare"
    return _diagnosis(
        stop, "DG143", message, stop.span(stop.token), "write `==` to compare", [_renamed(stop.token, "==", "==")]
    )  # fmt: skip


def _line_that_went_on(stop: Stop) -> Diagnosis | None:
    """A line that ends in an operator, and the next statement read as what it goes on with."""
    if stop.token.kind not in ("=", "~", "<-") or _open_bracket(stop) is not None:
        return None
    line = stop.source.position(stop.token.start)[0]
    here = [token for token in stop.read if stop.source.position(token.start)[0] == line]
    if not here or here[0].kind != "NAME" or len(here) == len(stop.read):
        return None
    before = stop.read[-len(here) - 1]
    if before.text not in GOES_ON:
        return None
    message = f"expected {'a name' if before.text == 'as' else 'an expression'} after `{before.text}`"
    place = Span(stop.source, before.end, before.end)
    diagnosis = _diagnosis(stop, "DG110", f"{message}, found another statement", place)
    diagnosis.unread = len(here)
    return diagnosis


#: What is written in other languages, and what is written here; in pairs of signs without a space between.
_FOREIGN_SIGNS = {
    "**": "write `^` for a power",
    "=>": "write `->`",
    "=<": "write `<=`",
    ":=": "write `=`",
    "<>": "write `!=`",
    "::": "write `start:stop`: a slice has no step",
}


def _sign_of_another_language(stop: Stop) -> Diagnosis | None:
    """`x ** 2`, `x => f`, `x += 1`"""
    for left, right, taken in ((stop.token, stop.next, 1), (stop.previous, stop.token, 0)):
        if left is None or left.end != right.start:
            continue
        sign = left.text + right.text
        help = _FOREIGN_SIGNS.get(sign)
        if left.kind in _ARITHMETIC and right.kind in ("=", "+", "-") and stop.read[1:2] in ([], [left]):
            name = stop.first
            help = f"write `{name} = {name} {left.text} {'...' if right.kind == '=' else '1'}`"
        if help is not None:
            span = stop.span(left).to(stop.span(right))
            diagnosis = _diagnosis(stop, "DG144", f"there is no operator `{sign}`", span, help)
            if sign == "=>" and taken:
                diagnosis.instead, diagnosis.taken = [_renamed(left, "->", "->")], 1
            return diagnosis
    return None


def _half_a_number(stop: Stop) -> Diagnosis | None:
    """`.5` and `5.`"""
    if stop.token.kind == "." and stop.next.kind == "INT" and stop.next.start == stop.token.end and stop.wants_expression:
        number = f"0.{stop.next.text}"
        span = stop.span(stop.token).to(stop.span(stop.next))
        instead = [Token("FLOAT", number, span.start, span.end)]
        diagnosis = _diagnosis(stop, "DG144", "a number starts with a digit", span, f"write `{number}`", instead)
        diagnosis.taken = 1
        return diagnosis
    if len(stop.read) > 1 and stop.previous.kind == "." and stop.read[-2].kind == "INT":
        number = stop.read[-2]
        span = stop.span(number).to(stop.span(stop.previous))
        return _diagnosis(stop, "DG144", "a number ends with a digit", span, f"write `{number.text}.0`")
    return None


def _slice_with_step(stop: Stop) -> Diagnosis | None:
    """`x[1:9:2]`"""
    if stop.token.kind != ":" or not {",", "]"} <= stop.accepted:
        return None
    return _diagnosis(stop, "DG144", "a slice has no step", stop.span(stop.token), "write `start:stop`")


# ---------------------------------------------------------------- statements


def _expression_alone(stop: Stop) -> Diagnosis | None:
    """A statement that starts like an expression and binds nothing."""
    row = stop.automaton.tables.actions[stop.states[-1]]
    if "param" not in row and "net" not in row:
        return None
    if not stop.read and stop.token.kind in _STARTS_OF_EXPRESSIONS - {"NAME"}:
        return _diagnosis(stop, "DG145", "an expression alone does nothing", stop.span(stop.token), _bind_help(row))
    is_place = {"=", "[", "."} <= stop.accepted and stop.read and stop.read[0].kind == "NAME"
    if is_place and (stop.token.kind in _OPERATORS | _ENDS or stop.token.text in _OPERATORS):
        meant = _nearest(stop.first, sorted(_STATEMENT_WORDS)) if "return" in row and len(stop.first) > 2 else None
        help = f"did you mean `{meant}`?" if meant else _bind_help(row)
        span = stop.span(stop.read[0]).to(stop.span(stop.previous))
        if stop.token.kind in _ENDS or len(stop.read) > 1:
            return _diagnosis(stop, "DG145", f"`{shortened(span.text)}` alone does nothing", span, help)
        return _diagnosis(stop, "DG145", "an expression alone does nothing", stop.span(stop.read[0]), help)
    return None


def _bind_help(row: dict[str, int]) -> str:
    return "bind it to a name: `y = ...`" + (", or `return` it" if "return" in row else "")


def _missing_initial(stop: Stop) -> Diagnosis | None:
    if stop.first not in ("param", "state") or stop.token.kind not in _ENDS or "~" not in stop.accepted:
        return None
    message = "a parameter needs an initial value" if stop.first == "param" else "a state needs an initial value"
    return _diagnosis(stop, "DG146", message, stop.place, "add `= 0`, or `~ normal(0, 1)`")


def _field_with_sign(stop: Stop) -> Diagnosis | None:
    """`batch = 64` in a train block."""
    row = stop.automaton.tables.gotos[stop.states[-1]]
    if "_field" not in row or len(stop.read) != 1 or stop.token.kind != "=":
        return None
    help = f"write `{stop.first} {_operand_ahead(stop)}`"
    return _diagnosis(stop, "DG152", "a field is a name and a value, without `=`", stop.span(stop.token), help, [])


def _second_list(stop: Stop) -> Diagnosis | None:
    """`layer f(x) {`"""
    if stop.first not in ("layer", "optimizer") or len(stop.read) < 2 or stop.accepted != {"("}:
        return None
    has_one = stop.previous.text == ")"
    given = "()" if not has_one else stop.source.text[stop.read[2].start : stop.previous.end]
    name = stop.read[1].text
    if not has_one:
        help = f"write `{stop.first} {name}()(x) {{`"
    else:
        help = f"write `{stop.first} {name}(){given} {{` if these are its tensors"
    article = "an" if stop.first == "optimizer" else "a"
    message = f"{article} {stop.first} has two lists: its settings, then its tensors"
    return _diagnosis(stop, "DG147", message, stop.place, help)


def _brace_on_the_next_line(stop: Stop) -> Diagnosis | None:
    if stop.token.kind != "_LINE_END" or stop.next.kind != "{" or "{" not in stop.accepted:
        return None
    return _diagnosis(stop, "DG148", "the `{` belongs on the line of what it opens", stop.span(stop.next), None, [])


def _several_variables(stop: Stop) -> Diagnosis | None:
    if stop.first == "for" and stop.token.kind == "," and len(stop.read) == 2:
        help = f"take it apart inside: `for pair in ... {{ {stop.previous.text}, {stop.next.text} = pair`"
        return _diagnosis(stop, "DG149", "a loop has one variable", stop.span(stop.token), help)
    return None


# ---------------------------------------------------------------- the rest


def _incomplete(stop: Stop) -> Diagnosis | None:
    """`x =` and the line ends."""
    if not stop.wants_expression or stop.previous is None:
        return None
    if stop.token.kind not in _ENDS and stop.token.kind not in (")", "]", ","):
        return None
    after = shortened(stop.previous.text)
    help = None
    if stop.token.kind == "_LINE_END" and stop.previous.kind in ("=", "~", "<-") and stop.pending:
        help = f"start the expression on the line of the `{after}`; it may go on in the next ones"
    return _diagnosis(stop, "DG110", f"expected an expression after `{after}`, found {stop.found}", stop.place, help)


def _missing_separator(stop: Stop) -> Diagnosis | None:
    """Two things side by side: in brackets a comma is missing, elsewhere a line end."""
    starts_operand = stop.token.kind in _STARTS_OF_EXPRESSIONS or stop.token.kind in _STATEMENT_WORDS
    if not starts_operand or stop.wants_expression or stop.previous is None:
        return None
    opener = _open_bracket(stop)
    if opener is not None and "," in stop.accepted:
        closer = OPENING[opener.kind]
        message = f"expected `,` or `{closer}` before {stop.found}"
        notes = _bracket_note(stop, opener)
        return Diagnosis(Diagnostic("DG150", message, stop.place, notes, help=None))
    if opener is None and "_LINE_END" in stop.accepted:
        before = shortened(stop.previous.text)
        message = f"expected the end of the line after `{before}`, found {stop.found}"
        help = "start another line, or put `;` between two statements"
        instead = [Token("_LINE_END", ";", stop.token.start, stop.token.start), stop.token]
        return _diagnosis(stop, "DG151", message, stop.place, help, instead if stop.previous.text == "}" else None)
    return None


def _expected(stop: Stop) -> Diagnosis:
    message = f"expected {_in_words(stop)}, found {stop.found}"
    opener = _open_bracket(stop)
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
        rest -= _STARTS_OF_EXPRESSIONS
    elif "NAME" in rest:
        words.append("a name")
        rest -= {"NAME", "TEMPLATE", "INT"}
    if "STRING" in rest:
        words.append("the name of a file in quotes")
        rest -= {"STRING"}
    if rest & {"+", "->"} and not words:
        # After a whole expression: operators go without saying, where something else can follow as well.
        others = rest - _OPERATORS
        words += ["an operator"] if not others - {"_LINE_END", END, "}"} else []
        rest = others
    elif not stop.read:
        return "a declaration" if "net" in rest else "a statement" if "param" in rest else words[0]
    if {"_LINE_END", END} & rest:
        words.append("the end of the line")
    rest -= {"_LINE_END", END, "}"} if words else {"_LINE_END", END}
    words += sorted(f"`{kind}`" for kind in rest if not kind.isupper())
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}" if words else "something else"


def _open_bracket(stop: Stop) -> Token | None:
    """The innermost parenthesis or square bracket that is open in this statement."""
    depth = 0
    for token in reversed(stop.read):
        depth += (token.kind in (")", "]")) - (token.kind in ("(", "["))
        if depth < 0:
            return token
    return None


def _bracket_note(stop: Stop, opener: Token) -> tuple[Note, ...]:
    if stop.source.position(opener.start)[0] == stop.place.line:
        return ()
    return (Note(f"inside this `{opener.text}`", stop.span(opener)),)


def _nearest(word: str, words: list[str]) -> str | None:
    hint = suggest(word, sorted(words))
    return hint.split("`")[1] if hint else None


def _accepts_at_start(stop: Stop, word: str) -> bool:
    return word in stop.automaton.tables.actions[stop.states[-1]]


def _renamed(token: Token, text: str, kind: str | None = None) -> Token:
    return Token(kind or token.kind if kind or token.kind == "NAME" else "NAME", text, token.start, token.end)


def _diagnosis(stop, code, message, span, help=None, instead=None, from_start=False) -> Diagnosis:
    return Diagnosis(Diagnostic(code, message, span, help=help), instead, from_start)


SITUATIONS = (
    _word_of_another_language,
    _stray_else,
    _out_of_place,
    _reserved_as_name,
    _misspelt_first_word,
    _field_with_sign,
    _chained_comparison,
    _line_that_went_on,
    _sign_of_another_language,
    _half_a_number,
    _slice_with_step,
    _binding_as_comparison,
    _expression_alone,
    _missing_initial,
    _second_list,
    _brace_on_the_next_line,
    _several_variables,
    _incomplete,
    _misspelt_word,
    _missing_separator,
)
