"""Parameters and states of a net as a person handles them: a mapping from path to array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from diffgraph.diagnostics import error, suggest


class Variables(Mapping):
    """Arrays by path. The arrays are the net's own: changing an element changes the net, and so does assignment, which
    checks the shape. Paths cannot be added or removed."""

    def __init__(self, what: str, storage: Mapping[str, np.ndarray], paths: Iterable[str] | None = None):
        self._what = what
        self._storage = storage
        self._paths = dict.fromkeys(storage if paths is None else paths)

    def __getitem__(self, path: str) -> np.ndarray:
        if path not in self._paths:
            raise KeyError(self._unknown(path))
        return self._storage[path]

    def __setitem__(self, path: str, value) -> None:
        if path not in self._paths:
            raise error("DG760", self._unknown(path))
        array, value = self._storage[path], np.asarray(value)
        if value.shape != array.shape:
            raise error("DG761", f"{self._what} `{path}` has the shape {list(array.shape)}, not {list(value.shape)}")
        if value.dtype.kind not in "fiub":
            raise error("DG761", f"{self._what} `{path}` takes numbers, not {value.dtype}")
        array[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        lines = [f"  {path}: {array.dtype}{list(array.shape)}" for path, array in self.items()]
        return "\n".join(["{", *lines, "}"])

    def _unknown(self, path: str) -> str:
        hint = suggest(path, self._paths)
        return f"there is no {self._what} `{path}`" + (f"; {hint}" if hint else "")
