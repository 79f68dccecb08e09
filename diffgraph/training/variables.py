"""Parameters and states of a net as a person handles them: a mapping from path to array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from diffgraph.diagnostics import error, suggest


class Variables(Mapping):
    """Arrays by path. The arrays are the net's own: changing an element changes the net, and so does assignment, which
    checks the shape. Paths cannot be added or removed."""

    def __init__(self, what: str, arrays: dict[str, np.ndarray]):
        self._what = what
        self._arrays = arrays

    def __getitem__(self, path: str) -> np.ndarray:
        if path not in self._arrays:
            raise KeyError(self._unknown(path))
        return self._arrays[path]

    def __setitem__(self, path: str, value) -> None:
        if path not in self._arrays:
            raise error("DG760", self._unknown(path))
        array, value = self._arrays[path], np.asarray(value)
        if value.shape != array.shape:
            raise error("DG761", f"{self._what} `{path}` has the shape {list(array.shape)}, not {list(value.shape)}")
        if value.dtype.kind not in "fiub":
            raise error("DG761", f"{self._what} `{path}` takes numbers, not {value.dtype}")
        array[...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = [f"  {path}: {array.dtype}{list(array.shape)}" for path, array in self._arrays.items()]
        return "\n".join(["{", *lines, "}"])

    def _unknown(self, path: str) -> str:
        hint = suggest(path, self._arrays)
        return f"there is no {self._what} `{path}`" + (f"; {hint}" if hint else "")
