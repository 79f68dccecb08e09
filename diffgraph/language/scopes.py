"""Names and what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Unavailable:
    """Stands in a scope for a value that is not there, though its name is known."""

    def __init__(self, reason: str):
        self.reason = reason


#: The statement that would have made it has failed, which has been reported.
FAILED = Unavailable("could not be made")

#: A target of a net that is applied inside another net.
MISSING = Unavailable("is a target of a net that is applied inside another: only its loss may use it")


class Scope:
    """Names of one body, and the scope around it. Bodies of `if` and `for` share the scope of what holds them."""

    def __init__(self, parent: Scope | None = None, **values: Any):
        self.parent = parent
        self.values: dict[str, Any] = dict(values)

    def find(self, name: str) -> Scope | None:
        """The nearest scope that knows the name."""
        scope: Scope | None = self
        while scope is not None:
            if scope.knows(name):
                return scope
            scope = scope.parent
        return None

    def knows(self, name: str) -> bool:
        """Whether the name is bound in this very scope."""
        return name in self.values

    def get(self, name: str) -> Any:
        """The value bound in this very scope."""
        return self.values[name]

    def bind(self, name: str, value: Any) -> None:
        """Binds a name here, shadowing what it was."""
        self.values[name] = value

    def names(self) -> Iterator[str]:
        """Every name that can be seen from here, for suggestions."""
        scope: Scope | None = self
        while scope is not None:
            yield from (name for name in scope.own_names() if name.isidentifier())
            scope = scope.parent

    def own_names(self) -> Iterator[str]:
        """The names bound in this very scope."""
        return iter(self.values)
