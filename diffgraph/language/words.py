"""The words of the language that cannot, or cannot everywhere, be names."""

from __future__ import annotations

#: Written `sum[i](...)`; read as plain functions elsewhere; bound as settings only (`normal(mean = 0, std = 1)`).
REDUCTIONS = frozenset("sum prod max min mean argmax argmin any all".split())

#: Name something where an expression reads them (`trains to loss < 1`); never bound.
READABLE = frozenset("input target output loss metric".split())

#: Never names, but for a piece of a path (`encoder.for`).
RESERVED = frozenset("and or not if else for in scan as with true false return yield next assert param state".split())


def is_bindable(name: str) -> bool:
    """Whether a program may give this name to something."""
    return name not in RESERVED and name not in REDUCTIONS and name not in READABLE
