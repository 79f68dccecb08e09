"""What was made of a large program, kept on disk for its next start: a pure function is not computed twice.

    kept().recall("passes", (program, target), lambda: optimize(program))

The key is a hash of the content of what the function is applied to, and of this package's own files; a file that is
damaged, of another version, or that holds anything but values of this package is taken for missing.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import diffgraph
from diffgraph.diagnostics import Source
from diffgraph.ir.expression import Interned
from diffgraph.runtime.cache import Cache, default_directory

#: So many results are kept; the oldest make room.
MOST_KEPT = 96

#: What is made for programs of fewer statements is made again: that is as fast.
LARGE = 64

_PLAIN = (type(None), bool, int, float, str, bytes, Fraction)


class Kept:
    """Results in a cache directory."""

    def __init__(self, cache: Cache):
        self.cache = cache

    def recall(self, kind: str, of: tuple, make: Callable[[], Any], is_large: Callable[[Any], bool]) -> Any:
        """What `make()` gives, from disk if it is there, and kept if it is large. of: everything that it depends on; where
        that holds values without a content of their own, such as functions, nothing is kept."""
        try:
            key = hashlib.blake2b(f"{kind} {package()}".encode() + content(of), digest_size=16).hexdigest()
        except TypeError:
            return make()
        found = self.cache.load(key, SUFFIX)
        if found is not None:
            try:
                return _Reader(io.BytesIO(found)).load()
            except Exception:  # Whatever is wrong with it, it can be made again.
                pass
        made = make()
        if is_large(made):
            self._keep(key, made)
        return made

    def _keep(self, key: str, made: Any) -> None:
        text = io.BytesIO()
        try:
            _Writer(text, protocol=5).dump(made)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
            return
        self.cache.store_bytes(key, SUFFIX, text.getvalue())
        self.cache.trim(SUFFIX, MOST_KEPT)


#: Of the files.
SUFFIX = ".program"


@lru_cache
def _kept(directory: str) -> Kept:
    return Kept(Cache(Path(directory)))


def kept() -> Kept:
    """Those of the default cache directory."""
    return _kept(str(default_directory()))


@lru_cache
def package() -> str:
    """What results depend on besides their arguments: the files of this package, and what runs them."""
    digest = hashlib.blake2b(f"{sys.version} {np.__version__}".encode(), digest_size=16)
    for folder, folders, names in os.walk(Path(diffgraph.__file__).parent):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        for name in sorted(names):
            about = os.stat(os.path.join(folder, name))
            digest.update(f"{folder}/{name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------ content


def content(value: Any) -> bytes:
    """A hash of a value by its content: equal in every process for what is equal. TypeError for what has none."""
    return _Content().of(value)


class _Content:
    """Hashes values; what occurs several times is looked into once."""

    def __init__(self):
        self._known: dict[int, tuple[Any, bytes]] = {}

    def of(self, value: Any) -> bytes:
        if isinstance(value, _PLAIN):
            return f"{type(value).__name__} {value!r}".encode()
        found = self._known.get(id(value))
        if found is None:
            # The value is held, so that its place in memory stays its own.
            digest = hashlib.blake2b(self._parts(value), digest_size=16).digest()
            found = self._known[id(value)] = value, digest
        return found[1]

    def _parts(self, value: Any) -> bytes:
        name = type(value).__name__.encode() + b"\0"
        if isinstance(type(value), Interned):
            return name + value.digest.encode()
        if isinstance(value, (tuple, list)):
            return name + b"\0".join(map(self.of, value))
        if isinstance(value, Mapping):
            return name + b"\0".join(self.of(part) for pair in value.items() for part in pair)
        if isinstance(value, (set, frozenset)):
            return name + b"\0".join(sorted(map(self.of, value)))
        if isinstance(value, np.ndarray):
            return name + f"{value.dtype.str} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        if isinstance(value, Source):
            return name + f"{value.name}\0{value.text}".encode()
        if is_dataclass(value) and not isinstance(value, type):
            return name + b"\0".join(self.of(getattr(value, f.name)) for f in fields(value))
        raise TypeError(f"{type(value).__name__} has no content")


# ------------------------------------------------------------------------------------------------ files


class _Writer(pickle.Pickler):
    """Writes the fields of our values, and nothing that was computed from them: hashes of texts differ from process to
    process. Interned values are made again by their constructors."""

    def reducer_override(self, value):
        kind = type(value)
        if not is_dataclass(kind) or not kind.__module__.startswith("diffgraph."):
            return NotImplemented
        state = {f.name: getattr(value, f.name) for f in fields(kind)}
        if isinstance(kind, Interned):
            return kind, tuple(state.values())
        return _new, (kind,), state


def _new(kind: type):
    return object.__new__(kind)


class _Reader(pickle.Unpickler):
    """Makes values of this package, of NumPy's arrays and of plain types only."""

    ALLOWED = {
        ("builtins", "frozenset"), ("builtins", "set"), ("builtins", "complex"), ("fractions", "Fraction"),
        ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.numeric", "_frombuffer"), ("numpy._core.multiarray", "scalar"),
    }  # fmt: skip

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED and not module.startswith("diffgraph."):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)
