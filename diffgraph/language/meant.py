"""What was probably meant by a name that is not known: what another library calls so, or what is spelt alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from diffgraph.diagnostics import suggest
from diffgraph.language import library
from diffgraph.language.core_notes import ELSEWHERE


def meant(name: str, known: Iterable[str]) -> str | None:
    """"did you mean `conv`?", or None when nothing known is near."""
    known = list(known)
    here = _elsewhere().get(library.plain(name))
    return f"did you mean `{here}`?" if here in known else suggest(name, known)


@lru_cache(maxsize=1)
def _elsewhere() -> dict[str, str]:
    core = {library.plain(name): own for own, names in ELSEWHERE.items() for name in names.split(", ")}
    return core | library.elsewhere()
