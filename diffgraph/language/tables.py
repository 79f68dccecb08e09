"""The tables of the LALR(1) automaton of `grammar/net.lark`: the only door to lark.

lark reads the grammar and works the tables out (a fifth of a second); what it finds is kept as JSON in the user's
cache, so that the next start needs neither lark nor that time. The cache is keyed by the grammar's text. A file in it
that is damaged, foreign or unwritable costs time, never correctness.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

#: Raised whenever the form of the cached tables changes.
FORMAT = 1

#: What may be read: a file, an expression between braces in a string, what stands between the braces of a declaration.
STARTS = ("file", "interpolation", "block", "fields", "claims")

#: The terminal after the last token.
END = "$END"


@dataclass(frozen=True)
class Rule:
    """`origin : ...` of `size` symbols. `keep` are the places of the children to hand on, -1 for an absent one;
    those in `splice` are lists to be spliced in. `name` is None where the rule vanishes into its only child."""

    name: str | None
    origin: str
    size: int
    keep: tuple[int, ...]
    splice: frozenset[int]


@dataclass(frozen=True, eq=False)
class Tables:
    """`actions[state][terminal]` is a state to shift to (0 and up) or the complement of a rule to reduce by;
    `gotos[state][origin]` the state after a reduction. A word or a sign is a terminal by its own text."""

    patterns: tuple[tuple[str, str], ...]
    words: frozenset[str]
    signs: tuple[str, ...]
    rules: tuple[Rule, ...]
    actions: tuple[dict[str, int], ...]
    gotos: tuple[dict[str, int], ...]
    starts: dict[str, int]
    #: A memo of the automaton: (state below, state, terminal) -> state after the rules that vanish.
    passages: dict[tuple[int, int, str], int] = field(default_factory=dict)


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tables of the grammar that belongs to this package."""
    grammar = _grammar_path().read_text(encoding="utf-8")
    key = hashlib.sha256(f"{FORMAT}\n{grammar}".encode()).hexdigest()[:16]
    path = _cache_directory() / f"grammar-{key}.json"
    try:
        return _decode(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        plain = _generate(grammar)
        _store(path, json.dumps(plain))
        return _decode(plain)


def _grammar_path() -> Path:
    """In an installed package the grammar lies inside it, in a checkout beside it."""
    package = Path(__file__).parent.parent
    inside = package / "grammar" / "net.lark"
    return inside if inside.exists() else package.parent / "grammar" / "net.lark"


def _cache_directory() -> Path:
    named = os.environ.get("DIFFGRAPH_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffgraph"


def _store(path: Path, text: str) -> None:
    """Through a file beside it, so that another process never reads half a table."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError:
        return  # No cache can be had: every start works the tables out.
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)


# ---------------------------------------------------------------- from lark


def _generate(grammar: str) -> dict:
    """The tables as plain values, worked out by lark. A conflict in the grammar raises lark's `GrammarError`."""
    from lark import Lark
    from lark.lexer import Lexer

    class NoLexer(Lexer):
        """The tokens come from `lexing`; lark only works out the tables."""

        def __init__(self, configuration):
            pass

        def lex(self, state, parser_state):
            raise NotImplementedError

    lark = Lark(grammar, parser="lalr", lexer=NoLexer, start=list(STARTS), maybe_placeholders=True, strict=True)
    table = lark.parser.parser._parse_table
    texts = {t.name: t.pattern.value for t in lark.terminals if t.pattern.type == "str"}
    rules = list(lark.rules)
    number = {rule: index for index, rule in enumerate(rules)}
    states = [table.states[index] for index in range(len(table.states))]
    actions = [
        {texts.get(name, name): _action(action, number) for name, action in state.items() if _terminal(name)}
        for state in states
    ]
    for accepting in table.end_states.values():
        actions[accepting][END] = accepting
    return {
        "patterns": [[t.name, t.pattern.to_regexp()] for t in lark.terminals if t.name not in texts],
        "words": sorted(text for text in texts.values() if text.isidentifier()),
        "signs": sorted((text for text in texts.values() if not text.isidentifier()), key=len, reverse=True),
        "rules": [_plain_rule(rule) for rule in rules],
        "actions": actions,
        "gotos": [{str(name): target for name, (_, target) in s.items() if not _terminal(name)} for s in states],
        "starts": dict(table.start_states),
    }


def _terminal(name: str) -> bool:
    return name.isupper() or name == END


def _action(action: tuple, number: dict) -> int:
    kind, argument = action
    return argument if str(kind) == "Shift" else ~number[argument]


def _plain_rule(rule) -> list:
    children = list(_children(rule))
    vanishes = rule.options.expand1 and not rule.alias and len(rule.expansion) == 1
    name = None if vanishes else rule.alias or rule.origin.name
    splice = [place for place in children if place >= 0 and _spliced(rule.expansion[place])]
    return [str(name) if name else None, str(rule.origin.name), len(rule.expansion), children, splice]


def _children(rule) -> Iterator[int]:
    """The places of the symbols that stay in the tree, with -1 for each optional one that is absent here."""
    absences = "".join("1" if absent else "0" for absent in rule.options.empty_indices).split("0")
    for place, symbol in enumerate(rule.expansion):
        if rule.options.empty_indices:
            yield from [-1] * len(absences[place])
        if rule.options.keep_all_tokens or not (symbol.is_term and symbol.filter_out):
            yield place
    if rule.options.empty_indices:
        yield from [-1] * len(absences[-1])


def _spliced(symbol) -> bool:
    return not symbol.is_term and symbol.name.startswith("_")


def _decode(plain: dict) -> Tables:
    return Tables(
        patterns=tuple((name, pattern) for name, pattern in plain["patterns"]),
        words=frozenset(plain["words"]),
        signs=tuple(plain["signs"]),
        rules=tuple(Rule(n, o, s, tuple(keep), frozenset(splice)) for n, o, s, keep, splice in plain["rules"]),
        actions=tuple(plain["actions"]),
        gotos=tuple(plain["gotos"]),
        starts=plain["starts"],
    )
