"""What a person meant who wrote a token where none of its kind can stand.

Each function knows one mistake: it looks at the place where reading stopped and gives a diagnosis, or None.
"""

from __future__ import annotations

from diffgraph.diagnostics import Span, nearest
from diffgraph.language.expressions import shortened
from diffgraph.language.lexing import GOES_ON, Token
from diffgraph.language.stop import (
    COMPARISONS,
    ENDS,
    OPERATORS,
    STARTS_OF_EXPRESSIONS,
    STARTS_OF_STATEMENTS,
    Diagnosis,
    Stop,
    found,
)
from diffgraph.language.words import READABLE, RESERVED

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
    "let": "",
    "var": "",
    "val": "",
    "const": "",
}

#: What is written in other languages, and what is written here; in pairs of signs without a space between.
_FOREIGN_SIGNS = {
    "**": "write `^` for a power",
    "=>": "write `->`",
    "=<": "write `<=`",
    ":=": "write `=`",
    "<>": "write `!=`",
}

_STARTS_OF_DECLARATIONS = frozenset("net layer fn train expect optimizer import from".split())
_ARITHMETIC = frozenset("+ - * / // % @ ^".split())


# ---------------------------------------------------------------- words


def _word_of_another_language(stop: Stop) -> Diagnosis | None:
    if len(stop.read) != 1 or stop.token.kind != "NAME" or stop.first not in _FOREIGN:
        return None
    word = stop.read[0]
    meant = _FOREIGN[word.text]
    if not meant:
        help = f"a binding has no keyword: `{stop.token.text} = ...`"
        return found("DG140", f"`{word.text}` is no keyword", stop.span(word), help, [stop.token], True)
    if meant not in stop.row:
        return None
    instead = [_renamed(word, meant), stop.token]
    return found("DG140", f"`{word.text}` is no keyword", stop.span(word), f"write `{meant}`", instead, True)


def _misspelt_first_word(stop: Stop) -> Diagnosis | None:
    """`nett lenet {`: two names in a row where the first is nearly a keyword."""
    if len(stop.read) != 1 or stop.read[0].kind != "NAME" or stop.token.kind not in ("NAME", "STRING", "INT", "FLOAT"):
        return None
    word = stop.read[0]
    words = [w for w in stop.row if w.isidentifier() and w.islower()]
    meant = _nearest(word.text, words) if word.text not in words else None
    if meant is None:
        return None
    instead = [_renamed(word, meant), stop.token]
    return found("DG140", f"`{word.text}` is no keyword", stop.span(word), f"did you mean `{meant}`?", instead, True)


def misspelt_word(stop: Stop) -> Diagnosis | None:
    """`for i im 0..3`: a name where only a keyword can stand, and it is nearly one."""
    if stop.token.kind != "NAME" or stop.wants_expression:
        return None
    words = [w for w in stop.accepted if w.isidentifier() and w.islower()]
    meant = _nearest(stop.token.text, words)
    if meant is None:
        return None
    message = f"`{stop.token.text}` cannot stand here"
    return found("DG140", message, stop.span(stop.token), f"did you mean `{meant}`?", [_renamed(stop.token, meant)])


def _stray_else(stop: Stop) -> Diagnosis | None:
    """`elif`, an `else` without an `if`, a guard without parentheses."""
    word = stop.token
    if word.text == "elif" and stop.previous is not None and stop.previous.kind == "}":
        instead = [_renamed(word, "else"), _renamed(word, "if")]
        return found("DG140", "`elif` is no keyword", stop.span(word), "write `else if`", instead)
    if word.text != "else" or stop.wants_expression:
        return None
    if not stop.read or stop.previous.kind == "}":
        return found("DG141", "this `else` belongs to no `if`", stop.span(word))
    help = "what a read gives outside stands with it in parentheses: `(x[i - 1] else 0)`"
    return found("DG141", "this `else` belongs to no `if`", stop.span(word), help)


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
    return found("DG111", message, stop.span(word), f"call it `{word.text}_`", instead)


