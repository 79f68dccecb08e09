"""Parameters and states on a device: they go there when the host has changed them, and come back when the host asks.

The host reads and writes arrays through loans of their storage (see `storage`). Before one is lent, what a device has
changed is brought back; what is lent may be written to at any time, so it crosses in both directions around every run.
Everything else stays where it is, from run to run and from executable to executable of one storage.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import numpy as np

from diffgraph.runtime.storage import Storage
from diffgraph.targets.cuda.operations import Driver


class Mirror:
    """The arrays of storages that share memory, on one device."""

    def __init__(self, driver: Driver):
        self.driver = driver
        self._addresses: dict[int, int] = {}
        self._arrays: dict[int, np.ndarray] = {}
        #: The arrays (by id) that are on the device as they are on the host, or newer.
        self._current: set[int] = set()
        self._newer: set[int] = set()
        self._writes = -1
        weakref.finalize(self, _free, driver, self._addresses).atexit = False

    @classmethod
    def of(cls, storage: Storage, driver: Driver) -> Mirror:
        """The mirror of a storage on a device."""
        found = storage.elsewhere
        if not isinstance(found, Mirror) or found.driver is not driver:
            if found is not None:
                found.bring_back()
            found = storage.elsewhere = cls(driver)
        return found

    def address(self, array: np.ndarray) -> int:
        """Where an array is on the device."""
        key = id(array)
        if key not in self._addresses:
            self._addresses[key] = self.driver.allocate(max(8, array.nbytes))
            self._arrays[key] = array
        return self._addresses[key]

    def upload(self, storage: Storage, arrays: Iterable[np.ndarray]) -> None:
        """Brings arrays to the device that may have changed since they were brought."""
        if storage.writes != self._writes:
            self._current &= self._newer
        self._current -= {id(a) for a in storage.lent}
        for array in arrays:
            if id(array) not in self._current:
                self.driver.upload(self.address(array), array)
                self._current.add(id(array))
        self._writes = storage.writes

    def changed(self, storage: Storage, arrays: Iterable[np.ndarray]) -> None:
        """The device has changed these arrays, and the storage knows of it."""
        changed = {id(a) for a in arrays}
        self._current |= changed
        self._newer |= changed
        self._writes = storage.writes
        self._fetch(changed & {id(a) for a in storage.lent})

    def bring_back(self) -> None:
        """Brings to the host what is newer on the device."""
        self._fetch(set(self._newer))

    def _fetch(self, keys: set[int]) -> None:
        for key in keys:
            self.driver.download(self._addresses[key], self._arrays[key])
        self._newer -= keys


def _free(driver: Driver, addresses: dict[int, int]) -> None:
    for address in addresses.values():
        driver.free(address)
