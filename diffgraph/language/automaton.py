"""The LALR(1) automaton: a stack of states that tokens push and rules fold. It knows no rule of the language."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffgraph.language.lexing import Token
from diffgraph.language.tables import Tables

#: `build(rule name, children, start, end)` gives the value of a rule that was read from `start` to `end`.
Build = Callable[[str, list, int, int], Any]


class Automaton:
    """Reads tokens one by one. A token must be `accepted` before it is fed."""

    def __init__(self, tables: Tables, start: str, build: Build, offset: int = 0):
        self.tables = tables
        self.build = build
        self.states = [tables.starts[start]]
        self.values: list[Any] = []
        self.starts: list[int] = []
        self.end = offset

    @property
    def row(self) -> dict[str, int]:
        """What the present state does with each terminal that may follow."""
        return self.tables.actions[self.states[-1]]

    def feed(self, token: Token, kind: str) -> bool:
        """Takes a token as a terminal of the given kind; False, with nothing read, where it cannot stand."""
        actions = self.tables.actions
        states = self.states
        while True:
            action = actions[states[-1]].get(kind)
            if action is None:
                return False
            if action >= 0:
                states.append(action)
                self.values.append(token)
                self.starts.append(token.start)
                self.end = token.end
                return True
            if self.tables.rules[~action].name is None:
                states[-1] = self._through(states[-2], states[-1], kind)
            else:
                self._reduce(~action)

    def _through(self, below: int, top: int, kind: str) -> int:
        """The state after all rules in a row that vanish into their only child. Every name that stands alone passes
        through a dozen of them, one for each level of precedence, so the way is remembered."""
        tables = self.tables
        key = (below, top, kind)
        known = tables.passages.get(key)
        if known is not None:
            return known
        while (action := tables.actions[top].get(kind, 0)) < 0 and tables.rules[~action].name is None:
            top = tables.gotos[below][tables.rules[~action].origin]
        tables.passages[key] = top
        return top

    def _reduce(self, index: int) -> None:
        rule = self.tables.rules[index]
        states = self.states
        bottom = len(self.values) - rule.size
        parts = self.values[bottom:]
        start = self.starts[bottom] if parts else self.end
        del self.values[bottom:]
        del self.starts[bottom:]
        del states[bottom + 1 :]
        children = _children(rule, parts)
        spliced = rule.origin[0] == "_"
        self.values.append(children if spliced else self.build(rule.name, children, start, self.end))
        self.starts.append(start)
        states.append(self.tables.gotos[states[-1]][rule.origin])

    def acceptable(self) -> list[str]:
        """Every terminal that can truly follow: a row also holds some whose reductions lead nowhere."""
        return [kind for kind in self.row if self.leads(kind) is not None]

    def leads(self, kind: str) -> int | None:
        """The state after a token of this kind, or None where it cannot stand. Changes nothing."""
        states = list(self.states)
        while True:
            action = self.tables.actions[states[-1]].get(kind)
            if action is None or action >= 0:
                return action
            rule = self.tables.rules[~action]
            del states[len(states) - rule.size :]
            states.append(self.tables.gotos[states[-1]][rule.origin])


def _children(rule, parts: list) -> list:
    if not rule.splice:
        return [parts[place] if place >= 0 else None for place in rule.keep]
    # A list that grows by one keeps its own storage: a list of n parts is read in n steps.
    first, *others = rule.keep
    children = parts[first] if first in rule.splice else [parts[first]] if first >= 0 else [None]
    for place in others:
        if place in rule.splice:
            children.extend(parts[place])
        else:
            children.append(parts[place] if place >= 0 else None)
    return children
