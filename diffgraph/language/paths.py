"""Paths: patterns that name parameters, such as `"layer1"` or `"*.bias"`, and the number of a draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b

from diffgraph.diagnostics import Diagnostic, Span, error, suggest


def matches(pattern: str, path: str) -> bool:
    """Whether a path is named by a pattern: itself, a layer around it, or with `*` any part."""
    return path == pattern or path.startswith(f"{pattern}.") or fnmatchcase(path, pattern)


def named_paths(patterns: Iterable[str], paths: Sequence[str]) -> list[str]:
    """The paths that patterns name, in their order, each once. DiffgraphError where one names none."""
    found: dict[str, None] = {}
    for pattern in patterns:
        named = [pattern] if pattern in paths else [path for path in paths if matches(pattern, path)]
        if not named:
            raise error("DG760", f"there is no parameter or input `{pattern}`", help=suggest(pattern, paths))
        found.update(dict.fromkeys(named))
    return list(found)


def unknown_path(pattern: str, paths: Sequence[str], net: str, span: Span | None) -> Diagnostic | None:
    """The problem of a pattern that names none of the paths, most likely a misspelt one; None where it names one."""
    if any(matches(pattern, path) for path in paths):
        return None
    layers = {path[:k] for path in paths for k, c in enumerate(path) if c == "."}
    leaves = {path.rpartition(".")[2] for path in paths}
    likely = [*layers, *paths, *(f"{layer}.*" for layer in layers), *(f"*.{leaf}" for leaf in leaves)]
    text = f"`{pattern}` names no parameter or state of `{net}`"
    help = suggest(pattern, sorted(likely)) or f"it has {_some(sorted(layers) or sorted(paths))}"
    return Diagnostic("DG616", text, span, (), help)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown + (f" and {len(names) - 6} more" if len(names) > 6 else "") if names else "none"


def site_of(path: str) -> int:
    """The number by which the draw under a path is told from all others: 31 bits of a hash."""
    return int.from_bytes(blake2b(path.encode(), digest_size=4).digest(), "big") >> 1