def _is_reserved_here(stop: Stop) -> bool:
    return stop.first in RESERVED | READABLE and stop.first in stop.row


def _out_of_place(stop: Stop) -> Diagnosis | None:
    """A statement among declarations, or a declaration among statements."""
    if stop.read and stop.read[0].kind != "NAME":
        return None
    row = stop.row
    first = stop.read[0] if stop.read else stop.token
    if first.text in STARTS_OF_STATEMENTS and "net" in row and len(stop.read) <= 1:
        message = f"`{first.text}` belongs inside a net or a layer"
        return found("DG142", message, stop.span(first))
    if first.text in _STARTS_OF_DECLARATIONS and "param" in row and len(stop.read) == 1 and stop.token.kind == "NAME":
        message = f"`{first.text}` declares at the top level of a file, not inside braces"
        return found("DG142", message, stop.span(first))
    return None


# ---------------------------------------------------------------- signs


def _chained_comparison(stop: Stop) -> Diagnosis | None:
    """`a < b < c`"""
    values = stop.automaton.values
    if stop.token.kind not in COMPARISONS or "and" not in stop.accepted:
        return None
    sign = next((i for i in range(len(values) - 1, 0, -1) if isinstance(values[i], Token)), 0)
    if not sign or values[sign].kind not in COMPARISONS or sign + 1 == len(values):
        return None
    starts = stop.automaton.starts
    left = stop.source.text[starts[sign - 1] : values[sign].start].strip()
    middle = stop.source.text[starts[sign + 1] : stop.automaton.end]
    first, second = values[sign].text, stop.token.text
    help = f"write `{left} {first} {middle} and {middle} {second} {stop.operand_ahead()}`"
    # Read on as if an `and` stood here, so that what follows is looked at, too.
    instead = [_renamed(stop.token, "and")]
    return found("DG123", "comparisons cannot be chained", stop.span(stop.token), help, instead)


def _binding_as_comparison(stop: Stop) -> Diagnosis | None:
    """`if x = 3 {`"""
    if stop.token.kind != "=" or "==" not in stop.accepted:
        return None
    if stop.first in ("output", "loss", "metric") and len(stop.read) > 1:
        element = stop.source.text[stop.read[1].start : stop.previous.end]
        help = f"bind it first: `{element} = ...`, then `{stop.first} {stop.read[1].text}`"
        return found("DG143", f"behind `{stop.first}` stands a name or an expression, not an element", stop.place, help)
    message = "`=` binds a name; it does not compare"
    if stop.next.kind in ("{", ")", "]", *ENDS):
        return found("DG143", message, stop.span(stop.token), "remove it", [])
    return found("DG143", message, stop.span(stop.token), "write `==` to compare", [_renamed(stop.token, "==", "==")])


def _line_that_went_on(stop: Stop) -> Diagnosis | None:
    """A line that ends in an operator, and the next statement read as what it goes on with."""
    if stop.token.kind not in ("=", "~", "<-") or stop.open_bracket() is not None:
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
    diagnosis = found("DG110", f"{message}, found another statement", place)
    diagnosis.unread = len(here)
    return diagnosis


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
            diagnosis = found("DG144", f"there is no operator `{sign}`", span, help)
            if sign == "=>" and taken:
                diagnosis.instead, diagnosis.taken = [_renamed(left, "->", "->")], 1
            return diagnosis
    return None


def _half_a_number(stop: Stop) -> Diagnosis | None:
    """`.5` and `5.`"""
    if (
        stop.token.kind == "."
        and stop.next.kind == "INT"
        and stop.next.start == stop.token.end
        and stop.wants_expression
    ):
        number = f"0.{stop.next.text}"
        span = stop.span(stop.token).to(stop.span(stop.next))
        instead = [Token("FLOAT", number, span.start, span.end)]
        diagnosis = found("DG144", "a number starts with a digit", span, f"write `{number}`", instead)
        diagnosis.taken = 1
        return diagnosis
    if len(stop.read) > 1 and stop.previous.kind == "." and stop.read[-2].kind == "INT":
        number = stop.read[-2]
        span = stop.span(number).to(stop.span(stop.previous))
        return found("DG144", "a number ends with a digit", span, f"write `{number.text}.0`")
    return None


