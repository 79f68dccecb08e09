"""Where the files of a program are: inside its own directory, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

from diffgraph.diagnostics import error, nearest
from diffgraph.runtime.cache import default_directory


def inside(directory: Path, name: str) -> Path:
    """The file or folder of that name inside the program's directory. A model file is untrusted: it cannot look
    elsewhere. Errors: a path that leaves the directory, one that is not there."""
    root = directory.resolve()
    try:
        path = (root / name).resolve()
        there = path.is_file() or path.is_dir()
    except (OSError, ValueError, RuntimeError):
        raise error("DG704", "the name of a file is too long, or holds a character 0, or goes in circles") from None
    if not path.is_relative_to(root):
        raise error(
            "DG704",
            f'"{name}" is outside the directory of the program',
            help=f"put the data under {root}",
        )
    if not there:
        here = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        meant = nearest(path.name, here)
        help = f'did you mean "{name[: len(name) - len(path.name)]}{meant}"?' if meant else f"put it under {root}"
        raise error("DG704", f'there is no file or folder "{name}" beside the program', help=help)
    return path


def system_datasets() -> list[Path]:
    """Folders of data sets that the system's packages install."""
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, "/usr", "/usr/local"))
    return [Path(prefix, "share", "datasets") for prefix in prefixes]


def cached_datasets() -> Path:
    """The user's own folder of downloaded data sets, in the cache of compiled kernels; `DIFFGRAPH_CACHE` moves it."""
    return default_directory() / "datasets"
