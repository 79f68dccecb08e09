"""The language for Pygments: `pygmentize -l net model.net`, Sphinx, and whatever else colours code with it."""

from __future__ import annotations

import re

from pygments.lexer import RegexLexer, bygroups, include
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Whitespace

from diffgraph.editors.highlighting import CLASSES, Contexts, Include, Match, Rule, contexts

_TOKENS = {
    "comment": Comment.Single,
    "string": String.Double,
    "escape": String.Escape,
    "number": Number,
    "constant": Keyword.Constant,
    "keyword": Keyword,
    "declaration": Keyword.Declaration,
    "word_operator": Operator.Word,
    "operator": Operator,
    "punctuation": Punctuation,
    "reduction": Name.Builtin,
    "type": Keyword.Type,
    "definition": Name.Class,
    "call": Name.Function,
    "parameter": Name.Variable,
    "label": Name.Label,
    "field": Name.Tag,
    "attribute": Name.Attribute,
    "name": Name,
    "space": Whitespace,
}
assert _TOKENS.keys() == set(CLASSES)


def _states(rules: Contexts) -> dict[str, list]:
    states: dict[str, list] = {}
    for name, context in rules.items():
        states[name] = [_rule(rule, states) for rule in context]
    states["root"] = [include("file")]
    return states


def _rule(rule: Rule, states: dict[str, list]):
    if isinstance(rule, Include):
        return include(rule.context)
    if isinstance(rule, Match):
        return rule.pattern, _action(rule.pattern, rule.classes)
    state = f"{rule.inside} until {rule.end}"
    states.setdefault(state, [(rule.end, _action(rule.end, rule.end_classes), "#pop"), include(rule.inside)])
    return rule.begin, _action(rule.begin, rule.begin_classes), state


def _action(pattern: str, classes: tuple[str, ...]):
    """By groups where the pattern has as many of them as there are classes, else for the whole."""
    if not classes:
        return Punctuation  # Of an end that takes no text.
    if re.compile(pattern).groups == len(classes):
        return bygroups(*(_TOKENS[name] for name in classes))
    return _TOKENS[classes[0]]


class NetLexer(RegexLexer):
    """The `.net` language of diffgraph."""

    name = "diffgraph"
    url = "https://pypi.org/project/diffgraph/"
    aliases = ["net", "diffgraph"]
    filenames = ["*.net"]
    mimetypes = ["text/x-diffgraph"]
    version_added = ""
    flags = re.MULTILINE
    tokens = _states(contexts())
