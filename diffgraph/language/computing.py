"""Evaluating a text of a file outside a net: fields of `train` blocks, settings, expectations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffgraph.language.module import Module, under_way
from diffgraph.language.scopes import Scope
from diffgraph.language.session import Naming, Session


@contextmanager
def computing(scope: Scope) -> Iterator[Session]:
    """An elaboration of no net, in which expressions of a file (or of a scope in it) can be evaluated."""
    session = Session(False, {}, Naming(), _folder(scope))
    with under_way(session):
        yield session


def _folder(scope: Scope | None):
    while scope is not None and not isinstance(scope, Module):
        scope = scope.parent
    return scope.folder if scope is not None else None
