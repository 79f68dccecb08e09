"""Whether what something was made of is still what it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffgraph.runtime.storage import Storage

#: Arrays that are lent are compared with what they were, which takes copies of them: where they are no more than this
#: part of all that is prepared from, ...
MOST_COMPARED = 0.25

#: ... or no more than so many bytes.
SMALL = 1 << 20


class Freshness:
    """Whether arrays may have changed since something was made of them. tracker: the storage that they are from; None where
    nobody knows who writes to them.

    Every write is counted by the storage but those through arrays that are lent right now; these are compared with what
    they were.
    """

    def __init__(self, tracker: Storage | None, read: Sequence[np.ndarray]):
        self.tracker = tracker
        self._arrays = {id(array): array for array in read}
        self._most = max(SMALL, MOST_COMPARED * sum(a.nbytes for a in self._arrays.values()))
        self._writes = -1
        self._copies: dict[int, np.ndarray] = {}

    def is_fresh(self) -> bool:
        """Nothing was written since `note`."""
        tracker = self.tracker
        if not self._arrays:
            return self._writes >= 0
        if tracker is None or tracker.writes != self._writes:
            return False
        return all(self._is_same(a) for a in tracker.lent if id(a) in self._arrays)

    def _is_same(self, array: np.ndarray) -> bool:
        copy = self._copies.get(id(array))
        return copy is not None and bool(np.array_equal(_bits(array), copy))

    def note(self) -> None:
        """What is read now is what will have been prepared."""
        if self.tracker is None:
            self._writes = 0
            return
        self._writes = self.tracker.writes
        lent = {id(a): a for a in self.tracker.lent if id(a) in self._arrays}
        compared = sum(a.nbytes for a in lent.values()) <= self._most
        self._copies = {key: _bits(a).copy() for key, a in lent.items()} if compared else {}

    def forget(self) -> None:
        """Nothing was prepared."""
        self._writes = -1

    def note_own_writes(self) -> None:
        """The program has written to what the preparation does not read."""
        if self.tracker is not None and self._writes >= 0:
            self._writes = self.tracker.writes


def _bits(array: np.ndarray) -> np.ndarray:
    """The memory of an array as whole numbers: values that are not numbers are equal to themselves."""
    return array.reshape(-1).view(np.uint64 if array.nbytes % 8 == 0 else np.uint8)
