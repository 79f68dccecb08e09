"""What a program may ask for before it is refused. A model file is untrusted: it must not exhaust the machine.

The limits hold for the process. The environment (`DIFFGRAPH_LIMITS="nodes=1000000,bytes=16G"`), the option
`--limit nodes=1000000` of every command, and `diffgraph.set_limits(nodes=1_000_000)` change them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace

from diffgraph.diagnostics import error, suggest

#: The letters that a number of bytes or of steps may end with.
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Limits:
    """How much of what.

    text: bytes of one file. nesting: brackets in one another, and calls in one another. nodes: words and signs of a
    file, values of a list, and steps of elaboration, one for about 15 microseconds of it (a statement or a round of a
    loop is one, an application of a layer or a definition several).
    bytes: of everything that a program makes of itself: parameters, states, constants, made data, one tensor that a
    formula asks for. steps: of all scans in one another, and operations of one reduction in millions.
    """

    text: int = 1 << 20
    nesting: int = 64
    nodes: int = 100_000
    bytes: int = 4 << 30
    steps: int = 100_000_000


_current: Limits | None = None


def limits() -> Limits:
    """The limits that hold now."""
    global _current
    if _current is None:
        _current = changed(Limits(), os.environ.get("DIFFGRAPH_LIMITS", ""))
    return _current


def set_limits(**values: int) -> None:
    """Changes some limits by name, for this process."""
    global _current
    for name, value in values.items():
        _refuse_unknown(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise error("DG905", f"the limit `{name}` wants a positive int, not {value!r}")
    _current = replace(limits(), **values)


def read_limits(text: str) -> None:
    """Changes limits by a text: `nodes=200000, bytes=16G`."""
    global _current
    _current = changed(limits(), text)


def changed(start: Limits, text: str) -> Limits:
    """Limits with those of a text changed: `nodes=200000, bytes=16G`."""
    values = {}
    for pair in filter(None, (p.strip() for p in text.split(","))):
        name, _, number = (p.strip() for p in pair.partition("="))
        _refuse_unknown(name)
        digits, unit = (number[:-1], UNITS[number[-1].upper()]) if number[-1:].upper() in UNITS else (number, 1)
        if not digits.isascii() or not digits.isdigit() or int(digits) < 1:
            help = "write nodes=200000 or bytes=16G"
            raise error("DG905", f"the limit `{name}` wants a positive int, not `{number}`", help=help)
        values[name] = int(digits) * unit
    return replace(start, **values)


def _refuse_unknown(name: str) -> None:
    known = [f.name for f in fields(Limits)]
    if name not in known:
        help = suggest(name, known) or f"the limits are {', '.join(known)}"
        raise error("DG905", f"there is no limit `{name}`", help=help)


def raise_by(name: str) -> str:
    """The repair of a refusal, for programs that are trusted."""
    return f"if you trust the program, raise the limit: --limit {name}={2 * getattr(limits(), name)}"
