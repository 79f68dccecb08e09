"""The colours of a text, as regular expressions: one table for Pygments and for TextMate grammars.

Patterns, signs and words are those of `grammar/net.lark`. The language has words that are keywords in one place and
names in another; an expression sees one line at a time, so each word is described by what stands around it, and the
tests compare the result with the parser's for every file that is shipped. Texts that do not parse are coloured too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from diffgraph.language.tables import tables
from diffgraph.language.words import REDUCTIONS

#: What a piece of text can be. The tables of `pygments_lexer` and `textmate` say how each is called there.
CLASSES = (
    "comment string escape number constant keyword declaration word_operator operator punctuation reduction type "
    "definition call parameter label field attribute name space"
).split()


@dataclass(frozen=True)
class Match:
    """A piece on one line. `classes` are those of the groups, or of the whole where there is one without a group."""

    pattern: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Region:
    """From `begin` to `end`, which is looked for first; between them the rules of a context."""

    begin: str
    begin_classes: tuple[str, ...]
    end: str
    end_classes: tuple[str, ...]
    inside: str


@dataclass(frozen=True)
class Include:
    """The rules of another context."""

    context: str


Rule = Match | Region | Include
Contexts = dict[str, tuple[Rule, ...]]

#: Words by what they are wherever they are not a piece of a path.
_EVERYWHERE = {
    "word_operator": "and or not",
    "constant": "true false pi inf",
    "keyword": "if else for in scan as with return yield next assert",
    "declaration": "param state",
}

_SIGNS_OF_PUNCTUATION = frozenset("( ) [ ] { } , ; : .".split())

_GAP = r"([ \t]+)"
_MAY_GAP = r"([ \t]*)"
#: Where a statement starts: on a line of its own, or after another one.
_START = r"(^[ \t\ufeff]*|(?<=[{;])[ \t]*)"
#: What comes before it ends a value; what comes after it begins one.
_AFTER_VALUE = r"(?<=[\w)\]][ \t])"
_INFIX_WORDS = "and|or|if|else|as|with|within|for|in"
_BEFORE_VALUE = rf"(?=[ \t]+(?!(?:{_INFIX_WORDS})\b)[\w(\[\"-])"
_NOT_IN_PATH = r"(?<![\w)\]]\.)"


def contexts() -> Contexts:
    """The rules by context. The first that matches at a place counts; a text begins in `file`."""
    patterns = dict(tables().patterns)
    name = patterns["NAME"]
    return {
        "file": (*_blocks(name), *_statements(name), Include("trivia"), Include("expression")),
        "trivia": (Match(patterns["COMMENT"], ("comment",)), Match(r"[ \t\f\ufeff]+|\r?\n|\r", ("space",))),
        "expression": _expression(name, patterns),
        "inside": (
            Include("trivia"),
            Match(rf"{_NOT_IN_PATH}\b({name})(?=[ \t]*=(?!=))", ("parameter",)),
            Include("expression"),
        ),
        "instance": (Match(r"\w+", ("label",)), _interpolation()),
        "text": (
            Match(r"\\.|\{\{|\}\}", ("escape",)),
            _interpolation(),
            Match(r'[^"\\{}\r\n]+|[{}]', ("string",)),
        ),
        "train": (Include("trivia"), _braces("fields"), Include("expression")),
        "fields": (
            Match(rf"{_START}({name})", ("space", "field")),
            Include("trivia"),
            Include("expression"),
        ),
        "expect": (Include("trivia"), _braces("claims"), Include("expression")),
        "claims": (
            Match(rf"{_START}(gradients){_GAP}(ok)\b", ("space", "keyword", "space", "keyword")),
            Match(rf"{_START}(trains){_GAP}(to)\b", ("space", "keyword", "space", "keyword")),
            Match(rf"{_NOT_IN_PATH}\b(within)\b(?![ \t]*=)", ("keyword",)),
            Include("trivia"),
            Include("expression"),
        ),
    }


def _braces(inside: str) -> Region:
    return Region(r"(\{)", ("punctuation",), r"(?=\})", (), inside)


def _interpolation() -> Region:
    return Region(r"(\{)", ("punctuation",), r'(\})|(?=["\r\n])', ("punctuation",), "inside")


def _blocks(name: str) -> tuple[Rule, ...]:
    """The blocks that do not hold statements."""
    classes = ("space", "declaration", "space", "definition")
    return (
        Region(rf"{_START}(train){_GAP}({name})", classes, r"(\})", ("punctuation",), "train"),
        Region(rf"{_START}(expect){_GAP}({name})", classes, r"(\})", ("punctuation",), "expect"),
    )


def _statements(name: str) -> tuple[Rule, ...]:
    """What starts with a word that is a keyword only there."""
    string = r'("[^"\r\n]*")'
    return (
        Match(rf"{_START}(fn|layer|optimizer|net){_GAP}({name})", ("space", "declaration", "space", "definition")),
        Match(rf"{_START}(import)\b(?=[ \t]*\")", ("space", "declaration")),
        Match(
            rf"{_START}(from){_MAY_GAP}{string}{_MAY_GAP}(import)\b",
            ("space", "declaration", "space", "string", "space", "declaration"),
        ),
        Match(rf"{_START}(input|target){_GAP}({name})", ("space", "declaration", "space", "name")),
        Match(rf"{_START}(output|loss|metric)\b(?=[ \t]*[\w(\[\"-])", ("space", "declaration")),
        Match(rf"(:){_MAY_GAP}(int|float|bool)\b", ("punctuation", "space", "type")),
    )


def _expression(name: str, patterns: dict[str, str]) -> tuple[Rule, ...]:
    words = [
        Match(rf"{_NOT_IN_PATH}\b({'|'.join(named.split())})\b", (kind,)) for kind, named in _EVERYWHERE.items()
    ]
    signs = tables().signs
    operators = "|".join(re.escape(sign) for sign in signs if sign not in _SIGNS_OF_PUNCTUATION)
    punctuation = "|".join(re.escape(sign) for sign in (*signs, ";") if sign in _SIGNS_OF_PUNCTUATION)
    return (
        Region(r"(\")", ("string",), r"(\")|(?=[\r\n])", ("string",), "text"),
        Match(r"(?<=[\w)\]]\.)(\w+)", ("attribute",)),
        Region(rf"{_NOT_IN_PATH}\b(as){_GAP}(?=[\w{{])", ("keyword", "space"), r"(?![\w{])", (), "instance"),
        Match(rf"{_NOT_IN_PATH}\b(with){_GAP}(gradient)\b", ("keyword", "space", "keyword")),
        Match(rf"{_AFTER_VALUE}(step|checkpoint)\b{_BEFORE_VALUE}", ("keyword",)),
        Match(rf"{_AFTER_VALUE}(from)\b(?=[ \t]+{name}[ \t]*=)", ("keyword",)),
        *words,
        Match(rf"\b({'|'.join(sorted(REDUCTIONS))})\b", ("reduction",)),
        Match(rf"\b({name})(?=\()", ("call",)),
        Match(rf"({name})", ("name",)),
        Match(rf"{patterns['FLOAT']}|{patterns['INT']}", ("number",)),
        Region(r"(\()", ("punctuation",), r"(\))", ("punctuation",), "inside"),
        Region(r"(\[)", ("punctuation",), r"(\])", ("punctuation",), "inside"),
        Match(operators, ("operator",)),
        Match(punctuation, ("punctuation",)),
    )
