"""How much a program asks of elaboration, counted before anything is expanded.

fn a(x) = b(b(x));  fn b(x) = c(c(x));  fn c(x) = x + 1        a call of `a` makes 1 + 2 * (1 + 2) calls

Calls of names that a file declares are followed, each declaration being weighed once. Of the two sides of a condition
the heavier counts; the rounds of a loop, and what is called by a name that is bound somewhere, count once: the rest is
found out when it happens.
"""

from __future__ import annotations

from diffgraph.language import syntax
from diffgraph.language.cycles import bound_names
from diffgraph.language.scopes import Scope
from diffgraph.language.values import FunctionValue, LayerValue


class Scale:
    """Weighs pieces of a program for one elaboration, which keeps the declarations alive."""

    def __init__(self):
        self.known: dict[int, int] = {}

    def weight(self, node: syntax.Node, scope: Scope) -> int:
        """At least so many statements and calls are made when a piece of a program runs once in a scope."""
        own = set(bound_names(node))
        while not hasattr(scope, "declarations"):
            own.update(scope.values)
            scope = scope.parent
        return self._weigh(node, scope, frozenset(own))

    def _weigh(self, node: syntax.Node, file: Scope, own: frozenset[str]) -> int:
        """The weight of a piece of a file; `own` are names that the piece binds itself."""
        order: list[tuple[syntax.Node, Scope, frozenset[str]]] = [(node, file, own)]
        total = 0
        while order:
            current, file, own = order.pop()
            if isinstance(current, syntax.If):
                branches = [b for b in (current.then, current.otherwise) if b is not None]
                total += max(self._weigh(b, file, own) for b in branches)
                continue
            total += _STEPS.get(type(current), 0)
            if isinstance(current, syntax.Name):
                total += self._declared(current.name, file, own)
            for value in vars(current).values():
                inside = value if isinstance(value, tuple) else (value,)
                order += [(item, file, own) for item in inside if isinstance(item, syntax.Node)]
        return total

    def _declared(self, name: str, file: Scope, own: frozenset[str]) -> int:
        """The weight of what a name of the file stands for."""
        if name in own:
            return 0
        found = _value_of(name, file)
        if not isinstance(found, (FunctionValue, LayerValue)):
            return 0
        declaration = found.declaration
        known = _OF_LIBRARY if declaration.span.source.is_library else self.known
        key = id(declaration)
        if key not in known:
            known[key] = 0
            known[key] = self.weight(declaration, found.scope)
        return known[key]


#: The weights of declarations of the standard library, which are kept as long as the process.
_OF_LIBRARY: dict[int, int] = {}


#: Steps of what is met in a text, at least: what is repeated from a template costs less than what is evaluated.
_STEPS = {syntax.CallOf: 1, syntax.Stage: 5, syntax.Bind: 1, syntax.Define: 1}


def _value_of(name: str, file: Scope):
    """The function or layer that a name of a file stands for; None for everything else."""
    while file is not None:
        if name in file.values:
            return file.values[name]
        if name in file.imported:
            module, inside = file.imported[name]
            return None if inside is None else _value_of(inside, module)
        if name in file.declarations:
            declared = isinstance(file.declarations[name], (syntax.Function, syntax.Layer, syntax.Net))
            return file.get(name) if declared else None
        file = file.parent
    return None
