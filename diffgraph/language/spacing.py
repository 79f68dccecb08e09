"""How many spaces stand between two tokens of a line, in the canonical layout."""

from __future__ import annotations

from diffgraph.language import syntax
from diffgraph.language.lexing import Token
from diffgraph.language.traversal import walk

_TIGHT_BEFORE = frozenset(") ] , . ^ .. : ;".split())
_TIGHT_AFTER = frozenset("( [ . ^ ..".split())
_ENDS_OPERAND = frozenset("NAME TEMPLATE INT ) ]".split())

#: What follows these words in a net starts in one column, as does what follows the name of a field in a train block.
_ROLES = (syntax.Port, syntax.OutputOf, syntax.Loss, syntax.Metric)
_AFTER_ROLE = len("target ")
_AFTER_FIELD = len("optimizer ")


class Spacing:
    """The rules, for one file: which signs are prefixes and which brackets follow what they belong to depends on it.

    `keywords` are the places of the words that are keywords there."""

    def __init__(self, file: syntax.File, keywords: frozenset[int]):
        self.keywords = keywords
        self._prefixes: set[int] = set()
        self._field_values: set[int] = set()
        self._least: dict[int, int] = {}
        for node in walk(file):
            if isinstance(node, syntax.Unary):
                self._prefixes.add(node.span.start)
            elif isinstance(node, syntax.Field) and node.value.span.start != node.span.start:
                self._field_values.add(node.value.span.start)
                self._least[node.span.start] = _AFTER_FIELD
            elif isinstance(node, _ROLES):
                self._least[node.span.start] = _AFTER_ROLE

    def least(self, first: Token) -> int:
        """How far from the start of a statement its second token is, at least."""
        return self._least.get(first.start, 0)

    def gap(self, before: Token, after: Token, in_subscript: bool) -> int:
        """0 or 1. `in_subscript`: whether the innermost bracket around both is `[`."""
        if before.kind == "," and after.kind not in (")", "]"):
            return 1
        if before.kind == ":":
            return 0 if in_subscript else 1
        if after.kind in _TIGHT_BEFORE or before.kind in _TIGHT_AFTER:
            return 0
        if before.kind == "-" and before.start in self._prefixes:
            return 0
        if after.kind in ("(", "["):
            return 0 if self._belongs(before, after) else 1
        return 1

    def _belongs(self, before: Token, bracket: Token) -> bool:
        """Whether a bracket holds the arguments or subscripts of what stands before it."""
        if before.start in self.keywords:
            return before.text == "gradient"
        return before.kind in _ENDS_OPERAND and bracket.start not in self._field_values
