"""Parameters and states of a net as a person handles them: a mapping from path to array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

import numpy as np

from diffgraph.diagnostics import Diagnostic, DiffgraphError, error, suggest
from diffgraph.runtime.values import plain


class UnknownPath(DiffgraphError, KeyError):
    """A path that no parameter or state has: a `KeyError`, as mappings raise it, that says what was probably meant."""


class Variables(MutableMapping):
    """Arrays by path. The arrays are the net's own: changing an element changes the net, and so does assignment, which
    checks the shape. Paths cannot be added or removed."""

    def __init__(self, what: str, storage: Mapping[str, np.ndarray], paths: Iterable[str] | None = None):
        self._what = what
        self._storage = storage
        self._paths = dict.fromkeys(storage if paths is None else paths)

    def __getitem__(self, path: str) -> np.ndarray:
        if path not in self._paths:
            raise self._unknown(path)
        return self._storage[path]

    def __setitem__(self, path: str, value) -> None:
        if path not in self._paths:
            raise self._unknown(path)
        array, value = self._storage[path], plain(value, f"{self._what} `{path}`")
        if value.shape != array.shape:
            raise error("DG761", f"{self._what} `{path}` has the shape {list(array.shape)}, not {list(value.shape)}")
        if value.dtype.kind not in "fiub":
            raise error("DG761", f"{self._what} `{path}` takes numbers, not {value.dtype}")
        array[...] = value

    def __delitem__(self, path: str) -> None:
        raise error("DG760", f"a net keeps its {self._what}s: `{path}` cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        lines = [f"  {path}: {array.dtype}{list(array.shape)}" for path, array in self.items()]
        return "\n".join(["{", *lines, "}"])

    def _unknown(self, path: str) -> UnknownPath:
        text, hint = f"there is no {self._what} `{path}`", suggest(str(path), self._paths)
        return UnknownPath(Diagnostic("DG760", text, help=hint))
