"""Kernels for a device: from this process, from the cache on disk, or compiled now."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from diffgraph.kernels.grid import Device
from diffgraph.kernels.loops import Kernel
from diffgraph.runtime.cache import Cache, default_directory
from diffgraph.runtime.library import _key, plain
from diffgraph.targets.cuda import common
from diffgraph.targets.cuda.compile import Job, compile_job, fingerprint
from diffgraph.targets.cuda.emit import Text, emit
from diffgraph.targets.cuda.operations import Driver
from diffgraph.targets.parallel import compile_all


@dataclass(frozen=True)
class Texts:
    """A kernel as a person reads it, and under names that say nothing: that is what tells kernels apart."""

    readable: Text
    plain: Text


@dataclass(frozen=True)
class Source:
    """A kernel by its text, of buffers of these types and so many sizes; `readable` is the same for a reader."""

    text: str
    readable: str
    kinds: tuple[str, ...]
    sizes: int
    threads: int

    @classmethod
    def of(cls, kernel: Texts | str) -> Source:
        """That of a kernel, or of one of `common.ENTRIES` by its name."""
        if isinstance(kernel, str):
            entry = common.ENTRIES[kernel]
            return cls(entry.source, entry.source, tuple(entry.parameters), entry.sizes, common.THREADS)
        text = kernel.readable
        return cls(kernel.plain.source, text.source, tuple(text.parameters), len(text.sizes), text.grid.threads)


def texts_of(kernel: Kernel, precision: str, device: Device) -> Texts:
    """Both texts of a kernel."""
    return Texts(*(emit(k, precision, device) for k in (kernel, plain(kernel))))


class DeviceLibrary:
    """The loaded kernels of one device."""

    def __init__(self, driver: Driver, cache: Cache):
        self.driver = driver
        self.cache = cache
        self._loaded: dict[str, object] = {}
        #: What was found or compiled, and not loaded yet.
        self._code: dict[str, bytes] = {}
        self._lock = threading.RLock()
        #: How many kernels were compiled, rather than found.
        self.compiled = 0

    def load(self, source: Source) -> object:
        """A kernel that the device can start."""
        with self._lock:
            self.ready([source])
            key = self._key(source)
            if key not in self._loaded:
                self._loaded[key] = self.driver.load(self._code.pop(key))
            return self._loaded[key]

    def ready(self, sources: Iterable[Source]) -> None:
        """Finds or compiles kernels, those that must be compiled all at once."""
        jobs: dict[str, Job] = {}
        keys: dict[Job, tuple[str, Source]] = {}
        with self._lock:
            for source in sources:
                key = self._key(source)
                if key in self._loaded or key in self._code or key in jobs:
                    continue
                code = self.cache.load(key)
                if code is not None:
                    self._code[key] = code
                    continue
                path = str(self.cache.path(key, ".py"))
                job = Job(
                    source.readable, source.kinds, source.sizes, source.threads, self._generation, path, self.driver.linked
                )  # fmt: skip
                jobs[key], keys[job] = job, (key, source)

            def keep(job: Job, code: bytes) -> None:
                key, source = keys[job]
                self.compiled += 1
                self.cache.store(key, source.readable, code)
                self._code[key] = code

            compile_all(list(jobs.values()), compile_job, "diffgraph.targets.cuda.worker", keep)

    @property
    def _generation(self) -> int:
        return 80 if self.driver.capability >= 80 else 75

    def _key(self, source: Source) -> str:
        form = "ptx" if self.driver.linked is None else f"sm_{self.driver.linked}"
        return _key(fingerprint(), form, str(self._generation), source.text, *source.kinds)


def default_cache() -> Cache:
    """The cache that every target uses."""
    return Cache(default_directory())
