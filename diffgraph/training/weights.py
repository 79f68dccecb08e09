"""Arrays from a file into the parameters and states of a net: all of them, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, Note, error, suggest
from diffgraph.language.overrides import as_text

#: How many names a message lists before it only counts them.
MOST_NAMED = 6


_FITS = "the net must have the settings that it was trained with: --set NAME=VALUE, --train NAME"


def origin(net: str, block: str | None, settings: Mapping[str, Any]) -> dict[str, str]:
    """What a file of weights says of the net that it is for: its name, the train block whose settings it has, and the
    other settings that it was given, as texts of the language."""
    plain = (str, bool, int, float, list, tuple)
    known = {name: as_text(value) for name, value in settings.items() if isinstance(value, plain)}
    trained = {} if block is None else {"train": block}
    return {"format": "diffgraph", "net": net, **trained, "settings": json.dumps(known)}


def fit(
    stored: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], what: str, strict: bool = True
) -> dict[str, np.ndarray]:
    """The stored arrays, by path, in the types of the wanted ones.

    A file that does not fit is refused with everything that is wrong with it: names that are missing or unexpected
    (with what they may have been), other shapes, other kinds of element, values that are not numbers. Where it is not
    `strict`, missing and unexpected names are passed over, if there is one that both have.
    """
    there = {path: array for path, array in wanted.items() if path in stored}
    names = [] if not strict and there else _names(stored, wanted)
    problems = names + _shapes(stored, wanted)
    if problems:
        raise DiffgraphError(Diagnostic("DG743", f"{what} does not fit the net", None, tuple(map(Note, problems)), _FITS))
    fitted = {}
    for path, array in there.items():
        if np.issubdtype(stored[path].dtype, np.floating) and not np.isfinite(stored[path]).all():
            raise error("DG743", f"{what} holds values in `{path}` that are not numbers")
        fitted[path] = np.ascontiguousarray(stored[path], dtype=array.dtype).reshape(array.shape)
    return fitted


def _names(stored, wanted) -> list[str]:
    unexpected = [n for n in stored if n not in wanted]
    missing = [n for n in wanted if n not in stored]
    found = []
    if missing:
        found.append(f"it lacks {_listed(missing)}")
    if unexpected:
        found.append(f"the net has no {_listed(unexpected)}")
    for name in missing[:MOST_NAMED]:
        near = suggest(name, unexpected)
        if near:
            found.append(f"`{name}`: in the file, {near}")
    return found


def _shapes(stored, wanted) -> list[str]:
    wrong = []
    for path, array in wanted.items():
        if path not in stored:
            continue
        if stored[path].shape != array.shape:
            wrong.append(f"`{path}` is {list(stored[path].shape)} in the file, {list(array.shape)} in the net")
        elif (stored[path].dtype.kind == "f") != (array.dtype.kind == "f"):
            wrong.append(f"`{path}` holds {stored[path].dtype} in the file, {array.dtype} in the net")
    return wrong[:MOST_NAMED] + ([f"and {len(wrong) - MOST_NAMED} more"] if len(wrong) > MOST_NAMED else [])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{n}`" for n in names[:MOST_NAMED])
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
