"""Texts of the language that nobody would write: random derivations of the grammar, and any text with spaces, line
breaks, semicolons and comments at every place where they may stand."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import lru_cache

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Source
from diffgraph.language.lexing import CLOSING, CONTINUES, GOES_ON, OPENING, tokenize
from diffgraph.language.parser import parse_with_tokens
from diffgraph.language.tables import _grammar_path, tables

#: Keywords among them are names where they may not stand as words.
NAMES = "a b x1 conv weight größe step to ok from fn net layer gradients checkpoint train data input loss".split()
TEXTS = {
    "NAME": NAMES,
    "INT": ["0", "1", "28"],
    "FLOAT": ["0.5", "1e-3", "2.5E+4"],
    "STRING": ['""', '"b.net"', '"a # {x + 1} {{b}}"', r'"say \"so\""'],
    "TEMPLATE": ["{i}", "layer{i + 1}", "a{f(x, [1])}_{y}b"],
    "_LINE_END": [";"],
}

COMMENTS = ["#", "# what", "#tight", "#  wide  ", "#!", "# a # b {", "#\ttab"]


# ---------------------------------------------------------------- derivations


@lru_cache(maxsize=1)
def _rules():
    """(symbol -> its expansions, each a list of (is terminal, text or name)), and how deep each symbol is at least."""
    from lark import Lark

    lark = Lark(_grammar_path().read_text(encoding="utf-8"), parser="lalr", maybe_placeholders=False, start="file")
    texts = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
    rules = defaultdict(list)
    for rule in lark.rules:
        rules[rule.origin.name].append([(s.is_term, texts.get(s.name, s.name)) for s in rule.expansion])
    depth = dict.fromkeys(rules, 1 << 20)
    changed = True
    while changed:
        changed = False
        for name, expansions in rules.items():
            least = 1 + min(max((depth[s] for is_term, s in e if not is_term), default=0) for e in expansions)
            changed |= least < depth[name]
            depth[name] = min(depth[name], least)
    return rules, depth


def derivation(chance: random.Random, start: str, size: int = 120) -> list[str]:
    """The words and signs of a random text of a symbol of the grammar; `;` between statements."""
    rules, depth = _rules()
    result: list[str] = []
    waiting = [(False, start)]
    while waiting:
        is_term, name = waiting.pop()
        if is_term:
            result.append(chance.choice(TEXTS.get(name, [name])))
            continue
        choices = rules[name]
        if len(result) + len(waiting) > size:
            least = min(max((depth[s] for t, s in e if not t), default=0) for e in choices)
            choices = [e for e in choices if max((depth[s] for t, s in e if not t), default=0) == least]
        waiting += reversed(chance.choice(choices))
    return result


# ---------------------------------------------------------------- layouts


def words_of(source: Source) -> list[str]:
    """The tokens of a text that parses, `;` where a statement ends."""
    _, taken = parse_with_tokens(source)
    return [";" if kind == "_LINE_END" else token.text for token, kind in taken if kind != "$END"]


def scramble(chance: random.Random, words: list[str]) -> str:
    """The words with anything between them that leaves them the same words of the same statements."""
    comments = chance.choice([0.0, 0.02, 0.3])
    breaks = chance.choice([0.02, 0.2, 0.7])
    open_brackets: list[str] = []
    result = [_filling(chance, comments, breaks, True, "")]
    for index, word in enumerate(words):
        before = words[index - 1] if index else "{"
        after = words[index + 1] if index + 1 < len(words) else "}"
        if word in CLOSING and open_brackets:
            open_brackets.pop()
        if word in OPENING:
            open_brackets.append(word)
        inside = open_brackets[-1] if open_brackets else "{"
        may_break = inside != "{" or word in ("{", ";") or after == "}" or after in CONTINUES or word in GOES_ON
        space = " " if after not in ("}", "") and _sticks(before, word, after) else ""
        if word == ";":
            must_be_sign = after in CONTINUES or before in GOES_ON
            sign = ";" if must_be_sign or chance.random() < 0.2 else "\n"
            result += [_filling(chance, comments, breaks, True, "") if sign == ";" and before in GOES_ON else "", sign]
            result += [_filling(chance, comments, breaks, True, "")]
        else:
            result += [word, _filling(chance, comments, breaks, may_break, space)]
    return "".join(result)


def _filling(chance: random.Random, comments: float, breaks: float, may_break: bool, least: str) -> str:
    result = chance.choice(["", "", "", " ", "  ", "\t"])
    while may_break and chance.random() < breaks:
        if chance.random() < comments:
            result += chance.choice(COMMENTS)
        result += chance.choice(["\n", "\n", "\r\n", "\n\n", "\n    "]) + " " * chance.randrange(0, 9)
    return result or least


@lru_cache(maxsize=None)
def _sticks(before: str, word: str, after: str) -> bool:
    """Whether two words that touch are read as something else."""
    found: list[Diagnostic] = []
    text = f"{word}{after}"
    prefix = "as " if before == "as" else ""
    tokens = [t.text for t in tokenize(Source("", prefix + text), tables(), found)][bool(prefix) :]
    return word == "as" or before == "as" or bool(found) or tokens != [word, after]


def random_file(chance: random.Random, most: int = 6) -> list[str]:
    """The words of a file of up to `most` random declarations. What a grammar cannot say is left to the parser: what it
    refuses is left out."""
    result: list[str] = []
    for _ in range(most):
        words = derivation(chance, "_declaration", chance.choice([10, 30, 80]))
        try:
            parse_with_tokens(Source("", scramble(random.Random(0), words)))
        except DiffgraphError:
            continue
        result += [";"] * bool(result) + words
    return result
