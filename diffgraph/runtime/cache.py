"""Compiled kernels on disk: a file of source and a file of object code for each, found by a key of their content; and
what else was made of programs (`kept`).

Files appear whole or not at all (written aside, then renamed), so several processes may share a directory. A file that is
damaged is ignored and written anew. Where the directory cannot be written, a temporary one takes its place.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MAGIC = b"diffgraph object 2\n"


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
    """A directory of compiled kernels, or what else is in a folder of it."""

    directory: Path
    folder: str = "kernels"

    def path(self, key: str, suffix: str) -> Path:
        """Where the file of a key is."""
        return self.directory / self.folder / key[:2] / f"{key}{suffix}"

    def keys(self, suffix: str) -> list[str]:
        """The keys that something is there for, in order."""
        try:
            found = (self.directory / self.folder).glob(f"*/[!.]*{suffix}")
            return sorted(path.name.removesuffix(suffix) for path in found)
        except OSError:
            return []

    def load(self, key: str, suffix: str = ".object") -> bytes | None:
        """What was stored for a key, None if there is nothing, or it is damaged or that of another key."""
        try:
            found = self.path(key, suffix).read_bytes()
        except OSError:
            return None
        head = len(_MAGIC) + 32
        code = found[head:]
        if found[:head] != _MAGIC + _check(key, code):
            return None
        return code

    def store(self, key: str, source: str, code: bytes) -> None:
        """Keeps a kernel. A disk that is full or closed to us does no harm: it is then compiled again next time."""
        if self._write(self.path(key, ".py"), source.encode()):
            self.store_bytes(key, ".object", code)

    def store_bytes(self, key: str, suffix: str, content: bytes) -> None:
        """Keeps something for a key, to be found by `load`."""
        self._write(self.path(key, suffix), _MAGIC + _check(key, content) + content)

    def trim(self, suffix: str, most: int) -> None:
        """Removes the oldest files with a suffix, so that `most` are left."""
        try:
            found = [(path.stat().st_mtime, path) for path in (self.directory / self.folder).glob(f"*/*{suffix}")]
            for _, path in sorted(found)[:-most]:
                path.unlink(missing_ok=True)
        except OSError:
            pass  # Another process tidies up as well.

    def _write(self, path: Path, content: bytes) -> bool:
        try:
            _write_atomically(path, content)
            return True
        except OSError:
            return self._write_elsewhere(path, content)

    def _write_elsewhere(self, path: Path, content: bytes) -> bool:
        """Moves to the temporary directory for good, if there is room."""
        try:
            spare = _spare_directory()
            if self.directory == spare:
                return False
            self.directory = spare
            _write_atomically(self.path(path.stem, path.suffix), content)
            return True
        except OSError:
            return False


def _check(key: str, code: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + b"\0" + code, digest_size=32).digest()


@cache
def _spare_directory() -> Path:
    """A directory of this process alone, so that nobody else can put code there; removed at its end."""
    made = tempfile.mkdtemp(prefix="diffgraph-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


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