# ---------------------------------------------------------------- statements


def _expression_alone(stop: Stop) -> Diagnosis | None:
    """A statement that starts like an expression and binds nothing."""
    row = stop.row
    if "param" not in row and "net" not in row:
        return None
    if not stop.read and stop.token.kind in STARTS_OF_EXPRESSIONS - {"NAME"}:
        return found("DG145", "an expression alone does nothing", stop.span(stop.token), _bind_help(row))
    is_place = {"=", "[", "."} <= stop.accepted and stop.read and stop.read[0].kind == "NAME"
    if is_place and (stop.token.kind in OPERATORS | ENDS or stop.token.text in OPERATORS):
        meant = _nearest(stop.first, sorted(STARTS_OF_STATEMENTS)) if "return" in row and len(stop.first) > 2 else None
        help = f"did you mean `{meant}`?" if meant else _bind_help(row)
        span = stop.span(stop.read[0]).to(stop.span(stop.previous))
        if stop.token.kind in ENDS or len(stop.read) > 1:
            return found("DG145", f"`{shortened(span.text)}` alone does nothing", span, help)
        if stop.token.kind == "->" and not meant:
            help = f"bind it to a name: `{stop.first} = {stop.first} -> {stop.operand_ahead()}`"
        return found("DG145", "an expression alone does nothing", stop.span(stop.read[0]), help)
    return None


def _bind_help(row: dict[str, int]) -> str:
    return "bind it to a name: `y = ...`" + (", or `return` it" if "return" in row else "")


def _missing_initial(stop: Stop) -> Diagnosis | None:
    if stop.first not in ("param", "state") or stop.token.kind not in ENDS or "~" not in stop.accepted:
        return None
    message = "a parameter needs an initial value" if stop.first == "param" else "a state needs an initial value"
    return found("DG146", message, stop.place, "add `= 0`, or `~ normal(0, 1)`")


def _field_with_sign(stop: Stop) -> Diagnosis | None:
    """`batch = 64` or `batch: 64` in a train block."""
    row = stop.automaton.tables.gotos[stop.states[-1]]
    if "_field" not in row or len(stop.read) != 1 or stop.token.kind not in ("=", ":"):
        return None
    help = f"write `{stop.first} {stop.operand_ahead()}`"
    text = f"a field is a name and a value, without `{stop.token.kind}`"
    return found("DG152", text, stop.span(stop.token), help, [])


def _body_with_equals(stop: Stop) -> Diagnosis | None:
    """`layer square()(x) = x^2`: only functions have the short form."""
    if stop.first not in ("layer", "optimizer", "train", "expect") or stop.token.kind != "=" or "{" not in stop.accepted:
        return None
    help = None
    if stop.first == "layer":
        help = f"write `{{ return {stop.operand_ahead()} }}`, or make it a `fn` if it has no parameters"
    article = "an" if stop.first[0] in "eo" else "a"
    return found("DG153", f"the body of {article} {stop.first} stands in braces", stop.span(stop.token), help)


def _body_with_colon(stop: Stop) -> Diagnosis | None:
    """`def swish(x):` or `if a:`"""
    if stop.token.kind != ":" or "{" not in stop.accepted or stop.next.kind not in ENDS:
        return None
    text = "a body stands in braces, not behind `:`"
    return found("DG153", text, stop.span(stop.token), "open it with `{`, and close it with `}` below")


