"""All that a network says, provenance included, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from diffgraph.diagnostics import Source, Span
from diffgraph.ir.form import Form


def everything(value: Any) -> Any:
    """The value, field by field; forms stand for themselves (equal ones are one object)."""
    if isinstance(value, (Form, Source)):
        return id(value)
    if isinstance(value, Span):
        return id(value.source), value.start, value.end
    if is_dataclass(value):
        return type(value).__name__, *(everything(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, (list, tuple)):
        return type(value).__name__, *map(everything, value)
    if isinstance(value, Mapping):
        return tuple((k, everything(v)) for k, v in value.items())
    return type(value).__name__, str(value)
