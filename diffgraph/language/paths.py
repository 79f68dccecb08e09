"""Patterns that name parameters: `"layer1"`, `"*.bias"`."""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(pattern: str, path: str) -> bool:
    """Whether a path is named by a pattern: itself, a layer around it, or with `*` any part."""
    return path == pattern or path.startswith(f"{pattern}.") or fnmatchcase(path, pattern)