def _shape_in_settings(stop: Stop) -> Diagnosis | None:
    """`layer scale(x[N, D]) {`: the tensors stand in the first list."""
    opener = stop.open_bracket()
    if stop.first not in ("layer", "optimizer") or stop.token.kind != "[" or opener is None or len(stop.read) < 4:
        return None
    if opener is not stop.read[2] or stop.previous.kind != "NAME":
        return None
    name = stop.read[1].text
    article = "an" if stop.first == "optimizer" else "a"
    text = f"{article} {stop.first} has two lists: its settings, then its tensors"
    close = next((t.end for t in reversed(stop.pending) if t.kind in ("]", "_LINE_END")), stop.token.end)
    tensor = stop.source.text[stop.previous.start : close]
    help = f"`{stop.previous.text}` is a tensor: write `{stop.first} {name}()({tensor}) {{`"
    return found("DG147", text, stop.span(stop.previous).to(stop.span(stop.token)), help)


def _loop_without_variable(stop: Stop) -> Diagnosis | None:
    """`for in 0..3`"""
    if stop.token.text != "in" or stop.previous is None or stop.previous.text not in ("for", "scan"):
        return None
    help = f"write `{stop.previous.text} i in ...`"
    instead = [_renamed(stop.token, "i"), stop.token]
    return found("DG149", "a loop has a variable", stop.span(stop.token), help, instead)


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
    return found("DG147", message, stop.place, help)


def _brace_on_the_next_line(stop: Stop) -> Diagnosis | None:
    if stop.token.kind != "_LINE_END" or stop.next.kind != "{" or "{" not in stop.accepted:
        return None
    return found("DG148", "the `{` belongs on the line of what it opens", stop.span(stop.next), None, [])


def _several_variables(stop: Stop) -> Diagnosis | None:
    if stop.first == "for" and stop.token.kind == "," and len(stop.read) == 2:
        help = f"take it apart inside: `for pair in ... {{ {stop.previous.text}, {stop.next.text} = pair`"
        return found("DG149", "a loop has one variable", stop.span(stop.token), help)
    return None


def _several_in_one(stop: Stop) -> Diagnosis | None:
    """`input x[N], t[N]`"""
    if stop.first not in ("input", "target", "param", "state") or stop.token.kind != ",":
        return None
    if stop.open_bracket() is not None:
        return None
    comma, word = stop.token, stop.read[0]
    help = f"write `; {word.text}` instead of the comma, or start another line"
    # Read on as if that stood here.
    line_end = Token("_LINE_END", ";", comma.start, comma.start)
    instead = [line_end, Token(word.kind, word.text, comma.end, comma.end)]
    return found("DG151", f"each {word.text} has a statement of its own", stop.span(comma), help, instead)


def _list_of_a_loop(stop: Stop) -> Diagnosis | None:
    """`[i * i for i in 0..4]`"""
    opener = stop.open_bracket()
    if stop.token.text != "for" or opener is None or "," not in stop.accepted:
        return None
    if opener.kind == "[":
        help = "write a tensor by its element, `name[i < count] = ...`, or `list = list + [...]` in a loop"
    else:
        help = "write `name[i < count] = ...`, or add up in a loop, `total = total + ...`"
    return found("DG150", "a loop stands in no expression", stop.span(stop.token), help)


def _nearest(word: str, words: list[str]) -> str | None:
    return nearest(word, sorted(words), loose=False)


def _renamed(token: Token, text: str, kind: str = "NAME") -> Token:
    return Token(kind, text, token.start, token.end)


#: In order: the first that knows wins.
MISTAKES = (
    _word_of_another_language,
    _stray_else,
    _loop_without_variable,
    _out_of_place,
    _reserved_as_name,
    _misspelt_first_word,
    _field_with_sign,
    _chained_comparison,
    _line_that_went_on,
    _sign_of_another_language,
    _half_a_number,
    _binding_as_comparison,
    _expression_alone,
    _missing_initial,
    _second_list,
    _shape_in_settings,
    _body_with_equals,
    _body_with_colon,
    _brace_on_the_next_line,
    _several_variables,
    _several_in_one,
    _list_of_a_loop,
)
