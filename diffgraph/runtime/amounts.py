"""Amounts of memory as a person writes and reads them."""

from __future__ import annotations

import re

from diffgraph.diagnostics import error

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def bytes_of_text(text: str | int) -> int:
    """An amount of memory: bytes, or a text such as `2GiB` or `500 MB`."""
    if isinstance(text, int) and not isinstance(text, bool) and text > 0:
        return text
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(text))
    unit = UNITS.get((found.group(2) or "b").lower()) if found else None
    amount = int(float(found.group(1)) * unit) if unit else 0
    if not amount:
        raise error("DG816", f"`{text}` is not an amount of memory", help="write 2GiB, 500MB or a number of bytes")
    return amount


def readable(amount: int) -> str:
    """Bytes as a person reads them."""
    for unit in ("GiB", "MiB", "KiB"):
        if amount >= UNITS[unit.lower()]:
            return f"{amount / UNITS[unit.lower()]:.3g} {unit}"
    return f"{amount} bytes"
