"""The TextMate grammar of the language, for VS Code, Sublime Text, GitHub and the like: `grammar/net.tmLanguage.json`.

`python -m diffgraph.editors.textmate` prints it; a test compares it with the file."""

from __future__ import annotations

import json
import re

from diffgraph.editors.highlighting import CLASSES, Include, Match, Rule, contexts

_SCOPES = {
    "comment": "comment.line.number-sign",
    "string": "string.quoted.double",
    "escape": "constant.character.escape",
    "number": "constant.numeric",
    "constant": "constant.language",
    "keyword": "keyword.control",
    "declaration": "storage.type",
    "word_operator": "keyword.operator.word",
    "operator": "keyword.operator",
    "punctuation": "punctuation",
    "reduction": "support.function.reduction",
    "type": "support.type",
    "definition": "entity.name.function",
    "call": "entity.name.function.call",
    "parameter": "variable.parameter",
    "label": "entity.name.label",
    "field": "entity.other.attribute-name",
    "attribute": "variable.other.member",
    "name": "variable.other",
    "space": None,
}
assert _SCOPES.keys() == set(CLASSES)


def textmate_grammar() -> dict:
    """The grammar as plain values."""
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "diffgraph",
        "scopeName": "source.net",
        "fileTypes": ["net"],
        "patterns": [{"include": "#file"}],
        "repository": {name: {"patterns": [_rule(rule) for rule in rules]} for name, rules in contexts().items()},
    }


def text() -> str:
    """The grammar as the text of a file."""
    return json.dumps(textmate_grammar(), indent=2, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> dict:
    if isinstance(rule, Include):
        return {"include": f"#{rule.context}"}
    if isinstance(rule, Match):
        return {"match": rule.pattern, "captures": _captures(rule.pattern, rule.classes)}
    result = {"begin": rule.begin, "beginCaptures": _captures(rule.begin, rule.begin_classes), "end": rule.end}
    if rule.end_classes:
        result["endCaptures"] = _captures(rule.end, rule.end_classes)
    return result | {"patterns": [{"include": f"#{rule.inside}"}]}


def _captures(pattern: str, classes: tuple[str, ...]) -> dict:
    """By groups where the pattern has as many of them as there are classes, else of the whole."""
    groups = range(1, len(classes) + 1) if re.compile(pattern).groups == len(classes) else [0]
    scopes = {str(group): _SCOPES[name] for group, name in zip(groups, classes)}
    return {group: {"name": f"{scope}.net"} for group, scope in scopes.items() if scope is not None}


if __name__ == "__main__":
    print(text(), end="")
