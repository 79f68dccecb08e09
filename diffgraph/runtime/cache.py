"""Compiled kernels on disk: a file of source and a file of object code for each, found by a key of their content.

Files appear whole or not at all (written aside, then renamed), so several processes may share a directory. A file that is
damaged is ignored and written anew. Where the directory cannot be written, a temporary one takes its place.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"diffgraph object 1\n"


def default_directory() -> Path:
    """`$DIFFGRAPH_CACHE`, or the place for caches that is usual on the platform."""
    named = os.environ.get("DIFFGRAPH_CACHE")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "diffgraph"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "diffgraph" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffgraph"


@dataclass
class Cache:
    """A directory of compiled kernels."""

    directory: Path

    def path(self, key: str, suffix: str) -> Path:
        """Where the file of a key is."""
        return self.directory / "kernels" / key[:2] / f"{key}{suffix}"

    def load(self, key: str) -> bytes | None:
        """The object code of a key, None if there is none or it is damaged."""
        try:
            found = self.path(key, ".object").read_bytes()
        except OSError:
            return None
        head = len(_MAGIC) + 32
        code = found[head:]
        if found[:head] != _MAGIC + _check(code):
            return None
        return code

    def store(self, key: str, source: str, code: bytes) -> None:
        """Keeps a kernel. A disk that is full or closed to us does no harm: it is then compiled again next time."""
        for suffix, content in ((".py", source.encode()), (".object", _MAGIC + _check(code) + code)):
            if not self._write(self.path(key, suffix), content):
                return

    def _write(self, path: Path, content: bytes) -> bool:
        try:
            _write_atomically(path, content)
        except OSError:
            if self.directory == _spare_directory():
                return False
            self.directory = _spare_directory()
            path = self.path(path.stem, path.suffix)
            try:
                _write_atomically(path, content)
            except OSError:
                return False
        return True


def _check(code: bytes) -> bytes:
    return hashlib.blake2b(code, digest_size=32).digest()


def _spare_directory() -> Path:
    """A directory that lives as long as the machine is up, of the user's own."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"diffgraph-{user}"


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(aside, path)
    except BaseException:
        try:
            os.unlink(aside)
        except OSError:
            pass
        raise
