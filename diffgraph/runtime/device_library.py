"""Kernels for a device: from this process, from the cache on disk, or compiled now."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import Kernel
from diffgraph.runtime.cache import Cache, default_directory
from diffgraph.runtime.library import _key, plain
from diffgraph.targets.cuda import common
from diffgraph.targets.cuda.compile import fingerprint, to_ptx
from diffgraph.targets.cuda.emit import Text, emit
from diffgraph.targets.cuda.operations import Driver


@dataclass(frozen=True)
class Texts:
    """A kernel as a person reads it, and under names that say nothing: that is what tells kernels apart."""

    readable: Text
    plain: Text


def texts_of(kernel: Kernel, precision: str, device: Device) -> Texts:
    """Both texts of a kernel."""
    return Texts(*(emit(k, precision, device) for k in (kernel, plain(kernel))))


class DeviceLibrary:
    """The loaded kernels of one device."""

    def __init__(self, driver: Driver, cache: Cache):
        self.driver = driver
        self.cache = cache
        self._loaded: dict[str, object] = {}
        self._lock = threading.RLock()
        #: How many kernels were compiled, rather than found.
        self.compiled = 0

    def function(self, texts: Texts) -> object:
        """A kernel that the device can start."""
        text = texts.readable
        return self.load(texts.plain.source, text.source, text.parameters, len(text.sizes), text.grid.threads)

    def entry(self, name: str) -> object:
        """A kernel of `common.ENTRIES`."""
        entry = common.ENTRIES[name]
        return self.load(entry.source, entry.source, entry.parameters, entry.sizes, common.THREADS)

    def load(self, text: str, readable: str, kinds: Sequence[str], sizes: int, threads: int) -> object:
        """A kernel by its text, of buffers of these types and so many sizes; `readable` is the same for a reader."""
        driver = self.driver
        generation = 80 if driver.capability >= 80 else 75
        key = _key(fingerprint(), driver.form, str(generation), text, *kinds)
        with self._lock:
            if key not in self._loaded:
                code = self.cache.load(key)
                if code is None:
                    path = str(self.cache.path(key, ".py"))
                    code = driver.translate(to_ptx(readable, kinds, sizes, threads, generation, path))
                    self.compiled += 1
                    self.cache.store(key, readable, code)
                self._loaded[key] = driver.load(code)
            return self._loaded[key]


def default_cache() -> Cache:
    """The cache that every target uses."""
    return Cache(default_directory())
