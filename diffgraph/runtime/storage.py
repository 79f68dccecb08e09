"""The memory of parameters and states, and who may have written to it.

What is computed from parameters once, rather than in every run, must be computed again when one of them has changed; and
their memory is changed in place, by programs that commit to it and by people who were handed an array. `Storage` lends its
arrays: it knows which loans are alive, views of them included, and counts the occasions on which something may have been
written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from diffgraph.runtime.results import arrays


class Elsewhere(Protocol):
    """Memory beside that of a storage, such as a device's."""

    def bring_back(self) -> None:
        """Brings newer values to the arrays of the storage."""


class _Marks:
    """What storages that share memory know together. writes: how often something may have been written. lent: the array
    behind each loan that is alive. elsewhere: what may hold newer values, and brings them back."""

    def __init__(self):
        self.writes = 0
        self.elsewhere: Elsewhere | None = None
        self.lent: dict[int, np.ndarray] = {}


class _Loan:
    """Stands behind a lent array, and so behind every view of it, as the owner of the memory: it lives as long as they."""

    def __init__(self, array: np.ndarray, marks: _Marks):
        self.array = array
        self.marks = marks
        self.__array_interface__ = array.__array_interface__
        marks.lent[id(self)] = array
        marks.writes += 1

    def __del__(self):
        self.marks.lent.pop(id(self), None)
        self.marks.writes += 1


class Storage(Mapping):
    """Arrays by path. `storage[path]` is an array on the same memory, to be read and written in place."""

    def __init__(self, arrays: Mapping[str, np.ndarray], marks: _Marks | None = None):
        self._arrays = dict(arrays)
        self._marks = marks or _Marks()

    @classmethod
    def of(cls, given: Mapping[str, np.ndarray]) -> Storage:
        """A storage of copies, which lie in memory as kernels like it best."""
        made = arrays({path: (array.shape, array.dtype) for path, array in given.items()})
        for path, array in given.items():
            made[path][...] = array
        return cls(made)

    def __getitem__(self, path: str) -> np.ndarray:
        self._bring_back()
        return np.asarray(_Loan(self._arrays[path], self._marks))

    def __contains__(self, path) -> bool:
        return path in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def extended(self, more: Mapping[str, np.ndarray]) -> Storage:
        """A storage with copies of more arrays, which share what is known of writes."""
        return Storage({**self._arrays, **Storage.of(more)._arrays}, self._marks)

    def renamed(self, sources: Mapping[str, str]) -> Storage:
        """A storage whose arrays are those of this one under other paths: path -> path in this one."""
        return Storage({path: self._arrays[source] for path, source in sources.items()}, self._marks)

    def _bring_back(self) -> None:
        if self._marks.elsewhere is not None:
            self._marks.elsewhere.bring_back()

    # ------------------------------------------------------------------------------------------- for executables

    def own(self, path: str) -> np.ndarray:
        """The array itself. Who writes to it says so by `note_write`."""
        self._bring_back()
        return self._arrays[path]

    @property
    def elsewhere(self) -> Elsewhere | None:
        """What may hold newer values."""
        return self._marks.elsewhere

    @elsewhere.setter
    def elsewhere(self, other: Elsewhere) -> None:
        self._marks.elsewhere = other

    @property
    def writes(self) -> int:
        """A number that grows when something may have been written, but for writes through loans that are alive."""
        return self._marks.writes

    def note_write(self) -> None:
        """Something was written to an array that was not lent."""
        self._marks.writes += 1

    @property
    def lent(self) -> tuple[np.ndarray, ...]:
        """The arrays, as `own` gives them, that are lent now."""
        return tuple(self._marks.lent.values())


def copies(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies of arrays by path; those of a storage without lending them, so that nobody can have written to them."""
    own = arrays.own if isinstance(arrays, Storage) else arrays.__getitem__
    return {path: own(path).copy() for path in arrays}
